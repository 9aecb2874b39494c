"""Every rule alone, in every direction; every reason to refuse; what other folders got wrong."""

import sys

import keras
import numpy as np
import pytest
from keras import layers

import export
from export import graph_reading
from export.certificate import ALGEBRA_LIMIT, outputs
from export.certificate_inputs import batches
from export.folding import Folded, fold_as, fold_graph
from export.parity import error
from export.rules import Reason
from zoo.errors import InputError
from zoo.layers import ChannelClamp, SpatialBias

from .random_models import with_weights

BatchNorm = layers.BatchNormalization


def net(start, *chain, gammas: str = "both", dtype: str = "float32") -> keras.Model:
    """A chain of layers on an input of some shape, with random weights."""
    x = image = start if isinstance(start, keras.KerasTensor) else keras.Input(start, dtype=dtype)
    for layer in chain:
        x = layer(x)
    return with_weights(keras.Model(image, x), seed=3, gammas=gammas)


def fold_exactly(model: keras.Model, **options) -> Folded:
    """Fold a model in float64 and check it against the original in float64.

    Inputs are random ones and a bright corner, which shows what is wrong at the border.
    """
    folded = fold_as(model, "float64", **options)
    wide = export.rebuild(model, "float64")
    alike = next(batches(wide))
    for inputs in (alike[0], alike[-1]):
        pairs = zip(outputs(folded.model, inputs), outputs(wide, inputs), strict=True)
        assert max(error(*pair) for pair in pairs) <= ALGEBRA_LIMIT
    return folded


def assert_gone(model: keras.Model, action: str, into: str | None = None, count: int = 1) -> Folded:
    """Check that every BatchNorm is gone in one way, exactly."""
    folded = fold_exactly(model)
    assert folded.report.kept == ()
    assert [entry.action for entry in folded.report.entries] == [action] * count
    assert not any(isinstance(layer, BatchNorm) for layer in folded.model.layers)
    if into is not None:
        assert all(entry.into == (into,) for entry in folded.report.entries)
    return folded


FIRST = {"data_format": "channels_first"}
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


