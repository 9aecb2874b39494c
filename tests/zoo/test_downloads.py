"""Files fetched into the cache, from a server on this machine."""

import hashlib
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import zoo
from zoo import downloads

from .server import serving

BODY = b"\x89HDF\r\n\x1a\n" + bytes(range(256)) * 50
MD5 = f"md5:{hashlib.md5(BODY, usedforsecurity=False).hexdigest()}"
SHA256 = f"sha256:{hashlib.sha256(BODY).hexdigest()}"


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server with a file, and an empty cache."""
    monkeypatch.setenv(downloads.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(downloads, "_PAUSE", 0)
    for name in (downloads.MIRROR_VARIABLE, downloads.OFFLINE_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    with serving() as running:
        running.files["a.h5"] = BODY
        yield running


def kept() -> list[str]:
    """What is in the cache, without the locks."""
    folder = downloads.cache()
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(name for name in names if not name.endswith(".lock"))


@pytest.mark.parametrize("digest", [MD5, SHA256, ""])
def test_a_file_is_fetched_once(server, digest):
    told = []
    path = downloads.fetch(
        server.address("whole", "a.h5"),
        "a.h5",
        digest=digest,
        progress=lambda *step: told.append(step),
    )
    assert path.read_bytes() == BODY
    assert told[0] == ("a.h5", 0, len(BODY))
    assert told[-1] == ("a.h5", len(BODY), len(BODY))
    assert downloads.recorded("a.h5") == SHA256[7:]
    assert downloads.cached("a.h5") == path
    assert downloads.fetch(server.address("whole", "a.h5"), "a.h5", digest=digest) == path
    assert len(server.asked) == 1
    assert kept() == ["a.h5", "a.h5.sha256"]


def test_a_broken_connection_is_taken_up_where_it_ended(server):
    path = downloads.fetch(server.address("broken", "a.h5"), "a.h5", digest=MD5)
    assert path.read_bytes() == BODY
    assert [wanted for _, wanted in server.asked] == [None, f"bytes={len(BODY) // 2}-"]


DATE = "Mon, 05 Jan 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("versions", "condition"),
    [
        ({"ETag": '"one"', "Last-Modified": DATE}, '"one"'),
        ({"ETag": 'W/"one"', "Last-Modified": DATE}, DATE),
        ({"Last-Modified": DATE}, DATE),
        ({"ETag": 'W/"one"'}, None),
        ({}, None),
    ],
)
def test_the_rest_is_asked_for_of_the_same_file(server, versions, condition):
    server.versions = versions
    path = downloads.fetch(server.address("broken", "a.h5"), "a.h5", digest=MD5)
    assert path.read_bytes() == BODY
    assert server.conditions == [None, condition]


@pytest.mark.parametrize("key", ["ETag", "Last-Modified"])
def test_a_file_that_changes_meanwhile_is_begun_anew(server, key):
    other = BODY[:8] + BODY[:7:-1]
    server.versions = {key: '"one"'}

    def change(_name, done, _total):
        if done == len(BODY) // 2:
            server.files["a.h5"], server.versions = other, {key: '"two"'}

    path = downloads.fetch(server.address("broken", "a.h5"), "a.h5", progress=change)
    assert path.read_bytes() == other
    assert server.conditions == [None, '"one"', '"two"']


@pytest.mark.parametrize(
    ("behaviour", "words", "times"),
    [
        ("deaf", f"{len(BODY) // 2:,} of {len(BODY):,} bytes", downloads.TRIES),
        ("busy", "Service Unavailable", downloads.TRIES),
        ("whole", "404 Not Found", 1),
    ],
)
def test_what_cannot_be_had_is_told_and_leaves_nothing(server, behaviour, words, times):
    name = "b.h5" if behaviour == "whole" else "a.h5"
    with pytest.raises(zoo.InputError, match=words) as told:
        downloads.fetch(server.address(behaviour, name), name, digest=MD5)
    assert str(downloads.cache()) in str(told.value)
    assert len(server.asked) == times
    assert kept() == []


def test_no_network_says_where_the_file_is_looked_for(server):
    address = server.address("whole", "a.h5")
    server.shutdown()
    server.server_close()
    with pytest.raises(zoo.InputError, match=r"cannot be downloaded.*refused") as told:
        downloads.fetch(address, "a.h5")
    for word in (address, str(downloads.cache()), downloads.MIRROR_VARIABLE):
        assert word in str(told.value)


@pytest.mark.parametrize("digest", [f"md5:{'0' * 32}", f"sha256:{'0' * 64}"])
def test_a_wrong_hash_is_refused_and_removed(server, digest):
    with pytest.raises(zoo.InputError, match=r"not the file that was asked for.*removed"):
        downloads.fetch(server.address("whole", "a.h5"), "a.h5", digest=digest)
    assert kept() == []


@pytest.mark.parametrize("body", [b"<!doctype html><title>Log in</title>", b"\x89HDF", b""])
@pytest.mark.parametrize("place", ["server", "folder"])
def test_a_file_that_is_none_of_hdf5_is_refused_and_removed(
    server, monkeypatch, tmp_path, body, place
):
    server.files["a.h5"] = server.files["a.json"] = body
    if place == "folder":
        (tmp_path / "a.h5").write_bytes(body)
        monkeypatch.setenv(downloads.MIRROR_VARIABLE, str(tmp_path))
    with pytest.raises(zoo.InputError, match=r"a\.h5 is not .* one of HDF5; .*removed"):
        downloads.fetch(server.address("whole", "a.h5"), "a.h5")
    assert kept() == []
    if place == "server":  # of other names nothing is known
        path = downloads.fetch(server.address("whole", "a.json"), "a.json")
        assert path.read_bytes() == body


@pytest.mark.parametrize("digest", [MD5, ""])
def test_a_file_damaged_in_the_cache_is_fetched_again(server, digest):
    path = downloads.fetch(server.address("whole", "a.h5"), "a.h5", digest=digest)
    path.write_bytes(BODY[:-1])
    downloads.fetch(server.address("whole", "a.h5"), "a.h5", digest=digest)
    assert path.read_bytes() == BODY


def test_an_interrupt_leaves_nothing(server):
    def interrupt(*_step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        downloads.fetch(server.address("whole", "a.h5"), "a.h5", progress=interrupt)
    assert kept() == []


def test_what_a_killed_process_left_is_removed(server):
    code = (
        "import os, signal, sys; from zoo import downloads;"
        "kill = lambda *step: os.kill(os.getpid(), signal.SIGKILL);"
        "downloads.fetch(sys.argv[1], 'a.h5', progress=kill)"
    )
    address = server.address("whole", "a.h5")
    subprocess.run([sys.executable, "-c", code, address], check=False, timeout=60)
    (left,) = kept()
    assert left.endswith(".part.h5")
    others = [".a.b.01234567.part.h5", ".a.01234567.part.json", ".ab.01234567.part.h5", "b.h5"]
    for name in others:
        (downloads.cache() / name).write_bytes(BODY)
    downloads.fetch(address, "a.h5", digest=MD5)
    assert kept() == sorted([*others, "a.h5", "a.h5.sha256"])


@pytest.mark.parametrize("form", ["folder", "address"])
def test_a_mirror_is_asked_instead(server, monkeypatch, tmp_path, form):
    (tmp_path / "a.h5").write_bytes(BODY)
    mirror = str(tmp_path) if form == "folder" else server.address("whole")
    monkeypatch.setenv(downloads.MIRROR_VARIABLE, mirror)
    path = downloads.fetch("https://example.invalid/a.h5", "a.h5", digest=SHA256)
    assert path.read_bytes() == BODY
    if form == "folder":
        with pytest.raises(zoo.InputError, match=r"no file .*b\.h5"):
            downloads.fetch("https://example.invalid/b.h5", "b.h5")


@pytest.mark.parametrize("mirror", ["~", "~/"])
def test_a_mirror_may_lie_in_the_home_folder(server, monkeypatch, tmp_path, mirror):
    (tmp_path / "a.h5").write_bytes(BODY)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(downloads.MIRROR_VARIABLE, mirror)
    assert downloads.fetch("https://example.invalid/a.h5", "a.h5").read_bytes() == BODY


@pytest.mark.parametrize(
    "mirror", ["http://a..b/x", "http://[bad", "http://localhost/ä", "http://a b", "http://a:b/x"]
)
def test_a_mirror_whose_address_is_none_is_told_at_once(server, monkeypatch, mirror):
    monkeypatch.setenv(downloads.MIRROR_VARIABLE, mirror)
    monkeypatch.setattr(downloads.time, "sleep", lambda _: pytest.fail("it is tried again"))
    with pytest.raises(zoo.InputError, match="it is no address") as told:
        downloads.fetch("https://example.invalid/a.h5", "a.h5")
    assert mirror in str(told.value)
    assert kept() == []


def test_offline_takes_what_is_there_and_asks_for_nothing(server, monkeypatch, tmp_path):
    address = server.address("whole", "a.h5")
    monkeypatch.setenv(downloads.OFFLINE_VARIABLE, "1")
    with pytest.raises(zoo.InputError, match="not in the cache") as told:
        downloads.fetch(address, "a.h5", digest=MD5)
    assert address in str(told.value)
    assert server.asked == []
    (downloads.cache() / "a.h5").write_bytes(BODY)  # put there by hand
    assert downloads.fetch(address, "a.h5", digest=MD5).read_bytes() == BODY


@pytest.mark.parametrize("digest", [MD5, SHA256, ""])
@pytest.mark.parametrize("record", [None, b"", b"0123\n", b"\xff\xfe"])
def test_a_file_put_there_by_hand_is_taken_and_recorded(server, digest, record):
    downloads.cache().mkdir()
    path = downloads.cache() / "a.h5"
    path.write_bytes(BODY)
    if record is not None:  # a damaged one tells nothing
        (downloads.cache() / "a.h5.sha256").write_bytes(record)
        assert downloads.recorded("a.h5") == ""
    assert downloads.fetch(server.address("whole", "a.h5"), "a.h5", digest=digest) == path
    assert path.read_bytes() == BODY
    assert downloads.recorded("a.h5") == SHA256[7:]
    assert server.asked == []


@pytest.mark.parametrize("digest", [MD5, ""])
def test_another_file_in_the_cache_is_kept_where_none_can_be_fetched(server, monkeypatch, digest):
    address = server.address("whole", "a.h5")
    path = downloads.fetch(address, "a.h5", digest=digest)
    path.write_bytes(b"another")
    monkeypatch.setenv(downloads.OFFLINE_VARIABLE, "1")
    words = r"a\.h5 is another file and FOLDZOO_OFFLINE.*the record a\.h5\.sha256 of another one"
    with pytest.raises(zoo.InputError, match=words):
        downloads.fetch(address, "a.h5", digest=digest)
    assert path.read_bytes() == b"another"
    assert downloads.checked("a.h5", digest) is None


@pytest.mark.parametrize("place", ["/proc", "/dev/null/cache", "~nobody-of-this-name/cache"])
def test_a_cache_that_cannot_be_written_is_one_line(server, monkeypatch, place):
    monkeypatch.setenv(downloads.CACHE_VARIABLE, place)
    with pytest.raises(zoo.InputError, match=r"pass (another|a) folder|home folder"):
        downloads.fetch(server.address("whole", "a.h5"), "a.h5")
    assert server.asked == []


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no file here fails when read")
def test_a_mirror_that_cannot_be_read_is_one_line(server, monkeypatch, tmp_path):
    monkeypatch.setenv(downloads.MIRROR_VARIABLE, str(tmp_path))
    (tmp_path / "a.h5").symlink_to("/proc/self/mem")
    with pytest.raises(zoo.InputError, match=r"a\.h5 cannot be read"):
        downloads.fetch("https://example.invalid/a.h5", "a.h5")
    monkeypatch.setenv(downloads.MIRROR_VARIABLE, "m" * 300)
    with pytest.raises(zoo.InputError, match="there is no file mmm"):
        downloads.fetch("https://example.invalid/a.h5", "a.h5")


@pytest.mark.parametrize("name", ["../a.h5", "a/b.h5", "/a.h5", "", ".a.h5", "a\\b", "a\n.h5"])
def test_a_name_that_is_a_path_is_refused(server, name):
    with pytest.raises(zoo.InputError, match="a file's name"):
        downloads.fetch(server.address("whole", "a.h5"), name)
    assert server.asked == []


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://127.0.0.1/a.h5"])
def test_other_kinds_of_addresses_are_refused(server, address):
    with pytest.raises(zoo.InputError, match="https or http"):
        downloads.fetch(address, "a.h5")


def test_a_hash_that_is_none_is_refused(server):
    with pytest.raises(zoo.InputError, match="digest"):
        downloads.fetch(server.address("whole", "a.h5"), "a.h5", digest="crc:1")


def test_two_threads_fetch_one_file_once(server):
    paths = []

    def fetch():
        paths.append(downloads.fetch(server.address("slow", "a.h5"), "a.h5", digest=MD5))

    threads = [threading.Thread(target=fetch) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 3
    assert len(server.asked) == 1


def test_two_processes_fetch_one_file_once(server):
    code = (
        "import sys; from zoo import downloads;"
        "print(downloads.fetch(sys.argv[1], 'a.h5', digest=sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, server.address("slow", "a.h5"), MD5]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=60)[0].strip() for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert told == [str(downloads.cache() / "a.h5")] * 2
    assert len(server.asked) == 1
