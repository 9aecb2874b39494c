"""Files from elsewhere: fetched once, checked, and kept whole in a cache."""

import hashlib
import http.client
import os
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from zoo.errors import InputError
from zoo.files import (
    PLACE_REMEDIES,
    check_writable,
    expanded,
    is_file,
    remove_parts,
    replacing,
    sha256,
    write_text,
    writing,
)

CACHE_VARIABLE = "FOLDZOO_CACHE"
MIRROR_VARIABLE = "FOLDZOO_MIRROR"
OFFLINE_VARIABLE = "FOLDZOO_OFFLINE"
TIMEOUT = 30.0  # seconds without a byte, after which a connection counts as broken
TRIES = 4
_PAUSE = 1.0  # seconds before the second try; twice as long before each further one
_BLOCK = 1 << 20
_NAME = re.compile(r"\w[\w.-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HDF5 = b"\x89HDF\r\n\x1a\n"  # how each file of the format begins
_HASH = re.compile(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}")

# Told the file, and how many of how many bytes are there; of an unknown number where it is None.
Progress = Callable[[str, int, int | None], None]


class _BrokenError(Exception):
    """A connection ended before its file did; another try may go on."""


def cache() -> Path:
    """Find the folder in which downloaded files are kept.

    Returns:
        The one in the environment variable FOLDZOO_CACHE, or else ``foldzoo`` in the user's cache
        folder: that of XDG_CACHE_HOME, or ``~/.cache``.
    """
    asked = os.environ.get(CACHE_VARIABLE)
    if asked:
        return expanded(asked)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "foldzoo"


def is_offline() -> bool:
    """Say whether the environment forbids to ask for anything over a network."""
    return os.environ.get(OFFLINE_VARIABLE, "") not in ("", "0")


def cached(name: str) -> Path | None:
    """Find a file that was fetched before, without reading it.

    Args:
        name: Its name in the cache.

    Returns:
        Its path; None where it is not there.
    """
    path = cache() / _checked(name)
    return path if is_file(path) else None


def checked(name: str, digest: str = "") -> Path | None:
    """Find a file in the cache and check it, without asking for anything over a network.

    Args:
        name: Its name in the cache.
        digest: As in `fetch`.

    Returns:
        Its path; None where it is not there, cannot be read, or is another file than its hash says.
    """
    path = cache() / _checked(name)
    with suppress(InputError):
        return path if _is_whole(path, digest) else None
    return None


def recorded(name: str) -> str:
    """Tell the SHA-256 that a file in the cache had when it was first seen; empty if unknown."""
    try:
        found = _record(cache() / _checked(name)).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return found if _SHA256.fullmatch(found) else ""  # a damaged record tells nothing


def fetch(origin: str, name: str, *, digest: str = "", progress: Progress | None = None) -> Path:
    """Get a file into the cache, unless it is there, and check it.

    A connection that breaks is taken up where it ended. Another process that fetches the same
    file at this time is waited for. What was fetched first, or put there by hand, is recorded by
    its SHA-256, and checked by it from then on.

    Args:
        origin: The file's address, http or https. With the environment variable FOLDZOO_MIRROR,
            a folder or an address, the file of this name there is taken instead; with
            FOLDZOO_OFFLINE=1, nothing is asked for over a network.
        name: The file's name in the cache, and in a mirror. It is no path.
        digest: ``md5:`` or ``sha256:`` and the hash that the file must have, in hexadecimal
            digits; empty where it is not known.
        progress: Told of each block; by default a bar is shown where stderr is a terminal.

    Returns:
        The file in the cache.

    Raises:
        InputError: The file cannot be had, is another one than its hash says, or is none of HDF5
            though its name ends in ``.h5``.

    Example:
        >>> fetch("https://example.org/a.h5", "a.h5", digest="md5:9d60b8095a5708f2dcce2bca79d332c7")
    """
    path = cache() / _checked(name)
    if digest and not _HASH.fullmatch(digest):
        raise InputError(
            f"digest: accepted is md5: or sha256: and as many hexadecimal digits; received {digest}"
        )
    if _is_whole(path, digest):
        return path
    with _locked(path):
        if _is_whole(path, digest):  # another process was quicker
            return path
        remove_parts(path)
        with replacing(path) as beside, _shown(progress) as told:
            _get(origin, name, beside, told)
            _check(beside, digest, source=_source(origin, name), name=name)
        write_text(_record(path), sha256(path) + "\n")
    return path


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Have a file of the cache for this process alone; wait for the others."""
    import filelock

    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"))
    try:
        check_writable(path)  # where no lock can be made, it would be waited for without end
        with writing(path.parent, PLACE_REMEDIES):
            lock.acquire()
    except InputError as error:
        raise InputError(f"{error}; {CACHE_VARIABLE} names the folder of the cache") from error
    try:
        yield
    finally:
        lock.release()


def _checked(name: str) -> str:
    """Refuse a name that is a path, or that would hide among the cache's own files."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            "accepted is a file's name of letters, digits, '_', '-' and '.', without a folder; "
            f"received {name!r}"
        )
    return name


