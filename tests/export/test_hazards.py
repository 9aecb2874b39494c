"""Models on which a fold, or its certificate, could go wrong without a word."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import export
import zoo
from export import parity, rules
from export.running import outputs

from .models import with_weights

BatchNorm = layers.BatchNormalization


def certified(model: keras.Model, **options) -> export.Folded:
    """Fold a model, and certify it."""
    folded = export.fold(model, **options)
    certificate = export.certify(model, folded)
    assert certificate.ok, certificate.why()
    return folded


def made(start, outputs, seed: int = 0) -> keras.Model:
    return with_weights(keras.Model(start, outputs), seed, "both")


def image(*shape, **options):
    return keras.Input(shape or (6, 6, 3), **options)


def actions(folded: export.Folded) -> list[str]:
    return [entry.action for entry in folded.report.entries]


def codes(folded: export.Folded) -> set[str]:
    return {code for entry in folded.report.kept for code in entry.codes}


# Rounding


def before_convolution(*between, **statistics) -> keras.Model:
    """BatchNorm, an activation, a convolution; some statistics given."""
    norm, x = BatchNorm(name="norm"), image()
    y = norm(x)
    for layer in between:
        y = layer(y)
    model = made(x, layers.Conv2D(4, 3, padding="same", use_bias=False)(y))
    norm.gamma.assign([1.0, -0.5, 0.7])
    for name, value in statistics.items():
        getattr(norm, name).assign(value)
    return model


@pytest.mark.parametrize("beta", [-10, -100, -1e4])
@pytest.mark.parametrize("most", [None, 6.0])
def test_a_channel_that_is_silent_costs_the_others_no_digits(beta, most):
    model = before_convolution(layers.ReLU(max_value=most), beta=[0.0, beta, 0.3])
    assert actions(certified(model)) == ["scale_forward"]


def test_usual_statistics_leave_a_clamp_alone():
    model = before_convolution(layers.ReLU(), beta=[0.0, -1.0, 2.0])
    folded = certified(model)
    assert actions(folded) == ["clamped"]
    assert {layer.name for layer in folded.model.layers} & {"re_lu_shift"} == set()


@pytest.mark.parametrize("gamma", [0.0, 1e-40, 1e-38, 1e-37])
@pytest.mark.parametrize(
    "activation",
    [
        layers.ReLU,
        lambda: layers.ReLU(negative_slope=0.1),
        lambda: layers.LeakyReLU(0.1),
        lambda: layers.Activation("leaky_relu"),
        lambda: layers.PReLU("normal", shared_axes=[1, 2]),
    ],
)
def test_a_channel_of_no_scale_is_a_constant(gamma, activation):
    model = before_convolution(activation(), gamma=[1.0, gamma, 0.5], beta=[0.2, -1.0, 0.1])
    (entry,) = certified(model).report.entries
    assert entry.action in ("clamped", "scale_forward")
    assert entry.dead_channels == 1


def test_a_constant_that_differs_between_positions_is_no_constant():
    model = before_convolution(layers.PReLU("normal"), gamma=[1.0, 0.0, 0.5])
    assert "not_one_scale" in codes(certified(model))


# What the original computes


def exponential(slope: float) -> keras.Model:
    x = keras.Input((7,))
    y = layers.Dense(2, kernel_initializer=keras.initializers.Constant(slope))
    return keras.Model(x, ops.exp(y(BatchNorm()(layers.Dense(4)(x)))))


def test_numbers_beyond_float32_are_left_out_and_no_limit_is_infinite():
    model = exponential(30.0)
    wide = [np.full((2, 7), 100.0, np.float32) * sign for sign in (1, -1)]
    assert any(np.isinf(outputs(model, [one])[0]).any() for one in wide)
    folded = export.fold(model)
    certificate = export.certify(model, folded)
    assert certificate.ok, certificate.why()
    assert np.isfinite(certificate.original_error)
    # A wrong model does not pass where the original overflows.
    kernel = folded.model.layers[1].kernel
    kernel.assign(2 * kernel)
    assert not export.certify(model, folded).ok


def test_a_file_of_another_model_fails_where_the_model_overflows(tmp_path):
    def build(seed):
        keras.utils.set_random_seed(seed)
        x = BatchNorm()(layers.Conv2D(8, 3)(start := image(8, 8, 3)))
        x = layers.GlobalAveragePooling2D()(ops.exp(3 * x))
        return keras.Model(start, layers.Dense(1)(x))

    model = build(1)
    own = export.to_onnx(export.fold(model), tmp_path / "own.onnx")
    verdict = export.validate(model, own)
    assert verdict.ok, verdict.why()
    other = export.to_onnx(build(2), tmp_path / "other.onnx")
    assert not export.validate(model, other).ok


def test_a_model_without_a_finite_number_is_not_certified():
    x = keras.Input((3,))
    model = keras.Model(x, ops.exp(BatchNorm()(layers.Dense(2)(x)) + 1e3))
    certificate = export.certify(model, export.fold(model))
    assert not certificate.ok
    assert "0 numbers" in certificate.why()


@pytest.mark.parametrize(
    "value, reference, where, expected",
    [
        ([1.0, 2.0], [1.0, 4.0], None, 0.5),
        ([1.0, np.nan], [1.0, np.nan], None, 0.0),
        ([1.0, np.inf], [1.0, np.inf], None, 0.0),
        ([1.0, np.inf], [1.0, -np.inf], None, np.inf),
        ([1.0, np.nan], [1.0, 4.0], None, np.inf),
        ([1.0, 4.0], [1.0, np.nan], None, np.inf),
        ([1.0, np.inf], [1.0, 1e300], [True, False], 0.0),
        ([3.0, np.inf], [1.0, 1e300], [True, False], 2.0),
        ([1e-9, 0.0], [0.0, 0.0], None, 1e-9),
    ],
)
def test_the_error_of_numbers_that_are_none(value, reference, where, expected):
    given = None if where is None else np.array(where)
    assert parity.error(np.array(value), np.array(reference), where=given) == expected


def test_an_error_without_end_allows_nothing():
    assert parity.limit_for(float("inf")) == parity.limit_for(float("nan")) == 0


def test_nan_in_both_models_agrees():
    x = keras.Input((5, 4))
    y = BatchNorm()(layers.Dense(4)(layers.Masking()(x)))
    certified(made(x, layers.GlobalAveragePooling1D()(y)))  # all-zero rows have no mean


@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool"])
def test_a_batchnorm_of_integers_is_kept(dtype):
    x = image(dtype=dtype)
    model = made(x, layers.Conv2D(4, 3)(BatchNorm()(BatchNorm()(x))))
    folded = certified(model)
    assert actions(folded) == ["kept", "folded_forward"]
    assert codes(folded) == {"integer_input"}


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_an_embedding_gets_entries_of_its_table(dtype):
    x = keras.Input((7,), dtype=dtype)
    certified(made(x, layers.Dense(3)(BatchNorm()(layers.Embedding(3, 4)(x)))))


def test_text_is_refused_in_one_line():
    x = keras.Input((1,), dtype="string")
    words = layers.TextVectorization(vocabulary=["a", "b"], output_sequence_length=3)
    model = keras.Model(x, BatchNorm()(layers.Dense(2)(layers.Embedding(5, 4)(words(x)))))
    with pytest.raises(zoo.InputError, match="takes text"):
        export.certify(model, export.fold(model))


def test_an_input_of_half_precision_is_no_drift_of_the_fold():
    x = image(dtype="float16")
    y = layers.Conv2D(3, 1, dtype="float32")(BatchNorm(dtype="float32")(x))
    certified(made(x, y))


def test_a_cast_that_the_model_asks_for_stays():
    x = image()
    folded = certified(made(x, ops.cast(layers.Conv2D(3, 1)(BatchNorm()(x)), "float16")))
    assert folded.model.outputs[0].dtype == "float16"


def test_a_mask_given_to_an_inner_model_is_refused():
    x, mask = keras.Input((7, 4)), keras.Input((7,), dtype="bool")
    inner = keras.Sequential([keras.Input((7, 4)), layers.Dense(4), BatchNorm(), layers.LSTM(3)])
    with pytest.warns(UserWarning, match="does not support masking"):
        model = keras.Model([x, mask], inner(x, mask=mask))
    with pytest.raises(zoo.InputError, match="called with a mask"):
        export.fold(model)


# Functions of the user's own


def gelu(x):
    """Not Keras' own gelu, but named like it."""
    return x * ops.sigmoid(1.702 * x)


