import csv
import json
import math
import os
import signal
import tomllib

import keras
import numpy as np
import pytest

import training
import zoo
from training import checkpoint
from training.runs import NO_FILE
from zoo import InputError, keras_files
from zoo.files import sha256

from .finished import FINISHED, files


class Watch(training.Progress):
    """Notes what it is told, and does something at one step."""

    def __init__(self, at=None, do=None):
        self.at, self.do = at, do
        self.steps, self.rows, self.begun, self.ended = [], [], {}, 0

    def begin(self, **values):
        self.begun = values

    def step(self, *, step, **values):
        self.steps.append(step)
        if step == self.at:
            self.do()

    def epoch(self, row):
        self.rows.append(row)

    def end(self):
        self.ended += 1


def press_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def run(recipe, tmp_path, silent):
    """A finished run."""
    return training.train(recipe, out=tmp_path / "run", progress=silent)


def test_a_run_leaves_a_folder_like_those_of_saved_models(run, recipe, digits, monkeypatch):
    assert files(run.folder) == FINISHED
    card = zoo.Card.read(run.folder / "card.json")
    assert card == run.card
    assert card.sha256 == sha256(run.folder / "model.keras")
    assert card.labels == digits.labels
    assert card.preprocessing == digits.preprocessing
    assert card.versions["keras"] == keras.__version__
    assert training.Recipe(**tomllib.loads((run.folder / "recipe.toml").read_text())) == recipe
    assert card.recipe == recipe.model_dump(mode="json")
    assert card.metrics["parameters"] == run.model.count_params()
    assert card.metrics["train_images"] == 1295
    assert card.metrics["test_images"] == 359
    measured = training.evaluate(keras_files.load(run.folder / "model.keras"), digits)
    assert measured.accuracy == card.metrics["test_accuracy"]
    monkeypatch.setenv("FOLDZOO_MODELS", str(run.folder.parent))
    run.folder.rename(run.folder.with_name("tiny.digits"))
    loaded = zoo.load_model("tiny.digits")
    assert training.evaluate(loaded, digits).correct == measured.correct


def test_the_history_has_a_row_for_each_epoch(run, recipe):
    assert [row["epoch"] for row in run.history] == [1, 2]
    assert list(run.history[0]) == [
        "epoch",
        "loss",
        "accuracy",
        "val_loss",
        "val_accuracy",
        "learning_rate",
        "images_per_second",
        "seconds",
    ]
    assert run.history[0]["learning_rate"] > run.history[1]["learning_rate"] > 0
    assert run.history[1]["seconds"] > run.history[0]["seconds"]
    with (run.folder / "history.csv").open(newline="") as file:
        assert [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)] == (
            run.history
        )
    assert run.card.metrics["val_accuracy"] == run.history[-1]["val_accuracy"]


def test_it_learns(recipe, silent):
    result = training.train(recipe, epochs=8, batch_size=32, holdout=0.0, progress=silent)
    # Ten classes, so chance is 0.1.
    assert result.card.metrics["test_accuracy"] > 0.4
    assert "val_accuracy" not in result.history[0]


def test_nothing_is_written_without_a_folder(recipe, tmp_path, silent, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = training.train(recipe, epochs=1, progress=silent)
    assert files(tmp_path) == []
    assert result.folder is None
    assert result.card.sha256 == NO_FILE
    assert result.seconds > 0


def test_the_test_split_is_not_learned_from(recipe, digits, silent, monkeypatch):
    first = training.train(recipe, progress=silent)
    blank = training.Split(np.zeros_like(digits.test.images), digits.test.labels)
    other = training.Data(digits.name, digits.train, blank, digits.labels, digits.preprocessing)
    monkeypatch.setattr("training.runs.load_data", lambda *args, **kwargs: other)
    second = training.train(recipe, progress=silent)
    for one, two in zip(first.model.get_weights(), second.model.get_weights(), strict=True):
        # The two runs may differ by rounding, as TensorFlow was in use before; not by more.
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-4)
    assert first.card.metrics["test_accuracy"] != second.card.metrics["test_accuracy"]


