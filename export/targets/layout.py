"""What targets are given, and what they read of an ONNX file."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.checks import Check

if TYPE_CHECKING:
    import keras
    import numpy as np
    import onnx

    from zoo.cards import Card

MODEL_FILE = "model.onnx"
VERSION = "1"  # the first of a model; its folder may not be called 01
# The largest batch that a server makes up or takes; the largest that parity is checked with.
MAX_BATCH = 64
MAX_INSTANCES = 256  # of a model; each holds its weights
# The Open Inference Protocol's names of numpy's types.
DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}


@dataclass(frozen=True)
class Tensor:
    """An input or output of an ONNX file.

    Args:
        name: Its name.
        datatype: Its type, as the Open Inference Protocol calls it, for example ``FP32``.
        dims: Its shape without the batch; -1 for a side of any size.
        batched: Whether its first side, left out of ``dims``, is free.
    """

    name: str
    datatype: str
    dims: tuple[int, ...]
    batched: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Describe it in JSON; -1 is a side of any size."""
        return {"name": self.name, "datatype": self.datatype, "shape": [-1, *self.dims]}


@dataclass(frozen=True)
class Exported:
    """What a target lays out for its server.

    Args:
        name: What the server calls the model; also a folder's name.
        onnx: The validated ONNX file; the target moves it to its place.
        model: The folded model that it computes.
        sample: One array for each input, of one image, real where there is one.
        labels: The classes' names; empty where nobody knows.
        card: What is known of the weights, if anything.
        instances: How many of the model a server runs side by side.
    """

    name: str
    onnx: Path
    model: "keras.Model"
    sample: "Sequence[np.ndarray]"
    labels: tuple[str, ...]
    card: "Card | None"
    instances: int = 1


def served_name(name: str) -> str:
    """Turn a model's name into one that is a folder's name and part of an address as well.

    Args:
        name: For example ``resnet20.digits``, which stays as it is.

    Returns:
        The name with ``_`` for what is neither an ASCII letter, a digit, ``.``, ``_`` nor ``-``.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".")
    return plain or "model"


def interface(proto: "onnx.ModelProto") -> tuple[list[Tensor], list[Tensor]]:
    """Read an ONNX file's inputs and outputs.

    Args:
        proto: The file's content.

    Returns:
        The inputs that have to be fed, and the outputs.
    """
    constants = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in constants]
    return [_tensor(value) for value in inputs], [_tensor(value) for value in proto.graph.output]


def _tensor(value: Any) -> Tensor:
    """Describe one input or output."""
    import onnx

    kind = value.type.tensor_type
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    except KeyError:  # none, or one that the standard does not have
        dtype = ""
    sizes = [d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim]
    free = bool(sizes) and sizes[0] == -1
    return Tensor(value.name, DATATYPES.get(dtype, "unknown"), tuple(sizes[1:]), free)


def files_there(folder: Path, *paths: str) -> list[Check]:
    """Look whether files are where a server looks for them.

    Args:
        folder: The folder.
        *paths: The files, relative to it.

    Returns:
        A check for each.
    """
    found = {path: "there" if (folder / path).is_file() else "missing" for path in paths}
    return [Check(path, what == "there", what, "there") for path, what in found.items()]
