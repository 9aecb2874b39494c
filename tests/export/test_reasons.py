"""Why a BatchNorm is kept: every reason, and only where it is true."""

import keras
import numpy as np
import pytest
from keras import layers

from export.folding import fold_as
from export.rules import Reason

from .models import with_weights
from .rule_models import fold_exactly, net

BatchNorm = layers.BatchNormalization


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
