"""What variables hold, as arrays, on any Keras backend."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np


def arrays(variables: Sequence[Any]) -> list[np.ndarray]:
    """Copy what variables, or tensors, hold."""
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def assign(variables: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    """Give each variable a value."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
