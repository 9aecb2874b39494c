"""Reading a Keras model into a `export.graph.Graph`: its nodes followed from outputs to inputs."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras.src.models.functional import Functional  # Keras gives it no public name

from export import copying
from export.copying import FLOAT_DTYPES
from export.graph import Call, Graph, Layer, Tensor, free_name
from zoo.errors import InputError


def read(model: keras.Model) -> Graph:
    """Read a model into a graph.

    Args:
        model: A functional or Sequential model, built.

    Returns:
        The graph. It refers to the model's layers but never changes them.

    Raises:
        InputError: The model is a subclass with a call of its own, or was not built.
    """
    if not is_functional(model):
        raise InputError(
            f"accepted are functional and Sequential Keras models; received {model!r}, whose "
            "layers cannot be seen from outside"
        )
    reader = _Reader()
    reader.reserve_outputs(model)
    inputs = [reader.add_input(tensor) for tensor in model.inputs]
    structure = getattr(model, "_inputs_struct", None)
    outputs = reader.name_outputs(model, reader.inline(model, inputs, training=None))
    for tensor in keras.tree.flatten(outputs):
        tensor.is_output = True
    packed = inputs if structure is None else keras.tree.pack_sequence_as(structure, inputs)
    return Graph(model.name, reader.calls, packed, outputs)


def is_functional(layer: Any) -> bool:
    """Say whether something is a built model whose graph is all there is to it."""
    if not isinstance(layer, (keras.Model, keras.Sequential)):
        return False
    plain = (keras.Sequential.call, Functional.call)
    return type(layer).call in plain and bool(getattr(layer, "outputs", None))


class _Reader:
    """Walks from a model's outputs to its inputs and notes every call once."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._layers: dict[int, Layer] = {}
        self._names: set[str] = set()

    def reserve_outputs(self, model: Any) -> None:
        """Keep the names of nested models whose results are outputs of the model."""
        for symbolic in model.outputs:
            nested = symbolic._keras_history.operation
            if is_functional(nested) and id(nested) not in self._layers:
                name = free_name(nested.name, self._names)
                self._names.add(name)
                self._layers[id(nested)] = Layer(name, keras.layers.Identity, {"name": name})

    def add_input(self, tensor: Any) -> Tensor:
        """Note an input of the model, with its name."""
        source = tensor._keras_history.operation
        call = Call(self._layer(source), (), {})
        return self._finish(call, [tensor])[0]

    def inline(self, model: Any, inputs: list[Tensor], *, training: Any) -> Any:
        """Note the calls inside a model that takes these tensors; return its outputs."""
        known = {id(inner): outer for inner, outer in zip(model.inputs, inputs, strict=True)}
        for tensor in _in_order(model):
            if id(tensor) not in known:
                self._note(_node(tensor), known, training)
        structure = getattr(model, "_outputs_struct", None)
        if structure is None:  # a Sequential keeps none and has one output
            structure = model.outputs[0]
        return keras.tree.map_structure(lambda inner: known[id(inner)], structure)

    def _note(self, node: Any, known: dict[int, Tensor], training: Any) -> None:
        """Note one call, or all calls of a nested model."""

        def swap(leaf: Any) -> Any:
            return known[id(leaf)] if isinstance(leaf, keras.KerasTensor) else leaf

        args, kwargs = node.arguments.convert(swap)
        source = node.operation
        if training is not None and getattr(source, "_call_has_training_arg", False):
            kwargs["training"] = training
        if is_functional(source):
            if any(leaf is not None for leaf in keras.tree.flatten(kwargs.get("mask"))):
                raise InputError(
                    f"the model {source.name!r} inside is called with a mask= of its own; accepted "
                    "are inner models that are called on their inputs alone, masks coming with them"
                )
            tensors = self._taken(source, args[0] if args else kwargs["inputs"])
            outputs = self.inline(source, tensors, training=kwargs.get("training"))
            made = keras.tree.flatten(outputs)
        else:
            call = Call(self._layer(source), args, kwargs)
            made = self._finish(call, node.outputs)
        known.update({id(inner): outer for inner, outer in zip(node.outputs, made, strict=True)})

    def _taken(self, model: Any, given: Any) -> list[Tensor]:
        """Return what a nested model takes, in the order, dtype and rank that Keras makes of it."""
        if isinstance(given, dict) and not isinstance(getattr(model, "_inputs_struct", None), dict):
            given = [given[inner.name] for inner in model.inputs]  # Keras goes by the names
        pairs = zip(keras.tree.flatten(given), model.inputs, strict=True)
        return [self._converted(tensor, inner) for tensor, inner in pairs]

    def _converted(self, tensor: Tensor, inner: Any) -> Tensor:
        """Note the conversions that Keras makes where a nested model takes another form."""
        steps: list[Callable[[Any], Any]] = []
        if tensor.dtype != inner.dtype and not {tensor.dtype, inner.dtype} <= {*FLOAT_DTYPES}:
            steps.append(lambda x: keras.ops.cast(x, inner.dtype))
        if len(tensor.shape) == len(inner.shape) + 1:
            steps.append(lambda x: keras.ops.squeeze(x, axis=-1))
        if len(tensor.shape) == len(inner.shape) - 1:
            steps.append(lambda x: keras.ops.expand_dims(x, axis=-1))
        for step in steps:
            made = step(keras.KerasTensor(tensor.shape, tensor.dtype))
            call = Call(self._layer(made._keras_history.operation), (tensor,), {})
            tensor = self._finish(call, [made])[0]
        return tensor

    def name_outputs(self, model: Any, outputs: Any) -> Any:
        """Give what a nested model makes the nested model's name, by which the output is known."""
        flat = keras.tree.flatten(outputs)
        for number, symbolic in enumerate(model.outputs):
            nested = symbolic._keras_history.operation
            if is_functional(nested):
                call = Call(self._layers[id(nested)], (flat[number],), {})
                flat[number] = self._finish(call, [symbolic])[0]
        return keras.tree.pack_sequence_as(outputs, flat)

    def _finish(self, call: Call, outputs: list[Any]) -> list[Tensor]:
        """Wire a call to its layer and tensors."""
        call.outputs = [Tensor(tuple(o.shape), str(o.dtype), call) for o in outputs]
        for tensor in call.inputs:
            tensor.users.append(call)
        call.layer.calls.append(call)
        self.calls.append(call)
        return call.outputs

    def _layer(self, source: Any) -> Layer:
        """Return the one Layer of a Keras object, with a name that no other has."""
        if id(source) not in self._layers:
            name = free_name(source.name, self._names)
            self._names.add(name)
            self._layers[id(source)] = Layer(name, type(source), copying.config_of(source), source)
        return self._layers[id(source)]


def _in_order(model: Any) -> Iterator[Any]:
    """Go through a model's tensors so that each comes after those it is made of."""
    done = {id(tensor) for tensor in model.inputs}
    stack = [(tensor, False) for tensor in reversed(model.outputs)]
    while stack:
        tensor, ready = stack.pop()
        if ready:
            yield tensor
        elif id(tensor) not in done:
            done.update(id(output) for output in _node(tensor).outputs)
            stack.append((tensor, True))
            stack.extend((needed, False) for needed in reversed(_node(tensor).input_tensors))


def _node(tensor: Any) -> Any:
    """Return Keras' record of the call that made a symbolic tensor."""
    operation, node_index, _ = tensor._keras_history
    return operation._inbound_nodes[node_index]
