"""Small models whose BatchNorms look as after training."""

import keras
import numpy as np
from keras import layers

import zoo


def randomize(model: keras.Model, seed: int = 0) -> keras.Model:
    """Give every BatchNorm statistics as after training, with gamma of both signs."""
    random = np.random.default_rng(seed)
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            for variable in layer.weights:
                shape = variable.shape
                positive = variable.name == "moving_variance"
                variable.assign(
                    random.uniform(0.3, 3, shape) if positive else random.normal(size=shape)
                )
    return model


def resnet(**norm) -> keras.Model:
    """A ResNet-20 of half width for 8x8 images, with such BatchNorms."""
    model = zoo.create_model("resnet20", input_shape=(8, 8, 3), norm=zoo.Norm(**norm), width=0.5)
    return randomize(model)
