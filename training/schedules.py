"""The learning rate of each training step, by the schedules that recipes name."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras

from training.recipe import Recipe

# The usual ones of one-cycle training; the rest of a cycle is in the recipe.
_RISING_SHARE = 0.3
_FIRST_SHARE = 1 / 25


@keras.saving.register_keras_serializable(package="foldzoo")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A linear warm-up, and what follows it.

    Args:
        kind: ``linear``, ``step``, ``one_cycle`` or ``constant``.
        learning_rate: The highest value.
        steps: The number of steps of the whole training.
        warmup_steps: How many of them rise, less than ``steps``. The first is at
            1 / (warmup_steps + 1) of the highest value, so that no step is lost to a rate of zero.
        milestones: For ``step``: the steps, counted from 0, from each of which on the rate is
            multiplied by ``decay_factor`` once more.
        decay_factor: See there.

    Reference:
        Goyal et al. 2017, https://arxiv.org/abs/1706.02677 (warm-up);
        He et al. 2016, https://arxiv.org/abs/1512.03385 (step);
        Smith and Topin 2017, https://arxiv.org/abs/1708.07120 (one cycle).
    """

    def __init__(
        self,
        kind: str,
        learning_rate: float,
        *,
        steps: int,
        warmup_steps: int = 0,
        milestones: Sequence[int] = (),
        decay_factor: float = 0.1,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.learning_rate = learning_rate
        self.steps = steps
        self.warmup_steps = warmup_steps
        self.milestones = tuple(milestones)
        self.decay_factor = decay_factor

    def __call__(self, step: Any) -> Any:
        """Return the learning rate of a step, float32, counted from 0."""
        step = keras.ops.cast(step, "float32")
        rise = keras.ops.minimum((step + 1) / (self.warmup_steps + 1), 1.0)
        return self.learning_rate * rise * _SHAPES[self.kind](self, step)

    def get_config(self) -> dict[str, Any]:
        """Return what `__init__` takes."""
        return {
            "kind": self.kind,
            "learning_rate": self.learning_rate,
            "steps": self.steps,
            "warmup_steps": self.warmup_steps,
            "milestones": list(self.milestones),
            "decay_factor": self.decay_factor,
        }


def create(recipe: Recipe, steps_per_epoch: int) -> Any:
    """Make the schedule of a recipe.

    Args:
        recipe: The recipe.
        steps_per_epoch: The number of training steps in an epoch. Under gradient accumulation
            the weights move in some of them only; the rate follows the steps all the same.

    Returns:
        A keras.optimizers.schedules.LearningRateSchedule. At least one step comes after the
        warm-up.

    Reference:
        Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983 (cosine). The others are
        cited at `Schedule`.

    Example:
        >>> rate = schedules.create(training.Recipe.load("resnet20.digits"), 20)
        >>> [round(float(rate(step)), 4) for step in (0, 10, 399)]
        [0.0045, 0.05, 0.0]
    """
    steps = steps_per_epoch * recipe.epochs
    warmup_steps = min(round(steps_per_epoch * recipe.warmup_epochs), steps - 1)
    if recipe.schedule == "cosine":
        return _cosine(recipe.learning_rate, steps, warmup_steps)
    return Schedule(
        recipe.schedule,
        recipe.learning_rate,
        steps=steps,
        warmup_steps=warmup_steps,
        milestones=[round(steps_per_epoch * milestone) for milestone in recipe.milestones],
        decay_factor=recipe.decay_factor,
    )


def _cosine(learning_rate: float, steps: int, warmup_steps: int) -> Any:
    """Make Keras' half cosine down to zero, with the warm-up of `Schedule`."""
    if not warmup_steps:
        return keras.optimizers.schedules.CosineDecay(learning_rate, decay_steps=steps)
    return keras.optimizers.schedules.CosineDecay(
        learning_rate / (warmup_steps + 1),
        decay_steps=steps - warmup_steps,
        warmup_target=learning_rate,
        warmup_steps=warmup_steps,
    )


def _linear(schedule: Schedule, step: Any) -> Any:
    """Fall in a line after the warm-up, to zero where the training has ended."""
    left = (schedule.steps - step) / (schedule.steps - schedule.warmup_steps)
    return keras.ops.clip(left, 0.0, 1.0)


def _step(schedule: Schedule, step: Any) -> Any:
    """Multiply by the factor once for each milestone that is reached."""
    factor: Any = 1.0
    for milestone in schedule.milestones:
        factor *= keras.ops.where(step >= milestone, schedule.decay_factor, 1.0)
    return factor


def _one_cycle(schedule: Schedule, step: Any) -> Any:
    """Rise for the first part of all steps and fall to zero, both as half cosines."""
    top = _RISING_SHARE * schedule.steps
    risen = (1 - keras.ops.cos(math.pi * step / top)) / 2
    fallen = (1 + keras.ops.cos(math.pi * (step - top) / (schedule.steps - top))) / 2
    return keras.ops.where(step < top, _FIRST_SHARE + (1 - _FIRST_SHARE) * risen, fallen)


def _constant(schedule: Schedule, step: Any) -> Any:
    """Stay at the highest value."""
    return 1.0


_SHAPES: dict[str, Callable[[Schedule, Any], Any]] = {
    "linear": _linear,
    "step": _step,
    "one_cycle": _one_cycle,
    "constant": _constant,
}
