"""What is exported and validated: a Keras model, or a folded one with its report."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zoo.errors import InputError

if TYPE_CHECKING:
    import keras

    from export.folding import Folded

INPUT = "image"
OUTPUT = "logits"
PROBABILITIES = "probabilities"
BATCH = "batch"

_NOT_FOLDED = "the model was exported without folding"


@dataclass(frozen=True)
class Subject:
    """A model with what its file says about it.

    Args:
        model: The Keras model whose computation the file holds.
        sha256: The fingerprint of the model that was given, before folding where it was folded.
        kept: The BatchNorms left in it, as pairs of layer and reason.
    """

    model: "keras.Model"
    sha256: str
    kept: tuple[tuple[str, str], ...]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The inputs' names in the file: ``image``, or Keras' own where there are several.

        Names that Keras made up are numbered anew, so that equal models make equal files; one that
        a lone output has gets a number too.
        """
        from export.fingerprint import made_up

        if len(self.model.inputs) == 1:
            return (INPUT,)
        layers = [tensor._keras_history.operation for tensor in self.model.inputs]
        names = [made_up(layer.name, type(layer)) or layer.name for layer in layers]
        return _beside((OUTPUT, PROBABILITIES), names)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs' names in the file: ``logits``, or Keras' own where there are several.

        One that an input has, such as ``image``, gets a number: a file has one tensor of a name.
        """
        import keras

        if len(self.model.outputs) == 1:
            return (OUTPUT,)
        structure = self.model.output
        if isinstance(structure, dict) and len(structure) == len(self.model.outputs):
            return _beside(self.inputs, keras.tree.flatten({key: key for key in structure}))
        return _beside(self.inputs, self.model.output_names)


def subject(model: "keras.Model | Folded") -> Subject:
    """Look at what was given to be exported or validated.

    Args:
        model: A functional or Sequential keras.Model, or what `export.fold` returns.

    Returns:
        The model and what its file shall say about it.

    Raises:
        InputError: It is neither, or Keras does not run on TensorFlow.
    """
    import keras

    from export.fingerprint import fingerprint
    from export.folding import Folded

    require_exportable(getattr(model, "model", model))
    if isinstance(model, Folded):
        kept = tuple((entry.layer, entry.reason) for entry in model.report.kept)
        return Subject(model.model, model.report.source_sha256, kept)
    if not isinstance(model, keras.Model):
        raise InputError(
            f"model: accepted are a keras.Model and an export.Folded; received {model!r}"
        )
    if not getattr(model, "outputs", None):
        raise InputError(
            f"model: accepted are built functional and Sequential models; received {model.name!r}, "
            f"a {type(model).__name__} that has no graph; call it once, or give it a keras.Input"
        )
    return Subject(model, fingerprint(model), tuple(_batchnorms(model)))


def require_exportable(model: Any) -> None:
    """Refuse what no ONNX file can be made of, which is known before anything is folded.

    Args:
        model: The keras.Model.

    Raises:
        InputError: Keras does not run on TensorFlow, or the model takes batches of one size alone:
            a file takes any.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        raise InputError(
            "ONNX export: accepted is Keras on TensorFlow; received the backend "
            f"{keras.backend.backend()!r}; set the environment variable KERAS_BACKEND=tensorflow"
        )
    for tensor in getattr(model, "inputs", None) or ():
        if tensor.shape[0] is not None:
            raise InputError(
                f"model: accepted are models that take any number of images; received "
                f"{model.name!r}, whose input takes {tuple(tensor.shape)}; build it with "
                "keras.Input(shape) in place of batch_shape or batch_size"
            )


def _batchnorms(model: Any) -> list[tuple[str, str]]:
    """List the BatchNorms of a model that was not folded, nested models' among them."""
    import keras

    found = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found.extend(_batchnorms(layer))
        elif isinstance(layer, keras.layers.BatchNormalization):
            found.append((layer.name, _NOT_FOLDED))
    return found


def _beside(taken: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Number the names that are taken, and those that were seen before."""
    return unique([*taken, *names])[len(taken) :]


def unique(names: Any) -> tuple[str, ...]:
    """Number the names that were seen before.

    Args:
        names: Names, some of them perhaps equal.

    Returns:
        As many names, no two of them equal.
    """
    found: dict[str, None] = {}
    for name in names:
        new, number = name, 0
        while new in found:
            number += 1
            new = f"{name}_{number}"
        found[new] = None
    return tuple(found)
