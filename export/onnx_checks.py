"""What can be seen of an ONNX file without running it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from export.checks import Check
from export.onnx_conversion import OPSETS
from export.onnx_graph import shape_of
from export.onnx_runtime import first_line
from export.subject import PROBABILITIES, Subject

if TYPE_CHECKING:
    import onnx

# Operations that draw random numbers: no inference graph has them.
_RANDOM = {
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}


def structure(proto: "onnx.ModelProto", given: Subject, metadata: Mapping[str, Any]) -> list[Check]:
    """Check a file against the standard and against the model that it should hold.

    Args:
        proto: The file's content.
        given: The model.
        metadata: What the file says about itself; see `export.onnx_metadata.read_metadata`.

    Returns:
        The checks; none of them runs the model.
    """
    return [
        *sound(proto),
        *_interface(proto, given, metadata),
        _extra_inputs(proto, given),
        *_content(proto, metadata),
    ]


def structure_as(
    proto: "onnx.ModelProto", like: "onnx.ModelProto", metadata: Mapping[str, Any]
) -> list[Check]:
    """Check a file against the standard and against another file that it was made from.

    Args:
        proto: The file's content.
        like: The other file's content.
        metadata: What the file says about itself.

    Returns:
        The checks; none of them runs the model.
    """
    inputs = _described(_real_inputs(like))
    return [
        *sound(proto),
        _same("inputs", _described(_real_inputs(proto)), inputs),
        _same("outputs", _described(proto.graph.output), _described(like.graph.output)),
        *_content(proto, metadata),
    ]


def _content(proto: "onnx.ModelProto", metadata: Mapping[str, Any]) -> list[Check]:
    """Look for what no inference graph should hold."""
    return [
        _batchnorms(proto, metadata),
        _training(proto),
        _finite(proto),
        *_labels(proto, metadata),
    ]


def sound(proto: "onnx.ModelProto", note: str = "") -> list[Check]:
    """Check a file against the standard alone.

    Args:
        proto: The file's content.
        note: What follows each check's name.

    Returns:
        The checker's verdict, that of the inference of shapes, and the opset.
    """
    found = (_checker(proto), _inference(proto), _opset(proto))
    return [replace(check, name=f"{check.name} {note}".strip()) for check in found]


def is_nchw(proto: "onnx.ModelProto", given: Subject, metadata: Mapping[str, Any]) -> bool:
    """Say whether a file takes the channels first: by its metadata, else by its input's shape."""
    if "layout" in metadata:
        return metadata["layout"] == "NCHW"
    shape = given.model.inputs[0].shape
    if len(shape) != 4 or not proto.graph.input:
        return False
    declared = _sizes(proto.graph.input[0])[1:]
    nhwc, nchw = (_sizes_of(shape_of("", shape, nchw=first))[1:] for first in (False, True))
    return declared == nchw and declared != nhwc


def _checker(proto: "onnx.ModelProto") -> Check:
    """Run ONNX's own checker, with type and shape inference."""
    import onnx

    problem = ""
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        problem = first_line(error)
    return Check("ONNX checker", not problem, "invalid" if problem else "valid", "valid", problem)


def _inference(proto: "onnx.ModelProto") -> Check:
    """Infer all shapes strictly and compare the outputs' with what the file declares."""
    import onnx

    name, limit = "shape inference", "every shape known, outputs as declared"
    try:
        inferred = onnx.shape_inference.infer_shapes(
            proto, check_type=True, strict_mode=True, data_prop=True
        ).graph
    except (onnx.shape_inference.InferenceError, ValueError) as error:
        return Check(name, False, "fails", limit, first_line(error))
    known = {value.name for value in (*inferred.value_info, *inferred.output)}
    unknown = [out for node in inferred.node for out in node.output if out and out not in known]
    detail = f"no shape for {unknown[0]}" if unknown else ""
    return Check(name, not unknown, f"{len(unknown)} shapes unknown", limit, detail)


def _opset(proto: "onnx.ModelProto") -> Check:
    """Look at the operator sets: the standard one alone, in a version that servers know."""
    imports = {entry.domain or "ai.onnx": entry.version for entry in proto.opset_import}
    used = {node.domain or "ai.onnx" for node in proto.graph.node}
    custom = sorted(used - {"ai.onnx", "ai.onnx.ml"})
    version = imports.get("ai.onnx", 0)
    ok = not custom and version >= OPSETS[0]
    detail = f"custom operators of {', '.join(custom)}" if custom else ""
    return Check("opset", ok, version, f"{OPSETS[0]} or later, standard operators only", detail)


def _interface(
    proto: "onnx.ModelProto", given: Subject, metadata: Mapping[str, Any]
) -> Iterator[Check]:
    """Compare the inputs and outputs with the model's: names, order, types, symbolic batch."""
    nchw = is_nchw(proto, given, metadata)
    inputs = _expected(given.inputs, given.model.inputs, nchw=nchw)
    yield _same("inputs", _described(_real_inputs(proto)), [*inputs])
    outputs = _expected(given.outputs, given.model.outputs)
    declared = [value.name for value in proto.graph.output]
    if len(outputs) == 1 and declared[1:] == [PROBABILITIES]:
        outputs.append(outputs[0].replace(given.outputs[0], PROBABILITIES, 1))
    yield _same("outputs", _described(proto.graph.output), outputs)


