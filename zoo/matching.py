"""Weights carried between two networks of one structure, whatever their layers are called.

Each layer with weights is told from the others by its kind, the shape of its kernel, and by what
stands before and after it: the labels of its neighbours become part of its own, again and again,
until no two layers can be told apart any better (Weisfeiler and Leman 1968). Layers without weights
are seen through; of a concatenation, the channel at which a layer's output begins is part of the
label, and so are the poolings on the way. Layers that are alike in all this are the two sides of a
symmetry, for which any choice is right; one is made, and the labels are refined again.
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.counting import own_calls
from zoo.errors import InputError

if TYPE_CHECKING:
    import keras

Label = Any  # what tells parts apart; hashable
Edge = tuple[Label, int]  # what lies on the way, and the number of the part at its other end

_POOLS = {"MaxPooling2D": "max", "AveragePooling2D": "average"}
_STRAIGHT = (0, ())  # the way between two parts with nothing between them
_SEPARABLE = "SeparableConv2D"  # one layer that is two convolutions
_SCALE = "LayerScale"  # of keras.applications: a depthwise 1x1 convolution by another name
# What a norm computes where a weight is not there.
_NEUTRAL = {"gamma": 1.0, "beta": 0.0, "bias": 0.0}


@dataclass(eq=False)
class Part:
    """A layer with weights, or one of the two convolutions of a separable one."""

    layer: Any
    role: str
    weights: dict[str, Any]  # variables by name
    before: list[Edge] = field(default_factory=list)
    after: list[Edge] = field(default_factory=list)

    def label(self) -> Label:
        """Give what tells this part from others without its neighbours."""
        shape = tuple(next(iter(self.weights.values())).shape)
        if self.role == "depthwise":  # where the channels stand in the kernel is the layer's affair
            return self.role, tuple(side for side in shape if side > 1)
        # A fully connected layer lacks the sides of a 1x1 kernel.
        is_point = self.role == "conv" and shape[:2] == (1, 1) and len(shape) == 4
        return self.role, shape[2:] if is_point else shape


def carry(source: "keras.Model", model: "keras.Model") -> None:
    """Copy the weights of a model into another one of the same structure.

    A bias that the other model's convolution does not have, because a BatchNorm follows, goes into
    that BatchNorm's moving mean: ((x + b) - m) = (x - (m - b)).

    Args:
        source: A functional model. Normalization of its input is not copied.
        model: A functional model, changed in place.

    Raises:
        InputError: The two differ in structure, or the second one lacks a weight that matters.

    Reference:
        Weisfeiler and Leman 1968; see https://arxiv.org/abs/2112.09992 for a survey
    """
    given, wanted = parts(source), parts(model)
    _compare(given, wanted, source.name, model.name)
    left = []
    for number, ours in _pairs(given, wanted, source.name, model.name):
        bias = _copy(given[number], ours)
        if bias is not None:
            left.append((bias, ours))
    for bias, ours in left:  # all moving means are there now
        _absorb(bias, ours, wanted)


def parts(model: "keras.Model") -> list[Part]:
    """List the parts of a functional model, each linked to those before and after it.

    Args:
        model: The model.

    Returns:
        The parts, in the order of the model's layers. An edge's number counts in this list; -1
        stands for the model's input or output.
    """
    found: list[Part] = []
    chains = {id(layer): [_add(found, part) for part in _parts_of(layer)] for layer in model.layers}
    for layer in model.layers:
        chain = chains[id(layer)]
        if not chain:
            continue
        for first, second in itertools.pairwise(chain):
            _link(found, first, second, _STRAIGHT)
        calls = own_calls(layer, model)
        for tensor in (tensor for node in calls for tensor in node.input_tensors):
            for way, number in _sources(tensor, chains):
                _link(found, number, chain[0], way)
    for tensor in model.outputs:
        for way, number in _sources(tensor, chains):
            _link(found, number, -1, way)
    return found


def _add(found: list[Part], part: Part) -> int:
    """Append a part and return its number."""
    found.append(part)
    return len(found) - 1


def _link(found: list[Part], first: int, second: int, way: Label) -> None:
    """Note that one part's output is another one's input."""
    if second >= 0:
        found[second].before.append((way, first))
    if first >= 0:
        found[first].after.append((way, second))


def _parts_of(layer: Any) -> Iterator[Part]:
    """Divide a layer into its parts; a Sequential model is the chain of its layers."""
    kind = type(layer).__name__
    if kind == "Sequential":
        for inner in layer.layers:
            yield from _parts_of(inner)
        return
    weights = {variable.name: variable for variable in layer.weights}
    if not weights or kind == "Normalization":
        return
    if kind == _SEPARABLE:
        yield Part(layer, "depthwise", {"kernel": weights.pop("depthwise_kernel")})
        weights = {"kernel": weights.pop("pointwise_kernel"), **weights}
    if kind == _SCALE:
        weights = {"kernel": next(iter(weights.values()))}
    yield Part(layer, _role(layer), weights)


def _role(layer: Any) -> str:
    """Name what a layer does, which layers of several classes can do."""
    kind = type(layer).__name__
    if kind in ("DepthwiseConv2D", _SCALE):
        return "depthwise"
    if kind == "Conv2D" and layer.groups > 1 and layer.kernel.shape[2] == 1:
        return "depthwise"
    if kind in ("Conv2D", "Dense", _SEPARABLE):
        return "conv"
    return "norm" if kind == "BatchNormalization" else "other"


def _sources(tensor: Any, chains: dict[int, list[int]]) -> set[Edge]:
    """Find the parts whose outputs reach a tensor through layers without weights."""
    found: set[Edge] = set()
    waiting: list[tuple[Any, int, tuple[str, ...]]] = [(tensor, 0, ())]
    seen: set[Label] = set()
    while waiting:
        tensor, offset, pools = waiting.pop()
        if (id(tensor), offset, pools) in seen:
            continue
        seen.add((id(tensor), offset, pools))
        history = tensor._keras_history
        layer = history.operation
        if chains.get(id(layer)):
            found.add(((offset, pools), chains[id(layer)][-1]))
            continue
        inputs = layer._inbound_nodes[history.node_index].input_tensors
        kind = type(layer).__name__
        if kind in _POOLS and tuple(layer.pool_size) != (1, 1):
            pools = (*pools, _POOLS[kind])
        if not inputs:
            found.add(((offset, pools), -1))
        for other in inputs:
            waiting.append((other, offset, pools))
            offset += other.shape[-1] if kind == "Concatenate" else 0
    return found


def _compare(given: list[Part], wanted: list[Part], theirs: str, ours: str) -> None:
    """Refuse networks that have not even the same parts."""
    counts = Counter(part.label() for part in given), Counter(part.label() for part in wanted)
    for label in [*counts[0], *counts[1]]:
        if counts[0][label] != counts[1][label]:
            role, shape = label
            raise InputError(
                f"the weights of {theirs} do not fit {ours}: {role} layers of shape {shape} are "
                f"there {counts[0][label]} times, accepted are {counts[1][label]}"
            )


def _pairs(
    given: list[Part], wanted: list[Part], theirs: str, ours: str
) -> Iterator[tuple[int, Part]]:
    """Pair the parts of two networks."""
    labels = [[part.label() for part in side] for side in (given, wanted)]
    while True:
        labels = _refined(given, wanted, labels)
        classes: list[dict[Label, list[int]]] = [{}, {}]
        for side, named in zip(classes, labels, strict=True):
            for number, label in enumerate(named):
                side.setdefault(label, []).append(number)
        if {key: len(value) for key, value in classes[0].items()} != {
            key: len(value) for key, value in classes[1].items()
        }:
            raise InputError(
                f"the weights of {theirs} do not fit {ours}: they have the same layers, connected "
                "otherwise; accepted is a network of the same structure"
            )
        alike = next((label for label, numbers in classes[0].items() if len(numbers) > 1), None)
        if alike is None:
            break
        for side, named in zip(classes, labels, strict=True):
            named[side[alike][0]] = "chosen", alike
    for label, (number,) in classes[0].items():
        yield number, wanted[classes[1][label][0]]


def _refined(given: list[Part], wanted: list[Part], labels: list[list[Label]]) -> list[list[Label]]:
    """Make the neighbours' labels a part of each label until that tells no more parts apart."""
    told = 0
    while (count := len(set(labels[0] + labels[1]))) > told:
        told = count
        numbers: dict[Label, int] = {}
        labels = [
            [
                numbers.setdefault(_around(part, named, at), len(numbers))
                for at, part in enumerate(side)
            ]
            for side, named in zip((given, wanted), labels, strict=True)
        ]
    return labels


