"""The models that are compared, with BatchNorms as after training."""

from typing import Any

import keras
import numpy as np
from keras import layers

# From small to large, by the time that they take.
APPLICATIONS = (
    *("MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large"),
    *("ResNet50", "ResNet50V2", "InceptionV3", "Xception", "DenseNet121"),
    *("EfficientNetB0", "EfficientNetB1", "EfficientNetV2B0", "EfficientNetV2B1", "NASNetMobile"),
    *("DenseNet169", "DenseNet201", "ResNet101", "ResNet101V2"),
    *("EfficientNetB2", "EfficientNetB3", "EfficientNetV2B2", "EfficientNetV2B3"),
    *("ResNet152", "ResNet152V2", "InceptionResNetV2", "EfficientNetV2S"),
    *("EfficientNetB4", "EfficientNetB5", "EfficientNetV2M", "EfficientNetB6", "NASNetLarge"),
    *("EfficientNetB7", "EfficientNetV2L"),
)


def randomize(model: keras.Model, seed: int = 0, signs: tuple[int, ...] = (-1, 1)) -> keras.Model:
    """Give every BatchNorm statistics as after training, with gamma of both signs or of one."""
    random = np.random.default_rng(seed)
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            size = layer.moving_mean.shape
            layer.moving_mean.assign(random.normal(size=size))
            layer.moving_variance.assign(random.uniform(0.3, 3, size))
            if layer.scale:
                # With larger ones activations grow from block to block, until a network of
                # hundreds of layers magnifies rounding to errors of half its output.
                layer.gamma.assign(random.uniform(0.25, 0.75, size) * random.choice(signs, size))
            if layer.center:
                layer.beta.assign(random.normal(size=size))
    return model


def application(name: str, size: int | None = None, **statistics: Any) -> keras.Model:
    """A model of keras.applications, at its default input size or another."""
    shape = {} if size is None else {"input_shape": (size, size, 3)}
    build = getattr(keras.applications, name)
    # Logits: a softmax of random ones is all zeros and a one, whatever becomes of the rest.
    return randomize(build(weights=None, classifier_activation=None, **shape), **statistics)


def small(order: str, blocks: int = 4) -> keras.Model:
    """A small CNN whose blocks are the layers named, such as ``conv-BN-ReLU``."""
    x = inputs = keras.Input((32, 32, 3))
    for block in range(blocks):
        for part in order.split("-"):
            match part:
                case "conv":
                    stride = 2 if block % 2 and "MaxPool" not in order else 1
                    x = layers.Conv2D(8 * (block + 1), 3, stride, "same", use_bias=False)(x)
                case "BN":
                    x = layers.BatchNormalization()(x)
                case "ReLU":
                    x = layers.ReLU()(x)
                case "MaxPool":
                    x = layers.MaxPooling2D()(x)
    x = layers.GlobalAveragePooling2D()(x)
    return randomize(keras.Model(inputs, layers.Dense(10)(x)))


def chain(order: str, blocks: int) -> keras.Model:
    """A long chain of small blocks: ``conv-BN`` or ``BN-ReLU-conv``."""
    x = inputs = keras.Input((8, 8, 8))
    for _ in range(blocks):
        for part in order.split("-"):
            match part:
                case "conv":
                    x = layers.Conv2D(8, 3, padding="same")(x)
                case "BN":
                    x = layers.BatchNormalization()(x)
                case "ReLU":
                    x = layers.ReLU()(x)
    return randomize(keras.Model(inputs, x))
