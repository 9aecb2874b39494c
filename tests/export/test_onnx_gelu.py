"""The exact GELU is one operation of onnxruntime; other uses of erf stay as they are."""

from collections import Counter

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from keras import layers

import export

C = np.sqrt(0.5)


def network(function, *before):
    x = inputs = keras.Input((6, 5, 3), name="image")
    for layer in before:
        x = layer(x)
    return keras.Model(inputs, layers.Activation(function, name="act")(x))


def optimized(path, folder):
    """Count the operations that onnxruntime makes of a file."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(path, options)
    nodes = onnx.load(options.optimized_model_filepath).graph.node
    return Counter(node.op_type for node in nodes)


@pytest.mark.parametrize("before", [[], [layers.Conv2D]], ids=["input", "convolution"])
def test_onnxruntime_knows_it(before, tmp_path):
    model = network("gelu", *(layer(4, 3) for layer in before))
    path = export.to_onnx(model, tmp_path / "model.onnx")
    found = optimized(path, tmp_path)
    assert found["Gelu"] == 1 and not found["Erf"]
    assert export.validate(model, path).ok


def test_two_share_their_constants(tmp_path):
    x = inputs = keras.Input((6, 5, 3), name="image")
    for _ in range(2):
        x = layers.Activation("gelu")(layers.Conv2D(4, 1)(x))
    model = keras.Model(inputs, x)
    path = export.to_onnx(model, tmp_path / "model.onnx")
    assert optimized(path, tmp_path)["Gelu"] == 2
    assert export.validate(model, path).ok


@pytest.mark.parametrize(
    "function",
    [
        lambda x: tf.math.erfc(1 * x),
        lambda x: tf.math.erfc(-x),
        lambda x: tf.math.erfc(x * C),
        lambda x: tf.math.erfc(-x * 0.5),
        lambda x: tf.math.erfc(-x * tf.constant([C, C, 1.0], x.dtype)),
        lambda x: 1 + tf.math.erf(x * C),
        lambda x: 2 + tf.math.erf(x * C),
        lambda x: x + tf.math.erf(x * C),
    ],
    ids=["x", "-x", "x c", "-x / 2", "channels", "1 + erf", "2 + erf", "x + erf"],
)
def test_other_uses_compute_what_they_did(function, tmp_path):
    def named(x):  # Keras warns of a lambda
        return function(x)

    model = network(named)
    assert export.validate(model, export.to_onnx(model, tmp_path / "model.onnx")).ok
