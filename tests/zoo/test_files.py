"""Files appear whole or not at all, and Keras files are checked before Keras sees them."""

import errno
import json
import os
import zipfile

import keras
import numpy as np
import pytest

import zoo
from zoo import files, keras_files


def tiny() -> keras.Model:
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="d")])


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_only_when_it_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(RuntimeError), files.replacing(path) as beside:
        beside.write_text("half of the n")
        raise RuntimeError
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]
    files.write_text(path, "new")
    assert path.read_text() == "new"


def test_a_folder_is_replaced_only_when_it_is_whole(tmp_path):
    path = tmp_path / "out"
    with files.replacing_folder(path) as beside:
        (beside / "a").write_text("old")
    with pytest.raises(RuntimeError), files.replacing_folder(path) as beside:
        (beside / "a").write_text("new")
        raise RuntimeError
    assert (path / "a").read_text() == "old"
    with files.replacing_folder(path) as beside:
        (beside / "b").write_text("new")
    assert names(path) == ["b"]
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (errno.ENOSPC, "no space is left"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission is denied"),
    ],
)
def test_the_systems_refusals_become_one_line(tmp_path, code, told):
    with pytest.raises(zoo.InputError, match=told), files.replacing(tmp_path / "a"):
        raise OSError(code, os.strerror(code))
    # HDF5 tells the number in its text only.
    text = f"Unable to write (file write failed: errno = {code}, error message = 'x')"
    with pytest.raises(zoo.InputError, match=told), files.replacing(tmp_path / "a"):
        raise OSError(text)
    assert names(tmp_path) == []


def test_other_errors_of_the_system_pass(tmp_path):
    with pytest.raises(OSError, match="strange"), files.replacing(tmp_path / "a"):
        raise OSError("strange")


def test_a_file_in_the_way_of_a_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(zoo.InputError, match=r"part of the path is a file|in the way"):
        files.write_text(tmp_path / "file" / "a.txt", "x")
    with (
        pytest.raises(zoo.InputError, match="in the way"),
        files.replacing_folder(tmp_path / "file"),
    ):
        pass
    assert (tmp_path / "file").read_text() == "mine"


PLACES = [files.replacing, files.replacing_folder]


@pytest.mark.parametrize("place", [*PLACES, files.check_writable])
@pytest.mark.parametrize("path", ["/proc/nothing.txt", "/proc/no/thing.txt", "/" + "x" * 300])
def test_a_place_where_nothing_can_be_made(place, path):
    with pytest.raises(zoo.InputError, match=f"cannot write {path}: ") as caught:
        made = place(path)
        if made is not None:
            made.__enter__()
    assert "pass a" in str(caught.value)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("code", [errno.EBUSY, errno.EXDEV, errno.ENOENT, errno.ENOTDIR])
def test_a_refusal_at_the_last_step_leaves_what_was_there(tmp_path, monkeypatch, place, code):
    path = tmp_path / "out"
    if place is files.replacing:
        path.write_text("old")
    else:
        path.mkdir()
        (path / "a").write_text("old")
    real = files.Path.replace

    def refuse(self, target):
        if self.name.endswith(".part"):
            raise OSError(code, os.strerror(code))
        return real(self, target)

    monkeypatch.setattr(files.Path, "replace", refuse)
    with pytest.raises(zoo.InputError, match=f"cannot write {path}: .*pass "), place(path):
        pass
    assert names(tmp_path) == ["out"]
    assert (path if path.is_file() else path / "a").read_text() == "old"


def test_a_mount_point_is_told_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "disk").mkdir()
    monkeypatch.setattr(files.Path, "is_mount", lambda path: path.name == "disk")
    with (
        pytest.raises(zoo.InputError, match="it is a mount point"),
        files.replacing_folder(tmp_path / "disk"),
    ):
        pytest.fail("the work was begun")
    assert names(tmp_path) == ["disk"]


def test_a_file_that_is_missing_in_the_work_is_not_the_place(tmp_path):
    with pytest.raises(FileNotFoundError), files.replacing(tmp_path / "a"):
        (tmp_path / "b").read_text()


