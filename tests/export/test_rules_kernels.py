"""What takes a scale and shift in, and every setting of a BatchNorm."""

import keras
import pytest
from keras import layers

from zoo.layers import SpatialBias

from .models import with_weights
from .rule_models import FIRST, assert_gone, net

BatchNorm = layers.BatchNormalization


# What takes a scale and shift in: the input's shape, the class, its settings.
KERNELS = {
    "dense": ((5,), layers.Dense, {"units": 6}),
    "dense of rank 4": ((3, 2, 5), layers.Dense, {"units": 6}),
    "conv1d": ((9, 4), layers.Conv1D, {"filters": 6, "kernel_size": 3}),
    "conv1d causal": (
        (9, 4),
        layers.Conv1D,
        {"filters": 6, "kernel_size": 3, "padding": "causal", "dilation_rate": 2},
    ),
    "conv1d strided": ((9, 4), layers.Conv1D, {"filters": 3, "kernel_size": 4, "strides": 3}),
    "conv2d": ((6, 7, 4), layers.Conv2D, {"filters": 6, "kernel_size": 3}),
    "conv2d uneven": ((6, 7, 4), layers.Conv2D, {"filters": 6, "kernel_size": (2, 3)}),
    "conv2d strided": (
        (6, 7, 4),
        layers.Conv2D,
        {"filters": 6, "kernel_size": 3, "strides": (2, 3)},
    ),
    "conv2d dilated": (
        (8, 7, 4),
        layers.Conv2D,
        {"filters": 6, "kernel_size": 3, "dilation_rate": (2, 3)},
    ),
    "conv2d grouped": ((6, 7, 4), layers.Conv2D, {"filters": 6, "kernel_size": 3, "groups": 2}),
    "conv2d grouped, channels first": (
        (4, 6, 7),
        layers.Conv2D,
        {"filters": 6, "kernel_size": 3, "groups": 2, **FIRST},
    ),
    "conv3d": ((4, 5, 4, 2), layers.Conv3D, {"filters": 3, "kernel_size": 2}),
    "conv3d strided, channels first": (
        (2, 4, 5, 4),
        layers.Conv3D,
        {"filters": 3, "kernel_size": 3, "strides": (1, 2, 3), **FIRST},
    ),
    "depthwise1d": ((9, 4), layers.DepthwiseConv1D, {"kernel_size": 3, "depth_multiplier": 2}),
    "depthwise2d": ((6, 7, 4), layers.DepthwiseConv2D, {"kernel_size": 3}),
    "depthwise2d multiplied": (
        (6, 7, 4),
        layers.DepthwiseConv2D,
        {"kernel_size": (2, 3), "depth_multiplier": 3, "strides": 2},
    ),
    "depthwise2d dilated, channels first": (
        (4, 6, 7),
        layers.DepthwiseConv2D,
        {"kernel_size": 3, "dilation_rate": 2, **FIRST},
    ),
    "separable1d": (
        (9, 4),
        layers.SeparableConv1D,
        {"filters": 3, "kernel_size": 3, "depth_multiplier": 2},
    ),
    "separable2d": (
        (6, 7, 4),
        layers.SeparableConv2D,
        {"filters": 3, "kernel_size": 3, "depth_multiplier": 2, "strides": 2},
    ),
    "conv1d transposed": (
        (5, 4),
        layers.Conv1DTranspose,
        {"filters": 3, "kernel_size": 3, "strides": 2},
    ),
    "conv2d transposed": (
        (4, 5, 4),
        layers.Conv2DTranspose,
        {"filters": 3, "kernel_size": (3, 4), "strides": (2, 3)},
    ),
    "conv2d transposed, small kernel": (
        (4, 5, 4),
        layers.Conv2DTranspose,
        {"filters": 3, "kernel_size": 2, "strides": 3},
    ),
    "conv2d transposed, output padding 0": (
        (4, 5, 4),
        layers.Conv2DTranspose,
        {"filters": 3, "kernel_size": 3, "strides": 2, "output_padding": 0},
    ),
    "conv2d transposed, output padding 1": (
        (4, 5, 4),
        layers.Conv2DTranspose,
        {"filters": 3, "kernel_size": 4, "strides": 2, "output_padding": 1},
    ),
    "conv3d transposed": (
        (3, 2, 4, 2),
        layers.Conv3DTranspose,
        {"filters": 3, "kernel_size": 3, "strides": 2},
    ),
}
# Transposed layers read zeros between pixels, so a shift is another one from place to place.
SPATIAL = [name for name, (_, cls, _) in KERNELS.items() if cls is not layers.Dense]


