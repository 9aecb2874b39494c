"""16-bit floating point by onnxruntime's own converter."""

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

LARGEST = 65504.0  # of float16; larger weights become it, not infinity
SMALLEST = 5.96e-8  # above 0; smaller weights become it, not 0


def convert(proto: "onnx.ModelProto", float_layers: Collection[str] = ()) -> "onnx.ModelProto":
    """Convert a model to float16, but for its inputs and outputs.

    Args:
        proto: The model in float32, which is not changed.
        float_layers: The nodes to leave in float32.

    Returns:
        The converted model.
    """
    import onnx
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    converted = convert_float_to_float16(
        copy,
        min_positive_val=SMALLEST,
        max_finite_val=LARGEST,
        keep_io_types=True,
        op_block_list=DEFAULT_OP_BLOCK_LIST,
        node_block_list=sorted(float_layers),
    )
    ONNXModel(converted).topological_sort()  # the casts of the inputs come last otherwise
    return converted
