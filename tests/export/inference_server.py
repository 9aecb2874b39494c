"""A server of the Open Inference Protocol on this machine: as much of it as it is told to do."""

import concurrent.futures
import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from export import onnx_metadata
from export.onnx_runtime import Session
from export.remote import grpc as messages
from export.remote.tensors import from_json, to_json
from export.remote.transport import DTYPES
from export.targets.layout import interface

TRITON = ("model_configuration", "binary_tensor_data")
_MODEL = re.compile(r"/v2/models/([^/]+)(?:/versions/1)?(/ready|/config|/infer)?")


class NotDoneError(Exception):
    """A refusal: its status, and its reason."""


@dataclass
class Served:
    """An ONNX file under a name."""

    name: str
    path: Path
    ready: bool = True
    metadata: dict[str, Any] = field(default_factory=dict)  # what it says of itself wrongly

    def __post_init__(self) -> None:
        proto = onnx_metadata.load(self.path)
        self.session = Session(proto)
        inputs, outputs = interface(proto)
        self.parameters = onnx_metadata.feeding(proto)
        self.told = {
            "name": self.name,
            "inputs": [self._signature(one) for one in inputs],
            "outputs": [self._signature(one) for one in outputs],
            **self.metadata,
        }

    def _signature(self, one: Any) -> dict[str, Any]:
        return {"name": one.name, "datatype": one.datatype, "shape": [-1, *one.dims]}

    def answer(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Compute one batch."""
        wanted = self.told["inputs"][0]["shape"][1:]
        if len(wanted) != image.ndim - 1 or any(
            side not in (-1, got) for side, got in zip(wanted, image.shape[1:], strict=True)
        ):
            raise NotDoneError(400, f"unexpected shape {image.shape}")
        return dict(zip(self.session.outputs, self.session.run([image]), strict=True))


class Server(http.server.ThreadingHTTPServer):
    """Serves ``models`` by HTTP, with the extensions that are named."""

    daemon_threads = True

    def __init__(self, extensions: tuple[str, ...], index: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.extensions, self.index = extensions, index
        self.models: dict[str, Served] = {}
        self.asked: list[str] = []
        self.address = f"http://127.0.0.1:{self.server_port}"

    def model(self, name: str) -> Served:
        if name not in self.models:
            raise NotDoneError(404, f"no model {name!r}")
        if not self.models[name].ready:
            raise NotDoneError(400, "it is loading")
        return self.models[name]

    def ready(self) -> list[str]:
        return [name for name, one in self.models.items() if one.ready]


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def do_GET(self) -> None:
        self._do(b"")

    def do_POST(self) -> None:
        self._do(self.rfile.read(int(self.headers["Content-Length"])))

    def _do(self, body: bytes) -> None:
        self.server.asked.append(self.path)
        try:
            status, headers, content = 200, {}, b""
            told = self._told(body)
            headers, content = told if isinstance(told, tuple) else ({}, json.dumps(told).encode())
        except NotDoneError as error:
            status, why = error.args
            content = json.dumps({"error": why}).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _told(self, body: bytes) -> Any:
        if self.path == "/v2":
            return {"name": "loopback", "version": "1", "extensions": [*self.server.extensions]}
        if self.path == self.server.index:
            names = self.server.ready()
            return {"models": names} if self.command == "GET" else [{"name": n} for n in names]
        found = _MODEL.fullmatch(self.path)
        if found is None:
            raise NotDoneError(404, f"no {self.path}")
        model = self.server.model(found[1])
        if found[2] == "/infer":
            return self._infer(model, body)
        config = {
            "max_batch_size": 64,
            "parameters": {key: {"string_value": text} for key, text in model.parameters.items()},
        }
        return {"/ready": ({}, b""), "/config": config, None: model.told}[found[2]]

    def _infer(self, model: Served, body: bytes) -> Any:
        size = int(self.headers.get("Inference-Header-Content-Length", len(body)))
        asked = json.loads(body[:size])
        (fed,) = asked["inputs"]
        binary = "binary_data_size" in fed.get("parameters", {})
        if binary:
            numbers = np.frombuffer(body[size:], DTYPES[fed["datatype"]])
            image = numbers.reshape(fed["shape"])
        else:
            image = from_json(fed)
        (output,) = asked["outputs"]
        answer = model.answer(image)
        if output["name"] not in answer:
            raise NotDoneError(400, f"no output {output['name']!r}")
        found = to_json(output["name"], answer[output["name"]])
        if not binary:
            return {"model_name": model.name, "outputs": [found]}
        array = from_json(found)
        described = {**found, "parameters": {"binary_data_size": array.nbytes}}
        del described["data"]
        text = json.dumps({"model_name": model.name, "outputs": [described]}).encode()
        return {"Inference-Header-Content-Length": str(len(text))}, text + array.tobytes()

    def log_message(self, *_words: object) -> None:
        """Say nothing."""


@contextmanager
def serving(
    *models: Served,
    extensions: tuple[str, ...] = TRITON,
    index: str = "/v2/repository/index",
) -> Iterator[Server]:
    """Run a server meanwhile; by HTTP."""
    server = Server(extensions, index)
    server.models = {one.name: one for one in models}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def serving_grpc(server: Server, *, raw: bool = True) -> Iterator[str]:
    """Serve the same by gRPC; numbers ``raw``, or as protobuf's."""
    classes = messages._classes()

    def metadata(asked: Any) -> dict[str, Any]:
        return server.model(asked.name).told

    def config(asked: Any) -> dict[str, Any]:
        texts = server.model(asked.name).parameters
        told = [{"key": key, "value": {"string_value": text}} for key, text in texts.items()]
        return {"config": {"max_batch_size": 64, "parameters": told}}

    def infer(asked: Any) -> dict[str, Any]:
        model, fed = server.model(asked.model_name), asked.inputs[0]
        numbers = np.frombuffer(asked.raw_input_contents[0], DTYPES[fed.datatype])
        name = asked.outputs[0].name
        array = model.answer(numbers.reshape(tuple(fed.shape)))[name]
        told = {"name": name, "datatype": "FP32", "shape": [*array.shape]}
        if raw:
            return {"outputs": [told], "raw_output_contents": [array.tobytes()]}
        return {"outputs": [{**told, "contents": {"fp32_contents": array.ravel().tolist()}}]}

    methods = {
        "ServerMetadata": lambda asked: {"name": "x", "extensions": [*server.extensions]},
        "RepositoryIndex": lambda asked: {"models": [{"name": n} for n in server.ready()]},
        "ModelReady": lambda asked: {"ready": bool(server.model(asked.name))},
        "ModelMetadata": metadata,
        "ModelConfig": config,
        "ModelInfer": infer,
    }

    def handler(method: str) -> grpc.RpcMethodHandler:
        asked, told = (classes[f"inference.{method}{end}"] for end in ("Request", "Response"))

        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            try:
                return told(**methods[method](request))
            except NotDoneError as error:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.args[1])

        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=asked.FromString,
            response_serializer=told.SerializeToString,
        )

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        running = grpc.server(pool)
        handlers = {method: handler(method) for method in methods}
        service = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers)
        running.add_generic_rpc_handlers((service,))
        port = running.add_insecure_port("127.0.0.1:0")
        running.start()
        try:
            yield f"grpc://127.0.0.1:{port}"
        finally:
            running.stop(None).wait()
