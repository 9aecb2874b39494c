"""Clamps in the file: depthwise convolutions where the rest can go on, Max and Min elsewhere."""

from collections import Counter

import keras
import numpy as np
import onnx
import pytest
from keras import layers

import export
from export import onnx_layers
from zoo.errors import InputError
from zoo.layers import OPEN, ChannelClamp

from .models import randomize, resnet

SIGNS = {"both signs": [1, -1, 1, -1, 1, -1], "positive": [1] * 6, "negative": [-1] * 6}


def operations(path):
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def preactivated(signs, *after, activation="relu"):
    """BatchNorm, ReLU and further layers, with gammas of given signs and moving statistics."""
    x = inputs = keras.Input((9, 8, 6), name="image")
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.Activation(activation, name="act")(x)
    for layer in after:
        x = layer(x)
    model = randomize(keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x))), seed=3)
    gamma = model.get_layer("bn").gamma
    gamma.assign(np.abs(np.asarray(gamma)) * signs)
    return model


@pytest.mark.parametrize("signs", SIGNS.values(), ids=SIGNS)
@pytest.mark.parametrize(
    "after",
    [
        lambda: [layers.Conv2D(5, 1, strides=2)],
        lambda: [layers.Conv2D(5, 3)],
        lambda: [layers.AveragePooling2D(2), layers.Conv2D(5, 1)],
        lambda: [layers.DepthwiseConv2D(3), layers.Activation("relu"), layers.Conv2D(4, 1)],
        lambda: [],
    ],
    ids=["1x1", "valid 3x3", "pooled", "depthwise", "dense"],
)
def test_a_clamp_is_a_depthwise_convolution(after, signs, tmp_path):
    folded = export.fold(preactivated(signs, *after()))
    assert [entry.action for entry in folded.report.entries] == ["clamped"]
    path = export.to_onnx(folded, tmp_path / "model.onnx")
    found = operations(path)
    assert not found["Max"] and not found["Min"]
    named = [node.name for node in onnx.load(path).graph.node]
    assert "act/Conv" in named and "act/Relu" in named
    assert export.validate(folded, path).ok
    path = export.to_onnx(folded, tmp_path / "plain.onnx", clamps="max_min")
    assert operations(path)["Max"] == bool(np.any(np.array(signs) > 0))
    assert operations(path)["Min"] == bool(np.any(np.array(signs) < 0))
    assert export.validate(folded, path).ok


@pytest.mark.parametrize(
    "after",
    [
        [layers.Conv2D(5, 3, padding="same")],  # what is left would be another one at the border
        [layers.MaxPooling2D(2), layers.Conv2D(5, 1)],  # turned by the negative signs
        [layers.Softmax(axis=-1)],
    ],
    ids=["padded", "max pooling", "softmax"],
)
def test_where_the_rest_cannot_go_on_it_stays_max_and_min(after, tmp_path):
    x = inputs = keras.Input((9, 8, 6), name="image")
    x = ChannelClamp((1, 1, 6), name="clamp")(x)
    for layer in after:
        x = layer.from_config(layer.get_config())(x)
    model = randomize(keras.Model(inputs, layers.Flatten()(x)), seed=3)
    clamp = model.get_layer("clamp")
    clamp.minimum.assign(np.reshape([0.5, -OPEN] * 3, (1, 1, 6)))
    clamp.maximum.assign(np.reshape([OPEN, 0.5] * 3, (1, 1, 6)))
    assert onnx_layers.for_file(model, clamps=True) is model
    path = export.to_onnx(model, tmp_path / "model.onnx")
    found = operations(path)
    assert found["Max"] == found["Min"] == 1
    assert export.validate(model, path).ok


def test_two_limits_in_one_channel_stay():
    model = export.fold(preactivated(SIGNS["both signs"], activation="relu6")).model
    assert any(isinstance(layer, ChannelClamp) for layer in model.layers)
    assert onnx_layers.for_file(model, clamps=True) is model


def test_open_channels_and_outputs_stay():
    x = inputs = keras.Input((4, 4, 2))
    clamped = ChannelClamp((1, 1, 2), high=False, name="clamp")(x)
    model = keras.Model(inputs, layers.Conv2D(2, 1)(clamped))
    assert onnx_layers.for_file(model, clamps=True) is model  # open from both sides
    model.get_layer("clamp").minimum.assign(np.ones((1, 1, 2)))
    assert onnx_layers.for_file(model, clamps=True) is not model
    both = keras.Model(inputs, [clamped, model.output])
    assert onnx_layers.for_file(both, clamps=True) is both


def test_a_dead_channel_is_its_constant(tmp_path):
    model = preactivated(SIGNS["both signs"], layers.Conv2D(5, 1))
    norm = model.get_layer("bn")
    norm.gamma.assign([0.0, 0.0, 1.0, -1.0, 2.0, -2.0])
    norm.beta.assign([1.5, -1.5, 1.0, 1.0, -1.0, -1.0])
    folded = export.fold(model, certify=True)
    path = export.to_onnx(folded, tmp_path / "model.onnx")
    assert not operations(path)["Max"]
    assert export.validate(model, path).ok


def test_one_tensor_for_several_convolutions_as_in_a_densenet(tmp_path):
    x = inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(6, 3, padding="same")(x)
    for number in range(3):
        y = layers.BatchNormalization()(x)
        y = layers.Conv2D(4, 1, use_bias=False)(layers.Activation("relu")(y))
        y = layers.Conv2D(4, 3, padding="same", name=f"grown{number}")(y)
        x = layers.Concatenate()([x, y])
    x = layers.Activation("relu")(layers.BatchNormalization()(x))
    outputs = layers.Dense(3)(layers.GlobalAveragePooling2D()(x))
    folded = export.fold(randomize(keras.Model(inputs, outputs), seed=4))
    assert {entry.action for entry in folded.report.entries} == {"clamped"}
    path = export.to_onnx(folded, tmp_path / "model.onnx")
    found = operations(path)
    assert not found["Max"] and not found["Min"] and found["Relu"] == 4
    assert export.validate(folded, path).ok


def test_the_keras_model_is_left_as_it_is(tmp_path):
    folded = export.fold(resnet(placement="pre_activation"))
    before = [np.array(weight) for weight in folded.model.get_weights()]
    names = [layer.name for layer in folded.model.layers]
    export.to_onnx(folded, tmp_path / "model.onnx")
    assert [layer.name for layer in folded.model.layers] == names
    for was, now in zip(before, folded.model.get_weights(), strict=True):
        np.testing.assert_array_equal(was, now)


def test_another_form_is_refused(tmp_path):
    with pytest.raises(InputError, match="accepted are convolution and max_min"):
        export.to_onnx(resnet(), tmp_path / "model.onnx", clamps="clip")
