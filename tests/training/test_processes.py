"""What only processes of their own can show: kills, equal bits, missing packages."""

import importlib.util
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

# A residual network with dropout: its gradients are sums that TensorFlow may add in any order,
# and its random layers have a state, so it shows what a chain of layers would not.
TRAIN = """
import os, signal, sys
import training

class Kill(training.Progress):
    def step(self, *, step, **values):
        if step == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)

training.train(
    "resnet20.digits", out=sys.argv[1], resume=sys.argv[3] == "resume", progress=Kill(),
    image_size=8, width=0.5, dropout=0.2, epochs=2, warmup_epochs=0.0, batch_size=256,
    precision=sys.argv[4],
)
"""


def start(code, *words, **environment):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def weights(folder):
    import keras

    return keras.saving.load_model(folder / "model.keras", compile=False).get_weights()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_a_killed_run_resumes_to_the_same_bits(tmp_path, precision):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = start(TRAIN, whole, -1, "begin", precision)
    assert done.returncode == 0, done.stderr
    # Of ten steps; the last checkpoint is of step 5, the end of the first epoch.
    assert start(TRAIN, killed, 8, "begin", precision).returncode == -signal.SIGKILL
    assert not (killed / "model.keras").exists()
    done = start(TRAIN, killed, -1, "resume", precision)
    assert done.returncode == 0, done.stderr
    for one, two in zip(weights(whole), weights(killed), strict=True):
        np.testing.assert_array_equal(one, two)


def test_operations_run_one_after_the_other():
    code = """
from training.repeatable import make_repeatable
assert make_repeatable(0)
import tensorflow as tf
assert tf.config.threading.get_inter_op_parallelism_threads() == 1
tf.constant(1) + 1
assert make_repeatable(0)
"""
    done = start(code, KERAS_BACKEND="tensorflow")
    assert done.returncode == 0, done.stderr


def test_training_is_imported_without_tensorflow():
    code = """
import sys
sys.modules["tensorflow"] = None
import training
training.Recipe.load("resnet20.digits"), training.load_data("digits"), training.train
assert "keras.src" not in sys.modules  # Keras would load its backend
"""
    done = start(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")
def test_a_killed_run_resumes_on_jax_without_tensorflow(tmp_path):
    code = "import sys; sys.modules['tensorflow'] = None\n" + TRAIN
    for folder, kill, how in (("a", -1, "begin"), ("b", 8, "begin"), ("b", -1, "resume")):
        done = start(code, tmp_path / folder, kill, how, "float32", KERAS_BACKEND="jax")
        assert done.returncode == (0 if kill < 0 else -signal.SIGKILL), done.stderr
    for one, two in zip(weights(tmp_path / "a"), weights(tmp_path / "b"), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
@pytest.mark.parametrize("call", ["training.train", "run"])
def test_a_training_asks_tensorflow_for_onednn_before_it_is_loaded(call, tmp_path):
    code = f"""
import sys
import training
from zoo.cli import run
from zoo import onednn

prefer = onednn.prefer

def remember():
    print("asked", "tensorflow" in sys.modules, prefer())
    raise KeyboardInterrupt

onednn.prefer = remember
try:
    {call}({"'resnet20.digits'" if call == "training.train" else "['train', 'resnet20.digits']"})
except KeyboardInterrupt:
    pass
"""
    done = start(code, KERAS_BACKEND="tensorflow")
    assert done.stdout.startswith("asked False True"), done.stderr
