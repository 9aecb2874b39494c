"""The batches of an epoch: each follows from the seed, the epoch and the step alone."""

from collections.abc import Iterator

import numpy as np

from training.augmentation import augment
from training.data import Split
from training.recipe import Recipe
from zoo.errors import InputError
from zoo.preprocessing import Preprocessing

# Numpy takes (1, 2) and (1, 2, 0) for the same seed; the spawn key keeps the uses apart.
_ORDER, _VARIATION, _MIRRORED = 0, 1, 2


def steps_per_epoch(recipe: Recipe, images: int) -> int:
    """Count the whole batches in an epoch.

    Args:
        recipe: The recipe.
        images: The number of training images.

    Returns:
        The count, at least 1.

    Raises:
        InputError: The batch is larger than the training set.
    """
    if recipe.batch_size > images:
        raise InputError(
            f"batch_size: accepted is at most the number of training images, {images}; "
            f"received {recipe.batch_size}"
        )
    return images // recipe.batch_size


def check_augmentation(recipe: Recipe, split: Split) -> None:
    """Refuse augmentation that images of this size, or batches of this size, cannot have.

    Args:
        recipe: The recipe.
        split: The training images.

    Raises:
        InputError: A cutout is larger than the images, or there is nothing to mix with.
    """
    side = min(split.images.shape[1:3])
    settings = recipe.augmentation
    if settings.cutout > side:
        raise InputError(
            f"augmentation.cutout: accepted is at most the side of the images, {side}; "
            f"received {settings.cutout}"
        )
    if (settings.mixup or settings.cutmix) and recipe.batch_size == 1:
        raise InputError(
            "augmentation.mixup and augmentation.cutmix mix the images of a batch: accepted is a "
            "batch_size of at least 2; received 1"
        )


def batches(
    split: Split,
    recipe: Recipe,
    preprocessing: Preprocessing,
    *,
    classes: int,
    epoch: int,
    first: int = 0,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Make the batches of one epoch, shuffled, augmented and preprocessed.

    A step can be made without those before it, so a training resumes in the middle of an epoch.

    Args:
        split: The training images.
        recipe: Its seed, batch size and augmentation are used.
        preprocessing: What turns the images into the model's input.
        classes: The number of classes.
        epoch: Which epoch, from 0.
        first: The first step to make.

    Yields:
        Images, float32, (batch, height, width, channels), and labels, float32, (batch, classes):
        one-hot, or of two classes where images are mixed.
    """
    order = _chance(recipe.seed, epoch, _ORDER).permutation(len(split))
    mirrored = _mirrored(recipe, epoch, len(split))
    for step in range(first, steps_per_epoch(recipe, len(split))):
        chosen = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
        chance = _chance(recipe.seed, epoch, _VARIATION, step)
        labels = np.zeros((len(chosen), classes), np.float32)
        labels[np.arange(len(chosen)), split.labels[chosen]] = 1
        yield augment(
            split.images[chosen],
            labels,
            recipe.augmentation,
            preprocessing,
            chance,
            mirrored=None if mirrored is None else mirrored[chosen],
        )


def _mirrored(recipe: Recipe, epoch: int, images: int) -> np.ndarray | None:
    """Say which images alternation mirrors in an epoch, bool, (images,); None without it.

    Reference:
        Jordan 2024, https://arxiv.org/abs/2404.00498, section 3.6.
    """
    if not recipe.augmentation.alternate_flip:
        return None
    at_first = _chance(recipe.seed, 0, _MIRRORED).integers(0, 2, size=images, dtype=np.uint8)
    return (at_first + epoch) % 2 == 1


def _chance(seed: int, epoch: int, *use: int) -> np.random.Generator:
    """Make a source of chance of its own for one use."""
    return np.random.default_rng(np.random.SeedSequence((seed, epoch), spawn_key=use))
