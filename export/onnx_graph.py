"""An ONNX graph made tidy: named after the Keras layers, ordered, and the same each time."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from export import onnx_flatten, onnx_pads
from export.errors import ExportError
from export.onnx_conversion import layer_of
from export.subject import BATCH, OUTPUT, PROBABILITIES

if TYPE_CHECKING:
    import onnx

# What an initializer is to the node that takes it, by the node's type and the input's position.
_ROLES = {
    "Conv": {1: "weight", 2: "bias"},
    "ConvTranspose": {1: "weight", 2: "bias"},
    "Gemm": {1: "weight", 2: "bias"},
    "MatMul": {1: "weight"},
    "Add": {0: "bias", 1: "bias"},
    "BatchNormalization": {1: "scale", 2: "bias", 3: "mean", 4: "variance"},
    "InstanceNormalization": {1: "scale", 2: "bias"},
}
_SPATIAL = ("height", "width")

Shape = tuple[int | str, ...]


def shape_of(name: str, keras_shape: Sequence[int | None], *, nchw: bool = False) -> Shape:
    """Say an input's or output's shape as the file declares it.

    Args:
        name: Its name in the file.
        keras_shape: Its shape in Keras, None where a size is free.
        nchw: Whether the channels come first in the file.

    Returns:
        Sizes, and names for those that are free: ``batch`` for the first one.
    """
    image = len(keras_shape) == 4
    shape: list[int | str] = []
    for axis, size in enumerate(keras_shape):
        free = _SPATIAL[axis - 1] if image and axis in (1, 2) else f"axis{axis}"
        shape.append(size if size is not None else BATCH if axis == 0 else f"{name}_{free}")
    if nchw:
        shape.insert(1, shape.pop())
    return tuple(shape)


def shapes_of(
    names: Sequence[str], tensors: Sequence[Any], *, nchw: bool = False
) -> dict[str, Shape]:
    """Say the shapes of several inputs or outputs, by name; see `shape_of`."""
    return {
        name: shape_of(name, tensor.shape, nchw=nchw)
        for name, tensor in zip(names, tensors, strict=True)
    }


def tidy(
    proto: "onnx.ModelProto",
    labels: Sequence[str],
    inputs: dict[str, Shape],
    outputs: dict[str, Shape],
) -> "onnx.ModelProto":
    """Rewrite what the converter made so that equal models make equal bytes, fit to be read.

    Nodes come in the order that the outputs ask for them, named ``layer/Operation``; weights after
    the node that takes them; what nothing needs is left out.

    Args:
        proto: From `export.onnx_conversion.convert`. It is not changed.
        labels: What each layer of the model is called.
        inputs: The shape of each input, in their order.
        outputs: Likewise.

    Returns:
        A new model with one opset, without documentation strings and intermediate shapes.

    Raises:
        ExportError: The graph has control flow, which no image model needs.
    """
    import onnx

    source = onnx.ModelProto()
    source.CopyFrom(proto)
    source.graph.ClearField("value_info")
    for value in (*source.graph.input, *source.graph.output):
        _declare(value, {**inputs, **outputs}[value.name])
    _fix_reshapes(source)
    onnx_flatten.straighten(source)
    onnx_pads.absorb(source)
    onnx_pads.outward(source)
    nodes = _ordered(source.graph, list(outputs))
    names = _Names(labels, taken=[*inputs, *outputs])
    graph = onnx.GraphProto(name="foldzoo")
    values = {value.name: value for value in (*source.graph.input, *source.graph.output)}
    graph.input.extend(values[name] for name in inputs)
    graph.output.extend(values[name] for name in outputs)
    constants = {tensor.name: tensor for tensor in source.graph.initializer}
    renamed: dict[str, str] = {}
    for node in nodes:
        label = names.node(node)
        for position, name in enumerate(node.input):
            if name in constants and name not in renamed:
                role = _ROLES.get(node.op_type, {}).get(position, f"input{position}")
                renamed[name] = names.free(f"{label}/{role}")
                graph.initializer.append(_constant(constants[name], renamed[name]))
        for position, name in enumerate(node.output):
            if name and name not in outputs:
                renamed[name] = label if position == 0 else names.free(f"{label}/{position}")
        graph.node.append(_named(node, label, renamed))
    opset = next(entry for entry in source.opset_import if entry.domain == "")
    return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=source.ir_version)


def add_probabilities(proto: "onnx.ModelProto") -> None:
    """Add a Softmax over the logits' last axis as a second output, in place."""
    import onnx

    node = onnx.helper.make_node(
        "Softmax", [OUTPUT], [PROBABILITIES], name=f"{PROBABILITIES}/Softmax", axis=-1
    )
    proto.graph.node.append(node)
    output = proto.graph.output.add()
    output.CopyFrom(proto.graph.output[0])
    output.name = PROBABILITIES