# What lets a scale and shift pass: the shape before it, the layer, the BatchNorm's axis before and
# after it, and the gammas with which it does.
PASSES = {
    "identity": ((4, 4, 2), layers.Identity, -1, -1, "both"),
    "linear": ((4, 4, 2), lambda: layers.Activation("linear"), -1, -1, "both"),
    "dropout": ((4, 4, 2), lambda: layers.Dropout(0.5), -1, -1, "both"),
    "spatial dropout 1d": ((4, 2), lambda: layers.SpatialDropout1D(0.5), -1, -1, "both"),
    "spatial dropout 2d": ((4, 4, 2), lambda: layers.SpatialDropout2D(0.5), -1, -1, "both"),
    "spatial dropout 3d": ((2, 3, 2, 2), lambda: layers.SpatialDropout3D(0.5), -1, -1, "both"),
    "alpha dropout": ((4, 4, 2), lambda: layers.AlphaDropout(0.5), -1, -1, "both"),
    "gaussian dropout": ((4, 4, 2), lambda: layers.GaussianDropout(0.5), -1, -1, "both"),
    "gaussian noise": ((4, 4, 2), lambda: layers.GaussianNoise(0.5), -1, -1, "both"),
    "regularization": ((4, 4, 2), lambda: layers.ActivityRegularization(0.5), -1, -1, "both"),
    "average pooling 1d": (
        (5, 2),
        lambda: layers.AveragePooling1D(2, padding="same"),
        -1,
        -1,
        "both",
    ),
    "average pooling 2d": (
        (5, 5, 2),
        lambda: layers.AveragePooling2D(3, strides=2, padding="same"),
        -1,
        -1,
        "both",
    ),
    "average pooling 2d, channels first": (
        (2, 5, 5),
        lambda: layers.AveragePooling2D(2, **FIRST),
        1,
        1,
        "both",
    ),
    "max pooling 1d": ((5, 2), lambda: layers.MaxPooling1D(2), -1, -1, "positive"),
    "max pooling 2d": (
        (5, 5, 2),
        lambda: layers.MaxPooling2D(3, strides=2, padding="same"),
        -1,
        -1,
        "positive",
    ),
    "max pooling with zeros": ((5, 5, 4), lambda: layers.MaxPooling2D(2), -1, -1, "zero positive"),
    "max pooling that only picks": (
        (5, 5, 2),
        lambda: layers.MaxPooling2D(1, strides=2),
        -1,
        -1,
        "both",
    ),
    "global average 1d": ((5, 2), layers.GlobalAveragePooling1D, -1, -1, "both"),
    "global average 2d": ((5, 4, 2), layers.GlobalAveragePooling2D, -1, -1, "both"),
    "global average 2d, channels first": (
        (2, 5, 4),
        lambda: layers.GlobalAveragePooling2D(**FIRST),
        1,
        1,
        "both",
    ),
    "global average 3d": ((2, 3, 4, 2), layers.GlobalAveragePooling3D, -1, -1, "both"),
    "global average, kept axes": (
        (5, 4, 2),
        lambda: layers.GlobalAveragePooling2D(keepdims=True),
        -1,
        -1,
        "both",
    ),
    "global max 1d": ((5, 2), layers.GlobalMaxPooling1D, -1, -1, "positive"),
    "global max 2d": ((5, 4, 2), layers.GlobalMaxPooling2D, -1, -1, "positive"),
    "global max 3d": ((2, 3, 4, 2), layers.GlobalMaxPooling3D, -1, -1, "positive"),
    "cropping 1d": ((5, 2), lambda: layers.Cropping1D((1, 2)), -1, -1, "both"),
    "cropping 2d": ((5, 4, 2), lambda: layers.Cropping2D(((1, 2), (0, 1))), -1, -1, "both"),
    "cropping 3d": ((3, 4, 3, 2), lambda: layers.Cropping3D(1), -1, -1, "both"),
    "upsampling 1d": ((3, 2), lambda: layers.UpSampling1D(2), -1, -1, "both"),
    "upsampling 2d": ((3, 2, 2), lambda: layers.UpSampling2D((2, 3)), -1, -1, "both"),
    "upsampling 3d": ((2, 2, 2, 2), lambda: layers.UpSampling3D(2), -1, -1, "both"),
    "permute": ((3, 4, 2), lambda: layers.Permute((3, 1, 2)), -1, 1, "both"),
    "flatten": ((1, 1, 3), layers.Flatten, -1, -1, "both"),
    "reshape": ((3, 4, 2), lambda: layers.Reshape((12, 2)), -1, -1, "both"),
}
# A shift of a channel passes a maximum of any order; a scale of 0 makes it a constant.


@pytest.mark.parametrize("kind", PASSES)
def test_backward_through(kind):
    shape, make, before, after, gammas = PASSES[kind]
    if before == -1:
        first, chain = layers.Dense(shape[-1], name="k"), []
    else:  # the channels come first: a Dense gives its last axis, so that is moved there
        first, chain = layers.Dense(shape[0], name="k"), [layers.Permute(_last_to_first(shape))]
        shape = (*shape[1:], shape[0])
    model = net(shape, first, *chain, make(), BatchNorm(axis=after), gammas=gammas.split()[-1])
    _zero_some(model, gammas)
    assert_gone(model, "folded_backward", into="k")


@pytest.mark.parametrize("kind", PASSES)
def test_forward_through(kind):
    shape, make, before, after, gammas = PASSES[kind]
    layer = make()
    rank = len(layer.compute_output_shape((None, *shape)))
    chain = [] if after == -1 or rank == 2 else [layers.Permute((*range(2, rank), 1))]
    chain = [BatchNorm(axis=before), layer, *chain, layers.Dense(3, name="k")]
    model = net(shape, *chain, gammas=gammas.split()[-1])
    _zero_some(model, gammas)
    assert_gone(model, "folded_forward", into="k")


