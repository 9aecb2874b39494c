"""``zoo bench``, and ``zoo export`` with fewer bits: what is told, written and refused."""

import importlib.util
import json
import re

import keras
import numpy as np
import pytest
from keras import layers

import export
import zoo
from export.benchmark import Benchmark, Row
from export.latency import calls, ratios, take_turns
from zoo import keras_files
from zoo.cli import run


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    keras.utils.set_random_seed(0)
    net = keras.Sequential([keras.Input((8, 8, 3), name="image")])
    net.add(layers.Conv2D(4, 3, name="conv"))
    net.add(layers.BatchNormalization(name="norm"))
    net.add(layers.ReLU(name="act"))
    net.add(layers.GlobalAveragePooling2D(name="pool"))
    net.add(layers.Dense(3, name="logits"))
    return str(keras_files.save(net, tmp_path_factory.mktemp("net") / "net.keras"))


def bench(model, *options) -> list[str]:
    return ["bench", model, "--rounds", "2", *options]


def check_rows(document, formats, batches, threads):
    rows = document["rows"]
    assert [(row["threads"], row["batch"], row["format"]) for row in rows] == [
        (count, batch, name) for count in threads for batch in batches for name in formats
    ]
    for row in rows:
        assert 0 < row["median_ms"] <= row["p99_ms"]
        assert row["images_per_second"] == pytest.approx(1000 * row["batch"] / row["median_ms"])
        assert row["calls"] >= 2 * 3  # rounds, and the fewest calls of one
        assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
        assert row["peak_mb"] > 10  # Python alone takes more
        assert row["file_mb"] > 0
    assert {row["ratio"] for row in rows if row["format"] == formats[0]} == {1.0}


def test_the_table_the_document_and_the_page(model, capsys, tmp_path):
    out = tmp_path / "out"
    argv = bench(model, "--formats", "fp32,int8", "--batch", "1,3", "--threads", "1")
    assert run([*argv, "--out", str(out), "--json"]) == 0
    told = capsys.readouterr()
    document = json.loads(told.out)
    check_rows(document, ["fp32", "int8"], [1, 3], [1])
    assert "time / first" in told.err
    assert json.loads((out / "bench.json").read_text()) == document
    page = (out / "bench.html").read_text()
    assert "net: images per second, 1 thread" in page
    assert "<svg" in page


