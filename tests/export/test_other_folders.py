"""What other folders got wrong, and what is told instead of done."""

import sys

import keras
import numpy as np
import pytest
from keras import layers

import export
from export import graph_reading
from export.folding import fold_graph
from zoo.errors import InputError

from .models import with_weights
from .rule_models import assert_gone, fold_exactly, net

BatchNorm = layers.BatchNormalization


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
