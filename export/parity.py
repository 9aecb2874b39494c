"""How near a computation is to the exact one, judged by how near the original itself is.

The error of a batch is max |value - reference| / max |reference|, over all images and numbers of
one output; the reference is the model computed in float64. Where batches of one kind are compared,
the largest reference is that of all of them: a single image whose logits happen to cancel would
else make any rounding look large. float32 rounds differently in each order
of summation, so a file is not asked to equal Keras: its error may be twice the largest that the
original itself makes in float32, plus a few units in the last place. The original's own error is
the largest over all batches; where a model normalizes by the data itself, over a few runs that
round otherwise too (see `export.rounding`).

Probabilities beside logits are judged as the softmax of these: the logits are held against the
model, and how much a softmax of large ones magnifies their rounding is not the file's doing.

Where the original itself has no finite number in float32, such as an exponential of a large input,
there is no error to judge by: such numbers are left out, and how many are left is told.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from export.by_image import ByImage
from export.probes import LARGE
from export.running import Runner

if TYPE_CHECKING:
    import keras

# float32 stores no number better than to 2^-24 of it, and a shallow model's own error may by luck
# be that of one rounding or none; four units in the last place (2^-23) leave room for the last few
# sums being done in another order.
FLOOR = 4 * 2.0**-23
FACTOR = 2.0

# The largest error of the model's own at which there is still something to hold a file to. Sound
# networks are off by 1e-7 to 1e-5, a file of zeros by 1.
DECIDED = 1e-2

# Runs that round otherwise, besides the plain one. The errors of small images scatter over a factor
# of ten, and the largest of three runs was once less than half of what a sound file made. Large
# images have more numbers behind each deviation, and eight more runs of them would take minutes.
_NOISY_RUNS = 8
_NOISY_RUNS_LARGE = 2


@dataclass(frozen=True)
class Answer:
    """What the model makes of one batch.

    Args:
        exact: Each output in float64.
        runs: Each output in float32, as the original computes it: the plain run first, and then
            those that round otherwise, if any.
        probabilities: Whether the second output is the softmax of the first.
    """

    exact: list[np.ndarray]
    runs: list[list[np.ndarray]]
    probabilities: bool = False

    @property
    def single(self) -> list[np.ndarray]:
        """Each output in float32, of the plain run."""
        return self.runs[0]

    @property
    def counted(self) -> list[np.ndarray]:
        """Which numbers of each output are judged: those that are finite in float32."""
        return [np.isfinite(array) for array in self.single]

    def own_error(self, scales: Sequence[float] | None = None) -> float:
        """Return the original's own float32 error, of the worst output and run."""
        return max(self.error(run, scales) for run in self.runs)

    def error(self, values: Sequence[np.ndarray], scales: Sequence[float] | None = None) -> float:
        """Return the error of other outputs of this batch, of the worst output."""
        return worst_error(values, self.expected(values), scales, self.counted)

    def expected(
        self, values: Sequence[np.ndarray], others: Sequence[np.ndarray] | None = None
    ) -> list[np.ndarray]:
        """Return what outputs should be: the exact ones, or others.

        Probabilities should differ from these by what their logits make them differ.
        """
        wanted = list(self.exact if others is None else others)
        if self.probabilities and len(values) == len(wanted):
            here, there = (softmax(np.asarray(one[0], np.float64)) for one in (values, wanted))
            wanted[-1] = wanted[-1] + (here - there)
        return wanted


