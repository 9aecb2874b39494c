"""An ONNX file and its Keras model on the same batches: errors, classes and accuracy."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from export import equal_sums, parity
from export.checks import Check
from export.divergence import first_divergence
from export.errors import ExportError
from export.onnx_runtime import COMPARED, Session
from export.probes import CONSTANT, Probe

if TYPE_CHECKING:
    import onnx

Progress = Callable[[str, int, int], None]

_SPLIT_BATCH = 256

# On images of one colour a model that normalizes by the data divides by deviations of nearly
# constant maps, which are rounding themselves. Sound files were up to 4.4 times as far off there as
# the worst of the original's runs (ResNet-8 with instance norm; twice is accepted anyway).
_SCATTER = 4.0


@dataclass(frozen=True)
class _Compared:
    """One batch, computed by all."""

    probe: Probe
    answer: parity.Answer
    files: dict[str, list[np.ndarray]]  # by level
    scales: list[float]  # the largest number of each output, over all batches made so

    def error(self, level: str) -> float:
        """The file's error against the exact answer."""
        return self.answer.error(self.files[level], self.scales)

    @property
    def worst(self) -> float:
        """The file's error at the worse level."""
        return max(self.error(level) for level in COMPARED)

    @property
    def apart(self) -> float:
        """How far the file's answers at both levels lie apart."""
        off, full = (self.files[level] for level in COMPARED)
        wanted = self.answer.expected(full, off)
        return parity.worst_error(full, wanted, self.scales, self.answer.counted)


