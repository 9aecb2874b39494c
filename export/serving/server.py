"""NVIDIA Triton as a process of ours: started, waited for, and ended with all that it started."""

import errno
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export import manifest
from export.errors import ExportError
from export.serving.environment import Environment, Progress, environment
from export.targets import TARGETS
from zoo.errors import InputError

HOST = "127.0.0.1"
_KINDS = ("http", "grpc", "metrics")
CONTROLS = ("none", "explicit", "poll")
THREADS = "FOLDZOO_SERVING_THREADS"  # what our backend reads
_POLL = 1  # seconds between two looks at the repository, where the server polls it
_GRACE = 15.0  # seconds that requests in flight have when the server is told to end
_SHARED_MEMORY = Path("/dev/shm")
# Should this process be killed, the kernel tells the server to end (PR_SET_PDEATHSIG is 1).
_WITH_US = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGTERM); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)
_PLAIN = re.compile(r"[\w/.,:+=@%-]*", re.ASCII)  # what a shell takes for a part of one word
_TAIL = 100_000  # characters of the log that are read to find out why it failed


@dataclass
class Server:
    """A running server.

    Args:
        name: The model that the bundle holds.
        http: Host and port of the HTTP endpoint.
        grpc: Host and port of the gRPC endpoint.
        metrics: Host and port of the metrics.
        log: The file that the server writes its log to.
        python: A Python that has tritonclient.
        process: The process.
    """

    name: str
    http: str
    grpc: str
    metrics: str
    log: Path
    python: Path
    process: "subprocess.Popen[bytes]"

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.process.poll() is None

    @property
    def ready(self) -> bool:
        """Whether the server and its models take requests."""
        with suppress(OSError, http.client.HTTPException):
            return self.request("GET", "/v2/health/ready")[0] == 200
        return False

    def to_dict(self) -> dict[str, str]:
        """Return what a client needs to know as plain values that JSON can hold."""
        return {
            "model": self.name,
            "http": f"http://{self.http}",
            "grpc": self.grpc,
            "metrics": f"http://{self.metrics}/metrics",
        }

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send one request by HTTP.

        Args:
            method: ``GET`` or ``POST``.
            path: For example ``/v2/models/resnet20.digits``.
            body: What is sent as JSON, if anything.

        Returns:
            The status, and what the server answered in JSON; None where it answered nothing.

        Raises:
            OSError: The server cannot be reached.
        """
        connection = http.client.HTTPConnection(self.http, timeout=60)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        return answer.status, json.loads(text) if text else None

    def load(self, name: str | None = None) -> None:
        """Load a model, or its newest version; needs the model control ``explicit``.

        Requests go on meanwhile: the older version answers until the newer one is ready.

        Args:
            name: The model; by default the bundle's.

        Raises:
            ExportError: The server refuses.
        """
        self._control("load", name)

    def unload(self, name: str | None = None) -> None:
        """Unload a model; requests in flight are answered. See `load`."""
        self._control("unload", name)

    def _control(self, action: str, name: str | None) -> None:
        """Ask the server to load or unload."""
        name = name or self.name
        status, told = self.request("POST", f"/v2/repository/models/{name}/{action}", {})
        if status != 200:
            raise ExportError(f"cannot {action} {name}: {(told or {}).get('error', status)}")

    def wait(self) -> None:
        """Wait until the server ends.

        Raises:
            ExportError: It ended by itself.
        """
        code = self.process.wait()
        raise ExportError(f"the server ended by itself (exit code {code}): {_why(self.log)}")


@contextmanager
def serve(
    bundle: str | os.PathLike[str],
    *,
    http_port: int = 8000,
    grpc_port: int = 8001,
    metrics_port: int = 8002,
    threads: int | None = None,
    timeout: float = 60.0,
    model_control: str = "none",
    log: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Iterator[Server]:
    """Start NVIDIA Triton on a bundle, for this machine alone, and end it at the end.

    It is Triton's own core and protocol, with onnxruntime as a Python backend in place of Triton's
    own in C++, which its wheel lacks. The bundle is served as it is. The first call makes the
    server's environment (see `export.serving.environment`), which needs a package index.

    Args:
        bundle: What `export.bundle` wrote for the target ``triton`` or ``kserve``.
        http_port: Of 127.0.0.1; 0 for any that is free, likewise for the others.
        grpc_port: The port for gRPC.
        metrics_port: The port for Prometheus' metrics.
        threads: How many threads an instance of the model computes with, unless its config says
            how many; by default one for each core that this process may use.
        timeout: How many seconds the server has to become ready.
        model_control: ``none``: models are loaded once, at the start; ``explicit``: also by
            `Server.load`; ``poll``: the folder is looked at each second, and what is new is loaded.
        log: The file for the server's log; by default one that is deleted at the end.
        progress: Told each step's name as it begins, with None, and as it ends, with its seconds.

    Yields:
        The server, ready to take requests.

    Raises:
        InputError: The bundle is none for a server, a port is in use, or the machine cannot run it.
        ExportError: The server did not become ready.

    Example:
        >>> with export.serve("bundle", http_port=0) as server:
        ...     server.request("GET", f"/v2/models/{server.name}")
    """
    name = _served(Path(bundle))
    _check_options(threads, timeout, model_control)
    ports = _ports(http_port, grpc_port, metrics_port)
    found = environment(progress=progress)
    with _log_file(log) as path, _plain(Path(bundle)) as models, _plain(found.backends) as backends:
        prefix = f"foldzoo_{os.getpid()}_{time.monotonic_ns()}_"
        command = _command(found, (models, backends), ports, model_control, prefix)
        addresses = {kind: f"{HOST}:{port}" for kind, port in zip(_KINDS, ports, strict=True)}
        with _process(found, command, path, threads, prefix) as process:
            server = Server(name, log=path, python=found.python, process=process, **addresses)
            _wait_until_ready(server, timeout, progress)
            yield server


def _served(bundle: Path) -> str:
    """Return the name of the model in a bundle for a server; refuse anything else."""
    told = manifest.read(bundle).values
    target = TARGETS.get(told["target"])
    if target is None or not target.server:
        servers = ", ".join(name for name, one in TARGETS.items() if one.server)
        raise InputError(
            f"{bundle} is a bundle for {told['target']}; accepted are those for {servers}"
        )
    return str(told["model"]["name"])


def _check_options(threads: int | None, timeout: float, model_control: str) -> None:
    """Refuse options out of their range."""
    if threads is not None and not 1 <= threads <= 1024:
        raise InputError(f"threads: accepted are 1 to 1024; received {threads}")
    if not 0 < timeout < float("inf"):
        raise InputError(f"timeout: accepted are seconds above 0; received {timeout}")
    if model_control not in CONTROLS:
        raise InputError(
            f"model control: accepted are {', '.join(CONTROLS)}; received {model_control!r}"
        )


def _ports(*asked: int) -> list[int]:
    """Choose the ports: those that were asked for, or free ones; refuse one that is in use."""
    with_names = zip(_KINDS, asked, strict=True)
    held, ports = [], []
    twice = [port for port in asked if port and asked.count(port) > 1]
    if twice:  # which binding would not tell, since the address may be reused
        raise InputError(
            f"ports: accepted are different ones for {', '.join(_KINDS)}, or 0 for any; received "
            f"{twice[0]} more than once"
        )
    try:
        for name, port in with_names:
            if not 0 <= port <= 65535:
                raise InputError(f"{name} port: accepted are 0 to 65535; received {port}")
            holder = socket.socket()
            held.append(holder)
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                holder.bind((HOST, port))
            except OSError as error:
                why = {errno.EADDRINUSE: "is in use", errno.EACCES: "needs permission"}
                told = why.get(error.errno or 0, str(error.strerror))
                raise InputError(
                    f"{name} port {port} of {HOST} {told}; pass another one, or 0 for any"
                ) from error
            ports.append(holder.getsockname()[1])
    finally:
        for holder in held:
            holder.close()
    return ports


@contextmanager
def _plain(folder: Path) -> Iterator[Path]:
    """Name a folder in letters that a shell leaves alone.

    Triton starts a Python backend by a line for the shell that quotes no path: a space ends the
    path there, and the rest of the name would be run.
    """
    folder = folder.absolute()
    if _PLAIN.fullmatch(str(folder)):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="foldzoo-serve-") as place:
        if not _PLAIN.fullmatch(place):
            raise InputError(
                f"the server cannot start from {folder}, nor from a link to it in {place}: "
                "accepted are names of letters, digits and _.,:+=@%-; set TMPDIR to such a folder"
            )
        link = Path(place, "link")
        link.symlink_to(folder, target_is_directory=True)
        yield link


def _command(
    found: Environment, folders: tuple[Path, Path], ports: list[int], control: str, prefix: str
) -> list[str]:
    """Write the server's command line; the folders are those of the models and the backends."""
    models, backends = folders
    http_port, grpc_port, metrics_port = ports
    command = [
        *(str(found.python), "-c", _WITH_US),
        str(found.triton / "bin" / "tritonserver"),
        f"--model-repository={models}",
        f"--backend-directory={backends}",
        f"--backend-config=python,shm-region-prefix-name={prefix}",
        f"--model-control-mode={control}",
        f"--exit-timeout-secs={int(_GRACE)}",
        "--allow-gpu-metrics=false",
        *(f"--http-address={HOST}", f"--http-port={http_port}"),
        *(f"--grpc-address={HOST}", f"--grpc-port={grpc_port}"),
        *(f"--metrics-address={HOST}", f"--metrics-port={metrics_port}"),
    ]
    if control == "explicit":
        command.append("--load-model=*")
    if control == "poll":
        command.append(f"--repository-poll-secs={_POLL}")
    return command