def test_progress_is_told_of_every_step_and_epoch(recipe):
    watch = Watch()
    training.train(recipe, progress=watch)
    assert watch.begun == {"name": "tiny.digits", "epochs": 2, "steps": 10, "done": 0}
    assert watch.steps == list(range(1, 11))
    assert [row["epoch"] for row in watch.rows] == [1, 2]
    assert watch.ended == 1


def test_a_finished_run_is_not_overwritten_unless_asked(run, recipe, silent):
    before = sha256(run.folder / "model.keras")
    with pytest.raises(InputError, match=r"holds a finished run; pass --overwrite"):
        training.train(recipe, out=run.folder, progress=silent)
    assert sha256(run.folder / "model.keras") == before
    again = training.train(recipe, epochs=1, out=run.folder, overwrite=True, progress=silent)
    assert len(again.history) == 1
    assert zoo.Card.read(run.folder / "card.json").recipe["epochs"] == 1


def test_a_finished_run_can_be_used_again(run, recipe, silent, digits):
    found = training.finished(run.folder, recipe)
    assert found.card == run.card
    assert found.history == run.history
    assert training.evaluate(found.model, digits).accuracy == run.card.metrics["test_accuracy"]
    resumed = training.train(recipe, out=run.folder, resume=True, progress=silent)
    assert resumed.card == run.card
    assert training.finished(run.folder, recipe, epochs=3) is None
    assert training.finished(run.folder / "other", recipe) is None
    with (run.folder / "model.keras").open("ab") as file:
        file.write(b"x")
    assert training.finished(run.folder, recipe) is None


def test_a_finished_run_is_found_by_a_recipe_that_leaves_precision_open(recipe, tmp_path, silent):
    opened = training.Recipe.load(recipe, precision="auto", epochs=1)
    training.train(opened, out=tmp_path, progress=silent)
    chosen = training.precision.resolve("auto")
    assert chosen != "auto"
    assert training.finished(tmp_path, opened).card.precision == chosen


@pytest.mark.parametrize(("number", "terminated"), [(signal.SIGINT, False), (signal.SIGTERM, True)])
def test_what_ended_a_run_is_told(recipe, tmp_path, number, terminated):
    watch = Watch(3, lambda: os.kill(os.getpid(), number))
    with pytest.raises(training.Interrupted) as caught:
        training.train(recipe, out=tmp_path, progress=watch)
    assert caught.value.terminated == terminated
    assert str(caught.value).startswith("terminated" if terminated else "interrupted")
    assert checkpoint.read(tmp_path)[0].step == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_is_ignored_stays_so(recipe, number):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        watch = Watch(3, lambda: os.kill(os.getpid(), number))
        training.train(recipe, epochs=1, progress=watch)
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
    assert watch.steps[-1] == 5


@pytest.mark.parametrize("step", [3, 5])
def test_ctrl_c_leaves_a_checkpoint_that_resumes(recipe, tmp_path, step, silent):
    folder = tmp_path / "a run"
    before = signal.getsignal(signal.SIGINT)
    watch = Watch(step, press_ctrl_c)
    with pytest.raises(training.Interrupted) as caught:
        training.train(recipe, out=folder, progress=watch)
    assert signal.getsignal(signal.SIGINT) is before
    assert watch.steps[-1] == step
    assert watch.ended == 1
    assert caught.value.step == step
    assert f"--out '{folder}' --resume" in caught.value.command
    assert str(caught.value).count("\n") == 0
    assert files(folder) == ["checkpoint.npz", "history.csv", "recipe.toml"]
    assert training.finished(folder, recipe) is None
    with pytest.raises(InputError, match=r"unfinished run; pass --resume"):
        training.train(recipe, out=folder, progress=silent)

    rest = Watch()
    result = training.train(recipe, out=folder, resume=True, progress=rest)
    assert rest.begun["done"] == step
    assert rest.steps == list(range(step + 1, 11))
    assert [row["epoch"] for row in result.history] == [1, 2]
    assert files(folder) == FINISHED


