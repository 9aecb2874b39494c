"""The verdict on an ONNX file: does it compute what the Keras model computes?"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from export import onnx_checks, onnx_metadata, parity, pixel_checks, quantized_checks
from export.checks import Check, Verdict, plain
from export.divergence import first_divergence
from export.errors import ExportError
from export.labelled import Data, check_data
from export.onnx_runtime import LEVELS, Session
from export.probes import Probe, probes
from export.subject import PROBABILITIES, Subject, subject
from zoo.errors import InputError

if TYPE_CHECKING:
    import keras
    import onnx

    from export.folding import Folded
    from zoo.cards import Card
    from zoo.preprocessing import Preprocessing

Progress = Callable[[str, int, int], None]

_COMPARED = ("off", "all")  # the optimisation levels whose outputs are compared with Keras
_SPLIT_BATCH = 256


@dataclass(frozen=True)
class Validation(Verdict):
    """What `validate` found.

    Args:
        checks: What was looked at.
        error: The file's largest float32 error on any batch, of the largest output, against
            float64; infinite where it was not compared.
        limit: What was accepted of it.
    """

    error: float = float("inf")
    limit: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as plain values that JSON can hold."""
        return {**super().to_dict(), **plain({"error": self.error, "limit": self.limit})}


def validate(
    model: "keras.Model | Folded",
    path: str | os.PathLike[str],
    *,
    data: Data | None = None,
    card: "Card | None" = None,
    accepted: float = 0.0,
    progress: Progress | None = None,
) -> Validation:
    """Judge whether an ONNX file is sound and computes what a Keras model computes.

    The reference is the model in float64. The file's error may be twice the largest that the model
    itself makes in float32 on the same inputs; see `export.parity`. Of a file that
    `export.quantize` made, the accuracy on the test split is judged instead, by the limit that it
    was made with. Nothing is random: the same model and file give the same verdict.

    Args:
        model: What the file should compute: the trained model, its folded copy, or what
            `export.fold` returned.
        path: The ONNX file.
        data: The test split, where there is one: images in float32 as the model takes them, and
            the classes' numbers.
        card: What is known of the model's weights, where something is: the file must then tell the
            same preprocessing and labels, if it tells any, and is fed by the card's.
        accepted: An error that is accepted in any case. Where the model is the folded copy of a
            trained one, which may round less, the limit by the trained one's own error.
        progress: Called with what is done, how many steps are done, and how many there are.

    Returns:
        The verdict. A bad file makes failed checks, never an exception.

    Raises:
        InputError: The file is missing or is no ONNX model at all, or the model or data cannot be
            used.

    Example:
        >>> verdict = export.validate(model, "resnet20.onnx", data=(images, labels))
        >>> verdict.ok
        True
    """
    given = subject(model)
    proto = onnx_metadata.load(path)
    if data is not None:
        check_data(given.model, data)
    metadata, readable = _metadata(proto, path)
    checks = [readable, *_as_in_card(metadata, card)]
    whole, front = proto, None
    if metadata.get("input") == onnx_metadata.PIXELS:
        front, proto = pixel_checks.apart(whole, given, metadata)
    nchw = onnx_checks.is_nchw(proto, given, metadata)
    checks += onnx_checks.structure(proto, given, metadata)
    sessions, loaded = _load(proto, nchw=nchw)
    checks += loaded
    error, limit = float("inf"), 0.0
    if _comparable(sessions, given) and "quantization" in metadata:
        checks += quantized_checks.against(given.model, sessions, metadata["quantization"], data)
    elif _comparable(sessions, given):
        names = sessions["all"].outputs
        reference = parity.Reference.of(given.model, probabilities=PROBABILITIES in names[1:])
        run = _Run(proto, reference, sessions, nchw, progress or _silent, accepted)
        preprocessing = _preprocessing(metadata) if card is None else card.preprocessing
        checks += run.compare(list(probes(given.model, preprocessing, _images(data))))
        if data is not None:
            checks += run.compare_split(*data)
        if front is not None:
            checks += _from_pixels(whole, front, reference, _preprocessing(metadata))
        error, limit = run.error, run.limit
    else:
        checks.append(Check("parity with Keras", False, "not compared", "compared", _WHY_NOT))
    return Validation(tuple(checks), error=error, limit=limit)


def _from_pixels(
    whole: "onnx.ModelProto",
    front: "onnx.ModelProto",
    reference: parity.Reference,
    preprocessing: "Preprocessing | None",
) -> list[Check]:
    """Check the preprocessing inside the file against what the file says of it."""
    if preprocessing is None:
        return [Check("preprocessing inside the file", False, "not told", "told")]
    return list(pixel_checks.checks(whole, front, reference, preprocessing))


def _silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""


_WHY_NOT = "the file cannot be loaded, or its inputs or outputs are not the model's"


def _images(data: Data | None) -> np.ndarray | None:
    """Return the images of a test split, if there is one."""
    return None if data is None else np.asarray(data[0])


def _preprocessing(metadata: dict[str, Any]) -> "Preprocessing | None":
    """Return the preprocessing that the file tells, if it tells one."""
    from zoo.preprocessing import Preprocessing

    values = metadata.get("preprocessing")
    return None if values is None else Preprocessing(**values)


