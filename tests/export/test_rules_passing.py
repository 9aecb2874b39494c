"""What lets a scale and shift pass, in either direction."""

import keras
import pytest
from keras import layers

import export

from .models import with_weights
from .rule_models import FIRST, assert_gone, fold_exactly, net

BatchNorm = layers.BatchNormalization


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


def test_take_forward_gives_each_channel_its_own_in_the_new_order():
    image = keras.Input((4, 4, 3))
    x = BatchNorm()(image)
    # All users of a norm take it in: of these two, each some channels, one of them twice.
    halves = [keras.ops.take(x, places, axis=-1) for places in ([2, 0], [1, 1])]
    ends = [layers.Conv2D(2, 3, padding="same")(half) for half in halves]
    model = with_weights(keras.Model(image, layers.Concatenate()(ends)), 1, "both")
    assert len(assert_gone(model, "folded_forward").report.entries[0].into) == 2


def test_take_of_rows_stops_what_is_on_the_channels():
    image = keras.Input((4, 4, 3))
    x = keras.ops.take(BatchNorm()(image), [2, 0], axis=1)
    model = with_weights(keras.Model(image, layers.Conv2D(2, 1)(x)), 1, "both")
    assert [entry.action for entry in fold_exactly(model).report.entries] == ["kept"]


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
