"""Two devices of TensorFlow train what one trains.

In a process of its own: a CPU is divided into two devices before TensorFlow starts.
"""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest

import training
from training import distribution
from training.group import Group
from zoo import InputError

from .processes import ROOT, weights

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="the strategy is TensorFlow's; JAX has test_distribution.py",
)

PROGRAM = """
import json, os, signal, sys
from pathlib import Path
import numpy as np
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
halves = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, halves)
import keras, training
from tests.training.tiny import register, tiny_recipe
from training import mirrored
from zoo import InputError

folder = Path(sys.argv[1])

register()
recipe = tiny_recipe(augmentation=training.Augmentation(pad_crop=1))
two = training.Distribution(devices="all")
told = {}

class Stop(training.Progress):
    def step(self, *, step, **values):
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)

def train(name, where, progress=None, **options):
    result = training.train(
        recipe, distribution=where, progress=progress or training.Progress(), **options
    )
    np.savez(folder / f"{name}.npz", *result.model.get_weights())
    losses = [[row[key] for key in ("loss", "accuracy", "val_loss")] for row in result.history]
    metrics = result.card.metrics
    told[name] = {
        "losses": losses, "test_loss": metrics["test_loss"], "devices": metrics.get("devices")
    }
"""

PAIRS = {
    "plain": {},
    "averaged": {"average": 0.9, "statistics_images": 512},
    "muon": {"optimizer": "muon", "learning_rate": 0.01},
    "adamw": {"optimizer": "adamw", "learning_rate": 0.01},
    "lamb": {"optimizer": "lamb", "learning_rate": 0.01},
    "renorm": {"norm": {"kind": "batch_renorm"}},
    "group": {"norm": {"kind": "group", "groups": 2}},
    "scaled": {"precision": "mixed_float16"},
}

REST = """
for name, options in json.loads(sys.argv[2]).items():
    train(f"{name} on one", None, **options)
    train(f"{name} on two", two, **options)
train("dropout on one", None, dropout=0.5)
train("dropout on two", two, dropout=0.5)
try:
    train("stopped", two, Stop(), out=folder / "run", dropout=0.5)
except KeyboardInterrupt as stop:
    told["stopped"] = str(stop)
train("resumed", two, out=folder / "run", dropout=0.5, resume=True)
try:
    train("half", two, Stop(), out=folder / "moved")
except KeyboardInterrupt:
    train("moved", None, out=folder / "moved", resume=True)
for name, options in {
    "clipped": {"clip_norm": 1.0}, "gathered": {"accumulation": 2}, "odd": {"batch_size": 255},
}.items():
    try:
        train(name, two, **options)
    except InputError as error:
        told[name] = str(error)
try:
    train("too many", training.Distribution(devices=3))
except InputError as error:
    told["too many"] = str(error)

# What each device draws for the same images.
group = mirrored.Mirrored(mirrored.devices())
with group.scope():
    model = keras.Sequential([keras.Input((1000,)), keras.layers.Dropout(0.5)])
    group.adapt(model)
    strategy = tf.distribute.get_strategy()
    both = strategy.run(lambda: model(tf.ones((1, 1000)), training=True))
    told["drawn"] = [part.numpy().tolist() for part in strategy.experimental_local_results(both)]
(folder / "told.json").write_text(json.dumps(told))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a process that trains on one device and on two, and what it told."""
    folder = tmp_path_factory.mktemp("mirrored")
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM + REST, str(folder), json.dumps(PAIRS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert process.returncode == 0, process.stderr
    return folder, json.loads((folder / "told.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", PAIRS)
def test_two_devices_train_what_one_trains(trained, name):
    folder, told = trained
    one, two = (told[f"{name} on {count}"] for count in ("one", "two"))
    # Sums over the batch are made of two, and ten steps carry the last bits on. float16 has three
    # digits, and an image in a thousand may change its class.
    allowed, between = (3e-3, 1e-2) if name == "scaled" else (1e-5, 1e-3)
    alone, together = (weights(folder / f"{name} on {count}.npz") for count in ("one", "two"))
    for left, right in zip(alone, together, strict=True):
        np.testing.assert_allclose(left, right, rtol=0, atol=allowed)
    np.testing.assert_allclose(one["losses"], two["losses"], rtol=between)
    assert one["test_loss"] == pytest.approx(two["test_loss"], rel=1e-3)
    assert [one["devices"], two["devices"]] == [None, 2]


@pytest.mark.slow
def test_each_device_draws_its_own_chances(trained):
    _, told = trained
    first, second = (np.array(part) for part in told["drawn"])
    assert 300 < np.count_nonzero(first != second) < 700  # a half of 1000, and 12 deviations


@pytest.mark.slow
def test_a_training_that_was_stopped_goes_on_to_the_same_bits(trained):
    folder, told = trained
    assert told["stopped"].startswith("interrupted after step 3 of 10; go on with: ")
    whole, resumed = (weights(folder / f"{name}.npz") for name in ("dropout on two", "resumed"))
    for left, right in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(left, right)
    assert told["resumed"]["losses"] == told["dropout on two"]["losses"]


@pytest.mark.slow
def test_a_training_goes_on_on_another_number_of_devices(trained):
    folder, told = trained
    assert told["moved"]["devices"] is None
    whole, moved = (weights(folder / f"{name}.npz") for name in ("plain on one", "moved"))
    for left, right in zip(whole, moved, strict=True):
        np.testing.assert_allclose(left, right, rtol=0, atol=1e-5)  # as above


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("clipped", r"clip_norm: accepted .*TensorFlow is 0\.0, .*received 1\.0; on JAX"),
        ("gathered", r"accumulation: accepted .*TensorFlow is 1, .*received 2; on JAX"),
        ("odd", r"batch_size: accepted is a multiple of 2 .*received 255"),
        ("too many", r"devices: accepted is at most 2, .*received 3"),
    ],
)
def test_what_is_not_computed_as_on_one_device_is_refused(trained, what, message):
    _, told = trained
    with pytest.raises(InputError, match=message):
        raise InputError(told[what])


def test_a_device_is_found_without_starting_tensorflow():
    code = (
        "from training.mirrored import devices; print(*devices()); import tensorflow as tf; "
        "tf.config.threading.set_inter_op_parallelism_threads(3)"  # refused once it has started
    )
    run = [sys.executable, "-c", code]
    found = subprocess.run(run, capture_output=True, text=True, check=True).stdout.split()
    assert found and all(name.startswith(("CPU:", "GPU:")) for name in found)


def test_all_devices_are_one_where_there_is_one(monkeypatch):
    monkeypatch.setattr("training.mirrored.devices", lambda: ["CPU:0"])
    group = distribution.join(training.Distribution(devices="all"), 255)
    assert type(group) is Group
    assert group.devices == 1
