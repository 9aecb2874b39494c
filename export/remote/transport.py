"""What a transport of the Open Inference Protocol does: HTTP and gRPC say the same things.

Reference:
    https://github.com/kserve/open-inference-protocol/tree/main/specification/protocol
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from export.targets.layout import DATATYPES
from zoo.errors import InputError

TIMEOUT = 60.0  # seconds that one answer may take
DTYPES = {datatype: np.dtype(name) for name, datatype in DATATYPES.items()}


class RefusedError(Exception):
    """The server answered that it does not do what it was asked for, or answered something else."""


@dataclass(frozen=True)
class Signature:
    """An input or output of a served model.

    Args:
        name: Its name.
        datatype: Its type, for example ``FP32``.
        shape: Its shape with the batch; -1 for a side of any size.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        """Describe it in a message."""
        return f"{self.name} {self.datatype} {list(self.shape)}"


@dataclass(frozen=True)
class Metadata:
    """What a server tells of a model.

    Args:
        inputs: Its inputs.
        outputs: Its outputs.
    """

    inputs: tuple[Signature, ...]
    outputs: tuple[Signature, ...]


@dataclass(frozen=True)
class Config:
    """What a server tells of a model by Triton's extension ``model_configuration``.

    Args:
        most: How many images a request may hold.
        parameters: What else the model's owner lets it tell.
    """

    most: int = 1
    parameters: Mapping[str, str] = field(default_factory=dict)


class Transport(Protocol):
    """One way to ask a server.

    Every method raises `RefusedError` where the server answers otherwise than asked for, and
    `zoo.errors.InputError` where nobody answers.
    """

    def extensions(self) -> tuple[str, ...]:
        """Name what the server can do beyond the protocol."""

    def names(self) -> tuple[str, ...]:
        """Name the models that are ready."""

    def check_ready(self, model: str, version: str) -> None:
        """Make sure that a model takes requests."""

    def metadata(self, model: str, version: str) -> Metadata:
        """Ask what a model takes and gives."""

    def config(self, model: str, version: str) -> Config:
        """Ask for a model's configuration."""

    def infer(
        self, model: str, version: str, fed: Signature, array: np.ndarray, output: str
    ) -> np.ndarray:
        """Send one batch for one input; return one output."""


def unreachable(server: str, why: object) -> InputError:
    """Make the error for a server that does not answer."""
    return InputError(
        f"{server} cannot be reached: {why}; accepted is the address of a running server of the "
        "Open Inference Protocol (v2), for example the one that `zoo serve` prints"
    )


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Tell an answer that is not of the protocol's form."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise RefusedError(f"{what} is not of the protocol: {error}") from error


def config_from(most: int, parameters: Mapping[str, Any]) -> Config:
    """Make a configuration of what Triton tells; 0 images are a model without batches."""
    texts = {key: text for key, text in parameters.items() if isinstance(text, str)}
    return Config(max(1, most), texts)
