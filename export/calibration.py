"""The real images that decide how a model is quantized, and the ranges that they make in it."""

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zoo.errors import InputError

Ranges = Mapping[str, tuple[np.ndarray, np.ndarray]]  # the lowest and highest value of each tensor

FEWEST = 32  # half of them calibrate, the others choose
MOST_UNEVEN = 10  # how many times as many images one class may have as another
_BATCH = 8  # images; histograms hold every activation of a batch at once
_SHARE_PER_CLASS = 10  # images for each class, from which on every class is asked for

# onnxruntime's own defaults of the last two clip next to nothing: 99.999 % of the values, and as
# many bins as levels, between which there is nothing to choose.
CALIBRATORS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "minmax": ("MinMax", {}),
    "percentile": ("Percentile", {"percentile": 99.99}),
    "entropy": ("Entropy", {"num_bins": 512, "num_quantized_bins": 128}),
}


def ranges(path: Path, images: np.ndarray, calibrator: str) -> Ranges:
    """Run real images through a float file and tell the range of each tensor.

    Args:
        path: The file, pre-processed by onnxruntime.
        images: As its only input takes them, float32, (count, ...).
        calibrator: ``minmax`` takes the whole range; ``percentile`` the middle 99.99 %;
            ``entropy`` the one whose 8-bit form loses least information.

    Returns:
        The lowest and highest value by the tensor's name, as float32.

    Reference:
        Wu et al. 2020, section 3.3, https://arxiv.org/abs/2004.09602
    """
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

    method, options = CALIBRATORS[calibrator]
    augmented = path.with_name(f"{path.stem}.{calibrator}.onnx")
    # onnxruntime prints what it does to stdout, where our answers go.
    with contextlib.redirect_stdout(io.StringIO()):
        found = create_calibrator(
            path,
            [],
            str(augmented),
            calibrate_method=CalibrationMethod[method],
            extra_options=dict(options),
        )
        (name,) = (value.name for value in found.infer_session.get_inputs())
        for start in range(0, len(images), _BATCH):
            found.collect_data(_Batch({name: images[start : start + _BATCH]}))
        data = found.compute_data()
    augmented.unlink()
    return {tensor: (value.lowest, value.highest) for tensor, value in data.items()}


class _Batch:
    """One batch, as onnxruntime's calibrators ask for it."""

    def __init__(self, feed: dict[str, np.ndarray]) -> None:
        self._feed: dict[str, np.ndarray] | None = feed

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the batch at the first call, and None at the second."""
        feed, self._feed = self._feed, None
        return feed


def check_images(
    what: str, images: np.ndarray, labels: np.ndarray | None, shape: list[Any], classes: int
) -> None:
    """Refuse images that a file does not take.

    Args:
        what: The argument's name, for the message.
        images: The images.
        labels: The index of each one's class, or None.
        shape: The input's shape without the batch, as the images have it; a text is any size.
        classes: How many logits the file gives.

    Raises:
        InputError: They are not finite float32 images of that shape, or the labels are not one
            class for each.
    """
    fits = images.ndim == len(shape) + 1 and all(
        isinstance(wanted, str) or wanted in (None, size)
        for wanted, size in zip(shape, images.shape[1:], strict=True)
    )
    if not fits or images.dtype != np.float32:
        raise InputError(
            f"{what}: accepted are float32 images of shape (count, {', '.join(map(str, shape))}); "
            f"received {images.dtype} of shape {images.shape}"
        )
    if not np.isfinite(images).all():
        raise InputError(f"{what}: accepted are finite images; received some that are not numbers")
    if labels is None:
        return
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            f"{what}: accepted is one whole number for each of the {len(images)} images; received "
            f"{labels.dtype} of shape {labels.shape}"
        )
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise InputError(
            f"{what}: accepted are classes from 0 to {classes - 1}; received {labels.min()} to "
            f"{labels.max()}"
        )


def check_balance(labels: np.ndarray, classes: int) -> None:
    """Refuse calibration images that show some classes and hardly others.

    Args:
        labels: The index of each image's class.
        classes: How many classes there are.

    Raises:
        InputError: There are enough images for all classes and one has over ten times as many as
            another; or there are not, and under half of the classes that there could be are shown.
    """
    counts = np.bincount(labels, minlength=classes)
    if len(labels) >= _SHARE_PER_CLASS * classes:
        rarest, commonest = int(counts.argmin()), int(counts.argmax())
        if counts[commonest] > MOST_UNEVEN * counts[rarest]:
            raise InputError(
                f"calibration: class {commonest} has {counts[commonest]} images and class {rarest} "
                f"has {counts[rarest]}; accepted are at most {MOST_UNEVEN} times as many"
            )
        return
    shown, possible = int((counts > 0).sum()), min(len(labels), classes)
    if 2 * shown < possible:
        raise InputError(
            f"calibration: {len(labels)} images show {shown} of {classes} classes; accepted are "
            f"at least {-(-possible // 2)}"
        )


def divide(
    images: np.ndarray, labels: np.ndarray | None, calibrating: int, choosing: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Divide images into those that calibrate and those that choose; always the same way.

    Args:
        images: The images.
        labels: The index of each one's class, or None. With them, both parts show the classes as
            evenly as there are images.
        calibrating: How many calibrate at most; never over half of them.
        choosing: How many choose at most.

    Returns:
        The images that calibrate, the images that choose, and the labels of the latter.

    Raises:
        InputError: There are too few.
    """
    if len(images) < FEWEST:
        raise InputError(
            f"calibration: accepted are at least {FEWEST} images, of which half calibrate and the "
            f"others choose; received {len(images)}"
        )
    order = _mixed(len(images), labels)
    first = min(calibrating, len(images) // 2)
    rest = order[first : first + choosing]
    return images[order[:first]], images[rest], None if labels is None else labels[rest]


def _mixed(count: int, labels: np.ndarray | None) -> np.ndarray:
    """Order images by chance, with labels so that the classes take turns."""
    order = np.random.default_rng(0).permutation(count)
    if labels is None:
        return order
    turn = np.empty(count, np.int64)  # the how-manieth of its class an image is
    for label in np.unique(labels):
        members = np.flatnonzero(labels[order] == label)
        turn[members] = np.arange(len(members))
    return order[np.argsort(turn, kind="stable")]
