"""What variables hold, as arrays, on any Keras backend."""

from collections.abc import Sequence
from typing import Any

import lazy_loader
import numpy as np

keras = lazy_loader.load("keras")


def arrays(variables: Sequence[Any]) -> list[np.ndarray]:
    """Copy what variables, or tensors, hold."""
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def assign(variables: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    """Give each variable a value."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def norm_of(parts: Sequence[np.ndarray]) -> float:
    """Compute the Euclidean norm of several arrays taken as one vector."""
    return float(np.sqrt(sum(float(np.square(part).sum()) for part in parts)))