@contextmanager
def _log_file(log: str | os.PathLike[str] | None) -> Iterator[Path]:
    """Choose the file for the log."""
    from zoo.files import check_writable

    if log is not None:
        check_writable(log)
        yield Path(log)
        return
    with tempfile.TemporaryDirectory(prefix="foldzoo-serve-") as folder:
        yield Path(folder) / "triton.log"


@contextmanager
def _process(
    found: Environment, command: list[str], log: Path, threads: int | None, prefix: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the server, and leave nothing of it: no process, no shared memory."""
    count = threads or len(os.sched_getaffinity(0))
    with log.open("wb") as written:
        process = subprocess.Popen(
            command,
            env={**os.environ, **found.variables, THREADS: str(count)},
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
            # In a group of its own: Ctrl-C is for us, and we end the whole group.
            start_new_session=True,
        )
    # A crash leaves the models' processes; none of them is to outlive the server.
    watch = threading.Thread(target=_end_after, args=(process, prefix), daemon=True)
    watch.start()
    try:
        yield process
    finally:
        process.terminate()
        try:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE + 5)
        finally:
            process.kill()  # nothing, where it has ended
            watch.join(_GRACE)
            _release(prefix)


def _end_after(process: "subprocess.Popen[bytes]", prefix: str) -> None:
    """End what the server started as soon as it has ended, however it did.

    Here alone, and at once: later the group's number may be that of other processes.
    """
    process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    _release(prefix)


def _release(prefix: str) -> None:
    """Take a server's shared memory away."""
    for left in _SHARED_MEMORY.glob(f"{prefix}*"):
        left.unlink(missing_ok=True)


def _wait_until_ready(server: Server, timeout: float, progress: Progress | None) -> None:
    """Wait until the server takes requests."""
    start = time.monotonic()
    if progress is not None:
        progress("start server", None)
    while not server.ready:
        if not server.running:
            raise ExportError(f"the server did not start: {_why(server.log)}")
        if time.monotonic() - start > timeout:
            raise ExportError(
                f"the server was not ready within {timeout:g} s; its last line: {_why(server.log)}"
            )
        time.sleep(0.1)
    if progress is not None:
        progress("start server", round(time.monotonic() - start, 3))


def _why(log: Path) -> str:
    """Find in a log why the server gave up: what it says of the model, or its last error."""
    lines = [line.strip() for line in log.read_text("utf-8", "replace")[-_TAIL:].splitlines()]
    of_models = [line for line in lines if re.search(r"\| UNAVAILABLE: ", line)]
    if of_models:
        return " ".join(of_models[-1].split("UNAVAILABLE: ", 1)[1].rstrip("| ").split())
    errors = [line for line in lines if re.match(r"E[0-9]|what\(\)", line)]
    if errors:
        return errors[-1].partition("] ")[2].strip('"') or errors[-1]
    return ([line for line in lines if line] or ["it wrote nothing"])[-1]
