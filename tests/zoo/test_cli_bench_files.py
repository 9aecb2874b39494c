"""``zoo bench`` of ONNX files: each under a name of its own, and fed as it says."""

import json

import keras
import numpy as np
import pytest
from keras import layers

import export
import zoo
from export.benchmark import _distinct
from export.fed_images import for_file
from export.formats import Candidate
from zoo.cli import run

MADE = zoo.Preprocessing(size=(8, 8), channels=1, mean=(0.4,), std=(0.3,))
QUICK = ["--rounds", "2", "--batch", "2", "--threads", "1", "--json"]


def exported(path, convolutions=1, **options):
    """Export a network of digits."""
    image = x = keras.Input((8, 8, 1), name="image")
    for _ in range(convolutions):
        x = layers.Conv2D(32, 3, padding="same")(x)
    x = layers.GlobalAveragePooling2D()(x)
    path.parent.mkdir(exist_ok=True)
    return export.to_onnx(keras.Model(image, layers.Dense(3)(x)), path, **options)


def failure(capsys, *argv):
    """Run a command that must fail; return its one line."""
    assert run(["bench", *map(str, argv)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_files_of_one_name_have_times_of_their_own(capsys, tmp_path):
    paths = [
        exported(tmp_path / name / "model.onnx", count) for name, count in (("a", 1), ("b", 30))
    ]
    argv = ["bench", *map(str, paths), *QUICK]
    assert run(argv) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["model"] for row in rows] == [*map(str, paths)]
    assert rows[0]["ratio"] == 1
    assert rows[1]["ratio"] > 2
    assert rows[1]["file_mb"] > rows[0]["file_mb"]


def test_names_are_changed_only_where_several_are_the_same(tmp_path):
    def made(*names):
        return [[Candidate(name, "onnx", tmp_path, tmp_path)] for name in names]

    for given, names, wanted in (
        (["x/a.onnx", "b.onnx"], ["a", "b"], ["a", "b"]),
        (["x/a.onnx", "y/a.onnx", "b.onnx"], ["a", "a", "b"], ["x/a.onnx", "y/a.onnx", "b"]),
        (["a.onnx", "a.onnx"], ["a", "a"], ["a.onnx", "a.onnx (2)"]),
        (["x/model.keras", "net"], ["net", "net"], ["x/model.keras", "net"]),
    ):
        assert [one.model for one in _distinct(given, made(*names))] == wanted


@pytest.mark.parametrize("options", [{"pixels": True}, {"layout": "NCHW"}, {}], ids=str)
@pytest.mark.parametrize("data", [[], ["--data", "digits"]], ids=str)
def test_a_file_is_fed_as_it_says(capsys, tmp_path, options, data):
    path = exported(tmp_path / "model.onnx", preprocessing=MADE, **options)
    assert run(["bench", str(path), *QUICK, *data]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["model"] == "model"


def test_images_are_made_as_a_file_takes_them(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8)
    plain = exported(tmp_path / "plain.onnx", preprocessing=MADE)
    inside = exported(tmp_path / "inside.onnx", preprocessing=MADE, pixels=True)
    first = exported(tmp_path / "first.onnx", preprocessing=MADE, layout="NCHW")
    made = MADE(pixels)
    assert np.array_equal(for_file(plain, made, 3), made)
    assert np.array_equal(for_file(inside, made, 3), pixels)
    assert np.array_equal(for_file(first, made, 3), np.moveaxis(made, -1, 1))
    assert for_file(inside, None, 5).dtype == np.uint8
    assert for_file(first, None, 5).shape == (5, 1, 8, 8)


def test_files_that_no_data_can_be_made_for_are_told(capsys, tmp_path):
    unknown = exported(tmp_path / "unknown.onnx")
    line = failure(capsys, unknown, "--data", "digits")
    assert f"{unknown}: its preprocessing is not known" in line
    known = exported(tmp_path / "known.onnx", preprocessing=MADE)
    line = failure(capsys, known, "resnet20.cifar10", "--data", "digits")
    assert (
        "resnet20.cifar10: accepted are images of (32, 32, 3); received some of (8, 8, 1)" in line
    )
    with pytest.raises(zoo.InputError, match=r"accepted are images of \(8, 8, 1\)"):
        for_file(known, np.zeros((2, 9, 8, 1), np.float32), 2)
    assert "does not exist" in failure(capsys, tmp_path / "no.onnx", "--data", "digits")


def test_files_of_other_types_are_fed_or_told(tmp_path):
    import onnx

    def saved(kind):
        ends = [onnx.helper.make_tensor_value_info(name, kind, ["b", 2]) for name in "xy"]
        nodes = [onnx.helper.make_node("Identity", ["x"], ["y"])]
        graph = onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:])
        opset = [onnx.helper.make_opsetid("", 17)]
        path = tmp_path / f"{kind}.onnx"
        onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), path)
        return path

    kinds = onnx.TensorProto
    for kind, dtype in ((kinds.INT64, np.int64), (kinds.BOOL, bool), (kinds.FLOAT16, np.float16)):
        assert for_file(saved(kind), None, 4).dtype == dtype
    with pytest.raises(zoo.InputError, match="accepted are files that take numbers"):
        for_file(saved(kinds.STRING), None, 4)
    with pytest.raises(zoo.InputError, match="it takes int64, and does not tell of what images"):
        for_file(saved(kinds.INT64), np.zeros((2, 2), np.float32), 2)
