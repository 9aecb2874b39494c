"""What tests that start processes of their own share."""

import importlib.util
import socket
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]

needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None,
    reason='jax is not installed; pip install -c constraints.txt -e ".[jax]"',
)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        return taken.getsockname()[1]


def weights(path: Path) -> list[np.ndarray]:
    """The arrays that a process left in a file, in their order."""
    with np.load(path) as arrays:
        return [arrays[name] for name in arrays.files]
