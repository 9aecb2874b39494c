"""An affine before a piecewise linear activation goes on forward, and leaves less behind.

With s > 0: relu(s x + t) = s max(x, -t/s) + t. With s < 0: = s min(x, -t/s) + t. With s = 0 it is
the constant relu(t). So BatchNorm and ReLU become one clamp with a limit per channel, and s and t
go on into the next convolution; ReLU6 likewise with two limits. Where t would cancel there (see
`export.rules.merging.cancels`), an addition stays before the clamp:
relu(s x + t) = s max(x + t/s, 0) for s > 0, and s min(x + t/s, 0) for s < 0.

Any other activation f with f(s x) = s f(x) for s > 0 leaves one addition:
f(s x + t) = s f(x + t/s). With s = 0 it is the constant f(t).
"""

from typing import Any

import numpy as np

from export.graph import Call, Layer
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
from zoo.layers import OPEN, ChannelClamp, SpatialBias


def _function(call: Call) -> str:
    """Return the name of an Activation's function; ``custom`` for one that Keras does not name."""
    activation = call.layer.config["activation"]
    return activation if isinstance(activation, str) else "custom"


def _range(call: Call) -> tuple[float, float] | None:
    """Return the range that an activation limits its input to; None where it does not just that."""
    config, kind = call.layer.config, call.layer.kind
    if kind in ("Relu", "Relu6"):
        return 0.0, 6.0 if kind == "Relu6" else np.inf
    if kind == "Activation":
        return {"relu": (0.0, np.inf), "relu6": (0.0, 6.0)}.get(_function(call))
    if config.get("negative_slope") or config.get("threshold"):
        return None
    limit = config.get("max_value")
    return 0.0, np.inf if limit is None else float(np.float32(limit))  # Keras clips with float32


@backward_rule("Activation")
def linear_backward(call: Call, affine: Affine, plan: Plan) -> None:
    """Pass an activation that does nothing."""
    if _function(call) != "linear":
        raise Refused(Reason.UNSUPPORTED_LAYER, f"{describe(call)}: {_function(call)}")
    backward(call.inputs[0], affine, plan)


@forward_rule("Activation", "ReLU", "Relu", "Relu6")
def relu_forward(call: Call, affine: Affine, plan: Plan) -> None:
    """Turn the activation into a clamp, and go on."""
    if call.layer.kind == "Activation" and _function(call) == "linear":
        forward(call.output, affine, plan)
        return
    limits = _range(call)
    if limits is None:
        _homogeneous(call, affine, plan)
        return
    if affine.borders and np.any(affine.shift):
        raise Refused(Reason.PADDED_BORDER, describe(call))
    scale, shift = affine.scale, affine.shift
    dead = scale == 0
    passed = np.where(dead, np.clip(shift, *limits), 0.0)
    if not plan.leave_shift:
        low, high = clamp_limits(scale, shift, limits)
        plan.action = "clamped"
        passed = np.where(dead, passed, shift)
    else:
        left = np.where(dead, 0.0, shift / np.where(dead, 1.0, scale))
        low, high = clamp_limits(scale, np.where(dead, shift, 0.0), limits)
        _leave(call, affine.axis, left, plan)
    if np.any(np.abs(low) > OPEN) or np.any(np.abs(high) > OPEN):
        raise Refused(Reason.NOT_FINITE, describe(call))
    plan.then(lambda: _replace(call, affine.axis, low, high, plan))
    forward(call.output, affine.with_(shift=passed), plan)


