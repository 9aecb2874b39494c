"""A Keras model as a plain graph of layer calls that can be read, changed and built again.

The caller's model is only ever read. Nested functional and Sequential models are flattened; a layer
that is called several times stays one layer with several calls. Weights are read when a rule asks
for them, in float64, and are cast once, when the new model is built. A weight that was only scaled
is held as its factors until then: float64 copies of all kernels would be twice the model.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from export import copying
from zoo.policies import policy


@dataclass(eq=False)
class Tensor:
    """What flows between calls: one output of one call.

    Args:
        shape: With the batch axis first; None where it is not known.
        dtype: As Keras names it.
        call: The call that makes it.
        users: The calls that take it, once for each time they do.
        is_output: Whether it is an output of the model.
    """

    shape: tuple[int | None, ...]
    dtype: str
    call: "Call"
    users: list["Call"] = field(default_factory=list)
    is_output: bool = False


@dataclass(frozen=True, eq=False)
class Times:
    """A change of a weight: what it is, times a factor.

    Args:
        factor: float64, broadcasting against the weight without changing its shape.
    """

    factor: np.ndarray


@dataclass(eq=False)
class Layer:
    """A layer or operation, by what it takes to make one like it.

    Args:
        name: Unique in the graph.
        cls: Its Keras class.
        config: What ``cls.from_config`` takes.
        source: The Keras object that was read; None for a layer that a rule added.
        weights: The weights that are no longer the source's, in float64, by name.
        factors: What a weight is to be multiplied by, one after the other, by name.
        calls: Where it is called.
    """

    name: str
    cls: Any
    config: dict[str, Any]
    source: Any = None
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    factors: dict[str, list[np.ndarray]] = field(default_factory=dict)
    calls: list["Call"] = field(default_factory=list)

    def weight(self, name: str) -> np.ndarray:
        """Read a weight in float64.

        Args:
            name: The variable's name in the layer, for example ``kernel``.

        Returns:
            float64, in the variable's shape. A new array, which the caller may change.
        """
        value = self._held(name).astype(np.float64)
        for factor in self.factors.get(name, ()):
            value *= factor
        return value

    def largest(self, name: str) -> float:
        """Return a magnitude that no number of a weight exceeds; NaN where one of them is."""
        held = self._held(name)
        bound = max(float(np.max(held, initial=0)), -float(np.min(held, initial=0)))
        for factor in self.factors.get(name, ()):
            bound *= float(np.abs(factor).max(initial=0))
        return bound

    def _held(self, name: str) -> np.ndarray:
        """Return a weight without its factors, in any dtype; not to be changed."""
        held = self.weights.get(name)
        if held is None:
            held = keras.ops.convert_to_numpy(self._variables[name])
        return held

    @functools.cached_property
    def _variables(self) -> dict[str, Any]:
        """The source's variables by name."""
        return copying.variables(self.source)

    def change(self, name: str, value: np.ndarray | Times) -> None:
        """Give a weight a new value.

        Args:
            name: The variable's name in the layer.
            value: float64, in the variable's shape; or the factor that it is multiplied by.
        """
        if isinstance(value, Times):
            self.factors.setdefault(name, []).append(value.factor)
        else:
            self.weights[name] = value
            self.factors.pop(name, None)

    def changed(self, dtype: str) -> dict[str, np.ndarray]:
        """Return the weights that are no longer the source's, cast once to a dtype."""
        names = dict.fromkeys((*self.weights, *self.factors))
        return {name: self.weight(name).astype(dtype) for name in names}

    def drop_constraints(self) -> None:
        """Forget what was demanded of weights that have changed."""
        held = {key: None for key in self.config if key.endswith("_constraint")}
        self.config = {**self.config, **held}

    @property
    def label(self) -> str:
        """The class's name, for messages."""
        return self.cls.__name__

    @property
    def is_keras(self) -> bool:
        """Whether its class is one of Keras' own, and no subclass that may compute otherwise."""
        return _is_keras(self.cls)

    @property
    def kind(self) -> str:
        """The name of the nearest class of Keras' own that it is one of; empty for none.

        A user who registers one of our rules for a subclass says that it computes the same.
        """
        return next((cls.__name__ for cls in self.cls.__mro__ if _is_keras(cls)), "")

    @property
    def adapted(self) -> bool:
        """Whether it is quantized or has LoRA weights, so that its kernel is not all there is."""
        return bool(
            getattr(self.source, "lora_enabled", False)
            or getattr(self.source, "quantization_mode", None)
        )

    @property
    def trainable(self) -> bool:
        """Whether the layer is not frozen."""
        return bool(self.config.get("trainable", True))


def _is_keras(cls: Any) -> bool:
    return bool(cls.__module__.startswith("keras."))


@dataclass(eq=False)
class Call:
    """One call of a layer.

    Args:
        layer: What is called.
        args: Positional arguments, with `Tensor` where Keras has its symbolic tensors.
        kwargs: Keyword arguments, likewise.
        outputs: What it makes, flat.
    """

    layer: Layer
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: list[Tensor] = field(default_factory=list)

    @property
    def inputs(self) -> list[Tensor]:
        """The tensors among the arguments, in order."""
        flat = keras.tree.flatten((self.args, self.kwargs))
        return [leaf for leaf in flat if isinstance(leaf, Tensor)]

    @property
    def output(self) -> Tensor:
        """The only output."""
        (output,) = self.outputs
        return output


