"""A server on this machine that serves files well, and badly in the ways that happen."""

import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Server(http.server.ThreadingHTTPServer):
    """Serves ``files`` by name under the path of a behaviour, for example ``/whole/a.h5``."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.versions: dict[str, str] = {}  # headers that tell which file it is
        self.asked: list[tuple[str, str | None]] = []  # path and range
        self.conditions: list[str | None] = []  # on which the range was asked for

    def address(self, behaviour: str, name: str = "") -> str:
        """The address of a file that is served in a certain way."""
        return f"http://127.0.0.1:{self.server_port}/{behaviour}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    """Behaviours: whole, broken (answers end early), deaf (and knows no ranges), slow, busy."""

    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        condition, versions = self.headers.get("If-Range"), dict(self.server.versions)
        self.server.asked.append((self.path, wanted))
        self.server.conditions.append(condition)
        behaviour, name = self.path.strip("/").split("/")
        body = self.server.files.get(name)
        if body is None or behaviour == "busy":
            self.send_error(404 if body is None else 503)
            return
        is_part = wanted and behaviour != "deaf" and condition in (None, *versions.values())
        start = int(wanted[6:-1]) if is_part else 0
        self.send_response(206 if start else 200)
        for key, value in versions.items():
            self.send_header(key, value)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        rest = body[start:]
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if behaviour in ("broken", "deaf"):
            self.wfile.write(rest[: len(body) // 2])
            self.close_connection = True
            return
        if behaviour == "slow":
            self.wfile.write(rest[:10])
            self.wfile.flush()
            time.sleep(0.5)
            rest = rest[10:]
        self.wfile.write(rest)

    def log_message(self, *_words: object) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[Server]:
    """Run a server meanwhile."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
