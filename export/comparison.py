"""What a file of fewer bits gets wrong that its float file gets right, on the same images."""

import math
from dataclasses import dataclass, replace

import numpy as np

_NOISE = 99  # per cent of the images have a smaller error than what is called noise


@dataclass(frozen=True)
class Comparison:
    """Two files on the same images.

    Args:
        images: How many there are.
        agreement: The share of them that both put in the same class.
        logit_error: The mean difference of a logit, of the standard deviation of the float file's.
        flips_beyond: How many images change their class though the float file's margin between the
            two classes is more than twice the noise: the error that 99 % of the images stay below.
        float_accuracy: The share that the float file gets right; None without labels.
        accuracy: Likewise of the other file.
        drop: How many points of accuracy are lost, negative where some are won.
        drop_low: The lower end of its 95 % interval.
        drop_high: The upper end.
    """

    images: int
    agreement: float
    logit_error: float
    flips_beyond: int
    float_accuracy: float | None = None
    accuracy: float | None = None
    drop: float | None = None
    drop_low: float | None = None
    drop_high: float | None = None

    @property
    def loss(self) -> float:
        """The points lost; without labels, those that may be: of the images that change class."""
        return 100 * (1 - self.agreement) if self.drop is None else self.drop

    @property
    def interval(self) -> str:
        """The lost points in words, with their interval where there are labels."""
        if self.drop is None:
            return f"{100 * (1 - self.agreement):.2f} % of {self.images} images change class"
        return (
            f"{self.drop:+.2f} points (95 % interval {self.drop_low:+.2f} to {self.drop_high:+.2f})"
            f" on {self.images} images"
        )


def compare(exact: np.ndarray, other: np.ndarray, labels: np.ndarray | None) -> Comparison:
    """Compare what two files make of the same images.

    Args:
        exact: The float file's logits, (images, classes).
        other: The other file's.
        labels: The index of each image's class, or None.

    Returns:
        The comparison. A number that is not finite makes the logit error infinite.
    """
    count = len(exact)
    # What is added to all logits of an image changes nothing, and counts for nothing.
    centred = [logits - logits.mean(axis=-1, keepdims=True) for logits in (exact, other)]
    difference = np.abs(centred[1] - centred[0])
    error = float(difference.mean()) / (float(centred[0].std()) or 1.0)
    first, second = exact.argmax(axis=-1), other.argmax(axis=-1)
    rows = np.arange(count)
    noise = np.percentile(difference.max(axis=-1), _NOISE)
    margin = exact[rows, first] - exact[rows, second]
    found = Comparison(
        images=count,
        agreement=float((first == second).mean()),
        logit_error=error if math.isfinite(error) else math.inf,
        flips_beyond=int((margin > 2 * noise).sum()),
    )
    if labels is None:
        return found
    right, still = first == labels, second == labels
    lost, won = int((right & ~still).sum()), int((~right & still).sum())
    low, high = paired_interval(lost, won, count)
    return replace(
        found,
        float_accuracy=float(right.mean()),
        accuracy=float(still.mean()),
        drop=100 * (lost - won) / count,
        drop_low=100 * low,
        drop_high=100 * high,
    )


def paired_interval(lost: int, won: int, count: int) -> tuple[float, float]:
    """Compute the 95 % interval of a difference of two shares of the same images.

    Args:
        lost: How many only the first gets right.
        won: How many only the second gets right.
        count: How many images there are.

    Returns:
        Both ends, as shares; of ``lost - won``.

    Example:
        >>> paired_interval(3, 1, 1000)
        (-0.00246..., 0.00645...)

    Reference:
        Agresti and Min 2005, Simple improved confidence intervals for comparing matched
        proportions: Wald's interval with half an observation added to each of the four cells.
        https://doi.org/10.1002/sim.1781
    """
    first, second, total = lost + 0.5, won + 0.5, count + 2.0
    share = (first - second) / total
    deviation = math.sqrt(first + second - (first - second) ** 2 / total) / total
    return max(-1.0, share - 1.96 * deviation), min(1.0, share + 1.96 * deviation)
