"""How far an average over a constant map may be off.

On an image of one colour each pixel of a map is the same number. One added after the other, they
are rounded alike: within a binade each sum is off by the same part of a unit in the last place, in
the same direction. Nothing averages out, and what is rounded grows with their number: a sum s of n
equal numbers c has s / 2c additions in its last binade, a quarter of the error comes from before
it, and of each it is at most 2^-24 s. That makes n / 3 of 2^-24. Sums of numbers that differ err by
its root at most (Higham 1993); float32 libraries differ in whether they add one after the other.

Reference:
    Higham 1993, The Accuracy of Floating Point Summation, https://doi.org/10.1137/0914050
"""

import math
from typing import TYPE_CHECKING

from export.probes import FREE_SIZE

if TYPE_CHECKING:
    import keras

_EACH = 2.0**-24 / 3


def allowance(model: "keras.Model") -> float:
    """Return what constant images may be off by, of the largest output, besides other rounding.

    Args:
        model: A functional or Sequential model.

    Returns:
        The relative error of the longest sum over pixels that a pooling layer of it makes.
    """
    return _EACH * max((_pixels(layer) for layer in model.layers), default=0)


def _pixels(layer: "keras.layers.Layer") -> int:
    """Count the pixels that a layer averages; 0 where it averages none."""
    kind = type(layer).__name__
    if kind.startswith("AveragePooling"):
        return math.prod(layer.pool_size)
    if not kind.startswith("GlobalAveragePooling"):
        return 0
    shape = layer.input.shape[1:]
    sides = shape[1:] if layer.data_format == "channels_first" else shape[:-1]
    return math.prod(side or FREE_SIZE for side in sides)
