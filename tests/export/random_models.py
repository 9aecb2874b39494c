"""Small random models, made of every layer that a folding rule knows and of some that none knows.

A model is grown move by move from the tensors that it has so far. A move is a function that takes
the `Grower` and a tensor and returns a new tensor, or the same one where it does not apply.
"""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from hypothesis import strategies as st
from keras import layers

from .models import with_weights

# Larger ones only cost time: a kernel of 3 meets its border, its other border and itself in 5.
MOST_POSITIONS = 12
MOST_VALUES = 600


class Grower:
    """Draws a model's parts and remembers which tensors and layers there are."""

    def __init__(self, draw: Callable[[Any], Any]) -> None:
        self._draw = draw
        self.tensors: list[Any] = []
        self.used: list[tuple[Any, tuple[int | None, ...]]] = []

    def pick(self, *options: Any) -> Any:
        """Draw one of some values; the first one is the simplest."""
        return self._draw(st.sampled_from(options))

    def sizes(self, count: int, most: int) -> tuple[int, ...]:
        """Draw some whole numbers from 1."""
        return tuple(self._draw(st.integers(1, most)) for _ in range(count))

    def call(self, layer: Any, x: Any) -> Any:
        """Call a layer, and keep it to be called again."""
        self.used.append((layer, tuple(x.shape)))
        return layer(x)


Move = Callable[[Grower, Any], Any]


def rank_of(x: Any) -> int:
    """Return how many spatial axes a tensor has."""
    return len(x.shape) - 2


def positions(x: Any) -> list[int | None]:
    """Return the sizes of the spatial axes."""
    return list(x.shape[1:-1])


def _span(kernel: int, dilation: int) -> int:
    return (kernel - 1) * dilation + 1


def _fits(x: Any, spans: tuple[int, ...] | list[int]) -> bool:
    """Say whether a window lies inside a tensor."""
    return all(size is None or span <= size for size, span in zip(positions(x), spans, strict=True))


def _kernel_options(grow: Grower, x: Any, *, equal_strides: bool = False) -> dict[str, Any]:
    """Draw what all convolutions have: a kernel, strides or dilation, padding."""
    rank = rank_of(x)
    kernel, stride, dilation = grow.sizes(rank, 3), (1,) * rank, (1,) * rank
    how = grow.pick("plain", "strided", "dilated")
    if how == "strided":
        stride = (grow.pick(2, 3),) * rank if equal_strides else grow.sizes(rank, 3)
    if how == "dilated":
        dilation = grow.sizes(rank, 2)
    padding = grow.pick("same", "valid")
    spans = [_span(k, d) for k, d in zip(kernel, dilation, strict=True)]
    if not _fits(x, spans):
        padding = "same"
    return {
        "kernel_size": kernel,
        "strides": stride,
        "dilation_rate": dilation,
        "padding": padding,
        "use_bias": grow.pick(True, False),
        "activation": grow.pick(None, None, None, "relu", "tanh"),
    }


def convolution(grow: Grower, x: Any) -> Any:
    """Conv1D, Conv2D or Conv3D."""
    rank, channels = rank_of(x), x.shape[-1]
    if not 1 <= rank <= 3:
        return x
    options = _kernel_options(grow, x)
    if rank == 1 and grow.pick(False, False, True):
        options["padding"] = "causal"
    groups = grow.pick(1, 1, 1, 1, 2) if channels % 2 == 0 else 1
    filters = groups * grow.pick(2, 1, 3)
    cls = (layers.Conv1D, layers.Conv2D, layers.Conv3D)[rank - 1]
    return grow.call(cls(filters, groups=groups, **options), x)


def depthwise(grow: Grower, x: Any) -> Any:
    """DepthwiseConv1D or DepthwiseConv2D."""
    rank = rank_of(x)
    if not 1 <= rank <= 2:
        return x
    cls = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)[rank - 1]
    options = _kernel_options(grow, x, equal_strides=True)
    return grow.call(cls(depth_multiplier=grow.pick(1, 2), **options), x)


def separable(grow: Grower, x: Any) -> Any:
    """SeparableConv1D or SeparableConv2D."""
    rank = rank_of(x)
    if not 1 <= rank <= 2:
        return x
    cls = (layers.SeparableConv1D, layers.SeparableConv2D)[rank - 1]
    options = _kernel_options(grow, x, equal_strides=True)
    return grow.call(cls(grow.pick(2, 1, 3), depth_multiplier=grow.pick(1, 2), **options), x)


