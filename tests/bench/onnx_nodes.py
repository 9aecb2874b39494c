"""Compare the ONNX file of a folded model with that of plain ``model.export(format="onnx")``.

    python -m tests.bench.onnx_nodes [--models A,B] [--out FILE]

What is left in each file is counted: the nodes that a BatchNorm leaves behind, and transposes.
"""

import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import export

from .models import application, small
from .records import fill

SMALL = ("conv-BN-ReLU", "conv-ReLU-BN", "BN-ReLU-conv", "conv-MaxPool-BN-ReLU")
MODELS = {
    **dict.fromkeys(SMALL, small),
    **dict.fromkeys(
        ("MobileNetV2", "ResNet50", "ResNet50V2", "DenseNet121", "EfficientNetB0"), application
    ),
}
# What an image's sides are where a model takes any; its own documentation names the same.
FREE_SIZE = 224
# A maximum or minimum may be written as Clip; Relu is shown because a clamp takes its place.
NODES = ("BatchNormalization", "Conv", "Mul", "Add", "Max", "Min", "Clip", "Relu", "Transpose")


def measure(name: str) -> dict[str, Any]:
    """Export a model both ways."""
    model = MODELS[name](name)
    kept = len(export.fold(model).report.kept)
    with tempfile.TemporaryDirectory() as folder:
        return {
            "kept": kept,
            "plain": exported(Path(folder, "plain.onnx"), lambda path: plain(model, path)),
            "folded": exported(
                Path(folder, "folded.onnx"), lambda path: export.to_onnx(export.fold(model), path)
            ),
        }


def plain(model: Any, path: Path) -> None:
    """Export as Keras does when it is told nothing else."""
    sides = [side or FREE_SIZE for side in model.input_shape[1:]]
    model(np.zeros((1, *sides), np.float32))  # it refuses a model never called
    model.export(path, format="onnx", verbose=False)


def exported(path: Path, write: Any) -> dict[str, Any]:
    """Write a file, load it, and count its nodes."""
    import onnx
    import onnxruntime

    start = time.perf_counter()
    write(path)
    seconds = time.perf_counter() - start
    nodes = Counter(node.op_type for node in onnx.load(path).graph.node)
    asked = [value.name for value in onnxruntime.InferenceSession(path).get_inputs()]
    return {
        "nodes": {kind: nodes[kind] for kind in NODES},
        "all_nodes": nodes.total(),
        "megabytes": path.stat().st_size / 1e6,
        "seconds": seconds,
        "extra_inputs": asked[1:],  # all models that are compared have one
    }


def main() -> None:
    """Export what the file lacks."""
    fill("onnx_nodes", __doc__, tuple(MODELS), measure)


if __name__ == "__main__":
    main()