def _as_in_card(metadata: dict[str, Any], card: "Card | None") -> Iterator[Check]:
    """Compare what the file tells its server with what the weights were trained with."""
    if card is None:
        return
    known = {
        "preprocessing": card.preprocessing.model_dump(mode="json"),
        "labels": list(card.labels),
    }
    for key, wanted in known.items():
        if key in metadata:
            told = metadata[key]
            measured = "the same" if told == wanted else f"another: {_brief(told)}"
            yield Check(f"{key} as in the card", told == wanted, measured, _brief(wanted))


def _brief(value: Any) -> str:
    """Write a value in few characters."""
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _metadata(
    proto: "onnx.ModelProto", path: str | os.PathLike[str]
) -> tuple[dict[str, Any], Check]:
    """Read what the file says about itself, and whether it can be read; nothing where it cannot."""
    try:
        metadata, problem = onnx_metadata.metadata_of(proto, path), ""
    except InputError as error:
        metadata, problem = {}, str(error)
    measured = "damaged" if problem else "readable" if metadata else "none"
    return metadata, Check("metadata", not problem, measured, "readable, or none", problem)


def _load(proto: "onnx.ModelProto", *, nchw: bool) -> tuple[dict[str, Session], list[Check]]:
    """Load the file at every level of optimisation."""
    sessions, checks = {}, []
    for level in LEVELS:
        problem = ""
        try:
            sessions[level] = Session(proto, level=level, nchw=nchw)
        except ExportError as error:
            problem = str(error)
        measured = "refused" if problem else "loaded"
        name = f"loads in onnxruntime, optimisations {level}"
        checks.append(Check(name, not problem, measured, "loaded", problem))
    return sessions, checks


def _comparable(sessions: dict[str, Session], given: Subject) -> bool:
    """Say whether the file can be fed as the model is, and answers as it does."""
    if set(sessions) != set(LEVELS):
        return False
    names = sessions["all"].outputs
    extra = [PROBABILITIES] if len(given.outputs) == 1 else []
    return tuple(sessions["all"].inputs) == given.inputs and names in (
        [*given.outputs],
        [*given.outputs, *extra],
    )


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
        return max(self.error(level) for level in _COMPARED)


@dataclass
class _Run:
    """A file and its model, side by side."""

    proto: "onnx.ModelProto"
    reference: parity.Reference
    sessions: dict[str, Session]
    nchw: bool
    progress: Progress
    accepted: float
    own_error: float = field(default=0.0, init=False)
    error: float = field(default=0.0, init=False)

    @property
    def limit(self) -> float:
        """What error the file may have."""
        return max(self.accepted, parity.limit_for(self.own_error))

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
        self.own_error = max(one.answer.own_error(one.scales) for one in compared)
        self.error = max(one.worst for one in compared)
        checks = []
        for kind in dict.fromkeys(probe.kind for probe in batches):
            for batch in dict.fromkeys(p.batch for p in batches if p.kind == kind):
                same = [c for c in compared if (c.probe.kind, c.probe.batch) == (kind, batch)]
                checks.append(self._parity(f"{kind} inputs, batch {batch}", same))
        return [_finite(compared), *checks, self._levels(compared), *self._top1(compared)]

    def _answers(self, probe: Probe) -> tuple[parity.Answer, dict[str, list[np.ndarray]]]:
        """Compute a batch by the model, and by the file at each level."""
        answer = self.reference.answer(probe.inputs)
        files = {level: self._answer(level, probe.inputs, answer.single) for level in _COMPARED}
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
        ok = worst.worst <= self.limit
        if not ok:
            inputs = worst.probe.inputs
            where = first_divergence(self.proto, self.reference, inputs, nchw=self.nchw)
            detail = f"{worst.probe.name}: {where}; {detail}"
        return Check(name, ok, worst.worst, self.limit, detail)

    def _levels(self, compared: list[_Compared]) -> Check:
        """Check that optimised and plain graphs agree."""
        worst = 0.0
        for one in compared:
            off, full = (one.files[level] for level in _COMPARED)
            wanted = one.answer.expected(full, off)
            worst = max(worst, parity.worst_error(full, wanted, one.scales, one.answer.counted))
        limit = 2**0.5 * self.limit  # two roundings that know nothing of each other: in squares
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
            for level in _COMPARED:
                total += len(single)
                value = one.files[level][0]
                for image in parity.flips(single, value):
                    flipped += 1
                    if not self._is_tie(exact, image, single, value, one.scales[0]):
                        unexplained.append(f"image {image} of {one.probe.name}")
        detail = f"{total} images, {flipped} with another class, all but these within rounding"
        if unexplained:
            detail = f"{detail}: {', '.join(unexplained[:3])}"
        return [
            Check("top-1 changes beyond rounding", not unexplained, len(unexplained), 0, detail)
        ]

    def _is_tie(
        self, exact: np.ndarray, image: int, single: np.ndarray, value: np.ndarray, scale: float
    ) -> bool:
        """Say whether an image's two first classes are nearer than what rounding may do."""
        return parity.is_tie(
            exact[image],
            int(single[image].argmax()),
            int(value[image].argmax()),
            allowed=(self.own_error + self.limit) * scale,
        )

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
                unexplained += [
                    str(start + image)
                    for image in changed
                    if not self._is_tie(exact, image, single, value, parity.largest(exact))
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
