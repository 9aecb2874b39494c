"""Which numbers a training computes in, and how its losses are kept within their range."""

from typing import Any, Literal

from zoo import xla
from zoo.lazily import keras

Precision = Literal["float32", "mixed_float16", "mixed_bfloat16"]


def resolve(precision: str) -> str:
    """Choose a Keras dtype policy for the devices at hand.

    Args:
        precision: A policy, or ``auto``.

    Returns:
        For ``auto``, ``mixed_float16`` where there is a GPU. CPUs have no fast float16 arithmetic:
        there it is ``mixed_bfloat16``, or ``float32`` where TensorFlow computes that faster, see
        `zoo.xla`. Any other value as it is.
    """
    if precision != "auto":
        return precision
    # Asked for GPUs alone, Keras raises on JAX where there are none.
    if any(name.startswith("gpu") for name in keras.distribution.list_devices()):
        return "mixed_float16"
    return "float32" if xla.is_needed("bfloat16") else "mixed_bfloat16"


def jit_compile(precision: str) -> bool | Literal["auto"]:
    """Say what Keras' ``compile`` is told of XLA.

    Args:
        precision: A dtype policy.

    Returns:
        True where XLA is needed for speed, see `zoo.xla`; else ``auto``, Keras' own choice.
    """
    return True if xla.is_needed(precision.removeprefix("mixed_")) else "auto"


def describe(precision: str) -> str:
    """Name a precision for the person who watches, with what is unusual about it here."""
    if jit_compile(precision) is True:
        return f"{precision} (compiled with XLA: this CPU has no bfloat16 arithmetic)"
    return precision


def scaled(optimizer: Any, name: str) -> Any:
    """Wrap an optimizer so that float16 gradients neither vanish nor overflow.

    Args:
        optimizer: A Keras optimizer.
        name: The dtype policy of the model.

    Returns:
        For ``mixed_float16`` a keras.optimizers.LossScaleOptimizer, which halves the scale and
        leaves the step out where a gradient is not finite; else the optimizer as it is, since
        bfloat16 has the range of float32.
    """
    if name != "mixed_float16":
        return optimizer
    return keras.optimizers.LossScaleOptimizer(optimizer)
