"""A Keras layer or operation made anew, under another dtype, with the weights of the one it copies.

Keras has no call for this: ``clone_model`` drops weights and names, and a layer's configuration
tells neither its weights nor what `adapt` learned.
"""

import copy
import inspect
import re
import tempfile
from typing import Any

import keras
import numpy as np

from zoo.errors import InputError

_NUMBERED = re.compile(r"^variable_\d+$")  # what Keras calls a weight without a name
FLOAT_DTYPES = ("float16", "bfloat16", "float32", "float64")


def config_of(source: Any) -> dict[str, Any]:
    """Return a Keras object's configuration.

    Args:
        source: A layer or an operation.

    Returns:
        What ``from_config`` takes; empty for an operation that cannot tell it.

    Raises:
        InputError: A layer cannot tell it.
    """
    try:
        return _with_functions(source, source.get_config())
    except NotImplementedError as error:
        if isinstance(source, keras.layers.Layer):
            raise InputError(
                f"layer {source.name!r} of class {type(source).__name__} has no get_config, so "
                "no copy of it can be made; give the class one"
            ) from error
        return {}


def _with_functions(source: Any, config: dict[str, Any]) -> dict[str, Any]:
    """Put functions into a configuration where it names others, or cannot tell them.

    Keras writes an activation that it does not know by its bare name: read again, a user's
    ``gelu`` would be Keras' own.
    """
    own: dict[str, Any] = {}
    if type(source) is keras.layers.Lambda:
        given = {"output_shape": source._output_shape, "mask": source.mask}
        own = {"function": source.function, "arguments": source.arguments}
        own |= {key: value for key, value in given.items() if value is not None}
    for key, written in config.items():
        function = getattr(source, key, None) if key.endswith("activation") else None
        if callable(function) and not _names(written, function):
            own[key] = function
    return {**config, **own}


def _names(written: Any, function: Any) -> bool:
    """Say whether what a configuration holds leads Keras to a function, or to a layer like it."""
    if isinstance(function, keras.layers.Layer):
        return True
    try:
        return keras.activations.get(written) is function
    except (TypeError, ValueError):
        return False


def make(cls: Any, config: dict[str, Any], name: str, source: Any, dtype: str) -> Any:
    """Make a Keras layer or operation from its class and configuration.

    Args:
        cls: The class.
        config: What ``cls.from_config`` takes.
        name: The name that it gets.
        source: What it is a copy of; None for something new.
        dtype: The dtype of its variables and computations.

    Returns:
        The layer, not built, or the operation.

    Raises:
        InputError: The class cannot be made from its own configuration.
    """
    if not issubclass(cls, keras.layers.Layer):
        if dtype == "float64":  # otherwise a cast that the model asks for stays what it is
            config = with_dtype(config, dtype)
        if config:
            return cls.from_config({**config, "name": name})
        twin = copy.copy(source)  # it has no state but its records, which must not be shared
        twin.name, twin._inbound_nodes, twin._outbound_nodes = name, [], []
        return twin
    config = with_dtype(config, dtype)
    if not issubclass(cls, keras.layers.InputLayer) and _takes(cls, "dtype"):
        config.setdefault("dtype", dtype)
    if _takes(cls, "name"):
        config["name"] = name
    try:
        # A Lambda's functions are the caller's own: nothing is read from bytes.
        made = cls(**config) if cls is keras.layers.Lambda else cls.from_config(config)
    except Exception as error:  # whatever a class of the user's raises
        raise InputError(
            f"layer {name!r} of class {cls.__name__} cannot be made from its own get_config, so no "
            f"copy of it can be made: {_first_line(error)}"
        ) from error
    made.name = name  # for a class that takes none
    return made


