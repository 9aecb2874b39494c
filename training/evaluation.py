"""Measuring a model on labelled images: accuracy with its interval, loss, confusion."""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from training import views as several
from training.data import Data, Split
from training.streaming import Stream
from zoo import xla
from zoo.errors import InputError
from zoo.preprocessing import Preprocessing

_Z95 = 1.959963984540054  # the normal distribution's 97.5 % quantile


@dataclass(frozen=True)
class Metrics:
    """What was measured.

    Args:
        count: The number of images.
        correct: How many of them got their own class as the highest logit.
        accuracy: Their share.
        interval: Between which accuracies the true one lies, with 95 % confidence (Wilson).
        loss: The mean cross-entropy, in nats, without label smoothing.
        per_class: The accuracy on the images of each class, by its name; None where there are
            none.
        per_class_intervals: The interval of each of these, as above.
        confusion: How often class i (row) was taken for class j (column).
        views: From how many views of each image; see `training.views`.
    """

    count: int
    correct: int
    accuracy: float
    interval: tuple[float, float]
    loss: float
    per_class: dict[str, float | None]
    per_class_intervals: dict[str, tuple[float, float] | None]
    confusion: tuple[tuple[int, ...], ...]
    views: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Return the measurements as plain values that JSON can hold."""
        return asdict(self)

    def confusions(self, most: int = 10) -> list[tuple[str, str, int]]:
        """Find the classes that are most often taken for another one.

        Args:
            most: How many pairs to tell.

        Returns:
            The true class, the one it was taken for, and how often; the most frequent first,
            those that never happened left out.
        """
        names = list(self.per_class)
        pairs = [
            (names[i], names[j], count)
            for i, row in enumerate(self.confusion)
            for j, count in enumerate(row)
            if i != j and count
        ]
        return sorted(pairs, key=lambda pair: -pair[2])[:most]


@dataclass(frozen=True)
class Mistake:
    """An image that was classified wrongly.

    Args:
        position: Its place in the split.
        truth: The name of its class.
        predicted: The name of the class with the highest logit.
        confidence: That class's probability.
        truth_probability: Its own class's probability.
    """

    position: int
    truth: str
    predicted: str
    confidence: float
    truth_probability: float


@dataclass(frozen=True)
class Answers:
    """What a classifier said of labelled images.

    Args:
        split: The images.
        labels: The classes' names.
        logits: float64, (count, classes).
        views: From how many views of each image they are.
    """

    split: Split
    labels: tuple[str, ...]
    logits: np.ndarray
    views: int = 1

    def metrics(self) -> Metrics:
        """Measure them."""
        return _measure(self.logits, self.split.labels, self.labels, self.views)

    def mistakes(self, most: int = 12) -> list[Mistake]:
        """Find the images that are most confidently classified wrongly.

        Args:
            most: How many to tell.

        Returns:
            The most confident one first.
        """
        odds = np.exp(self.logits - self.logits.max(axis=-1, keepdims=True))
        shares = odds / odds.sum(axis=-1, keepdims=True)
        truth, predicted = self.split.labels, self.logits.argmax(axis=-1)
        wrong = np.flatnonzero(predicted != truth)
        confidence = shares[wrong, predicted[wrong]]
        return [
            Mistake(
                position=int(at),
                truth=self.labels[truth[at]],
                predicted=self.labels[predicted[at]],
                confidence=float(shares[at, predicted[at]]),
                truth_probability=float(shares[at, truth[at]]),
            )
            for at in wrong[np.argsort(-confidence, kind="stable")[:most]]
        ]


def evaluate(
    model: Any,
    data: Data | Split,
    *,
    preprocessing: Preprocessing | None = None,
    labels: Sequence[str] | None = None,
    batch_size: int = 256,
    views: int = 1,
) -> Metrics:
    """Measure a classifier.

    Args:
        model: A keras.Model that returns logits, or any function from preprocessed images to
            logits, both arrays with the batch first.
        data: The images; of a `training.Data` its test split.
        preprocessing: What turns them into the model's input; None for the data's own.
        labels: The classes' names as the model has them; None for the data's own, or their
            numbers. Of a `training.Data` with other names its images would be of other classes.
        batch_size: How many images are computed at once, 1 or more. The last batch is filled up,
            so that nothing is compiled twice; the filling is not counted.
        views: From how many views of each image its logits are averaged, 1, 2 or 6; see
            `training.views`.

    Returns:
        The measurements.

    Raises:
        InputError: There is nothing to measure, the logits do not fit the labels or are not
            finite, the data's classes have other names, or a split came without preprocessing.

    Example:
        >>> data = training.load_data("digits")
        >>> training.evaluate(zoo.load_model("resnet20.digits"), data).accuracy
    """
    return answers(
        model,
        data,
        preprocessing=preprocessing,
        labels=labels,
        batch_size=batch_size,
        views=views,
    ).metrics()


def answers(
    model: Any,
    data: Data | Split,
    *,
    preprocessing: Preprocessing | None = None,
    labels: Sequence[str] | None = None,
    batch_size: int = 256,
    views: int = 1,
) -> Answers:
    """Let a classifier answer, to be measured and looked at; see `evaluate`.

    Args:
        model: As in `evaluate`.
        data: As in `evaluate`.
        preprocessing: As in `evaluate`.
        labels: As in `evaluate`.
        batch_size: As in `evaluate`.
        views: As in `evaluate`.

    Returns:
        The images with their logits.

    Raises:
        InputError: As in `evaluate`.

    Example:
        >>> answers(zoo.load_model("resnet20.digits"), data).mistakes()[0].confidence
    """
    several.check(views)
    split = data.test if isinstance(data, Data) else data
    if isinstance(data, Data):
        preprocessing = preprocessing or data.preprocessing
        data.check_labels(labels)
        labels = labels or data.labels
    if preprocessing is None:
        raise InputError("evaluate: a training.Split has no preprocessing of its own; pass one")
    if not len(split) or batch_size < 1:
        raise InputError(
            "evaluate: accepted are at least one image and batch_size 1; "
            f"received {len(split)} and {batch_size}"
        )
    whole = np.issubdtype(split.labels.dtype, np.integer)
    if split.labels.shape != (len(split.images),) or not whole:
        raise InputError(
            f"evaluate: accepted is one whole number as the label of each of {len(split.images)} "
            f"images; received {split.labels.dtype} of shape {split.labels.shape}"
        )
    if split.labels.min() < 0:
        raise InputError(
            f"evaluate: accepted are labels of 0 or more; received {split.labels.min()}"
        )
    is_model = hasattr(model, "predict_on_batch")
    predict = several.averaged(xla.predictor(model) if is_model else model, views)
    logits = _logits(predict, split.images, preprocessing, min(batch_size, len(split)))
    classes = logits.shape[-1]
    if (labels is not None and len(labels) != classes) or split.labels.max() >= classes:
        raise InputError(
            f"evaluate: the model has {classes} logits and the data "
            f"{len(labels) if labels is not None else split.labels.max() + 1} classes"
        )
    wrong = np.flatnonzero(~np.isfinite(logits).all(axis=-1))
    if len(wrong):
        raise InputError(f"evaluate: the model's logits for image {wrong[0]} are not finite")
    return Answers(split, tuple(labels or map(str, range(classes))), logits, views)


def wilson(correct: int, count: int) -> tuple[float, float]:
    """Compute the 95 % interval of a share that was measured by counting.

    Args:
        correct: How often it was so.
        count: Out of how many, 1 or more.

    Returns:
        The lower and the upper end, in [0, 1].

    Reference:
        Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953
    """
    share = correct / count
    middle = share + _Z95**2 / (2 * count)
    reach = _Z95 * math.sqrt(share * (1 - share) / count + _Z95**2 / (4 * count**2))
    scale = 1 + _Z95**2 / count
    return max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale)


def _logits(
    predict: Callable[[np.ndarray], Any],
    images: np.ndarray | Stream,
    preprocessing: Preprocessing,
    batch_size: int,
) -> np.ndarray:
    """Compute the logits of all images, in float64."""
    parts = []
    for batch in _batches(images, batch_size):
        missing = batch_size - len(batch)
        filled = np.concatenate([batch, images[:missing]]) if missing else batch
        parts.append(np.asarray(predict(preprocessing(filled)), np.float64)[: len(batch)])
    return np.concatenate(parts)


def _batches(images: np.ndarray | Stream, batch_size: int) -> Iterator[np.ndarray]:
    """Cut images into batches; the next one is read while the model computes."""
    with ThreadPoolExecutor(1) as ahead:
        following = ahead.submit(images.__getitem__, slice(0, batch_size))
        for start in range(batch_size, len(images) + batch_size, batch_size):
            batch = following.result()
            following = ahead.submit(images.__getitem__, slice(start, start + batch_size))
            yield batch


def _measure(logits: np.ndarray, labels: np.ndarray, names: Sequence[str], views: int) -> Metrics:
    """Compute the measurements from float64 logits."""
    count = len(labels)
    confusion = np.zeros((len(names), len(names)), np.int64)
    np.add.at(confusion, (labels, logits.argmax(axis=-1)), 1)
    correct = int(confusion.trace())
    highest = logits.max(axis=-1)
    log_sum = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=-1))
    totals = confusion.sum(axis=1)
    return Metrics(
        count=count,
        correct=correct,
        accuracy=correct / count,
        interval=wilson(correct, count),
        loss=float(np.mean(log_sum - logits[np.arange(count), labels])),
        per_class={
            name: float(confusion[i, i] / totals[i]) if totals[i] else None
            for i, name in enumerate(names)
        },
        per_class_intervals={
            name: wilson(int(confusion[i, i]), int(totals[i])) if totals[i] else None
            for i, name in enumerate(names)
        },
        confusion=tuple(tuple(int(cell) for cell in row) for row in confusion),
        views=views,
    )
