"""A hash of everything that decides what a model computes."""

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

# What a saved configuration carries beside the computation: whether weights are frozen, and what
# `build`, `compile` and the deserialiser want.
_NOT_COMPUTED = ("trainable", "build_config", "compile_config", "shared_object_id")


def fingerprint(model: "keras.Model") -> str:
    """Hash a model's graph, its layers' settings and every byte of its weights.

    The names that Keras makes up (``conv2d_7``) count up over a process, so they enter without
    their number: the same model built twice, in one process or in two, or saved and loaded, has
    one fingerprint. Names that a person gave enter as they are.

    Args:
        model: A functional or Sequential model.

    Returns:
        A SHA-256 as 64 hexadecimal digits.

    Example:
        >>> fingerprint(zoo.load_model("resnet20.cifar10"))
    """
    import keras
    import numpy as np

    digest = hashlib.sha256()
    config = model.get_config()
    if "layers" not in config:  # a class that makes its graph of arguments of its own
        config = keras.Model(model.inputs, model.outputs).get_config()
    name = made_up(model.name, type(model)) or model.name
    graph = {"class": type(model).__name__, "name": name, "config": _graph(config)}
    digest.update(json.dumps(graph, sort_keys=True, default=str).encode())
    for weight in model.weights:
        value = np.asarray(keras.ops.convert_to_numpy(weight), order="C")
        header = [weight.name, keras.backend.standardize_dtype(weight.dtype), list(value.shape)]
        digest.update(json.dumps(header).encode())
        digest.update(value.reshape(-1).view(np.uint8).data)  # no copy is made
    return digest.hexdigest()


def _graph(config: dict[str, Any]) -> dict[str, Any]:
    """Rewrite a model's configuration so that layers are told by position, not by name."""
    positions = {_name(layer): position for position, layer in enumerate(config["layers"])}
    rewritten = {key: _settings(value, positions) for key, value in config.items()}
    rewritten["layers"] = [_layer(layer, positions) for layer in config["layers"]]
    for key in ("input_layers", "output_layers"):
        rewritten[key] = _told_by_position(config.get(key), positions)
    return {key: value for key, value in rewritten.items() if key not in (*_NOT_COMPUTED, "name")}


def _layer(layer: dict[str, Any], positions: dict[str, int]) -> dict[str, Any]:
    """Rewrite one layer's entry in a model's configuration, and a nested model's as a model's."""
    config = layer["config"]
    inner = _graph(config) if "layers" in config else _settings(config, positions)
    return {
        "class": layer.get("registered_name") or layer["class_name"],
        "name": made_up(_name(layer), layer["class_name"]) or _name(layer),
        "config": {key: value for key, value in inner.items() if key != "name"},
        "inbound": _settings(layer.get("inbound_nodes"), positions),
    }


def _name(layer: dict[str, Any]) -> str:
    """Return a layer's name; a class with a configuration of its own may leave it out of that."""
    return layer["config"].get("name") or layer.get("name", "")


def _settings(value: Any, positions: dict[str, int]) -> Any:
    """Rewrite anything inside a configuration: drop what is not computed, place the tensors."""
    if isinstance(value, dict):
        return {
            str(key): (
                _told_by_position(item, positions)
                if key == "keras_history"
                else _settings(item, positions)
            )
            for key, item in value.items()
            if key not in _NOT_COMPUTED
        }
    if isinstance(value, list | tuple):
        return [_settings(item, positions) for item in value]
    return value


def _told_by_position(value: Any, positions: dict[str, int]) -> Any:
    """Replace layers' names by positions in a structure of ``[layer, node, tensor]``."""
    if isinstance(value, dict):
        return {str(key): _told_by_position(item, positions) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_told_by_position(item, positions) for item in value]
    return positions.get(value, value) if isinstance(value, str) else value


def made_up(name: str, cls: type | str) -> str | None:
    """Tell a name that Keras made up, such as ``conv2d_7``, from one that a person gave.

    Args:
        name: A layer's or model's name.
        cls: Its class, or the class's name.

    Returns:
        The name without its number; None for a name of another kind.
    """
    base = re.sub(r"_\d+$", "", name)
    class_name = cls if isinstance(cls, str) else cls.__name__
    same = base.replace("_", "").lower() == class_name.replace("_", "").lower()
    return base if same else None