def test_a_second_ctrl_c_does_not_wait(recipe, tmp_path):
    def press_twice():
        press_ctrl_c()
        press_ctrl_c()

    with pytest.raises(training.Interrupted):
        training.train(recipe, out=tmp_path, progress=Watch(7, press_twice))
    # What is there is from the end of the epoch before.
    assert checkpoint.read(tmp_path)[0].step == 5


def test_a_run_that_only_lacks_its_end_gets_it(recipe, tmp_path, silent, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(training.Interrupted) as caught:
        patch.setattr("training.averaging.evaluate", stop)
        training.train(recipe, out=tmp_path, progress=silent, holdout=0.0)
    assert caught.value.step == 10
    result = training.train(recipe, out=tmp_path, resume=True, progress=silent, holdout=0.0)
    assert len(result.history) == 2
    assert result.card.metrics["images_per_second"] > 0


def test_an_older_model_stays_until_the_new_one_is_there(run, recipe):
    before = sha256(run.folder / "model.keras")
    with pytest.raises(training.Interrupted):
        training.train(
            recipe, out=run.folder, overwrite=True, seed=1, progress=Watch(3, press_ctrl_c)
        )
    assert sha256(run.folder / "model.keras") == before
    assert training.finished(run.folder, recipe) is None


@pytest.fixture
def interrupted(recipe, tmp_path):
    with pytest.raises(training.Interrupted):
        training.train(recipe, out=tmp_path, progress=Watch(3, press_ctrl_c))
    return tmp_path


def test_another_recipe_does_not_resume(interrupted, recipe, silent):
    changed = training.Recipe.load(recipe, learning_rate=0.2, **{"norm.kind": "group"})
    with pytest.raises(InputError, match=r"learning_rate \(0\.2, there 0\.1\).*norm\.kind"):
        training.train(changed, out=interrupted, resume=True, progress=silent)
    # How often checkpoints are written changes nothing of the result.
    training.train(recipe, checkpoint_epochs=5, out=interrupted, resume=True, progress=silent)


CHANGES = {
    "fewer": lambda images, labels, names: (images[1:], labels[1:], names),
    "of other classes": lambda images, labels, names: (images, 9 - labels, names),
    "with other names": lambda images, labels, names: (images, labels, names[::-1]),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_other_data_does_not_resume(interrupted, recipe, digits, monkeypatch, change):
    before = sha256(interrupted / checkpoint.FILE)
    images, labels, names = change(digits.train.images, digits.train.labels, digits.labels)
    train = training.Split(images, labels)
    other = training.Data(digits.name, train, digits.test, names, digits.preprocessing)
    monkeypatch.setattr("training.runs.load_data", lambda *args, **kwargs: other)
    with pytest.raises(InputError, match="data is not what the run was begun with"):
        training.train(recipe, out=interrupted, resume=True, progress=Watch())
    assert sha256(interrupted / checkpoint.FILE) == before


def test_a_checkpoint_that_does_not_tell_its_data_resumes(interrupted, recipe, silent):
    path = interrupted / checkpoint.FILE
    with np.load(path) as archive:
        arrays = dict(archive)
    state = json.loads(str(arrays.pop("state")))
    del state["data"]
    np.savez(path, state=np.array(json.dumps(state)), **arrays)
    result = training.train(recipe, out=interrupted, resume=True, progress=silent)
    assert len(result.history) == 2


def test_a_damaged_checkpoint_is_told(interrupted, recipe, silent):
    path = interrupted / checkpoint.FILE
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"checkpoint.npz is damaged.*--overwrite"):
        training.train(recipe, out=interrupted, resume=True, progress=silent)


@pytest.mark.parametrize("option", ["resume", "overwrite"])
def test_a_damaged_card_of_an_older_run_is_in_no_training_s_way(
    interrupted, recipe, silent, option
):
    card = interrupted / "card.json"
    card.write_text("no card")
    result = training.train(recipe, out=interrupted, progress=silent, **{option: True})
    assert zoo.Card.read(card) == result.card


def test_a_run_with_a_damaged_card_can_be_replaced(run, recipe, silent):
    card = run.folder / "card.json"
    card.write_text("no card")
    with pytest.raises(InputError, match=r"card\.json is not a card"):
        training.train(recipe, out=run.folder, progress=silent)
    result = training.train(recipe, out=run.folder, overwrite=True, progress=silent)
    assert zoo.Card.read(card) == result.card


def test_a_checkpoint_holds_nothing_pickled(interrupted):
    with np.load(interrupted / checkpoint.FILE, allow_pickle=False) as archive:
        assert all(archive[name].dtype != object for name in archive.files)


def test_there_must_be_something_to_resume(recipe, tmp_path, silent):
    with pytest.raises(InputError, match="there is no run to resume in"):
        training.train(recipe, out=tmp_path / "a" / "b", resume=True, progress=silent)
    assert files(tmp_path) == []
    with pytest.raises(InputError, match="only with out"):
        training.train(recipe, resume=True, progress=silent)
    with pytest.raises(InputError, match="either resume or overwrite"):
        training.train(recipe, out=tmp_path, resume=True, overwrite=True, progress=silent)


@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"resume": True}])
def test_a_second_training_in_the_folder_is_refused(recipe, tmp_path, silent, options):
    refused = []

    def start_another():
        with pytest.raises(InputError) as caught:
            training.train(recipe, out=tmp_path / "run", progress=silent, **options)
        refused.append(str(caught.value))

    training.train(recipe, epochs=1, out=tmp_path / "run", progress=Watch(3, start_another))
    (line,) = refused
    assert f"another training is under way there, in process {os.getpid()}" in line
    assert str(tmp_path / "run") in line
    assert files(tmp_path / "run") == FINISHED