def _last_to_first(shape) -> tuple[int, ...]:
    return (len(shape), *range(1, len(shape)))


def _zero_some(model: keras.Model, gammas: str) -> None:
    """Set every other gamma to 0."""
    if gammas.startswith("zero"):
        (batchnorm,) = [layer for layer in model.layers if isinstance(layer, BatchNorm)]
        batchnorm.gamma.assign(batchnorm.gamma * [0, 1, 0, 1])


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("kind", ["Average", "Max"])
def test_pooling_over_three_axes_passes_too(kind, rank):
    # TensorFlow has no three-dimensional pooling in float64, so the report is all that is checked.
    pool = getattr(layers, f"{kind}Pooling{rank}D")(2)
    model = net((4,) * rank + (2,), layers.Dense(2), pool, BatchNorm(), gammas="positive")
    assert export.fold(model).report.kept == ()


def test_flatten_repeats_the_scale():
    model = net((3, 2, 4), BatchNorm(), layers.Flatten(), layers.Dense(3, name="k"))
    assert_gone(model, "folded_forward", into="k")


@pytest.mark.parametrize("gammas", ["both", "positive", "zero"])
def test_zero_padding_forward_becomes_a_map(gammas):
    pad, conv = layers.ZeroPadding2D(((1, 0), (2, 1))), layers.Conv2D(3, 3, name="k")
    model = net((5, 6, 4), BatchNorm(), pad, conv, layers.ReLU(), gammas=gammas)
    assert_gone(model, "folded_forward", into="k")


def test_zero_padding_twice_is_one_border():
    pads = [layers.ZeroPadding1D(1), layers.ZeroPadding1D((0, 2))]
    conv = layers.Conv1D(3, 3, strides=2, padding="same", name="k")
    assert_gone(net((5, 4), BatchNorm(), *pads, conv, layers.ReLU()), "folded_forward", into="k")


def test_zero_padding_of_channels_is_cut_off_and_filled_up():
    # Padding a channels_last tensor as channels_first puts zeros around (width, channels).
    pad = layers.ZeroPadding2D(((0, 0), (1, 2)), data_format="channels_first")
    assert_gone(net((4, 3, 2), BatchNorm(), pad, layers.Conv2D(3, 2)), "folded_forward")
    model = net((4, 3, 2), layers.Conv2D(3, 2), pad, batchnorm := BatchNorm())
    assert [entry.codes[0] for entry in fold_exactly(model).report.kept] == ["padded_border"]
    # Only what falls on the padded channels 0, 4 and 5 needs to be 0.
    batchnorm.beta.assign([0, 2, 3, 4, 0, 0])
    batchnorm.moving_mean.assign([0, 2, 3, 4, 0, 0])
    assert_gone(model, "folded_backward")


@pytest.mark.parametrize("operation", [False, True])
def test_concatenate_backward_gives_each_branch_its_channels(operation):
    image = keras.Input((4, 4, 2))
    branches = [layers.Conv2D(n, 2, name=f"k{n}")(image) for n in (1, 3, 2)]
    join = keras.ops.concatenate if operation else layers.concatenate
    x = BatchNorm()(join(branches, axis=-1))
    folded = assert_gone(with_weights(keras.Model(image, x), 1, "both"), "folded_backward")
    assert folded.report.entries[0].into == ("k1", "k3", "k2")


def test_concatenate_of_positions_backward_gives_each_branch_the_whole():
    image = keras.Input((4, 4, 2))
    branches = [layers.Conv2D(3, n, padding="same")(image) for n in (1, 3)]
    x = BatchNorm()(layers.Concatenate(axis=1)(branches))
    assert_gone(with_weights(keras.Model(image, x), 1, "both"), "folded_backward")


def test_concatenate_forward_leaves_the_other_channels():
    image = keras.Input((4, 4, 2))
    x = layers.Concatenate()([image, BatchNorm()(image), layers.ReLU()(image)])
    x = layers.ReLU()(layers.Conv2D(3, 3, padding="same", name="k")(x))
    assert_gone(with_weights(keras.Model(image, x), 1, "both"), "folded_forward", into="k")


