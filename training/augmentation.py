"""Varying images, from a given source of chance: crops, mirroring, cutout; and all in order.

What mixes images with each other is in `training.mixing`, RandAugment in `training.randaugment`.
"""

import numpy as np

from training.mixing import mix
from training.recipe import Augmentation
from zoo.preprocessing import Preprocessing

_ASPECT = 4 / 3  # the largest ratio of a crop's width to its height, or of its height to its width
_ATTEMPTS = 10


def augment(
    images: np.ndarray,
    labels: np.ndarray,
    settings: Augmentation,
    preprocessing: Preprocessing,
    chance: np.random.Generator,
    *,
    mirrored: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Vary a batch and turn it into the model's input.

    On the images as they are: `random_resized_crop` or `pad_crop`, `flip`,
    `training.randaugment.rand_augment`. Then comes the preprocessing, and on its result `cutout`
    and `training.mixing.mix`.

    Args:
        images: uint8, (batch, height, width, channels).
        labels: float32, (batch, classes), each row of sum 1.
        settings: What is done; what is 0 or false is left out and draws nothing.
        preprocessing: What turns the images into the model's input.
        chance: Where everything random comes from.
        mirrored: Which images `flip` mirrors, bool, (batch,); None for random ones.

    Returns:
        Images, float32, of the same shape, and labels, float32, of the same shape.
    """
    if settings.random_resized_crop:
        images = random_resized_crop(images, settings.random_resized_crop, chance)
    if settings.pad_crop:
        images = pad_crop(images, settings.pad_crop, chance)
    if settings.flip:
        images = flip(images, chance if mirrored is None else mirrored)
    if settings.rand_augment:
        from training.randaugment import rand_augment

        images = rand_augment(
            images, settings.rand_augment, settings.rand_augment_magnitude, chance
        )
    images = preprocessing(images)
    if settings.cutout:
        images = cutout(images, settings.cutout, chance)
    return mix(images, labels, mixup=settings.mixup, cutmix=settings.cutmix, chance=chance)


def pad_crop(images: np.ndarray, pixels: int, chance: np.random.Generator) -> np.ndarray:
    """Pad each image with zeros and crop it to its own size at a random place.

    Args:
        images: uint8, (batch, height, width, channels).
        pixels: How many zeros are put on each side.
        chance: Where the places come from.

    Returns:
        New images of the same shape.

    Reference:
        He et al. 2016, https://arxiv.org/abs/1512.03385, section 4.2 (4 pixels).
    """
    count, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)))
    cropped = np.empty_like(images)
    places = chance.integers(0, 2 * pixels + 1, size=(2, count)).T.tolist()
    # Slices copy whole rows, which is faster than indexing all pixels of the batch at once.
    for image, (top, left), target in zip(padded, places, cropped, strict=True):
        target[...] = image[top : top + height, left : left + width]
    return cropped


def random_resized_crop(
    images: np.ndarray, least: float, chance: np.random.Generator
) -> np.ndarray:
    """Crop a random part of each image and bring it to the image's size, bilinearly.

    The part's share of the area is uniform in [least, 1], its ratio of width to height
    log-uniform in [3/4, 4/3], its place uniform. What does not fit into the image is drawn again;
    after ten times the largest part of a permitted ratio is taken.

    Args:
        images: uint8, (batch, height, width, 3).
        least: The smallest share of the area, in (0, 1).
        chance: Where sizes and places come from.

    Returns:
        New images of the same shape.

    Reference:
        Szegedy et al. 2015, https://arxiv.org/abs/1409.4842, section 6 (a least share of 0.08).
    """
    import PIL.Image

    count, height, width, _ = images.shape
    heights, widths = _crop_sizes(count, height, width, least, chance)
    tops = chance.integers(0, height - heights + 1)
    lefts = chance.integers(0, width - widths + 1)
    boxes = np.stack([tops, tops + heights, lefts, lefts + widths], axis=1).tolist()
    cropped = np.empty_like(images)
    for image, (top, bottom, left, right), target in zip(images, boxes, cropped, strict=True):
        part = PIL.Image.fromarray(image[top:bottom, left:right])
        target[...] = part.resize((width, height), PIL.Image.Resampling.BILINEAR)
    return cropped


def _crop_sizes(
    count: int, height: int, width: int, least: float, chance: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the heights and widths of parts that fit into an image, each (count,)."""
    shape = (_ATTEMPTS, count)
    area = height * width * chance.uniform(least, 1, shape)
    aspect = np.exp(chance.uniform(-np.log(_ASPECT), np.log(_ASPECT), shape))
    heights = np.rint(np.sqrt(area / aspect)).astype(np.int64).clip(1)
    widths = np.rint(np.sqrt(area * aspect)).astype(np.int64).clip(1)
    fits = (heights <= height) & (widths <= width)
    # Where none fits, argmax gives the first attempt, and the sizes below take its place.
    drawn = fits.argmax(axis=0), np.arange(count)
    return (
        np.where(fits[drawn], heights[drawn], min(height, round(width * _ASPECT))),
        np.where(fits[drawn], widths[drawn], min(width, round(height * _ASPECT))),
    )


def flip(images: np.ndarray, mirrored: np.ndarray | np.random.Generator) -> np.ndarray:
    """Mirror images left to right.

    Args:
        images: uint8, (batch, height, width, channels).
        mirrored: Which ones, bool, (batch,); or what decides, each with a probability of one half.

    Returns:
        New images of the same shape.
    """
    if isinstance(mirrored, np.random.Generator):
        mirrored = mirrored.integers(0, 2, size=len(images), dtype=np.uint8).astype(bool)
    flipped = images.copy()
    flipped[mirrored] = images[mirrored, :, ::-1]
    return flipped


def cutout(images: np.ndarray, side: int, chance: np.random.Generator) -> np.ndarray:
    """Set a square of each image to zero, its centre anywhere in the image.

    The square hangs over the border where its centre is near. Zero is to be what it is in the
    paper, the mean of the data: of preprocessed images it is their mean colour.

    Args:
        images: float32, preprocessed, (batch, height, width, channels).
        side: The side of the square in pixels.
        chance: Where the centres come from.

    Returns:
        New images of the same shape.

    Reference:
        DeVries and Taylor 2017, https://arxiv.org/abs/1708.04552, section 3.
    """
    count, height, width, _ = images.shape
    rows = _inside(chance.integers(0, height, size=(count,)), side, height)
    columns = _inside(chance.integers(0, width, size=(count,)), side, width)
    cut = images.copy()
    cut[rows[:, :, None] & columns[:, None, :]] = 0
    return cut


def _inside(centres: np.ndarray, side: int, size: int) -> np.ndarray:
    """Say which rows or columns lie in each square: bool, (count, size)."""
    distance = np.arange(size) - (centres[:, None] - side // 2)
    return (distance >= 0) & (distance < side)
