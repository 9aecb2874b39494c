"""The two layers that folding needs and Keras lacks. Importing this module registers them."""

from typing import Any

import keras

# Beyond every number that a float32 network computes, and still a float32 number itself.
OPEN = 3.4e38


@keras.saving.register_keras_serializable(package="foldzoo")
class SpatialBias(keras.layers.Layer):
    """Add a bias that may have a value of its own at each position.

    A BatchNorm in front of a convolution that pads with zeros is a constant bias only away from
    the border, so folding it forward exactly takes a map of the output's static size.

    Args:
        shape: The bias's shape without the batch axis. It broadcasts against the input's: 1 where
            all positions of an axis share their values.

    Example:
        >>> x = zoo.layers.SpatialBias((8, 8, 16))(x)
    """

    def __init__(self, shape: tuple[int, ...], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shape = tuple(shape)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Make the bias, zero until weights are set."""
        self.bias = self.add_weight(shape=self.shape, initializer="zeros", name="bias")

    def call(self, inputs: Any) -> Any:
        """Add the bias: (batch, ...) to the same shape."""
        return inputs + keras.ops.cast(self.bias, self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return what `__init__` takes."""
        return {**super().get_config(), "shape": self.shape}


@keras.saving.register_keras_serializable(package="foldzoo")
class ChannelClamp(keras.layers.Layer):
    """Limit each channel to a range of its own: min(max(x, minimum), maximum).

    What is left of a BatchNorm and a ReLU whose scale and shift went into the convolution after
    them. A side that limits no channel is not computed.

    Args:
        shape: The limits' shape without the batch axis: the channels on their axis and 1 on every
            other, for example (1, 1, 64).
        low: Whether there is a lower limit.
        high: Whether there is an upper limit.

    Example:
        >>> x = zoo.layers.ChannelClamp((1, 1, 64), low=True, high=False)(x)
    """

    def __init__(
        self, shape: tuple[int, ...], low: bool = True, high: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.shape = tuple(shape)
        self.low = low
        self.high = high
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Make the limits, wide open until weights are set."""
        if self.low:
            self.minimum = self._limit(-OPEN, "minimum")
        if self.high:
            self.maximum = self._limit(OPEN, "maximum")

    def call(self, inputs: Any) -> Any:
        """Limit (batch, ...) to the same shape."""
        if self.low:
            inputs = keras.ops.maximum(inputs, keras.ops.cast(self.minimum, self.compute_dtype))
        if self.high:
            inputs = keras.ops.minimum(inputs, keras.ops.cast(self.maximum, self.compute_dtype))
        return inputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return what `__init__` takes."""
        return {**super().get_config(), "shape": self.shape, "low": self.low, "high": self.high}

    def _limit(self, value: float, name: str) -> Any:
        """Make one limit."""
        initializer = keras.initializers.Constant(value)
        return self.add_weight(shape=self.shape, initializer=initializer, name=name)
