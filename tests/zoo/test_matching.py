"""Weights carried between networks of one structure."""

import keras
import numpy as np
import pytest

import zoo
from zoo import matching

from ..export.models import randomize

layers = keras.layers


def inception(order: tuple[int, ...], *, bias: bool, separable: bool) -> keras.Model:
    """Branches of equal shapes side by side, made in some order, and a block with a shortcut."""
    x = image = keras.Input((8, 8, 3))

    def unit(x, filters, size):
        x = layers.Conv2D(filters, size, padding="same", use_bias=bias)(x)
        return layers.ReLU()(layers.BatchNormalization()(x))

    branches = {}
    for number in order:
        pool = layers.MaxPooling2D if number == 3 else layers.AveragePooling2D
        part = pool(3, 1, padding="same")(x) if number > 1 else x
        branches[number] = unit(unit(part, 4, 3), 4, 3)
    joined = layers.Concatenate()([branches[number] for number in sorted(branches)])
    x = unit(joined, 16, 1)
    if separable:
        y = layers.SeparableConv2D(16, 3, padding="same", use_bias=False)(x)
    else:
        y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
        y = layers.Conv2D(16, 1, use_bias=False)(y)
    y = layers.Add()([y, x] if bias else [x, y])
    return keras.Model(image, layers.Dense(5)(layers.GlobalAveragePooling2D()(y)))


@pytest.mark.parametrize("bias", [False, True])
def test_the_layers_order_and_names_do_not_matter(bias):
    source = randomize(inception((1, 2, 3, 4), bias=bias, separable=True))
    model = inception((3, 1, 4, 2), bias=False, separable=False)
    matching.carry(source, model)
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    expected, values = np.asarray(source(x)), np.asarray(model(x))
    # float32 rounds a few times more where a bias is in the mean.
    assert np.max(np.abs(values - expected)) <= 1e-5 * np.max(np.abs(expected))


def test_another_network_is_refused_with_what_differs():
    source = inception((1, 2, 3), bias=False, separable=True)
    with pytest.raises(zoo.InputError, match=r"conv layers of shape \(3, 3, 3, 4\) are there 3"):
        matching.carry(source, inception((1, 2), bias=False, separable=True))


def test_the_same_layers_connected_otherwise_are_refused():
    def chain(*sizes):
        image = x = keras.Input((8, 8, 4))
        for size in sizes:
            x = layers.Conv2D(4, size, padding="same", use_bias=False)(x)
        return keras.Model(image, x)

    with pytest.raises(zoo.InputError, match="connected otherwise"):
        matching.carry(chain(3, 1, 1), chain(1, 3, 1))


def test_a_bias_that_has_nowhere_to_go_is_refused():
    image = keras.Input((8, 8, 4))
    source = keras.Model(image, layers.Conv2D(4, 1, bias_initializer="ones")(image))
    model = keras.Model(image, layers.Conv2D(4, 1, use_bias=False)(image))
    with pytest.raises(zoo.InputError, match="no BatchNorm follows"):
        matching.carry(source, model)


def test_a_scale_of_one_needs_no_weight():
    def scaled(scale):
        image = keras.Input((8, 8, 4))
        return keras.Model(image, layers.BatchNormalization(scale=scale)(image))

    matching.carry(scaled(True), scaled(False))
    with pytest.raises(zoo.InputError, match="has no gamma"):
        matching.carry(randomize(scaled(True)), scaled(False))
