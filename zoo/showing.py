"""A model for a person to look at: its layers or blocks in lines, counted, and as a diagram."""

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from zoo import counting, facts, pretrained, registry

# What the names of the layers of one block begin with; see the families.
_BLOCK = re.compile(r"stem|head|final|stage\d+(?:_block\d+|_transition|_\d+)?")
_NORMS = ("BatchNormalization", "GroupNormalization", "LayerNormalization", "RMSNormalization")
_SIGNS = {
    "Add": "+",
    "Concatenate": "concat",
    "Multiply": "×",
    "Flatten": "flatten",
    "GlobalAveragePooling2D": "mean",
    "ZeroPadding2D": "pad",
    "InputLayer": "image",
    **dict.fromkeys(_NORMS, "norm"),
}
_POOLS = {"MaxPooling2D": "max", "AveragePooling2D": "mean"}
_CONVOLUTIONS = {"Conv2D": "conv", "DepthwiseConv2D": "depthwise", "SeparableConv2D": "separable"}


@dataclass(frozen=True)
class Line:
    """One line of a table: a layer, a block of layers, or the total.

    Args:
        name: The layer's name, or what the names of the block begin with.
        what: A sign for each layer in order, for example ``conv3x3/2 norm relu``.
        shape: Of the output, without the batch, for example ``32x32x16``.
        parameters: Of all weights.
        multiply_adds: For one image.
        takes: The layers whose outputs it takes, by name.
    """

    name: str
    what: str
    shape: str
    parameters: int
    multiply_adds: int
    takes: str = ""


@dataclass(frozen=True)
class Shown:
    """What there is to show of a model.

    Args:
        facts: What its card or the registry says, and its sizes.
        model: A keras.Model that cannot compute.
        layers: Its layers, counted.
        signs: A sign for each layer; see `Line`.
    """

    facts: Mapping[str, Any]
    model: Any
    layers: tuple[counting.Layer, ...]
    signs: tuple[str, ...]

    def lines(self, *, every: bool) -> list[Line]:
        """Lay the model out in lines, one for each layer or for each block, and the total."""
        pairs = list(zip(self.layers, self.signs, strict=True))
        total = _line("total", pairs)
        if every:
            found = [
                dataclasses.replace(
                    _line(layer.name, [(layer, sign)]), takes=", ".join(layer.inputs)
                )
                for layer, sign in pairs
            ]
        else:
            found = [_line(name, list(group)) for name, group in _blocks(pairs)]
        return [*found, dataclasses.replace(total, what="", shape="")]

    def to_dict(self) -> dict[str, Any]:
        """Give what machines may want to know."""
        return {**self.facts, "layers": [dataclasses.asdict(layer) for layer in self.layers]}


def describe(name: str) -> Shown:
    """Build a model or the model of a set of weights without values, and lay it out.

    Args:
        name: ``arch`` or ``arch.tag``.

    Returns:
        What there is to show; among its facts ``parameters``, ``trainable_parameters`` and
        ``multiply_adds``.

    Raises:
        InputError: There is none of that name.
    """
    if "." in name:
        card = pretrained.card(name)
        told = card.model_dump(mode="json")
        model = facts.outline_of(card)
    else:
        told = _architecture(name)
        model = facts.outline(name)
    rows = tuple(counting.layers(model))
    counted = facts.total(rows).model_dump(exclude={"layers"})
    return Shown({**told, **counted}, model, rows, tuple(map(sign, counting.operations(model))))


def check_name(name: str) -> None:
    """Make sure that there is a model or weights of a name, without loading Keras.

    Raises:
        InputError: There is none of that name.
    """
    if "." in name:
        pretrained.card(name)
    else:
        registry.entry(name)


def _architecture(name: str) -> dict[str, Any]:
    """Tell what the registry knows of a model."""
    found = registry.entry(name)
    return {
        "name": name,
        "input_shape": list(found.input_shape),
        "smallest_side": found.min_size,
        "classes": found.num_classes,
        "norm": found.norm.model_dump(mode="json"),
        "weights": registry.list_models(f"{name}.*", pretrained=True),
        "paper": found.paper,
    }


def sign(layer: Any) -> str:
    """Write a layer as a short word: what it does, its kernel, and its stride after a slash."""
    kind = type(layer).__name__
    if kind in _CONVOLUTIONS:
        groups = f"g{layer.groups}" if getattr(layer, "groups", 1) > 1 else ""
        return f"{_CONVOLUTIONS[kind]}{_window(layer.kernel_size, layer.strides)}{groups}"
    if kind in _POOLS:
        return f"{_POOLS[kind]}{_window(layer.pool_size, layer.strides)}"
    if kind == "Activation":
        return str(getattr(layer.activation, "__name__", layer.activation))
    return _SIGNS.get(kind, kind.lower())


def _window(size: tuple[int, ...], strides: tuple[int, ...]) -> str:
    """Write a kernel's sides, and its stride where it has one."""
    stride = f"/{strides[0]}" if strides[0] > 1 else ""
    return f"{'x'.join(map(str, size))}{stride}"


def _blocks(
    pairs: list[tuple[counting.Layer, str]],
) -> Iterator[tuple[str, Iterator[tuple[counting.Layer, str]]]]:
    """Put the layers that stand together and belong to one block together."""

    def block(pair: tuple[counting.Layer, str]) -> str:
        found = _BLOCK.match(pair[0].name)
        return found[0] if found else pair[0].name

    return itertools.groupby(pairs, key=block)


def _line(name: str, pairs: list[tuple[counting.Layer, str]]) -> Line:
    """Sum layers up in one line."""
    return Line(
        name=name,
        what=" ".join(sign for _, sign in pairs),
        shape="x".join("any" if side is None else str(side) for side in pairs[-1][0].shape),
        parameters=sum(layer.parameters for layer, _ in pairs),
        multiply_adds=sum(layer.multiply_adds for layer, _ in pairs),
    )
