"""Layers that move, pick, average or join values let an affine pass; some only under a condition.

A mean of ``s x + t`` is ``s`` times the mean plus ``t``, so pooling, resizing and picking commute
with a scale and shift as long as the weights of each mean add up to one. A maximum commutes with a
scale that keeps the order. Zero padding commutes with a scale only: a shift is not there in the
border.
"""

import math
from typing import Any

import keras
import numpy as np

from export.graph import Call
from export.rules.engine import (
    Affine,
    Plan,
    Reason,
    Refused,
    backward,
    backward_rule,
    describe,
    forward,
    forward_rule,
)

# At inference these return what they get.
IDENTITIES = (
    "Identity",
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "AlphaDropout",
    "GaussianDropout",
    "GaussianNoise",
    "ActivityRegularization",
)
MEANS = tuple(f"AveragePooling{rank}D" for rank in (1, 2, 3))
MAXIMA = tuple(f"MaxPooling{rank}D" for rank in (1, 2, 3))
GLOBAL_MEANS = tuple(f"GlobalAveragePooling{rank}D" for rank in (1, 2, 3))
GLOBAL_MAXIMA = tuple(f"GlobalMaxPooling{rank}D" for rank in (1, 2, 3))
CROPPINGS = tuple(f"Cropping{rank}D" for rank in (1, 2, 3))
PADDINGS = tuple(f"ZeroPadding{rank}D" for rank in (1, 2, 3))
RESIZINGS = ("UpSampling1D", "UpSampling2D", "UpSampling3D")


def _no_borders(call: Call, affine: Affine) -> None:
    """Refuse where an earlier zero padding would be averaged, moved or cut."""
    if affine.borders and np.any(affine.shift):
        raise Refused(Reason.PADDED_BORDER, describe(call))


def _spatial_axis(call: Call, affine: Affine) -> int:
    """Return the channel axis of a spatial layer, refusing an affine on another one."""
    first = call.layer.config.get("data_format") == "channels_first"
    axis = 1 if first else len(call.inputs[0].shape) - 1
    if affine.axis != axis:
        raise Refused(Reason.CHANNEL_AXIS, describe(call))
    return axis


def _keeps_order(call: Call, affine: Affine) -> None:
    """Refuse where a maximum would become a minimum."""
    window = call.layer.config.get("pool_size", 0)
    picks_one = window == 1 or (window and all(size == 1 for size in np.ravel(window)))
    if not picks_one and np.any(affine.scale < 0):
        raise Refused(Reason.NEGATIVE_SCALE, describe(call))


@backward_rule(*IDENTITIES)
def identity_backward(call: Call, affine: Affine, plan: Plan) -> None:
    """Pass: the layer returns what it gets."""
    _require_inference(call)
    backward(call.inputs[0], affine, plan)


@forward_rule(*IDENTITIES)
def identity_forward(call: Call, affine: Affine, plan: Plan) -> None:
    """Pass: the layer returns what it gets."""
    _require_inference(call)
    forward(call.output, affine, plan)


def _require_inference(call: Call) -> None:
    """Refuse a layer that always drops values or adds noise: its zeros would be scaled too."""
    if call.kwargs.get("training"):
        raise Refused(Reason.UNSUPPORTED_LAYER, f"{describe(call)}: called with training=True")


@backward_rule(*MEANS, *MAXIMA, *RESIZINGS, *CROPPINGS)
def pooling_backward(call: Call, affine: Affine, plan: Plan) -> None:
    """Pass a layer that averages, picks, repeats or cuts positions, channel by channel."""
    _require_channelwise(call, affine)
    backward(call.inputs[0], affine, plan)


@forward_rule(*CROPPINGS)
def cropping_forward(call: Call, affine: Affine, plan: Plan) -> None:
    """Pass, with as much less of a border as is cut off."""
    _spatial_axis(call, affine)
    cut = _pairs_by_axis(call, "cropping")
    borders = {
        axis: tuple(
            max(size - less, 0) for size, less in zip(border, cut.get(axis, (0, 0)), strict=True)
        )
        for axis, border in affine.borders.items()
    }
    left = {axis: (start, end) for axis, (start, end) in borders.items() if start or end}
    forward(call.output, affine.with_(borders=left), plan)


@forward_rule(*MEANS, *MAXIMA, *RESIZINGS)
def pooling_forward(call: Call, affine: Affine, plan: Plan) -> None:
    """Pass a layer that averages, picks or repeats positions, channel by channel."""
    _require_channelwise(call, affine)
    _no_borders(call, affine)
    forward(call.output, affine.with_(borders={}), plan)


def _require_channelwise(call: Call, affine: Affine) -> None:
    """Refuse where the layer would see the affine otherwise than channel by channel."""
    _spatial_axis(call, affine)
    if call.layer.kind in MAXIMA:
        _keeps_order(call, affine)
    # The others compute weights in float32 whatever the dtype: they add up to one only nearly.
    if call.layer.config.get("interpolation", "nearest") != "nearest":
        raise Refused(Reason.UNSUPPORTED_LAYER, describe(call))