@pytest.mark.parametrize("form", ["layer", "keyword", "operation"])
def test_add_backward_scales_every_side_and_shifts_one(form):
    image = keras.Input((4, 4, 2))
    # Kernels that cannot be laid into each other, or the branches would become one convolution.
    left = layers.Conv2D(3, (1, 3), padding="same")(image)
    right = layers.Conv2D(3, (3, 1), padding="same", use_bias=False)(image)
    if form == "operation":
        x = left + right
    elif form == "keyword":
        x = layers.Add()(inputs=[left, right])
    else:
        x = layers.Add()([left, right])
    model = with_weights(keras.Model(image, BatchNorm()(x)), 1, "both")
    assert len(assert_gone(model, "folded_backward").report.entries[0].into) == 2


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


# What other folders got wrong.


def test_a_layer_and_batchnorm_that_are_called_twice_fold_once():
    conv, batchnorm = layers.Conv2D(2, 3, padding="same", name="k"), BatchNorm()
    image = keras.Input((4, 4, 2))
    x = batchnorm(conv(layers.ReLU()(batchnorm(conv(image)))))
    model = with_weights(keras.Model(image, x), 1, "both")
    assert_gone(model, "folded_backward", into="k", count=2)


def test_a_batchnorm_that_follows_several_layers_folds_into_each():
    batchnorm, image = BatchNorm(), keras.Input((4, 4, 2))
    branches = [batchnorm(layers.Conv2D(2, n)(image)) for n in (1, 2, 3)]
    model = with_weights(keras.Model(image, branches), 1, "both")
    folded = assert_gone(model, "folded_backward", count=3)
    assert set(folded.report.entries[0].into) == {"conv2d", "conv2d_1", "conv2d_2"}


def test_a_layer_before_different_batchnorms_is_left():
    image = keras.Input((4, 4, 2))
    x = layers.Conv2D(3, 2, name="k")(image)
    model = with_weights(keras.Model(image, [BatchNorm()(x), BatchNorm()(x)]), 1, "both")
    kept = fold_exactly(model).report.kept
    assert [entry.codes for entry in kept] == [("used_elsewhere", "model_output")] * 2


def test_users_in_another_model_do_not_count():
    image = keras.Input((4, 4, 2))
    x = layers.Conv2D(3, 2, name="k")(image)
    keras.Model(image, layers.ReLU()(x))
    keras.Model(image, BatchNorm()(x))
    model = with_weights(keras.Model(image, BatchNorm()(x)), 1, "both")
    assert_gone(model, "folded_backward", into="k")


def test_users_of_an_inner_result_count():
    image = keras.Input((4, 4, 2))
    x = layers.Conv2D(3, 2, name="k")(image)
    taps = with_weights(keras.Model(image, [BatchNorm()(x), layers.ReLU()(x)]), 1, "both")
    report = fold_exactly(taps).report
    assert [entry.codes for entry in report.kept] == [("used_elsewhere", "model_output")]


def test_a_transposed_layer_takes_the_scale_on_its_own_axis():
    # As many channels in as out, so that the wrong axis would go unnoticed by shapes.
    layer = layers.Conv2DTranspose(4, 3, strides=2, padding="same", name="k")
    folded = assert_gone(net((3, 3, 4), layer, BatchNorm()), "folded_backward", into="k")
    assert folded.model.get_layer("k").kernel.shape == (3, 3, 4, 4)


def test_a_bias_is_scaled():
    conv, batchnorm = layers.Conv2D(2, 1, name="k"), BatchNorm(epsilon=1.0)
    model = net((1, 1, 2), conv, batchnorm)
    for variable, value in [
        (conv.bias, 3),
        (batchnorm.gamma, 4),
        (batchnorm.beta, 5),
        (batchnorm.moving_mean, 1),
        (batchnorm.moving_variance, 3),
    ]:
        variable.assign(np.full(2, value))
    # gamma / sqrt(variance + epsilon) = 2; (3 - 1) * 2 + 5 = 9
    bias = export.fold(model).model.get_layer("k").bias
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(bias), [9, 9])