def _same(name: str, measured: list[str], limit: list[str]) -> Check:
    """Compare two lists of described tensors."""
    return Check(name, measured == limit, "; ".join(measured), "; ".join(limit))


def _expected(names: Sequence[str], tensors: Sequence[Any], *, nchw: bool = False) -> list[str]:
    """Describe Keras tensors as their file should declare them."""
    return [
        f"{name} {tensor.dtype} {_sizes_of(shape_of(name, tensor.shape, nchw=nchw))}"
        for name, tensor in zip(names, _as_exported(tensors), strict=True)
    ]


def _as_exported(tensors: Sequence[Any]) -> list[Any]:
    """Give tensors of any floating-point dtype the one that files have."""
    import keras

    return [
        keras.KerasTensor(tensor.shape, "float32") if "float" in tensor.dtype else tensor
        for tensor in tensors
    ]


def _described(values: Sequence[Any]) -> list[str]:
    """Describe a file's inputs or outputs."""
    import onnx

    described = []
    for value in values:
        code = value.type.tensor_type.elem_type
        try:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(code).name
        except KeyError:  # none, or one that the standard does not have
            dtype = "unknown"
        described.append(f"{value.name} {dtype} {_sizes(value)}")
    return described


def _sizes(value: Any) -> str:
    """Write a declared shape: the batch by its name, other free sizes as ``?``."""
    dims = value.type.tensor_type.shape.dim
    return _sizes_of([d.dim_value if d.HasField("dim_value") else d.dim_param for d in dims])


def _sizes_of(shape: Sequence[int | str]) -> str:
    """Write a shape likewise."""
    texts = [
        str(size) if axis == 0 or isinstance(size, int) else "?" for axis, size in enumerate(shape)
    ]
    return f"({', '.join(texts)})"


def _real_inputs(proto: "onnx.ModelProto") -> list[Any]:
    """Return the inputs that have to be fed."""
    constants = {tensor.name for tensor in proto.graph.initializer}
    return [value for value in proto.graph.input if value.name not in constants]


def _extra_inputs(proto: "onnx.ModelProto", given: Subject) -> Check:
    """Look for inputs that the model does not have: the converter makes such of constants."""
    extra = [value.name for value in proto.graph.input if value.name not in given.inputs]
    return Check("extra inputs", not extra, len(extra), 0, ", ".join(extra))


def _batchnorms(proto: "onnx.ModelProto", metadata: Mapping[str, Any]) -> Check:
    """Count BatchNormalization nodes beyond those that the file says were kept."""
    kept = {entry["layer"] for entry in metadata.get("batchnorm_kept", [])}
    nodes = [node for node in proto.graph.node if node.op_type == "BatchNormalization"]
    left = [node.name for node in nodes if node.name.rpartition("/")[0] not in kept]
    detail = f"left: {', '.join(left)}" if left else f"declared as kept: {len(kept)}"
    return Check("BatchNormalization nodes not declared as kept", not left, len(left), 0, detail)


def _training(proto: "onnx.ModelProto") -> Check:
    """Look for nodes that behave as in training."""
    found = [node.name or node.op_type for node in proto.graph.node if _trains(node, proto)]
    return Check("nodes in training mode", not found, len(found), 0, ", ".join(found))


def _trains(node: "onnx.NodeProto", proto: "onnx.ModelProto") -> bool:
    """Say whether a node draws random numbers or uses the statistics of the batch."""
    import onnx

    if node.op_type in _RANDOM:
        return True
    if node.op_type == "BatchNormalization":
        return any(a.name == "training_mode" and a.i for a in node.attribute)
    if node.op_type != "Dropout" or len(node.input) < 3 or not node.input[2]:
        return False
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    mode = constants.get(node.input[2])
    return mode is None or bool(onnx.numpy_helper.to_array(mode).any())


def _finite(proto: "onnx.ModelProto") -> Check:
    """Look for weights that are not numbers."""
    import onnx

    bad = []
    for tensor in proto.graph.initializer:
        try:
            value = onnx.numpy_helper.to_array(tensor)
        except (ValueError, KeyError, TypeError, onnx.checker.ValidationError):
            # Fewer or more bytes than its shape says, a type that is none, or bytes elsewhere.
            bad.append(tensor.name)
            continue
        if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
            bad.append(tensor.name)
    return Check("weights that are not finite", not bad, len(bad), 0, ", ".join(bad))


def _labels(proto: "onnx.ModelProto", metadata: Mapping[str, Any]) -> Iterator[Check]:
    """Compare the number of labels with that of logits, where the file has labels."""
    if "labels" in metadata:
        count = len(metadata["labels"])
        dims = proto.graph.output[0].type.tensor_type.shape.dim if proto.graph.output else ()
        last = dims[-1].dim_value if dims else 0
        yield Check("labels", count == last, count, last, "as many labels as logits")
