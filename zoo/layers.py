"""The layers that Keras lacks: two for folding, one for images. Importing registers them."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from zoo import resampling
from zoo.errors import InputError
from zoo.preprocessing import Preprocessing

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


@keras.saving.register_keras_serializable(package="foldzoo")
class Preprocess(keras.layers.Layer):
    """Turn raw images into what a model takes, as `zoo.Preprocessing` does it outside of a network.

    Images of another size are resized with Pillow's weights, and rounded as Pillow rounds, along
    the width and then along the height. It computes in float32 unless a dtype is passed.

    Args:
        preprocessing: A `zoo.Preprocessing`, or a mapping of its arguments.

    Raises:
        InputError: The images have another number of channels; or another size that is not known.

    Example:
        >>> pixels = keras.Input((480, 640, 3), dtype="uint8")
        >>> layer = zoo.layers.Preprocess(zoo.card("resnet20.digits").preprocessing)
        >>> whole = keras.Model(pixels, model(layer(pixels)))
    """

    def __init__(self, preprocessing: Preprocessing | Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        if isinstance(preprocessing, Mapping):
            preprocessing = Preprocessing(**preprocessing)
        self.preprocessing = preprocessing

    def build(self, input_shape: Any) -> None:
        """Make the matrices that resize, where the images have another size."""
        given = self.preprocessing
        sides = tuple(input_shape[1:3])
        if input_shape[-1] != given.channels:
            raise InputError(
                f"{self.name}: accepted are images of {given.channels} channels; received "
                f"{input_shape[-1]}"
            )
        if None in sides:
            raise InputError(
                f"{self.name}: accepted are images of a fixed size, which tells how to bring them "
                f"to {given.size}; received {sides}"
            )
        self._matrices = () if sides == given.size else self._resizing(*sides)

    def call(self, inputs: Any) -> Any:
        """Turn (batch, height, width, channels) of 0 to 255 into (batch, *size, channels)."""
        ops, given = keras.ops, self.preprocessing
        x = ops.cast(inputs, self.compute_dtype)
        for axis, weights in self._matrices:
            equation = "bhwc,kw->bhkc" if axis == 2 else "bhwc,kh->bkwc"
            x = ops.einsum(equation, x, ops.convert_to_tensor(weights, self.compute_dtype))
            x = ops.floor(ops.clip(x, 0.0, 255.0) + 0.5)
        if given.order == "bgr":
            x = ops.flip(x, axis=-1)
        mean, std = (ops.convert_to_tensor(v, self.compute_dtype) for v in (given.mean, given.std))
        return (x * given.scale - mean) / std

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the batch and the preprocessing's size."""
        return (input_shape[0], *self.preprocessing.size, self.preprocessing.channels)

    def get_config(self) -> dict[str, Any]:
        """Return what `__init__` takes."""
        return {**super().get_config(), "preprocessing": self.preprocessing.model_dump(mode="json")}

    def _resizing(self, height: int, width: int) -> tuple[tuple[int, np.ndarray], ...]:
        """Give the axes and matrices, in Pillow's order."""
        given = self.preprocessing
        left, top, right, bottom = given.box(width, height)
        across = resampling.matrix(width, given.size[1], left, right, given.interpolation)
        down = resampling.matrix(height, given.size[0], top, bottom, given.interpolation)
        return (2, across), (1, down)