@backward_rule(*GLOBAL_MEANS, *GLOBAL_MAXIMA)
def global_pooling_backward(call: Call, affine: Affine, plan: Plan) -> None:
    """Pass the mean, or with scales that keep the order the maximum, over all positions."""
    before, after = _global_axes(call)
    if affine.axis != after:
        raise Refused(Reason.CHANNEL_AXIS, describe(call))
    if call.layer.kind in GLOBAL_MAXIMA:
        _keeps_order(call, affine)
    backward(call.inputs[0], affine.with_(axis=before), plan)


@forward_rule(*GLOBAL_MEANS, *GLOBAL_MAXIMA)
def global_pooling_forward(call: Call, affine: Affine, plan: Plan) -> None:
    """Pass the mean, or with scales that keep the order the maximum, over all positions."""
    before, after = _global_axes(call)
    if affine.axis != before:
        raise Refused(Reason.CHANNEL_AXIS, describe(call))
    if call.layer.kind in GLOBAL_MAXIMA:
        _keeps_order(call, affine)
    _no_borders(call, affine)
    forward(call.output, affine.with_(axis=after, borders={}), plan)


def _global_axes(call: Call) -> tuple[int, int]:
    """Return the channel axis before and after a global pooling."""
    config = call.layer.config
    before = 1 if config.get("data_format") == "channels_first" else len(call.inputs[0].shape) - 1
    return before, before if config.get("keepdims") else 1


def padding_of(call: Call) -> dict[int, tuple[int, int]]:
    """Return how many zeros a padding layer puts before and after, by axis."""
    return _pairs_by_axis(call, "padding")


def _pairs_by_axis(call: Call, key: str) -> dict[int, tuple[int, int]]:
    """Return a setting of one pair for each spatial axis, by axis, without the pairs of zeros."""
    config = call.layer.config
    given = [config[key]] if call.layer.kind.endswith("1D") else config[key]
    first = 2 if config.get("data_format") == "channels_first" else 1
    pairs = [(pair, pair) if isinstance(pair, int) else tuple(pair) for pair in given]
    return {first + number: pair for number, pair in enumerate(pairs) if any(pair)}


@backward_rule(*PADDINGS)
def padding_backward(call: Call, affine: Affine, plan: Plan) -> None:
    """Pass a scale without a shift; padded channels are cut off."""
    padding = padding_of(call)
    before, after = padding.pop(affine.axis, (0, 0))
    end = affine.shift.size - after
    outside = np.concatenate([affine.shift[:before], affine.shift[end:]])
    if np.any(outside) or (padding and np.any(affine.shift)):
        raise Refused(Reason.PADDED_BORDER, describe(call))
    backward(call.inputs[0], affine.take(slice(before, end)), plan)


@forward_rule(*PADDINGS)
def padding_forward(call: Call, affine: Affine, plan: Plan) -> None:
    """Pass, and remember in which border the shift is not there."""
    padding = padding_of(call)
    channels = padding.pop(affine.axis, (0, 0))
    borders = dict(affine.borders)
    for axis, (before, after) in padding.items():
        start, end = borders.get(axis, (0, 0))
        borders[axis] = (start + before, end + after)
    scale = np.pad(affine.scale, channels, constant_values=1.0)
    shift = np.pad(affine.shift, channels)
    forward(call.output, affine.with_(scale=scale, shift=shift, borders=borders), plan)


@backward_rule("Permute")
def permute_backward(call: Call, affine: Affine, plan: Plan) -> None:
    """Pass to the axis that the channels come from."""
    axis = call.layer.config["dims"][affine.axis - 1]
    backward(call.inputs[0], affine.with_(axis=axis), plan)


@forward_rule("Permute")
def permute_forward(call: Call, affine: Affine, plan: Plan) -> None:
    """Pass to the axis that the channels, and the borders, go to."""
    goes = {axis: number + 1 for number, axis in enumerate(call.layer.config["dims"])}
    borders = {goes[axis]: border for axis, border in affine.borders.items()}
    forward(call.output, affine.with_(axis=goes[affine.axis], borders=borders), plan)


@backward_rule("Flatten", "Reshape")
def reshape_backward(call: Call, affine: Affine, plan: Plan) -> None:
    """Pass where the values fall onto one axis of the other shape, the same at all positions."""
    order = _read_order(call)
    shape = [call.inputs[0].shape[axis] for axis in order]
    made = _reshaped(call, affine, call.outputs[0].shape, shape)
    backward(call.inputs[0], made.with_(axis=order[made.axis]), plan)


