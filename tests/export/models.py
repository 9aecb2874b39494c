"""Small models whose BatchNorms look as after training."""

import keras
import numpy as np
from keras import layers

import zoo


def randomize(model: keras.Model, seed: int = 0) -> keras.Model:
    """Give every BatchNorm statistics as after training, with gamma of both signs.

    Larger gammas let activations grow from block to block, and a net of random weights then
    magnifies rounding until chance decides which of two float32 computations is nearer.
    """
    random = np.random.default_rng(seed)
    draws = {
        "gamma": lambda shape: random.choice([-1, 1], shape) * random.uniform(0.25, 0.75, shape),
        "moving_variance": lambda shape: random.uniform(0.3, 3, shape),
    }
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            for variable in layer.weights:
                draw = draws.get(variable.name, lambda shape: random.normal(size=shape))
                variable.assign(draw(variable.shape))
    return model


def resnet(name: str = "resnet20", **norm) -> keras.Model:
    """A ResNet-20, or another of CIFAR-10's, of half width for 8x8 images, with such BatchNorms."""
    model = zoo.create_model(name, input_shape=(8, 8, 3), norm=zoo.Norm(**norm), width=0.5)
    return randomize(model)


def dense(name: str = "model") -> keras.Model:
    """The smallest model of all."""
    return keras.Sequential([keras.Input((4,)), layers.Dense(3, name="only")], name=name)
