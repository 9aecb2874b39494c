"""Several processes and devices train what one trains, and end together.

Real processes on the loopback: two that train as one, and one that trains alone for comparison.
"""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from training import checkpoint
from zoo import InputError

from .processes import ROOT, free_port, needs_jax, weights

# BatchNorm with its statistics, dropout with its state and augmentation are what two halves of a
# batch could differ in.
COMMON = """
import json, os, signal, sys
sys.modules["tensorflow"] = None  # not needed on JAX, and slow to load
from pathlib import Path
import numpy as np
import training
from tests.training.tiny import register, tiny_recipe
from training import checkpoint, lock, precision
from zoo import InputError

folder, me = Path(sys.argv[1]), int(sys.argv[2])

register()
recipe = tiny_recipe(dropout=0.2, augmentation=training.Augmentation(pad_crop=1))

class Act(training.Progress):
    def __init__(self, at=None, do=None):
        self.at, self.do, self.steps = at, do, []

    def begin(self, **values):
        if self.at == 0:
            self.do()

    def step(self, *, step, loss, **values):
        self.steps.append((step, loss))
        if step == self.at:
            self.do()

def keep(name, result):
    np.savez(folder / f"{name}.{me}.npz", *result.model.get_weights())
    losses = [[row[key] for key in ("loss", "accuracy", "val_loss")] for row in result.history]
    return {
        "losses": losses, "test_loss": result.card.metrics["test_loss"],
        "devices": result.card.metrics.get("devices"), "sha256": result.card.sha256,
    }
"""

ALONE = """
group = training.Distribution(devices="all")
told = {}

def refused(name, **options):
    try:
        training.train(recipe, progress=training.Progress(), **options)
    except InputError as error:
        told[name] = str(error)

auto = training.Distribution(processes="auto", timeout=5.0)
refused("no launcher", distribution=auto)
told["one"] = keep("one", training.train(recipe, progress=training.Progress()))
told["two"] = keep("two", training.train(recipe, distribution=group, progress=training.Progress()))
for name, where in (("averaged", None), ("averaged on two", group)):
    result = training.train(
        recipe, distribution=where, progress=training.Progress(), average=0.9, statistics_images=512
    )
    told[name] = keep(name, result)
refused("too many", distribution=training.Distribution(devices=3))
refused("odd", batch_size=255, distribution=group)
refused("too late", distribution=auto)
told["precision"] = precision.resolve("auto")
(folder / "alone.json").write_text(json.dumps(told))
"""

PAIR = """
from zoo.cli import run

group = training.Distribution(
    processes=2, coordinator=f"localhost:{sys.argv[3]}", process_id=me, timeout=60.0
)
saves, told = [], {}
real = checkpoint.save

def counted(*values):
    saves.append(values)
    return real(*values)

checkpoint.save = counted

def train(name, out, progress=None, **options):
    saves.clear()
    progress = progress or Act()
    try:
        result = training.train(
            recipe, out=folder / out, distribution=group, progress=progress, **options
        )
        told[name] = keep(name, result)
    except (InputError, KeyboardInterrupt) as error:
        told[name] = {"error": type(error).__name__, "line": str(error)}
    told[name] |= {"saves": len(saves), "steps": progress.steps}
    (folder / f"pair.{me}.json").write_text(json.dumps(told))

def terminate():
    told["lock"] = (folder / "stopped" / lock.FILE).read_text().strip()
    if me == 1:
        os.kill(os.getpid(), signal.SIGTERM)

def fail():
    if me == 1:
        raise InputError("the disk is gone")

def die():
    if me == 1:
        os.kill(os.getpid(), signal.SIGKILL)

told["pid"] = os.getpid()
words = ["train", str(folder / f"recipe.{me}.toml"), "--out", str(folder / "whole"), "--json"]
recipe.save(words[1])
told["command"] = {"code": run(words), "saves": len(saves)}
train("whole", "whole", resume=True)
train("other recipe", "other", learning_rate=0.1 + me)
train("in use", "whole")
train("stopped", "stopped", Act(3, terminate))
train("not shared", "stopped" if me == 0 else "elsewhere", resume=True)
train("resumed", "stopped", resume=True)
train("failed", "failed", Act(2, fail))
train("lost", "lost", Act(0, die))
"""


def start(code, *words, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", COMMON + code, *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def told_in(error, message):
    with pytest.raises(InputError, match=message):
        raise InputError(error)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The folder of two processes, what each told of its trainings, and what each printed."""
    folder, port = tmp_path_factory.mktemp("pair"), free_port()
    group = {"ZOO_PROCESSES": "2", "ZOO_COORDINATOR": f"localhost:{port}"}
    both = [
        start(PAIR, folder, number, port, **group, ZOO_PROCESS_ID=str(number)) for number in (0, 1)
    ]
    printed = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [2, -signal.SIGKILL], printed
    told = [json.loads((folder / f"pair.{number}.json").read_text()) for number in (0, 1)]
    return folder, told, printed


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The folder of one process that trains on one device and on two, and what it told."""
    folder = tmp_path_factory.mktemp("alone")
    process = start(ALONE, folder, 0, XLA_FLAGS="--xla_force_host_platform_device_count=2")
    printed = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    return folder, json.loads((folder / "alone.json").read_text())


def assert_close(one, two):
    for left, right in zip(one, two, strict=True):
        # Sums over the batch are made of partial sums, in another order: float32 differs in its
        # last bits at each step, and ten steps carry that on. Another batch, other statistics or
        # another dropout would differ in the first digits.
        np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-5)