def test_low_precision_weights_are_folded_in_float64():
    keras.config.set_dtype_policy("bfloat16")
    model = net((4, 4, 2), layers.Conv2D(3, 2, name="k"), BatchNorm())
    conv, batchnorm = model.layers[1:]
    kernel, gamma, variance = (
        np.asarray(keras.ops.convert_to_numpy(w), np.float64)
        for w in (conv.kernel, batchnorm.gamma, batchnorm.moving_variance)
    )
    folded = export.fold(model).model.get_layer("k")
    wanted = kernel * gamma / np.sqrt(variance + batchnorm.epsilon)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(folded.kernel), np.float32(wanted))


def test_dropping_values_always_is_no_identity():
    image = keras.Input((4, 4, 2))
    x = layers.Dropout(0.5)(layers.Conv2D(3, 2)(image), training=True)
    model = with_weights(keras.Model(image, BatchNorm()(x)), 1, "both")
    (entry,) = export.fold(model).report.entries
    assert entry.codes == ("unsupported_layer", "model_output")
    assert "training=True" in entry.reason


def test_a_batchnorm_over_the_batch_is_left():
    image = keras.Input((4, 4), batch_size=4)
    x = layers.Permute((2, 1))(BatchNorm(axis=0)(image))
    model = with_weights(keras.Model(image, layers.Dense(2)(x)), 1, "both")
    assert [entry.codes for entry in fold_exactly(model).report.kept] == [("channel_axis",)]


def test_an_activation_that_keras_does_not_name_is_left():
    activation = layers.Activation(layers.LeakyReLU(0.1))
    model = net((4, 4, 2), BatchNorm(), activation, layers.Conv2D(3, 2))
    (entry,) = fold_exactly(model).report.entries
    assert entry.codes == ("model_input", "unsupported_layer")


@pytest.mark.parametrize("shape", [(), (8,)], ids=str)
def test_a_reshape_that_leaves_no_channels_or_mixes_images_is_left(shape):
    image = keras.Input((1,) if shape == () else (4, 2))
    x = BatchNorm()(image)
    x = layers.Reshape(())(x) if shape == () else keras.ops.reshape(x, (-1, 4))
    x = layers.Reshape((1,))(x) if shape == () else layers.Dense(3)(x)
    model = with_weights(keras.Model(image, x), 1, "both")
    assert fold_exactly(model).report.entries[0].codes == ("model_input", "not_one_scale")


@pytest.mark.parametrize("cls", [layers.Conv2D, BatchNorm])
def test_a_subclass_may_compute_something_else(cls):
    own = type("Own", (cls,), {})
    conv = own(3, 2) if cls is layers.Conv2D else layers.Conv2D(3, 2)
    batchnorm = own() if cls is BatchNorm else BatchNorm()
    (entry,) = fold_exactly(net((4, 4, 2), conv, batchnorm)).report.entries
    assert entry.codes[0] == "unsupported_layer"