def linear(x):
    return 3 * x


def test_a_function_named_like_one_of_keras_is_not_taken_for_it():
    x = image()
    y = layers.Activation(gelu)(BatchNorm()(layers.Conv2D(3, 1)(x)))
    folded = certified(made(x, BatchNorm()(layers.Conv2D(4, 3, activation=linear)(y))))
    assert actions(folded) == ["folded_backward", "kept"]
    assert "fused_activation" in codes(folded)


def test_functions_that_no_configuration_can_tell_are_the_callers_own():
    x, factor = image(), 2.0
    y = layers.Lambda(lambda t: factor * t)(layers.Conv2D(4, 3)(BatchNorm()(x)))
    y = layers.Conv2D(2, 1, activation=linear)(BatchNorm()(y))
    assert actions(certified(made(x, y))) == ["folded_forward", "folded_forward"]


class Gain(layers.Layer):
    """Multiply each channel."""

    def build(self, input_shape):
        self.gain = self.add_weight(shape=input_shape[-1:], initializer="ones", name="gain")

    def call(self, inputs):
        return inputs * self.gain


class Turned(layers.Conv2DTranspose):
    """Computes what its parent does."""


class Deep(layers.DepthwiseConv2D):
    """Computes what its parent does."""


@pytest.fixture
def user_rules():
    """Rules that go when the test is over."""
    before = dict(rules.engine._BACKWARD)
    yield
    rules.engine._BACKWARD.clear()
    rules.engine._BACKWARD.update(before)


