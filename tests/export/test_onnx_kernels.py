"""Large kernels that go round the converter make the same file."""

import keras
import onnx
import pytest
from keras import layers

import export
from export import onnx_kernels

from .models import randomize

SIZE = (12, 10, 3)


def scaled(image):
    """Convolutions with a factor for each channel behind, as of a LayerScale."""
    from keras.src.applications.convnext import LayerScale  # the one that there is

    x = layers.Conv2D(64, 3, name="conv")(image)
    x = layers.Dense(64, activation="gelu", name="expand")(x)
    x = LayerScale(0.3, 64, name="scale")(layers.Dense(64, name="project")(x))
    return layers.GlobalAveragePooling2D()(x)


def shared(image):
    """A convolution and a dense layer that are called twice."""
    conv, dense = layers.Conv2D(64, 3, padding="same"), layers.Dense(64)
    x = conv(conv(layers.Conv2D(64, 1)(image)))
    return dense(dense(layers.GlobalAveragePooling2D()(x)))


def others(image):
    """Kernels of other kinds, which stay with the converter, beside large ones."""
    x = layers.Conv2D(64, 3, strides=2, padding="same", activation="relu")(image)
    x = layers.Add()([x, layers.Conv2D(64, 3, dilation_rate=2, padding="same")(x)])
    x = layers.Conv2D(64, 3, groups=4)(x)
    x = layers.DepthwiseConv2D(3, padding="same")(layers.Conv2DTranspose(64, 2)(x))
    x = layers.SeparableConv2D(64, 3, padding="same")(x)
    return layers.Dense(64)(layers.Flatten()(x))


def pooled(image):
    """A classifier without anything special."""
    x = layers.MaxPooling2D()(layers.Conv2D(64, 3, activation="relu")(image))
    x = layers.Conv2D(128, 3)(x)
    return layers.Dense(1000)(layers.Dense(512, activation="relu")(layers.Flatten()(x)))


@pytest.fixture
def every_kernel(monkeypatch):
    monkeypatch.setattr(onnx_kernels, "MODEL", 0)
    monkeypatch.setattr(onnx_kernels, "LARGE", 100)


@pytest.mark.parametrize("build", [scaled, shared, others, pooled], ids=lambda f: f.__name__)
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_the_file_is_the_same(build, layout, tmp_path, request):
    image = keras.Input(SIZE, name="image")
    model = randomize(keras.Model(image, build(image)), seed=3)
    given = export.to_onnx(model, tmp_path / "given.onnx", layout=layout)
    request.getfixturevalue("every_kernel")
    assert onnx_kernels.large(export.rebuild(model), ("image",))
    beside = export.to_onnx(model, tmp_path / "beside.onnx", layout=layout)
    nodes = [[node.name for node in onnx.load(path).graph.node] for path in (given, beside)]
    assert nodes[0] == nodes[1]
    assert given.read_bytes() == beside.read_bytes()


def test_a_model_with_batchnorms_gives_all_to_the_converter(every_kernel):
    image = keras.Input(SIZE)
    x = layers.Conv2D(64, 3)(image)
    assert onnx_kernels.large(keras.Model(image, x), ("image",))
    assert not onnx_kernels.large(keras.Model(image, layers.BatchNormalization()(x)), ("image",))


def test_a_small_model_gives_all_to_the_converter():
    image = keras.Input(SIZE)
    assert not onnx_kernels.large(keras.Model(image, layers.Conv2D(64, 3)(image)), ("image",))


def test_inputs_of_any_name_are_no_kernels(every_kernel, tmp_path):
    one, other = keras.Input((16,), name="kernel0"), keras.Input((16,), name="kernel1")
    model = keras.Model([one, other], layers.Dense(32)(layers.Add()([one, other])))
    path = export.to_onnx(model, tmp_path / "model.onnx")
    assert [value.name for value in onnx.load(path).graph.input] == ["kernel0", "kernel1"]
    assert export.validate(model, path).ok
