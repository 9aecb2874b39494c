"""The server's own Python environment: made on first use, in a cache folder, and kept.

NVIDIA Triton comes in a wheel that needs numpy 1, so it cannot live beside what trains and exports.
"""

import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.serving import installing
from export.serving.installing import Progress
from zoo import downloads
from zoo.errors import InputError
from zoo.files import sha256, write_json

PYTHONS = ("3.11", "3.12")  # the wheel has a stub for them, and numpy 1 has wheels
REQUIREMENTS = Path(__file__).parent / "requirements.txt"
BACKEND = Path(__file__).parent / "backend" / "model.py"
MARKER = "ready.json"

# What a Python tells of itself: its version, and where its shared library may lie. What it was
# built with is not enough: some are moved afterwards.
_ASK = (
    "import json, sys, sysconfig; print(json.dumps(['%d.%d' % sys.version_info[:2], "
    "sysconfig.get_config_var('LIBDIR'), sys.base_prefix + '/lib']))"
)


@dataclass(frozen=True)
class Environment:
    """An environment that Triton runs in.

    Args:
        folder: Where it lies.
        version: Its Python's version, for example ``3.11``.
        library: The folder of its Python's shared library.
    """

    folder: Path
    version: str
    library: str

    @property
    def python(self) -> Path:
        """Its Python, which has tritonclient too."""
        return self.folder / "bin" / "python"

    @property
    def packages(self) -> Path:
        """Where its packages lie."""
        return self.folder / "lib" / f"python{self.version}" / "site-packages"

    @property
    def triton(self) -> Path:
        """The server's own folder in them."""
        return self.packages / "pytriton" / "tritonserver"

    @property
    def backends(self) -> Path:
        """The folder with the backends: Triton's for Python, and ours for ONNX files."""
        return self.folder / "backends"

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that the server needs beside those of this process."""
        return {
            "PATH": os.pathsep.join([str(self.folder / "bin"), os.environ.get("PATH", "")]),
            "PYTHONPATH": str(self.packages),
            # Without the two the process for a model cannot start, and loading waits for ever.
            "LD_LIBRARY_PATH": os.pathsep.join(
                [self.library, str(self.packages / "nvidia_pytriton.libs")]
            ),
        }


def environment(*, progress: Progress | None = None) -> Environment:
    """Find the server's environment, or make it: a few minutes, and a package index, once.

    It lies in ``$FOLDZOO_CACHE``, or ``foldzoo`` in ``$XDG_CACHE_HOME`` or ``~/.cache``, under a
    name that changes with the packages' versions. Two processes do not make it at the same time.

    Args:
        progress: Told each step's name as it begins, with None, and as it ends, with its seconds.

    Returns:
        The environment.

    Raises:
        InputError: Triton does not run on this machine, there is no Python that it takes, or the
            packages cannot be installed.
    """
    _check_machine()
    python, version, library = _find_python()
    text = _requirements()
    key = hashlib.sha256(f"{version}\n{text}\n{BACKEND.read_text('utf-8')}".encode()).hexdigest()
    cache = downloads.cache().absolute()
    found = Environment(cache / f"serving-{key[:16]}", version, library)
    with installing.locked(cache / "serving.lock"):
        if not _is_whole(found, key):
            _make(found, key, python, text, progress)
    return found


def _check_machine() -> None:
    """Refuse machines that the wheel is not made for."""
    system, machine = platform.system(), platform.machine()
    library, release = platform.libc_ver()
    numbers = [int(part) for part in release.split(".") if part.isdigit()]
    if (system, machine, library) != ("Linux", "x86_64", "glibc") or numbers < [2, 35]:
        raise InputError(
            "zoo serve: accepted is Linux on x86_64 with glibc 2.35 or later, which NVIDIA's wheel "
            f"of Triton is made for; received {system} on {machine} with {library or 'no glibc'} "
            f"{release}".rstrip()
        )


def _find_python() -> tuple[str, str, str]:
    """Choose a Python that the wheel takes: this one, or one that the search path has."""
    told = []
    for candidate in (sys.executable, *(f"python{version}" for version in PYTHONS)):
        path = shutil.which(candidate)
        facts = None if path is None else _ask(path)
        if path is None or facts is None:
            continue
        version, *folders = facts
        shared = _shared_library(version, folders)
        if version in PYTHONS and shared is not None:
            return path, version, shared
        why = "has no shared library" if version in PYTHONS else f"is Python {version}"
        told.append(f"{path} {why}")
    raise InputError(
        f"zoo serve: accepted is Python {' or '.join(PYTHONS)} with its shared library "
        f"(libpython3.x.so.1.0; on Debian the package libpython3.x); received: {'; '.join(told)}"
    )


def _ask(python: str) -> list[Any] | None:
    """Ask a Python for its version and its folders; None where it does not start."""
    done = subprocess.run([python, "-c", _ASK], capture_output=True, text=True, check=False)
    return None if done.returncode else json.loads(done.stdout)


def _shared_library(version: str, folders: list[str | None]) -> str | None:
    """Find the folder that holds a Python's shared library; None where there is none."""
    triplet = f"{platform.machine()}-linux-gnu"
    for place in (*folders, f"/usr/lib/{triplet}", f"/lib/{triplet}", "/usr/lib64"):
        if place and Path(place, f"libpython{version}.so.1.0").exists():
            return place
    return None


def _requirements() -> str:
    """List the packages to install, with their versions."""
    version = importlib.metadata.version("onnxruntime")
    return f"{REQUIREMENTS.read_text(encoding='utf-8')}onnxruntime=={version}\n"


def _checked_files(found: Environment) -> dict[str, Path]:
    """Name the files of the server that are held against their hashes at each start."""
    return {
        "tritonserver": found.triton / "bin" / "tritonserver",
        "python backend": found.backends / "python" / "libtriton_python.so",
        "python stub": found.backends / "python" / "triton_python_backend_stub",
        "onnxruntime backend": found.backends / "onnxruntime" / BACKEND.name,
    }


def _is_whole(found: Environment, key: str) -> bool:
    """Say whether an environment is there, as it was made."""
    try:
        told = json.loads((found.folder / MARKER).read_text(encoding="utf-8"))
        hashes = {name: sha256(path) for name, path in _checked_files(found).items()}
    except (OSError, ValueError):  # there is none, or one of which a part was taken away
        return False
    return bool(told == {"key": key, "files": hashes})


def _make(found: Environment, key: str, python: str, text: str, progress: Progress | None) -> None:
    """Make the environment beside its final name."""
    with installing.beside(found.folder) as place:
        installing.install(place, python, text, "Triton", progress)
        made = Environment(place, found.version, found.library)
        _lay_out_backends(made)
        hashes = {name: sha256(path) for name, path in _checked_files(made).items()}
        write_json(place / MARKER, {"key": key, "files": hashes})


def _lay_out_backends(made: Environment) -> None:
    """Put the backends where the server looks for them: copies, since it refuses links."""
    ours, theirs = made.backends / "onnxruntime", made.backends / "python"
    ours.mkdir(parents=True)
    theirs.mkdir()
    shutil.copy(BACKEND, ours / BACKEND.name)
    for name in ("libtriton_python.so", "triton_python_backend_utils.py"):
        shutil.copy(made.triton / "backends" / "python" / name, theirs / name)
    stub = "triton_python_backend_stub"
    shutil.copy(made.triton / "python_backend_stubs" / made.version / stub, theirs / stub)
