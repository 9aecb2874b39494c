"""The families that keras.applications has too compute what it computes, from the same weights."""

import re

import keras
import numpy as np
import pytest

import export
import zoo
from zoo import matching, official, registry

from .networks import FAMILIES, outline, small

# Some of each family's weights, and a height and width at which strided layers meet even and odd
# sides, where paddings differ. MobileNet of keras.applications pads an odd size at the bottom and
# right only, too, which ``same`` does not.
FAST = {
    "convnext_tiny.imagenet": (32, 64),
    "densenet121.imagenet": (32, 64),
    "efficientnet_b0.imagenet": (64, 65),
    "efficientnet_v2_b0.imagenet": (64, 65),
    "inception_v3.imagenet": (75, 96),
    "mobilenet.imagenet_w025": (32, 64),
    "mobilenet_v2.imagenet_w035": (32, 65),
    "mobilenet_v3_large.imagenet": (32, 65),
    "mobilenet_v3_small.imagenet_w075": (32, 65),
    "mobilenet_v3_small_minimalistic.imagenet": (32, 65),
    "resnet50.imagenet": (32, 65),
}
SLOW = {
    "densenet169.imagenet": (32, 32),
    "densenet201.imagenet": (32, 32),
    "inception_resnet_v2.imagenet": (75, 96),
    "nasnet_mobile.imagenet": (64, 96),
    "resnet50_v2.imagenet": (32, 65),
    "vgg16.imagenet": (32, 64),
    "vgg19.imagenet": (32, 32),
    "xception.imagenet": (71, 74),
}
WEIGHTS = [
    *(pytest.param(name, size, id=name) for name, size in FAST.items()),
    *(pytest.param(name, size, id=name, marks=pytest.mark.slow) for name, size in SLOW.items()),
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
    for variable in model.weights:
        shape = variable.shape
        if variable.name.endswith("kernel"):  # a separable convolution has two
            # A depthwise kernel sums over its positions only: (height, width, channels, 1).
            summed = shape[:2] if len(shape) == 4 and shape[-1] == 1 else shape[:-1]
            variable.assign(random.normal(0, np.sqrt(2 / np.prod(summed)), shape))
        else:
            draw = draws.get(variable.name, draws["gamma"])  # a LayerScale's factors have no name
            variable.assign(draw(shape))
    return model


def weights(model: keras.Model) -> list[keras.Variable]:
    """The weights as their layers are met on the way from the output, the first operand's first.

    A model's own order depends on how many layers without weights there are.
    """
    found: dict[int, keras.Operation] = {}
    waiting = [(model.output, False)]
    while waiting:
        tensor, seen = waiting.pop()
        layer, node, _ = tensor._keras_history
        if seen:
            found[id(layer)] = layer
        elif id(layer) not in found:
            waiting.append((tensor, True))
            given = layer._inbound_nodes[node].input_tensors
            waiting += [(tensor, False) for tensor in reversed(given)]
    return [weight for layer in found.values() for weight in getattr(layer, "weights", [])]


def without_preprocessing(model: keras.Model) -> keras.Model:
    """Cut off the layers that scale the image, which ours takes scaled."""
    kinds = keras.layers.Rescaling | keras.layers.Normalization
    last = [layer for layer in model.layers[:4] if isinstance(layer, kinds)]
    return keras.Model(last[-1].output, model.output) if last else model


def difference(model: keras.Model, reference: keras.Model) -> float:
    """The largest difference of two models' outputs on normal inputs, relative to the outputs."""
    x = np.random.default_rng(1).normal(size=(2, *model.input_shape[1:]))
    values, expected = np.asarray(model(x)), np.asarray(reference(x))
    assert np.std(expected[0] - expected[1]) > 0.03 * np.std(expected), "the input does not matter"
    return float(np.max(np.abs(values - expected)) / np.max(np.abs(expected)))


def test_a_model_of_each_family_is_compared():
    families = {registry.entry(zoo.card(name).arch).build.__module__ for name in official.names()}
    compared = {registry.entry(zoo.card(name).arch).build.__module__ for name in FAST | SLOW}
    assert compared == families


@pytest.mark.parametrize(("name", "size"), WEIGHTS)
def test_the_same_weights_give_the_same_outputs(name, size):
    card, shape = zoo.card(name), (*size, 3)
    network = official.application(official.known()[name], shape)
    reference = trained(without_preprocessing(network))
    model = zoo.create_model(card.arch, **{**card.options(), "input_shape": shape})
    matching.carry(reference, model)
    assert difference(model, reference) <= 1e-5
    wide = [export.rebuild(side, "float64") for side in (model, reference)]
    # Again: a moving mean that took a bias in was rounded to float32.
    matching.carry(wide[1], wide[0])
    assert difference(*wide) <= 1e-10


@pytest.mark.parametrize(
    ("name", "theirs", "width"),
    [
        *(("mobilenet", "MobileNet", width) for width in (0.5, 0.75, 1.0)),
        *(("mobilenet_v2", "MobileNetV2", width) for width in (0.35, 0.75, 1.3, 1.4)),
        *(("mobilenet_v3_large", "MobileNetV3Large", width) for width in (0.75, 1.25)),
        *(("mobilenet_v3_small", "MobileNetV3Small", width) for width in (0.75, 1.25)),
    ],
)
def test_a_width_has_the_same_channels(name, theirs, width):
    reference = outline(getattr(keras.applications, theirs), weights=None, alpha=width)
    assert shapes(outline(zoo.create_model, name, width=width)) == shapes(reference)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        *(
            (f"convnext_{size.lower()}", f"ConvNeXt{size}")
            for size in ("Small", "Base", "Large", "XLarge")
        ),
        *((f"efficientnet_b{size}", f"EfficientNetB{size}") for size in range(1, 8)),
        *(
            (f"efficientnet_v2_{size.lower()}", f"EfficientNetV2{size}")
            for size in ("B1", "B2", "B3", "S", "M", "L")
        ),
        ("mobilenet_v3_large_minimalistic", "MobileNetV3Large"),
        ("nasnet_large", "NASNetLarge"),
    ],
)
def test_a_large_variant_has_weights_of_the_same_shapes(name, theirs):
    extra = {"minimalistic": True} if "minimalistic" in name else {}
    reference = outline(getattr(keras.applications, theirs), weights=None, **extra)
    model = outline(zoo.create_model, name)
    assert model.input_shape[1:] == reference.input_shape[1:] or reference.input_shape[1] is None
    assert shapes(model) == shapes(without_preprocessing(reference))


def shapes(model: keras.Model) -> list[list[int]]:
    """The shapes of a model's weights, in the order of the graph and without sides of 1."""
    return [[side for side in weight.shape if side > 1] for weight in weights(model)]


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