@forward_rule("Flatten", "Reshape")
def reshape_forward(call: Call, affine: Affine, plan: Plan) -> None:
    """Pass where the values fall onto one axis of the other shape, the same at all positions."""
    _no_borders(call, affine)
    order = _read_order(call)
    shape = [call.inputs[0].shape[axis] for axis in order]
    moved = affine.with_(axis=order.index(affine.axis))
    forward(call.output, _reshaped(call, moved, shape, call.output.shape), plan)


def _read_order(call: Call) -> list[int]:
    """Return the axes of what a layer takes in the order in which it reads them."""
    axes = list(range(len(call.inputs[0].shape)))
    first = call.layer.config.get("data_format") == "channels_first"
    if call.layer.kind == "Flatten" and first and len(axes) > 2:
        return [0, *axes[2:], 1]  # it moves the channels to the end before it flattens
    return axes


def _reshaped(call: Call, affine: Affine, source: Any, target: Any) -> Affine:
    """Lay an affine out over one shape and read it off the last axis of another."""
    last = len(target) - 1
    if affine.axis == len(source) - 1 and source[-1] == target[-1] == affine.scale.size:
        return Affine(affine.scale, affine.shift, last)  # whatever the other sizes are
    shapes = [tuple(shape[1:]) for shape in (source, target)]
    if any(size is None for shape in shapes for size in shape):
        raise Refused(Reason.DYNAMIC_SIZE, describe(call))
    # An operation may mix the images of a batch, or leave one number of each.
    if not all(shapes) or math.prod(shapes[0]) != math.prod(shapes[1]):
        raise Refused(Reason.NOT_ONE_SCALE, describe(call))
    spread = [1] * len(shapes[0])
    spread[affine.axis - 1] = -1
    values = []
    for vector in (affine.scale, affine.shift):
        full = np.broadcast_to(vector.reshape(spread), shapes[0])
        rows = full.reshape(math.prod(shapes[1][:-1]), shapes[1][-1])
        if np.any(rows != rows[0]):
            raise Refused(Reason.NOT_ONE_SCALE, describe(call))
        values.append(rows[0])
    return Affine(values[0], values[1], last)


@backward_rule("Concatenate")
def concatenate_backward(call: Call, affine: Affine, plan: Plan) -> None:
    """Send each branch its channels, or all branches the whole affine."""
    along_channels = _concatenated(call) == affine.axis
    start = 0
    for tensor in call.inputs:
        size = tensor.shape[affine.axis]
        if along_channels and size is None:
            raise Refused(Reason.DYNAMIC_SIZE, describe(call))
        part = affine.take(slice(start, start + size)) if along_channels and size else affine
        start += size or 0
        backward(tensor, part, plan)


@forward_rule("Concatenate")
def concatenate_forward(call: Call, affine: Affine, plan: Plan) -> None:
    """Pass with the other branches' channels untouched."""
    if _concatenated(call) != affine.axis:
        raise Refused(Reason.NOT_ONE_SCALE, describe(call))
    scale, shift = [], []
    for tensor in call.inputs:
        if tensor in plan.carrying:
            scale.append(affine.scale)
            shift.append(affine.shift)
        else:
            scale.append(np.ones(tensor.shape[affine.axis] or 0))
            shift.append(np.zeros(tensor.shape[affine.axis] or 0))
    joined = affine.with_(scale=np.concatenate(scale), shift=np.concatenate(shift))
    forward(call.output, joined, plan)


def _concatenated(call: Call) -> int:
    """Return the axis along which a Concatenate layer joins."""
    axis = call.layer.config["axis"]
    return axis if axis >= 0 else axis + len(call.output.shape)


@forward_rule("Take")
def take_forward(call: Call, affine: Affine, plan: Plan) -> None:
    """Pass with the channels that are taken, in their new order: a shuffle of channels."""
    axis = call.layer.config.get("axis")
    taken = np.asarray(call.args[1])
    if axis is None or axis % len(call.inputs[0].shape) != affine.axis or taken.ndim != 1:
        raise Refused(Reason.CHANNEL_AXIS, describe(call))
    forward(call.output, affine.take(taken), plan)


@backward_rule("Add")
def add_backward(call: Call, affine: Affine, plan: Plan) -> None:
    """Scale every side, and shift the first one."""
    tensors = call.inputs
    operands = keras.tree.flatten((call.args, call.kwargs))
    if len(operands) != len(tensors) or any(t.shape != call.output.shape for t in tensors):
        raise Refused(Reason.ADDITION, f"{describe(call)}: its operands broadcast")
    for number, tensor in enumerate(tensors):
        part = affine if number == 0 else affine.with_(shift=np.zeros_like(affine.shift))
        backward(tensor, part, plan)


@forward_rule("Add")
def add_forward(call: Call, affine: Affine, plan: Plan) -> None:
    """Refuse: the other side would have to be divided by the scale."""
    raise Refused(Reason.ADDITION, describe(call))
