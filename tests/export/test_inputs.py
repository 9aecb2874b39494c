"""Preprocessing layers fold into the layers after them: exactly, or not at all with the reason."""

import keras
import numpy as np
import pytest
from keras import layers

import export

from .models import randomize

MEAN, VARIANCE = [123.7, 116.3, 103.5], [58.4**2, 57.1**2, 57.4**2]


def net(*preprocessing, shape=(9, 11, 3), dtype="float32", head=None) -> keras.Model:
    """Preprocessing layers before a strided convolution that is padded 'same'."""
    x = image = keras.Input(shape, dtype=dtype, name="image")
    for layer in preprocessing:
        x = layer(x)
    conv = layers.Conv2D(4, 3, strides=2, padding="same", name="conv")
    for layer in head or [conv, layers.GlobalAveragePooling2D()]:
        x = layer(x)
    return keras.Model(image, x)


def kinds(model: keras.Model) -> list[str]:
    return [type(layer).__name__ for layer in model.layers]


def fold(model: keras.Model) -> export.Folded:
    """Fold, and hold the certificate."""
    return export.fold(model, preprocessing=True, certify=True)


def adapted(**options) -> layers.Normalization:
    layer = layers.Normalization(**options)
    layer.adapt(np.random.default_rng(0).uniform(0, 255, (4, 9, 11, 3)).astype("float32"))
    return layer


@pytest.mark.parametrize(
    "preprocessing",
    [
        [lambda: layers.Rescaling(1 / 127.5, offset=-1)],
        [lambda: layers.Rescaling([0.1, -0.2, 0.0], offset=[1.0, 2.0, 3.0])],
        [lambda: layers.Normalization(mean=MEAN, variance=VARIANCE)],
        [lambda: layers.Normalization(axis=None, mean=0.5, variance=0.25)],
        [lambda: layers.Normalization(mean=MEAN, variance=VARIANCE, invert=True)],
        [adapted],
        [lambda: adapted(axis=None)],
        [lambda: layers.Rescaling(1 / 255), lambda: layers.Normalization(mean=0.4, variance=0.05)],
        [adapted, lambda: layers.Dropout(0.5), lambda: layers.Rescaling(3.0, 1.0)],
    ],
)
def test_it_folds_into_a_padded_convolution(preprocessing):
    model = net(*[make() for make in preprocessing])
    folded = fold(model)
    assert {entry.action for entry in folded.report.preprocessing} == {"folded_forward"}
    assert not {"Rescaling", "Normalization"} & set(kinds(folded.model))
    # A shift makes one map at the border, however many layers went in.
    assert sum(kind == "SpatialBias" for kind in kinds(folded.model)) <= len(preprocessing)


def test_two_in_a_row_leave_one_map():
    model = net(layers.Rescaling(1 / 255, offset=-0.5), adapted())
    folded = fold(model)
    assert kinds(folded.model) == [
        "InputLayer",
        "Conv2D",
        "SpatialBias",
        "GlobalAveragePooling2D",
    ]
    first, second = folded.report.preprocessing
    assert first.into == second.into == ("conv",)
    assert first.max_scale == pytest.approx(1 / 255, rel=1e-6)  # Keras keeps it in float32
    assert second.max_scale == pytest.approx(1 / 74, rel=0.05)  # uniform to 255: about 74 wide


def test_the_smallest_deviation_is_that_of_keras():
    """A constant channel is divided by epsilon, not by zero."""
    model = net(layers.Normalization(mean=MEAN, variance=[0.0, 1.0, 1e-20]))
    assert fold(model).report.preprocessing[0].max_scale == pytest.approx(1e7)


def test_it_folds_past_padding_flatten_and_into_a_dense():
    head = [layers.ZeroPadding2D(1), layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(3)]
    assert fold(net(adapted(), head=head)).report.preprocessing[0].action == "folded_forward"
    head = [layers.Flatten(), layers.Dense(3, name="dense")]
    assert fold(net(layers.Rescaling(2.0, 1.0), head=head)).report.preprocessing[0].into == (
        "dense",
    )


