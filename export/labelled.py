"""Labelled images, as a model takes them."""

from typing import TYPE_CHECKING

import numpy as np

from zoo.errors import InputError

if TYPE_CHECKING:
    import keras

Data = tuple[np.ndarray, np.ndarray]  # images, and the number of each one's class


def check_data(model: "keras.Model", data: Data) -> None:
    """Refuse a test split that a classifier does not take.

    Args:
        model: The classifier, with one input and one output of logits.
        data: The test split.

    Raises:
        InputError: The model is no classifier, the images are not finite float32 numbers of its
            shape, or the labels are not one class of its logits for each image.
    """
    images, labels = (np.asarray(part) for part in data)
    if len(model.inputs) != 1 or len(model.outputs) != 1 or len(model.outputs[0].shape) != 2:
        raise InputError("data: accepted for classifiers, with one input and one output of logits")
    shape = tuple(model.inputs[0].shape[1:])
    fits = images.ndim == len(shape) + 1 and all(
        wanted in (None, size) for wanted, size in zip(shape, images.shape[1:], strict=True)
    )
    if not fits or images.dtype != np.float32:
        raise InputError(
            f"data: accepted are float32 images of shape (batch, {', '.join(map(str, shape))}); "
            f"received {images.dtype} of shape {images.shape}"
        )
    if not np.isfinite(images).all():
        raise InputError("data: accepted are finite images; received some that are not numbers")
    whole = np.issubdtype(labels.dtype, np.integer)
    if labels.shape != images.shape[:1] or not len(images) or not whole:
        raise InputError(
            f"data: accepted is one whole number for each of the images, of which there are "
            f"{len(images)}; received {labels.dtype} of shape {labels.shape}"
        )
    classes = model.outputs[0].shape[1]
    if labels.min() < 0 or labels.max() >= classes:
        raise InputError(
            f"data: accepted are classes from 0 to {classes - 1}, one for each logit; received "
            f"{labels.min()} to {labels.max()}"
        )