@dataclass
class SideBySide:
    """A file and its model, side by side.

    Args:
        proto: The file, without preprocessing inside.
        reference: The model.
        sessions: The file loaded at the levels of optimisation that are compared.
        nchw: Whether the file takes channels first.
        progress: See `export.validate`.
        accepted: Likewise.
    """

    proto: "onnx.ModelProto"
    reference: parity.Reference
    sessions: dict[str, Session]
    nchw: bool
    progress: Progress
    accepted: float
    own_error: float = field(default=0.0, init=False)
    error: float = field(default=0.0, init=False)
    _own_by_kind: dict[str, float] = field(default_factory=dict, init=False)

    @property
    def limit(self) -> float:
        """What error the file may have, but on images of one colour."""
        return max(self.accepted, parity.limit_for(self.own_error))

    def limit_of(self, probe: Probe) -> float:
        """What error the file may have on a batch."""
        if not probe.has_constant:
            return self.limit
        own = max(self.own_error, self._own_by_kind[probe.kind])
        if self.reference.noisy is not None:
            own = min(_SCATTER * own, parity.DECIDED)
        return max(self.limit, parity.limit_for(own)) + self._of_constant

    def _is_judged(self, probe: Probe) -> bool:
        """Whether float32 decides what the model makes of a batch; it has to of random ones."""
        return not probe.has_constant or self._own_by_kind[probe.kind] <= parity.DECIDED

    @cached_property
    def _of_constant(self) -> float:
        return equal_sums.allowance(self.reference.single)

    def compare(self, batches: list[Probe]) -> list[Check]:
        """Compare the file with the model on made-up and real batches."""
        answers = {}
        for done, probe in enumerate(batches):
            self.progress(f"comparing: {probe.name}", done, len(batches))
            answers[probe.name] = self._answers(probe)
        self.progress("comparing", len(batches), len(batches))
        compared = []
        for probe in batches:
            alike = [answers[other.name][0] for other in batches if other.family == probe.family]
            scales = parity.shared_scales([a.exact for a in alike], [a.counted for a in alike])
            compared.append(_Compared(probe, *answers[probe.name], scales))
        self._measure(compared)
        judged = [one for one in compared if self._is_judged(one.probe)]
        checks = [_finite(compared), self._decided()]
        for kind, batch in dict.fromkeys((one.probe.kind, one.probe.batch) for one in judged):
            same = [c for c in judged if (c.probe.kind, c.probe.batch) == (kind, batch)]
            checks.append(self._parity(f"{kind} inputs, batch {batch}", same))
        return [*checks, self._levels(judged), *self._top1(judged)]

    def _measure(self, compared: list[_Compared]) -> None:
        """Note the model's own errors and the file's."""
        for one in compared:
            own, kind = one.answer.own_error(one.scales), one.probe.kind
            self._own_by_kind[kind] = max(own, self._own_by_kind.get(kind, 0.0))
            if not one.probe.has_constant:
                self.own_error = max(own, self.own_error)
                self.error = max(one.worst, self.error)

    def _decided(self) -> Check:
        """Check that there are digits to hold the file to: what float32 leaves of the answers."""
        detail = "of random and real inputs, of the largest output, against float64"
        for kind in CONSTANT:
            own = self._own_by_kind.get(kind, 0.0)
            if not own <= parity.DECIDED:
                detail += f"; {kind} inputs, where it is {own:.1e}, are not judged"
        ok = self.own_error <= parity.DECIDED
        return Check(
            "float32 error of the model itself", ok, self.own_error, parity.DECIDED, detail
        )

    def _answers(self, probe: Probe) -> tuple[parity.Answer, dict[str, list[np.ndarray]]]:
        """Compute a batch by the model, and by the file at each level."""
        answer = self.reference.answer(probe.inputs)
        files = {level: self._answer(level, probe.inputs, answer.single) for level in COMPARED}
        return answer, files

    def _answer(
        self, level: str, inputs: list[np.ndarray], like: list[np.ndarray]
    ) -> list[np.ndarray]:
        """Run the file; what fails, or has another shape than Keras' answer, is not a number."""
        lost = [np.full_like(array, np.nan) for array in like]
        try:
            values = self.sessions[level].run(inputs)
        except ExportError:
            return lost
        same = [value.shape for value in values] == [array.shape for array in like]
        return values if same else lost

    def _parity(self, name: str, compared: list[_Compared]) -> Check:
        """Check the file's error on some batches; where it fails, name the layer."""
        worst = max(compared, key=lambda one: one.worst)
        detail = (
            f"of the largest output, against float64; the original's own float32 error is at most "
            f"{self.own_error:.1e}"
        )
        limit = self.limit_of(worst.probe)
        if limit > self.limit:
            detail += (
                f", and {limit - self.limit:.1e} more is accepted where images have one colour"
            )
        ok = worst.worst <= limit
        if not ok:
            inputs = worst.probe.inputs
            where = first_divergence(self.proto, self.reference, inputs, nchw=self.nchw)
            detail = f"{worst.probe.name}: {where}; {detail}"
        return Check(name, ok, worst.worst, limit, detail)

    def _levels(self, compared: list[_Compared]) -> Check:
        """Check that optimised and plain graphs agree."""
        # Two roundings that know nothing of each other: their squares are added.
        judged = [(one.apart, 2**0.5 * self.limit_of(one.probe)) for one in compared]
        worst, limit = max(judged, key=lambda one: one[0] / one[1] if one[1] else one[0])
        detail = "largest difference between optimisations off and all, of the largest output"
        return Check("optimisation levels agree", worst <= limit, worst, limit, detail)

    def _top1(self, compared: list[_Compared]) -> list[Check]:
        """Check on all batches that only ties change the class."""
        if not _is_classifier(compared[0].answer.single):
            return []
        total = flipped = 0
        unexplained = []
        for one in compared:
            single, exact = one.answer.single[0], one.answer.exact[0]
            for level in COMPARED:
                total += len(single)
                value = one.files[level][0]
                for image in parity.flips(single, value):
                    flipped += 1
                    allowed = self.own_error + self.limit_of(one.probe)
                    if not _is_tie(exact, image, single, value, allowed * one.scales[0]):
                        unexplained.append(f"image {image} of {one.probe.name}")
        detail = f"{total} images, {flipped} with another class, all but these within rounding"
        if unexplained:
            detail = f"{detail}: {', '.join(unexplained[:3])}"
        return [
            Check("top-1 changes beyond rounding", not unexplained, len(unexplained), 0, detail)
        ]

    def compare_split(self, images: np.ndarray, labels: np.ndarray) -> list[Check]:
        """Compare top-1 and accuracy on the test split; float64 only where the class changes."""
        right_keras = right_file = flipped = 0
        unexplained = []
        for start in range(0, len(images), _SPLIT_BATCH):
            self.progress("test split", start, len(images))
            batch = images[start : start + _SPLIT_BATCH]
            wanted = labels[start : start + _SPLIT_BATCH]
            singles = self.reference.compute_single([batch])
            single, value = singles[0], self._answer("all", [batch], singles)[0]
            right_keras += int((single.argmax(axis=-1) == wanted).sum())
            right_file += int((value.argmax(axis=-1) == wanted).sum())
            changed = parity.flips(single, value)
            flipped += len(changed)
            if len(changed):
                exact = self.reference.compute_exact([batch])[0]
                allowed = (self.own_error + self.limit) * parity.largest(exact)
                unexplained += [
                    str(start + image)
                    for image in changed
                    if not _is_tie(exact, image, single, value, allowed)
                ]
        self.progress("test split", len(images), len(images))
        ties = flipped - len(unexplained)
        detail = f"{len(images)} images, {flipped} with another class, {ties} of them ties"
        if unexplained:
            detail = f"{detail}; not a tie: image {', '.join(unexplained[:5])}"
        difference = abs(right_keras - right_file)
        return [
            Check(
                "top-1 changes on the test split beyond rounding",
                not unexplained,
                len(unexplained),
                0,
                detail,
            ),
            Check(
                "accuracy on the test split",
                difference <= ties,
                right_file / len(images),
                right_keras / len(images),
                f"{right_file} right in the file, {right_keras} in Keras, of {len(images)}; ties "
                f"explain a difference of {ties}",
            ),
        ]


def _is_tie(
    exact: np.ndarray, image: int, single: np.ndarray, value: np.ndarray, allowed: float
) -> bool:
    """Say whether an image's two first classes are nearer than what rounding may do."""
    classes = int(single[image].argmax()), int(value[image].argmax())
    return parity.is_tie(exact[image], *classes, allowed=allowed)


def _finite(compared: list[_Compared]) -> Check:
    """Check that there is something to compare: numbers that are finite in float32 at all."""
    plain = [one for one in compared if one.probe.kind == "random"]
    judged = sum(int(array.sum()) for one in plain for array in one.answer.counted)
    total = sum(array.size for one in plain for array in one.answer.counted)
    detail = f"of {total} outputs for random inputs; the others overflow in the model itself"
    return Check("finite outputs of the model", judged > 0, judged, "more than 0", detail)


def _is_classifier(outputs: list[np.ndarray]) -> bool:
    """Say whether the first output is one row of logits for each image."""
    return outputs[0].ndim == 2 and outputs[0].shape[1] > 1
