"""What a study is done on: a data set and what builds the models."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from training.data import Data, Split, channel_statistics, load_data
from training.recipe import Recipe
from training.streaming import Stream
from training.studies.recipe import StudyRecipe
from zoo.errors import InputError
from zoo.norm import Norm
from zoo.preprocessing import Preprocessing

Builder = Callable[[Norm, float], Any]
"""Takes the normalization and the rate of dropout; returns a keras.Model from images to logits."""


@dataclass(frozen=True)
class Subject:
    """Data and models of a study.

    Args:
        data: The images, already reduced to those that are used.
        held_out: Training images that no run learns from, to make choices by; None where the
            recipe holds none out.
        build: Makes a model with new weights, given the recipe of a run.
        identity: What tells this subject from others, as plain values.
    """

    data: Data
    held_out: Split | None
    build: Callable[[Recipe], Any]
    identity: dict[str, str]


def subject(
    recipe: StudyRecipe,
    *,
    data: Data | Sequence[np.ndarray] | None = None,
    model: Builder | None = None,
    data_dir: str | None = None,
) -> Subject:
    """Make what a study is done on.

    Args:
        recipe: The study's recipe; what is not passed is taken from it.
        data: A `training.Data`, or four arrays: training images, their labels, test images, their
            labels. Images are uint8, (count, height, width, channels).
        model: Builds the models; None for the recipe's architecture.
        data_dir: Where tensorflow-datasets keeps its data.

    Returns:
        The subject.

    Raises:
        InputError: The arrays do not belong together, or the data cannot be loaded.
    """
    identity = {}
    if data is None:
        loaded = load_data(
            recipe.training.dataset,
            data_dir,
            image_size=recipe.training.image_size,
            skip_corrupt=recipe.training.skip_corrupt,
        )
    else:
        loaded = data if isinstance(data, Data) else _of_arrays(data)
        identity["data"] = _digest(loaded)
    train, held_out = _without_last(loaded.train, recipe.held_out_images)
    loaded = replace(
        loaded,
        train=_first(train, recipe.train_images, "train_images"),
        test=_first(loaded.test, recipe.test_images, "test_images"),
    )
    if model is None:
        return Subject(loaded, held_out, lambda run: _zoo_model(run, loaded), identity)
    identity["model"] = _architecture(model(Norm("batch"), 0.0))
    return Subject(loaded, held_out, lambda run: model(run.norm, run.dropout), identity)


def _zoo_model(run: Recipe, data: Data) -> Any:
    """Build a model of the registry for images as they are."""
    import zoo

    return zoo.create_model(
        run.arch,
        input_shape=tuple(data.train.images.shape[1:]),
        num_classes=len(data.labels),
        norm=run.norm,
        dropout=run.dropout,
        stochastic_depth=run.stochastic_depth,
        width=run.width,
        padding=run.padding,
    )


def _of_arrays(arrays: Sequence[np.ndarray]) -> Data:
    """Make a data set of four arrays."""
    if len(arrays) != 4:
        raise InputError(
            "data: accepted are a training.Data or four arrays, training images, labels, test "
            f"images, labels; received {len(arrays)}"
        )
    images, labels, test_images, test_labels = map(np.asarray, arrays)
    for name, some, theirs in (("training", images, labels), ("test", test_images, test_labels)):
        if some.dtype != np.uint8 or some.ndim != 4 or not len(some):
            raise InputError(
                f"data: accepted are {name} images, uint8, (count, height, width, channels); "
                f"received {some.dtype}, {some.shape}"
            )
        _check_labels(name, some, theirs)
    if test_images.shape[1:] != images.shape[1:]:
        raise InputError(
            f"data: accepted are test images of the training images' shape, {images.shape[1:]}; "
            f"received {test_images.shape[1:]}"
        )
    mean, std = channel_statistics(images)
    classes = int(max(labels.max(), test_labels.max())) + 1
    return Data(
        name="arrays",
        train=Split(images, labels.astype(np.int64)),
        test=Split(test_images, test_labels.astype(np.int64)),
        labels=tuple(map(str, range(classes))),
        preprocessing=Preprocessing(
            size=images.shape[1:3], channels=images.shape[-1], mean=mean, std=std
        ),
    )


def _check_labels(name: str, images: np.ndarray, labels: np.ndarray) -> None:
    """Refuse labels that are not one number of a class for each image."""
    whole = np.issubdtype(labels.dtype, np.integer)
    if labels.shape != (len(images),) or not whole or labels.min() < 0:
        least = f", the least one {labels.min()}" if whole and labels.size else ""
        raise InputError(
            f"data: accepted as labels is one whole number, 0 or more, for each of {len(images)} "
            f"{name} images; received {labels.dtype}, {labels.shape}{least}"
        )


def _digest(data: Data) -> str:
    """Hash images and labels."""
    found = hashlib.sha256()
    for split in (data.train, data.test):
        found.update(np.ascontiguousarray(split.images[:]).tobytes())
        found.update(split.labels.tobytes())
    return found.hexdigest()


def _architecture(model: Any) -> str:
    """Hash a model's layers: two with the same ones are the same, whatever function made them."""
    layers = [
        [type(layer).__name__, _nameless(layer.get_config()), [w.shape for w in layer.weights]]
        for layer in model.layers
    ]
    text = json.dumps(layers, default=str, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _nameless(config: Any) -> Any:
    """Leave names out: Keras numbers the layers of a process."""
    if isinstance(config, Mapping):
        return {key: _nameless(value) for key, value in config.items() if key != "name"}
    return [_nameless(value) for value in config] if isinstance(config, list | tuple) else config


def _without_last(split: Split, count: int) -> tuple[Split, Split | None]:
    """Take the last images away; return what is left, and those."""
    if not count:
        return split, None
    if count >= len(split):
        raise InputError(
            f"held_out_images: accepted is less than the {len(split)} training images; "
            f"received {count}"
        )
    at = np.arange(len(split))
    return split.take(at[:-count]), split.take(at[-count:])


def _first(split: Split, count: int, key: str) -> Split:
    """Take the first images, decoded."""
    if count > len(split):
        raise InputError(f"{key}: accepted is at most {len(split)}; received {count}")
    if not count and not isinstance(split.images, Stream):
        return split
    return split.take(np.arange(count or len(split)))
