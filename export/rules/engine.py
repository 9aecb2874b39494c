"""How a BatchNorm's scale and shift travel through the graph until layers take them in.

At inference a BatchNorm is ``scale * x + shift``, channel by channel: an `Affine`. It may travel
backward, against the flow, or forward. On its way each layer's rule lets it pass, takes it in, or
refuses with a `Reason`. Nothing changes on the way: what would change is noted in a `Plan`, which
is carried out only when every rule on every branch agreed.
"""

import enum
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from export.graph import Call, Graph, Layer, Tensor, Times

_FLOAT32_MAX = float(np.finfo(np.float32).max)


class Reason(enum.StrEnum):
    """Why a BatchNorm is kept. The list is closed; docs and tests go through it."""

    TRAINING_MODE = "training_mode"
    INVALID_STATISTICS = "invalid_statistics"
    CHANNEL_AXIS = "channel_axis"
    FUSED_ACTIVATION = "fused_activation"
    USED_ELSEWHERE = "used_elsewhere"
    MODEL_INPUT = "model_input"
    MODEL_OUTPUT = "model_output"
    SHARED_LAYER = "shared_layer"
    SEVERAL_PATHS = "several_paths"
    DYNAMIC_SIZE = "dynamic_size"
    PADDED_BORDER = "padded_border"
    NEGATIVE_SCALE = "negative_scale"
    ADDITION = "addition"
    NOT_ONE_SCALE = "not_one_scale"
    ADAPTED_LAYER = "adapted_layer"
    INTEGER_INPUT = "integer_input"
    NOT_FINITE = "not_finite"
    UNSUPPORTED_LAYER = "unsupported_layer"
    INSIDE_LAYER = "inside_layer"
    NOT_ASKED = "not_asked"


EXPLANATIONS = {
    Reason.TRAINING_MODE: "it is called with training=True, so it may use the batch's statistics",
    Reason.INVALID_STATISTICS: "its variance is negative beyond epsilon, or a number is not finite",
    Reason.CHANNEL_AXIS: "its axis is not the channel axis of the layer that would take it in",
    Reason.FUSED_ACTIVATION: "an activation inside that layer stands between",
    Reason.USED_ELSEWHERE: "what it normalizes is also used elsewhere, as it is before it",
    Reason.MODEL_INPUT: "it stands at the model's input, with no layer before it",
    Reason.MODEL_OUTPUT: "its result is an output of the model",
    Reason.SHARED_LAYER: "that layer is also called where this BatchNorm does not follow",
    Reason.SEVERAL_PATHS: "it reaches the same layer on several paths",
    Reason.DYNAMIC_SIZE: "a size that is free decides where its shift goes, as at a padded border",
    Reason.PADDED_BORDER: "zero padding stands between, and its shift would fill the border",
    Reason.NEGATIVE_SCALE: "a negative scale turns the order that a maximum or an activation sees",
    Reason.ADDITION: "it would have to pass an addition whose other side lacks its scale",
    Reason.NOT_ONE_SCALE: "its scale and shift are not one per channel on the other side",
    Reason.ADAPTED_LAYER: "that layer is quantized or has LoRA weights",
    Reason.INTEGER_INPUT: "it is given integers, which the layer after it does not take",
    Reason.NOT_FINITE: "the folded weights would exceed float32",
    Reason.UNSUPPORTED_LAYER: "no rule knows the layer that it meets",
    Reason.INSIDE_LAYER: "it is inside a layer whose graph cannot be seen",
    Reason.NOT_ASKED: "folding in that direction was not asked for",
}


