"""Clamps as onnxruntime runs them fastest: a 1x1 depthwise convolution with a ReLU.

What folding leaves of a BatchNorm and a ReLU is min(max(x, low), high) with limits per channel, of
which one is open: max(x, t) = relu(x - t) + t and min(x, t) = t - relu(t - x). With s = 1 for the
one and -1 for the other both are s relu(s x - s t) + t. The inner part is a depthwise convolution
with kernel s and bias -s t; s and t go on into the layers after it by the rules of the folder, in
float64.

Onnxruntime 1.32 runs Max and Min on one thread each (core/providers/cpu/math/element_wise_ops.cc,
UntypedBroadcastVariadic) and outside of the blocked layout in which it keeps images between
convolutions; the convolution runs on all threads, inside of it, with the ReLU in the same pass.
"""

import keras
import numpy as np

from export.graph import Call, Graph, Layer
from export.rules import engine
from export.rules.engine import Affine, Plan, Refused
from zoo.layers import OPEN, ChannelClamp

_CHANNELS_LAST = 3  # the axis of the channels in (batch, height, width, channels)


def replace(source: Graph) -> bool:
    """Replace clamps by depthwise convolutions, where the rest can go on.

    A clamp stays one where a channel has two limits or none, and where a layer after it cannot take
    in what is left, or not without an addition.

    Args:
        source: A graph of a float32 model from `export.rebuild`; it is changed.

    Returns:
        Whether any was.
    """
    clamps = [call for call in source.calls if call.layer.cls is ChannelClamp]
    changed = [_replaced(source, call) for call in clamps]
    return any(changed)


def _replaced(source: Graph, call: Call) -> bool:
    """Replace one clamp; say whether it was."""
    limits = _limits(call.layer)
    if limits is None or len(call.layer.calls) > 1 or call.output.is_output:
        return False
    sign, limit = limits
    plan = Plan(source)
    # A channel that is a constant comes out of the convolution as 0.
    rest = Affine(np.where(sign == 0, 1.0, sign), limit, _CHANNELS_LAST)
    try:
        plan.visit(call)
        engine.forward(call.output, rest, plan)
        plan.check()
    except Refused:
        return False
    if plan.adds_layers:
        return False
    plan.carry_out()
    call.layer = _convolution(call, sign, limit)
    return True


def _limits(layer: Layer) -> tuple[np.ndarray, np.ndarray] | None:
    """Tell each channel's side and limit.

    Returns:
        The sign, (channels,): 1 for a lower limit, -1 for an upper one, 0 for a constant; and the
        limit, (channels,). None where a channel has none or two, or there is no image.
    """
    shape = layer.config["shape"]
    if len(shape) != _CHANNELS_LAST or shape[:2] != (1, 1):
        return None
    low = layer.weight("minimum") if layer.config["low"] else np.full(shape, -OPEN)
    high = layer.weight("maximum") if layer.config["high"] else np.full(shape, OPEN)
    low, high = low.reshape(-1), high.reshape(-1)
    bounded = np.stack([low > -_FLOAT32_OPEN, high < _FLOAT32_OPEN])
    constant = bounded.all(axis=0) & (low == high)
    if not np.all((bounded.sum(axis=0) == 1) | constant):
        return None
    sign = np.where(constant, 0.0, np.where(bounded[0], 1.0, -1.0))
    return sign, np.where(bounded[0], low, high)


_FLOAT32_OPEN = float(np.float32(OPEN))  # as a model holds it


def _convolution(call: Call, sign: np.ndarray, limit: np.ndarray) -> Layer:
    """Make the layer that takes a clamp's place, under its name."""
    old = call.layer
    config = {
        "kernel_size": (1, 1),
        "activation": "relu",
        "data_format": "channels_last",
        "trainable": old.trainable,
    }
    weights = {"kernel": sign.reshape(1, 1, -1, 1), "bias": -sign * limit}
    return Layer(old.name, keras.layers.DepthwiseConv2D, config, weights=weights, calls=[call])
