"""A model in the layers that its file runs fastest with."""

import keras

from export import graph, graph_reading, onnx_clamps, onnx_dense


def for_file(model: keras.Model, *, clamps: bool) -> keras.Model:
    """Build a model anew in layers that make a better file, where it has others.

    Args:
        model: A float32 model from `export.rebuild`.
        clamps: Whether clamps may become depthwise convolutions; see `export.onnx_clamps`.

    Returns:
        A model that computes the same, to rounding, in layers of the same names; the one given,
        where nothing is to be changed.
    """
    source = graph_reading.read(model)
    changed = onnx_dense.replace(source)
    if clamps:
        changed = onnx_clamps.replace(source) or changed
    return graph.build(source, "float32") if changed else model
