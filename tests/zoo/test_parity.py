"""The families that keras.applications has too compute what it computes, from the same weights."""

import keras
import numpy as np
import pytest

import export
import zoo

from ..export.models import randomize

# Our model, theirs, the input's height and width, and the options of ours.
PAIRS = [
    pytest.param("vgg16", "VGG16", (32, 64), {"norm": None}, id="vgg16"),
    pytest.param("vgg19", "VGG19", (32, 32), {"norm": None}, id="vgg19", marks=pytest.mark.slow),
]


def trained(model: keras.Model) -> keras.Model:
    """Give a model weights as after training: BatchNorms and biases too are far from neutral."""
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        if variable.name in ("kernel", "depthwise_kernel"):
            receptive = np.prod(variable.shape[:2]) if len(variable.shape) == 4 else 1
            fan_in = receptive * (1 if "depthwise" in variable.name else variable.shape[-2])
            variable.assign(random.normal(0, np.sqrt(2 / fan_in), variable.shape))
        elif variable.name == "bias":
            variable.assign(random.normal(0, 0.3, variable.shape))
    return randomize(model)


def copy(source: keras.Model, model: keras.Model) -> None:
    """Copy weights layer by layer, in the order of the layers."""
    pairs = [[layer for layer in side.layers if layer.weights] for side in (source, model)]
    for given, layer in zip(*pairs, strict=True):
        layer.set_weights(given.get_weights())


def difference(model: keras.Model, reference: keras.Model) -> float:
    """The largest difference of two models' outputs on normal inputs, relative to the outputs."""
    x = np.random.default_rng(1).normal(size=(2, *model.input_shape[1:]))
    values, expected = np.asarray(model(x)), np.asarray(reference(x))
    assert np.std(expected[0] - expected[1]) > 1e-3 * np.std(expected), "the input does not matter"
    return float(np.max(np.abs(values - expected)) / np.max(np.abs(expected)))


@pytest.mark.parametrize(("name", "theirs", "size", "options"), PAIRS)
def test_the_same_weights_give_the_same_outputs(name, theirs, size, options):
    width = {"alpha": options["width"]} if "width" in options else {}
    build = getattr(keras.applications, theirs)
    shape = (*size, 3)
    reference = build(weights=None, classifier_activation=None, input_shape=shape, **width)
    trained(reference)
    model = zoo.create_model(name, input_shape=shape, **options)
    copy(reference, model)
    assert difference(model, reference) <= 1e-5
    wide = [export.rebuild(side, "float64") for side in (model, reference)]
    assert difference(*wide) <= 1e-10
