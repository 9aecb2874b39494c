"""The exact GELU as onnxruntime knows it, so that it makes one operation of five.

TensorFlow's is 0.5 x erfc(-x c), with c the root of one half; ONNX has no erfc, nor has tf2onnx.
Onnxruntime looks for 0.5 x (1 + erf(x / r)), with r the root of two
(core/optimizer/gelu_fusion.cc); erfc(-z) is 1 + erf(z).
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from export.graph import free_name

if TYPE_CHECKING:
    import onnx

_HALF = np.float32(np.sqrt(0.5))
_TWO = np.float32(np.sqrt(2.0))


def write_erfc(context: Any, node: Any, name: str, _arguments: list[Any]) -> None:
    """Write an erfc with erf, as a handler of tf2onnx: a GELU's as 1 + erf, others as 1 - erf.

    What that rounds of a small erfc is as much as erf rounds anyway; GELU multiplies it by x, so it
    stays within a rounding of the activations' size.
    """
    from tf2onnx.utils import make_name

    def make(kind: str, *inputs: str) -> str:
        made = context.make_node(kind, list(inputs), name=make_name(name)).output[0]
        context.copy_dtype(node.output[0], made)
        context.copy_shape(node.output[0], made)
        return str(made)

    def constant(value: np.float32) -> str:
        return str(context.make_const(make_name(name), value).output[0])

    x = _of_gelu(node)
    if x is None:
        node.type = "Sub"
        context.replace_inputs(node, [constant(np.float32(1)), make("Erf", node.input[0])])
    else:
        # As a product: tf2onnx takes no Transpose past a division. `finish` makes one of it.
        erf = make("Erf", make("Mul", x, constant(_HALF)))
        node.type = "Add"
        context.replace_inputs(node, [erf, constant(np.float32(1))])


def _of_gelu(node: Any) -> str | None:
    """Name the x of an erfc(-x c); None where it is another erfc."""
    product = node.inputs[0]
    if product.type != "Mul":
        return None
    negated = next((factor for factor in product.inputs if factor.type == "Neg"), None)
    scale = next((factor for factor in product.inputs if factor.is_const()), None)
    if negated is None or scale is None or not _is_half(scale.get_tensor_value(as_list=False)):
        return None
    return str(negated.input[0])


def _is_half(value: np.ndarray) -> bool:
    """Whether a constant is the root of one half, as float32 has it."""
    return value.size == 1 and abs(value.item() - float(_HALF)) <= float(np.spacing(_HALF))


def finish(proto: "onnx.ModelProto") -> None:
    """Write each 1 + erf(x c) as 1 + erf(x / r) with scalars, in place: else it is not known."""
    import onnx

    graph = proto.graph
    constants = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and all(size == 1 for size in tensor.dims)
    }
    made_by = {node.output[0]: node for node in graph.node}
    taken = {value.name for value in (*graph.initializer, *graph.input)} | set(made_by)
    one_name, root_name = (free_name(name, taken) for name in ("gelu_one", "gelu_root_of_two"))
    scalars = {root_name: _TWO, one_name: np.float32(1)}
    found = False
    for added in graph.node:
        erf = made_by.get(added.input[0]) if added.op_type == "Add" else None
        product = made_by.get(erf.input[0]) if erf is not None and erf.op_type == "Erf" else None
        if product is None or product.op_type != "Mul":
            continue
        one, half = constants.get(added.input[1]), constants.get(product.input[1])
        if one is None or half is None or one.item() != 1 or not _is_half(half):
            continue
        added.input[1] = one_name
        product.op_type, product.input[1] = "Div", root_name
        found = True
    if found:
        graph.initializer.extend(
            onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in scalars.items()
        )
