"""The command ``zoo``: exit codes, one line for each error, one document with --json."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import training
import zoo
from zoo import catalogue, files
from zoo.cli import interrupts, run, screen
from zoo.cli.app import app

ROOT = Path(zoo.__file__).parent.parent
COMMANDS = sorted(typer.main.get_command(app).commands)


def failure(capsys, *argv: str, code: int = 2) -> str:
    """Run a command that must fail; return its one line."""
    assert run(argv) == code
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = told.err.splitlines()
    assert line.startswith("error: ")
    return line


def document(capsys, *argv: str, code: int = 0) -> dict:
    """Run a command with --json; return what it printed."""
    assert run([*argv, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_no_command_shows_the_help(capsys):
    assert run([]) == 0
    assert "Usage: zoo" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_a_runnable_looking_example(capsys, command):
    assert run([command, "--help"]) == 0
    assert re.search(rf"Examples?: zoo {command}", capsys.readouterr().out)


def test_list_prints_a_line_for_each_name(capsys):
    assert run(["list", "resnet*"]) == 0
    title, *lines = capsys.readouterr().out.splitlines()
    assert title.split() == ["name", "parameters", "multiply-adds", "size", "paper"]
    assert [line.split()[0] for line in lines] == zoo.list_models("resnet*")
    (line,) = [line for line in lines if line.startswith("resnet20 ")]
    assert line.split()[:4] == ["resnet20", "270k", "40.6M", "32x32"]
    assert "arxiv.org" in line


def test_list_filters(capsys):
    argv = ["list", "--dataset", "imagenet*", "--max-parameters", "10M", "--min-accuracy", "0.74"]
    assert run(argv) == 0
    title, *lines = capsys.readouterr().out.splitlines()
    assert "accuracy" in title
    names = [line.split()[0] for line in lines]
    assert "densenet121.imagenet" in names
    assert "densenet201.imagenet" not in names


def test_list_with_json(capsys):
    told = document(capsys, "list", "resnet20*")
    assert told["models"] == ["resnet20"]
    assert told["facts"]["resnet20"]["parameters"] == 269_722


def test_an_onnx_file_that_is_not_there_is_told_before_keras_is_loaded():
    code = (
        "import sys; from zoo.cli import run;"
        "codes = run(['predict', 'no.onnx', 'x.png']), run(['evaluate', 'no.onnx', '--data', 'x']);"
        "sys.exit(codes != (2, 2) or 'keras.src' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_list_and_help_load_neither_keras_nor_tensorflow():
    code = (
        "import sys; from zoo.cli import run; run(['list']); run(['train', '--help']);"
        "sys.exit(bool({'keras.src', 'tensorflow', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_show_a_model(capsys):
    shown = document(capsys, "show", "resnet20")
    assert shown["trainable_parameters"] == 269_722  # as He et al.'s table says
    assert shown["input_shape"] == [32, 32, 3]


def test_show_for_people(capsys, tmp_path):
    page = tmp_path / "page.html"
    assert run(["show", "resnet20", "--html", str(page)]) == 0
    told = capsys.readouterr().out
    assert "269,722" in told
    assert "conv3x3 norm relu conv3x3 norm + relu" in told
    assert page.read_text().count("<rect") == 75  # one for each layer
    assert run(["show", "resnet20.digits", "--layers"]) == 0
    told = capsys.readouterr().out
    assert "stage3_block3_2_norm" in told
    assert "conv3x3/2" in told


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["show", "resnet21"], ["'resnet21'", "resnet20"]),
        (["show", "resnet20.digit5"], ["'resnet20.digit5'"]),
        (["shwo"], ["shwo", "show"]),
        (["show"], ["NAME"]),
        (["list", "--pretraind"], ["--pretraind", "--pretrained"]),
        (["list", "--max-parameters", "many"], ["for example 5M", "'many'"]),
        (["list", "--min-accuracy", "75"], ["0 to 1", "75"]),
        (["list", "--dataset", "digit"], ["'digit'", "digits"]),
        (["show", "resnet20", "--html", "page.txt"], ["--html", ".html", "page.txt"]),
        (["fold", "nowhere.keras", "-o", "x.keras"], ["nowhere.keras", "does not exist"]),
        (["predict", "nowhere.onnx", "x.png"], ["nowhere.onnx", "does not exist"]),
        (["validate", "x.onnx"], ["--against"]),
    ],
)
def test_bad_input_is_one_line_and_exit_2(capsys, monkeypatch, tmp_path, argv, words):
    monkeypatch.chdir(tmp_path)
    line = failure(capsys, *argv)
    for word in words:
        assert word in line
    assert list(tmp_path.iterdir()) == []


def test_an_error_with_json_is_a_document_too(capsys):
    told = document(capsys, "show", "resnet21", code=2)
    assert told["ok"] is False
    assert "resnet21" in told["error"]


@pytest.mark.parametrize("argv", [["--debug", "show", "resnet21"], ["show", "resnet21", "--debug"]])
def test_a_traceback_only_with_debug(capsys, argv):
    assert run(argv) == 2
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert told.splitlines()[-1].startswith("error: unknown model")


def test_what_was_not_expected_is_one_line_too(capsys, monkeypatch):
    def broken(*_args, **_options):
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr(catalogue, "rows", broken)
    line = failure(capsys, "list", code=1)
    assert "unexpected RuntimeError: first second" in line
    assert "--debug" in line


@pytest.mark.parametrize("option", [[], ["--json"]])
@pytest.mark.parametrize(
    "ending", [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_ctrl_c_and_sigterm_leave_nothing(capsys, monkeypatch, tmp_path, ending, option):
    number, code, word = ending

    def work(*_args, **_options):
        with files.replacing_folder(tmp_path / "bundle") as folder:
            (folder / "a").write_text("half")
            os.kill(os.getpid(), number)
            pytest.fail("it went on")

    before = signal.getsignal(number)
    monkeypatch.setattr(catalogue, "rows", work)
    assert run(["list", *option]) == code
    told = capsys.readouterr()
    line = f"{word}; no file was left half-written"
    assert told.err == f"{line}\n"
    assert not told.out or json.loads(told.out) == {"ok": False, "error": line}
    assert bool(told.out) == bool(option)
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(number) is before


# A library that speaks as it is imported, and lets nothing pass that happens meanwhile.
FAKE_KERAS = """
import os, signal, sys
print("what TensorFlow says at its start", file=sys.stderr, flush=True)
try:
    os.kill(os.getpid(), signal.{signal})
