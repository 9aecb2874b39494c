"""The Open Inference Protocol by HTTP, in JSON, and with binary tensors where a server takes them.

Reference:
    https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
    https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

import numpy as np

from export.remote.tensors import from_json, to_json
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

BINARY = "binary_tensor_data"
_HEADER_SIZE = "Inference-Header-Content-Length"


class Rest:
    """A server by HTTP or HTTPS; see `export.remote.transport.Transport`."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._binary = False

    def extensions(self) -> tuple[str, ...]:
        """Name what the server can do beyond the protocol."""
        told = self._json("GET", "/v2")
        with reading("the answer to GET /v2"):
            if not isinstance(told["name"], str):
                raise TypeError("it tells no server's name")
            extensions = tuple(map(str, told.get("extensions", ())))
        self._binary = BINARY in extensions
        return extensions

    def names(self) -> tuple[str, ...]:
        """Name the models that are ready."""
        try:
            told = self._json("POST", "/v2/repository/index", {"ready": True})
        except RefusedError:  # Triton's extension; KServe has one of its own
            told = [{"name": name} for name in self._listed()]
        with reading("the list of models"):
            return tuple(dict.fromkeys(str(one["name"]) for one in told))

    def _listed(self) -> list[Any]:
        """List models as KServe's own server does."""
        told = self._json("GET", "/v2/models")
        with reading("the answer to GET /v2/models"):
            return list(told["models"])

    def check_ready(self, model: str, version: str) -> None:
        """Make sure that a model takes requests."""
        _, content = self._ask("GET", f"{_path(model, version)}/ready")
        if content:  # Triton's is empty
            told = _parsed(content, "ready")
            if isinstance(told, dict) and told.get("ready") is False:
                raise RefusedError("it is not ready")

    def metadata(self, model: str, version: str) -> Metadata:
        """Ask what a model takes and gives."""
        told = self._json("GET", _path(model, version))
        with reading("the model's metadata"):
            return Metadata(_signatures(told["inputs"]), _signatures(told["outputs"]))

    def config(self, model: str, version: str) -> Config:
        """Ask for a model's configuration."""
        told = self._json("GET", f"{_path(model, version)}/config")
        with reading("the model's configuration"):
            parameters = told.get("parameters", {}).items()
            texts = {key: value.get("string_value") for key, value in parameters}
            return config_from(int(told.get("max_batch_size", 0)), texts)

    def infer(
        self, model: str, version: str, fed: Signature, array: np.ndarray, output: str
    ) -> np.ndarray:
        """Send one batch for one input; return one output."""
        path = f"{_path(model, version)}/infer"
        if self._binary:
            return self._infer_binary(path, fed, array, output)
        body = {"inputs": [to_json(fed.name, array)], "outputs": [{"name": output}]}
        told = self._json("POST", path, body)
        with reading("the answer"):
            return from_json(_named(told["outputs"], output))

    def _infer_binary(
        self, path: str, fed: Signature, array: np.ndarray, output: str
    ) -> np.ndarray:
        """Send and receive numbers as they are in memory, after the JSON that describes them."""
        described = {
            "name": fed.name,
            "shape": [*array.shape],
            "datatype": fed.datatype,
            "parameters": {"binary_data_size": array.nbytes},
        }
        asked = {"name": output, "parameters": {"binary_data": True}}
        text = json.dumps({"inputs": [described], "outputs": [asked]}).encode()
        body = text + array.astype(array.dtype.newbyteorder("<")).tobytes()
        headers = {_HEADER_SIZE: str(len(text)), "Content-Type": "application/octet-stream"}
        told, content = self._ask("POST", path, body, headers)
        with reading("the answer"):
            size = int(told.get(_HEADER_SIZE, len(content)))
            found = _named(_parsed(content[:size], "answer")["outputs"], output)
            if "data" in found:
                return from_json(found)
            dtype = DTYPES[found["datatype"]].newbyteorder("<")
            return np.frombuffer(content[size:], dtype).reshape(found["shape"])

    def _json(self, method: str, path: str, body: Any = None) -> Any:
        """Ask in JSON."""
        text = None if body is None else json.dumps(body).encode()
        _, content = self._ask(method, path, text, {"Content-Type": "application/json"})
        return _parsed(content, f"answer to {method} {path}")

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[Mapping[str, str], bytes]:
        """Send one request; return the answer's headers and content."""
        sent = {"User-Agent": "foldzoo", **(headers or {})}
        request = urllib.request.Request(self._server + path, body, sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                return answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            raise RefusedError(_reason(error)) from error
        except (OSError, http.client.HTTPException, UnicodeError) as error:  # also of a redirection
            reason = getattr(error, "reason", error)
            why = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
            raise unreachable(self._server, why) from error


def _path(model: str, version: str) -> str:
    """Write the path of a model."""
    name = urllib.parse.quote(model, safe="")
    chosen = f"/versions/{urllib.parse.quote(version, safe='')}" if version else ""
    return f"/v2/models/{name}{chosen}"


def _reason(error: urllib.error.HTTPError) -> str:
    """Find in a refusal why it was given, in one line."""
    try:
        told = json.loads(error.read())
        text = told.get("error") or told["detail"]
    except (OSError, http.client.HTTPException, ValueError, LookupError, AttributeError):
        text = None  # it gave no reason of the protocol's form
    status = f"{error.code} {error.reason}"
    return " ".join(text.split()) if isinstance(text, str) else status


def _parsed(content: bytes, what: str) -> Any:
    """Read JSON."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"the {what} is no JSON") from error


def _signatures(told: Any) -> tuple[Signature, ...]:
    """Read the inputs or outputs of a model."""
    return tuple(
        Signature(str(one["name"]), str(one["datatype"]), tuple(map(int, one["shape"])))
        for one in told
    )


def _named(tensors: Any, name: str) -> Any:
    """Find an output by its name."""
    return {one["name"]: one for one in tensors}[name]
