"""Two BatchNorms in a row are one: s = s2 s1, t = s2 t1 + t2. The first one takes the second in."""

import numpy as np

from export.graph import Call, Layer
from export.rules.engine import Affine, Plan, Reason, Refused, backward_rule, describe


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
    return Affine(scale, beta - mean * scale, axis)


@backward_rule("BatchNormalization")
def into_batchnorm(call: Call, affine: Affine, plan: Plan) -> None:
    """Scale and shift gamma and beta of an earlier BatchNorm."""
    layer = call.layer
    if affine.axis != batchnorm_axis(call):
        raise Refused(Reason.CHANNEL_AXIS, describe(call))
    if call.kwargs.get("training") or call.kwargs.get("mask") is not None:
        raise Refused(Reason.TRAINING_MODE, describe(call))
    ones = np.ones_like(affine.scale)
    gamma = layer.weight("gamma") if layer.config["scale"] else ones
    beta = layer.weight("beta") if layer.config["center"] else 0 * ones
    weights = {"gamma": gamma * affine.scale, "beta": beta * affine.scale + affine.shift}
    plan.action = "merged"
    plan.change(call, weights, scale=True, center=True)