def _declare(value: "onnx.ValueInfoProto", shape: Shape) -> None:
    """Give an input or output its shape."""
    del value.type.tensor_type.shape.dim[:]
    for size in shape:
        dimension = value.type.tensor_type.shape.dim.add()
        if isinstance(size, str):
            dimension.dim_param = size
        else:
            dimension.dim_value = size


def _fix_reshapes(proto: "onnx.ModelProto") -> None:
    """Give each Reshape to a known shape a constant: TensorFlow computes it from the batch size."""
    import numpy as np
    import onnx

    inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    known = {value.name: value for value in (*inferred.value_info, *inferred.output)}
    constants = {tensor.name for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type != "Reshape" or node.input[1] in constants or node.output[0] not in known:
            continue
        tensor = known[node.output[0]].type.tensor_type
        sizes = [d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim]
        if tensor.HasField("shape") and sizes.count(-1) == 1:
            name = f"{node.output[0]}/shape"
            value = onnx.numpy_helper.from_array(np.asarray(sizes, np.int64), name)
            proto.graph.initializer.append(value)
            node.input[1] = name


def _ordered(graph: "onnx.GraphProto", outputs: list[str]) -> list["onnx.NodeProto"]:
    """Return the nodes that the outputs need, each after those that it needs itself."""
    makers = {name: node for node in graph.node for name in node.output}
    done: set[int] = set()
    ordered = []
    stack = [(makers[name], False) for name in reversed(outputs)]
    while stack:
        node, ready = stack.pop()
        if ready:
            ordered.append(node)
        elif id(node) not in done:
            done.add(id(node))
            _refuse_control_flow(node)
            stack.append((node, True))
            stack.extend((makers[name], False) for name in reversed(node.input) if name in makers)
    return ordered


def _refuse_control_flow(node: "onnx.NodeProto") -> None:
    """Raise for a node that has graphs of its own."""
    if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
        raise ExportError(
            f"the model has control flow ({node.op_type}), which depends on the data; only "
            "feed-forward models are exported"
        )


class _Names:
    """Makes names that are unique in the file."""

    def __init__(self, labels: Sequence[str], taken: Sequence[str]) -> None:
        self._labels = labels
        self._seen: Counter[str] = Counter(taken)

    def node(self, node: "onnx.NodeProto") -> str:
        """Name a node after its layer and operation, or after its operation alone.

        The converter drops the names of what it merges, such as a convolution and the addition
        behind it; the weights still have theirs.
        """
        marks = (layer_of(name) for name in (node.output[0], node.name, *node.input[1:]))
        position = next((mark for mark in marks if mark is not None), None)
        name = node.op_type if position is None else f"{self._labels[position]}/{node.op_type}"
        return self.free(name)

    def free(self, name: str) -> str:
        """Return the name, with a number from the second time on."""
        new = name
        while new in self._seen:
            self._seen[name] += 1
            new = f"{name}_{self._seen[name]}"
        self._seen[new] += 1
        return new


def _constant(tensor: "onnx.TensorProto", name: str) -> Any:
    """Copy a constant under a new name, its values as raw bytes."""
    import onnx

    return onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), name)


def _named(node: "onnx.NodeProto", name: str, renamed: dict[str, str]) -> "onnx.NodeProto":
    """Copy a node under a new name, with its tensors' new names and its attributes in order."""
    import onnx

    copy = onnx.NodeProto(op_type=node.op_type, domain=node.domain, name=name)
    copy.input.extend(renamed.get(tensor, tensor) for tensor in node.input)
    copy.output.extend(renamed.get(tensor, tensor) for tensor in node.output)
    copy.attribute.extend(sorted(node.attribute, key=lambda attribute: attribute.name))
    for attribute in copy.attribute:
        attribute.ClearField("doc_string")
    return copy
