"""Images flattened in the order that the file has them in, with a kernel's rows in that order.

A Flatten of Keras puts the channels of a pixel side by side; between a convolution and a Dense
layer of a file that takes a Transpose, in VGG-16 and LeNet-5 for example. The rows of the Dense
layer's kernel in another order do without.
"""

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

_CHANNELS_LAST = [0, 2, 3, 1]


def straighten(proto: "onnx.ModelProto") -> None:
    """Take out each Transpose before a flattening whose result a constant matrix multiplies.

    Args:
        proto: What the converter made, with constant shapes; changed in place.
    """
    import onnx
    from onnx.numpy_helper import from_array, to_array

    found = list(_chains(proto.graph))
    if not found:
        return
    inferred = onnx.shape_inference.infer_shapes(proto).graph
    shapes = {value.name: _dims(value) for value in (*inferred.value_info, *inferred.output)}
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    for number, (transpose, reshape, product) in enumerate(found):
        sides = shapes.get(transpose.output[0], [])[1:]
        kernel = constants[product.input[1]]
        if len(sides) != 3 or 0 in sides or math.prod(sides) != kernel.dims[0]:
            continue
        kernel.CopyFrom(_by_channel(kernel, sides))
        reshape.input[0] = transpose.input[0]
        # Under no layer's name, nor its shape: its numbers are the layer's in another order.
        name = f"by_channel_{number}"
        shape = to_array(constants[reshape.input[1]])
        proto.graph.initializer.append(from_array(shape, f"{name}/shape"))
        reshape.input[1] = f"{name}/shape"
        reshape.name = product.input[0] = reshape.output[0] = name
        proto.graph.node.remove(transpose)


def _chains(graph: "onnx.GraphProto") -> Any:
    """Find a Transpose, a Reshape to rows and a MatMul by a constant, each used by the next alone.

    Yields:
        The three nodes.
    """
    from onnx.helper import get_node_attr_value
    from onnx.numpy_helper import to_array

    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(value.name for value in graph.output)
    made_by = {node.output[0]: node for node in graph.node if len(node.output) == 1}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for product in graph.node:
        reshape = made_by.get(product.input[0]) if product.op_type == "MatMul" else None
        if reshape is None or reshape.op_type != "Reshape" or reshape.input[1] not in constants:
            continue
        transpose = made_by.get(reshape.input[0])
        if transpose is None or transpose.op_type != "Transpose":
            continue
        alone = (transpose.output[0], reshape.output[0], product.input[1])
        if product.input[1] not in constants or any(uses[name] != 1 for name in alone):
            continue
        shape = to_array(constants[reshape.input[1]])
        rows = constants[product.input[1]].dims[0]
        if list(shape) == [-1, rows] and get_node_attr_value(transpose, "perm") == _CHANNELS_LAST:
            yield transpose, reshape, product


def _dims(value: "onnx.ValueInfoProto") -> list[int]:
    """Return a tensor's shape, 0 where a side is not known."""
    return [side.dim_value for side in value.type.tensor_type.shape.dim]


def _by_channel(kernel: "onnx.TensorProto", sides: list[int]) -> "onnx.TensorProto":
    """Order a kernel's rows, of (height, width, channels), by channel, height and width."""
    from onnx.numpy_helper import from_array, to_array

    rows = to_array(kernel).reshape(*sides, -1).transpose(2, 0, 1, 3)
    return from_array(np.ascontiguousarray(rows).reshape(kernel.dims), kernel.name)
