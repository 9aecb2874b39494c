"""A client that keeps a number of requests with a server, and costs the machine little itself.

Client and server share the cores. Python's gRPC client computes about as long for a request as a
small model for an image; so this one sends a request that is made once, by HTTP as it goes over
the wire, and reads of the answer no more than its status and its length.
"""

import json
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

TIMEOUT = 60.0  # seconds that one answer may take


@dataclass(frozen=True)
class Load:
    """What a client found.

    Args:
        images_per_second: The answers by the time that they took, one image each.
        milliseconds: Of each answer, from the request's first byte to its last.
        processor_us: What the client itself computed for a request, in microseconds.
    """

    images_per_second: float
    milliseconds: list[float]
    processor_us: float


def request(model: str, image: np.ndarray) -> bytes:
    """Write a request for the logits of a batch, with binary tensors, as it is sent."""
    described = {
        "name": "image",
        "shape": [*image.shape],
        "datatype": "FP32",
        "parameters": {"binary_data_size": image.nbytes},
    }
    asked = {"name": "logits", "parameters": {"binary_data": True}}
    text = json.dumps({"inputs": [described], "outputs": [asked]}).encode()
    body = text + image.astype("<f4").tobytes()
    head = (
        f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Inference-Header-Content-Length: {len(text)}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def keep_busy(address: str, sent: bytes, workers: int, seconds: float) -> Load:
    """Let workers send the same request, each as soon as it has the answer to its last one.

    What counts begins when each worker has had a first answer and all send again at once, and ends
    with the last answer: so the span holds whole batches, whose answers come together.

    Args:
        address: Host and port of the server's HTTP endpoint.
        sent: The request.
        workers: How many requests are with the server at a time.
        seconds: For how long they send, once each has had its first answer.

    Returns:
        What the client found.
    """
    started = threading.Barrier(workers, timeout=TIMEOUT)

    def work() -> list[tuple[float, float]]:
        with socket.create_connection(_parts(address), timeout=TIMEOUT) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            answer = _asker(connection, sent)
            answer()
            started.wait()
            return _times(answer, time.perf_counter() + seconds)

    used = time.process_time()
    with ThreadPoolExecutor(workers) as pool:
        found = [one.result() for one in [pool.submit(work) for _ in range(workers)]]
    used = time.process_time() - used
    times = [pair for one in found for pair in one]
    begin, end = min(before for before, _ in times), max(after for _, after in times)
    return Load(
        images_per_second=len(times) / (end - begin),
        milliseconds=[1e3 * (after - before) for before, after in times],
        processor_us=1e6 * used / (len(times) + workers),
    )


def _parts(address: str) -> tuple[str, int]:
    """Divide an address into host and port."""
    host, port = address.split(":")
    return host, int(port)


def _times(call: Callable[[], None], end: float) -> list[tuple[float, float]]:
    """Call a function until a time; return each call's begin and end."""
    times = []
    now = time.perf_counter()
    while now < end:
        before = now
        call()
        now = time.perf_counter()
        times.append((before, now))
    return times


def _asker(connection: socket.socket, sent: bytes) -> Callable[[], None]:
    """Make a function that sends the request and waits for the whole answer."""

    def ask() -> None:
        connection.sendall(sent)
        content = b""
        while b"\r\n\r\n" not in content:
            content += _received(connection)
        head, _, rest = content.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise ValueError(f"the server refused: {content.decode(errors='replace')}")
        length = int(head.lower().partition(b"\r\ncontent-length:")[2].split(b"\r\n")[0])
        missing = length - len(rest)
        while missing > 0:
            missing -= len(_received(connection))

    return ask


def _received(connection: socket.socket) -> bytes:
    """Receive what there is."""
    content = connection.recv(65536)
    if not content:
        raise ConnectionError("the server closed the connection")
    return content