@pytest.mark.slow
def test_every_format_runs(model, capsys, tmp_path):
    file = export.to_onnx(keras_files.load(model), tmp_path / "file.onnx", layout="NCHW")
    formats = ["keras", "folded", "fp32", "fp16", "int8"]
    argv = ["bench", model, str(file), "--formats", ",".join(formats), "--batch", "2"]
    assert run([*argv, "--threads", "1", "--rounds", "2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    check_rows(document, [*formats, "onnx"], [2], [1])
    assert [row["model"] for row in document["rows"]] == ["net"] * 5 + ["file"]
    # TensorFlow takes hundreds of megabytes, which onnxruntime's processes never load.
    peaks = {row["format"]: row["peak_mb"] for row in document["rows"]}
    assert peaks["keras"] > peaks["fp32"]


@pytest.mark.slow
def test_openvino_runs_where_it_is_installed(model, capsys):
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("openvino is not installed; pip install 'foldzoo[openvino]' installs it")
    argv = bench(model, "--formats", "fp32,openvino", "--batch", "1", "--threads", "1", "--json")
    assert run(argv) == 0
    check_rows(json.loads(capsys.readouterr().out), ["fp32", "openvino"], [1], [1])


def test_without_openvino_a_line_says_so(model, capsys, monkeypatch):
    found = importlib.util.find_spec

    def absent(name, package=None):
        return None if name == "openvino" else found(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", absent)
    assert run(bench(model, "--formats", "openvino")) == 2
    assert "nothing is left to measure: openvino: not installed; pip" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--formats", "fp32,fp7"], "formats: accepted are keras, .*; received fp7"),
        (["--batch", "1,two"], "--batch: accepted are whole numbers .*; received '1,two'"),
        (["--threads", "0"], r"threads: accepted are whole numbers above 0; received \[0\]"),
        (["--rounds", "0"], "rounds: accepted are whole numbers above 0"),
        (["--formats", "fp32,fp32"], "formats: accepted is each of them once; received fp32, fp32"),
    ],
)
def test_bad_input_is_one_line(model, capsys, options, told):
    assert run(["bench", model, *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(told, line)


def test_a_folder_with_anything_else_is_refused_before_the_work(model, capsys, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    assert run(["bench", model, "--out", str(tmp_path)]) == 2
    assert "it holds thesis.txt, which is no part of a benchmark" in capsys.readouterr().err


def row(**changes) -> Row:
    values = {"model": "net", "format": "fp32", "batch": 1, "threads": 1, "median_ms": 2.0}
    values |= {"p99_ms": 3.0, "images_per_second": 500.0, "ratio": 1.0, "ratio_low": 1.0}
    values |= {"ratio_high": 1.0, "calls": 9, "file_mb": 1.0, "peak_mb": None}
    return Row(**{**values, **changes})


def test_an_older_benchmark_is_replaced(tmp_path):
    environment = {"processor": "a <fast> one", "rounds": 2, "load": 0.5, "versions": {}}
    found = Benchmark((row(), row(batch=8), row(format="int8")), ("openvino: absent",), environment)
    for _ in range(2):
        found.write(tmp_path / "out")
    page = (tmp_path / "out" / "bench.html").read_text()
    assert "a &lt;fast&gt; one" in page
    assert "Left out: openvino: absent" in page
    (chart,) = found.charts
    assert [len(line.points) for line in chart.lines] == [2, 1]


def test_turns_are_taken_in_both_orders():
    order = []
    names = ("a", "b")
    runners = {name: (lambda name=name: order.append(name)) for name in names}
    times = take_turns(runners, rounds=2, seconds=0, warm_up=1)
    assert order == ["a", "b"] + ["b"] * 3 + ["a"] * 3 + ["a"] * 3 + ["b"] * 3
    assert [len(turn) for turn in times["a"]] == [3, 3]
    assert len(calls(lambda: None, seconds=0, fewest=5)) == 5
    assert np.array_equal(ratios([[2.0, 4.0, 2.0], [3.0]], [[1.0], [3.0]]), [2.0, 1.0])


@pytest.fixture(scope="module")
def bundled(tmp_path_factory):
    """Small trained weights, as int8."""
    out = tmp_path_factory.mktemp("bundle") / "int8"
    # Few images and one way are enough here; tests/export looks at the choice itself.
    argv = ["export", "resnet20.digits", "--out", str(out), "--data", "digits"]
    code = run([*argv, "--precision", "int8", "--calibration-images", "32"])
    return code, out


@pytest.mark.slow
def test_trained_weights_are_exported_as_int8(bundled):
    code, out = bundled
    assert code == 0
    report = json.loads((out / "report.json").read_text())
    made = report["quantization"]
    assert report["ok"] and made["verdict"]["ok"]
    assert made["reported"]["drop"] <= made["accuracy_limit"] == 0.5
    assert made["reported"]["images"] == report["accuracy"]["images"] == 359
    assert report["accuracy"]["onnx"] == made["reported"]["accuracy"]
    assert export.read_metadata(out / "model.onnx")["quantization"]["calibrating_images"] == 32
    page = (out / "report.html").read_text()
    assert "From float32 to int8" in page
    assert "minmax, per channel" in page


@pytest.mark.slow
def test_a_limit_that_is_missed_is_1_and_leaves_nothing(capsys, monkeypatch, tmp_path):
    from export import trials
    from export.comparison import compare

    def worse(exact, other, labels):
        return compare(exact, np.roll(other, 1, axis=-1), labels)

    monkeypatch.setattr(trials, "compare", worse)
    monkeypatch.setattr(trials.Search, "_keep_more", lambda self, way: None)
    argv = ["export", "resnet20.digits", "--out", str(tmp_path / "b"), "--data", "digits"]
    assert run([*argv, "--precision", "fp16", "--accuracy-limit", "1"]) == 1
    assert "no fp16 file within 1 points; the best of 1 tried" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_fewer_bits_ask_for_data(model, capsys, tmp_path):
    out = tmp_path / "b"
    assert run(["export", model, "--out", str(out), "--precision", "int8"]) == 2
    assert "--precision int8: --data is missing" in capsys.readouterr().err
    with pytest.raises(zoo.InputError, match="precision int8: calibration images are missing"):
        export.bundle(model, out, precision="int8")
    assert not out.exists()
