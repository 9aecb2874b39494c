"""Bad input through the real commands: one clear line, exit 2, nothing lost or left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zoo.cli import run
from zoo.files import sha256

pytestmark = pytest.mark.slow


def failure(capsys, *argv: str, code: int = 2) -> str:
    """Run a command that must fail; return the one line that it ends with."""
    capsys.readouterr()
    assert run(argv) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert "Traceback" not in told.err
    line = told.err.splitlines()[-1]
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["train", "resnet20.digit"], ["resnet20.digits"]),
        (["train", "resnet20.digits", "--set", "epoch=1"], ["'epoch'", "epochs"]),
        (["train", "resnet20.digits", "--set", "norm.momentum=1.5"], ["momentum", "1.5", "less"]),
        (["train", "resnet20.digits", "--set", "norm.epsilon=0"], ["epsilon", "0", "greater"]),
        (
            ["train", "resnet20.digits", "--set", "norm.placement=before"],
            ["placement", "before_activation"],
        ),
        (["train", "resnet20.digits", "--set", "arch=resnet21"], ["resnet21", "resnet20"]),
        (["train", "resnet20.digits", "--set", "epochs"], ["key=value", "epochs"]),
    ],
)
def test_a_recipe_that_cannot_be_used(capsys, monkeypatch, tmp_path, argv, words):
    monkeypatch.chdir(tmp_path)
    line = failure(capsys, *argv)
    for word in words:
        assert word in line
    assert list(tmp_path.iterdir()) == []


def test_missing_data_says_what_to_pass(capsys, tmp_path, trained):
    line = failure(
        capsys,
        "evaluate",
        str(trained / "model.keras"),
        "--data",
        "cifar10",
        "--data-dir",
        str(tmp_path),
    )
    assert "cifar10" in line
    assert "data" in line


def test_a_model_without_a_card_cannot_be_fed(capsys, tmp_path, trained):
    alone = tmp_path / "alone.keras"
    alone.write_bytes((trained / "model.keras").read_bytes())
    line = failure(capsys, "evaluate", str(alone), "--data", "digits")
    assert "card.json" in line


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda whole: b"hello", "not a Keras model file"),
        (lambda whole: whole[: len(whole) // 2], "truncated"),
        (lambda whole: whole[:90_000] + b"\0\xff\0" + whole[90_003:], "corrupt"),
    ],
    ids=["another file", "truncated", "one byte changed"],
)
def test_a_damaged_weights_file(capsys, tmp_path, trained, damage, words):
    path = tmp_path / "model.keras"
    path.write_bytes(damage((trained / "model.keras").read_bytes()))
    line = failure(capsys, "export", str(path), "--out", str(tmp_path / "bundle"))
    assert words in line
    assert [found.name for found in tmp_path.iterdir()] == ["model.keras"]


def test_weights_that_are_not_the_cards(capsys, tmp_path, trained):
    import zoo

    model = zoo.create_model("resnet20", width=0.5)
    zoo.keras_files.save(model, tmp_path / "model.keras")
    (tmp_path / "card.json").write_bytes((trained / "card.json").read_bytes())
    line = failure(capsys, "fold", str(tmp_path / "model.keras"), "-o", str(tmp_path / "f.keras"))
    assert "SHA-256" in line
    assert not (tmp_path / "f.keras").exists()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["validate", "{bundle}/model.onnx"], ["--against NAME|FILE is missing"]),
        (["validate", "{bundle}", "--against", "resnet20.digits"], ["a bundle brings its model"]),
        (["validate", "{empty}"], ["is no bundle", "manifest.json"]),
        (["serve", "{empty}"], ["is no bundle", "manifest.json"]),
        (["serve", "{empty}/no"], ["does not exist"]),
        (["serve", "{bundle}"], ["a bundle for onnx", "triton, kserve"]),
        (["export", "resnet20.digits", "--target", "x", "--out", "{empty}/b"], ["triton"]),
        (["export", "resnet20.digits", "--instances", "2", "--out", "{empty}/b"], ["kserve", "2"]),
    ],
)
def test_what_is_no_bundle_is_told(capsys, tmp_path, bundled, argv, words):
    places = {"bundle": bundled, "empty": tmp_path}
    line = failure(capsys, *(word.format(**places) for word in argv))
    for word in words:
        assert word in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (
            ["export", "--precision", "int8", "--data", "digits", "--calibration-images", "-600"],
            "calibration_images: accepted is a whole number above 0; received -600",
        ),
        (["export", "--precision", "fp16", "--accuracy-limit", "101"], "0 to 100; received 101"),
        (["fold", "--certify"], "accepted is a file name that ends in .keras; received"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_loaded_or_made(
    capsys, tmp_path, monkeypatch, argv, words
):
    monkeypatch.setattr("export.sources.source", None)  # calling it would be an error
    out = str(tmp_path / "no" / "where" / "folded.h5")
    assert words in failure(capsys, argv[0], "resnet20.digits", "--out", out, *argv[1:])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["train", "fold", "export", "demo"])
def test_an_output_that_cannot_be_written_is_told_before_the_work(
    capsys, tmp_path, trained, command
):
    (tmp_path / "file").write_text("mine")
    inside = str(tmp_path / "file" / "out")
    model = str(trained / "model.keras")
    argv = {
        "train": ["train", "resnet20.digits", "--out", inside],
        "fold": ["fold", model, "-o", f"{inside}.keras"],
        "export": ["export", model, "--out", inside],
        "demo": ["demo", "--out", inside],
    }[command]
    begun = time.monotonic()
    line = failure(capsys, *argv)
    assert "cannot write" in line
    assert "file" in line
    assert time.monotonic() - begun < 10  # a training or a validation takes longer
    assert (tmp_path / "file").read_text() == "mine"


def limited(argv: list[str], most: int) -> subprocess.CompletedProcess:
    """Run a command in a process that cannot write a file beyond so many bytes."""
    code = (
        "import resource, signal, sys; from zoo.cli import main;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most}));"
        "main(sys.argv[1:])"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *argv], capture_output=True, text=True, check=False
    )


def test_a_disk_that_fills_up_in_an_export_leaves_the_older_bundle(trained, bundled, tmp_path):
    out = tmp_path / "bundle"
    out.mkdir()
    for path in bundled.iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    before = {path.name: sha256(path) for path in out.iterdir()}
    done = limited(["export", str(trained / "model.keras"), "--out", str(out)], 100_000)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith(f"error: cannot write {out}")
    assert {path.name: sha256(path) for path in out.iterdir()} == before
    assert list(tmp_path.iterdir()) == [out]


def test_a_really_full_disk(capsys, trained, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    try:
        line = failure(
            capsys, "export", str(trained / "model.keras"), "--out", str(disk / "bundle")
        )
        assert "no space is left" in line
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_loss_that_is_no_number_says_where_and_what_to_try(capsys, tmp_path):
    line = failure(
        capsys,
        "train",
        "resnet20.digits",
        *["--set", "learning_rate=100", "--set", "warmup_epochs=0", "--set", "width=0.5"],
        *["--set", "norm=none", "--out", str(tmp_path / "run")],
    )
    assert "step" in line
    assert "learning_rate" in line
    assert not (tmp_path / "run" / "model.keras").exists()


@pytest.mark.parametrize(
    ("number", "code", "what"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_ctrl_c_leaves_a_checkpoint_and_resume_finishes(tmp_path, number, code, what):
    folder = tmp_path / "run"
    settings = ["--set", "epochs=2", "--set", "warmup_epochs=0", "--set", "width=0.5"]
    argv = [sys.executable, "-m", "zoo", "train", "resnet20.digits", *settings]
    argv += ["--out", str(folder)]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    told = ""
    for line in process.stderr:  # the first epoch is over: the second is under way
        told += line
        if line.startswith("epoch 1/"):
            os.kill(process.pid, number)
            break
    told += process.stderr.read()
    assert process.wait(timeout=120) == code
    last = told.splitlines()[-1]
    assert what in last
    assert "--resume" in last
    assert "Traceback" not in told
    assert not (folder / "model.keras").exists()
    command = last[last.index("zoo train") :].split()
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "epoch 1/" not in done.stderr  # it was not trained again
    assert "epoch 2/2" in done.stderr
    # TensorBoard's logs are there where its package is.
    assert {path.name for path in Path(folder).iterdir()} - {"tensorboard"} == {
        "model.keras",
        "card.json",
        "history.csv",
        "recipe.toml",
        "curves.html",
        "curves.png",
    }
