"""Dense layers in the file: 1x1 convolutions on images, products of matrices elsewhere."""

from collections import Counter

import keras
import onnx
import pytest
from keras import layers

import export
from export import onnx_layers

from .models import randomize


def nodes(path):
    return list(onnx.load(path).graph.node)


def operations(path):
    return Counter(node.op_type for node in nodes(path))


def network(*after, size=(9, 8, 6)):
    x = inputs = keras.Input(size, name="image")
    for layer in after:
        x = layer(x)
    return randomize(keras.Model(inputs, x), seed=3)


def is_changed(model):
    model = export.rebuild(model)
    return onnx_layers.for_file(model, clamps=False) is not model


@pytest.mark.parametrize(
    "options",
    [{}, {"activation": "gelu"}, {"use_bias": False, "activation": "relu"}],
    ids=["plain", "gelu", "no bias, ReLU"],
)
@pytest.mark.parametrize(
    "between",
    [
        [],
        [layers.LayerNormalization],
        [layers.BatchNormalization, layers.ReLU],
        [layers.MaxPooling2D],
        [layers.ZeroPadding2D, layers.Identity],
    ],
    ids=["nothing", "layer norm", "batch norm", "pooling", "padding"],
)
def test_between_convolutions_it_is_one_of_them(between, options, tmp_path):
    model = network(
        layers.Conv2D(5, 3, padding="same"),
        *(layer() for layer in between),
        layers.Dense(7, name="pointwise", **options),
        layers.DepthwiseConv2D(3, padding="same"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(4),
    )
    folded = export.fold(model)
    path = export.to_onnx(folded, tmp_path / "model.onnx")
    assert "pointwise/Conv" in [node.name for node in nodes(path)]
    found = operations(path)
    assert found["Transpose"] == 1  # that of the input
    assert found["MatMul"] + found["Gemm"] == 1  # the last layer
    assert not found["Shape"]
    assert export.validate(folded, path).ok


def test_one_that_is_called_twice_is_one_convolution_called_twice(tmp_path):
    inputs = keras.Input((8, 8, 3), name="image")
    shared = layers.Dense(4, name="shared")
    first = shared(layers.Conv2D(5, 3)(inputs))
    second = shared(layers.Conv2D(5, 3)(inputs))
    model = randomize(keras.Model(inputs, layers.Add()([first, second])), seed=3)
    path = export.to_onnx(model, tmp_path / "model.onnx")
    found = [node for node in nodes(path) if node.name.startswith("shared")]
    assert [node.op_type for node in found] == ["Conv", "Conv"]
    assert found[0].input[1] == found[1].input[1]
    assert export.validate(model, path).ok


def test_one_that_is_called_elsewhere_too_stays():
    inputs = keras.Input((8, 8, 3), name="image")
    shared = layers.Dense(4)
    image = shared(layers.Conv2D(5, 3)(inputs))
    row = shared(layers.Reshape((-1, 5))(layers.Conv2D(5, 3)(inputs)))
    assert not is_changed(keras.Model(inputs, [image, row]))


@pytest.mark.parametrize(
    "before",
    [
        [],
        [layers.Activation("relu")],
        [layers.Conv2D(6, 3), layers.Reshape((7, 9, 4))],
        [layers.Conv2D(6, 3), layers.Permute((2, 1, 3))],
        [layers.Conv2D(6, 3), layers.Reshape((-1, 6))],
        [layers.Conv2D(6, 3), layers.Flatten()],
        [layers.Conv2D(6, 1, data_format="channels_first")],
    ],
    ids=["input", "activation", "reshaped", "permuted", "rows", "flat", "channels first"],
)
def test_where_no_convolution_made_the_image_it_stays(before):
    inputs = x = keras.Input((9, 8, 6), name="image")
    for layer in before:
        x = type(layer).from_config(layer.get_config())(x)
    assert not is_changed(keras.Model(inputs, layers.Dense(4)(x)))


def test_what_is_not_only_a_kernel_stays():
    class Scaled(layers.Dense):
        """A layer of a user's, which may compute anything."""

    assert not is_changed(network(layers.Conv2D(5, 3), Scaled(4)))
    adapted = network(layers.Conv2D(5, 3), layers.Dense(4, name="adapted"))
    assert is_changed(adapted)
    adapted.get_layer("adapted").enable_lora(2)
    assert not is_changed(adapted)


def test_a_convnext_has_one_transpose(tmp_path):
    from keras.src.applications import convnext  # the one way to a small one

    keras.utils.set_random_seed(0)
    model = convnext.ConvNeXt(
        depths=[1, 1, 2, 1],
        projection_dims=[8, 16, 24, 32],
        input_shape=(64, 64, 3),
        weights=None,
        classes=10,
        name="convnext",
    )
    folded = export.fold(randomize(model, seed=3))
    path = export.to_onnx(folded, tmp_path / "model.onnx")
    found = operations(path)
    assert found["Transpose"] == 1
    assert found["Conv"] == 4 + 3 * 5 and found["MatMul"] + found["Gemm"] == 1
    assert not found["Shape"] and not found["Gather"]
    assert export.validate(folded, path).ok