except BaseException:
    raise AttributeError("half a module") from None
class backend:
    backend = staticmethod(lambda: "none")
"""


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interrupt_while_keras_is_imported_is_one_line(tmp_path, name, code):
    (tmp_path / "keras.py").write_text(FAKE_KERAS.format(signal=name))
    command = "import sys; from zoo.cli import run; sys.exit(run(['show', 'resnet20', '--json']))"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    done = subprocess.run(
        [sys.executable, "-c", command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.splitlines()
    assert json.loads(done.stdout) == {"ok": False, "error": line}


@pytest.mark.parametrize(("terminated", "code"), [(False, 130), (True, 143)])
def test_a_training_that_is_ended_says_by_what(capsys, monkeypatch, tmp_path, terminated, code):
    def train(*args, **kwargs):
        raise training.Interrupted(None, step=3, steps=9, command="", terminated=terminated)

    monkeypatch.setattr(training, "train", train)
    assert run(["train", "resnet20.digits", "--out", str(tmp_path / "run")]) == code
    assert "after step 3 of 9" in capsys.readouterr().err


def test_an_interrupt_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts.held():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


LONG = "n" * 300


@pytest.mark.parametrize(
    "argv",
    [
        ["results", LONG],
        ["train", f"{LONG}.toml"],
        ["train", "resnet20.digits", "--out", LONG],
        ["evaluate", f"{LONG}.keras", "--data", "digits"],
        ["evaluate", f"{LONG}.onnx", "--data", "digits"],
        ["evaluate", "resnet20.digits", "--data", "digits", "--card", LONG],
        ["evaluate", "resnet20.digits", "--data", f"folder:{LONG}"],
        ["validate", LONG, "--against", "resnet20.digits"],
    ],
    ids=lambda argv: argv[0],
)
def test_a_name_that_is_too_long_for_a_file_is_bad_input(capsys, monkeypatch, tmp_path, argv):
    monkeypatch.chdir(tmp_path)
    assert run(argv) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ") and LONG in line
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_command_names_all_where_none_is_near(capsys):
    line = failure(capsys, "qqq")
    assert [name for name in COMMANDS if name not in line] == []


def test_progress_off_a_terminal_writes_nothing(capsys):
    with pytest.raises(RuntimeError), screen.steps("comparing") as progress:
        progress("one", 1, 2)
        raise RuntimeError
    assert capsys.readouterr() == ("", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("argv", [["list"], ["list", "--json"], ["nothing", "--json"]])
def test_a_full_stdout_is_one_line(argv):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "zoo", *argv],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize("option", ["", "--json"])
def test_a_reader_that_has_enough_is_no_traceback(option):
    command = f"{sys.executable} -m zoo list {option} | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Error" not in done.stderr
