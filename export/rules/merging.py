"""Two BatchNorms in a row are one: s = s2 s1, t = s2 t1 + t2. Either one takes the other in."""

import numpy as np

from export.graph import Call, Layer
from export.rules.engine import (
    Affine,
    Plan,
    Reason,
    Refused,
    backward_rule,
    describe,
    forward_rule,
)

_NOTHING = 1e-30


def batchnorm_axis(call: Call) -> int:
    """Return the axis that a BatchNorm normalizes, counted from the batch axis."""
    axis = call.layer.config["axis"]
    axis = axis[0] if isinstance(axis, (list, tuple)) else axis
    axis = axis if axis >= 0 else axis + len(call.inputs[0].shape)
    if axis == 0:
        raise Refused(Reason.CHANNEL_AXIS, f"{describe(call)}: it normalizes the batch axis")
    return axis


def batchnorm_affine(layer: Layer, axis: int) -> Affine:
    """Return what a BatchNorm computes at inference.

    Args:
        layer: The BatchNorm.
        axis: The channels' axis.

    Returns:
        ``scale = gamma / sqrt(variance + epsilon)`` and ``shift = beta - mean * scale``, float64,
        with gamma 1 and beta 0 where the layer has none.

    Raises:
        Refused: A value is not finite, or the variance is negative beyond epsilon.
    """
    mean, variance = layer.weight("moving_mean"), layer.weight("moving_variance")
    denominator = variance + layer.config["epsilon"]
    gamma = layer.weight("gamma") if layer.config["scale"] else np.ones_like(mean)
    beta = layer.weight("beta") if layer.config["center"] else np.zeros_like(mean)
    finite = all(np.all(np.isfinite(value)) for value in (mean, denominator, gamma, beta))
    if not finite or np.any(denominator <= 0):
        raise Refused(Reason.INVALID_STATISTICS, f"{layer.name}, {layer.label}")
    scale = gamma / np.sqrt(denominator)
    # A gamma that weight decay has driven to nothing: times a kernel it is no normal float32
    # number, and some processors then compute with 0 and others do not.
    scale[np.abs(scale) < _NOTHING] = 0
    return Affine(scale, beta - mean * scale, axis)


def cancels(layer: Layer) -> bool:
    """Say whether a BatchNorm's shift is much larger than what a ReLU after it lets through.

    A clamp leaves the shift to the layer after it, where a silent channel is a constant that
    another constant takes away. Beside channels that are not silent that is no loss, but a beta far
    below zero would cost the digits of all of them.

    Args:
        layer: The BatchNorm, its statistics valid.

    Returns:
        Whether the shift's root mean square over the channels is more than four times that of
        what normalized values bring behind a ReLU, about ``|gamma| + max(beta, 0)``.
    """
    shift = batchnorm_affine(layer, 0).shift
    ones = np.ones_like(shift)
    gamma = np.abs(layer.weight("gamma")) if layer.config["scale"] else ones
    beta = layer.weight("beta") if layer.config["center"] else 0 * ones
    return _root_mean_square(shift) > 4 * _root_mean_square(gamma + np.maximum(beta, 0))


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def require_float(call: Call) -> None:
    """Refuse a BatchNorm of integers: Keras computes it in float32 whatever its dtype."""
    given = call.inputs[0].dtype
    if not given.startswith(("float", "bfloat")):
        raise Refused(Reason.INTEGER_INPUT, f"{describe(call)}: {given}")


@backward_rule("BatchNormalization")
def into_earlier(call: Call, affine: Affine, plan: Plan) -> None:
    """Scale and shift gamma and beta of an earlier BatchNorm."""
    gamma, beta = _gamma_and_beta(call, affine)
    _merge(call, gamma * affine.scale, beta * affine.scale + affine.shift, plan)


@forward_rule("BatchNormalization")
def into_later(call: Call, affine: Affine, plan: Plan) -> None:
    """Scale gamma of a later BatchNorm, and let its beta make up for all shifts."""
    if affine.borders and np.any(affine.shift):
        raise Refused(Reason.PADDED_BORDER, describe(call))
    gamma, beta = _gamma_and_beta(call, affine)
    mean = call.layer.weight("moving_mean")
    later = batchnorm_affine(call.layer, affine.axis)
    shift = later.scale * (affine.shift - mean + mean * affine.scale)
    _merge(call, gamma * affine.scale, beta + shift, plan)


def _gamma_and_beta(call: Call, affine: Affine) -> tuple[np.ndarray, np.ndarray]:
    """Return a BatchNorm's gamma and beta, refusing one that is more than a scale and a shift."""
    layer = call.layer
    if affine.axis != batchnorm_axis(call):
        raise Refused(Reason.CHANNEL_AXIS, describe(call))
    if call.kwargs.get("training"):
        raise Refused(Reason.TRAINING_MODE, describe(call))
    require_float(call)
    ones = np.ones_like(affine.scale)
    gamma = layer.weight("gamma") if layer.config["scale"] else ones
    return gamma, layer.weight("beta") if layer.config["center"] else 0 * ones


def _merge(call: Call, gamma: np.ndarray, beta: np.ndarray, plan: Plan) -> None:
    """Note a BatchNorm's new gamma and beta."""
    plan.action = "merged"
    plan.change(call, {"gamma": gamma, "beta": beta}, scale=True, center=True)
