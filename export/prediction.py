"""Classify images with whatever holds a model: pretrained weights, a Keras file, an ONNX file."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from export.onnx_metadata import PIXELS, load, metadata_of, read_metadata
from export.onnx_runtime import Session
from export.parity import softmax
from export.pixels import without_front
from export.sources import source, unknown_preprocessing
from zoo import xla
from zoo.errors import InputError
from zoo.preprocessing import Preprocessing

if TYPE_CHECKING:
    import keras

BATCH = 128


@dataclass(frozen=True)
class Classifier:
    """A model with what is needed to feed it and to read its answer.

    Args:
        name: What to call it.
        logits: Turns preprocessed images, (batch, height, width, channels), into logits.
        preprocessing: What turns an image into its input; None where nobody knows.
        labels: The classes' names; empty where nobody knows.
        from_pixels: Turns uint8 images of any one size, (batch, height, width, channels), into
            logits, where the preprocessing is inside the model; else None.
    """

    name: str
    logits: Callable[[np.ndarray], np.ndarray]
    preprocessing: Preprocessing | None
    labels: tuple[str, ...]
    from_pixels: Callable[[np.ndarray], np.ndarray] | None = None

    @property
    def known_preprocessing(self) -> Preprocessing:
        """The preprocessing.

        Raises:
            InputError: Nobody knows it.
        """
        if self.preprocessing is None:
            raise unknown_preprocessing(self.name)
        return self.preprocessing

    def top(self, path: str | os.PathLike[str], most: int = 5) -> list[tuple[str, float]]:
        """Classify one image file.

        Args:
            path: The image.
            most: How many classes to tell.

        Returns:
            Classes and their probabilities, the most probable one first.

        Raises:
            InputError: The file is missing or is not an image, the preprocessing is not known, or
                the logits are not finite.

        Example:
            >>> classifier("runs/demo/model.onnx").top("seven.png")[0]
        """
        preprocessing = self.known_preprocessing
        if self.from_pixels is not None:
            logits = self.from_pixels(preprocessing.pixels(path)[np.newaxis])
        else:
            logits = self.logits(preprocessing(preprocessing.read(path)[np.newaxis]))
        if not np.isfinite(logits).all():
            raise InputError(f"{self.name}: its logits for {path} are not finite")
        probability = probabilities(logits)[0]
        order = np.argsort(-probability, kind="stable")[:most]
        labels = self.labels or tuple(map(str, range(len(probability))))
        return [(labels[index], float(probability[index])) for index in order]


def classifier(what: str | os.PathLike[str]) -> Classifier:
    """Make a classifier of pretrained weights, a ``.keras`` file or an ``.onnx`` file.

    Args:
        what: A name such as ``resnet20.digits``, or a path.

    Returns:
        The classifier.

    Raises:
        InputError: There is no such name or file, or the file is damaged.
    """
    if is_onnx(what):
        return _from_onnx(Path(what))
    given = source(what)
    return Classifier(
        name=given.name,
        logits=keras_logits(given.model),
        preprocessing=given.known_preprocessing,
        labels=given.labels,
    )


def is_onnx(what: str | os.PathLike[str]) -> bool:
    """Say whether something is meant as an ONNX file, by its name."""
    return Path(what).suffix == ".onnx"


def _from_onnx(path: Path) -> Classifier:
    """Make a classifier of an ONNX file and its own metadata."""
    said = read_metadata(path)
    preprocessing = said.get("preprocessing")
    return Classifier(
        name=str(path),
        logits=onnx_logits(path),
        preprocessing=None if preprocessing is None else Preprocessing(**preprocessing),
        labels=tuple(said.get("labels") or ()),
        from_pixels=_from_pixels(path) if said.get("input") == PIXELS else None,
    )


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


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Turn logits, (batch, classes), into probabilities, in float64."""
    return softmax(logits.astype(np.float64))


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of rows whose largest logit is at the label."""
    return float(np.mean(logits.argmax(axis=-1) == labels))
