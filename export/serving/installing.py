"""Python environments of their own for servers: made beside their final name, and moved there."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from zoo.errors import InputError
from zoo.files import writing

Progress = Callable[[str, float | None], None]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait for other processes that make an environment.

    Args:
        path: The file that they lock.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def beside(folder: Path) -> Iterator[Path]:
    """Make a folder whole, or not at all.

    Args:
        folder: Its final name; what is there is replaced.

    Yields:
        The folder to fill.
    """
    with writing(folder):
        place = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        with writing(folder):
            yield place
            if folder.exists():
                shutil.rmtree(folder)
            place.replace(folder)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def install(
    folder: Path, python: str, requirements: str, what: str, progress: Progress | None = None
) -> None:
    """Make an environment, and install packages into it, these alone.

    Args:
        folder: The environment's folder.
        python: The Python that it is made with.
        requirements: The packages, each with its version, one to a line.
        what: What they are, for messages.
        progress: Told each step's name as it begins, with None, and as it ends, with its seconds.

    Raises:
        InputError: A package index cannot be reached, or a package cannot be installed.
    """
    listed = folder / "requirements.txt"
    listed.write_text(requirements, encoding="utf-8")
    steps = {
        "make environment": [python, "-m", "venv", "--without-pip", str(folder)],
        f"install {what}": [
            *(sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install"),
            *("--quiet", "--no-compile", "--no-deps", "--disable-pip-version-check"),
            *("--requirement", str(listed)),
        ],
    }
    for step, command in steps.items():
        start = time.perf_counter()
        if progress is not None:
            progress(step, None)
        _run(step, command)
        if progress is not None:
            progress(step, round(time.perf_counter() - start, 3))


def _run(step: str, command: list[str]) -> None:
    """Run one step; tell in one line why it failed."""
    # Our own packages are not those of the environment that is made.
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        command,
        env={**variables, "PIP_NO_INPUT": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise InputError(f"cannot {step}: {_reason(done.stderr or done.stdout)}")


def _reason(output: str) -> str:
    """Choose the line that tells why pip or venv gave up."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    unknown = [line for line in errors if "(from versions: none)" in line]
    if unknown:
        wanted = unknown[0].partition("requirement ")[2].split()[0]
        return f"no package index that has {wanted} can be reached; it is needed once"
    return (errors or lines or ["it gave no reason"])[-1]
