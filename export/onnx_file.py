"""From a Keras model to one ONNX file that is known to run and to compute the same."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export import (
    onnx_checks,
    onnx_conversion,
    onnx_graph,
    onnx_layers,
    onnx_metadata,
    parity,
)
from export.errors import ExportError
from export.heads import last_activation
from export.onnx_runtime import Session
from export.pixels import embedded
from export.probes import random_inputs
from export.rebuilding import rebuild
from export.subject import Subject, subject
from zoo.errors import InputError
from zoo.files import replacing

if TYPE_CHECKING:
    import keras
    import onnx

    from export.folding import Folded
    from zoo.preprocessing import Preprocessing

LAYOUTS = ("NHWC", "NCHW")
CLAMPS = ("convolution", "max_min")

# The batch on which every export is compared with Keras. It is small, a gate against wrong files,
# which are off by orders of magnitude: `export.validate` judges rounding, on many more inputs.
_BATCH = 3
_GATE = 10.0


def to_onnx(
    model: "keras.Model | Folded",
    path: str | os.PathLike[str],
    *,
    opset: int = 17,
    preprocessing: "Preprocessing | Mapping[str, Any] | None" = None,
    labels: Sequence[str] | None = None,
    layout: str = "NHWC",
    probabilities: bool = False,
    clamps: str = "convolution",
    pixels: bool = False,
) -> Path:
    """Write a model as one ONNX file in float32.

    The file has one input ``image`` and one output ``logits``, with a symbolic ``batch``; a model
    with several inputs or outputs keeps Keras' names for them. Equal models make equal bytes. What
    is written has been checked, loaded and run in onnxruntime, and compared with Keras; a file that
    fails any of this never gets the final name.

    Args:
        model: A functional or Sequential model under any dtype policy, or what `export.fold`
            returns.
        path: The file; its name must end in ``.onnx``.
        opset: The ONNX opset, 13 to 18. 17 makes the best graphs; 18 leaves a Transpose more.
        preprocessing: What makes the input of an image, for the file's metadata.
        labels: The classes' names in the order of the logits, for the file's metadata.
        layout: What the input takes: ``NHWC``, (batch, height, width, channels) as in Keras, or
            ``NCHW``. Outputs keep Keras' layout.
        probabilities: Whether a softmax of the logits is a second output, ``probabilities``.
        clamps: What the clamps are that folding leaves of a BatchNorm and a ReLU:
            ``convolution``, a 1x1 depthwise convolution with a ReLU, which onnxruntime runs
            fastest on CPUs, where the layers after it allow that; or ``max_min``, always Max and
            Min, for a runtime that fuses elementwise operations.
        pixels: Whether the preprocessing is inside the file: ``image`` is then uint8, (batch,
            height, width, channels), of any height and width, as an image decoder makes it; see
            `export.pixels`. ``layout`` is that of what lies behind.

    Returns:
        The path.

    Raises:
        InputError: An argument is not accepted, or the place cannot be written or is full.
        ExportError: The model cannot be converted, or what was made of it is wrong.

    Example:
        >>> export.to_onnx(export.fold(model), "resnet20.onnx", labels=card.labels)
    """
    path = Path(path)
    _check_arguments(path, opset, layout, clamps)
    if pixels and preprocessing is None:
        raise InputError("pixels: accepted with a preprocessing; received none")
    given = subject(model)
    labels = onnx_metadata.checked_labels(labels, given.model.outputs[0].shape)
    preprocessing = onnx_metadata.checked_preprocessing(preprocessing, given.model.inputs[0].shape)
    _check_images(given, layout=layout, probabilities=probabilities)
    single = rebuild(given.model)
    with replacing(path) as beside:
        written = onnx_layers.for_file(single, clamps=clamps == "convolution")
        proto, kept = _converted(
            given, written, opset=opset, nchw=layout == "NCHW", probabilities=probabilities
        )
        onnx_metadata.write_metadata(
            proto,
            preprocessing=preprocessing,
            labels=labels,
            layout=layout,
            sha256=given.sha256,
            kept=kept,
            activation=probable(given.model),
        )
        del written
        # Only now: the conversion itself takes thirty times the weights' memory.
        reference = parity.Reference.of(given.model, probabilities=probabilities, single=single)
        _require_right(proto, given, reference, nchw=layout == "NCHW")
        if pixels and preprocessing is not None:
            proto = embedded(proto, preprocessing, nchw=layout == "NCHW")
            _require_pixels(proto, given, reference, preprocessing)
        beside.write_bytes(proto.SerializeToString(deterministic=True))
    return path


def _check_arguments(path: Path, opset: int, layout: str, clamps: str) -> None:
    """Refuse what can be refused before looking at the model."""
    if path.suffix != ".onnx":
        raise InputError(f"path: accepted is a file name that ends in .onnx; received {path}")
    accepted = onnx_conversion.OPSETS
    if isinstance(opset, bool) or not isinstance(opset, int) or opset not in accepted:
        raise InputError(
            f"opset: accepted are {accepted[0]} to {accepted[-1]}, the ones that tf2onnx converts "
            f"to; received {opset!r}"
        )
    if layout not in LAYOUTS:
        raise InputError(f"layout: accepted are {' and '.join(LAYOUTS)}; received {layout!r}")
    if clamps not in CLAMPS:
        raise InputError(f"clamps: accepted are {' and '.join(CLAMPS)}; received {clamps!r}")


def _check_images(given: Subject, *, layout: str, probabilities: bool) -> None:
    """Refuse options that the model's inputs and outputs do not allow."""
    if layout == "NCHW" and any(len(tensor.shape) != 4 for tensor in given.model.inputs):
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in given.model.inputs)
        raise InputError(
            "layout: NCHW is for models whose inputs are all (batch, height, width, channels); "
            f"received inputs {shapes}"
        )
    if not probabilities:
        return
    if len(given.model.outputs) != 1:
        raise InputError(
            "probabilities: accepted are models with one output; received one with "
            f"{len(given.model.outputs)}"
        )
    layer, activation = last_activation(given.model)
    if activation in onnx_metadata.PROBABLE:
        raise InputError(
            f"probabilities: accepted are models that end in logits; the layer {layer!r} "
            f"applies a {activation} already"
        )