def _record(path: Path) -> Path:
    """Name the file that the SHA-256 of a fetched file is kept in."""
    return path.with_name(f"{path.name}.sha256")


def _is_whole(path: Path, digest: str) -> bool:
    """Say whether a file is in the cache and is what was first seen there, and what is asked for.

    Where nothing is recorded of it, it was put there by hand, and is recorded now.
    """
    if not is_file(path):
        return False
    known = recorded(path.name)
    try:
        found = sha256(path)
        if found != (known or found) or (digest and _digest(path, digest) != digest):
            return False
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    if not known:
        with suppress(InputError):  # a cache that is only read is as good
            write_text(_record(path), found + "\n")
    return True


def _digest(path: Path, like: str) -> str:
    """Hash a file by the algorithm of another hash."""
    algorithm = like.partition(":")[0]
    with path.open("rb") as file:
        # The hash of a file tells which file it is; MD5 is all that some publish of theirs.
        found = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
    return f"{algorithm}:{found.hexdigest()}"


def _check(path: Path, digest: str, *, source: str, name: str) -> None:
    """Refuse a file that is not the one which was asked for."""
    with path.open("rb") as file:
        begin = file.read(len(_HDF5))
    if name.endswith(".h5") and begin != _HDF5:  # as the page of a network that asks to log in
        raise InputError(
            f"{source} is not the file that was asked for: accepted is one of HDF5; received one "
            f"that begins with {begin!r}; it was removed"
        )
    received = _digest(path, digest) if digest else digest
    if received != digest:
        raise InputError(
            f"{source} is not the file that was asked for: {received[:20]}..., accepted "
            f"{digest[:20]}...; it was removed"
        )


def _source(origin: str, name: str) -> str:
    """Tell where a file is taken from: its origin, or the mirror's file of that name."""
    mirror = os.environ.get(MIRROR_VARIABLE, "")
    if not mirror:
        return origin
    return f"{mirror.rstrip('/')}/{name}" if "://" in mirror else str(expanded(mirror) / name)


def _get(origin: str, name: str, beside: Path, told: Progress) -> None:
    """Copy or download a file to a place."""
    source = _source(origin, name)
    if "://" not in source:
        _copy(source, beside)
        return
    if not source.startswith(("https://", "http://")):
        raise InputError(f"accepted is an address of https or http, or a folder; received {source}")
    if is_offline():
        known = _record(cache() / name)
        other = f", without the record {known.name} of another one" if known.is_file() else ""
        raise InputError(
            f"{_lacking(name)} and {OFFLINE_VARIABLE} is set; it would come from {source}; "
            f"accepted is the file in {cache()}{other}, or a folder that has it in "
            f"{MIRROR_VARIABLE}"
        )
    _download(source, name, beside, told)


def _copy(source: str, beside: Path) -> None:
    """Copy a mirror's file to a place."""
    if not is_file(source):
        raise InputError(f"there is no file {source}, in the folder that {MIRROR_VARIABLE} names")
    with beside.open("wb") as copy:
        for block in _blocks(source):
            copy.write(block)


