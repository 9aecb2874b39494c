"""The inputs on which a certificate compares models."""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from export import whole_numbers
from zoo.errors import InputError

# The largest of few rounding errors is a matter of luck: over two images' eight outputs one model's
# was 3.8 times the other's, over sixteen images' at most 1.7 times.
MOST_IMAGES = 16
MOST_VALUES = 300_000
FREE_SIZES = (32, 47)  # even and odd; larger ones follow where a model needs them
LARGER_SIZES = (64, 96, 128, 224)


def batches(model: keras.Model) -> Iterator[list[list[np.ndarray]]]:
    """Make inputs of all kinds for a model, the same ones each time.

    Args:
        model: The model.

    Yields:
        Batches of one scale, whose errors are relative to the largest output of all of them: what
        a model makes of one kind alone, say of zeros, may be zero, or nearly so by cancellation.
        A batch is one array per input, float64 or integer: normal, uniform, zero, constant, a
        single bright position; then large values; at several sizes where a model's sizes are free.

    Raises:
        InputError: The model takes none of the sizes that are tried for its free axes.
    """
    for size in _sizes(model):
        shapes = [_shape(tensor, size) for tensor in model.inputs]
        seeds = itertools.count()
        for kinds in _KINDS:
            yield [_batch(model, shapes, kind, next(seeds)) for kind in kinds]


def _batch(
    model: keras.Model, shapes: list[tuple[int, ...]], kind: Callable[..., Any], seed: int
) -> list[np.ndarray]:
    """Make one array of a kind for each input; integers where the input takes those."""
    random = np.random.default_rng(seed)
    arrays = []
    for shape, tensor in zip(shapes, model.inputs, strict=True):
        count = whole_numbers.count(model, tensor)
        if count is None:
            arrays.append(kind(random, shape))
        else:
            arrays.append(random.integers(0, count, size=shape).astype(tensor.dtype))
    return arrays


def _impulse(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Make all zeros but the first corner, where padding shows."""
    values = np.zeros(shape)
    corner: Any = (slice(None), *[0] * (len(shape) - 2))
    values[corner] = 1.0
    return values


_KINDS = (
    (
        lambda random, shape: random.normal(size=shape),
        lambda random, shape: random.uniform(0, 1, size=shape),
        lambda random, shape: np.zeros(shape),
        lambda random, shape: np.ones(shape),
        _impulse,
    ),
    (lambda random, shape: 100 * random.normal(size=shape),),
)


def _shape(tensor: Any, size: int) -> tuple[int, ...]:
    """Fill a tensor's free axes in: a batch of that size."""
    sides = tuple(side or size for side in tensor.shape[1:])
    count = max(2, min(MOST_IMAGES, MOST_VALUES // math.prod(sides)))
    return (tensor.shape[0] or count, *sides)


def _sizes(model: keras.Model) -> tuple[int, ...]:
    """Choose sizes for free axes: those that the model can take."""
    free = any(side is None for tensor in model.inputs for side in tensor.shape[1:])
    if not free:
        return (1,)
    takes = tuple(size for size in FREE_SIZES if _runs(model, size))
    if takes:
        return takes
    for size in LARGER_SIZES:
        if _runs(model, size):
            return (size,)
    raise InputError(
        f"the model has inputs of free size but takes none of {FREE_SIZES + LARGER_SIZES}; "
        "build it with a fixed input shape"
    )


def _runs(model: keras.Model, size: int) -> bool:
    """Say whether a model's shapes work out at a size."""
    specs = [keras.KerasTensor(_shape(t, size), dtype=t.dtype) for t in model.inputs]
    structure = getattr(model, "_inputs_struct", None)
    given = specs[0] if structure is None else keras.tree.pack_sequence_as(structure, specs)
    try:
        model.compute_output_spec(given)
    except ValueError:
        return False
    return True