def test_a_users_rule_is_reported_as_what_it_did(user_rules):
    @rules.backward_rule(Gain)
    def scale(call, affine, plan):
        if np.any(affine.shift):
            raise rules.Refused(rules.Reason.UNSUPPORTED_LAYER, "it has no shift")
        plan.change(call, {"gain": call.layer.weight("gain") * affine.scale})

    x = image()
    norm = BatchNorm(center=False)
    model = made(x, norm(Gain()(x)))
    norm.moving_mean.assign(np.zeros(3))
    assert actions(certified(model)) == ["folded_backward"]


@pytest.mark.parametrize("name, shape", [("gian", (3,)), ("gain", (1, 3))])
def test_a_users_rule_that_changes_what_is_not_there_is_told(user_rules, name, shape):
    @rules.backward_rule(Gain)
    def wrong(call, affine, plan):
        plan.change(call, {name: affine.scale.reshape(shape)})

    x = image()
    with pytest.raises(zoo.InputError, match=r"a rule changed weights that layer .*accepted: gain"):
        export.fold(made(x, BatchNorm()(Gain()(x))))


@pytest.mark.parametrize("layer", [lambda: Turned(3, 2), lambda: Deep(2)])
def test_our_rules_serve_a_users_subclass(user_rules, layer):
    x = image()
    model = made(x, BatchNorm()(layer()(x)))
    assert codes(certified(model)) == {"unsupported_layer", "model_output"}
    rules.backward_rule(Turned, Deep)(rules.kernels.into_output_axis)
    assert actions(certified(model)) == ["folded_backward"]


# Training on


