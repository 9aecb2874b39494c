"""Files appear whole or not at all: written beside their final name, then renamed."""

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from zoo.errors import InputError

# What the operating system says when a place cannot take a file, and what a person can do.
_REMEDIES = {
    errno.ENOSPC: "no space is left there; free some or pass another folder",
    errno.EDQUOT: "the disk quota is used up; free some space or pass another folder",
    errno.EFBIG: "the file would exceed the size limit there; pass another folder",
    errno.EROFS: "that file system is read-only; pass another folder",
    errno.EACCES: "permission is denied; pass a folder that can be written",
    errno.EPERM: "the operation is not permitted; pass a folder that can be written",
    errno.ENOTDIR: "part of the path is a file, not a folder; pass a folder",
    errno.EEXIST: "a file of that name is in the way; pass a folder",
    errno.ENAMETOOLONG: "the name is too long; pass a shorter one",
    errno.EISDIR: "a folder of that name is in the way; pass another name",
    errno.ENOTEMPTY: "something was put there in the meantime; pass another folder",
    errno.EBUSY: "it is in use, perhaps as a mount point; pass a folder inside it or another one",
    errno.EXDEV: "part of it lies on another file system; pass a folder inside it or another one",
}
# Of the place itself; in what is done meanwhile, it would speak of any file that is missing.
PLACE_REMEDIES = _REMEDIES | {errno.ENOENT: "no file can be made there; pass another folder"}


@contextmanager
def writing(
    target: str | os.PathLike[str], remedies: Mapping[int, str] = _REMEDIES
) -> Iterator[None]:
    """Turn the system's refusals to write into one clear line that names the target.

    Args:
        target: The file or folder that is being written, for the message.
        remedies: What a person can do, by the number of the system's error.

    Yields:
        Nothing.

    Raises:
        InputError: The place cannot be written, or is full.
    """
    try:
        yield
    except OSError as error:
        code = error.errno if error.errno in remedies else _errno_in_text(str(error))
        remedy = None if code is None else remedies.get(code)
        if remedy is None:
            raise
        raise InputError(f"cannot write {target}: {remedy}") from error


def _errno_in_text(text: str) -> int | None:
    """Find the error number in HDF5's messages, which carry it as text and not as errno."""
    for code in _REMEDIES:
        if f"errno = {code}," in text or os.strerror(code) in text:
            return code
    return None


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a file beside its final name and rename it into place only when it is whole.

    The file at ``path``, if any, stays as it was until the very last step, whatever happens
    before: an exception, a full disk, a killed process.

    Args:
        path: The final name. Missing parent folders are made.

    Yields:
        The name to write to: in the same folder, with the same suffix.

    Raises:
        InputError: The place cannot be written, or is full.
    """
    path = Path(path)
    with writing(path):
        with _placing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(
                dir=path.parent, prefix=f".{path.stem}.", suffix=f".part{path.suffix}"
            )
            os.close(handle)
        beside = Path(name)
        try:
            yield beside
            with _placing(path):
                with beside.open("rb") as written:
                    os.fsync(written.fileno())
                # mkstemp makes private files; ours are ordinary ones
                beside.chmod(0o666 & ~_umask())
                beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


def remove_parts(path: str | os.PathLike[str]) -> None:
    """Remove what killed processes left of a file that they were writing; see `replacing`.

    Args:
        path: The final name. No other process may be writing it at this time.
    """
    path = Path(path)
    # The letters in the middle are those of tempfile.
    part = re.compile(rf"\.{re.escape(path.stem)}\.\w{{8}}\.part{re.escape(path.suffix)}")
    with suppress(OSError):  # another user's may have to stay
        for beside in path.parent.iterdir():
            if part.fullmatch(beside.name):
                beside.unlink()


@contextmanager
def replacing_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Fill a folder beside its final name and rename it into place only when it is whole.

    Args:
        path: The final name. A folder that is already there is replaced as one, and comes back if
            that fails.

    Yields:
        An empty folder beside it.

    Raises:
        InputError: The place cannot be written, is full, or is a mount point.
    """
    path = Path(path)
    with writing(path):
        with _placing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _check_replaceable(path)
            name = tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        beside = Path(name)
        try:
            yield beside
            with _placing(path):
                beside.chmod(0o777 & ~_umask())
                _put_in_place(beside, path)
        except InputError as error:  # of a file in it: tell the name that a person knows
            raise InputError(str(error).replace(str(beside), str(path))) from error
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def _placing(path: Path) -> AbstractContextManager[None]:
    """Tell the refusals of the place where a file or folder begins or ends; see `writing`."""
    return writing(path, PLACE_REMEDIES)


def _check_replaceable(path: Path) -> None:
    """Refuse what cannot be replaced by a folder, before the long work that fills one."""
    if path.exists() and not path.is_dir():
        raise InputError(f"cannot write {path}: a file of that name is in the way")
    if path.is_mount():
        raise InputError(
            f"cannot write {path}: it is a mount point, which cannot be replaced; "
            "pass a folder inside it"
        )


def _put_in_place(beside: Path, path: Path) -> None:
    """Rename a folder to its final name; the older one goes last, or comes back."""
    if not path.exists():
        beside.replace(path)
        return
    old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
    try:
        path.replace(old)
        beside.replace(path)
    finally:
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.replace(path)


def is_file(path: str | os.PathLike[str]) -> bool:
    """Say whether a path is a file; no, where it cannot even be one, as with a name too long."""
    return os.path.isfile(path)  # noqa: PTH113  pathlib's raises for some of them


def is_dir(path: str | os.PathLike[str]) -> bool:
    """Say whether a path is a folder; see `is_file`."""
    return os.path.isdir(path)  # noqa: PTH112  pathlib's raises for some of them


def expanded(path: str | os.PathLike[str]) -> Path:
    """Put a home folder in the place of ``~`` or ``~user``.

    Args:
        path: What a person wrote.

    Returns:
        The path.

    Raises:
        InputError: There is no such user, or nobody knows their home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(
            f"{path}: the home folder is not known; accepted is a full path"
        ) from error


def check_writable(path: str | os.PathLike[str]) -> None:
    """Make sure that a file can be made at a place, before the long work that makes it.

    Args:
        path: The file to be written later. Missing parent folders are made.

    Raises:
        InputError: The place cannot be written, or a folder has that name.
    """
    path = Path(path)
    with _placing(path):
        if path.is_dir():
            raise InputError(f"cannot write {path}: a folder of that name is in the way")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write a text file whole or not at all.

    Args:
        path: The file.
        text: What it shall hold, written as UTF-8.

    Returns:
        The path.

    Raises:
        InputError: The place cannot be written, or is full.
    """
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")
    return Path(path)


def write_json(path: str | os.PathLike[str], value: Any) -> Path:
    """Write a value as indented JSON, whole or not at all; see `write_text`."""
    return write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def sha256(path: str | os.PathLike[str]) -> str:
    """Hash a file.

    Args:
        path: The file.

    Returns:
        Its SHA-256 as 64 hexadecimal digits.
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    """Read the process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
