"""Classify images with whatever holds a model: weights, a Keras or ONNX file, a running server."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export.onnx_metadata import PIXELS, load, metadata_of
from export.onnx_runtime import Session
from export.parity import softmax
from export.pixels import without_front
from export.remote import RemoteModel, is_address, open_model
from export.sources import source
from export.targets.layout import interface
from zoo import xla
from zoo.errors import InputError
from zoo.preprocessing import Preprocessing

if TYPE_CHECKING:
    import keras

    from export.described import Described

BATCH = 128


@dataclass(frozen=True)
class Classifier:
    """A model with what is needed to feed it and to read its answer.

    Args:
        name: What to call it.
        logits: Turns preprocessed images, (batch, height, width, channels), into logits.
        preprocessing: What turns an image into its input; None where nobody knows.
        labels: The classes' names; empty where nobody knows.
        takes: The shape of one image that it takes, (height, width, channels); None or -1 for a
            side of any size.
        activation: What it applies at its end, ``softmax`` or ``sigmoid``; None for logits.
        from_pixels: Turns uint8 images of any one size, (batch, height, width, channels), into
            logits, where the preprocessing is inside the model; else None.
    """

    name: str
    logits: Callable[[np.ndarray], np.ndarray]
    preprocessing: Preprocessing | None
    labels: tuple[str, ...]
    takes: tuple[int | None, ...]
    activation: str | None = None
    from_pixels: Callable[[np.ndarray], np.ndarray] | None = None

    @property
    def known_preprocessing(self) -> Preprocessing:
        """The preprocessing.

        Raises:
            InputError: Nobody knows it.
        """
        if self.preprocessing is None:
            raise InputError(
                f"{self.name}: its preprocessing is not known; accepted is --card with the "
                "card.json or the bundle that tells it"
            )
        return self.preprocessing

    def top(self, path: str | os.PathLike[str], most: int = 5) -> list[tuple[str, float]]:
        """Classify one image file.

        Args:
            path: The image.
            most: How many classes to tell.

        Returns:
            Classes and their probabilities, the most probable one first.

        Raises:
            InputError: The file is missing or is not an image, the preprocessing is not known, the
                labels are not those of the logits, or the logits are not finite or are none.

        Example:
            >>> classifier("runs/demo/model.onnx").top("seven.png")[0]
        """
        preprocessing = self.known_preprocessing
        if self.from_pixels is not None:
            logits = self.from_pixels(preprocessing.pixels(path)[np.newaxis])
        else:
            logits = self.logits(preprocessing(preprocessing.read(path)[np.newaxis]))
        if logits.ndim != 2:
            raise InputError(
                f"{self.name}: accepted is a model whose first output is (batch, classes); "
                f"received one that answers an image with {logits.shape}"
            )
        if not np.isfinite(logits).all():
            raise InputError(f"{self.name}: its logits for {path} are not finite")
        probability = probabilities(logits, self.activation)[0]
        order = np.argsort(-probability, kind="stable")[:most]
        labels = self.labels or tuple(map(str, range(len(probability))))
        if len(labels) != len(probability):
            raise InputError(
                f"{self.name} has {len(probability)} classes; its labels are {len(labels)}"
            )
        return [(labels[index], float(probability[index])) for index in order]


def classifier(what: str | os.PathLike[str], described: "Described | None" = None) -> Classifier:
    """Make a classifier of pretrained weights, a file, or a model on a running server.

    Args:
        what: A name such as ``resnet20.digits``, the path of a ``.keras`` or ``.onnx`` file, or an
            address as `export.remote.open_model` takes it.
        described: How it is fed and read, to go by instead of what it tells itself, or what the
            card beside it tells.

    Returns:
        The classifier.

    Raises:
        InputError: There is no such name, file or served model, the file is damaged, or the
            description is of a model that takes other images.

    Example:
        >>> classifier("http://127.0.0.1:8000/v2/models/resnet20.digits").top("seven.png")[0]
    """
    if is_address(what):
        made = _from_server(open_model(str(what)))
    elif is_onnx(what):
        made = _from_onnx(Path(what))
    else:
        made = _from_keras(what)
    return made if described is None else _described(made, described)


def needs_keras(what: str | os.PathLike[str]) -> bool:
    """Say whether Keras is needed to run a model, by its name."""
    return not is_address(what) and not is_onnx(what)


def is_onnx(what: str | os.PathLike[str]) -> bool:
    """Say whether something is meant as an ONNX file, by its name."""
    return Path(what).suffix == ".onnx"


def _from_keras(what: str | os.PathLike[str]) -> Classifier:
    """Make a classifier of pretrained weights or a Keras file, with the card beside it."""
    from export.onnx_file import probable

    given = source(what)
    shape = given.model.input_shape
    return Classifier(
        name=given.name,
        logits=keras_logits(given.model),
        preprocessing=given.known_preprocessing,
        labels=given.labels,
        takes=tuple(shape[1:]) if isinstance(shape, tuple) else (),
        activation=probable(given.model),
    )


def _from_onnx(path: Path) -> Classifier:
    """Make a classifier of an ONNX file and its own metadata."""
    proto = load(path)
    inputs, _ = interface(proto)
    said = metadata_of(proto, path)
    return Classifier(
        name=str(path),
        logits=onnx_logits(path),
        takes=_channels_last(inputs[0].dims if inputs else (), said),
        from_pixels=_from_pixels(path) if said.get("input") == PIXELS else None,
        **_told(said),
    )


def _from_server(model: RemoteModel) -> Classifier:
    """Make a classifier of a served model and what its server tells."""
    said = model.told
    from_pixels = model.logits if said.get("input") == PIXELS else None

    def logits(images: np.ndarray) -> np.ndarray:
        if from_pixels is not None:
            raise InputError(
                f"{model.name} has its preprocessing inside, and these images are preprocessed; "
                "accepted is the ONNX file of its bundle"
            )
        first = said.get("layout") == "NCHW"
        return model.logits(np.moveaxis(images, -1, 1) if first else images)

    return Classifier(
        name=model.name,
        logits=logits,
        takes=_channels_last(model.fed.shape[1:], said),
        from_pixels=from_pixels,
        **_told(said),
    )


def _told(said: Mapping[str, Any]) -> dict[str, Any]:
    """Read how a model is fed and read out of what it tells of itself."""
    preprocessing = said.get("preprocessing")
    return {
        "preprocessing": None if preprocessing is None else Preprocessing(**preprocessing),
        "labels": tuple(said.get("labels") or ()),
        "activation": said.get("activation"),
    }


def _channels_last(dims: Sequence[int], said: Mapping[str, Any]) -> tuple[int, ...]:
    """Write the shape of one image as all but the model itself know it."""
    return (*dims[1:], *dims[:1]) if said.get("layout") == "NCHW" else tuple(dims)


def _described(made: Classifier, by: "Described") -> Classifier:
    """Feed and read a model as a description says, which must be of images that it takes."""
    fed = (*by.preprocessing.size, by.preprocessing.channels)
    if len(made.takes) != len(fed) or any(
        side not in (None, -1, wanted) for side, wanted in zip(made.takes, fed, strict=True)
    ):
        raise InputError(
            f"{made.name} takes images of {made.takes}; {by.where} is of a model that takes {fed}"
        )
    return replace(made, preprocessing=by.preprocessing, labels=by.labels)


def _from_pixels(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Load an ONNX file that has its preprocessing inside."""
    session = Session(load(path))
    return lambda images: session.run([images])[0]


