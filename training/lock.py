"""One training at a time in a folder, so that two never mix their files.

The system's own file lock is used: it ends with its process, however that ends, so that a killed
training locks nobody out.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from zoo.errors import InputError
from zoo.files import PLACE_REMEDIES, writing

try:
    import fcntl
except ImportError:  # Windows has no such lock: there two trainings are not kept apart
    fcntl = None  # type: ignore[assignment]

FILE = ".training.lock"


@contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Keep other trainings out of a folder.

    Args:
        folder: The run's folder. It is made where it is missing, and taken away again if nothing
            is in it at the end.

    Yields:
        Nothing.

    Raises:
        InputError: Another training is under way in it, or it cannot be written.
    """
    with writing(folder, PLACE_REMEDIES):
        made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        with writing(folder, PLACE_REMEDIES):
            folder.mkdir(parents=True, exist_ok=True)
            handle = _locked(folder)
        try:
            yield
        finally:
            # Removed while it is still locked: whoever opens it now sees that it is gone.
            (folder / FILE).unlink(missing_ok=True)
            os.close(handle)
    finally:
        with suppress(OSError):  # something is in it, as it should be
            for place in made:
                place.rmdir()


def _locked(folder: Path) -> int:
    """Open and lock the file, and leave this process' number in it."""
    path = folder / FILE
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(handle)
        except BlockingIOError as error:
            pid = os.read(handle, 20).decode(errors="replace").strip()
            os.close(handle)
            raise InputError(
                f"{folder}: another training is under way there"
                f"{f', in process {pid}' if pid else ''}; wait for its end, or pass another --out"
            ) from error
        if _is_at(handle, path):
            os.truncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
            return handle
        os.close(handle)  # the one who held it took the file away in the meantime


def _lock(handle: int) -> None:
    """Take the lock, where the file system has any.

    Raises:
        BlockingIOError: Another process holds it.
    """
    if fcntl is None:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return  # some network file systems have none; a training is worth more than its lock


def _is_at(handle: int, path: Path) -> bool:
    """Say whether an open file is still the one under its name."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