def take_initializers(made: Any) -> dict[str, Any]:
    """Let a layer's weights start as zeros, and return the initializers that it had.

    All weights are set once they are there: random ones would cost several copies of each.

    Args:
        made: A layer, not built, or an operation.

    Returns:
        The initializers by attribute, to be put back once the weights are there.
    """
    given = {
        name: value
        for name, value in vars(made).items()
        if isinstance(value, keras.initializers.Initializer)
    }
    vars(made).update(dict.fromkeys(given, keras.initializers.Zeros()))
    return given


def _takes(cls: Any, argument: str) -> bool:
    """Say whether a class can be made with a keyword argument."""
    parameters = inspect.signature(cls.__init__).parameters.values()
    return any(p.name == argument or p.kind is p.VAR_KEYWORD for p in parameters)


def _first_line(error: Exception) -> str:
    """Return what an error says, in one line."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def variables(layer: Any) -> dict[str, Any]:
    """Return a Keras layer's weights by name; by name and position where names repeat.

    A weight that was given no name has one with a number that counts up in the whole process.

    Args:
        layer: The layer, built, or an operation, which has none.

    Returns:
        Keras' variables.
    """
    weights = getattr(layer, "weights", [])
    names = [_NUMBERED.sub("variable", variable.name) for variable in weights]
    return {
        name if names.count(name) == 1 else f"{name}#{number}": variable
        for number, (name, variable) in enumerate(zip(names, weights, strict=True))
    }


def set_state(made: Any, source: Any, changed: dict[str, np.ndarray]) -> None:
    """Give a new layer its weights, and what `adapt` learned.

    Args:
        made: The new layer, built.
        source: What it is a copy of; None for something new.
        changed: Weights by name; the others are those of the source.

    Raises:
        InputError: The new layer has other weights than the source.
    """
    given = variables(source) if source is not None else {}
    own = variables(made)
    wrong = [
        f"{name} {np.shape(value)}"
        for name, value in changed.items()
        if name not in own or tuple(own[name].shape) != np.shape(value)
    ]
    if wrong:
        shapes = ", ".join(f"{name} {tuple(variable.shape)}" for name, variable in own.items())
        raise InputError(
            f"a rule changed weights that layer {made.name!r} of class {type(made).__name__} does "
            f"not have: {', '.join(wrong)}; accepted: {shapes or 'none'}"
        )
    if own.keys() - changed.keys() - given.keys() or given.keys() - own.keys():
        raise InputError(
            f"layer {made.name!r} of class {type(made).__name__} has other weights when it is made "
            "from its own get_config, so no copy of it can be made"
        )
    for name, variable in own.items():
        # By way of numpy a weight would be there three more times for a moment. JAX frees memory of
        # weights that are trained, whoever shares it; TensorFlow copies it when it is written.
        variable.assign(changed[name] if name in changed else keras.ops.copy(given[name].value))
        if name in given and given[name].trainable != variable.trainable:
            variable.trainable = given[name].trainable  # one that was frozen alone
    if isinstance(made, keras.layers.Normalization):
        made.finalize_state()  # it computes with constants that it makes of its weights
    if hasattr(source, "load_assets"):  # a vocabulary is no weight
        with tempfile.TemporaryDirectory() as folder:
            source.save_assets(folder)
            made.load_assets(folder)


def with_dtype(config: Any, dtype: str) -> Any:
    """Copy a configuration with every floating-point dtype or policy in it replaced.

    Args:
        config: A layer's configuration; wrapped layers' configurations inside it count too.
        dtype: The new dtype.

    Returns:
        The copy. Integer dtypes and quantized policies are left as they are.
    """
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            name = config["config"]["name"]
            return {**config, "config": {"name": dtype}} if _is_float(name) else config
        return {
            key: dtype
            if key == "dtype" and isinstance(value, str) and _is_float(value)
            else with_dtype(value, dtype)
            for key, value in config.items()
        }
    if isinstance(config, (list, tuple)):
        return type(config)(with_dtype(value, dtype) for value in config)
    return config


def _is_float(name: str) -> bool:
    """Say whether a policy's or dtype's name is a floating-point one."""
    return name.removeprefix("mixed_") in FLOAT_DTYPES
