"""The families that keras.applications has too compute what it computes, from the same weights."""

import re

import keras
import numpy as np
import pytest

import export
import zoo
from zoo import matching

from .networks import FAMILIES, outline, small

# Our model, theirs, the input's height and width, and the options of ours.
DENSE = {"norm": zoo.Norm(epsilon=1.001e-5)}
PAIRS = [
    pytest.param("densenet121", "DenseNet121", (32, 64), DENSE, id="densenet121"),
    *(
        pytest.param(
            f"densenet{depth}",
            f"DenseNet{depth}",
            (32, 32),
            DENSE,
            id=f"densenet{depth}",
            marks=pytest.mark.slow,
        )
        for depth in (169, 201)
    ),
    pytest.param(
        "mobilenet_v2",
        "MobileNetV2",
        (32, 65),
        {"norm": zoo.Norm(epsilon=1e-3), "width": 0.35, "padding": "same"},
        id="mobilenet_v2",
    ),
    pytest.param("resnet50", "ResNet50", (32, 65), DENSE, id="resnet50"),
    pytest.param(
        "resnet50_v2",
        "ResNet50V2",
        (32, 65),
        DENSE,
        id="resnet50_v2",
        marks=pytest.mark.slow,
    ),
    pytest.param("vgg16", "VGG16", (32, 64), {"norm": None}, id="vgg16", marks=pytest.mark.slow),
    pytest.param("vgg19", "VGG19", (32, 32), {"norm": None}, id="vgg19", marks=pytest.mark.slow),
    pytest.param(
        "xception",
        "Xception",
        (71, 74),
        {"norm": zoo.Norm(epsilon=1e-3), "padding": "same"},
        id="xception",
        marks=pytest.mark.slow,
    ),
]


def trained(model: keras.Model) -> keras.Model:
    """Give a model weights as after training, through which the input still reaches the output.

    Each layer keeps the size of what it is given, more or less; with statistics that shrink it, a
    deep network's output would be what the last shifts are, whatever the image.
    """
    random = np.random.default_rng(0)
    draws = {
        "bias": lambda shape: random.normal(0, 0.3, shape),
        "beta": lambda shape: random.normal(0, 0.3, shape),
        "gamma": lambda shape: random.choice([-1, 1], shape) * random.uniform(0.7, 1.3, shape),
        "moving_mean": lambda shape: random.normal(0, 0.3, shape),
        "moving_variance": lambda shape: random.uniform(0.5, 1.5, shape),
    }
    for variable in model.variables:
        shape = variable.shape
        if variable.name.endswith("kernel"):  # a separable convolution has two
            # A depthwise kernel sums over its positions only: (height, width, channels, 1).
            summed = shape[:2] if len(shape) == 4 and shape[-1] == 1 else shape[:-1]
            variable.assign(random.normal(0, np.sqrt(2 / np.prod(summed)), shape))
        else:
            variable.assign(draws[variable.name](shape))
    return model


def difference(model: keras.Model, reference: keras.Model) -> float:
    """The largest difference of two models' outputs on normal inputs, relative to the outputs."""
    x = np.random.default_rng(1).normal(size=(2, *model.input_shape[1:]))
    values, expected = np.asarray(model(x)), np.asarray(reference(x))
    assert np.std(expected[0] - expected[1]) > 0.03 * np.std(expected), "the input does not matter"
    return float(np.max(np.abs(values - expected)) / np.max(np.abs(expected)))


@pytest.mark.parametrize(("name", "theirs", "size", "options"), PAIRS)
def test_the_same_weights_give_the_same_outputs(name, theirs, size, options):
    width = {"alpha": options["width"]} if "width" in options else {}
    build = getattr(keras.applications, theirs)
    shape = (*size, 3)
    reference = build(weights=None, classifier_activation=None, input_shape=shape, **width)
    trained(reference)
    model = zoo.create_model(name, input_shape=shape, **options)
    matching.carry(reference, model)
    assert difference(model, reference) <= 1e-5
    wide = [export.rebuild(side, "float64") for side in (model, reference)]
    # Again: a moving mean that took a bias in was rounded to float32.
    matching.carry(wide[1], wide[0])
    assert difference(*wide) <= 1e-10


@pytest.mark.parametrize("width", [0.35, 0.75, 1.3, 1.4])
def test_mobilenet_v2_has_the_same_channels(width):
    reference = outline(keras.applications.MobileNetV2, weights=None, alpha=width)
    model = outline(zoo.create_model, "mobilenet_v2", width=width)
    shapes = [[variable.shape for variable in side.variables] for side in (reference, model)]
    assert shapes[0] == shapes[1]


def test_mobilenet_v2_pads_an_even_size_on_both_sides_where_theirs_pads_one():
    name = "stage2_block1_depthwise_conv_pad"
    ours = outline(zoo.create_model, "mobilenet_v2", input_shape=(64, 64, 3))
    theirs = outline(keras.applications.MobileNetV2, weights=None, input_shape=(64, 64, 3))
    assert ours.get_layer(name).padding == ((1, 1), (1, 1))
    assert theirs.get_layer("block_1_pad").padding == ((0, 1), (0, 1))


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_same_leaves_no_layer_that_pads_a_convolution(family):
    model = outline(small, family, padding="same")
    padded = [layer.name for layer in model.layers if re.search("(conv|pool)_pad$", layer.name)]
    assert padded == []
