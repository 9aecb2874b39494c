"""The verdict on an ONNX file: does it compute what the Keras model computes?"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from export import (
    onnx_checks,
    onnx_loads,
    onnx_metadata,
    parity,
    pixel_checks,
    quantized_checks,
)
from export.checks import Check, Verdict, plain
from export.labelled import Data, check_data
from export.onnx_runtime import Session
from export.probes import probes
from export.side_by_side import Progress, SideBySide
from export.subject import PROBABILITIES, Subject, subject
from zoo.errors import InputError

if TYPE_CHECKING:
    import keras
    import onnx

    from export.folding import Folded
    from zoo.cards import Card
    from zoo.preprocessing import Preprocessing


@dataclass(frozen=True)
class Validation(Verdict):
    """What `validate` found.

    Args:
        checks: What was looked at.
        error: The file's largest float32 error on any batch of random or real images, of the
            largest output, against float64; infinite where it was not compared. Batches with images
            of one colour have limits of their own, in their checks.
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
    itself makes in float32 on the same inputs; see `export.parity`, and for images of one colour
    `export.equal_sums`. Of a file that
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
    made, fits = _preprocessing(metadata, given)
    checks = [readable, fits, *_as_in_card(metadata, card)]
    whole, front = proto, None
    if metadata.get("input") == onnx_metadata.PIXELS and proto.graph.input:
        front, proto = pixel_checks.apart(whole, given, metadata)
    nchw = onnx_checks.is_nchw(proto, given, metadata)
    checks += onnx_checks.structure(proto, given, metadata)
    sessions, loads = onnx_loads.load(proto, nchw=nchw)
    checks += loads
    comparable = all(check.ok for check in loads) and _comparable(sessions["all"], given)
    error, limit = float("inf"), 0.0
    if comparable and "quantization" in metadata:
        checks.append(quantized_checks.is_quantized(proto, metadata["quantization"]))
        checks += quantized_checks.against(given.model, sessions, metadata["quantization"], data)
    elif comparable:
        names = sessions["all"].outputs
        reference = parity.Reference.of(
            given.model,
            probabilities=PROBABILITIES in names[1:],
            single=_single(model),
        )
        run = SideBySide(proto, reference, sessions, nchw, progress or _silent, accepted)
        fed = made if card is None else card.preprocessing
        checks += run.compare(list(probes(given.model, fed, _images(data))))
        if data is not None:
            checks += run.compare_split(*data)
        if front is not None:
            checks += _from_pixels(whole, front, reference, made)
        error, limit = run.error, run.limit
    else:
        checks.append(Check("parity with Keras", False, "not compared", "compared", _WHY_NOT))
    return Validation(tuple(checks), error=error, limit=limit)


def _single(model: "keras.Model | Folded") -> "keras.Model | None":
    """Return what is in float32 already, its layers side by side: what `export.fold` returned."""
    from export.folding import Folded

    return model.model if isinstance(model, Folded) else None


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


def _preprocessing(
    metadata: dict[str, Any], given: Subject
) -> tuple["Preprocessing | None", Check]:
    """Return the preprocessing that the file tells, if it tells one for this model's images."""
    made, problem = None, ""
    try:
        made = onnx_metadata.checked_preprocessing(
            metadata.get("preprocessing"), given.model.inputs[0].shape
        )
    except InputError as error:
        problem = str(error)
    measured = "another" if problem else "none" if made is None else "the model's"
    return made, Check("images of the preprocessing", not problem, measured, "the model's", problem)


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


def _comparable(session: Session, given: Subject) -> bool:
    """Say whether the file can be fed as the model is, and answers as it does."""
    names = session.outputs
    extra = [PROBABILITIES] if len(given.outputs) == 1 else []
    return tuple(session.inputs) == given.inputs and names in (
        [*given.outputs],
        [*given.outputs, *extra],
    )
