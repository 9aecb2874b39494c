"""The reference in float64, in layers that are fast there."""

import keras

from export import graph, graph_reading
from export.graph import Layer
from export.rebuilding import require_float64


def fast(model: keras.Model) -> keras.Model:
    """Build a float64 model anew, to be computed with.

    TensorFlow computes a grouped convolution of float64 on CPUs a group at a time: a layer of 384
    groups of one channel takes about a thousand times as long as the same layer as a depthwise
    convolution, and ConvNeXt-Tiny two minutes for an image. So such layers become depthwise ones.

    Args:
        model: A float64 model from `export.rebuild`.

    Returns:
        A new model with the same layers' names, which computes the same sums; the one given, where
        nothing is to be changed.

    Example:
        >>> reference = fast(export.rebuild(model, "float64"))
    """
    found = graph_reading.read(model)
    return graph.build(found, "float64") if _quickened(found) else model


def reference(model: keras.Model) -> keras.Model:
    """Build a model of any dtypes anew in float64, to be computed with.

    The same as `fast` of what `export.rebuild` makes, without two float64 models at a time.

    Args:
        model: A functional or Sequential model, under any policy.

    Returns:
        A new model with the same layers' names.

    Raises:
        InputError: As `export.rebuild`.

    Example:
        >>> wide = exact.reference(model)
    """
    require_float64()
    found = graph_reading.read(model)
    _quickened(found)
    return graph.build(found, "float64")


def _quickened(found: graph.Graph) -> int:
    """Replace the slow layers of a graph; return how many there were."""
    slow = [layer for layer in found.layers() if _is_depthwise(layer)]
    for layer in slow:
        made = _depthwise(layer)
        for call in layer.calls:
            call.layer = made
    return len(slow)


def _is_depthwise(layer: Layer) -> bool:
    """Say whether a layer is a convolution of one channel a group, as a depthwise one may be."""
    if layer.cls is not keras.layers.Conv2D or layer.adapted:
        return False
    config = layer.config
    return (
        config["groups"] > 1
        and layer.weight("kernel").shape[2] == 1
        and config["data_format"] == "channels_last"
        and len(set(config["strides"])) == 1  # TensorFlow's depthwise one takes no others
        and set(config["dilation_rate"]) == {1}
    )


def _depthwise(layer: Layer) -> Layer:
    """Make the depthwise convolution of the same sums."""
    kept = ("kernel_size", "strides", "padding", "data_format", "activation", "use_bias")
    kernel = layer.weight("kernel")  # (height, width, 1, filters)
    groups = layer.config["groups"]
    multiplier = kernel.shape[-1] // groups
    config = {key: layer.config[key] for key in kept} | {"depth_multiplier": multiplier}
    weights = {"kernel": kernel.reshape(*kernel.shape[:2], groups, multiplier)}
    if layer.config["use_bias"]:
        weights["bias"] = layer.weight("bias")
    return Layer(
        layer.name, keras.layers.DepthwiseConv2D, config, weights=weights, calls=layer.calls
    )
