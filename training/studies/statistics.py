"""The mean over seeds, and between which values the true one lies."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from zoo.errors import InputError

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its confidence interval.

    Args:
        mean: The mean; of ratios the geometric one.
        low: The lower end of the 95 % interval; minus infinity for a single seed.
        high: The upper end.
        count: The number of seeds.
    """

    mean: float
    low: float
    high: float
    count: int


def interval(values: Sequence[float], scale: Literal["linear", "log"] = "linear") -> Interval:
    """Compute a mean and its confidence interval by Student's t distribution.

    Args:
        values: One finite number per seed, at least one.
        scale: ``log`` for ratios, which must be above 0: mean and interval are those of their
            logarithms.

    Returns:
        The interval. Where all values agree it has no width.

    Raises:
        InputError: There are no values, or one is not finite, or a ratio not positive.

    Example:
        >>> interval([0.91, 0.93, 0.92, 0.90, 0.94])
        Interval(mean=0.92, low=0.900..., high=0.939..., count=5)
    """
    numbers = np.asarray(values, np.float64)
    if not numbers.size or not np.isfinite(numbers).all():
        raise InputError(f"accepted are finite numbers, one per seed; received {list(values)}")
    if scale == "log":
        if (numbers <= 0).any():
            raise InputError(f"accepted are ratios above 0; received {list(values)}")
        found = interval([math.log(number) for number in numbers])
        return Interval(math.exp(found.mean), math.exp(found.low), _exp(found.high), len(numbers))
    mean = float(numbers.mean())
    if len(numbers) == 1:
        return Interval(mean, -math.inf, math.inf, 1)
    from scipy.stats import t

    error = float(numbers.std(ddof=1)) / math.sqrt(len(numbers))
    half = float(t.ppf((1 + CONFIDENCE) / 2, len(numbers) - 1)) * error
    return Interval(mean, mean - half, mean + half, len(numbers))


def _exp(value: float) -> float:
    """Compute an exponential that may be too large for a float."""
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
