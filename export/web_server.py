"""A web server for a page of static files, on this machine alone."""

import errno
import functools
import http.server
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zoo.errors import InputError

HOST = "127.0.0.1"


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Sends files with the types that browsers ask of scripts and of WebAssembly."""

    extensions_map = {  # noqa: RUF012 - the base class declares it so
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of each request."""


@contextmanager
def serving(folder: str | os.PathLike[str], *, port: int = 0) -> Iterator[str]:
    """Serve a page on the loopback address for as long as the context lasts.

    Args:
        folder: What `export.web` wrote.
        port: The port, 0 to 65535; 0 for a free one.

    Yields:
        The page's address.

    Raises:
        InputError: The folder has no page, or the port is in use or not allowed.

    Example:
        >>> with serving("site", port=8080) as address:
        ...     print(address)
    """
    if not (Path(folder) / "index.html").is_file():
        raise InputError(f"{folder} holds no page; accepted is a folder that zoo web wrote")
    if not 0 <= port <= 65_535:
        raise InputError(f"port: accepted is 0 to 65535; received {port}")
    handler = functools.partial(_Handler, directory=os.fspath(folder))
    try:
        server = http.server.ThreadingHTTPServer((HOST, port), handler)
    except OSError as error:
        why = (
            "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        )
        raise InputError(
            f"port {port} {why}; accepted is a free one, or 0 to let one be chosen"
        ) from error
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