class Refused(Exception):  # noqa: N818  it is an answer, not an error
    """A rule's no: the scale and shift cannot go there exactly.

    Args:
        reason: One of the list.
        detail: What was met, for example ``add_3 (Add)``.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {EXPLANATIONS[reason]} ({detail})")
        self.reason = reason


@dataclass(frozen=True, eq=False)
class Affine:
    """``scale * x + shift`` over one axis of a tensor.

    Args:
        scale: float64, (channels,).
        shift: float64, (channels,).
        axis: The channels' axis in the tensor, counted from the batch axis, which is 0.
        borders: For other axes: how many positions at the start and end are zero padding, in
            which the shift is not there.
    """

    scale: np.ndarray
    shift: np.ndarray
    axis: int
    borders: dict[int, tuple[int, int]] = field(default_factory=dict)

    def with_(self, **changes: Any) -> "Affine":
        """Copy it with some parts changed."""
        return replace(self, **changes)

    def take(self, which: Any) -> "Affine":
        """Copy it with only some channels, or with channels repeated."""
        return replace(self, scale=self.scale[which], shift=self.shift[which])


@dataclass
class Change:
    """New weights and settings of a layer, as one of its calls wants them."""

    weights: dict[str, np.ndarray | Times]
    config: dict[str, Any]
    calls: list[Call]


class Plan:
    """What will be done once every rule has agreed.

    Args:
        graph: The graph that it is for.
        untouched: Layers that were asked to be left alone.
        trainable: Whether the BatchNorm is not frozen; a layer that replaces it is neither.
        leave_shift: Whether its shift is so large beside what it lets through that an activation
            should get it before and not the layer after it, where it would cancel.

    Attributes:
        action: What the report will say became of the BatchNorm.
        carrying: On the way forward: the tensors that carry the affine.
    """

    def __init__(
        self,
        graph: Graph,
        untouched: Collection[Layer] = (),
        *,
        trainable: bool = True,
        leave_shift: bool = False,
    ) -> None:
        self.graph = graph
        self.trainable = trainable
        self.leave_shift = leave_shift
        self._untouched = untouched
        self.action = ""
        self.carrying: set[Tensor] = set()
        self._changes: dict[Layer, Change] = {}
        self._surgery: list[Callable[[], None]] = []
        self._visited: set[Call] = set()
        self._waiting: deque[tuple[Rule, Call, Affine]] = deque()
        self._applying = False

    @property
    def into(self) -> list[str]:
        """The layers that take it in, by name."""
        return [layer.name for layer in self._changes]

    @property
    def adds_layers(self) -> bool:
        """Whether more is to be done than new weights and settings."""
        return bool(self._surgery)

    def apply(self, rule: "Rule", call: Call, affine: Affine) -> None:
        """Apply a rule, once the one that hands on to it is done.

        Rules take turns instead of calling each other, so that a long chain of layers needs no
        deep stack.
        """
        self._waiting.append((rule, call, affine))
        if self._applying:
            return
        self._applying = True
        while self._waiting:
            rule, call, affine = self._waiting.popleft()
            rule(call, affine, self)
        self._applying = False

    def visit(self, call: Call) -> None:
        """Note that the affine is at a call; refuse if it has been there before."""
        if call in self._visited:
            raise Refused(Reason.SEVERAL_PATHS, describe(call))
        self._visited.add(call)

    def change(self, call: Call, weights: Mapping[str, np.ndarray | Times], **config: Any) -> None:
        """Note what a layer's weights and settings will be.

        Args:
            call: The call for whose sake they change.
            weights: New values, float64, by variable name; `export.graph.Times` for the value that
                is there times a factor, which need not be held until the new model is built.
            **config: New settings.

        Raises:
            Refused: A value would not be finite in float32, another call of the same layer wants
                other values, or the layer was asked to be left alone.
        """
        if call.layer in self._untouched:
            raise Refused(Reason.NOT_ASKED, f"{describe(call)} was asked to be kept")
        for name, value in weights.items():
            if not _fits(call.layer, name, value):
                raise Refused(Reason.NOT_FINITE, f"{name} of {describe(call)}")
        known = self._changes.get(call.layer)
        if known is None:
            self._changes[call.layer] = Change(dict(weights), config, [call])
            return
        same = weights.keys() == known.weights.keys() and all(
            _same(value, known.weights[name]) for name, value in weights.items()
        )
        if not same or config != known.config:
            raise Refused(Reason.SHARED_LAYER, describe(call))
        known.calls.append(call)

    def then(self, surgery: Callable[[], None]) -> None:
        """Note something to be done to the graph."""
        self._surgery.append(surgery)

    def check(self) -> None:
        """Refuse if a layer that would change is also called where the affine is not.

        Raises:
            Refused: With reason ``shared_layer``.
        """
        for layer, change in self._changes.items():
            others = [call for call in layer.calls if call not in change.calls]
            if others:
                raise Refused(Reason.SHARED_LAYER, describe(others[0]))

    def carry_out(self) -> None:
        """Do everything that was noted.

        A constraint of a layer that changes goes: it was about what the weights are no longer.
        """
        for layer, change in self._changes.items():
            for name, value in change.weights.items():
                layer.change(name, value)
            layer.config = {**layer.config, **change.config}
            layer.drop_constraints()
        for surgery in self._surgery:
            surgery()


def _fits(layer: Layer, name: str, value: np.ndarray | Times) -> bool:
    """Say whether what a weight will be is finite in float32."""
    if isinstance(value, Times):
        if layer.largest(name) * float(np.abs(value.factor).max(initial=0)) <= _FLOAT32_MAX:
            return True  # most are far below it, and no float64 copy had to be made
        scaled = layer.weight(name)
        scaled *= value.factor
    else:
        scaled = value
    # The ends are NaN where anything is, which compares false; no copy of the weight is made.
    low, high = np.min(scaled, initial=0), np.max(scaled, initial=0)
    return bool(low >= -_FLOAT32_MAX and high <= _FLOAT32_MAX)


def _same(one: np.ndarray | Times, other: np.ndarray | Times) -> bool:
    """Say whether two changes of a weight come to the same."""
    if isinstance(one, Times) and isinstance(other, Times):
        return np.array_equal(one.factor, other.factor)
    if isinstance(one, Times) or isinstance(other, Times):
        return False
    return np.array_equal(one, other)


Rule = Callable[[Call, Affine, Plan], None]
_BACKWARD: dict[type | str, Rule] = {}
_FORWARD: dict[type | str, Rule] = {}


def backward_rule(*kinds: type | str) -> Callable[[Rule], Rule]:
    """Register how an affine that comes from behind passes or enters a kind of layer.

    Args:
        *kinds: Layer classes; or names, for Keras' own layers and operations.

    Returns:
        A decorator for ``rule(call, affine, plan)``. The affine is on the call's output. The rule
        calls ``plan.change`` to take it in, or `backward` to hand it on, or raises `Refused`.

    Example:
        >>> @export.rules.backward_rule(MyIdentity)
        ... def passes(call, affine, plan):
        ...     export.rules.engine.backward(call.inputs[0], affine, plan)
    """
    return lambda rule: _register(_BACKWARD, kinds, rule)


def forward_rule(*kinds: type | str) -> Callable[[Rule], Rule]:
    """Register how an affine that comes from the front passes or enters a kind of layer.

    Args:
        *kinds: Layer classes; or names, for Keras' own layers and operations.

    Returns:
        A decorator for ``rule(call, affine, plan)``. The affine is on the call's first input. The
        rule calls ``plan.change`` to take it in, or `forward` to hand it on, or raises `Refused`.
    """
    return lambda rule: _register(_FORWARD, kinds, rule)


def _register(rules: dict[type | str, Rule], kinds: tuple[type | str, ...], rule: Rule) -> Rule:
    rules.update(dict.fromkeys(kinds, rule))
    return rule


def _lookup(rules: dict[type | str, Rule], call: Call) -> Rule:
    """Find the rule of exactly a call's class: a subclass may compute something else."""
    cls = call.layer.cls
    rule = rules.get(cls)
    if rule is None and cls.__module__.startswith("keras."):
        rule = rules.get(cls.__name__)
    if rule is None or len(call.outputs) != 1:
        reason = Reason.MODEL_INPUT if cls.__name__ == "InputLayer" else Reason.UNSUPPORTED_LAYER
        raise Refused(reason, describe(call))
    return rule


