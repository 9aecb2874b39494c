"""The target ``litert``: a ``.tflite`` file for LiteRT (TensorFlow Lite), on phones and boards.

Keras' own exporter writes it, from the folded model, with LiteRT's own operations alone: no runtime
needs TensorFlow's beside them. ``model.onnx`` stays beside it: the verdict is about that file, and
the ``.tflite`` file is held to the same limit.

Reference:
    https://ai.google.dev/edge/litert
"""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export.checks import Check
from export.targets import keras_exporter
from export.targets.layout import MODEL_FILE, Exported, files_there

LITERT_FILE = "model.tflite"


def model_file(name: str) -> str:
    """Tell where the ONNX file lies in the folder, whatever the model's name."""
    return MODEL_FILE


def lay_out(made: Exported, folder: Path) -> None:
    """Write the file, with the ONNX file's names of inputs and outputs in its signature.

    Args:
        made: What was exported.
        folder: The folder.

    Raises:
        ExportError: The converter does not know something in the model.
    """
    import tensorflow as tf

    made.onnx.replace(folder / MODEL_FILE)
    own = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    keras_exporter.write(made.model, folder / made.name / LITERT_FILE, "litert", target_spec=own)


def check(folder: Path, name: str) -> list[Check]:
    """Look whether the file is there.

    Args:
        folder: The folder.
        name: The model's name.

    Returns:
        The check.
    """
    return files_there(folder, f"{name}/{LITERT_FILE}")


def load(
    folder: Path, name: str, inputs: Sequence[str], outputs: Sequence[str]
) -> Callable[[Sequence[np.ndarray]], list[np.ndarray]]:
    """Load the file in LiteRT.

    Args:
        folder: The folder.
        name: The model's name.
        inputs: The inputs' names, in the model's order.
        outputs: The outputs' names, likewise.

    Returns:
        A function from one array for each input to one array for each output.
    """
    interpreter = _interpreter()(model_path=str(folder / name / LITERT_FILE))
    run = interpreter.get_signature_runner()

    def compute(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        found = run(**dict(zip(inputs, arrays, strict=True)))
        return [found[one] for one in outputs]

    return compute


def _interpreter() -> Callable[..., Any]:
    """Find LiteRT: its own package where that is installed, or else TensorFlow's copy of it."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError:
        return _tensorflows
    return Interpreter


def _tensorflows(**options: Any) -> Any:
    """Make an interpreter of TensorFlow's copy, which says each time that it will go one day."""
    import tensorflow as tf

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s).*tf.lite.Interpreter is deprecated", UserWarning)
        return tf.lite.Interpreter(**options)
