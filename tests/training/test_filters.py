"""Filters that whiten, filters that pass their input on, and what a training makes of them."""

import signal
import subprocess
import sys

import keras
import numpy as np
import pytest

import training
import zoo
from training import checkpoint, filters, initial
from training import optimizer as optimizers
from training.averaging import plain_batches
from zoo import InputError, keras_files

from ..zoo.networks import small

SHAPE = {"input_shape": (12, 12, 3), "width": 0.125}


@pytest.fixture
def fastnet(recipe):
    """One epoch of five steps of a narrow fastnet on 12x12 digits."""
    changes = {"arch": "fastnet", "width": 0.125, "image_size": 12, "epochs": 1}
    return training.Recipe.load(recipe, whiten=200, identity=True, **changes)


@pytest.fixture(scope="module")
def pictures():
    """Images whose neighbours are alike, in batches."""
    noise = np.random.default_rng(0).normal(size=(6, 14, 14, 3))
    smooth = noise[:, :-2, :-2] + noise[:, 1:-1, 1:-1] + 0.5 * noise[:, 2:, 2:]
    smooth[..., 1] += smooth[..., 0]
    return np.split(smooth.astype(np.float32), 3)


def whitened(pictures, count, size=2):
    """A convolution's kernel that was made to whiten the pictures, and its outputs, flat."""
    layer = keras.layers.Conv2D(count, size, use_bias=False)
    layer.build((None, 14, 14, 3))
    filters.whiten(layer, pictures)
    return np.asarray(layer.kernel), np.asarray(layer(np.concatenate(pictures))).reshape(-1, count)


@pytest.mark.parametrize("size", [2, 3])
def test_patches_whiten(pictures, size):
    half = size * size * 3
    kernel, outputs = whitened(pictures, 2 * half, size)
    np.testing.assert_array_equal(kernel[..., :half], -kernel[..., half:])
    covariance = np.cov(outputs[:, :half], rowvar=False, bias=True)
    # 5e-4 is added to each variance, and the smallest of them is about a hundred times that.
    assert np.abs(covariance - np.eye(half)).max() < 0.02


def test_few_filters_are_the_patches_of_the_largest_variance(pictures):
    (every, _), (few, _) = whitened(pictures, 24), whitened(pictures, 6)
    np.testing.assert_array_equal(few[..., :3], every[..., :3])
    # A patch is divided by its deviation, so that of the largest variance is the shortest.
    lengths = np.linalg.norm(every[..., :12].reshape(12, 12), axis=0)
    assert np.all(np.diff(lengths) > 0)


def test_identities_pass_their_input_on():
    model = small("fastnet", norm=zoo.Norm("none"))
    filters.begin_as_identities(model)
    for name, channels in (("stage1_1_conv", 8), ("stage2_1_conv", 8), ("stage2_2_conv", 32)):
        layer = model.get_layer(name)
        x = np.random.default_rng(0).normal(size=(2, 5, 5, layer.kernel.shape[2]))
        passed = np.asarray(layer(x.astype(np.float32)))[..., :channels]
        np.testing.assert_array_equal(passed, x.astype(np.float32)[..., :channels])
    assert np.count_nonzero(model.get_layer("stem_conv").kernel) > 24
    # What has no channel to pass on is random.
    assert np.all(np.asarray(model.get_layer("stage2_1_conv").kernel)[..., 8:])


def test_identities_are_not_where_the_size_changes():
    model = small("resnet8")
    before = {layer.name: layer.get_weights() for layer in model.layers}
    filters.begin_as_identities(model)
    changed = [
        layer.name
        for layer in model.layers
        if any(
            not np.array_equal(a, b)
            for a, b in zip(before[layer.name], layer.get_weights(), strict=True)
        )
    ]
    assert sorted(changed) == [
        "stage1_block1_1_conv",
        "stage1_block1_2_conv",
        "stage2_block1_2_conv",
        "stage3_block1_2_conv",
    ]


@pytest.mark.parametrize(
    ("arch", "changes", "told"),
    [
        ("resnet8", {"whiten": 9, "width": 0.5, "weights": "a.b"}, "whiten: accepted is 0 with"),
        ("resnet8", {"identity": True, "weights": "a.b"}, "identity: accepted is false with"),
        ("tiny", {"identity": True}, "identity: accepted is true only .*; tiny has none"),
        ("resnet8", {"whiten": 1, "width": 4.0}, "at most 54 for patches of 3x3x3; stem_conv .*64"),
        ("resnet8", {"whiten": 1, "image_size": 2}, "images of at least 3x3 pixels.*received 2x2"),
    ],
    ids=str,
)
def test_what_cannot_begin_so_is_refused(recipe, silent, arch, changes, told):
    with pytest.raises(InputError, match=told) as caught:
        training.train(recipe, arch=arch, progress=silent, **changes)
    assert "\n" not in str(caught.value)


def test_a_first_layer_that_does_not_see_the_image_is_refused():
    image = keras.Input((8, 8, 3))
    x = keras.layers.DepthwiseConv2D(3, depth_multiplier=2)(image)
    with pytest.raises(InputError, match="net has none that takes the image"):
        filters.whitening(keras.Model(image, keras.layers.Conv2D(4, 1)(x), name="net"))


def test_patches_are_kept_and_their_bias_is_trained(fastnet, silent, tmp_path):
    before = zoo.create_model("fastnet", **SHAPE)
    initial.freeze(before, fastnet)
    data = training.load_data("digits", image_size=12)
    chosen = training.Recipe.load(fastnet, holdout=0.0)
    images = plain_batches(data.train, chosen, data.preprocessing, chosen.whiten)
    initial.begin(before, chosen, data.labels, images)
    result = training.train(chosen, out=tmp_path, progress=silent)
    stem, first = result.model.get_layer("stem_conv"), before.get_layer("stem_conv")
    np.testing.assert_array_equal(stem.kernel, first.kernel)
    assert np.any(stem.bias)
    stored = keras_files.load(tmp_path / "model.keras")
    assert stored.get_layer("stem_conv").kernel.trainable


@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
def test_the_optimizer_knows_nothing_of_the_patches(fastnet, optimizer):
    model = zoo.create_model("fastnet", **SHAPE)
    initial.freeze(model, fastnet)
    chosen = training.Recipe.load(fastnet, optimizer=optimizer, average=0.9)
    made = optimizers.create(chosen, model, 0.1, steps=5)
    made.build(model.trainable_variables)
    assert "stem_conv/bias" in {variable.path for variable in model.trainable_variables}
    assert not [variable.path for variable in made.variables if "stem_conv_kernel" in variable.path]


TRAIN = """
import os, signal, sys
import training

class Kill(training.Progress):
    def step(self, *, step, **values):
        if step == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)

training.train(
    "fastnet.cifar10", dataset="digits", name="fastnet.digits", image_size=12, width=0.125,
    epochs=2, batch_size=256, whiten=200, out=sys.argv[1], resume=sys.argv[3] == "resume",
    progress=Kill(), precision="float32",
)
"""


@pytest.mark.slow
def test_a_killed_run_of_the_recipe_resumes_to_the_same_bits(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"

    def start(out, step, how):
        words = [sys.executable, "-c", TRAIN, str(out), str(step), how]
        return subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)

    done = start(whole, -1, "begin")
    assert done.returncode == 0, done.stderr
    assert start(killed, 8, "begin").returncode == -signal.SIGKILL
    assert checkpoint.exists(killed)
    done = start(killed, -1, "resume")
    assert done.returncode == 0, done.stderr
    one, two = (keras_files.load(folder / "model.keras") for folder in (whole, killed))
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
