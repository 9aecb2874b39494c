"""The target ``openvino``: OpenVINO's own form in a version folder, as its Model Server reads it.

Keras' own exporter writes it, from the folded model. ``model.onnx`` stays beside it: the verdict is
about that file, and OpenVINO's form is held to the same limit, computed in float32.

Reference:
    https://docs.openvino.ai/2025/model-server/ovms_docs_models_repository.html
"""

import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export.checks import Check
from export.targets import keras_exporter
from export.targets.layout import MODEL_FILE, VERSION, Exported, files_there

GRAPH_FILE, WEIGHTS_FILE = "model.xml", "model.bin"
# Where a processor computes bfloat16 faster, OpenVINO would choose that.
_FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32"}
_COUNTED = re.compile(r"[A-Za-z]+_[0-9]+")  # a name that OpenVINO made up; others have a slash


def model_file(name: str) -> str:
    """Tell where the ONNX file lies in the folder, whatever the model's name."""
    return MODEL_FILE


def lay_out(made: Exported, folder: Path) -> None:
    """Write the graph and its weights, with the ONNX file's names of inputs and outputs.

    Args:
        made: What was exported.
        folder: The folder.

    Raises:
        ExportError: The converter does not know something in the model.
    """
    import openvino

    made.onnx.replace(folder / MODEL_FILE)
    final = folder / made.name / VERSION
    final.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, GRAPH_FILE)
        keras_exporter.write(made.model, path, "openvino")
        graph = openvino.Core().read_model(path)
        _name_by_place(graph)
        openvino.serialize(graph, final / GRAPH_FILE, final / WEIGHTS_FILE)
        del graph  # it reads the weights where they lie


def _name_by_place(graph: Any) -> None:
    """Name operations by where they are, not by how many this process has converted before."""
    for place, operation in enumerate(graph.get_ordered_ops()):
        if _COUNTED.fullmatch(operation.get_friendly_name()):
            operation.set_friendly_name(f"{operation.get_type_name()}_{place}")


def check(folder: Path, name: str) -> list[Check]:
    """Look whether the files are where OpenVINO's Model Server looks for them.

    Args:
        folder: The folder.
        name: The model's name.

    Returns:
        The checks.
    """
    return files_there(folder, *(f"{name}/{VERSION}/{one}" for one in (GRAPH_FILE, WEIGHTS_FILE)))


def load(
    folder: Path, name: str, inputs: Sequence[str], outputs: Sequence[str]
) -> Callable[[Sequence[np.ndarray]], list[np.ndarray]]:
    """Load the graph in OpenVINO, on the CPU.

    Args:
        folder: The folder.
        name: The model's name.
        inputs: The inputs' names, in the model's order.
        outputs: The outputs' names, likewise.

    Returns:
        A function from one array for each input to one array for each output.
    """
    import openvino

    path = folder / name / VERSION / GRAPH_FILE
    run = openvino.Core().compile_model(path, "CPU", _FLOAT32)

    def compute(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        found = run(dict(zip(inputs, arrays, strict=True)))
        return [found[one] for one in outputs]

    return compute
