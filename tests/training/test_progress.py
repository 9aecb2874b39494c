"""What a person sees while a training runs."""

import io
import re

import pytest

import training
from training.progress import Lines, Live, Pace, Together, default, duration

ROW = {
    "epoch": 1,
    "loss": 0.51234,
    "accuracy": 0.8421,
    "val_loss": 0.6,
    "val_accuracy": 0.8,
    "learning_rate": 0.1,
    "images_per_second": 342.1,
    "seconds": 72.0,
}
STEP = {"loss": 0.5, "accuracy": 0.84, "images_per_second": 342.1}


class Clock:
    """A clock that goes on only when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock():
    return Clock()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.6, "1 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (7459, "2 h 4 min"),
        (100_800, "1 d 4 h"),
    ],
)
def test_times_are_told_in_human_units(seconds, text):
    assert duration(seconds) == text


def test_the_time_left_leaves_the_first_step_of_the_process_out(clock):
    pace = Pace(clock)
    pace.begin(100)
    assert pace.left is None
    clock.now += 50  # tracing and compiling
    pace.step(11)  # a resumed training
    assert pace.left is None
    clock.now += 2
    pace.step(12)
    clock.now += 4
    pace.step(13)
    assert pace.left == 3 * (100 - 13)


def run_epochs(progress, clock, *, epochs, done=0):
    """Two steps an epoch, each of ten seconds."""
    progress.begin(name="tiny.digits", epochs=epochs, steps=2 * epochs, done=2 * done)
    for epoch in range(done + 1, epochs + 1):
        for step in (2 * epoch - 1, 2 * epoch):
            clock.now += 10
            progress.step(step=step, **STEP)
        progress.epoch({**ROW, "epoch": epoch, "seconds": 20.0 * epoch})
    progress.end()


def test_each_epoch_is_a_line_with_the_time_so_far_and_left(clock):
    stream = io.StringIO()
    run_epochs(Lines(stream, clock), clock, epochs=5)
    lines = stream.getvalue().splitlines()
    assert lines[0] == (
        "epoch 1/5  loss 0.5123  accuracy 84.21%  val_loss 0.6000  val_accuracy 80.00%  "
        "342 images/s  20 s so far, about 1 min 20 s left"
    )
    assert lines[3].endswith("1 min 20 s so far, about 20 s left")
    assert lines[4].endswith("342 images/s  1 min 40 s in all")
    assert len(lines) == 5


def test_a_resumed_training_counts_what_was_done_before_as_time_but_not_as_pace(clock):
    stream = io.StringIO()
    run_epochs(Lines(stream, clock), clock, epochs=4, done=2)
    assert stream.getvalue().splitlines()[0].endswith("1 min so far, about 20 s left")


def test_the_time_left_is_not_made_up(clock):
    stream = io.StringIO()
    lines = Lines(stream, clock)
    lines.begin(name="tiny.digits", epochs=3, steps=3, done=0)
    lines.step(step=1, **STEP)
    lines.epoch(ROW)
    assert stream.getvalue().endswith("342 images/s  1 min 12 s so far\n")


def without_codes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


@pytest.mark.parametrize("width", [80, 120])
def test_the_live_line_tells_all_numbers_on_any_terminal(monkeypatch, clock, width):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    stream = Terminal()
    live = Live(stream, clock)
    live.begin(name="resnet20.cifar10", epochs=200, steps=78_200, done=0)
    for step in (1, 2, 3):
        clock.now += 0.5
        live.step(step=step, **STEP)
    live.bar.refresh()
    live.epoch(ROW)
    live.end()
    shown = without_codes(stream.getvalue())
    assert "loss 0.5000  accuracy 84.00%  342 images/s  10 h 51 min left" in shown
    assert "epoch 1/200  loss 0.5123" in shown
    bars = [line for part in shown.split("\n") for line in part.split("\r") if "10 h" in line]
    assert max(len(line.rstrip()) for line in bars if "epoch" not in line) <= width


def test_a_terminal_gets_the_live_line_and_a_file_plain_ones():
    assert type(default(Terminal())) is Live
    assert type(default(io.StringIO())) is Lines


def test_several_are_told_the_same_and_end_in_reverse():
    told = []

    class Note(training.Progress):
        def __init__(self, name):
            self.name = name

        def begin(self, **values):
            told.append((self.name, "begin", values))

        def step(self, **values):
            told.append((self.name, "step", values))

        def epoch(self, row):
            told.append((self.name, "epoch", row))

        def note(self, text):
            told.append((self.name, "note", text))

        def end(self):
            told.append((self.name, "end", None))

    both = Together(Note("a"), Note("b"))
    begun = {"name": "n", "epochs": 1, "steps": 2, "done": 0}
    both.begin(**begun)
    both.step(step=1, **STEP)
    both.epoch(ROW)
    both.note("text")
    both.end()
    expected = [
        ("begin", begun),
        ("step", {"step": 1, **STEP}),
        ("epoch", ROW),
        ("note", "text"),
    ]
    assert told[:-2] == [(name, what, value) for what, value in expected for name in ("a", "b")]
    assert told[-2:] == [("b", "end", None), ("a", "end", None)]
