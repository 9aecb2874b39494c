"""SGD with the weight decay that the papers mean, and the schedule of its learning rate."""

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="foldzoo")
class SGD(keras.optimizers.SGD):
    """SGD whose weight decay is L2 regularization, as in He et al. and in PyTorch's SGD.

    The gradient becomes ``g + l2 * w`` before the momentum. Keras' own ``weight_decay`` is
    decoupled from it (``w -= lr * decay * w``), which at a momentum of 0.9 decays ten times less
    for the same number.

    Args:
        learning_rate: A number or a schedule.
        momentum: In [0, 1).
        nesterov: Whether the momentum is Nesterov's.
        l2: The factor of the decay. Biases and the parameters of norms, that is all variables
            with fewer than two axes, are not decayed.
        **kwargs: What a keras.optimizers.Optimizer takes.

    Reference:
        Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101 (the two kinds of decay).
    """

    def __init__(
        self,
        learning_rate: Any = 0.1,
        momentum: float = 0.9,
        nesterov: bool = True,
        l2: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            learning_rate=learning_rate, momentum=momentum, nesterov=nesterov, **kwargs
        )
        self.l2 = l2

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Move one variable by its gradient and decay."""
        if self.l2 and len(variable.shape) > 1:
            decay = keras.ops.cast(self.l2, variable.dtype)
            gradient = keras.ops.cast(gradient, variable.dtype) + decay * variable
        super().update_step(gradient, variable, learning_rate)

    def get_config(self) -> dict[str, Any]:
        """Return what `__init__` takes."""
        return {**super().get_config(), "l2": self.l2}


def schedule(learning_rate: float, *, steps: int, warmup_steps: int) -> Any:
    """Make the schedule: a linear rise, then a half cosine down to zero, step by step.

    Args:
        learning_rate: The highest value.
        steps: The number of steps of the whole training.
        warmup_steps: How many of them rise. The first is at 1 / (warmup_steps + 1) of the
            highest value, so that no step is lost to a rate of zero.

    Returns:
        A keras.optimizers.schedules.LearningRateSchedule.

    Reference:
        Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983 (cosine);
        Goyal et al. 2017, https://arxiv.org/abs/1706.02677 (warm-up).
    """
    if not warmup_steps:
        return keras.optimizers.schedules.CosineDecay(learning_rate, decay_steps=steps)
    return keras.optimizers.schedules.CosineDecay(
        learning_rate / (warmup_steps + 1),
        decay_steps=steps - warmup_steps,
        warmup_target=learning_rate,
        warmup_steps=warmup_steps,
    )