def axis_of(settings: dict) -> int:
    return 1 if settings.get("data_format") == "channels_first" else -1


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("kind", KERNELS)
def test_backward_into_a_kernel(kind, use_bias):
    shape, cls, settings = KERNELS[kind]
    layer = cls(name="k", use_bias=use_bias, **settings)
    model = net(shape, layer, BatchNorm(axis=axis_of(settings)))
    folded = assert_gone(model, "folded_backward", into="k")
    assert folded.model.get_layer("k").use_bias


@pytest.mark.parametrize("kind", KERNELS)
def test_forward_into_a_kernel(kind):
    shape, cls, settings = KERNELS[kind]
    layer = cls(name="k", activation="relu", use_bias=False, **settings)
    model = net(shape, BatchNorm(axis=axis_of(settings)), layer, layers.Activation("tanh"))
    assert_gone(model, "folded_forward", into="k")


@pytest.mark.parametrize("kind", [name for name in SPATIAL if "causal" not in name])
def test_forward_into_a_kernel_that_pads_with_zeros(kind):
    shape, cls, settings = KERNELS[kind]
    layer = cls(name="k", activation="relu", **settings, padding="same")
    model = net(shape, BatchNorm(axis=axis_of(settings)), layer, layers.Activation("tanh"))
    folded = assert_gone(model, "folded_forward", into="k")
    # A shift that the padding does not have is no constant: it must be a map over the positions.
    maps = [layer for layer in folded.model.layers if isinstance(layer, SpatialBias)]
    assert len(maps) == 1
    assert maps[0].shape == model.get_layer("k").output.shape[1:]


def test_a_shift_that_padding_cannot_see_stays_a_bias():
    conv = layers.Conv2D(3, 1, strides=2, padding="same", name="k")
    folded = assert_gone(net((5, 5, 2), BatchNorm(), conv), "folded_forward", into="k")
    assert len(folded.model.layers) == 2


def test_a_scale_alone_needs_no_map_where_the_size_is_free():
    batchnorm = BatchNorm(center=False)
    model = net((None, None, 2), batchnorm, layers.Conv2D(3, 3, padding="same"))
    batchnorm.moving_mean.assign([0, 0])
    assert_gone(model, "folded_forward")


@pytest.mark.parametrize(
    "options",
    [
        {"center": False},
        {"scale": False},
        {"center": False, "scale": False},
        {"renorm": True},
        {"epsilon": 0.5},
        {"trainable": False},
        {"synchronized": True},
    ],
    ids=str,
)
def test_every_setting_of_a_batchnorm(options):
    conv = layers.Conv2D(3, 2, name="k")
    assert_gone(net((4, 4, 2), conv, BatchNorm(**options)), "folded_backward", into="k")
    conv = layers.Conv2D(3, 2, name="k")
    assert_gone(net((4, 4, 2), BatchNorm(**options), conv), "folded_forward", into="k")


def test_a_frozen_batchnorm_that_is_called_for_training_is_folded():
    batchnorm = BatchNorm(trainable=False)
    image = keras.Input((4, 4, 2))
    x = batchnorm(layers.Conv2D(3, 2)(image), training=True)
    assert_gone(with_weights(keras.Model(image, x), 0, "both"), "folded_backward")
