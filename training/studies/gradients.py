"""Gradients as arrays, on any Keras backend: an optimizer that keeps them and moves nothing."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from training.studies.weights import arrays


@keras.saving.register_keras_serializable(package="foldzoo")
class Recorder(keras.optimizers.Optimizer):
    """Keeps the gradient of each variable and leaves the variables as they are."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(learning_rate=1.0, **kwargs)
        self.kept: list[Any] = []

    def build(self, variables: list[Any]) -> None:
        """Make room for the gradients."""
        if not self.built:
            super().build(variables)
            self.kept = self.add_optimizer_variables(variables, "gradient")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Keep one gradient."""
        self.assign(self.kept[self._get_variable_index(variable)], gradient)


class Gradients:
    """Computes the gradients of a model's loss on a batch, in training mode.

    Args:
        model: A keras.Model. It is compiled anew, and the statistics of its norms change.
        loss: What Keras' ``compile`` takes; None for cross-entropy of logits and one-hot labels.

    Example:
        >>> loss, gradients = Gradients(model)(images, labels)
    """

    def __init__(self, model: Any, loss: Callable[[Any, Any], Any] | None = None) -> None:
        self.model, self._recorder = model, Recorder()
        model.compile(
            self._recorder,
            loss=loss or keras.losses.CategoricalCrossentropy(from_logits=True),
            auto_scale_loss=False,
        )
        self._recorder.build(model.trainable_variables)

    def __call__(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, list[np.ndarray]]:
        """Compute the loss of a batch and its gradients.

        Args:
            inputs: What the model takes.
            targets: What the loss takes.

        Returns:
            The loss, and float64 arrays in the order of the model's trainable variables.
        """
        loss = float(self.model.train_on_batch(inputs, targets))
        return loss, [kept.astype(np.float64) for kept in arrays(self._recorder.kept)]


@keras.saving.register_keras_serializable(package="foldzoo")
class Shift(keras.layers.Layer):
    """Adds a variable that is zero, whose gradient is that of the inputs."""

    def __init__(self, shape: tuple[int, ...], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shift = self.add_weight(shape=shape, initializer="zeros", name="shift")

    def call(self, inputs: Any) -> Any:
        """Add it."""
        return inputs + self.shift
