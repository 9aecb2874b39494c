"""From images to a checked file, by the commands that a person types."""

import json
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import zoo
import zoo.keras_files
from zoo.cli import run

pytestmark = pytest.mark.slow


def document(capsys, *argv: str, code: int = 0) -> dict:
    """Run a command with --json; stdout must hold that document and nothing else."""
    capsys.readouterr()
    assert run([*argv, "--json"]) == code
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def seven(tmp_path_factory) -> Path:
    """A digit as an image file, of another size than the model's and grey."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = digits.images[list(digits.target).index(7)] * (255 / 16)
    path = tmp_path_factory.mktemp("images") / "seven.png"
    PIL.Image.fromarray(pixels.astype(np.uint8)).resize((20, 20)).save(path)
    return path


def test_train_leaves_what_it_says(trained):
    assert {path.name for path in trained.iterdir() if path.is_file()} == {
        "model.keras",
        "card.json",
        "history.csv",
        "recipe.toml",
        "curves.png",
        "curves.html",
    }
    assert zoo.Card.read(trained / "card.json").width == 0.5


def test_export_leaves_a_bundle_that_passed(bundled):
    report = json.loads((bundled / "report.json").read_text())
    assert report["ok"]
    assert (report["fold"]["folded"], report["fold"]["kept"]) == (19, 0)
    assert report["accuracy"]["folded"] == report["accuracy"]["onnx"]
    assert len(report["history"]) == 1
    assert "PASS" in (bundled / "report.html").read_text()


def test_the_trained_the_folded_and_the_exported_model_are_as_accurate(capsys, trained, bundled):
    found = {
        name: document(capsys, "evaluate", str(path), "--data", "digits")
        for name, path in {
            "trained": trained / "model.keras",
            "onnx": bundled / "model.onnx",
        }.items()
    }
    card = zoo.Card.read(trained / "card.json")
    assert found["trained"]["accuracy"] == card.metrics["test_accuracy"]
    # bfloat16 keeps 8 bits: of a poor model's logits it moves some, and with them a few classes.
    report = json.loads((bundled / "report.json").read_text())
    assert found["onnx"]["accuracy"] == report["accuracy"]["onnx"]
    assert found["onnx"]["count"] == found["trained"]["count"] == report["accuracy"]["images"]


def test_fold_and_certify(capsys, trained, tmp_path):
    out = tmp_path / "folded.keras"
    told = document(capsys, "fold", str(trained / "model.keras"), "-o", str(out), "--certify")
    assert told["ok"]
    assert told["fold"]["kept"] == 0
    assert told["certificate"]["algebra"] <= 1e-12  # the design's limit
    assert out.is_file()


def test_validate_says_yes_to_its_own_model_and_no_to_another(capsys, trained, bundled, tmp_path):
    onnx = str(bundled / "model.onnx")
    told = document(capsys, "validate", onnx, "--against", str(trained / "model.keras"))
    assert told["ok"]
    other = zoo.keras_files.save(zoo.create_model("resnet20", width=0.5), tmp_path / "o.keras")
    told = document(capsys, "validate", onnx, "--against", str(other), code=1)
    assert not told["ok"]
    assert any(not check["ok"] for check in told["checks"])


def test_validate_judges_a_bundle_as_it_was_shipped(capsys, bundled, tmp_path):
    told = document(capsys, "validate", str(bundled), "--data", "digits")
    assert told["ok"]
    assert "accuracy on the test split" in {check["name"] for check in told["checks"]}
    changed = shutil.copytree(bundled, tmp_path / "b")
    with (changed / "model_card.md").open("a") as file:
        file.write(" ")
    told = document(capsys, "validate", str(changed), code=1)
    assert [c["detail"] for c in told["checks"] if not c["ok"]] == ["model_card.md"]


def test_predict_gives_the_same_answer_from_either_file(capsys, trained, bundled, seven):
    answers = [
        document(capsys, "predict", str(path), str(seven))["images"][0]["predictions"]
        for path in (trained / "model.keras", bundled / "model.onnx")
    ]
    assert len(answers[0]) == len(answers[1]) == 5
    assert answers[0][0]["label"] == answers[1][0]["label"]
    for answer in answers:
        shares = [one["probability"] for one in answer]
        assert shares == sorted(shares, reverse=True)


def test_pretrained_weights_go_the_same_way(capsys, trained, monkeypatch):
    folder = trained.parent / "models" / "resnet20.digits"
    folder.mkdir(parents=True)
    for path in filter(Path.is_file, trained.iterdir()):
        (folder / path.name).write_bytes(path.read_bytes())
    monkeypatch.setenv("FOLDZOO_MODELS", str(folder.parent))
    listed = document(capsys, "list", "resnet20.digit*", "--pretrained")
    assert listed["models"] == ["resnet20.digits"]
    metrics = zoo.card("resnet20.digits").metrics
    # Those of this half as wide network, not of the weights of that name that the package has.
    facts = listed["facts"]["resnet20.digits"]
    assert facts["accuracy"] == metrics["test_accuracy"]
    assert facts["parameters"] == metrics["parameters"]
    assert document(capsys, "show", "resnet20.digits")["width"] == 0.5
    told = document(capsys, "evaluate", "resnet20.digits", "--data", "digits")
    assert told["accuracy"] == zoo.card("resnet20.digits").metrics["test_accuracy"]


def test_the_demo_takes_a_finished_run_and_leaves_everything_in_one_folder(
    capsys, trained, tmp_path, monkeypatch
):
    """With the small run in the place of the demo's own; the real one takes minutes."""
    import training
    from training.recipe import Recipe

    small = Recipe.load(trained / "recipe.toml")
    monkeypatch.setattr(training.Recipe, "load", classmethod(lambda *_args, **_options: small))
    out = tmp_path / "demo"
    out.mkdir()
    for path in filter(Path.is_file, trained.iterdir()):
        (out / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(training, "train", None)  # calling it would be an error
    report = document(capsys, "demo", "--out", str(out))
    assert report["ok"]
    assert {path.name for path in out.iterdir()} == {
        "model.keras",
        "card.json",
        "history.csv",
        "recipe.toml",
        "curves.png",
        "curves.html",
        "folded.keras",
        "model.onnx",
        "report.json",
        "report.html",
    }
