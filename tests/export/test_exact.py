"""The fast reference computes what the model itself computes in float64."""

import keras
import numpy as np
import pytest
from keras import layers

import export
from export.exact import fast, reference
from export.running import outputs

from .models import randomize

# Float64 sums of a few dozen products, in another order.
FLOAT64 = 1e-14


def agree(model, shape):
    images = [np.random.default_rng(0).normal(size=(3, *shape))]
    (found,), (wanted,) = outputs(exact(model), images), outputs(rebuilt(model), images)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=FLOAT64 * np.abs(wanted).max())


def rebuilt(model):
    return export.rebuild(model, "float64")


def exact(model):
    return fast(rebuilt(model))


@pytest.mark.parametrize("options", [{}, {"use_bias": False}, {"activation": "gelu"}])
@pytest.mark.parametrize(
    ("filters", "strides", "padding"), [(6, 1, "same"), (12, 2, "valid"), (18, 1, "valid")]
)
def test_a_channel_a_group_becomes_depthwise(options, filters, strides, padding):
    shape = (9, 8, 6)
    image = keras.Input(shape)
    conv = layers.Conv2D(
        filters, 3, strides=strides, padding=padding, groups=6, name="grouped", **options
    )
    model = randomize(keras.Model(image, conv(image)))
    assert type(exact(model).get_layer("grouped")) is layers.DepthwiseConv2D
    agree(model, shape)
    images = [np.random.default_rng(0).normal(size=(3, *shape))]
    (at_once,), (in_two,) = outputs(reference(model), images), outputs(exact(model), images)
    np.testing.assert_array_equal(at_once, in_two)


@pytest.mark.parametrize(
    "options",
    [{"groups": 3}, {"groups": 1}, {"groups": 6, "dilation_rate": 2}, {"groups": 6, "strides": 2}],
)
def test_others_stay_what_they_are(options):
    shape = (9, 8, 6)
    image = keras.Input(shape)
    if "strides" in options:
        options = options | {"strides": (2, 1)}
    model = randomize(keras.Model(image, layers.Conv2D(6, 3, name="conv", **options)(image)))
    wide = rebuilt(model)
    assert fast(wide) is wide


def test_a_layer_that_is_called_twice_stays_one():
    shape = (6, 6, 4)
    image = keras.Input(shape)
    conv = layers.Conv2D(4, 3, padding="same", groups=4, name="grouped")
    model = randomize(keras.Model(image, conv(conv(image))))
    assert [layer.name for layer in exact(model).layers].count("grouped") == 1
    assert len(exact(model).weights) == 2
    agree(model, shape)
