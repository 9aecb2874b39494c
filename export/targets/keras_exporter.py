"""Keras' own exporters, with the ONNX file's names and, for the same model, the same bytes."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.errors import ExportError

if TYPE_CHECKING:
    import keras

# It is part of the operations' names in what is written: Keras' own would count the models made.
_NAME = "model"


def write(model: "keras.Model", path: Path, kind: str, **options: Any) -> None:
    """Write a model in a format of Keras' exporters.

    Args:
        model: The folded model.
        path: The file, with the suffix that the exporter asks for; its folder is made.
        kind: The exporter's format.
        **options: The exporter's own.

    Raises:
        ExportError: The exporter's converter does not know something in the model.
    """
    import keras

    from export.onnx_runtime import first_line
    from export.subject import subject

    given = subject(model)
    outputs = dict(zip(given.outputs, keras.tree.flatten(model.output), strict=True))
    named = keras.Model(list(model.inputs), outputs, name=_NAME)
    specs = [
        keras.InputSpec(shape=tensor.shape, dtype=tensor.dtype, name=name)
        for name, tensor in zip(given.inputs, model.inputs, strict=True)
    ]
    arguments = specs if len(specs) == 1 else [specs]  # of one call
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        named.export(str(path), format=kind, verbose=False, input_signature=arguments, **options)
    except Exception as error:  # what the converters raise has no class in common
        raise ExportError(
            f"{model.name}: Keras cannot export it to {kind}: {first_line(error)}"
        ) from error
