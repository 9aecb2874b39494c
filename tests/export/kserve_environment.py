"""KServe's own server as a process, in an environment of its own: made on first use, and kept."""

import hashlib
import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from export.serving import installing
from zoo import downloads

HERE = Path(__file__).parent
READY = "ready.json"


@dataclass(frozen=True)
class Server:
    """A running server: where it is, and a Python that has tritonclient."""

    name: str
    http: str
    grpc: str
    python: Path
    process: "subprocess.Popen[str]"


def environment() -> Path:
    """Find the environment's Python, or make it; raises InputError where it cannot be installed."""
    onnxruntime = f"onnxruntime=={importlib.metadata.version('onnxruntime')}\n"
    text = (HERE / "kserve_requirements.txt").read_text("utf-8") + onnxruntime
    key = hashlib.sha256(f"{sys.version}\n{text}".encode()).hexdigest()[:16]
    cache = downloads.cache().absolute()
    folder = cache / f"kserve-{key}"
    with installing.locked(cache / "kserve.lock"):
        if not (folder / READY).is_file():
            with installing.beside(folder) as place:
                installing.install(place, sys.executable, text, "KServe")
                (place / READY).touch()
    return folder / "bin" / "python"


@contextmanager
def serving(python: Path, path: Path, name: str, log: Path) -> Iterator[Server]:
    """Serve an ONNX file meanwhile, on this machine alone."""
    command = [str(python), str(HERE / "kserve_server.py"), str(path), name]
    with (
        log.open("w") as written,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=written, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            told = process.stdout.readline()
            assert told, log.read_text()
            yield Server(name, **json.loads(told), python=python, process=process)
        finally:
            process.kill()
