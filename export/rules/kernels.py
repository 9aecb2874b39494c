"""Layers with a kernel take an affine in: backward on the output axis, forward on the input axis.

Backward, y = s * (W x + b) + t:  W' = s W,  b' = s b + t.
Forward,  y = W (s x + t) + b:    W' = W s,  b' = b + W t, where the input is not padded with zeros.
Where it is, W t lacks the taps that fall on the padding: near the border it is another constant at
each position, so it becomes a map of the output's size, added after the layer.

Source: Jacob et al. 2018, https://arxiv.org/abs/1712.05877, section 3.2, for the backward
direction; the forward direction is the same product written out.
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from export.graph import Call, Layer, Times
from export.rules.engine import Affine, Plan, Reason, Refused, backward_rule, describe, forward_rule
from zoo.layers import SpatialBias

CONVOLUTIONS = ("Conv1D", "Conv2D", "Conv3D")
DEPTHWISE = ("DepthwiseConv1D", "DepthwiseConv2D")
SEPARABLE = ("SeparableConv1D", "SeparableConv2D")
TRANSPOSED = ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")

Weights = dict[str, np.ndarray | Times]


def channel_axis(call: Call) -> int:
    """Return the axis that holds the channels before and after a layer with a kernel."""
    return 1 if call.layer.config.get("data_format") == "channels_first" else _rank(call) - 1


def _rank(call: Call) -> int:
    return len(call.inputs[0].shape)


def _require_plain(call: Call, affine: Affine) -> None:
    """Refuse a layer whose kernel is not its only weight, or another axis."""
    if call.layer.adapted:
        raise Refused(Reason.ADAPTED_LAYER, describe(call))
    if affine.axis != channel_axis(call):
        raise Refused(Reason.CHANNEL_AXIS, describe(call))


def _bias(layer: Layer, channels: int) -> np.ndarray:
    """Return a layer's bias, zero where it has none."""
    return layer.weight("bias") if layer.config.get("use_bias") else np.zeros(channels)


def _with_bias(layer: Layer, weights: Weights, bias: np.ndarray) -> dict[str, Any]:
    """Note a new bias, unless the layer has none and needs none; return the changed settings."""
    if layer.config.get("use_bias") or np.any(bias):
        weights["bias"] = bias
        return {"use_bias": True}
    return {}


@backward_rule("Dense", *CONVOLUTIONS, *DEPTHWISE, *SEPARABLE, *TRANSPOSED)
def into_output_axis(call: Call, affine: Affine, plan: Plan) -> None:
    """Scale the kernel on its output axis: exact for every stride, dilation, padding and group."""
    _require_plain(call, affine)
    layer = call.layer
    if layer.config.get("activation") not in (None, "linear"):
        raise Refused(Reason.FUSED_ACTIVATION, describe(call))
    name = "pointwise_kernel" if layer.kind in SEPARABLE else "kernel"
    if layer.kind in DEPTHWISE:  # (..., channels, multiplier)
        factor = affine.scale.reshape(-1, layer.config.get("depth_multiplier", 1))
    elif layer.kind in TRANSPOSED:  # (..., out, in)
        factor = affine.scale[:, None]
    else:  # (..., in, out)
        factor = affine.scale
    weights: Weights = {name: Times(factor)}
    bias = _bias(layer, affine.scale.size) * affine.scale + affine.shift
    config = _with_bias(layer, weights, bias)
    plan.action = plan.action or "folded_backward"
    plan.change(call, weights, **config)


@forward_rule("Dense")
def into_dense(call: Call, affine: Affine, plan: Plan) -> None:
    """Scale a Dense kernel's rows; the shift becomes a bias."""
    _require_plain(call, affine)
    if affine.borders and np.any(affine.shift):
        raise Refused(Reason.PADDED_BORDER, describe(call))
    kernel = call.layer.weight("kernel")
    weights: Weights = {"kernel": Times(affine.scale[:, None])}
    bias = _bias(call.layer, kernel.shape[1]) + affine.shift @ kernel
    config = _with_bias(call.layer, weights, bias)
    plan.action = plan.action or "folded_forward"
    plan.change(call, weights, **config)


@dataclass(frozen=True)
class _Taps:
    """What a convolution's input-side change comes to.

    Args:
        weights: How the kernel is scaled, by its name.
        shift: What the shift adds through each tap: (*kernel_size, out).
    """

    weights: Weights
    shift: np.ndarray


@forward_rule(*CONVOLUTIONS, *DEPTHWISE, *SEPARABLE, *TRANSPOSED)
def into_input_axis(call: Call, affine: Affine, plan: Plan) -> None:
    """Scale the kernel on its input axis; the shift becomes a bias, or a map where it is padded."""
    _require_plain(call, affine)
    layer = call.layer
    taps = _taps(layer, affine)
    added = _added(call, affine, taps.shift)
    plan.action = plan.action or "folded_forward"
    if added.ndim == 1:
        config = _with_bias(layer, taps.weights, _bias(layer, added.size) + added)
        plan.change(call, taps.weights, **config)
        return
    plan.change(call, taps.weights, activation="linear")
    _add_map(call, added, plan)


