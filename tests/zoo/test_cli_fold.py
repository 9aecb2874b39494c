"""``zoo fold``: the file, the page, the table and the document."""

import json

import keras
import pytest
from keras import layers

from zoo import keras_files
from zoo.cli import run, summary


def save(folder, *, norms: int = 2) -> str:
    """Save a chain of convolutions, each with a BatchNorm, behind a Rescaling."""
    model = keras.Sequential([keras.Input((6, 6, 1)), layers.Rescaling(1 / 255, name="scaling")])
    for number in range(norms):
        model.add(layers.Conv2D(1, 1, name=f"conv{number}"))
        model.add(layers.BatchNormalization(name=f"norm{number}"))
    model.add(layers.Flatten(name="flat"))
    return str(keras_files.save(model, folder / "model.keras"))


def names(path) -> set[str]:
    return {layer.name for layer in keras_files.load(path).layers[1:]}  # after the input


def test_the_file_the_page_and_the_document(capsys, tmp_path):
    model, out, page = save(tmp_path), tmp_path / "out.keras", tmp_path / "fold.html"
    argv = ["fold", model, "-o", str(out), "--report", str(page), "--certify", "--json"]
    assert run(argv) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["file"], told["report"]) == (True, str(out), str(page))
    assert [entry["into"] for entry in told["fold"]["entries"]] == [["conv0"], ["conv1"]]
    assert told["fold"]["preprocessing"] == []
    assert told["certificate"]["ok"]
    assert names(out) == {"scaling", "conv0", "conv1", "flat"}
    assert "checks hold" in page.read_text()


def test_options_go_where_they_belong(capsys, tmp_path):
    model, out = save(tmp_path), tmp_path / "out.keras"
    keep = ["--keep", "norm1", "--keep", "*orm1"]
    assert run(["fold", model, "-o", str(out), "--preprocessing", "--no-forward", *keep]) == 0
    told = capsys.readouterr().out
    assert names(out) == {"conv0", "conv1", "norm1", "flat"}
    assert "1 of 2 BatchNorms folded, 1 kept" in told
    assert "scaling" in told
    assert "norm1 kept: not_asked" in told


def test_many_batchnorms_are_counted_and_the_kept_ones_named(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(summary, "MOST_ROWS", 3)
    model, out = save(tmp_path, norms=4), tmp_path / "out.keras"
    assert run(["fold", model, "-o", str(out), "--keep", "norm2"]) == 0
    told = capsys.readouterr().out
    assert "norm1" not in told
    assert "norm2 kept: not_asked" in told
    assert "folded backward  3" in told


def test_without_certificate_there_is_a_page_and_no_file(capsys, monkeypatch, tmp_path):
    import export
    from export.certificate import Certificate
    from export.checks import Check

    failed = Certificate((Check("algebra in float64", False, 0.5, 1e-12),), algebra=0.5)
    monkeypatch.setattr(export, "certify", lambda model, folded: failed)
    model, out, page = save(tmp_path), tmp_path / "out.keras", tmp_path / "fold.html"
    assert run(["fold", model, "-o", str(out), "--report", str(page), "--certify"]) == 1
    assert "was not written" in capsys.readouterr().out
    assert not out.exists()
    assert "FAIL" in page.read_text()


@pytest.mark.parametrize("report", ["page.pdf", "model.keras"])
def test_a_page_of_another_kind_is_refused_before_the_work(capsys, tmp_path, report):
    model, out = save(tmp_path), tmp_path / "out.keras"
    assert run(["fold", model, "-o", str(out), "--report", str(tmp_path / report)]) == 2
    assert "accepted is a file name that ends in .html" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("out", ["model.keras", "sub/../model.keras", "run/model.keras"])
def test_trained_weights_are_not_overwritten(capsys, tmp_path, out):
    model, before = save(tmp_path), (tmp_path / "model.keras").read_bytes()
    for folder in ("sub", "run"):
        (tmp_path / folder).mkdir()
    (tmp_path / "run" / "card.json").write_text("{}")
    assert run(["fold", model, "-o", str(tmp_path / out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "it holds trained weights" in line
    assert "folded.keras" in line
    assert (tmp_path / "model.keras").read_bytes() == before
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["card.json"]