def has_logits(model: "keras.Model") -> bool:
    """Say whether a model classifies: one output, of several logits for each image.

    Args:
        model: A built functional or Sequential model.

    Returns:
        Whether `to_onnx` can add their probabilities.
    """
    shape = model.outputs[0].shape
    several = len(shape) == 2 and shape[1] is not None and shape[1] > 1
    return len(model.outputs) == 1 and several and probable(model) is None


def probable(model: "keras.Model") -> str | None:
    """Name what a model's only output has been through, where it is no logits.

    Args:
        model: A built functional or Sequential model.

    Returns:
        ``softmax`` or ``sigmoid``; else None.
    """
    if len(model.outputs) != 1:
        return None
    _, activation = last_activation(model)
    return activation if activation in onnx_metadata.PROBABLE else None


def _converted(
    given: Subject, model: "keras.Model", *, opset: int, nchw: bool, probabilities: bool
) -> tuple["onnx.ModelProto", list[tuple[str, str]]]:
    """Convert and tidy; return the kept BatchNorms too, by their names in the file."""
    raw = onnx_conversion.convert(model, given.inputs, given.outputs, opset=opset, nchw=nchw)
    names = onnx_conversion.labels(model)
    proto = onnx_graph.tidy(
        raw,
        names,
        onnx_graph.shapes_of(given.inputs, model.inputs, nchw=nchw),
        onnx_graph.shapes_of(given.outputs, model.outputs),
    )
    if probabilities:
        onnx_graph.add_probabilities(proto)
    in_file = dict(zip((layer.name for layer in model.layers), names, strict=True))
    return proto, [(in_file.get(layer, layer), reason) for layer, reason in given.kept]


def _require_right(
    proto: "onnx.ModelProto", given: Subject, reference: parity.Reference, *, nchw: bool
) -> None:
    """Raise unless the file is valid, runs at every level and computes what Keras computes."""
    from export.divergence import first_divergence

    name = given.model.name
    for check in onnx_checks.structure(proto, given, onnx_metadata.metadata_of(proto)):
        if not check.ok:
            raise ExportError(
                f"the ONNX file of {name!r} would be wrong: {check.name}: {check.measured}, "
                f"accepted is {check.limit}. {check.detail}".strip()
            )
    inputs = random_inputs(given.model, _BATCH)
    answer = reference.answer(inputs)
    own = answer.own_error()
    if not own <= parity.DECIDED:
        raise ExportError(
            f"the model {name!r} computes in float32 what has little to do with its exact answer: "
            f"on random inputs it is off by {own:.1e} of the largest output, accepted is "
            f"{parity.DECIDED:.0e}; no file can be held to it"
        )
    limit = _GATE * parity.limit_for(own)
    for level in ("off", "all"):
        values = Session(proto, level=level, nchw=nchw).run(inputs)
        error = answer.error(values)
        if not error <= limit:
            where = first_divergence(proto, reference, inputs, nchw=nchw)
            raise ExportError(
                f"the ONNX file of {name!r} would differ from Keras by {error:.1e} of the largest "
                f"output (accepted: {limit:.1e}; optimisations: {level}); {where}"
            )


def _require_pixels(
    proto: "onnx.ModelProto",
    given: Subject,
    reference: parity.Reference,
    preprocessing: "Preprocessing",
) -> None:
    """Raise unless the preprocessing inside the file is that of the card."""
    from export import pixel_checks

    metadata = onnx_metadata.metadata_of(proto)
    front, _ = pixel_checks.apart(proto, given, metadata)
    for check in pixel_checks.checks(proto, front, reference, preprocessing):
        if not check.ok:
            raise ExportError(
                f"the preprocessing inside the ONNX file of {given.model.name!r} would be wrong: "
                f"{check.name}: {check.measured}, accepted is {check.limit}. {check.detail}".strip()
            )
