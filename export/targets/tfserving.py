"""The target ``tfserving``: a SavedModel in a version folder, as TensorFlow Serving reads it.

Keras' own exporter writes it, from the folded model. ``model.onnx`` stays beside it: the verdict is
about that file, and the SavedModel is held to the same limit.

Reference:
    https://www.tensorflow.org/tfx/serving/serving_config
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export.checks import Check
from export.targets.layout import MODEL_FILE, VERSION, Exported, files_there

_SIGNATURE = "serving_default"


def model_file(name: str) -> str:
    """Tell where the ONNX file lies in the folder, whatever the model's name."""
    return MODEL_FILE


def lay_out(made: Exported, folder: Path) -> None:
    """Write the SavedModel, with the ONNX file's names of inputs and outputs.

    Args:
        made: What was exported.
        folder: The folder.
    """
    import keras
    import tensorflow as tf

    from export.subject import subject

    made.onnx.replace(folder / MODEL_FILE)
    given, model = subject(made.model), made.model

    def compute(*inputs: Any) -> dict[str, Any]:
        fed = inputs[0]
        if isinstance(model.input, dict | list | tuple):
            fed = keras.tree.pack_sequence_as(model.input, list(inputs))
        outputs = keras.tree.flatten(model(fed, training=False))
        return dict(zip(given.outputs, outputs, strict=True))

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        _SIGNATURE,
        compute,
        input_signature=[
            tf.TensorSpec(tensor.shape, tensor.dtype, name=name)
            for name, tensor in zip(given.inputs, model.inputs, strict=True)
        ],
    )
    archive.write_out(str(folder / made.name / VERSION), verbose=False)


def check(folder: Path, name: str) -> list[Check]:
    """Look whether the SavedModel is where TensorFlow Serving looks for it.

    Args:
        folder: The folder.
        name: The model's name.

    Returns:
        The check.
    """
    return files_there(folder, f"{name}/{VERSION}/saved_model.pb")


def load(
    folder: Path, name: str, inputs: Sequence[str], outputs: Sequence[str]
) -> Callable[[Sequence[np.ndarray]], list[np.ndarray]]:
    """Load the SavedModel as TensorFlow Serving does.

    Args:
        folder: The folder.
        name: The model's name.
        inputs: The inputs' names, in the model's order.
        outputs: The outputs' names, likewise.

    Returns:
        A function from one array for each input to one array for each output.
    """
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder / name / VERSION))
    signature = loaded.signatures[_SIGNATURE]

    def compute(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        assert loaded is not None  # a signature does not keep its model's variables alive
        fed = zip(inputs, arrays, strict=True)
        found = signature(**{one: tf.constant(array) for one, array in fed})
        return [found[one].numpy() for one in outputs]

    return compute
