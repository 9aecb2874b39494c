"""Rescaling and Normalization are a scale and a shift too: forward into the layers after them.

Rescaling: y = scale x + offset. Normalization: y = (x - mean) / d, and with ``invert``
y = d x + mean, where d = max(sqrt(variance), epsilon). Either goes forward as a BatchNorm does, by
the same rules: exact at the borders or not at all. Several in a row go as one, so that a padded
convolution gets one map and not several.

Preconditions: a float tensor is given (an integer one would reach the layer after it as it is), and
the scale and shift are one number, or one for each position of a single axis.

A mean that is subtracted exactly before a layer cancels inside it afterwards: with float32 weights
that costs about log2(mean / deviation) bits, which the certificate's rounding check sees.

Source: the algebra of `export.rules.kernels`; the two formulas are those of Keras 3.15.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np

from export import copying
from export.graph import Call, Graph
from export.rules.engine import Affine, Plan, Reason, Refused, describe, forward

KINDS = (keras.layers.Rescaling, keras.layers.Normalization)


@dataclass(frozen=True)
class Outcome:
    """What became of one call of a preprocessing layer.

    Args:
        action: As in `export.folding.Entry`.
        into: The layers that took it in.
        refusal: Why it is kept; None where it is not.
        scale: Its scale, float64; empty where that is not known.
    """

    action: str = "kept"
    into: tuple[str, ...] = ()
    refusal: Refused | None = None
    scale: np.ndarray | None = None


def fold_inputs(graph: Graph) -> dict[Call, Outcome]:
    """Fold the preprocessing layers of a graph into the layers after them, in place.

    Args:
        graph: The graph.

    Returns:
        What became of each call of one, in the graph's order.
    """
    found = {call: Outcome() for call in graph.calls if issubclass(call.layer.cls, KINDS)}
    left = list(found)
    while left:
        count = len(left)
        for group in _groups(left):
            if all(found[call].action == "kept" for call in group):
                found.update(_attempt(graph, group))
        left = [call for call in left if found[call].action == "kept"]
        if len(left) == count:  # otherwise one that is gone may have stood in another's way
            break
    return found


def _groups(calls: list[Call]) -> Iterator[list[Call]]:
    """Give the calls of each layer together, which a shared layer after it needs, then alone."""
    for layer in dict.fromkeys(call.layer for call in calls):
        group = [call for call in calls if call.layer is layer]
        yield group
        if len(group) > 1:
            yield from ([call] for call in group)


def _attempt(graph: Graph, group: list[Call]) -> dict[Call, Outcome]:
    """Fold some calls, each with those that follow at once; or none of them."""
    scales: dict[Call, np.ndarray] = {}
    refusals = []
    for axis in (
        -1,
        1,
    ):  # one number for all channels goes along the axis where they turn out to be
        plan = Plan(graph)
        try:
            for call in group:
                _send(call, axis, plan, scales)
            plan.check()
        except Refused as refusal:
            refusals.append(refusal)
            continue
        plan.carry_out()
        for call in scales:
            graph.bypass(call)
        done = (plan.action or "folded_forward", tuple(plan.into))
        return {call: Outcome(*done, scale=scale) for call, scale in scales.items()}
    return {call: Outcome(refusal=refusals[0], scale=scales.get(call)) for call in group}


def _send(call: Call, axis: int, plan: Plan, scales: dict[Call, np.ndarray]) -> None:
    """Send a call and those that follow at once forward as one; note the scale of each."""
    scale, shift = np.ones(()), np.zeros(())
    chain = _chain(call)
    for link in chain:
        plan.visit(link)
        own_scale, own_shift = _constants(link)
        scales[link] = own_scale
        scale, shift = own_scale * scale, own_scale * shift + own_shift
    forward(chain[-1].output, _affine(call, scale, shift, axis), plan)


def _chain(call: Call) -> list[Call]:
    """Return a call and the preprocessing layers that follow it with nothing between."""
    chain = [call]
    while len(users := chain[-1].output.users) == 1 and not chain[-1].output.is_output:
        if users[0].layer.cls not in KINDS:
            break
        chain.append(users[0])
    return chain


def _constants(call: Call) -> tuple[np.ndarray, np.ndarray]:
    """Return the scale and shift as the layer computes with them in float64.

    Raises:
        Refused: The layer is given integers, or may compute something else.
    """
    layer, given = call.layer, call.inputs[0]
    if not given.dtype.startswith(("float", "bfloat")):
        raise Refused(Reason.INTEGER_INPUT, f"{describe(call)}: {given.dtype}")
    if layer.cls is keras.layers.Rescaling:
        scale, shift = _numbers(layer.source.scale), _numbers(layer.source.offset)
        if scale.ndim and keras.config.image_data_format() == "channels_first":  # as Keras has it
            scale = scale.reshape(scale.shape + (1,) * (3 - scale.ndim))
    elif layer.cls is keras.layers.Normalization:
        made = copying.make(layer.cls, layer.config, layer.name, layer.source, "float64")
        made.build(given.shape)
        copying.set_state(made, layer.source, {})
        mean = _numbers(made.mean)
        with np.errstate(invalid="ignore"):  # the root of a negative variance is refused below
            deviation = np.maximum(np.sqrt(_numbers(made.variance)), keras.config.epsilon())
        if layer.source.invert:
            scale, shift = deviation, mean
        else:
            scale, shift = 1 / deviation, -mean / deviation
    else:
        raise Refused(Reason.UNSUPPORTED_LAYER, describe(call))
    if not (np.all(np.isfinite(scale)) and np.all(np.isfinite(shift))):
        raise Refused(Reason.INVALID_STATISTICS, describe(call))
    return scale, shift


def _numbers(value: object) -> np.ndarray:
    """Return what Keras makes of a constant when it computes in float64."""
    return keras.ops.convert_to_numpy(keras.ops.cast(value, "float64"))


def _affine(call: Call, scale: np.ndarray, shift: np.ndarray, axis: int) -> Affine:
    """Write a scale and a shift as numbers along one axis.

    Args:
        call: For the tensor that they are applied to.
        scale: Of any shape that broadcasts to the tensor's.
        shift: Likewise.
        axis: The axis to write a single number along.

    Raises:
        Refused: They vary along several axes, or are not as many as the tensor has positions.
    """
    shape = call.inputs[0].shape
    both = np.stack(np.broadcast_arrays(scale, shift))
    both = both.reshape(2, *[1] * (len(shape) + 1 - both.ndim), *both.shape[1:])
    varying = [number for number in range(both.ndim - 1) if np.any(np.ptp(both, axis=number + 1))]
    axis = varying[0] if varying else axis % len(shape)
    size = shape[axis] if axis else None
    values = np.moveaxis(both, axis + 1, 1).reshape(2, both.shape[axis + 1], -1)[:, :, 0]
    if len(varying) > 1 or size is None or values.shape[1] not in (1, size):
        raise Refused(Reason.NOT_ONE_SCALE, describe(call))
    scale, shift = np.broadcast_to(values, (2, size))
    return Affine(scale, shift, axis)