def test_ordinary_permissions(tmp_path):
    files.write_text(tmp_path / "a", "x")
    (tmp_path / "b").write_text("x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_json_refuses_what_json_cannot_say(tmp_path):
    with pytest.raises(ValueError, match="Out of range"):
        files.write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert names(tmp_path) == []


def test_a_model_comes_back_as_it_was(tmp_path):
    model = tiny()
    path = keras_files.save(model, tmp_path / "m.keras")
    again = keras_files.load(path)
    x = np.ones((2, 4), "float32")
    np.testing.assert_array_equal(again(x), model(x))


def with_config(path, config: str) -> None:
    """Put another config.json into a model file."""
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in {**parts, "config.json": config}.items():
            new.writestr(name, content)


def with_field(path, offset: int, value: int) -> None:
    """Set a field of the first part, where the archive's directory and the part itself tell it."""
    whole = bytearray(path.read_bytes())
    for signature, at in ((b"PK\x03\x04", offset), (b"PK\x01\x02", offset + 2)):
        start = whole.index(signature) + at
        whole[start : start + 2] = value.to_bytes(2, "little")
    path.write_bytes(whole)


FIELDS = {
    "encrypted": (6, 1),
    "unknown compression": (8, 99),
    "deflated": (8, zipfile.ZIP_DEFLATED),
}


def damaged(path, kind: str) -> None:
    whole = path.read_bytes()
    if kind == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "flipped":
        at = whole.index(b"\x89HDF") + 700
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
    elif kind == "text":
        path.write_text("not a model")
    elif kind == "another archive":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.txt", "x")
    elif kind == "no class":
        with_config(path, json.dumps({"module": "keras", "class_name": "Nothing", "config": {}}))
    elif kind == "nested":
        with_config(path, "[" * 100_000 + "]" * 100_000)
    elif kind == "no mapping":
        with_config(path, "[]")
    elif kind in FIELDS:
        with_field(path, *FIELDS[kind])
    elif kind == "missing":
        path.unlink()
    else:
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("truncated", "truncated"),
        ("flipped", "is corrupt: the checksum"),
        ("text", "is not a Keras model file"),
        ("another archive", "it lacks config.json"),
        ("no class", r"cannot be loaded as a Keras model: .*keras\.Nothing"),
        ("nested", "is not a Keras model file"),
        ("no mapping", "cannot be loaded as a Keras model"),
        ("encrypted", "is not a Keras model file.*encrypted"),
        ("unknown compression", "is not a Keras model file.*compression"),
        ("deflated", "is not a Keras model file"),
        ("missing", "does not exist"),
        ("folder", "is a folder"),
    ],
)
def test_a_bad_model_file_is_told_in_one_line(tmp_path, kind, told):
    path = keras_files.save(tiny(), tmp_path / "m.keras")
    damaged(path, kind)
    with pytest.raises(zoo.InputError, match=told) as caught:
        keras_files.load(path)
    assert "\n" not in str(caught.value)


def test_code_in_a_model_file_is_not_run(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x * 2)])
    model.save(tmp_path / "m.keras")
    with pytest.raises(zoo.InputError, match="a Lambda layer with Python code") as caught:
        keras_files.load(tmp_path / "m.keras")
    assert "safe_mode" not in str(caught.value)


class Unknown(keras.layers.Layer):
    def call(self, x):
        return x


def unknown(x):
    return x


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        (Unknown, "the class 'Unknown' is not known here; accepted are Keras' own"),
        (lambda: keras.layers.Dense(2, activation=unknown), "the function 'unknown' is not known"),
    ],
)
def test_what_a_model_file_asks_for_and_nobody_knows_is_named(tmp_path, layer, told):
    image = keras.Input((4,))
    keras.Model(image, layer()(image)).save(tmp_path / "m.keras")
    with pytest.raises(zoo.InputError, match=f"cannot be loaded as a Keras model: {told}"):
        keras_files.load(tmp_path / "m.keras")


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(zoo.InputError, match=r"ends in \.keras; received"):
        keras_files.save(tiny(), tmp_path / "m.h5")