def clamp_limits(
    scale: np.ndarray, shift: np.ndarray, limits: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the limits on x that limit ``scale * x + shift`` to a range.

    Args:
        scale: float64, (channels,).
        shift: float64, (channels,).
        limits: The range's lower and upper end; the upper one may be infinite.

    Returns:
        The lower and upper limits, float64, (channels,); +-OPEN where there is none. A channel
        with scale 0 counts for nothing after the clamp: it has one limit, on a side that most
        likely exists anyway.
    """
    alive = np.where(scale == 0, 1.0, scale)
    ends = np.stack([(limit - shift) / alive for limit in limits])
    low, high = ends.min(axis=0), ends.max(axis=0)
    endless = np.isinf(limits[1])
    dead, upper = scale == 0, endless and bool(np.all(scale <= 0) and np.any(scale < 0))
    low = np.where(endless & (scale < 0), -OPEN, np.where(dead, -OPEN if upper else 0.0, low))
    high = np.where(endless & (scale > 0), OPEN, np.where(dead, 0.0 if upper else OPEN, high))
    return low, high


def _replace(call: Call, axis: int, low: np.ndarray, high: np.ndarray, plan: Plan) -> None:
    """Put a clamp in an activation's place, under its name where no other call needs it."""
    old = call.layer
    name = old.name if old.calls == [call] else plan.graph.free_name(old.name)
    shape = [1] * (len(call.output.shape) - 1)
    shape[axis - 1] = low.size
    config: dict[str, Any] = {"shape": tuple(shape), "low": False, "high": False}
    config["trainable"] = old.trainable and plan.trainable
    weights = {}
    if np.any(low > -OPEN):
        config["low"], weights["minimum"] = True, low.reshape(shape)
    if np.any(high < OPEN):
        config["high"], weights["maximum"] = True, high.reshape(shape)
    old.calls.remove(call)
    call.layer = Layer(name, ChannelClamp, config, weights=weights)
    call.layer.calls.append(call)
    call.args, call.kwargs = (call.inputs[0],), {}


@forward_rule("LeakyReLU", "LeakyRelu", "PReLU")
def _homogeneous(call: Call, affine: Affine, plan: Plan) -> None:
    """Leave one addition before the activation and send the scale on."""
    config: dict[str, Any] = call.layer.config
    if config.get("max_value") is not None or config.get("threshold"):
        raise Refused(Reason.UNSUPPORTED_LAYER, f"{describe(call)}: with a threshold")
    if call.layer.kind == "Activation" and _function(call) != "leaky_relu":
        raise Refused(Reason.UNSUPPORTED_LAYER, f"{describe(call)}: {_function(call)}")
    if np.any(affine.scale < 0):
        raise Refused(Reason.NEGATIVE_SCALE, describe(call))
    dead = affine.scale == 0
    left = np.where(dead, 0.0, affine.shift / np.where(dead, 1.0, affine.scale))
    passed = np.where(dead, _leaky(affine.shift, _slope(call, affine)), 0.0)
    if affine.borders and (np.any(left) or np.any(passed)):
        raise Refused(Reason.PADDED_BORDER, describe(call))
    if np.any(left):
        _leave(call, affine.axis, left, plan)
    forward(call.output, affine.with_(shift=passed), plan)


def _leaky(values: np.ndarray, slope: np.ndarray | float) -> np.ndarray:
    return np.where(values < 0, slope * values, values)


def _slope(call: Call, affine: Affine) -> np.ndarray | float:
    """Return an activation's factor of negative values, per channel or one for all."""
    layer = call.layer
    if layer.kind == "PReLU":
        alpha = layer.weight("alpha")
        if alpha.size not in (1, affine.scale.size) or alpha.shape[affine.axis - 1] != alpha.size:
            if np.any(affine.scale == 0):  # its constant would be another one at each position
                raise Refused(Reason.NOT_ONE_SCALE, describe(call))
            return 0.0
        return alpha.reshape(-1)
    # 0.2 is Keras' own default, and float32 what TensorFlow holds it in.
    return float(np.float32(layer.config.get("negative_slope", 0.2)))


def _leave(call: Call, axis: int, left: np.ndarray, plan: Plan) -> None:
    """Note that one addition stays before an activation."""
    if not np.all(np.abs(left) < OPEN):
        raise Refused(Reason.NOT_FINITE, describe(call))
    plan.action = "scale_forward"
    plan.then(lambda: _shift_before(call, axis, left, plan))


def _shift_before(call: Call, axis: int, left: np.ndarray, plan: Plan) -> None:
    """Add a constant per channel to what an activation takes, and to nothing else."""
    graph = plan.graph
    shape = [1] * (len(call.output.shape) - 1)
    shape[axis - 1] = left.size
    layer = Layer(
        graph.free_name(f"{call.layer.name}_shift"),
        SpatialBias,
        {"shape": tuple(shape), "trainable": plan.trainable},
        weights={"bias": left.reshape(shape)},
    )
    graph.insert_before(call, layer)
