"""Small models whose BatchNorms look as after training."""

import math

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


def judged():
    """A model with a convolution, a BatchNorm and logits, that runs in no time."""
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((8, 8, 3), name="input"),
            layers.Conv2D(4, 3, name="conv"),
            layers.ReLU(name="act"),
            layers.BatchNormalization(name="norm"),
            layers.GlobalAveragePooling2D(name="pool"),
            layers.Dense(5, bias_initializer="glorot_normal", name="logits"),
        ],
        name="small",
    )


def with_weights(model: keras.Model, seed: int, gammas: str) -> keras.Model:
    """Give a model random weights of a size at which values neither vanish nor grow.

    Args:
        model: The model.
        seed: Of the random numbers.
        gammas: ``positive``, of ``both`` signs, or with every other one ``zero``.
    """
    random = np.random.default_rng(seed)
    for weight in model.weights:
        value = random.normal(size=weight.shape)
        if weight.name in ("moving_variance", "moving_stddev"):
            value = random.uniform(0.3, 3, size=weight.shape)
        if weight.name == "gamma":
            value = np.sign(value) * random.uniform(0.3, 2, size=weight.shape)
            value = np.abs(value) if gammas == "positive" else value
            value[::2] *= gammas != "zero"
        if weight.name.endswith("kernel"):
            value /= math.sqrt(max(1, math.prod(weight.shape[:-1])))
        weight.assign(value)
    return model