def test_what_was_frozen_stays_frozen():
    base = keras.Sequential(
        [
            image(),
            layers.Conv2D(4, 3, padding="same"),
            layers.ReLU(),
            BatchNorm(),
            layers.Conv2D(4, 3, padding="same"),
            BatchNorm(),
            layers.ReLU(),
            layers.ZeroPadding2D(),
            layers.Conv2D(4, 3),
        ]
    )
    base.trainable = False
    x = image()
    folded = certified(made(x, layers.Dense(2, name="head")(base(x, training=False))))
    assert [weight.path for weight in folded.model.trainable_weights] == [
        "head/kernel",
        "head/bias",
    ]


def test_a_frozen_batchnorm_leaves_a_frozen_clamp():
    x = image()
    norm = BatchNorm()
    norm.trainable = False
    folded = certified(made(x, layers.Conv2D(4, 3)(layers.ReLU()(norm(x)))))
    assert [w.path.split("/")[0] for w in folded.model.trainable_weights] == ["conv2d", "conv2d"]


def test_frozen_and_trainable_branches_stay_apart():
    x = image()
    frozen, free = layers.Conv2D(4, 3, padding="same"), layers.Conv2D(4, 1, name="free")
    frozen.trainable = False
    folded = certified(made(x, layers.Add()([BatchNorm()(frozen(x)), BatchNorm()(free(x))])))
    assert [w.path for w in folded.model.trainable_weights] == ["free/kernel", "free/bias"]


def test_a_variable_that_was_frozen_alone_stays_so():
    x = image()
    conv = layers.Conv2D(4, 3)
    model = made(x, BatchNorm()(conv(x)))
    conv.kernel.trainable = False
    assert [w.name for w in certified(model).model.trainable_weights] == ["bias"]


def test_a_constraint_of_what_has_changed_is_gone():
    x = image()
    unit = keras.constraints.UnitNorm(axis=(0, 1, 2))
    model = made(x, BatchNorm()(layers.Conv2D(4, 3, kernel_constraint=unit)(x)))
    folded = certified(model).model
    pixels = np.random.default_rng(0).normal(size=(4, 6, 6, 3)).astype(np.float32)
    before = folded.predict_on_batch(pixels)
    folded.compile(keras.optimizers.SGD(0.0), "mse")
    folded.train_on_batch(pixels, before)
    np.testing.assert_array_equal(folded.predict_on_batch(pixels), before)


# Names and sizes


def test_an_output_keeps_its_name_where_its_layer_is_shared():
    x = y = image()
    conv, norm = layers.Conv2D(3, 3, padding="same", activation="relu", name="tied"), BatchNorm()
    for _ in range(3):
        y = conv(layers.ReLU()(norm(y)))
    assert certified(made(x, y)).model.output_names == ["tied"]
    shared = BatchNorm(name="shared")
    x = image()
    names = certified(made(x, [shared(layers.Conv2D(3, 3)(x)), shared(x)])).model.output_names
    assert names[0] == "shared"


@pytest.mark.parametrize(
    "start, between",
    [
        ((None, None, 3), [layers.Reshape((-1, 3)), layers.Dense(4)]),
        ((6, 4, 5), [layers.Flatten(data_format="channels_first"), layers.Dense(4)]),
        ((6, 6, 3), [layers.ZeroPadding2D(2), layers.Cropping2D(1), layers.Conv2D(4, 3)]),
        ((6, 6, 3), [layers.ZeroPadding2D(2), layers.Cropping2D(3), layers.Conv2D(4, 3)]),
        ((None, None, 3), [layers.Conv2DTranspose(4, 1)]),
    ],
    ids=["reshape of free size", "channels moved", "border cut", "more cut", "transposed 1x1"],
)
def test_forward_through_what_only_looks_difficult(start, between):
    x = image(*start)
    y = BatchNorm(axis=1 if start == (6, 4, 5) else -1)(x)
    for layer in between:
        y = layer(y)
    assert actions(certified(made(x, y))) == ["folded_forward"]


def test_backward_through_a_reshape_of_free_size():
    x = image(None, None, 3)
    y = BatchNorm()(layers.Reshape((-1, 4))(layers.Conv2D(4, 1)(x)))
    assert actions(certified(made(x, y))) == ["folded_backward"]
