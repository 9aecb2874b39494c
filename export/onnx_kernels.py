"""Large kernels beside the conversion, not through it.

TensorFlow freezes, imports and optimises a graph with all that it holds, tf2onnx reads and writes
it some more times: in all about thirty copies of the weights, 16 GB for a VGG-16. A kernel only
passes through, so large ones are inputs of the graph that is converted, and are put into the file
afterwards, as the file's convolutions and products of matrices want them.
"""

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from export.graph import free_name

if TYPE_CHECKING:
    import keras
    import onnx

LARGE = 2**16  # numbers of a kernel; all smaller ones together are little
# Numbers of a model, from which on it takes gigabytes: a converter that is given a kernel can fold
# more into it.
MODEL = 2**26


def large(model: "keras.Model", taken: tuple[str, ...]) -> dict[str, Any]:
    """Choose the kernels that need not be converted.

    Args:
        model: A float32 model of our own, from `export.rebuild`.
        taken: Names that the graph's inputs have.

    Returns:
        Variables by the name of the input that stands for each. None of a small model, and none
        of one with BatchNorms: the converter folds these into kernels that it is given.
    """
    import keras

    if model.count_params() < MODEL:
        return {}
    if any(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers):
        return {}
    found: dict[str, Any] = {}
    for layer in model.layers:
        if _is_plain(layer) and layer.kernel.shape.num_elements() >= LARGE:
            found[free_name(f"kernel{len(found)}", {*taken, *found})] = layer.kernel
    return found


def _is_plain(layer: Any) -> bool:
    """Say whether a layer's kernel goes into a Conv or a MatMul as it is, but for its axes."""
    import keras

    if type(layer) is keras.layers.Dense:
        return True
    return type(layer) is keras.layers.Conv2D and layer.groups == 1


def put_in(proto: "onnx.ModelProto", kernels: dict[str, Any]) -> None:
    """Make initializers of the inputs that stand for kernels, in place.

    Args:
        proto: What the converter made.
        kernels: From `large`.
    """
    import keras
    from onnx.numpy_helper import from_array

    graph = proto.graph
    values = {name: keras.ops.convert_to_numpy(kernel) for name, kernel in kernels.items()}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    left = []
    for node in graph.node:  # in an order in which they can run
        computed = _computed(node, values, constants)
        if computed is None:
            left.append(node)
        else:
            values[node.output[0]] = computed
    left = _scaled(left, values, constants)
    used = {name for node in left for name in node.input}
    inputs = [value for value in graph.input if value.name not in kernels]
    _replace(graph.node, left)
    _replace(graph.input, inputs)
    for name in [name for name in values if name in used]:
        whole = np.ascontiguousarray(values.pop(name))
        graph.initializer.append(from_array(whole, name))


def _scaled(
    nodes: list["onnx.NodeProto"], values: dict[str, np.ndarray], constants: dict[str, Any]
) -> list["onnx.NodeProto"]:
    """Multiply kernels and biases by what stands behind their convolutions; return what is left.

    The converter does so with the kernels that it is given, such as for a LayerScale.
    """
    uses = Counter(name for node in nodes for name in node.input)
    convolutions = {
        node.output[0]: node
        for node in nodes
        if node.op_type == "Conv"
        and node.input[1] in values
        and all(uses[name] == 1 for name in (node.output[0], *node.input[1:]))
    }
    left = []
    for node in nodes:
        first, second = (*node.input, "", "")[:2]
        scale = constants.get(second) if node.op_type == "Mul" and first in convolutions else None
        if scale is None or not _is_by_channel(scale, len(values[convolutions[first].input[1]])):
            left.append(node)
            continue
        convolution = convolutions[first]
        _multiply(convolution, scale, values, constants)
        convolution.output[0] = node.output[0]
    return left


def _is_by_channel(scale: "onnx.TensorProto", channels: int) -> bool:
    """Say whether a constant has a number for each channel of images with their channels first."""
    return [*scale.dims] in ([1, channels, 1, 1], [channels, 1, 1])


def _multiply(
    convolution: "onnx.NodeProto",
    scale: "onnx.TensorProto",
    values: dict[str, np.ndarray],
    constants: dict[str, Any],
) -> None:
    """Multiply a convolution's kernel and bias by a factor for each channel, rounded once."""
    from onnx.numpy_helper import from_array, to_array

    factor = to_array(scale).astype(np.float64).reshape(-1)
    kernel, *bias = convolution.input[1:]
    wide = values[kernel].astype(np.float64) * factor.reshape(-1, 1, 1, 1)
    values[kernel] = wide.astype(np.float32)
    for name in bias:
        made = (to_array(constants[name]) * factor).astype(np.float32)
        constants[name].CopyFrom(from_array(made, name))


def _computed(
    node: "onnx.NodeProto", values: dict[str, np.ndarray], constants: dict[str, Any]
) -> np.ndarray | None:
    """Compute what a node makes of a kernel, where it only orders its numbers anew."""
    import onnx

    makes: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "Identity": lambda kernel: kernel,
        "Transpose": lambda kernel: kernel.transpose(onnx.helper.get_node_attr_value(node, "perm")),
        "Reshape": lambda kernel: kernel.reshape(
            onnx.numpy_helper.to_array(constants[node.input[1]])
        ),
    }
    if node.op_type not in makes or node.input[0] not in values:
        return None
    if any(name not in constants for name in node.input[1:]):
        return None
    return makes[node.op_type](values[node.input[0]])


def _replace(field: Any, entries: list[Any]) -> None:
    """Give a repeated field of a protobuf these of its own entries."""
    copies = [type(entry).FromString(entry.SerializeToString()) for entry in entries]
    del field[:]
    field.extend(copies)
