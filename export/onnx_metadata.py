"""What an ONNX file says about itself: preprocessing, labels, versions and where it comes from."""

import importlib.metadata
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import InputError

if TYPE_CHECKING:
    import onnx

    from zoo.preprocessing import Preprocessing

PREFIX = "foldzoo."
PRODUCER = "foldzoo"
_PACKAGES = ("foldzoo", "keras", "tensorflow", "tf2onnx", "onnx")


def write_metadata(
    proto: "onnx.ModelProto",
    *,
    preprocessing: "Preprocessing | None",
    labels: Sequence[str] | None,
    layout: str,
    sha256: str,
    kept: Sequence[tuple[str, str]],
) -> None:
    """Put into a model what a server needs to feed and read it, and what it was made from.

    Args:
        proto: The model, changed in place.
        preprocessing: What turns an image into the input; left out where it is not known.
        labels: The classes' names, likewise.
        layout: ``NHWC`` or ``NCHW``.
        sha256: The fingerprint of the Keras model that it was made from.
        kept: The BatchNorms left in it, as pairs of layer and reason.
    """
    import onnx

    values: dict[str, Any] = {
        "batchnorm_kept": [{"layer": layer, "reason": reason} for layer, reason in kept],
        "labels": None if labels is None else list(labels),
        "layout": layout,
        "preprocessing": None if preprocessing is None else preprocessing.model_dump(mode="json"),
        "source_sha256": sha256,
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }
    texts = {
        PREFIX + key: value if isinstance(value, str) else json.dumps(value)
        for key, value in values.items()
        if value is not None
    }
    onnx.helper.set_model_props(proto, texts)
    proto.producer_name = PRODUCER
    proto.producer_version = importlib.metadata.version(PRODUCER)


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what an ONNX file says about itself.

    Args:
        path: The file.

    Returns:
        The values by key: ``preprocessing`` (a mapping that `zoo.preprocessing.Preprocessing`
        takes), ``labels``, ``layout``, ``source_sha256``, ``versions``, ``batchnorm_kept``; only
        those that the file has.

    Raises:
        InputError: The file is missing or is not an ONNX model, or a value is damaged.

    Example:
        >>> read_metadata("model.onnx")["labels"]
    """
    return metadata_of(load(path), path)


def metadata_of(
    proto: "onnx.ModelProto", path: str | os.PathLike[str] = "the ONNX model"
) -> dict[str, Any]:
    """Read the same from a model in memory; ``path`` is for the messages."""
    values: dict[str, Any] = {}
    for entry in proto.metadata_props:
        if entry.key.startswith(PREFIX):
            values[entry.key.removeprefix(PREFIX)] = _decoded(entry.key, entry.value, path)
    return values


def _decoded(key: str, text: str, path: str | os.PathLike[str]) -> Any:
    """Decode one value: text for a hash or a layout, JSON for the others."""
    if key in (f"{PREFIX}layout", f"{PREFIX}source_sha256"):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: its metadata {key} is not JSON: {error}") from error


def load(path: str | os.PathLike[str]) -> "onnx.ModelProto":
    """Read an ONNX file.

    Args:
        path: The file.

    Returns:
        The model.

    Raises:
        InputError: The file is missing or is not an ONNX model.
    """
    import google.protobuf.message
    import onnx

    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{path} {what}; accepted is an ONNX file")
    try:
        proto = onnx.load_model_from_string(path.read_bytes())
    except google.protobuf.message.DecodeError as error:
        raise InputError(f"{path} is not an ONNX file, or it is truncated") from error
    if not proto.graph.node or not proto.opset_import:
        raise InputError(f"{path} is not an ONNX file: it holds no graph")
    return proto


def checked_labels(labels: Sequence[str] | None, shape: Sequence[int | None]) -> list[str] | None:
    """Make sure that there is one label for each logit.

    Args:
        labels: The classes' names, or None.
        shape: The output's shape in Keras.

    Returns:
        The labels as a list.

    Raises:
        InputError: There are more or fewer, or they are not texts.
    """
    if labels is None:
        return None
    if isinstance(labels, str | Mapping) or not all(isinstance(label, str) for label in labels):
        raise InputError(f"labels: accepted is a list of texts; received {labels!r}")
    if len(labels) != shape[-1]:
        raise InputError(
            f"labels: accepted are as many as the model has logits, {shape[-1]}; "
            f"received {len(labels)}"
        )
    return list(labels)
