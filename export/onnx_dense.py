"""Dense layers between convolutions as 1x1 convolutions, which is what they compute.

A Dense layer on (batch, height, width, channels) multiplies the channels of each pixel by a matrix.
ONNX has images with their channels first, and a product of matrices wants them last: between two
convolutions each such layer leaves two Transposes and the computation of a shape in the file, 36
Transposes in a ConvNeXt-Tiny of keras.applications. As a convolution it leaves none.
"""

import keras

from export.graph import Graph, Layer, Tensor

_IMAGE = 4  # axes: batch, height, width, channels

# What comes out of these has its channels first in the file, by the name of their class.
_CONVOLVES = ("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose")
_POOLS = ("MaxPooling2D", "AveragePooling2D")

# These move or mix axes, so that nothing is known of the layout behind them.
_REARRANGES = ("Reshape", "Permute", "Transpose", "Moveaxis", "Swapaxes")


def replace(source: Graph) -> bool:
    """Replace the Dense layers on what a convolution made by convolutions, where they can be.

    Args:
        source: A graph of a float32 model from `export.rebuild`; it is changed.

    Returns:
        Whether any was.
    """
    taken = [layer for layer in source.layers() if _is_pointwise(layer)]
    for layer in taken:
        convolution = _convolution(layer)
        for call in layer.calls:
            call.layer = convolution
    return bool(taken)


def _is_pointwise(layer: Layer) -> bool:
    """Say whether a layer is a Dense layer of which every call takes what a convolution made."""
    if layer.cls is not keras.layers.Dense or layer.adapted:
        return False
    return all(len(call.inputs) == 1 and _from_image(call.inputs[0]) for call in layer.calls)


def _from_image(tensor: Tensor) -> bool:
    """Say whether a tensor is an image that a convolution made, through layers that keep its axes.

    The first inputs are followed: an addition has images of one layout on both sides.
    """
    while len(tensor.shape) == _IMAGE and tensor.call.inputs:
        layer = tensor.call.layer
        if layer.kind in (*_CONVOLVES, *_POOLS):
            return bool(layer.config["data_format"] == "channels_last")
        if layer.label in _REARRANGES:
            return False
        tensor = tensor.call.inputs[0]
    return False


def _convolution(old: Layer) -> Layer:
    """Make the layer that takes a Dense layer's place, under its name."""
    config = {
        "filters": old.config["units"],
        "kernel_size": (1, 1),
        "activation": old.config["activation"],
        "use_bias": old.config["use_bias"],
        "data_format": "channels_last",
        "trainable": old.trainable,
    }
    weights = {"kernel": old.weight("kernel")[None, None]}
    if old.config["use_bias"]:
        weights["bias"] = old.weight("bias")
    return Layer(old.name, keras.layers.Conv2D, config, weights=weights, calls=old.calls)
