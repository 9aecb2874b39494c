"""Several views of a test image, classified together: test-time augmentation.

The views of one image are the image, its mirror image, and both of these shifted by a pixel towards
two opposite corners, as in airbench94. Nothing is trained for it, and a deployed model does not do
it: what is measured so compares with figures that were measured so, and with no others.

Reference:
    Jordan 2024, https://arxiv.org/abs/2404.00498, multi-crop evaluation
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args

import numpy as np

from zoo.errors import InputError

Views = Literal[1, 2, 6]
ACCEPTED: tuple[int, ...] = get_args(Views)


def check(count: int) -> None:
    """Make sure that there are so many views.

    Args:
        count: How many are asked for.

    Raises:
        InputError: There are none of that number.
    """
    if count not in ACCEPTED:
        raise InputError(f"views: accepted are {', '.join(map(str, ACCEPTED))}; received {count}")


def averaged(predict: Callable[[np.ndarray], Any], count: int) -> Callable[[np.ndarray], Any]:
    """Let a classifier answer by the average of several views.

    Args:
        predict: From preprocessed images, (batch, height, width, channels), to logits, (batch,
            classes).
        count: 1, the image alone, which returns `predict` itself; 2, with its mirror image; 6,
            with both shifted too, where the two that are not shifted count for half.

    Returns:
        A function of the same kind. Its logits are the weighted mean, in float64.

    Raises:
        InputError: There are no such views.

    Example:
        >>> averaged(model.predict_on_batch, 6)(images)
    """
    check(count)
    if count == 1:
        return predict
    return lambda images: sum(
        weight * np.asarray(predict(view), np.float64) for weight, view in _views(images, count)
    )


def _views(images: np.ndarray, count: int) -> Iterator[tuple[float, np.ndarray]]:
    """Make views one after the other, each with its share of the mean."""
    shifts = [0] if count == 2 else [0, -1, 1]
    shares = {0: 1 / 2} if count == 2 else {0: 1 / 4, -1: 1 / 8, 1: 1 / 8}
    for shift in shifts:
        moved = _shifted(images, shift)
        yield shares[shift], moved
        yield shares[shift], np.ascontiguousarray(moved[:, :, ::-1])


def _shifted(images: np.ndarray, pixels: int) -> np.ndarray:
    """Shift images down and to the right; what comes in mirrors what lies beside the border."""
    if not pixels:
        return images
    height, width = images.shape[1:3]
    reach = abs(pixels)
    around = ((0, 0), (reach, reach), (reach, reach), (0, 0))
    padded = np.pad(images, around, mode="reflect")
    start = reach - pixels
    return padded[:, start : start + height, start : start + width]