def _around(part: Part, labels: list[Label], at: int) -> Label:
    """Join a part's label to those of its neighbours."""
    sides = [
        frozenset(Counter((way, "end" if n < 0 else labels[n]) for way, n in edges).items())
        for edges in (part.before, part.after)
    ]
    return labels[at], *sides


def _copy(theirs: Part, ours: Part) -> np.ndarray | None:
    """Copy the weights of one part; return a bias that the other part has no place for."""
    values: dict[str, Any] = {name: np.asarray(v) for name, v in theirs.weights.items()}
    if ours.role == "other":  # of a kind that is not known here: all, in their order
        for variable, value in zip(ours.weights.values(), values.values(), strict=True):
            variable.assign(value)
        return None
    for name, variable in ours.weights.items():
        value = values.pop(name, None)
        value = np.full(variable.shape, _NEUTRAL[name]) if value is None else value
        variable.assign(value.reshape(variable.shape))
    bias = values.pop("bias", None)
    for name, value in values.items():
        if np.any(value != _NEUTRAL[name]):
            raise InputError(f"{ours.layer.name} has no {name}, and {theirs.layer.name} needs one")
    return bias if bias is not None and np.any(bias) else None


def _absorb(bias: np.ndarray, ours: Part, wanted: list[Part]) -> None:
    """Subtract a bias from the moving mean of the BatchNorm that alone takes the output."""
    followers = [wanted[number] for _, number in ours.after if number >= 0]
    if len(ours.after) != 1 or not followers or followers[0].role != "norm":
        raise InputError(
            f"{ours.layer.name} has no bias, and no BatchNorm follows that could take one"
        )
    mean = followers[0].weights["moving_mean"]
    mean.assign(np.asarray(mean) - bias)
