"""The same model under another dtype, from the same weights."""

from typing import Literal

import keras
import numpy as np

from export import graph, graph_reading
from zoo.errors import InputError

DTYPES = ("float32", "float64")


def rebuild(model: keras.Model, dtype: Literal["float32", "float64"] = "float32") -> keras.Model:
    """Build a model anew with every layer in one floating-point dtype.

    A model trained in mixed precision is deployed from its float32 weights; a reference is computed
    in float64. Nested models are flattened. Names and weights stay.

    Args:
        model: A functional or Sequential model, under any policy.
        dtype: The dtype of every layer's variables and computations.

    Returns:
        A new model; the one given is not changed.

    Raises:
        InputError: The dtype is another, or the model's graph cannot be seen.

    Example:
        >>> reference = export.rebuild(model, "float64")
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype: accepted are {', '.join(DTYPES)}; received {dtype!r}")
    if dtype == "float64":
        require_float64()
    return graph.build(graph_reading.read(model), dtype)


def require_float64() -> None:
    """Make sure that the backend computes in float64 when asked to.

    Raises:
        InputError: It is JAX, which makes float32 of float64 unless told otherwise.
    """
    made = keras.ops.convert_to_tensor(np.ones(1))  # float64, of which JAX says nothing
    if keras.backend.standardize_dtype(made.dtype) != "float64":
        raise InputError(
            f"the Keras backend {keras.backend.backend()!r} computes float64 in float32; set the "
            "environment variable JAX_ENABLE_X64=1"
        )
