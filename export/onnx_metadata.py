"""What an ONNX file says about itself: preprocessing, labels, versions and where it comes from."""

import importlib.metadata
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import InputError
from zoo.files import is_dir, is_file

if TYPE_CHECKING:
    import onnx

    from zoo.preprocessing import Preprocessing

PREFIX = "foldzoo."
PRODUCER = "foldzoo"
INPUT_KEY, PIXELS = f"{PREFIX}input", "pixels"
# What a server needs to be told to feed the file and to read its answer.
_FEEDING = ("activation", "input", "labels", "layout", "preprocessing")
FEEDING = tuple(f"{PREFIX}{key}" for key in _FEEDING)
PROBABLE = ("softmax", "sigmoid")  # what a model may apply at its end, in place of giving logits
_FORMS = {
    "activation": "|".join(PROBABLE),
    "input": PIXELS,
    "layout": "NHWC|NCHW",
    "source_sha256": "[0-9a-f]{64}",
}
_PACKAGES = ("foldzoo", "keras", "tensorflow", "tf2onnx", "onnx")


def write_metadata(
    proto: "onnx.ModelProto",
    *,
    preprocessing: "Preprocessing | None",
    labels: Sequence[str] | None,
    layout: str,
    sha256: str,
    kept: Sequence[tuple[str, str]],
    activation: str | None,
) -> None:
    """Put into a model what a server needs to feed and read it, and what it was made from.

    Args:
        proto: The model, changed in place.
        preprocessing: What turns an image into the input; left out where it is not known.
        labels: The classes' names, likewise.
        layout: ``NHWC`` or ``NCHW``.
        sha256: The fingerprint of the Keras model that it was made from.
        kept: The BatchNorms left in it, as pairs of layer and reason.
        activation: What it applies at its end, of `PROBABLE`; None where it gives logits.
    """
    import onnx

    values: dict[str, Any] = {
        "activation": activation,
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
        The values by key: ``activation`` (``softmax`` or ``sigmoid``, where the output is no
        logits), ``preprocessing`` (a mapping that `zoo.preprocessing.Preprocessing` takes),
        ``input`` (``pixels`` where the preprocessing is inside), ``labels``, ``layout``,
        ``source_sha256``, ``versions``, ``batchnorm_kept``, ``quantization``; only those that the
        file has.

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
    return decoded({entry.key: entry.value for entry in proto.metadata_props}, path)


def feeding(proto: "onnx.ModelProto") -> dict[str, str]:
    """Choose the entries that a server is told, as they are written in the file."""
    entries = {entry.key: entry.value for entry in proto.metadata_props}
    return {key: entries[key] for key in FEEDING if key in entries}


def decoded(texts: Mapping[str, str], where: str | os.PathLike[str]) -> dict[str, Any]:
    """Decode entries that a file or a server tells.

    Args:
        texts: The entries; those of others are left out.
        where: What tells them, for the messages.

    Returns:
        The values, as `read_metadata` tells them.

    Raises:
        InputError: A value is damaged.
    """
    values: dict[str, Any] = {}
    for name, text in texts.items():
        if name.startswith(PREFIX):
            key = name.removeprefix(PREFIX)
            try:
                values[key] = _decoded(key, text)
            except ValueError as error:
                raise InputError(f"{where}: its metadata {name} is damaged: {error}") from error
    return values


def _decoded(key: str, text: str) -> Any:
    """Decode one value: text for a hash or a layout, JSON for the others, each of its own form."""
    from zoo.preprocessing import Preprocessing

    if key in _FORMS:
        if not re.fullmatch(_FORMS[key], text):
            raise ValueError(f"accepted is {_FORMS[key]}; received {text[:80]!r}")
        return text
    value = json.loads(text)
    if key == "preprocessing":
        if not isinstance(value, dict):
            raise ValueError(f"accepted is a mapping; received {value!r}")
        Preprocessing(**value)  # refuses what it does not know
    if key == "labels" and not _texts(value):
        raise ValueError(f"accepted is a list of texts; received {value!r}")
    if key == "batchnorm_kept" and not (
        isinstance(value, list)
        and all(isinstance(entry, dict) and _texts(list(entry.values())) for entry in value)
        and all({"layer", "reason"} <= set(entry) for entry in value)
    ):
        raise ValueError(f"accepted is a list of layers and reasons; received {value!r}")
    if key == "quantization" and not (
        isinstance(value, dict)
        and value.get("precision") in ("fp16", "int8")
        and isinstance(value.get("accuracy_limit"), int | float)
        and 0 <= value["accuracy_limit"] <= 100
    ):
        raise ValueError(
            f"accepted are a precision and its accuracy_limit, 0 to 100 points; received {value!r}"
        )
    return value


def _texts(value: Any) -> bool:
    """Say whether something is a list of texts."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


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
    if not is_file(path):
        what = "is a folder" if is_dir(path) else "does not exist"
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
    is_list = isinstance(labels, Iterable) and not isinstance(labels, str | Mapping)
    if not (is_list and all(isinstance(label, str) for label in labels)):
        raise InputError(f"labels: accepted is a list of texts; received {labels!r}")
    if len(labels) != shape[-1]:
        raise InputError(
            f"labels: accepted are as many as the model has logits, {shape[-1]}; "
            f"received {len(labels)}"
        )
    return list(labels)


def checked_preprocessing(
    preprocessing: "Preprocessing | Mapping[str, Any] | None", shape: Sequence[int | None]
) -> "Preprocessing | None":
    """Make sure that a preprocessing makes what a model takes.

    Args:
        preprocessing: The preprocessing, or its values; or None.
        shape: The input's shape in Keras.

    Returns:
        The preprocessing.

    Raises:
        InputError: It makes images of another shape, or is something else.
    """
    from zoo.preprocessing import Preprocessing

    if preprocessing is None:
        return None
    if isinstance(preprocessing, Mapping):
        preprocessing = Preprocessing(**preprocessing)
    if not isinstance(preprocessing, Preprocessing):
        raise InputError(
            "preprocessing: accepted is a zoo.preprocessing.Preprocessing or a mapping of its "
            f"values; received {preprocessing!r}"
        )
    taken = tuple(shape[1:])
    made = (*preprocessing.size, preprocessing.channels)
    fits = len(taken) == len(made) and all(
        wanted in (None, size) for wanted, size in zip(taken, made, strict=True)
    )
    if not fits:
        raise InputError(
            f"preprocessing: accepted is one for the model's input {taken}; received one that "
            f"makes {made}"
        )
    return preprocessing
