"""Where instance normalization would leave nothing of an image.

It makes the mean of each channel of an image beta, whatever the image shows. An average over all
positions just behind it, as before the logits or in squeeze and excitation, would be a constant,
and so would a map of one position.
"""

from typing import Any

from zoo.lazily import keras
from zoo.norm import Norm


def erases(x: Any, norm: Norm) -> bool:
    """Say whether a norm would make a constant of a map, as it has one position."""
    return norm.kind == "instance" and tuple(x.shape[1:-1]) == (1, 1)


def before(x: Any, *, any_channels: bool = False, name: str) -> Any:
    """Find what an average over all positions is taken of, so that it tells of the image.

    Args:
        x: A Keras tensor, (batch, height, width, channels).
        any_channels: Whether another number of channels will do, as where a convolution follows.
        name: What the names of layers begin with, if there must be more.

    Returns:
        What was normalized where instance normalization made ``x``, and the like where ``x`` is a
        sum of such, joined of such or, with ``any_channels``, a 1x1 convolution of such, whose
        average would be constant too; otherwise ``x`` itself.
    """
    history = x._keras_history
    layer = history.operation
    inputs = layer._inbound_nodes[history.node_index].input_tensors
    if isinstance(layer, keras.layers.GroupNormalization) and layer.groups == x.shape[-1]:
        return before(inputs[0], any_channels=any_channels, name=name)
    if any_channels and _is_pointwise(layer):
        found = before(inputs[0], any_channels=True, name=name)
        return x if found is inputs[0] else found
    if not isinstance(layer, keras.layers.Add | keras.layers.Concatenate):
        return x
    found = [before(one, name=name) for one in inputs]
    changed = [new is not old for new, old in zip(found, inputs, strict=True)]
    # A sum tells of the image where one of its terms does, what is joined only where all parts do.
    if all(changed) or (any(changed) and isinstance(layer, keras.layers.Concatenate)):
        return type(layer)(name=f"{name}_bare")(found)
    return x


def _is_pointwise(layer: Any) -> bool:
    """Say whether a layer is a 1x1 convolution and nothing else."""
    is_convolution = isinstance(layer, keras.layers.Conv2D)
    return is_convolution and layer.kernel_size == layer.strides == (1, 1)