def keras_logits(model: "keras.Model") -> Callable[[np.ndarray], np.ndarray]:
    """Make a function of a Keras model with one input and one output.

    Args:
        model: The model.

    Returns:
        A function from preprocessed images, (number, height, width, channels), to float32 logits,
        (number, classes). It runs them in batches of one size, so that the model is traced once.
    """
    predict = xla.predictor(model)

    def logits(images: np.ndarray) -> np.ndarray:
        size = min(BATCH, len(images))
        parts = []
        for start in range(0, len(images), size):
            batch = images[start : start + size]
            missing = [(0, size - len(batch)), *((0, 0) for _ in batch.shape[1:])]
            parts.append(predict(np.pad(batch, missing))[: len(batch)])
        return np.concatenate(parts).astype(np.float32)

    return logits


def onnx_logits(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Load an ONNX file with one input; its first output is taken for the logits.

    Args:
        path: The file.

    Returns:
        A function from preprocessed images, (number, height, width, channels), to float32 logits,
        (number, classes). It runs them in batches. A preprocessing inside the file is left out.

    Raises:
        InputError: The file is missing or is not an ONNX model.
        ExportError: onnxruntime cannot run it.
    """
    proto = load(path)
    metadata = metadata_of(proto, path)
    nchw = metadata.get("layout") == "NCHW"
    if metadata.get("input") == PIXELS:
        proto = without_front(proto)
    session = Session(proto, nchw=nchw)

    def logits(images: np.ndarray) -> np.ndarray:
        batches = (images[start : start + BATCH] for start in range(0, len(images), BATCH))
        return np.concatenate([session.run([batch.astype(np.float32)])[0] for batch in batches])

    return logits


def probabilities(logits: np.ndarray, activation: str | None = None) -> np.ndarray:
    """Turn logits, (batch, classes), into probabilities, in float64.

    Args:
        logits: What a model answers.
        activation: What it has applied at its end already, if anything: these are probabilities.

    Returns:
        Of the same shape.
    """
    wide = logits.astype(np.float64)
    return softmax(wide) if activation is None else wide


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of rows whose largest logit is at the label."""
    return float(np.mean(logits.argmax(axis=-1) == labels))
