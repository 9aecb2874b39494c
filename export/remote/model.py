"""A model on a server, as a function from images to logits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from export import onnx_metadata
from export.remote.address import Address, parse
from export.remote.grpc import Grpc
from export.remote.rest import Rest
from export.remote.transport import DTYPES, Config, Metadata, RefusedError, Signature, Transport
from export.subject import OUTPUT
from zoo.errors import InputError

_IMAGES = ("FP32", "UINT8")  # what images are sent as
_CONFIG = "model_configuration"  # Triton's extension


@dataclass(frozen=True)
class RemoteModel:
    """A served model that takes images.

    Args:
        name: Its address.
        transport: How its server is asked.
        model: Its name on the server.
        version: Its version; empty for the one that the server chooses.
        fed: Its input.
        output: The output that holds logits.
        most: How many images a request may hold.
        told: What its server tells of feeding and reading it, as `export.read_metadata` tells it
            of a file; empty of a server that tells nothing.
    """

    name: str
    transport: Transport
    model: str
    version: str
    fed: Signature
    output: str
    most: int
    told: Mapping[str, Any]

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Send images, in as many requests as it takes.

        Args:
            images: Of the model's layout and type, (number, height, width, channels) or
                (number, channels, height, width).

        Returns:
            Logits, (number, classes).

        Raises:
            InputError: The server cannot be reached, refuses them, or answers something else.
        """
        starts = range(0, len(images), self.most)
        return np.concatenate([self._batch(images[at : at + self.most]) for at in starts])

    def _batch(self, images: np.ndarray) -> np.ndarray:
        """Send one request."""
        array = images.astype(DTYPES[self.fed.datatype])
        try:
            found = self.transport.infer(self.model, self.version, self.fed, array, self.output)
        except RefusedError as error:
            raise InputError(f"{self.name} refused an image: {error}") from error
        if found.ndim != 2 or len(found) != len(images):
            raise InputError(
                f"{self.name}: accepted is an output of (batch, classes); for {len(images)} images "
                f"{self.output} is {found.shape}"
            )
        return found


def open_model(text: str) -> RemoteModel:
    """Find a model on a running server.

    Args:
        text: Its address, as `export.remote.address.parse` takes it; of a server that has one
            model ready, the server's own will do.

    Returns:
        The model.

    Raises:
        InputError: There is no server, no such model that is ready, or none that takes images.

    Example:
        >>> open_model("http://127.0.0.1:8000/v2/models/resnet20.digits").told["labels"]
    """
    address = parse(text)
    transport: Transport = (
        Grpc(address.server, address.host) if address.scheme == "grpc" else Rest(address.server)
    )
    extensions = _extensions(transport, address)
    model = address.model or _only(transport, address)
    try:
        transport.check_ready(model, address.version)
        metadata = transport.metadata(model, address.version)
        has_config = _CONFIG in extensions
        config = transport.config(model, address.version) if has_config else Config()
    except RefusedError as error:
        raise InputError(_not_there(transport, address, model, str(error))) from error
    fed, output = _images_and_logits(text, metadata)
    told = onnx_metadata.decoded(config.parameters, text)
    return RemoteModel(text, transport, model, address.version, fed, output, config.most, told)


def _extensions(transport: Transport, address: Address) -> tuple[str, ...]:
    """Ask a server what it can do; refuse what is none."""
    try:
        return transport.extensions()
    except RefusedError as error:
        raise InputError(
            f"{address.server} is no server of the Open Inference Protocol (v2): {error}; accepted "
            "are servers such as NVIDIA Triton and KServe"
        ) from error


def _only(transport: Transport, address: Address) -> str:
    """Find the only model that a server has ready."""
    try:
        names = transport.names()
    except RefusedError as error:
        raise InputError(
            f"{address.server} does not list its models: {error}; name one: "
            f"{address.server}/v2/models/NAME"
        ) from error
    if len(names) != 1:
        serves = f"serves {', '.join(names)}" if names else "has no model ready"
        raise InputError(
            f"{address.server} {serves}; accepted without a name is a server of one model, "
            f"otherwise {address.server}/v2/models/NAME"
        )
    return names[0]


def _not_there(transport: Transport, address: Address, model: str, why: str) -> str:
    """Tell that a model does not take requests, and which ones do."""
    version = f", version {address.version}," if address.version else ""
    told = f"{address.server} has no model {model}{version} that is ready: {why}"
    try:
        names = transport.names()
    except RefusedError:  # a server need not list its models
        return told
    return f"{told}; ready: {', '.join(names) or 'none'}"


def _images_and_logits(text: str, metadata: Metadata) -> tuple[Signature, str]:
    """Choose the input for images and the output with logits."""
    inputs, outputs = metadata.inputs, metadata.outputs
    fits = len(inputs) == 1 and inputs[0].datatype in _IMAGES and len(inputs[0].shape) == 4
    if not fits or not outputs:
        received = "; ".join(map(str, inputs)) or "no input"
        raise InputError(
            f"{text}: accepted is a model with one input of images, FP32 or UINT8 "
            f"[batch, height, width, channels], and an output; received {received}"
        )
    names = [one.name for one in outputs]
    return inputs[0], OUTPUT if OUTPUT in names else names[0]
