"""8-bit integers by onnxruntime: quantize and dequantize nodes around what is computed in them."""

import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from export.calibration import Ranges

if TYPE_CHECKING:
    import onnx

# Operations with weights: what can be left in float32, and is named as a layer.
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class Types:
    """What integers a processor multiplies well.

    Args:
        activations: ``QUInt8`` or ``QInt8``.
        weights: Likewise.
        reduce_range: Whether weights take 7 bits, so that the sum of two products fits 16.
    """

    activations: str
    weights: str
    reduce_range: bool


# https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
CPUS = {
    "x86": Types("QUInt8", "QInt8", reduce_range=True),
    "x86-vnni": Types("QUInt8", "QInt8", reduce_range=False),
    "arm": Types("QInt8", "QInt8", reduce_range=False),
}


def prepare(path: Path, prepared: Path) -> None:
    """Infer shapes and fold constants, as onnxruntime asks for before it quantizes.

    Args:
        path: The float file.
        prepared: The file to write.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    # Symbolic shapes are for transformers: the only unknown size of ours is the batch.
    quant_pre_process(path, prepared, skip_symbolic_shape=True)


def convert(
    prepared: Path,
    ranges: Ranges,
    *,
    per_channel: bool,
    cpu: str,
    float_layers: Collection[str] = (),
    only: Sequence[str] = (),
) -> "onnx.ModelProto":
    """Quantize a file, activations and weights, with known ranges.

    Args:
        prepared: What `prepare` wrote.
        ranges: Of each tensor; see `export.calibration.ranges`.
        per_channel: Whether each output channel of a weight has a scale of its own.
        cpu: For which processor, one of `CPUS`.
        float_layers: The nodes to leave in float32.
        only: The nodes to quantize, all others staying in float32; empty for all.

    Returns:
        The quantized model. What leaves it is computed in float32: logits in steps of a 256th of
        their range would tie.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static
    from onnxruntime.quantization.calibrate import TensorData, TensorsData, save_tensors_data

    types = CPUS[cpu]
    with tempfile.TemporaryDirectory(dir=prepared.parent) as folder:
        known, written = Path(folder, "ranges.json"), Path(folder, "int8.onnx")
        data = {name: TensorData(lowest=low, highest=high) for name, (low, high) in ranges.items()}
        save_tensors_data(TensorsData(CalibrationMethod.MinMax, data), known)
        quantize_static(
            prepared,
            written,
            None,
            calibration_cache_path=known,
            calibrate_method=CalibrationMethod.MinMax,
            activation_type=QuantType[types.activations],
            weight_type=QuantType[types.weights],
            reduce_range=types.reduce_range,
            per_channel=per_channel,
            nodes_to_quantize=list(only),
            nodes_to_exclude=[*float_layers, *_last(onnx.load(prepared))],
            extra_options={
                "ActivationSymmetric": types.activations == "QInt8",
                "OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"],
            },
        )
        return onnx.load(written)


def _last(proto: "onnx.ModelProto") -> list[str]:
    """Name the nodes without weights that make the outputs, such as a bias or a softmax."""
    outputs = {value.name for value in proto.graph.output}
    named = []
    for node in reversed(proto.graph.node):
        if outputs & set(node.output) and node.op_type not in WEIGHTED:
            named.append(node.name)
            outputs |= set(node.input) if node.op_type == "Softmax" else set()
    return named
