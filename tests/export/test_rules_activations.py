"""Clamps and what else activations leave, and BatchNorms in a row."""

import keras
import pytest
from keras import layers

from zoo.layers import ChannelClamp, SpatialBias

from .models import with_weights
from .rule_models import assert_gone, fold_exactly, net

BatchNorm = layers.BatchNormalization


LIMITS = {
    "layer": (layers.ReLU, True, False),
    "activation": (lambda: layers.Activation("relu"), True, False),
    "operation": (lambda: keras.ops.relu, True, False),
    "relu6": (lambda: layers.Activation("relu6"), True, True),
    "relu6 operation": (lambda: keras.ops.relu6, True, True),
    "maximum": (lambda: layers.ReLU(max_value=0.7), True, True),
}


@pytest.mark.parametrize("gammas", ["both", "positive", "zero"])
@pytest.mark.parametrize("kind", LIMITS)
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_a_relu_becomes_a_clamp(kind, gammas, padding):
    make, low, high = LIMITS[kind]
    conv = layers.Conv2D(3, 3, padding=padding, name="k")
    model = net((5, 4, 4), BatchNorm(), make(), conv, layers.ReLU(), gammas=gammas)
    folded = assert_gone(model, "clamped", into="k")
    (clamp,) = [layer for layer in folded.model.layers if isinstance(layer, ChannelClamp)]
    if gammas == "positive":
        assert (clamp.low, clamp.high) == (low, high)
    else:  # a negative scale turns a lower limit into an upper one
        assert clamp.high


HOMOGENEOUS = {
    "leaky": lambda: layers.LeakyReLU(0.3),
    "slope": lambda: layers.ReLU(negative_slope=0.3),
    "activation": lambda: layers.Activation("leaky_relu"),
    "operation": lambda: keras.ops.leaky_relu,
    "prelu": lambda: layers.PReLU(shared_axes=(1, 2)),
}


@pytest.mark.parametrize("kind", HOMOGENEOUS)
def test_any_homogeneous_activation_leaves_one_addition(kind):
    conv = layers.Conv2D(3, 3, padding="same", name="k", activation="tanh")
    model = net((5, 4, 2), BatchNorm(), HOMOGENEOUS[kind](), conv, gammas="positive")
    folded = assert_gone(model, "scale_forward")
    assert [layer.shape for layer in folded.model.layers if isinstance(layer, SpatialBias)] == [
        (1, 1, 2)
    ]


def test_a_relu_that_is_called_twice_becomes_a_clamp_for_one_call():
    relu, image = layers.ReLU(name="r"), keras.Input((4, 4, 2))
    x = layers.Conv2D(3, 2)(relu(BatchNorm()(image)))
    model = with_weights(keras.Model(image, [x, relu(image)]), 1, "both")
    folded = assert_gone(model, "clamped")
    kinds = {layer.name: type(layer).__name__ for layer in folded.model.layers}
    assert kinds["r"] == "ReLU"
    assert list(kinds.values()).count("ChannelClamp") == 1


def test_batchnorms_in_a_row_become_one():
    model = net((4, 4, 2), BatchNorm(name="a"), BatchNorm(), BatchNorm(), layers.Dense(3, name="k"))
    folded = fold_exactly(model)
    assert [entry.action for entry in folded.report.entries] == [
        "folded_forward",
        "merged",
        "merged",
    ]


def test_a_batchnorm_merges_into_later_ones_where_it_has_other_users():
    image = keras.Input((4, 4, 2))
    x = BatchNorm(name="first")(image)
    one = layers.Conv2D(3, 3, padding="same")(x)
    two = BatchNorm(name="later", center=False, scale=False)(x)
    model = with_weights(keras.Model(image, [one, two]), 1, "both")
    folded = fold_exactly(model)
    first, later = folded.report.entries
    assert first.action == "merged"
    assert "later" in first.into
    assert later.codes == ("used_elsewhere", "model_output")
