"""Padding as the standard has it, and inside the layers that follow it.

A ZeroPadding2D of Keras is a Pad in the file: a copy of the whole map, outside of the blocked
layout in which onnxruntime keeps images between convolutions. A Conv pads with zeros by itself. A
MaxPool leaves out what it pads with, which is the same where no number is negative, as behind a
ReLU.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

_SPATIAL = 2  # axes before those of space


def absorb(proto: "onnx.ModelProto") -> None:
    """Take out each Pad with zeros whose users can pad by themselves.

    Args:
        proto: What the converter made, channels first; changed in place.
    """
    graph = proto.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    made_by = {node.output[0]: node for node in graph.node}
    outputs = {value.name for value in graph.output}
    for pad in [node for node in graph.node if node.op_type == "Pad"]:
        users = [node for node in graph.node if pad.output[0] in node.input]
        around = _around(pad, constants)
        if around is None or pad.output[0] in outputs or not users:
            continue
        positive = _is_positive(made_by.get(pad.input[0]), constants)
        if not all(_can_pad(user, pad.output[0], around, positive=positive) for user in users):
            continue
        for user in users:
            _set(user, pads=[own + more for own, more in zip(_pads(user), around, strict=True)])
            user.input[0] = pad.input[0]
        graph.node.remove(pad)


def outward(proto: "onnx.ModelProto") -> None:
    """Make output padding of what transposed convolutions would cut off less than nothing.

    Where a kernel and what it lacks are smaller than its stride, TensorFlow has zeros at the end;
    tf2onnx divides them among pads below zero at both ends, which the standard does not know.

    Args:
        proto: What the converter made; changed in place.
    """
    for node in proto.graph.node:
        pads = _attribute(node, "pads", [])
        if node.op_type != "ConvTranspose" or min(pads, default=0) >= 0:
            continue
        begins, ends = pads[: len(pads) // 2], pads[len(pads) // 2 :]
        zeros = [-min(begin + end, 0) for begin, end in zip(begins, ends, strict=True)]
        own = _attribute(node, "output_padding", [0] * len(zeros))
        kept = [
            [0 if more else size for size, more in zip(side, zeros, strict=True)]
            for side in (begins, ends)
        ]
        _set(
            node,
            pads=[*kept[0], *kept[1]],
            output_padding=[a + b for a, b in zip(own, zeros, strict=True)],
        )


def _around(pad: "onnx.NodeProto", constants: dict[str, Any]) -> list[int] | None:
    """Return by how much a node pads the sides of images, begins first; None for other padding."""
    from onnx.numpy_helper import to_array

    if _attribute(pad, "mode", b"constant") != b"constant" or len(pad.input) > 3:
        return None
    value = pad.input[2] if len(pad.input) == 3 else ""
    if pad.input[1] not in constants or (value and value not in constants):
        return None
    if value and np.any(to_array(constants[value])):
        return None
    pads = [int(size) for size in to_array(constants[pad.input[1]])]
    begins, ends = pads[: len(pads) // 2], pads[len(pads) // 2 :]
    if len(begins) != 4 or any(begins[:_SPATIAL] + ends[:_SPATIAL]) or min(pads) < 0:
        return None
    return begins[_SPATIAL:] + ends[_SPATIAL:]


def _is_positive(node: "onnx.NodeProto | None", constants: dict[str, Any]) -> bool:
    """Say whether what a node makes is never negative."""
    from onnx.numpy_helper import to_array

    if node is None:
        return False
    if node.op_type in ("Relu", "Sigmoid"):
        return True
    low = node.input[1] if node.op_type == "Clip" and len(node.input) > 1 else ""
    return low in constants and bool(np.all(to_array(constants[low]) >= 0))


def _can_pad(user: "onnx.NodeProto", name: str, around: list[int], *, positive: bool) -> bool:
    """Say whether a node can pad its images by itself."""
    kind = user.op_type
    if kind not in ("Conv", "MaxPool") or user.input[0] != name or [*user.input].count(name) != 1:
        return False
    if _attribute(user, "auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        return False
    if kind == "Conv":
        return True
    # A window that lies in the padding alone would find nothing.
    kernel = _attribute(user, "kernel_shape", [])
    plain = len(user.output) == 1 and not _attribute(user, "ceil_mode", 0) and not any(_pads(user))
    dilated = any(step != 1 for step in _attribute(user, "dilations", []))
    sizes = (*kernel, *kernel)
    within = len(kernel) == 2 and all(a < b for a, b in zip(around, sizes, strict=True))
    return positive and plain and not dilated and within


def _pads(node: "onnx.NodeProto") -> list[int]:
    """Return by how much a Conv or MaxPool pads, begins first."""
    return [*_attribute(node, "pads", [0, 0, 0, 0])]


def _set(node: "onnx.NodeProto", **lists: list[int]) -> None:
    """Let a node pad by so much, and not by a rule."""
    import onnx

    left = [one for one in node.attribute if one.name not in (*lists, "auto_pad")]
    copies = [onnx.AttributeProto.FromString(one.SerializeToString()) for one in left]
    del node.attribute[:]
    made = [onnx.helper.make_attribute(name, values) for name, values in lists.items()]
    node.attribute.extend([*copies, *made])


def _attribute(node: "onnx.NodeProto", name: str, default: Any) -> Any:
    """Read an attribute of a node."""
    import onnx

    found = next((one for one in node.attribute if one.name == name), None)
    return default if found is None else onnx.helper.get_attribute_value(found)
