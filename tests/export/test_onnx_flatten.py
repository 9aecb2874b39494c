"""A flattened image needs no Transpose where a Dense layer follows."""

import keras
import onnx
import pytest
from keras import layers

import export
import zoo

from .models import randomize


def nodes(path):
    return [node.op_type for node in onnx.load(path).graph.node]


def network(*after, size=(7, 6, 3), before=()):
    x = image = keras.Input(size, name="image")
    for layer in (layers.Conv2D(5, 3), *before, layers.Flatten(), *after):
        x = layer(x)
    return randomize(keras.Model(image, x), seed=3)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize(
    "after",
    [
        [layers.Dense(4)],
        [layers.Dense(4, use_bias=False, activation="relu"), layers.Dense(3)],
        [layers.Dropout(0.5), layers.Dense(4)],
    ],
    ids=["dense", "two", "dropout"],
)
def test_a_dense_layer_takes_the_order_of_the_file(after, layout, tmp_path):
    model = network(*(type(layer).from_config(layer.get_config()) for layer in after))
    path = export.to_onnx(model, tmp_path / "model.onnx", layout=layout)
    assert nodes(path).count("Transpose") == (layout == "NHWC")  # that of the input
    verdict = export.validate(model, path)
    assert verdict.ok, verdict.why()


@pytest.mark.parametrize(
    "after",
    [[], [layers.BatchNormalization(), layers.Dense(4)], [layers.ReLU(), layers.Dense(4)]],
    ids=["output", "norm", "ReLU"],
)
def test_elsewhere_it_stays(after, tmp_path):
    model = network(*(type(layer).from_config(layer.get_config()) for layer in after))
    path = export.to_onnx(model, tmp_path / "model.onnx")
    assert nodes(path).count("Transpose") == 2
    assert export.validate(model, path).ok


def test_where_two_layers_take_the_rows_it_stays(tmp_path):
    image = keras.Input((7, 6, 3))
    rows = layers.Flatten()(layers.Conv2D(5, 3)(image))
    model = keras.Model(image, layers.Add()([layers.Dense(4)(rows), layers.Dense(4)(rows)]))
    path = export.to_onnx(model, tmp_path / "model.onnx")
    assert export.validate(model, path).ok


def test_a_wrong_kernel_behind_it_is_named(tmp_path):
    model = network(layers.Dense(4, name="first"), layers.Dense(3, name="second"))
    path = export.to_onnx(model, tmp_path / "model.onnx")
    proto = onnx.load(path)
    tensor = next(one for one in proto.graph.initializer if one.name.startswith("second/MatMul"))
    changed = 1.01 * onnx.numpy_helper.to_array(tensor)
    tensor.CopyFrom(onnx.numpy_helper.from_array(changed, tensor.name))
    onnx.save(proto, path)
    why = export.validate(model, path).why()
    assert "second" in why and "flatten" not in why
    assert "Reshape" in [node.name for node in proto.graph.node]  # under no layer's name


@pytest.mark.parametrize("name", ["lenet5", "vgg11_cifar"])
def test_models_of_the_zoo_have_one_transpose(name, tmp_path):
    model = randomize(zoo.create_model(name), seed=3)
    folded = export.fold(model)
    path = export.to_onnx(folded, tmp_path / "model.onnx")
    assert nodes(path).count("Transpose") <= 1
    assert export.validate(folded, path).ok
