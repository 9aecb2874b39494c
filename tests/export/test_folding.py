"""What `fold` promises of a whole model: all BatchNorms gone, same answers, caller's untouched."""

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

import export
import zoo
from export.folding import fold_as
from export.rules import Reason
from export.rules.engine import EXPLANATIONS
from zoo import keras_files
from zoo.layers import SpatialBias
from zoo.norm import KINDS, PLACEMENTS

from .models import randomize, resnet

BATCH_KINDS = ("batch", "batch_renorm")  # the kinds that are an affine map at inference

# Float64 sums in another order; see export.certificate.ALGEBRA_LIMIT.
ALGEBRA = 1e-12


def algebra(model: keras.Model) -> float:
    """The relative difference of original and folded in float64 on normal inputs."""
    wide, folded = export.rebuild(model, "float64"), fold_as(model, "float64").model
    x = np.random.default_rng(1).normal(size=(3, *model.input_shape[1:]))
    reference, values = np.asarray(wide(x)), np.asarray(folded(x))
    return float(np.max(np.abs(values - reference)) / np.max(np.abs(reference)))


def batchnorms(model: keras.Model) -> list[str]:
    found = model._flatten_layers()
    return [layer.name for layer in found if isinstance(layer, layers.BatchNormalization)]


@pytest.mark.parametrize("kind", BATCH_KINDS)
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_resnet_folds(kind, placement):
    model = resnet(kind=kind, placement=placement)
    folded = export.fold(model)
    assert len(folded.report.entries) == 19
    # After the stem's activation, a BatchNorm is both an addend and a convolution's input.
    kept = ["stem_norm"] if placement == "after_activation" else []
    assert [entry.layer for entry in folded.report.kept] == kept == batchnorms(folded.model)
    assert algebra(model) <= ALGEBRA


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in BATCH_KINDS])
def test_what_depends_on_the_data_is_left_alone(kind):
    model = resnet(kind=kind)
    folded = export.fold(model)
    assert folded.report.entries == ()
    assert [layer.name for layer in folded.model.layers] == [layer.name for layer in model.layers]
    assert algebra(model) == 0


@pytest.mark.parametrize("options", [{"center": False}, {"scale": False}, {"epsilon": 1e-2}])
def test_center_scale_and_epsilon(options):
    model = resnet(**options)
    assert not export.fold(model).report.kept
    assert algebra(model) <= ALGEBRA


def test_names_of_inputs_outputs_and_kept_layers_stay():
    model = resnet()
    folded = export.fold(model).model
    assert [tensor.name for tensor in folded.inputs] == ["image"]
    assert folded.output_names == ["logits"]
    assert folded.name == model.name
    left = {layer.name for layer in model.layers} - set(batchnorms(model))
    assert {layer.name for layer in folded.layers} == left


def test_the_callers_model_is_not_changed():
    model = resnet(placement="pre_activation")
    before = [np.array(weight) for weight in model.get_weights()]
    config = model.get_config()
    nodes = [(len(la._inbound_nodes), len(la._outbound_nodes)) for la in model.layers]
    folded = export.fold(model)
    for weight in folded.model.weights:
        weight.assign(weight * 0 - 1)
    assert model.get_config() == config
    assert [(len(la._inbound_nodes), len(la._outbound_nodes)) for la in model.layers] == nodes
    for was, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(was, now)


@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "XLA"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_training_one_of_the_two_leaves_the_other_as_it_is(optimizer, compiled):
    # Weights that no fold changes may lie in one place of memory until one side writes.
    x = inputs = keras.Input((8, 8, 3))
    outputs = layers.Dense(10)(layers.Flatten()(layers.Conv2D(4, 3, activation="relu")(x)))
    model = keras.Model(inputs, outputs)
    folded = export.fold(model).model
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for trained, other in ((folded, model), (model, folded)):
        before = [np.array(weight) for weight in other.get_weights()]
        own = [np.array(weight) for weight in trained.get_weights()]
        trained.compile(optimizer, loss, jit_compile=compiled)
        for _ in range(3):
            trained.train_on_batch(x, np.zeros(4))
        assert any(np.any(a != b) for a, b in zip(own, trained.get_weights(), strict=True))
        for was, now in zip(before, other.get_weights(), strict=True):
            np.testing.assert_array_equal(was, now)