def test_one_number_folds_into_channels_first():
    """Whichever axis the channels turn out to be on."""
    image = keras.Input((3, 8, 8))
    pooled = layers.GlobalAveragePooling2D(data_format="channels_first")(
        layers.Rescaling(0.5, 1.0)(image)
    )
    folded = fold(keras.Model(image, layers.Dense(2, name="dense")(pooled)))
    assert folded.report.preprocessing[0].into == ("dense",)


def test_a_backbone_that_is_called_twice_folds_once():
    backbone = net(adapted())
    pair = [keras.Input((9, 11, 3)) for _ in range(2)]
    folded = fold(keras.Model(pair, layers.Concatenate()([backbone(image) for image in pair])))
    assert [entry.into for entry in folded.report.preprocessing] == [("conv",)] * 2
    assert "Normalization" not in kinds(folded.model)


def test_two_branches_each_take_their_own_and_then_what_is_before_them():
    image = keras.Input((6, 6, 3))
    scaled = layers.Rescaling(1 / 255, name="first")(image)
    branches = [
        layers.Conv2D(2, 1, name=f"conv{sign}")(layers.Rescaling(sign, 0.1)(scaled))
        for sign in (1, -1)
    ]
    folded = fold(keras.Model(image, layers.Concatenate()(branches)))
    first, *others = folded.report.preprocessing
    assert [entry.into for entry in others] == [("conv1",), ("conv-1",)]
    assert set(first.into) == {"conv1", "conv-1"}


def test_the_efficientnet_stem_folds_with_all_batchnorms():
    model = keras.applications.EfficientNetB0(weights=None, input_shape=(32, 32, 3), classes=4)
    # The stem is what is looked at; the rest only takes time.
    stem = keras.Model(model.input, model.get_layer("block1a_dwconv").output)
    normalization = next(la for la in stem.layers if isinstance(la, layers.Normalization))
    normalization.adapt_mean.assign([0.485, 0.456, 0.406])
    normalization.adapt_variance.assign([0.229, 0.224, 0.225])
    normalization.finalize_state()
    folded = fold(randomize(stem))
    assert not folded.report.kept
    assert [entry.into for entry in folded.report.preprocessing] == [("stem_conv",)] * 2
    assert export.certify(stem, folded).ok


class OwnRescaling(layers.Rescaling):
    """It may compute something else."""


@pytest.mark.parametrize(
    ("code", "make"),
    [
        ("integer_input", lambda: net(layers.Rescaling(1 / 255), dtype="uint8")),
        ("not_one_scale", lambda: net(adapted(axis=(1, 2, 3)))),
        ("not_one_scale", lambda: net(layers.Rescaling([1.0, 2.0, 3.0]), shape=(8, 8, 1))),
        ("channel_axis", lambda: net(adapted(axis=1))),
        ("dynamic_size", lambda: net(layers.Rescaling(1.0, 1.0), shape=(None, None, 3))),
        ("model_output", lambda: net(layers.Rescaling(2.0), head=[layers.Activation("linear")])),
        ("unsupported_layer", lambda: net(layers.Rescaling(2.0), head=[layers.Softmax()])),
        ("unsupported_layer", lambda: net(OwnRescaling(2.0))),
        ("invalid_statistics", lambda: net(layers.Normalization(mean=0.0, variance=-1.0))),
    ],
)
def test_what_cannot_go_exactly_is_kept_with_its_reason(code, make):
    model = make()
    folded = export.fold(model, preprocessing=True)
    (entry,) = folded.report.preprocessing
    assert (entry.action, entry.codes) == ("kept", (code,))
    assert kinds(folded.model) == kinds(model)


def test_a_scale_alone_folds_at_free_sizes():
    folded = fold(net(layers.Rescaling(1 / 255), shape=(None, None, 3)))
    assert kinds(folded.model) == ["InputLayer", "Conv2D", "GlobalAveragePooling2D"]


def test_it_is_done_on_request_only_and_told_apart():
    model = randomize(net(adapted(), head=[layers.Conv2D(2, 3), layers.BatchNormalization()]))
    plain, asked = export.fold(model), export.fold(model, preprocessing=True)
    assert plain.report.preprocessing == ()
    assert "Normalization" in kinds(plain.model)
    assert len(asked.report.entries) == len(asked.report.preprocessing) == 1
    assert asked.report.to_dict()["preprocessing"][0]["layer"] == "normalization"
    assert export.certify(model, plain).ok
    assert export.certify(model, asked).ok