def test_a_long_chain_of_layers_that_let_pass_needs_no_deep_stack():
    # A rule that called the next one would need two frames for each layer.
    chain = [layers.Dropout(0.1) for _ in range(sys.getrecursionlimit() // 2)]
    for ends in ([layers.Dense(3), *chain, BatchNorm()], [BatchNorm(), *chain, layers.Dense(3)]):
        (entry,) = fold_graph(graph_reading.read(net((3,), *ends)), forward=True, keep=())
        assert entry.action in ("folded_backward", "folded_forward")


@pytest.mark.slow
def test_a_deep_model_folds():
    chain = []
    for _ in range(400):  # Keras itself recurses once per layer and cannot make a chain of 1000
        chain += [layers.Dense(2), BatchNorm()]
    folded = export.fold(net((2,), *chain, layers.ReLU()))
    assert len(folded.report.folded) == 400
    assert len(folded.model.layers) == 402


@pytest.mark.parametrize("activation", [None, "tanh"])
def test_an_output_keeps_its_name_when_a_map_follows_it(activation):
    conv = layers.Conv2D(3, 3, padding="same", name="head", activation=activation)
    folded = assert_gone(net((5, 4, 2), BatchNorm(), conv), "folded_forward", into="head_kernel")
    assert folded.model.output_names == ["head"]


def test_a_mask_is_no_reason_to_keep_a_batchnorm():
    tokens = keras.Input((5,), dtype="int32")
    x = layers.Embedding(4, 3, mask_zero=True)(tokens)
    x = BatchNorm()(layers.Dense(4)(x))
    model = with_weights(keras.Model(tokens, layers.LSTM(2)(x)), 1, "both")
    assert_gone(model, "folded_backward")


def test_a_batchnorm_that_was_asked_to_be_kept_takes_nothing_in():
    first, second = BatchNorm(name="first"), BatchNorm(name="second")
    model = net((4, 2), layers.Activation("tanh"), first, second)
    kept = export.fold(model, keep=["first"]).report.kept
    assert [(entry.layer, entry.codes) for entry in kept] == [
        ("first", ("not_asked",)),
        ("second", ("not_asked", "model_output")),
    ]


def test_what_tensorflow_cannot_compute_in_float64_is_told_in_one_line():
    model = net((4, 4, 4, 2), layers.Conv3D(3, 2), BatchNorm(), layers.AveragePooling3D(2))
    folded = export.fold(model)
    assert folded.report.kept == ()
    with pytest.raises(InputError, match=r"cannot compute .* in float64") as caught:
        export.certify(model, folded)
    assert "\n" not in str(caught.value)


# Why a BatchNorm is kept. Each case makes a model and says which codes its only kept entry has.


def _for_training():
    image = keras.Input((4, 4, 2))
    x = BatchNorm()(layers.Conv2D(3, 2)(image), training=True)
    return with_weights(keras.Model(image, x), 1, "both")


def _broken():
    model = net((4, 4, 2), layers.Conv2D(3, 2), BatchNorm())
    model.layers[-1].moving_variance.assign([1, -1, 1])
    return model


def _used_elsewhere():
    image = keras.Input((4, 4, 2))
    x = layers.Conv2D(3, 2)(image)
    return with_weights(keras.Model(image, [BatchNorm()(x), x]), 1, "both")


def _shared_layer():
    image, conv = keras.Input((4, 4, 2)), layers.Conv2D(2, 1)
    return with_weights(keras.Model(image, BatchNorm()(conv(conv(image)))), 1, "both")


def _several_paths():
    image = keras.Input((4, 4, 2))
    x = BatchNorm()(image)
    x = layers.Concatenate()([x, layers.ReLU()(x)])
    return with_weights(keras.Model(image, layers.Conv2D(2, 1)(x)), 1, "both")


def _addition():
    images = [keras.Input((4, 4, 2)), keras.Input((4, 4, 2))]
    x = layers.Add()([BatchNorm()(images[0]), images[1]])
    return with_weights(keras.Model(images, x), 1, "both")


def _adapted():
    model = net((4, 2), layers.Dense(3), BatchNorm())
    model.layers[1].enable_lora(1)
    return model


def _not_finite():
    model = net((4, 2), layers.Dense(3), BatchNorm())
    model.layers[1].kernel.assign(np.full((2, 3), 3e38))
    model.layers[2].gamma.assign([30, 30, 30])
    return model


REASONS = {
    Reason.TRAINING_MODE: (_for_training, ["training_mode"]),
    Reason.INVALID_STATISTICS: (_broken, ["invalid_statistics"]),
    Reason.CHANNEL_AXIS: (
        lambda: net((5, 4, 2), layers.Conv2D(3, 2), BatchNorm(axis=1)),
        ["channel_axis", "model_output"],
    ),
    Reason.FUSED_ACTIVATION: (
        lambda: net((4, 4, 2), layers.Conv2D(3, 2, activation="relu"), BatchNorm()),
        ["fused_activation", "model_output"],
    ),
    Reason.USED_ELSEWHERE: (_used_elsewhere, ["used_elsewhere", "model_output"]),
    Reason.MODEL_INPUT: (
        lambda: net((4, 2), BatchNorm(), layers.Activation("tanh")),
        ["model_input", "unsupported_layer"],
    ),
    Reason.MODEL_OUTPUT: (lambda: net((4, 2), BatchNorm()), ["model_input", "model_output"]),
    Reason.SHARED_LAYER: (_shared_layer, ["shared_layer", "model_output"]),
    Reason.SEVERAL_PATHS: (_several_paths, ["model_input", "several_paths"]),
    Reason.DYNAMIC_SIZE: (
        lambda: net((None, None, 2), BatchNorm(), layers.Conv2D(3, 3, padding="same")),
        ["model_input", "dynamic_size"],
    ),
    Reason.PADDED_BORDER: (
        lambda: net((4, 4, 2), layers.Conv2D(3, 2), layers.ZeroPadding2D(1), BatchNorm()),
        ["padded_border", "model_output"],
    ),
    Reason.NEGATIVE_SCALE: (
        lambda: net((4, 4, 2), layers.Conv2D(3, 2), layers.MaxPooling2D(2), BatchNorm()),
        ["negative_scale", "model_output"],
    ),
    Reason.ADDITION: (_addition, ["model_input", "addition"]),
    Reason.NOT_ONE_SCALE: (
        lambda: net((4, 3), BatchNorm(), layers.Reshape((3, 4)), layers.Dense(2)),
        ["model_input", "not_one_scale"],
    ),
    Reason.ADAPTED_LAYER: (_adapted, ["adapted_layer", "model_output"]),
    Reason.INTEGER_INPUT: (
        lambda: net((4, 4, 2), layers.Rescaling(0.5), layers.Conv2D(3, 2), dtype="uint8"),
        ["integer_input"],
    ),
    Reason.NOT_FINITE: (_not_finite, ["not_finite", "model_output"]),
    Reason.UNSUPPORTED_LAYER: (
        lambda: net((4, 2), layers.LayerNormalization(), BatchNorm()),
        ["unsupported_layer", "model_output"],
    ),
    Reason.INSIDE_LAYER: (
        lambda: net((3, 4, 2), layers.TimeDistributed(BatchNorm())),
        ["inside_layer"],
    ),
    Reason.NOT_ASKED: (
        lambda: net((4, 2), layers.Dense(3), BatchNorm(name="asked")),
        ["not_asked"],
    ),
}


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_keeps_what_it_is_for(reason):
    make, codes = REASONS[reason]
    model = make()
    options = {"keep": ["asked"] if reason is Reason.NOT_ASKED else [], "preprocessing": True}
    if reason in (Reason.INVALID_STATISTICS, Reason.NOT_FINITE):  # whose answers are no numbers
        folded = fold_as(model, "float64", **options)
    else:
        folded = fold_exactly(model, **options)
    report = folded.report
    (entry,) = [e for e in (*report.entries, *report.preprocessing) if e.action == "kept"]
    assert reason.value in codes
    assert list(entry.codes) == codes
    assert entry.action == "kept"
    assert entry.into == ()
    assert entry.reason


@pytest.mark.parametrize("gamma", [1e-30, -1e-30, 1e-45])
@pytest.mark.parametrize("beta", [1.0, -1.0, 0.0])
def test_a_scale_near_zero_is_exact_or_refused(gamma, beta):
    # -beta / gamma may be beyond every float32 number; then it must not become a wrong limit.
    model = net((4, 4, 2), batchnorm := BatchNorm(), layers.ReLU(), layers.Conv2D(3, 2))
    batchnorm.gamma.assign([gamma, 1])
    batchnorm.beta.assign([beta, 0])
    batchnorm.moving_variance.assign([1, 1])
    batchnorm.moving_mean.assign([0, 0])
    (entry,) = fold_exactly(model).report.entries
    assert entry.action == "clamped" or entry.codes == ("model_input", "not_finite")