ON_JAX = """
import sys
sys.modules["tensorflow"] = None
import keras, numpy as np
import export, zoo
model = zoo.create_model("resnet20", input_shape=(8, 8, 3), norm="batch", width=0.5)
folded = export.fold(model).model
assert not any("norm" in layer.name for layer in folded.layers)
x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
answers = [np.array(m(x, training=False)) for m in (model, folded)]
np.testing.assert_allclose(*answers, atol=1e-5 * np.abs(answers[0]).max())  # float32 rounding
folded.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
for _ in range(3):
    folded.train_on_batch(x, np.zeros(4))
np.testing.assert_array_equal(model(x, training=False), answers[0])
assert np.any(np.array(folded(x)) != answers[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")
def test_on_jax_too_training_one_leaves_the_other_as_it_is():
    done = subprocess.run(
        [sys.executable, "-c", ON_JAX],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_folded_model_saves_loads_and_trains_on(tmp_path):
    folded = export.fold(resnet(placement="pre_activation")).model
    path = keras_files.save(folded, tmp_path / "folded.keras")
    again = keras_files.load(path)
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
    np.testing.assert_array_equal(again(x), folded(x))
    again.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = [np.array(weight) for weight in again.get_weights()]
    again.train_on_batch(x, np.zeros(4))
    assert any(np.any(a != b) for a, b in zip(before, again.get_weights(), strict=True))


def test_forward_folding_can_be_declined():
    report = export.fold(resnet(placement="after_activation"), forward=False).report
    assert len(report.kept) == 10
    assert all("not_asked" in entry.codes for entry in report.kept)


def test_batchnorms_can_be_kept_by_name():
    folded = export.fold(resnet(), keep=["stage1_*", "stem_norm"])
    assert len(folded.report.kept) == 7
    assert sorted(batchnorms(folded.model)) == sorted(e.layer for e in folded.report.kept)
    with pytest.raises(zoo.InputError, match="no BatchNorm is named 'stage9_"):
        export.fold(resnet(), keep=["stage9_*"])


def test_mixed_precision_folds_from_its_float32_weights():
    keras.config.set_dtype_policy("mixed_float16")
    model = resnet()
    # A float16 convolution before this BatchNorm is wrong in the second digit; float32 is not.
    model.get_layer("stem_norm").moving_variance.assign(np.full(8, 1e-4))
    folded = export.fold(model).model
    assert {layer.compute_dtype for layer in folded.layers} == {"float32"}
    assert algebra(model) <= ALGEBRA


def test_the_report_tells_scales_and_dead_channels():
    model = resnet()
    layer = model.get_layer("stem_norm")
    layer.gamma.assign([0, 0, -8, 1, 1, 1, 1, 1])
    layer.moving_variance.assign(np.ones(8))
    entry = export.fold(model).report.entries[0]
    assert entry.action == "folded_backward"
    assert entry.into == ("stem_conv",)
    assert entry.dead_channels == 2
    assert entry.max_scale == pytest.approx(8, rel=1e-4)  # epsilon is added to the variance
    report = export.fold(model).report.to_dict()
    assert (report["batchnorms"], report["folded"], report["kept"]) == (19, 19, 0)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("moving_variance", -1.0), ("moving_variance", np.nan), ("gamma", np.inf)],
)
def test_broken_statistics_are_kept_by_name(variable, value):
    model = resnet()
    broken = getattr(model.get_layer("stage1_block1_1_norm"), variable)
    broken.assign(np.full(8, value))
    kept = export.fold(model).report.kept
    assert [entry.layer for entry in kept] == ["stage1_block1_1_norm"]
    assert kept[0].codes == ("invalid_statistics",)


def test_a_subclassed_model_is_refused_in_one_line():
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(zoo.InputError, match="accepted are functional and Sequential"):
        export.fold(Own())


def test_every_reason_is_explained():
    assert set(EXPLANATIONS) == set(Reason)


def conv_net(order: str) -> keras.Model:
    """Four blocks of the kinds that exporters leave BatchNorms in; strided and padded 'same'."""
    x = image = keras.Input((9, 11, 3), name="image")
    for number in range(4):
        for letter in order:
            if letter == "c":
                x = layers.Conv2D(6, 3, strides=1 + number % 2, padding="same")(x)
            elif letter == "d":
                x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x)
            elif letter == "b":
                x = layers.BatchNormalization()(x)
            elif letter == "r":
                x = layers.ReLU()(x)
    x = layers.Dense(4, name="logits")(layers.GlobalAveragePooling2D()(x))
    return randomize(keras.Model(image, x))


@pytest.mark.parametrize("order", ["cbr", "crb", "brc", "dbrcbr", "bc", "cb"])
def test_nothing_is_left_of_the_usual_blocks(order):
    model = conv_net(order)
    folded = export.fold(model)
    assert not folded.report.kept
    assert not batchnorms(folded.model)
    assert algebra(model) <= ALGEBRA


def test_same_padding_gets_a_map_and_never_a_wrong_constant():
    image = keras.Input((6, 6, 2))
    conv = layers.Conv2D(3, 3, padding="same", name="c")
    model = randomize(keras.Model(image, conv(layers.BatchNormalization()(image))))
    folded = export.fold(model)
    assert folded.report.entries[0].action == "folded_forward"
    (added,) = (layer for layer in folded.model.layers if isinstance(layer, SpatialBias))
    assert added.shape == (6, 6, 3)
    assert folded.model.output_names == ["c"]  # the map is last now, and has taken the name
    assert algebra(model) <= ALGEBRA
