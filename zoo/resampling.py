"""Pillow's resizing as a matrix for each axis, so that a network can do it, in any framework."""

import math
from collections.abc import Callable

import numpy as np


def _triangle(x: np.ndarray) -> np.ndarray:
    """The kernel of bilinear interpolation."""
    return np.maximum(0.0, 1.0 - np.abs(x))


def _cubic(x: np.ndarray) -> np.ndarray:
    """The kernel of bicubic interpolation, with Pillow's a = -1/2."""
    x, a = np.abs(x), -0.5
    near = ((a + 2) * x - (a + 3)) * x**2 + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


# By interpolation: the kernel, and how far from its middle it reaches.
_KERNELS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {
    "bilinear": (_triangle, 1.0),
    "bicubic": (_cubic, 2.0),
}


def matrix(size: int, wanted: int, low: float, high: float, interpolation: str) -> np.ndarray:
    """Give the weights with which the pixels along one axis make those of another number.

    A kernel is stretched where pixels become fewer, so that each one of them counts.

    Args:
        size: The number of pixels.
        wanted: The number of pixels to make of them.
        low: Where the part begins that is resized, in pixels.
        high: Where it ends.
        interpolation: ``nearest``, ``bilinear`` or ``bicubic``.

    Returns:
        float64, (wanted, size); each row's sum is 1.

    Reference:
        Turkowski 1990, Filters for common resampling tasks, in Graphics Gems I
    """
    scale = (high - low) / wanted
    found = np.zeros((wanted, size))
    nearest = low + 0.5 * scale
    for row, line in enumerate(found):
        if interpolation == "nearest":
            line[min(size - 1, int(nearest))] = 1.0
            nearest += scale  # as Pillow does, and so it rounds alike half way between two pixels
            continue
        center = low + (row + 0.5) * scale
        kernel, reach = _KERNELS[interpolation]
        stretch = max(scale, 1.0)
        first = max(0, math.floor(center - reach * stretch + 0.5))
        last = min(size, math.floor(center + reach * stretch + 0.5))
        weights = kernel((np.arange(first, last) + 0.5 - center) / stretch)
        line[first:last] = weights / weights.sum()
    return found
