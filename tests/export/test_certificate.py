"""A certificate holds for a sound fold, fails for any other, and says which part is wrong."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from keras import layers

import export
import zoo
from export import certificate, certificate_inputs, folding
from export.running import outputs

from .models import resnet

MIXED = ("mixed_bfloat16", "mixed_float16")


@pytest.mark.parametrize("placement", ["before_activation", "after_activation", "pre_activation"])
def test_a_sound_fold_is_certified(placement):
    model = resnet(placement=placement)
    folded = export.fold(model, certify=True)
    result = export.certify(model, folded)
    assert result.ok, result.why()
    assert 0 < result.original_error < 1e-5
    assert result.drift == 0
    assert result.first_difference == ""
    assert result.to_dict()["ok"] is True


@pytest.mark.parametrize("policy", MIXED)
def test_what_leaving_mixed_precision_changes_is_told_apart(policy):
    keras.config.set_dtype_policy(policy)
    model = resnet()
    result = export.certify(model, export.fold(model))
    assert result.ok, result.why()
    # 8 and 11 bits of precision against float32's 24.
    assert result.drift > 100 * result.folded_error


def failed(result: export.Certificate) -> list[str]:
    return [check.name for check in result.failed]


def test_a_weight_moved_after_the_fold_is_found():
    model = resnet()
    folded = export.fold(model)
    kernel = folded.model.get_layer("stage2_block1_1_conv").kernel
    moved = keras.ops.convert_to_numpy(kernel).copy()
    moved[0, 0, 0, 0] = np.nextafter(moved[0, 0, 0, 0], np.float32(np.inf))
    kernel.assign(moved)
    result = export.certify(model, folded)
    assert failed(result) == ["identity"]
    assert "stage2_block1_1_conv/kernel" in result.why()


def test_a_model_changed_since_is_found():
    model = resnet()
    folded = export.fold(model)
    model.get_layer("stem_norm").gamma.assign(np.ones(8))
    assert "source" in failed(export.certify(model, folded))


def test_wrong_algebra_is_found_and_the_layer_named(monkeypatch):
    """The classic mistake: a constant bias where 'same' padding asks for a map."""
    x = image = keras.Input((6, 6, 2), name="image")
    for number in range(3):
        x = layers.Conv2D(4, 3, padding="same", name=f"conv{number}")(x)
        x = layers.ReLU(name=f"relu{number}")(x)
        if number == 1:
            x = layers.BatchNormalization(beta_initializer="ones", name="norm")(x)
    model = keras.Model(image, x)
    monkeypatch.setattr(
        "export.rules.kernels._added", lambda call, affine, taps: taps.sum(axis=(0, 1))
    )
    folded = export.fold(model)
    result = export.certify(model, folded)
    assert failed(result) == ["algebra in float64", "rounding in float32"]
    assert result.first_difference == "conv2"
    with pytest.raises(certificate.CertificateError, match="not certified: algebra in float64"):
        export.fold(model, certify=True)


def test_bad_rounding_is_found(monkeypatch):
    """Folding in float16 is right algebra once rounded; only the errors' sizes tell."""
    model = resnet()
    folded = export.fold(model)
    for weight in folded.model.weights:
        weight.assign(keras.ops.convert_to_numpy(weight).astype("float16"))
    result = export.certify(model, folded)
    assert failed(result) == ["identity", "rounding in float32"]


def test_a_broken_model_is_never_certified():
    model = resnet()
    model.get_layer("stem_norm").moving_variance.assign(np.full(8, np.nan))
    result = export.certify(model, export.fold(model))
    assert "algebra in float64" in failed(result)
    assert result.algebra == float("inf")
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["algebra"] == "inf"


