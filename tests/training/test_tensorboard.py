"""TensorBoard's logs, read back by TensorBoard."""

import os
import signal
import subprocess
import sys

import pytest

import training
from training import records, tensorboard
from zoo import InputError

from .finished import HISTORY

NUMBERS = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "images_per_second")
BEGIN = {"name": "tiny.digits", "epochs": 3, "steps": 15, "done": 0}

needs_it = pytest.mark.skipif(not tensorboard.is_installed(), reason="tensorboard is not installed")


def read(folder):
    """Read all events of a run; the accumulator would hide none of those of one step."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(
        str(folder / tensorboard.FOLDER), size_guidance={"scalars": 0, "tensors": 0}
    )
    events.Reload()
    return events


def points(events, name):
    return [(event.step, event.value) for event in events.Scalars(name)]


def rows(history, name):
    # The format keeps float32, 24 bits.
    return [(row["epoch"], pytest.approx(row[name], rel=2**-24)) for row in history]


@needs_it
def test_every_number_of_every_epoch_is_there(recipe, tmp_path):
    events = tensorboard.Events(tmp_path, recipe, [])
    events.begin(**BEGIN)
    for row in HISTORY:
        events.epoch(row)
    events.end()
    found = read(tmp_path)
    assert set(found.Tags()["scalars"]) == set(NUMBERS)
    for name in NUMBERS:
        assert points(found, name) == rows(HISTORY, name)
    times = [event.wall_time for event in found.Scalars("loss")]
    # Wall times are float64 seconds since 1970: good to a microsecond.
    assert times[2] - times[0] == pytest.approx(200.0, abs=1e-5)


@needs_it
def test_the_recipe_is_there_as_text_and_as_hyperparameters(recipe, tmp_path):
    from tensorboard.plugins.hparams import plugin_data_pb2

    events = tensorboard.Events(tmp_path, recipe, [])
    events.begin(**BEGIN)
    events.end()
    found = read(tmp_path)
    assert found.SummaryMetadata("recipe").plugin_data.plugin_name == "text"
    (text,) = found.Tensors("recipe")
    (lines,) = text.tensor_proto.string_val
    assert [line.removeprefix("    ") for line in lines.decode().splitlines()] == (
        recipe.to_toml().splitlines()
    )
    (content,) = found.PluginTagToContent("hparams").values()
    told = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert told["learning_rate"].number_value == 0.1
    assert told["norm.kind"].string_value == "batch"
    assert told["nesterov"].bool_value is True


@needs_it
def test_a_later_process_writes_each_epoch_once(recipe, tmp_path):
    first = tensorboard.Events(tmp_path, recipe, [])
    first.begin(**BEGIN)
    for row in HISTORY:
        first.epoch(row)  # killed here: nothing is closed, and the checkpoint is of epoch 1
    second = tensorboard.Events(tmp_path, recipe, HISTORY[:1])
    second.begin(**BEGIN)
    assert points(read(tmp_path), "loss") == rows(HISTORY[:1], "loss")
    for row in HISTORY[1:]:
        second.epoch(row)
    second.end()
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1
    assert points(read(tmp_path), "loss") == rows(HISTORY, "loss")


class PressCtrlC(training.Progress):
    def step(self, *, step, **values):
        if step == 7:
            os.kill(os.getpid(), signal.SIGINT)


@needs_it
def test_a_resumed_training_neither_doubles_nor_loses_an_epoch(recipe, tmp_path, silent):
    longer = training.Recipe.load(recipe, epochs=3)
    with pytest.raises(training.Interrupted):
        training.train(longer, out=tmp_path, progress=PressCtrlC())
    assert [step for step, _ in points(read(tmp_path), "loss")] == [1]
    result = training.train(longer, out=tmp_path, resume=True, progress=silent)
    found = read(tmp_path)
    for name in NUMBERS:
        assert points(found, name) == rows(result.history, name)


@needs_it
def test_it_needs_no_tensorflow(tmp_path):
    code = (
        "import sys, pathlib, training\n"
        "from training.tensorboard import Events\n"
        "recipe = training.Recipe.load('resnet20.digits')\n"
        "events = Events(pathlib.Path(sys.argv[1]), recipe, [])\n"
        "events.begin(name='n', epochs=1, steps=1, done=0)\n"
        "events.epoch(dict(epoch=1, loss=1.0, seconds=2.0))\n"
        "events.end()\n"
        "sys.exit('tensorflow' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert points(read(tmp_path), "loss") == [(1, 1.0)]


@needs_it
def test_a_folder_that_refuses_is_one_line(recipe, tmp_path):
    (tmp_path / "tensorboard").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write .*tensorboard"):
        tensorboard.Events(tmp_path, recipe, []).begin(**BEGIN)


def test_without_the_package_there_is_one_note_and_no_failure(recipe, tmp_path, monkeypatch):
    notes = []

    class Note(training.Progress):
        def note(self, text):
            notes.append(text)

    monkeypatch.setattr(tensorboard, "is_installed", lambda: False)
    training.train(recipe, epochs=1, out=tmp_path, progress=Note())
    assert [note for note in notes if "tensorboard" in note] == [tensorboard.MISSING]
    assert not (tmp_path / "tensorboard").exists()


def test_nothing_is_recorded_without_a_folder(recipe, silent):
    assert records.recording(silent, None, recipe, []) is silent