def transposed(grow: Grower, x: Any) -> Any:
    """Conv1DTranspose, Conv2DTranspose or Conv3DTranspose."""
    rank = rank_of(x)
    # Of a free size Keras makes a tensor of the output's size, which only runs in a graph.
    if not 1 <= rank <= 3 or None in positions(x) or max(positions(x)) > MOST_POSITIONS // 2:
        return x
    stride = grow.sizes(rank, 3)
    kernel = grow.sizes(rank, 4)
    padding, extra = grow.pick("same", "valid"), None
    if grow.pick(False, True):
        extra = tuple(grow.pick(*range(s)) for s in stride)
    cls = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)[rank - 1]
    layer = cls(
        grow.pick(2, 1, 3),
        kernel,
        strides=stride,
        padding=padding,
        output_padding=extra[0] if rank == 1 and extra else extra,
        use_bias=grow.pick(True, False),
        activation=grow.pick(None, None, "relu"),
    )
    # TensorFlow runs it only where the convolution that it is the gradient of gives x's size.
    for size, made, k, s in zip(
        positions(x), layer.compute_output_shape(x.shape)[1:-1], kernel, stride, strict=True
    ):
        if size != -(-(made if padding == "same" else made - k + 1) // s):
            return x
    return grow.call(layer, x)


def dense(grow: Grower, x: Any) -> Any:
    """Dense, on the last axis of any tensor."""
    return grow.call(
        layers.Dense(
            grow.pick(2, 1, 3, 4),
            use_bias=grow.pick(True, False),
            activation=grow.pick(None, None, "relu"),
        ),
        x,
    )


def batchnorm(grow: Grower, x: Any) -> Any:
    """BatchNormalization of all kinds, seldom on another axis than the last one."""
    axis = -1
    if grow.pick(*[False] * 9, True):
        axis = grow.pick(*[number for number, size in enumerate(x.shape) if number and size])
    layer = layers.BatchNormalization(
        axis=axis,
        epsilon=grow.pick(1e-3, 1e-5, 0.1),
        center=grow.pick(True, True, False),
        scale=grow.pick(True, True, False),
        renorm=grow.pick(False, False, True),
    )
    layer.trainable = grow.pick(True, True, False)
    return grow.call(layer, x)


def activation(grow: Grower, x: Any) -> Any:
    """An activation, as a layer or as an operation."""
    kind = grow.pick("relu", "relu6", "leaky", "prelu", "layer", "operation", "tanh", "linear")
    if kind == "leaky":
        return grow.call(layers.LeakyReLU(0.2), x)
    if kind == "prelu":
        axes = list(range(1, len(x.shape) - 1))
        return grow.call(layers.PReLU(shared_axes=axes), x)
    if kind == "layer":
        options = grow.pick(
            {}, {"max_value": 1.5}, {"negative_slope": 0.1}, {"threshold": 0.3}, {"max_value": 0}
        )
        return grow.call(layers.ReLU(**options), x)
    if kind == "operation":
        operation = grow.pick("relu", "relu6", "leaky_relu", "sigmoid")
        return getattr(keras.ops, operation)(x)
    return grow.call(layers.Activation(kind), x)


def dropout(grow: Grower, x: Any) -> Any:
    """A layer that does nothing at inference."""
    spatial = (layers.SpatialDropout1D, layers.SpatialDropout2D, layers.SpatialDropout3D)
    options = [layers.Dropout, layers.GaussianNoise, layers.GaussianDropout, layers.AlphaDropout]
    if 1 <= rank_of(x) <= 3:
        options.append(spatial[rank_of(x) - 1])
    return grow.call(grow.pick(*options)(0.4), x)


def pooling(grow: Grower, x: Any) -> Any:
    """Average or maximum pooling; TensorFlow has none in float64 for three axes."""
    rank = rank_of(x)
    if not 1 <= rank <= 2:
        return x
    cls = getattr(layers, f"{grow.pick('Average', 'Max')}Pooling{rank}D")
    size = grow.sizes(rank, 3)
    padding = grow.pick("valid", "same") if _fits(x, size) else "same"
    strides = grow.pick(None, (1,) * rank)
    one = rank == 1  # its settings are numbers
    strides = strides[0] if one and strides else strides
    return grow.call(cls(size[0] if one else size, strides=strides, padding=padding), x)


def global_pooling(grow: Grower, x: Any) -> Any:
    """Average or maximum over all positions."""
    rank = rank_of(x)
    if not 1 <= rank <= 3:
        return x
    cls = getattr(layers, f"Global{grow.pick('Average', 'Max')}Pooling{rank}D")
    return grow.call(cls(keepdims=grow.pick(False, True)), x)


def _pairs(grow: Grower, rank: int) -> Any:
    """Draw how much goes on or off at the start and end of each axis."""
    pairs = tuple((grow.pick(1, 0, 2), grow.pick(1, 0)) for _ in range(rank))
    return pairs[0] if rank == 1 else pairs


def zero_padding(grow: Grower, x: Any) -> Any:
    """Zeros around the positions, or by a trick around the channels."""
    rank = rank_of(x)
    if not 1 <= rank <= 3 or any(size and size > MOST_POSITIONS for size in positions(x)):
        return x
    padding = _pairs(grow, rank)
    if rank == 2 and grow.pick(False, False, True):
        padding = (grow.pick((0, 0), (1, 0)), (1, 1))
        return grow.call(layers.ZeroPadding2D(padding, data_format="channels_first"), x)
    return grow.call(getattr(layers, f"ZeroPadding{rank}D")(padding), x)


def cropping(grow: Grower, x: Any) -> Any:
    """Positions cut off."""
    rank = rank_of(x)
    if not 1 <= rank <= 3 or not _fits(x, [4] * rank):
        return x
    return grow.call(getattr(layers, f"Cropping{rank}D")(_pairs(grow, rank)), x)


def upsampling(grow: Grower, x: Any) -> Any:
    """Positions repeated."""
    rank = rank_of(x)
    if not 1 <= rank <= 3 or any(s is None or 2 * s > MOST_POSITIONS for s in positions(x)):
        return x
    return grow.call(getattr(layers, f"UpSampling{rank}D")(2), x)


def reshape(grow: Grower, x: Any) -> Any:
    """Flatten, Reshape or Permute."""
    if None in x.shape[1:]:
        return x
    rank, size = rank_of(x), math.prod(x.shape[1:])
    kind = grow.pick("flatten", "rows", "split", "permute", "operation")
    if kind == "rows":
        return grow.call(layers.Reshape((size // x.shape[-1], x.shape[-1])), x)
    if kind == "split" and x.shape[-1] % 2 == 0 and rank < 3:
        return grow.call(layers.Reshape((*x.shape[1:-1], 2, x.shape[-1] // 2)), x)
    if kind == "permute" and rank >= 1:
        dims = grow.pick(*[tuple(np.roll(range(1, rank + 2), turn)) for turn in range(1, rank + 1)])
        return grow.call(layers.Permute(tuple(int(dim) for dim in dims)), x)
    if kind == "operation":
        return keras.ops.reshape(x, (-1, size))
    return grow.call(layers.Flatten(), x)


def channels_first(grow: Grower, x: Any) -> Any:
    """Some layers that the CPU can run with the channels first."""
    if rank_of(x) != 2 or not _fits(x, [4, 4]) or None in x.shape[1:]:
        return x
    first = {"data_format": "channels_first"}
    x = layers.Permute((3, 1, 2))(x)
    for _ in range(grow.pick(2, 1, 3)):
        options = [
            layers.BatchNormalization(axis=1),
            layers.DepthwiseConv2D(2, padding=grow.pick("same", "valid"), **first),
            layers.SeparableConv2D(2, 2, padding="same", **first),
            layers.MaxPooling2D(2, strides=1, **first),
            layers.AveragePooling2D(2, strides=1, padding="same", **first),
            layers.ZeroPadding2D(1, **first),
            layers.ReLU(),
            layers.UpSampling2D(2, **first),
        ]
        if min(x.shape[2:]) >= 2:
            x = grow.call(options[grow.pick(*range(len(options)))], x)
    end = grow.pick("permute", "flatten", "pool")
    if end == "flatten":
        return layers.Flatten(**first)(x)
    if end == "pool":
        return layers.GlobalAveragePooling2D(**first)(x)
    return layers.Permute((2, 3, 1))(x)


def again(grow: Grower, x: Any) -> Any:
    """Call a layer that has been called before."""
    shape = tuple(x.shape)
    fitting = [layer for layer, taken in grow.used if taken == shape]
    return grow.pick(*fitting)(x) if fitting else x


def join(grow: Grower, x: Any) -> Any:
    """Add or concatenate two tensors that fit."""
    same = [other for other in grow.tensors if other.shape == x.shape and None not in x.shape[1:]]
    rank = rank_of(x)
    if rank >= 1:
        side = [layers.BatchNormalization()(x), x]
        if 1 <= rank <= 3:
            cls = (layers.Conv1D, layers.Conv2D, layers.Conv3D)[rank - 1]
            side.append(cls(x.shape[-1], grow.pick(3, 1), padding="same")(x))
        same += side
    if not same:
        return x
    other = grow.pick(*same)
    kind = grow.pick("add", "channels", "operation", "axis")
    if kind == "add":
        return layers.Add()([x, other])
    if kind == "operation":
        return x + other
    axis = -1 if kind == "channels" or rank < 1 or x.shape[1] is None else 1
    return layers.Concatenate(axis=axis)([other, x])


def nested(grow: Grower, x: Any) -> Any:
    """A model inside the model, called once or twice."""
    shape = tuple(x.shape[1:])
    inside = Grower(grow._draw)
    start = keras.Input(shape)
    y = start
    for _ in range(grow.pick(1, 2)):
        y = step(inside, y, FLAT)
    if y is start:
        return x
    model = keras.Model(start, y)
    x = grow.call(model, x)
    if tuple(x.shape[1:]) == shape and grow.pick(False, True):
        return model(x)
    return x


CONVOLUTIONS: tuple[Move, ...] = (convolution, depthwise, separable, transposed, dense)
FLAT: tuple[Move, ...] = (
    *CONVOLUTIONS,
    convolution,
    activation,
    dropout,
    pooling,
    zero_padding,
    cropping,
    upsampling,
    global_pooling,
    reshape,
    channels_first,
)
MOVES: tuple[Move, ...] = (*FLAT, join, join, again, nested)


def step(grow: Grower, x: Any, moves: tuple[Move, ...]) -> Any:
    """Make one move, with a BatchNorm before or after it more often than not."""
    move = grow.pick(*moves)
    if any(size and size > 2 * MOST_POSITIONS for size in x.shape[1:]):
        return x
    if grow.pick(False, True):
        x = batchnorm(grow, x)
        grow.tensors.append(x)
        if grow.pick(False, True):
            x = activation(grow, x)
    x = move(grow, x)
    if grow.pick(True, False):
        x = batchnorm(grow, x)
    return x


def random_model(draw: Callable[[Any], Any]) -> keras.Model:
    """Draw a functional model of one or two inputs and one to three outputs.

    Args:
        draw: Draws from a Hypothesis strategy. (A composite strategy may not make Keras layers,
            which take random seeds of their own.)

    Returns:
        The model, with weights.
    """
    grow = Grower(draw)
    rank = grow.pick(2, 2, 2, 1, 3, 0)
    channels = grow.pick(2, 4, 3, 1)
    free = rank > 0 and grow.pick(False, False, False, True)
    inputs = []
    for _ in range(grow.pick(1, 1, 1, 2)):
        sizes = (None,) * rank if free else tuple(grow.pick(5, 4, 7) for _ in range(rank))
        inputs.append(keras.Input((*sizes, channels)))
    grow.tensors = list(inputs)
    for number in range(grow.pick(2, 3, 4, 5)):
        x = grow.tensors[-1]
        if number and grow.pick(False, False, True):
            x = grow.pick(*grow.tensors)
        if not x.shape[1:] or math.prod(size or 8 for size in x.shape[1:]) > MOST_VALUES:
            continue
        grow.tensors.append(step(grow, x, MOVES))
    outputs = [grow.tensors[-1]]
    for _ in range(grow.pick(0, 0, 0, 1, 2)):
        outputs.append(grow.pick(*grow.tensors))
    model = keras.Model(inputs, outputs if len(outputs) > 1 else outputs[0])
    return with_weights(model, draw(st.integers(0, 1000)), grow.pick("both", "positive", "zero"))