@pytest.mark.parametrize("end", ["fused", "layer", "operation"])
def test_a_saturated_softmax_hides_nothing(end, monkeypatch):
    x = image = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    x = layers.BatchNormalization(beta_initializer="ones")(x)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, padding="same", name="last")(x))
    # The first logit is so far above the others that the answer is 1, 0, 0 whatever comes in.
    dense = layers.Dense(3, activation="softmax" if end == "fused" else None, name="scores")
    x = dense(x)
    if end != "fused":
        x = layers.Softmax()(x) if end == "layer" else keras.ops.softmax(x)
    model = keras.Model(image, x)
    dense.bias.assign([1e4, 0.0, 0.0])
    assert export.certify(model, export.fold(model)).ok
    monkeypatch.setattr(
        "export.rules.kernels._added", lambda call, affine, taps: taps.sum(axis=(0, 1))
    )
    folded = export.fold(model)
    zeros = [np.zeros((1, 6, 6, 2), np.float32)]
    same = outputs(model, zeros)[0] == outputs(folded.model, zeros)[0]
    assert same.all()
    assert failed(export.certify(model, folded)) == ["algebra in float64", "rounding in float32"]


@pytest.mark.parametrize("seed", [0, 4])
def test_what_a_softmax_magnifies_is_not_the_folds_doing(seed):
    keras.utils.set_random_seed(seed)
    x = image = keras.Input((8, 8, 3))
    x = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(x))
    x = layers.Activation("silu")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(2, 1, activation="relu")(gate)
    gate = layers.Conv2D(8, 1, activation="sigmoid")(gate)
    x = layers.ReLU()(layers.BatchNormalization()(layers.Multiply()([x, gate])))
    x = layers.Conv2D(4, 3, padding="same", strides=2)(layers.MaxPooling2D(2)(x))
    x = layers.GlobalMaxPooling2D()(layers.BatchNormalization()(x))
    model = keras.Model(image, layers.Dense(3, activation="softmax")(x))
    random = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            size = layer.moving_mean.shape
            layer.moving_mean.assign(random.normal(size=size))
            layer.moving_variance.assign(random.uniform(0.3, 2, size))
            layer.gamma.assign(random.normal(size=size))
            layer.beta.assign(random.normal(size=size))
    result = export.certify(model, export.fold(model))
    assert result.ok, result.why()


def silent_on_zeros(kernel: float) -> keras.Model:
    """A model whose ReLU gives exactly 0 on zeros, which its folded form gives only nearly."""
    x = image = keras.Input((4, 4, 16))
    x = layers.BatchNormalization(beta_initializer=keras.initializers.Constant(-1.7))(x)
    x = layers.DepthwiseConv2D(1, use_bias=False)(layers.ReLU()(x))
    model = keras.Model(image, x)
    model.layers[1].moving_variance.assign(np.linspace(0.7, 1.9, 16))
    model.layers[-1].kernel.assign(np.full((1, 1, 16, 1), kernel))
    return model


def test_an_output_of_zero_is_measured_beside_those_of_other_inputs():
    model = silent_on_zeros(0.3)
    folded = export.fold(model)
    zeros = [np.zeros((2, 4, 4, 16), np.float32)]
    assert not outputs(model, zeros)[0].any()
    assert outputs(folded.model, zeros)[0].any()
    assert export.certify(model, folded).ok


def test_a_model_that_is_always_zero_is_certified_by_the_difference_itself():
    model = silent_on_zeros(0.0)
    assert export.certify(model, export.fold(model)).ok


def test_free_sizes_are_tried_at_several():
    x = image = keras.Input((None, None, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(x))
    model = keras.Model(image, layers.GlobalAveragePooling2D()(x))
    sizes = {alike[0][0].shape[1] for alike in certificate_inputs.batches(model)}
    assert sizes == set(certificate_inputs.FREE_SIZES)
    assert export.certify(model, export.fold(model)).ok


def test_a_model_that_fits_no_size_is_told():
    image = keras.Input((None, None, 3))
    model = keras.Model(image, layers.Conv2D(1, 300)(image))
    with pytest.raises(zoo.InputError, match="takes none of"):
        export.certify(model, export.fold(model))


def test_the_report_of_another_fold_is_not_enough():
    model = resnet()
    folded = export.fold(model)
    report = dataclasses.replace(folded.report, source_sha256="0" * 64)
    other = folding.Folded(folded.model, report)
    assert failed(export.certify(model, other)) == ["source"]


def test_an_empty_verdict_is_not_good():
    assert not export.Verdict(()).ok
