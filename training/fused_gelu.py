"""The exact GELU in one pass over the tensor each way, in layers that stay Keras' own.

TensorFlow computes x * erfc(-x / sqrt(2)) / 2 and its gradient as some ten operations, which all
read and write the whole tensor, and its erfc goes number by number. XLA makes one loop of either
way, in float32 whatever the tensor's type is.

Reference:
    Hendrycks and Gimpel 2016, https://arxiv.org/abs/1606.08415
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import keras


def use(model: Any) -> int:
    """Have the exact GELUs of a model computed by XLA, wherever that is TensorFlow's on a CPU.

    Which are left as they are: all on other backends and where there is a GPU, in float64, those by
    tanh, those that are the activation of a layer with weights, and subclasses.

    Args:
        model: A keras.Model, built. It is changed in place, for as long as it lives: neither its
            file nor a clone of it knows.

    Returns:
        The number of layers that are computed so.

    Example:
        >>> fused_gelu.use(zoo.create_model("fastnet"))
        7
    """
    if keras.backend.backend() != "tensorflow" or keras.distribution.list_devices("gpu"):
        return 0
    layers = [layer for layer in model._flatten_layers() if _fits(layer)]
    for layer in layers:
        layer.call = _gelu()
    return len(layers)


def _fits(layer: Any) -> bool:
    """Say whether a layer is an exact GELU and nothing else."""
    return (
        type(layer) is keras.layers.Activation
        and layer.activation is keras.activations.gelu
        and layer.compute_dtype != "float64"
    )


@functools.cache
def _gelu() -> Callable[[Any], Any]:
    """Make the function; TensorFlow is loaded only where it is the backend."""
    import tensorflow as tf

    def below(x: Any) -> Any:
        """Compute the share of the normal distribution that lies below x."""
        return 0.5 * tf.math.erfc(-math.sqrt(0.5) * x)

    @tf.function(jit_compile=True, autograph=False)
    def forward(x: Any) -> Any:
        wide = tf.cast(x, "float32")
        return tf.cast(wide * below(wide), x.dtype)

    @tf.function(jit_compile=True, autograph=False)
    def backward(x: Any, gradient: Any) -> Any:
        wide = tf.cast(x, "float32")
        density = tf.exp(-0.5 * wide * wide) / math.sqrt(2 * math.pi)
        return tf.cast((below(wide) + wide * density) * tf.cast(gradient, "float32"), x.dtype)

    @tf.custom_gradient
    def gelu(x: Any) -> Any:
        return forward(x), lambda gradient: backward(x, gradient)

    return lambda inputs: gelu(tf.convert_to_tensor(inputs))