def _blocks(source: str) -> Iterator[bytes]:
    """Read a file part by part; what fails is of what is read, and not of what is written."""
    try:
        with Path(source).open("rb") as file:
            while block := file.read(_BLOCK):
                yield block
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror or error}") from error


def _lacking(name: str) -> str:
    """Say what is wrong with a file that is asked for: it is not there, or it is another one."""
    path = cache() / name
    return f"{path} is another file" if is_file(path) else f"{name} is not in the cache"


def _download(source: str, name: str, beside: Path, told: Progress) -> None:
    """Download a file, going on where a connection broke."""
    version: dict[str, str] = {}
    for number in range(TRIES):
        try:
            _receive(source, name, beside, told, version)
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise InputError(_refused(source, name, f"{error.code} {error.reason}")) from error
            broken: Exception = error
        except (urllib.error.URLError, http.client.HTTPException, OSError, _BrokenError) as error:
            if isinstance(error, OSError) and error.errno in PLACE_REMEDIES:
                raise  # of the file that is written, not of the connection
            broken = error
        else:
            return
        if number < TRIES - 1:
            time.sleep(_PAUSE * 2**number)
    reason = getattr(broken, "reason", broken)
    raise InputError(_refused(source, name, f"{reason}, {TRIES} times")) from broken


def _refused(source: str, name: str, why: str) -> str:
    """Tell that a file cannot be had, and what a person can do."""
    return (
        f"{source} cannot be downloaded: {why}; accepted are a connection to it, the file {name} "
        f"in {cache()}, or a folder or an address that has it in {MIRROR_VARIABLE}"
    )


def _receive(source: str, name: str, beside: Path, told: Progress, version: dict[str, str]) -> None:
    """Receive a file, or the rest of it where its beginning is there.

    The header that asks for the rest of this very file is kept in ``version`` for the next try.
    """
    start = beside.stat().st_size
    headers = {"User-Agent": "foldzoo"}
    if start:
        headers |= {"Range": f"bytes={start}-", **version}
    with _answered(source, name, headers) as response:
        goes_on = response.status == 206 and _begins_at(response, start)
        if not goes_on:
            version.clear()
            version.update(_version(response))
        done = start if goes_on else 0
        total = None if response.length is None else done + response.length
        with beside.open("ab" if goes_on else "wb") as file:
            told(name, done, total)
            while block := response.read(_BLOCK):
                file.write(block)
                done += len(block)
                told(name, done, total)
    if total is not None and done < total:
        raise _BrokenError(f"{done:,} of {total:,} bytes came")


def _begins_at(response: Any, start: int) -> bool:
    """Say whether a server sends the part that it was asked for."""
    return str(response.headers.get("Content-Range", "")).startswith(f"bytes {start}-")


def _answered(source: str, name: str, headers: dict[str, str]) -> Any:
    """Ask a server; tell of an address that is none, its own or one that it leads to."""
    try:
        request = urllib.request.Request(source, headers=headers)
        return urllib.request.urlopen(request, timeout=TIMEOUT)
    except (ValueError, http.client.InvalidURL) as error:
        raise InputError(_refused(source, name, f"it is no address: {error}")) from error


def _version(response: Any) -> dict[str, str]:
    """Make the header that asks for a part only if the file has not changed; none if unknown."""
    tag, date = response.headers.get("ETag", ""), response.headers.get("Last-Modified", "")
    # A weak tag may be that of other bytes.
    found = date if tag.startswith("W/") else tag or date
    return {"If-Range": found} if found else {}


@contextmanager
def _shown(progress: Progress | None) -> Iterator[Progress]:
    """Show a bar where a person looks, unless a caller does something else with the progress."""
    if progress is not None or not sys.stderr.isatty():
        yield progress or (lambda name, done, total: None)
        return
    import rich.console
    import rich.progress

    columns = (
        rich.progress.TextColumn("{task.description}", markup=False),
        rich.progress.BarColumn(),
        rich.progress.DownloadColumn(),
        rich.progress.TransferSpeedColumn(),
        rich.progress.TimeRemainingColumn(),
    )
    console = rich.console.Console(stderr=True)
    with rich.progress.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda name, done, total: bar.update(
            task, description=name, completed=done, total=total
        )
