"""Keras model files, read in safe mode and written whole or not at all."""

import json
import lzma
import os
import re
import textwrap
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import InputError
from zoo.files import is_dir, is_file, replacing

if TYPE_CHECKING:
    import keras

# What zipfile and json raise. RuntimeError: a part is encrypted, is compressed in an unknown way
# (NotImplementedError) or is nested without end (RecursionError).
_DAMAGES = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    ValueError,
)
_MEMBERS = {"config.json", "metadata.json", "model.weights.h5"}


def load(path: str | os.PathLike[str]) -> "keras.Model":
    """Load a ``.keras`` file in safe mode: nothing in it is unpickled or run.

    Args:
        path: The file.

    Returns:
        The model, not compiled.

    Raises:
        InputError: The file is missing, damaged, not a Keras model, or asks for code that safe
            mode refuses.
    """
    import keras

    import zoo.layers  # noqa: F401  our own layers register themselves

    check(path)
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # whatever Keras stumbles over in a file is the file's
        raise InputError(f"{path} cannot be loaded as a Keras model: {_cause(error)}") from error
    if not isinstance(model, keras.Model):
        raise InputError(f"{path}: accepted is a keras.Model; it holds a {type(model).__name__}")
    return model


def check(path: str | os.PathLike[str]) -> None:
    """Make sure that a file is a whole ``.keras`` archive, before Keras reads it.

    Args:
        path: The file.

    Raises:
        InputError: It is missing, not such an archive, truncated, or a byte in it has changed.
    """
    path = Path(path)
    if not is_file(path):
        what = "is a folder" if is_dir(path) else "does not exist"
        raise InputError(f"{path} {what}; accepted is a Keras model file (.keras)")
    try:
        with zipfile.ZipFile(path) as archive:
            missing = _MEMBERS - set(archive.namelist())
            damaged = archive.testzip()
            if not missing and not damaged:
                json.loads(archive.read("config.json"))
    except _DAMAGES as error:
        raise InputError(
            f"{path} is not a Keras model file (.keras), or it is truncated: {error}"
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    if missing:
        raise InputError(
            f"{path} is not a Keras model file (.keras): it lacks {', '.join(sorted(missing))}"
        )
    if damaged:
        raise InputError(f"{path} is corrupt: the checksum of its part {damaged} does not match")


def _cause(error: Exception) -> str:
    """Choose what a person can act on from Keras' pages about a file that it cannot load."""
    # Each object that holds the cause tells it once more after this mark: the last one is it.
    text = str(error).rpartition("Exception encountered:")[2].strip()
    unknown = re.search(r"Could not locate (class|function) '([^']*)'", text)
    if unknown:
        return (
            f"the {unknown[1]} {unknown[2]!r} is not known here; accepted are Keras' own and those "
            "registered with keras.saving.register_keras_serializable before"
        )
    if "safe_mode" in text or "unsafe_deserialization" in text:
        layer = re.search(r"`(\w+)` layer", text)
        what = f"a {layer[1]} layer with Python code" if layer else "Python code"
        return f"it holds {what}, which is not run; accepted are layers of classes that are known"
    # The line may carry the layer's whole configuration.
    return textwrap.shorten(text.partition("\n")[0], 300) if text else type(error).__name__


def check_name(path: str | os.PathLike[str]) -> None:
    """Refuse to write a model under a name that Keras takes for another format.

    Args:
        path: The file.

    Raises:
        InputError: Its name does not end in ``.keras``.
    """
    if Path(path).suffix != ".keras":
        raise InputError(f"accepted is a file name that ends in .keras; received {path}")


def save(model: "keras.Model", path: str | os.PathLike[str]) -> Path:
    """Write a model as a ``.keras`` file, whole or not at all.

    Args:
        model: The model.
        path: The file; its name must end in ``.keras``.

    Returns:
        The path.

    Raises:
        InputError: The name ends otherwise, or the place cannot be written or is full.
    """
    path = Path(path)
    check_name(path)
    with replacing(path) as beside:
        model.save(beside)
    return path
