"""The images that a benchmark feeds to a model, as the model takes them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export.onnx_metadata import PIXELS, load, metadata_of
from export.onnx_runtime import Session
from export.pixels import undone
from zoo.errors import InputError
from zoo.preprocessing import Preprocessing

_FREE_SIDE = 64  # pixels, where a file takes images of any size


def for_file(path: Path, images: np.ndarray | None, count: int) -> np.ndarray:
    """Make images of the type, the order of axes and the preprocessing that an ONNX file has.

    Args:
        path: The file.
        images: Preprocessed images, channels last; None for random ones.
        count: How many random ones are made.

    Returns:
        The images.

    Raises:
        InputError: The file does not take one array of numbers, or not these images.
        ExportError: onnxruntime cannot load it.
    """
    import onnx

    proto = load(path)
    names = Session(proto).inputs
    if len(names) != 1:
        raise InputError(f"{path}: accepted are files with one input; received {len(names)}")
    taken = next(one for one in proto.graph.input if one.name == names[0]).type.tensor_type
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(taken.elem_type))
    sides = [dim.dim_value or None for dim in taken.shape.dim[1:]]
    if dtype.kind not in "fiub":
        raise InputError(f"{path}: accepted are files that take numbers; received {dtype.name}")
    if images is None:
        return _random((count, *(side or _FREE_SIDE for side in sides)), dtype)
    made = _arranged(path, metadata_of(proto, path), images, dtype)
    check_fits(str(path), sides, made)
    return made


def check_fits(name: str, sides: Sequence[int | None], images: np.ndarray) -> None:
    """Refuse images of another shape than a model takes.

    Args:
        name: What to call the model.
        sides: The shape of one image there; None is a side of any size.
        images: The images.

    Raises:
        InputError: They are of another shape.
    """
    shape = images.shape[1:]
    if len(shape) != len(sides) or any(
        side not in (None, got) for side, got in zip(sides, shape, strict=True)
    ):
        raise InputError(f"{name}: accepted are images of {tuple(sides)}; received some of {shape}")


def _random(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Make random numbers of a type; integers but pixels are small, as they may count something."""
    random = np.random.default_rng(0)
    if dtype.kind == "f":
        return random.normal(size=shape).astype(dtype)
    return random.integers(0, 256 if dtype == np.uint8 else 2, shape).astype(dtype)


def _arranged(
    path: Path, said: Mapping[str, Any], images: np.ndarray, dtype: np.dtype[Any]
) -> np.ndarray:
    """Turn preprocessed images into what a file takes."""
    if said.get("input") == PIXELS:
        told = said.get("preprocessing")
        return undone(images, None if told is None else Preprocessing(**told))
    if dtype.kind != "f":
        raise InputError(f"{path}: it takes {dtype.name}, and does not tell of what images")
    first = said.get("layout") == "NCHW" and images.ndim == 4
    return (np.moveaxis(images, -1, 1) if first else images).astype(dtype)
