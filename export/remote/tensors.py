"""Arrays in the Open Inference Protocol's JSON."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from export.remote.transport import DTYPES
from export.targets.layout import DATATYPES


def to_json(name: str, array: np.ndarray) -> dict[str, Any]:
    """Describe an array as the protocol does in JSON: its numbers in the fewest digits.

    Args:
        name: The input's or output's name.
        array: The array, of a type that the protocol has.

    Returns:
        Plain values that JSON can hold.
    """
    flat = array.ravel()
    if np.issubdtype(array.dtype, np.floating):
        # The shortest text that gives this float32 again; as a double it would have twice as many.
        data = [float(str(value)) for value in flat]
    else:
        data = flat.tolist()
    return {
        "name": name,
        "shape": [*array.shape],
        "datatype": DATATYPES[array.dtype.name],
        "data": data,
    }


def from_json(tensor: Mapping[str, Any]) -> np.ndarray:
    """Read an array that was described so.

    Raises:
        KeyError: Something is missing, or its type is none of the protocol's numbers.
        TypeError: A value is of another kind.
        ValueError: The numbers do not fill the shape.
        OverflowError: A number does not fit the type.
    """
    return np.array(tensor["data"], DTYPES[tensor["datatype"]]).reshape(tensor["shape"])
