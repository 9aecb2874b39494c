"""What stands before a model's last softmax or sigmoid, made visible.

Where logits are far apart a softmax gives zeros and a one whatever becomes of their digits: two
models could agree there and compute something else. So models are compared before it as well.
"""

from dataclasses import dataclass

import keras

from export import graph, graph_reading
from export.graph import Call, Graph, Layer, Tensor

_SATURATING = ("softmax", "sigmoid", "tanh", "hard_sigmoid")

# At inference these hand on the numbers that they are given.
_HAND_ON = (
    *("Identity", "Reshape", "Flatten", "ActivityRegularization"),
    *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"),
    *("AlphaDropout", "GaussianDropout", "GaussianNoise"),
)


@dataclass(frozen=True)
class Head:
    """The end of a model that `with_logits` made: what stands between logits and an output.

    Args:
        output: The output's place among the model's.
        logits: The place of the logits that it is made of.
        model: The function from these to it.
    """

    output: int
    logits: int
    model: keras.Model


def heads(model: keras.Model, wide: keras.Model) -> list[Head]:
    """Find the outputs of a model that are made of its logits alone.

    Args:
        model: The model.
        wide: What `with_logits` made of it, in any dtype.

    Returns:
        A head for each output behind a saturating activation, in the dtype of ``wide``.
    """
    found = graph_reading.read(model)
    pairs = _expose(found)
    places = {tensor: place for place, tensor in enumerate(keras.tree.flatten(found.outputs))}
    return [
        Head(place, places[before], keras.Model(wide.outputs[places[before]], wide.outputs[place]))
        for place, before in pairs.items()
    ]


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


def last_activation(model: keras.Model) -> tuple[str, str]:
    """Tell what a model applies last.

    Args:
        model: A functional or Sequential model with one output.

    Returns:
        The name of the layer that makes the output's numbers, and that of the activation at its
        end, or the layer's class in small letters. Layers that hand numbers on are looked through,
        and so are models inside.
    """
    found = graph_reading.read(model)
    layer = _maker(keras.tree.flatten(found.outputs)[0]).layer
    activation = layer.config.get("activation")
    return layer.name, getattr(activation, "__name__", activation) or layer.kind.lower()


def _maker(tensor: Tensor) -> Call:
    """Return the call that makes a tensor's numbers."""
    call = tensor.call
    while call.inputs and (call.layer.kind in _HAND_ON or _is_linear(call)):
        call = call.inputs[0].call
    return call


def _is_linear(call: Call) -> bool:
    """Say whether a call is an activation that is none."""
    return call.layer.kind == "Activation" and call.layer.config.get("activation") == "linear"


def _expose(found: Graph) -> dict[int, Tensor]:
    """Add to a graph's outputs what its outputs' saturating activations take, if there are any.

    Returns:
        What is taken, by the place of the output.
    """
    added, pairs = [], {}
    for place, tensor in enumerate(keras.tree.flatten(found.outputs)):
        before = _before_activation(found, tensor)
        if before is None:
            continue
        pairs[place] = before
        if not before.is_output:
            before.is_output = True
            added.append(before)
    if added:
        found.outputs = [*keras.tree.flatten(found.outputs), *added]
    return pairs


def _before_activation(found: Graph, tensor: Tensor) -> Tensor | None:
    """Return what an output's saturating activation takes; None where it is made by no such one."""
    call = _maker(tensor)
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