@dataclass(frozen=True)
class Reference:
    """A model in float64 and in float32, from the same weights.

    Args:
        exact: The model in float64.
        single: The model in float32.
        noisy: The model in float32, rounded a little otherwise at each call; None for a model
            whose one float32 run tells its error.
        probabilities: Whether a softmax of the only output is a second output.
    """

    exact: "keras.Model"
    single: "keras.Model"
    noisy: "keras.Model | None" = None
    probabilities: bool = False

    @classmethod
    def of(
        cls,
        model: "keras.Model",
        *,
        probabilities: bool = False,
        single: "keras.Model | None" = None,
    ) -> "Reference":
        """Build all of them from a model under any dtype policy, but the one that is there."""
        from export.exact import reference
        from export.rebuilding import rebuild
        from export.rounding import noisy

        return cls(reference(model), single or rebuild(model), noisy(model), probabilities)

    def answer(self, inputs: Sequence[np.ndarray]) -> Answer:
        """Compute one batch in both precisions."""
        exact, single = self.compute_exact(inputs), self.compute_single(inputs)
        runs = [single]
        if self._noisy is not None:
            large = max(array[0].size for array in inputs) > LARGE
            for _ in range(_NOISY_RUNS_LARGE if large else _NOISY_RUNS):
                runs.append(self._with_probabilities(self._noisy(inputs)))
        return Answer(exact, runs, self.probabilities)

    def compute_exact(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Compute one batch in float64."""
        return self._with_probabilities(self._by_image(doubled(inputs)))

    @cached_property
    def _by_image(self) -> ByImage:
        return ByImage(self.exact)

    @cached_property
    def _single(self) -> Runner:
        return Runner(self.single)

    @cached_property
    def _noisy(self) -> Runner | None:
        return None if self.noisy is None else Runner(self.noisy)

    def compute_single(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Compute one batch in float32."""
        return self._with_probabilities(self._single(inputs))

    def _with_probabilities(self, outputs: list[np.ndarray]) -> list[np.ndarray]:
        return [*outputs, softmax(outputs[0])] if self.probabilities else outputs


def doubled(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Bring what is no whole number to float64."""
    return [
        array.astype(np.float64) if np.issubdtype(array.dtype, np.floating) else array
        for array in inputs
    ]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Compute the softmax over the last axis, in the logits' own precision."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def error(
    value: np.ndarray,
    reference: np.ndarray,
    scale: float | None = None,
    where: np.ndarray | None = None,
) -> float:
    """Measure one output of one batch: max |value - reference| / max |reference|.

    Args:
        value: What was computed.
        reference: What it should be, in float64.
        scale: What to divide by instead of the reference's own largest number.
        where: Which numbers count, as booleans of the same shape; None for all.

    Returns:
        The error; infinite where the shapes differ, or a number is finite on one side only. Two
        NaNs agree, and so do two equal infinities. Where there is nothing to divide by, since
        every reference is 0, it is the difference itself.
    """
    if value.shape != reference.shape:
        return float("inf")
    agree = (value == reference) | (np.isnan(value) & np.isnan(reference))
    differ = ~agree if where is None else ~agree & where
    difference = np.abs(value[differ].astype(np.float64) - reference[differ]).max(initial=0.0)
    if not np.isfinite(difference):
        return float("inf")
    if scale is None:
        scale = largest(reference, where)
    return float(difference) / (scale or 1.0)


def largest(values: np.ndarray, where: np.ndarray | None = None) -> float:
    """Return the largest finite magnitude in an array, 0 where there is none."""
    counted = np.isfinite(values) if where is None else np.isfinite(values) & where
    return float(np.abs(values[counted]).max(initial=0.0))


def worst_error(
    values: Sequence[np.ndarray],
    references: Sequence[np.ndarray],
    scales: Sequence[float] | None = None,
    where: Sequence[np.ndarray] | None = None,
) -> float:
    """Return the largest error over all outputs; infinite where some are missing."""
    if len(values) != len(references):
        return float("inf")
    none = [None] * len(values)
    four = zip(values, references, scales or none, where or none, strict=True)
    return max(error(*one) for one in four)


def shared_scales(
    references: Sequence[Sequence[np.ndarray]], where: Sequence[Sequence[np.ndarray]] | None = None
) -> list[float]:
    """Return the largest magnitude of each output over several batches of one kind.

    Args:
        references: The outputs of each batch.
        where: Which numbers of them count; None for all.
    """
    counted = [[None] * len(batch) for batch in references] if where is None else where
    batches = zip(references, counted, strict=True)
    each = [[largest(*one) for one in zip(*batch, strict=True)] for batch in batches]
    return [max(same) for same in zip(*each, strict=True)]


def limit_for(own_error: float) -> float:
    """Return the error that a file may have, given the original's own.

    One that is beyond `DECIDED`, or not finite, allows none: it would let everything pass.
    """
    return FACTOR * own_error + FLOOR if own_error <= DECIDED else 0.0


def flips(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the images, by position, whose largest logit is another one in the two arrays.

    An image whose logits in the first array are not finite has no class there, and is left out.
    """
    known = np.isfinite(values).all(axis=-1)
    return np.flatnonzero(known & (values.argmax(axis=-1) != others.argmax(axis=-1)))


def is_tie(exact: np.ndarray, first: int, second: int, *, allowed: float) -> bool:
    """Say whether rounding may exchange two classes of one image.

    Args:
        exact: The image's logits in float64.
        first: The class that one computation puts first.
        second: The class that the other puts first.
        allowed: The summed absolute errors that the two computations may have on one logit. Either
            may raise one class and lower the other, so the margin counts against twice the sum.

    Returns:
        Whether the margin between the two is that small.
    """
    return bool(abs(exact[first] - exact[second]) <= 2 * allowed)