@needs_jax
@pytest.mark.slow
def test_two_processes_train_what_one_trains(pair, alone):
    (folder, told, _), (other, reference) = pair, alone
    assert_close(weights(folder / "whole.0.npz"), weights(other / "one.0.npz"))
    for one in told:
        assert one["whole"]["losses"] == told[0]["whole"]["losses"]
        assert_close(one["whole"]["losses"], reference["one"]["losses"])
        assert one["whole"]["test_loss"] == pytest.approx(reference["one"]["test_loss"], rel=1e-3)
        assert one["whole"]["devices"] == 2


@needs_jax
@pytest.mark.slow
def test_the_average_and_its_statistics_are_those_of_one_device(alone):
    folder, told = alone
    one, two = weights(folder / "averaged.0.npz"), weights(folder / "averaged on two.0.npz")
    assert_close(one, two)
    assert_close(told["averaged"]["losses"], told["averaged on two"]["losses"])
    plain = weights(folder / "one.0.npz")
    assert any(np.abs(left - right).max() > 0.01 for left, right in zip(one, plain, strict=True))


@needs_jax
@pytest.mark.slow
def test_two_devices_of_one_process_train_what_one_trains(alone):
    folder, told = alone
    assert_close(weights(folder / "one.0.npz"), weights(folder / "two.0.npz"))
    assert_close(told["one"]["losses"], told["two"]["losses"])
    assert told["one"]["test_loss"] == pytest.approx(told["two"]["test_loss"], rel=1e-3)
    assert [told["one"]["devices"], told["two"]["devices"]] == [None, 2]
    assert told["precision"] == "mixed_bfloat16"  # there is no GPU, which Keras may raise at


@needs_jax
@pytest.mark.slow
def test_only_process_0_writes_and_speaks(pair):
    folder, told, printed = pair
    files = {"card.json", "history.csv", "model.keras", "recipe.toml", "curves.html", "curves.png"}
    there = {path.name for path in (folder / "whole").iterdir()}
    assert there - {"tensorboard"} == files  # written where tensorboard is installed
    assert not (folder / "elsewhere").exists()
    # Before the first step and after each of the two epochs.
    assert [one["command"] for one in told] == [{"code": 0, "saves": 3}, {"code": 0, "saves": 0}]
    assert json.loads(printed[0][0])["card"]["sha256"] == told[0]["whole"]["sha256"]
    assert printed[1][0] == ""
    assert "epoch 2/2" in printed[0][1]
    assert "epoch" not in printed[1][1]
    assert told[0]["lock"] == told[1]["lock"] == str(told[0]["pid"])


@needs_jax
@pytest.mark.slow
def test_a_signal_to_one_stops_both_and_they_resume_to_the_same_bits(pair):
    folder, told, _ = pair
    for number, one in enumerate(told):
        assert one["stopped"]["error"] == "Interrupted"
        how = ("interrupted", "terminated")[number]  # the signal came to process 1
        assert one["stopped"]["line"].startswith(f"{how} after step 3 of 10; go on with: ")
        assert one["stopped"]["line"].endswith(f" --process-id {number}")
        assert [step for step, _ in one["resumed"]["steps"]] == list(range(4, 11))
        assert one["resumed"]["steps"] == told[0]["resumed"]["steps"]
        assert one["resumed"]["losses"] == one["whole"]["losses"]
        # A sum of two parts is the same in either order.
        whole, resumed = (weights(folder / f"{name}.{number}.npz") for name in ("whole", "resumed"))
        for left, right in zip(whole, resumed, strict=True):
            np.testing.assert_array_equal(left, right)
    assert [one["stopped"]["saves"] for one in told] == [2, 0]


@needs_jax
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("other recipe", r"recipe: what process 1 finds.*same recipe", r"recipe: .*same recipe"),
        ("in use", r"holds a finished run; pass --overw", r"process 0 .*holds a finished run"),
        ("not shared", r"folder: what process 1 finds.*share", r"folder: .*all processes share"),
        ("failed", r"^process 1 of this training ended: the disk is gone$", r"^the disk is gone$"),
    ],
)
def test_where_one_cannot_go_on_both_are_told(pair, name, first, second):
    _, told, _ = pair
    for one, expected in zip(told, (first, second), strict=True):
        told_in(one[name]["line"], expected)


@needs_jax
@pytest.mark.slow
def test_a_process_that_dies_ends_the_other_one(pair):
    folder, told, _ = pair  # which ended at once, with the exit code of bad input
    assert told[0]["lost"]["error"] == "LostProcessError"
    assert "start all processes again with --resume" in told[0]["lost"]["line"]
    assert checkpoint.exists(folder / "lost")


@needs_jax
@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("too many", r"devices: accepted is at most 2.*received 3"),
        ("no launcher", r"processes: 'auto' is accepted under Slurm.*pass the number"),
        ("too late", r"JAX was in use in this process before"),
        ("odd", r"batch_size: accepted is a multiple of 2 .*received 255"),
    ],
)
def test_what_the_machine_does_not_have_is_told(alone, what, message):
    _, told = alone
    told_in(told[what], message)
