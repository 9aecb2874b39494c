"""Requests that no server should take: over HTTP, and as bytes on its port."""

import http.client
import json
import random
import socket
import struct
from collections.abc import Callable, Iterator


def _post(address: str, path: str, body: bytes, headers: dict[str, str]) -> int | None:
    """Return the status; None where the server closed the connection without one."""
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request("POST", path, body, headers)
        return connection.getresponse().status
    except (http.client.HTTPException, ConnectionError):
        return None
    finally:
        connection.close()


def _json(changes: dict, shape: list[int]) -> bytes:
    size = 1
    for side in shape:
        size *= side
    tensor = {"name": "image", "shape": shape, "datatype": "FP32", "data": [0.5] * min(size, 99)}
    return json.dumps({"inputs": [{**tensor, **changes}]}).encode()


def _cut(address: str, path: str, body: bytes) -> int | None:
    """Promise a body, and hang up in its middle."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body[: len(body) // 2])
    return None


def raw(address: str, content: bytes) -> int | None:
    """Send bytes that are no HTTP."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        try:
            connection.sendall(content)
        except ConnectionError:  # it hung up already
            return None
    return None


def requests(
    address: str, model: str, shape: list[int], count: int
) -> Iterator[tuple[str, int | None]]:
    """Send malformed requests, the same for each call.

    Yields:
        The kind, and the status that the server answered with.
    """
    chance = random.Random(0)
    path = f"/v2/models/{model}/infer"
    one = [1, *shape]

    def word() -> str:
        return "".join(chance.choices("abcxyz_0", k=chance.randint(1, 12)))

    def binary(length: int, told: int, header: int | None = None, batch: int = 1) -> int | None:
        tensor = {
            "name": "image",
            "shape": [batch, *shape],
            "datatype": "FP32",
            "parameters": {"binary_data_size": told},
        }
        text = json.dumps({"inputs": [tensor]}).encode()
        size = len(text) if header is None else header
        headers = {"Inference-Header-Content-Length": str(size)}
        return _post(address, path, text + chance.randbytes(length), headers)

    def post(body: bytes) -> int | None:
        return _post(address, path, body, {"Content-Type": "application/json"})

    def changed(**changes: object) -> int | None:
        return post(_json(changes, one))

    def to(where: str) -> int | None:
        return _post(address, f"/v2/models/{where}/infer", _json({}, one), {})

    kinds: dict[str, Callable[[], int | None]] = {
        "wrong name": lambda: post(_json({"name": word()}, one)),
        "wrong type": lambda: post(
            _json({"datatype": chance.choice(["FP64", "INT8", "BYTES", "", word()])}, one)
        ),
        "type that is no text": lambda: changed(datatype=chance.choice([1, None, []])),
        "wrong shape": lambda: post(_json({}, [1, *[chance.randint(5, 9) for _ in shape]])),
        "wrong rank": lambda: post(_json({}, chance.choice([[], [1], [*one, 1], shape]))),
        "negative shape": lambda: post(_json({"shape": [-1, *shape]}, one)),
        "too few numbers": lambda: post(_json({"data": [0.5] * chance.randint(0, 9)}, one)),
        "no numbers": lambda: changed(data=chance.choice(["x", {}, [None], [word()]])),
        "batch of 65": lambda: post(_json({"data": [0.0] * (65 * 48)}, [65, *shape])),
        # In JSON, a batch beyond the memory ends this Triton itself: docs/deployment.md.
        "large batch": lambda: changed(shape=[chance.randint(66, 4096), *shape]),
        "huge batch": lambda: binary(4 * 48, 4 * 48, batch=2 ** chance.randint(7, 62)),
        "no inputs": lambda: post(b'{"inputs": []}'),
        "unknown output": lambda: post(
            _json({}, one).replace(b'{"inputs"', b'{"outputs": [{"name": "x"}], "inputs"', 1)
        ),
        "no JSON": lambda: post(_json({}, one)[: chance.randint(1, 60)]),
        "random bytes": lambda: post(chance.randbytes(chance.randint(1, 400))),
        "deep JSON": lambda: post(b"[" * chance.randint(100, 2000)),
        "empty": lambda: post(b""),
        "unknown model": lambda: to(word()),
        "unknown version": lambda: to(f"{model}/versions/{chance.randint(7, 99)}"),
        "too few bytes": lambda: binary(chance.randint(0, 100), 4 * 48),
        "another number of bytes": lambda: binary(4 * 48, chance.choice([0, 7, 4 * 47, 2**40])),
        "header that is too long": lambda: binary(4 * 48, 4 * 48, chance.choice([9999, 2**31])),
        "header of another length": lambda: binary(4 * 48, 4 * 48, chance.choice([0, 5, -1])),
        "truncated body": lambda: _cut(address, path, _json({}, one)),
        "no HTTP": lambda: raw(address, chance.randbytes(200) + b"\r\n\r\n" + struct.pack("I", 9)),
    }
    names = list(kinds)
    for index in range(count):
        name = names[index % len(names)]
        yield name, kinds[name]()