@dataclass(eq=False)
class Graph:
    """A model's calls, in an order in which they can run.

    Args:
        name: The model's name.
        calls: All calls, those of input layers among them.
        inputs: The model's inputs, in the structure that the caller gave them.
        outputs: The model's outputs, likewise.
    """

    name: str
    calls: list[Call]
    inputs: Any
    outputs: Any

    def layers(self) -> Iterator[Layer]:
        """Go through the layers, each one once, in the order of their first calls."""
        return iter(dict.fromkeys(call.layer for call in self.calls))

    def replace_input(self, call: Call, old: Tensor, new: Tensor) -> None:
        """Let a call take another tensor wherever it took ``old``."""

        def swap(leaf: Any) -> Any:
            return new if leaf is old else leaf

        call.args, call.kwargs = keras.tree.map_structure(swap, (call.args, call.kwargs))
        uses = old.users.count(call)
        old.users = [user for user in old.users if user is not call]
        new.users.extend([call] * uses)

    def bypass(self, call: Call) -> None:
        """Take a call out and give its users its first input instead.

        Where its output is an output of the model, an Identity layer of the same name stays, so
        that the model's outputs keep their names.
        """
        source, output = call.inputs[0], call.output
        if output.is_output:
            name, old = call.layer.name, call.layer
            old.calls.remove(call)
            if old.calls:  # an output is known by the name, the other calls are not
                old.name = self.free_name(name)
            call.layer = Layer(name, keras.layers.Identity, {"name": name})
            call.layer.calls.append(call)
            extras = call.inputs[1:]
            call.args, call.kwargs = (source,), {}
            self._release(call, extras)
            return
        for user in list(dict.fromkeys(output.users)):
            self.replace_input(user, output, source)
        source.users.remove(call)
        call.layer.calls.remove(call)
        self.calls.remove(call)
        self._release(call, call.inputs[1:])

    def _release(self, call: Call, tensors: list[Tensor]) -> None:
        """Let go of what a call took, such as a mask, and of what only that was made for."""
        for tensor in tensors:
            tensor.users.remove(call)
            self.prune(tensor)

    def insert_after(self, call: Call, layer: Layer) -> Call:
        """Put a call of a new layer between a call's only output and all its users.

        Args:
            call: The call after which it comes.
            layer: The new layer.

        Returns:
            The new call.
        """
        old = call.output
        new_call = Call(layer, (old,), {})
        new = Tensor(old.shape, old.dtype, new_call, is_output=old.is_output)
        new_call.outputs.append(new)
        for user in list(dict.fromkeys(old.users)):
            self.replace_input(user, old, new)
        old.users.append(new_call)
        if old.is_output:
            old.is_output = False
            self.outputs = keras.tree.map_structure(
                lambda leaf: new if leaf is old else leaf, self.outputs
            )
        layer.calls.append(new_call)
        self.calls.insert(self.calls.index(call) + 1, new_call)
        return new_call

    def insert_before(self, call: Call, layer: Layer) -> Call:
        """Put a call of a new layer between a call and its first input, and nowhere else.

        Args:
            call: The call before which it comes.
            layer: The new layer.

        Returns:
            The new call.
        """
        source = call.inputs[0]
        new_call = Call(layer, (source,), {})
        new = Tensor(source.shape, source.dtype, new_call)
        new_call.outputs.append(new)
        self.replace_input(call, source, new)
        source.users.append(new_call)
        layer.calls.append(new_call)
        self.calls.insert(self.calls.index(call), new_call)
        return new_call

    def prune(self, tensor: Tensor) -> None:
        """Take out the call that makes a tensor if nothing uses it, and what only it used."""
        stack = [tensor]
        while stack:
            made = stack.pop().call
            unused = not any(output.users or output.is_output for output in made.outputs)
            if not unused or made not in self.calls or not made.inputs:
                continue
            self.calls.remove(made)
            made.layer.calls.remove(made)
            for used in made.inputs:
                used.users.remove(made)
                stack.append(used)

    def free_name(self, wanted: str) -> str:
        """Return the name, or the name with the first number that no layer has yet."""
        taken = {layer.name for layer in self.layers()}
        return free_name(wanted, taken)


def free_name(wanted: str, taken: set[str]) -> str:
    """Return the wanted name, or that name with the first number that makes it new."""
    name, number = wanted, 0
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    return name


def build(graph: Graph, dtype: str) -> keras.Model:
    """Build a Keras model from a graph.

    The graph's float64 weights are computed and cast one layer at a time, and let go of as the new
    model takes them over.

    Args:
        graph: The graph. It is used up.
        dtype: The policy of every layer: ``float32`` or ``float64``. Weights are cast to it from
            float64 once.

    Returns:
        A new model that shares no layer and no weight with the one that was read.
    """
    made: dict[Layer, Any] = {}
    values: dict[Tensor, Any] = {}
    # Inputs, and what a layer makes inside itself, take the policy that is in force.
    with policy(dtype):
        for call in graph.calls:
            layer = call.layer
            is_first = layer not in made
            if is_first:
                made[layer] = copying.make(layer.cls, layer.config, layer.name, layer.source, dtype)
            initializers = copying.take_initializers(made[layer]) if is_first else {}
            if not call.inputs and issubclass(layer.cls, keras.layers.InputLayer):
                result = made[layer].output
            else:
                args, kwargs = _fill((call.args, call.kwargs), values)
                result = made[layer](*args, **kwargs)
            values.update(zip(call.outputs, keras.tree.flatten(result), strict=True))
            if is_first:  # its variables are there now
                vars(made[layer]).update(initializers)
                copying.set_state(made[layer], layer.source, layer.changed(dtype))
                layer.weights.clear()
        return keras.Model(
            _fill(graph.inputs, values), _fill(graph.outputs, values), name=graph.name
        )


def _fill(structure: Any, values: dict[Tensor, Any]) -> Any:
    """Put Keras' tensors where the graph's are."""
    return keras.tree.map_structure(
        lambda leaf: values[leaf] if isinstance(leaf, Tensor) else leaf, structure
    )
