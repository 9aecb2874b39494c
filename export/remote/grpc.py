"""The Open Inference Protocol by gRPC.

Reference:
    https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/open_inference_grpc.proto
    https://github.com/triton-inference-server/common/blob/main/protobuf/grpc_service.proto
"""

import functools
from typing import Any

import numpy as np

from export.protobuf import Messages, message_classes
from export.remote.transport import (
    DTYPES,
    TIMEOUT,
    Config,
    Metadata,
    RefusedError,
    Signature,
    config_from,
    reading,
    unreachable,
)
from export.targets import triton_config

_SERVICE = f"/{triton_config.PACKAGE}.GRPCInferenceService"
_MODEL = (("name", 1, "string", False), ("version", 2, "string", False))
_TENSOR = (("name", 1, "string", False), ("datatype", 2, "string", False))
# The messages that are sent and read here, with the fields that are used; Triton's `ModelConfig`
# and `RepositoryIndex` are its extensions.
_MESSAGES: Messages = {
    **triton_config.MESSAGES,
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": (
        ("name", 1, "string", False),
        ("version", 2, "string", False),
        ("extensions", 3, "string", True),
    ),
    "ModelReadyRequest": _MODEL,
    "ModelReadyResponse": (("ready", 1, "bool", False),),
    "ModelMetadataRequest": _MODEL,
    "ModelMetadataResponse": (
        ("name", 1, "string", False),
        ("inputs", 4, "TensorMetadata", True),
        ("outputs", 5, "TensorMetadata", True),
    ),
    "TensorMetadata": (*_TENSOR, ("shape", 3, "int64", True)),
    "ModelConfigRequest": _MODEL,
    "ModelConfigResponse": (("config", 1, "ModelConfig", False),),
    "RepositoryIndexRequest": (("ready", 2, "bool", False),),
    "RepositoryIndexResponse": (("models", 1, "ModelIndex", True),),
    "ModelIndex": (("name", 1, "string", False),),
    "ModelInferRequest": (
        ("model_name", 1, "string", False),
        ("model_version", 2, "string", False),
        ("inputs", 5, "InferTensor", True),
        ("outputs", 6, "RequestedOutput", True),
        ("raw_input_contents", 7, "bytes", True),
    ),
    "RequestedOutput": (("name", 1, "string", False),),
    "ModelInferResponse": (
        ("model_name", 1, "string", False),
        ("outputs", 5, "InferTensor", True),
        ("raw_output_contents", 6, "bytes", True),
    ),
    "InferTensor": (
        *_TENSOR,
        ("shape", 3, "int64", True),
        ("contents", 5, "InferTensorContents", False),
    ),
    "InferTensorContents": (("fp32_contents", 6, "float", True),),
}


class Grpc:
    """A server by gRPC; see `export.remote.transport.Transport`."""

    def __init__(self, server: str, host: str) -> None:
        import grpc

        self._server = server
        self._channel = grpc.insecure_channel(host)

    def extensions(self) -> tuple[str, ...]:
        """Name what the server can do beyond the protocol."""
        return tuple(self._call("ServerMetadata").extensions)

    def names(self) -> tuple[str, ...]:
        """Name the models that are ready."""
        told = self._call("RepositoryIndex", ready=True)
        return tuple(dict.fromkeys(one.name for one in told.models))

    def check_ready(self, model: str, version: str) -> None:
        """Make sure that a model takes requests."""
        if not self._call("ModelReady", name=model, version=version).ready:
            raise RefusedError("it is not ready")

    def metadata(self, model: str, version: str) -> Metadata:
        """Ask what a model takes and gives."""
        told = self._call("ModelMetadata", name=model, version=version)
        inputs, outputs = (
            tuple(Signature(one.name, one.datatype, tuple(one.shape)) for one in tensors)
            for tensors in (told.inputs, told.outputs)
        )
        return Metadata(inputs, outputs)

    def config(self, model: str, version: str) -> Config:
        """Ask for a model's configuration."""
        told = self._call("ModelConfig", name=model, version=version).config
        texts = {one.key: one.value.string_value for one in told.parameters}
        return config_from(told.max_batch_size, texts)

    def infer(
        self, model: str, version: str, fed: Signature, array: np.ndarray, output: str
    ) -> np.ndarray:
        """Send one batch for one input; return one output."""
        told = self._call(
            "ModelInfer",
            model_name=model,
            model_version=version,
            inputs=[{"name": fed.name, "datatype": fed.datatype, "shape": [*array.shape]}],
            outputs=[{"name": output}],
            raw_input_contents=[array.astype(array.dtype.newbyteorder("<")).tobytes()],
        )
        with reading("the answer"):
            place = [one.name for one in told.outputs].index(output)
            found = told.outputs[place]
            if not told.raw_output_contents:
                numbers = np.array(found.contents.fp32_contents, DTYPES[found.datatype])
            else:
                dtype = DTYPES[found.datatype].newbyteorder("<")
                numbers = np.frombuffer(told.raw_output_contents[place], dtype)
            return numbers.reshape(tuple(found.shape))

    def _call(self, method: str, **values: Any) -> Any:
        """Call one method of the service."""
        import grpc

        asked, told = (_classes()[f"{triton_config.PACKAGE}.{method}{end}"] for end in _ENDS)
        call = self._channel.unary_unary(
            f"{_SERVICE}/{method}",
            request_serializer=asked.SerializeToString,
            response_deserializer=told.FromString,
        )
        try:
            return call(asked(**values), timeout=TIMEOUT)
        except grpc.RpcError as error:
            why = " ".join(str(error.details()).split()) or error.code().name
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise unreachable(self._server, why) from error
            raise RefusedError(why) from error


_ENDS = ("Request", "Response")


@functools.cache
def _classes() -> dict[str, Any]:
    """Make the messages' classes."""
    return message_classes(triton_config.PACKAGE, _MESSAGES, triton_config.ENUMS)
