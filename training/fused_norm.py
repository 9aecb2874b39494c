"""BatchNorm's training step by TensorFlow's fused kernel, in layers that stay Keras' own.

Keras computes the moments, the normalization and their gradients as some twenty operations, each
of which reads or writes the whole tensor. The fused kernel does the forward pass in one operation
and the backward pass in another. Weights, configuration and what is saved do not change.
"""

import functools
from typing import Any

import keras


def use(model: Any) -> int:
    """Have the BatchNorms of a model train by the fused kernel, wherever it computes the same.

    Which are left as they are: all on other backends than TensorFlow, those of other than four
    axes with the channels last, in float64, synchronized, with renormalization, and subclasses.
    A layer that is frozen, called for inference or with a mask computes as Keras does.

    Args:
        model: A keras.Model, built. It is changed in place, for as long as it lives: neither its
            file nor a clone of it knows.

    Returns:
        The number of layers that use the kernel.

    Example:
        >>> fused_norm.use(zoo.create_model("resnet20"))
        19
    """
    if keras.backend.backend() != "tensorflow":
        return 0
    layers = [layer for layer in model._flatten_layers() if _fits(layer)]
    for layer in layers:
        layer.call = functools.partial(_call, layer)
    return len(layers)


def _fits(layer: Any) -> bool:
    """Say whether the kernel computes what a layer does."""
    return (
        type(layer) is keras.layers.BatchNormalization
        and layer.built
        and layer.input_spec.ndim == 4
        and layer.axis in (-1, 3)
        and layer.compute_dtype != "float64"
        and not layer.renorm
        and not layer.synchronized
    )


def _call(layer: Any, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
    """Compute what Keras' own ``call`` does: (batch, height, width, channels) to the same."""
    if not (training and layer.trainable) or mask is not None:
        return type(layer).call(layer, inputs, training=training, mask=mask)
    import tensorflow as tf

    inputs = tf.convert_to_tensor(inputs)
    mean, variance = layer.moving_mean, layer.moving_variance
    gamma = tf.convert_to_tensor(layer.gamma) if layer.scale else tf.ones(mean.shape)
    beta = tf.convert_to_tensor(layer.beta) if layer.center else tf.zeros(mean.shape)
    outputs, batch_mean, batch_variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=gamma,
        offset=beta,
        mean=tf.zeros([0]),
        variance=tf.zeros([0]),
        epsilon=layer.epsilon,
        is_training=True,
    )
    # The kernel tells the variance without bias, n / (n - 1) times the one that Keras averages.
    count = tf.cast(tf.size(inputs) // tf.size(batch_mean), batch_variance.dtype)
    batch_variance *= (count - 1) / count
    momentum = layer.momentum
    mean.assign(mean * momentum + batch_mean * (1 - momentum))
    variance.assign(variance * momentum + batch_variance * (1 - momentum))
    return outputs
