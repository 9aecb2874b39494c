"""What stands before a model's last softmax or sigmoid, made visible.

Where logits are far apart a softmax gives zeros and a one whatever becomes of their digits: two
models could agree there and compute something else. So models are compared before it as well.
"""

import keras

from export import graph, graph_reading
from export.graph import Call, Graph, Layer, Tensor

_SATURATING = ("softmax", "sigmoid", "tanh", "hard_sigmoid")


def with_logits(model: keras.Model, dtype: str) -> keras.Model:
    """Build a model anew, with what its last softmax or sigmoid takes among its outputs.

    Args:
        model: A functional or Sequential model.
        dtype: As in `export.rebuild`: ``float32`` or ``float64``.

    Returns:
        A new model. Its first outputs are those of the model; then come the tensors before each
        output's saturating activation, if there is any.
    """
    found = graph_reading.read(model)
    _expose(found)
    return graph.build(found, dtype)


def _expose(found: Graph) -> None:
    """Add to a graph's outputs what its outputs' saturating activations take, if there are any."""
    added = []
    for tensor in dict.fromkeys(keras.tree.flatten(found.outputs)):
        before = _before_activation(found, tensor)
        if before is not None and not before.is_output:
            before.is_output = True
            added.append(before)
    if added:
        found.outputs = [*keras.tree.flatten(found.outputs), *added]


def _before_activation(found: Graph, tensor: Tensor) -> Tensor | None:
    """Return what an output's saturating activation takes; None where it is made by no such one."""
    call = tensor.call
    if call.layer.kind.lower() in _SATURATING:
        return call.inputs[0]
    if call.layer.config.get("activation") not in _SATURATING:
        return None
    if call.layer.kind == "Activation":
        return call.inputs[0]
    return _split(found, call) if _ends_in_activation(call) else None


def _ends_in_activation(call: Call) -> bool:
    """Say whether an activation is the last thing that a call does: a Dense layer's, a kernel's."""
    kernel = call.layer.kind == "Dense" or "kernel_size" in call.layer.config
    return call.layer.is_keras and kernel and len(call.outputs) == 1


def _split(found: Graph, call: Call) -> Tensor | None:
    """Take the activation out of a layer, into one of its own; where other calls share it, no."""
    layer = call.layer
    if layer.calls != [call]:
        return None
    name = layer.name
    config = {"activation": layer.config["activation"], "name": name}
    layer.name = found.free_name(f"{name}_logits")
    layer.config = {**layer.config, "activation": "linear", "name": layer.name}
    found.insert_after(call, Layer(name, keras.layers.Activation, config))
    return call.output