def test_a_folder_that_cannot_be_written_is_told_before_the_first_step(recipe, tmp_path):
    (tmp_path / "file").write_text("in the way")
    watch = Watch()
    with pytest.raises(InputError, match="cannot write"):
        training.train(recipe, out=tmp_path / "file" / "run", progress=watch)
    assert watch.steps == []


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_at_once(recipe, tmp_path, value, monkeypatch):
    real = keras.Model.train_on_batch
    count = []

    def broken(self, *args, **kwargs):
        count.append(1)
        result = real(self, *args, **kwargs)
        return {**result, "loss": value} if len(count) == 7 else result

    monkeypatch.setattr(keras.Model, "train_on_batch", broken)
    watch = Watch()
    with pytest.raises(
        training.DivergenceError, match=r"at step 7: .*lower learning_rate"
    ) as caught:
        training.train(recipe, out=tmp_path, progress=watch)
    assert caught.value.step == 7
    assert isinstance(caught.value, InputError)
    assert watch.steps[-1] == 6
    assert watch.ended == 1
    assert files(tmp_path) == ["checkpoint.npz", "history.csv", "recipe.toml"]


def test_a_learning_rate_that_is_too_high_diverges_for_real(recipe, silent):
    with pytest.raises(training.DivergenceError):
        training.train(
            recipe, norm="none", learning_rate=100.0, batch_size=32, epochs=4, progress=silent
        )


def test_unusable_batches_and_holdouts_are_told(recipe, silent):
    with pytest.raises(InputError, match=r"batch_size: .*1295; received 1296"):
        training.train(recipe, batch_size=1296, progress=silent)
    with pytest.raises(InputError, match=r"holdout: .*received 0\.001"):
        training.train(recipe, holdout=0.001, progress=silent)


def test_notes_of_data_and_recipe_are_on_the_card(recipe, silent):
    result = training.train(recipe, epochs=1, notes=("98 images are stand-ins",), progress=silent)
    assert "scikit-learn" in result.card.notes[0]
    assert result.card.notes[-1] == "98 images are stand-ins"