def backward(tensor: Tensor, affine: Affine, plan: Plan) -> None:
    """Send an affine against the flow, from a tensor into the call that makes it.

    Args:
        tensor: What the affine is applied to.
        affine: The scale and shift.
        plan: Where to note what would change.

    Raises:
        Refused: It cannot go there exactly.
    """
    if tensor.is_output:
        raise Refused(Reason.USED_ELSEWHERE, "as an output of the model")
    if len(tensor.users) > 1:
        users = ", ".join(dict.fromkeys(describe(user) for user in tensor.users))
        raise Refused(Reason.USED_ELSEWHERE, f"by {users}")
    plan.visit(tensor.call)
    plan.apply(_lookup(_BACKWARD, tensor.call), tensor.call, affine)


def forward(tensor: Tensor, affine: Affine, plan: Plan) -> None:
    """Send an affine with the flow, from a tensor into all calls that take it.

    Args:
        tensor: What carries the affine: each user is to receive the tensor without it.
        affine: The scale and shift.
        plan: Where to note what would change.

    Raises:
        Refused: It cannot go there exactly.
    """
    if tensor.is_output:
        raise Refused(Reason.MODEL_OUTPUT, f"made by {describe(tensor.call)}")
    plan.carrying.add(tensor)
    for user in dict.fromkeys(tensor.users):
        plan.visit(user)
        plan.apply(_lookup(_FORWARD, user), user, affine)


def describe(call: Call) -> str:
    """Name a call for a message: the layer's name and class."""
    return f"{call.layer.name}, {call.layer.label}"
