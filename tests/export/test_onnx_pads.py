"""Zero padding is inside the convolutions and max poolings that follow it, where it may be."""

from collections import Counter

import keras
import onnx
import pytest
from keras import layers

import export

from .models import randomize


def exported(tmp_path, *after, size=(9, 8, 4), **options):
    """A network and the operations of its file, which passes."""
    x = image = keras.Input(size, name="image")
    for layer in after:
        x = layer(x)
    model = randomize(keras.Model(image, x), seed=3)
    path = export.to_onnx(model, tmp_path / "model.onnx", **options)
    verdict = export.validate(model, path)
    assert verdict.ok, verdict.why()
    return Counter(node.op_type for node in onnx.load(path).graph.node)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("padding", [1, ((0, 1), (0, 1)), ((2, 0), (1, 3))])
@pytest.mark.parametrize(
    "convolution",
    [
        lambda: layers.Conv2D(5, 3),
        lambda: layers.Conv2D(5, 3, strides=2, padding="same"),
        lambda: layers.DepthwiseConv2D(3, strides=2),
        lambda: layers.Conv2D(8, 3, groups=2, dilation_rate=2),
        lambda: layers.Conv2D(5, 3, dilation_rate=2, padding="same"),
    ],
    ids=["valid", "same", "depthwise", "dilated", "dilated same"],
)
def test_a_convolution_pads_by_itself(convolution, padding, layout, tmp_path):
    found = exported(
        tmp_path, layers.Conv2D(4, 1), layers.ZeroPadding2D(padding), convolution(), layout=layout
    )
    assert found["Conv"] == 2
    assert not found["Pad"]


@pytest.mark.parametrize("activation", ["relu", "relu6", "sigmoid"])
def test_a_max_pooling_of_what_is_not_negative_pads_by_itself(activation, tmp_path):
    # Small weights: of sums far beyond 6, relu6 leaves the few whose terms cancel, and with them an
    # error that is as large as the terms.
    small = keras.initializers.RandomNormal(stddev=0.01)
    found = exported(
        tmp_path,
        layers.Conv2D(4, 3, activation=activation, kernel_initializer=small),
        layers.ZeroPadding2D(1),
        layers.MaxPooling2D(3, strides=2),
    )
    assert found["MaxPool"] == 1 and not found["Pad"]


@pytest.mark.parametrize(
    "after",
    [
        lambda: [layers.Conv2D(4, 3), layers.ZeroPadding2D(1), layers.MaxPooling2D(3)],
        lambda: [layers.ReLU(), layers.ZeroPadding2D(2), layers.MaxPooling2D(2)],
        lambda: [layers.ReLU(), layers.ZeroPadding2D(1), layers.AveragePooling2D(2)],
        lambda: [layers.Conv2D(4, 3), layers.ZeroPadding2D(1), layers.ReLU()],
        lambda: [layers.Conv2D(4, 3), layers.ZeroPadding2D(1)],
    ],
    ids=["negative", "window of padding", "average", "activation", "output"],
)
def test_elsewhere_it_stays(after, tmp_path):
    assert exported(tmp_path, *after())["Pad"] == 1


def test_all_users_pad_or_none(tmp_path):
    image = keras.Input((9, 8, 4), name="image")
    padded = layers.ZeroPadding2D(1)(layers.Conv2D(4, 1, activation="relu")(image))
    for number, other in enumerate((layers.Conv2D(5, 3), layers.AveragePooling2D(3, strides=1))):
        model = keras.Model(image, [layers.Conv2D(5, 3)(padded), other(padded)])
        path = export.to_onnx(model, tmp_path / f"{number}.onnx")
        assert export.validate(model, path).ok
        kinds = [node.op_type for node in onnx.load(path).graph.node]
        assert kinds.count("Pad") == number


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize(
    ("kernel", "strides", "options"),
    [
        (2, 3, {}),
        (2, 3, {"output_padding": 1}),
        (2, 3, {"output_padding": 2}),
        ((2, 3), 3, {"output_padding": (1, 2)}),
        (2, 4, {"output_padding": 3}),
        (1, 2, {"output_padding": 1, "padding": "same"}),
        (3, 2, {"output_padding": 1, "padding": "same"}),
    ],
)
def test_a_transposed_convolution_may_leave_zeros_at_the_end(
    kernel, strides, options, layout, tmp_path
):
    convolution = layers.Conv2DTranspose(3, kernel, strides=strides, **options)
    found = exported(tmp_path, convolution, size=(5, 6, 3), layout=layout)
    assert found["ConvTranspose"] == 1
