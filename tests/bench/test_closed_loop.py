"""The client of the measurement of throughput, on a server that keeps count."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from .closed_loop import keep_busy, request
from .serving import COUNTS, INSTANCES, ROUNDS, direct_name, served_name, summed_up

SECONDS = 0.02  # that an answer takes
IMAGE = np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3)


class Counting(BaseHTTPRequestHandler):
    """Answers a request after a while."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        size = int(self.headers["Inference-Header-Content-Length"])
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server
        with server.lock:
            server.now += 1
            server.most = max(server.most, server.now)
            server.seen.append((self.path, json.loads(body[:size]), body[size:]))
        time.sleep(SECONDS)
        with server.lock:
            server.now -= 1
        self.send_response(server.status)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        self.wfile.write(bytes(100_000))

    def log_message(self, *words):
        pass


@pytest.fixture
def counting():
    with ThreadingHTTPServer(("127.0.0.1", 0), Counting) as server:
        server.lock, server.now, server.most, server.seen = threading.Lock(), 0, 0, []
        server.status = 200
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def address(server) -> str:
    return f"127.0.0.1:{server.server_address[1]}"


def test_so_many_requests_are_with_the_server_and_all_are_told(counting):
    found = keep_busy(address(counting), request("tiny", IMAGE), workers=4, seconds=0.3)
    assert counting.most == 4
    assert len(found.milliseconds) == len(counting.seen) - 4  # the first answers do not count
    assert min(found.milliseconds) >= 1e3 * SECONDS
    assert 0 < found.images_per_second <= 4 / SECONDS
    path, told, content = counting.seen[0]
    assert path == "/v2/models/tiny/infer"
    assert told["inputs"][0]["shape"] == [*IMAGE.shape]
    assert content == IMAGE.tobytes()


def test_a_refusal_is_no_answer(counting):
    counting.status = 503
    with pytest.raises(ValueError, match=r"the server refused: HTTP/1\.1 503"):
        keep_busy(address(counting), request("tiny", IMAGE), workers=1, seconds=0.1)


def test_the_server_is_compared_with_the_batch_size_that_is_fastest_over_all_rounds():
    def turn(rate):
        return {"images_per_second": rate, "milliseconds": [1.0, 3.0]}

    usual = {direct_name(count): turn(100.0 + (count == 16)) for count in COUNTS}
    usual |= {served_name(kind, n): turn(50.5) for kind in INSTANCES for n in COUNTS}
    lucky = usual | {direct_name(1): turn(1000.0)}  # in one round alone
    found = summed_up([usual] * (ROUNDS - 1) + [lucky])
    assert found["best"] == "batch 16"
    for kind in INSTANCES:
        served = found["turns"][served_name(kind, 32)]
        assert (served["ratio"], served["p50_ms"]) == (0.5, 2.0)