def _taps(layer: Layer, affine: Affine) -> _Taps:
    """Scale the kernel and send the shift through each of its taps."""
    scale, shift = affine.scale, affine.shift
    if layer.kind in SEPARABLE:
        deep, point = layer.weight("depthwise_kernel"), layer.weight("pointwise_kernel")
        through = (deep * shift[:, None]).reshape(*deep.shape[:-2], -1)
        added = through @ point.reshape(point.shape[-2:])
        return _Taps({"depthwise_kernel": Times(scale[:, None])}, added)
    kernel = layer.weight("kernel")
    if layer.kind in DEPTHWISE:  # output channel c * multiplier + m reads input channel c
        through = (kernel * shift[:, None]).reshape(*kernel.shape[:-2], -1)
        return _Taps({"kernel": Times(scale[:, None])}, through)
    if layer.kind in TRANSPOSED:  # (..., out, in)
        return _Taps({"kernel": Times(scale)}, kernel @ shift)
    groups = layer.config.get("groups", 1)
    if groups == 1:
        return _Taps({"kernel": Times(scale[:, None])}, shift @ kernel)

    def per_output(values: np.ndarray) -> np.ndarray:
        """Give each output channel the values of its group's inputs: (in / groups, out)."""
        return np.repeat(values.reshape(groups, -1), kernel.shape[-1] // groups, axis=0).T

    kernel *= per_output(shift)
    return _Taps({"kernel": Times(per_output(scale))}, kernel.sum(axis=-2))


def _added(call: Call, affine: Affine, taps: np.ndarray) -> np.ndarray:
    """Sum the taps that see the shift, at each output position.

    Returns:
        (out,) where all positions have the same sum, else (*positions, out).

    Raises:
        Refused: The positions differ and their number is not known.
    """
    if not np.any(taps):
        return np.zeros(taps.shape[-1])
    total, places = taps, []
    for axis in range(taps.ndim - 1):
        # Few different sets of taps occur along an axis: sum over those, then lay the sums out.
        kinds, place = np.unique(_seen(call, affine, axis), axis=0, return_inverse=True)
        total = np.moveaxis(np.tensordot(kinds.astype(float), total, (1, axis)), 0, axis)
        places.append(place.reshape(-1))
    if total.size == taps.shape[-1]:
        return total.reshape(-1)
    return total[np.ix_(*places)]


def _seen(call: Call, affine: Affine, number: int) -> np.ndarray:
    """Say which taps of an axis see the shift at which output position.

    Args:
        call: The convolution's call.
        affine: With the borders that an earlier padding made.
        number: The spatial axis, from 0.

    Returns:
        bool, (positions, taps); one position where all positions are alike.

    Raises:
        Refused: It depends on a size that is not known.
    """
    config = call.layer.config
    axis = number + (2 if channel_axis(call) == 1 else 1)
    size, kernel = call.inputs[0].shape[axis], _tuple(config["kernel_size"], number)
    stride = _tuple(config["strides"], number)
    dilation = _tuple(config.get("dilation_rate", 1), number)
    start, end = affine.borders.get(axis, (0, 0))
    span = (kernel - 1) * dilation + 1
    transposed = call.layer.kind in TRANSPOSED
    unpadded = config["padding"] == "valid" or span == 1
    spread = transposed and not span == stride == 1
    if unpadded and not start and not end and not spread:
        return np.ones((1, kernel), bool)
    positions = call.output.shape[axis]
    if size is None or positions is None:
        raise Refused(Reason.DYNAMIC_SIZE, describe(call))
    tap = np.arange(kernel) * dilation
    place = np.arange(positions)[:, None]
    if transposed:
        # The gradient of a convolution from `positions` to `size` positions.
        surplus = (size - 1) * stride + span - positions
        cropped = max(surplus, 0) // 2 if config["padding"] == "same" else 0
        reached = place + cropped - tap
        read, exact = reached // stride, reached % stride == 0
        return exact & (read >= start) & (read < size - end)
    padded = {"valid": 0, "causal": span - 1}.get(
        config["padding"], max((positions - 1) * stride + span - size, 0) // 2
    )
    read = place * stride + tap - padded
    return (read >= start) & (read < size - end)


def _tuple(value: Any, number: int) -> int:
    """Return one axis's value of a setting that may be one for all."""
    return value if isinstance(value, int) else value[number]


def _add_map(call: Call, added: np.ndarray, plan: Plan) -> None:
    """Note that a map is added after a call, before the activation that was fused in its layer."""
    graph, activation = plan.graph, call.layer.config.get("activation")
    if channel_axis(call) == 1:
        added = np.moveaxis(added, -1, 0)
    if not np.all(np.isfinite(added.astype(np.float32))):
        raise Refused(Reason.NOT_FINITE, f"bias map after {describe(call)}")

    def insert() -> None:
        name, flag = call.layer.name, {"trainable": call.layer.trainable}
        shape = {"shape": added.shape, **flag}
        weights = {"bias": added}
        new = [Layer(graph.free_name(f"{name}_bias_map"), SpatialBias, shape, None, weights)]
        if activation not in (None, "linear"):
            config = {"activation": activation, **flag}
            own = graph.free_name(f"{name}_activation")
            new.append(Layer(own, keras.layers.Activation, config))
        if call.output.is_output:
            # An output is known by the name of the layer that makes it, so that layer gets it.
            call.layer.name = graph.free_name(f"{name}_kernel")
            new[-1].name = name
        last = call
        for layer in new:
            last = graph.insert_after(last, layer)

    plan.then(insert)
