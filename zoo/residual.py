"""Residual branches: their shortcuts, their sum, and how training leaves them out."""

from typing import TYPE_CHECKING, Any

from zoo.errors import InputError
from zoo.lazily import keras

if TYPE_CHECKING:
    from zoo.registry import Options

# The shape of what a dropout draws to leave a whole residual branch out, image by image.
_ONE_PER_IMAGE = (None, 1, 1, 1)


def shortcut_pad(x: Any, filters: int, *, stride: int, name: str) -> Any:
    """Bring a shortcut to a new size without parameters (option A of He et al.).

    Every ``stride``-th position is taken and zero channels are added on both sides.

    Args:
        x: A Keras tensor, (batch, height, width, channels).
        filters: The number of channels to arrive at.
        stride: The step in both directions.
        name: What the layers' names begin with.

    Returns:
        A Keras tensor.

    Reference:
        He et al. 2016, https://arxiv.org/abs/1512.03385, section 3.3.
    """
    if stride > 1:
        x = keras.layers.MaxPooling2D(1, strides=stride, name=f"{name}_pick")(x)
    before = (filters - x.shape[-1]) // 2
    after = filters - x.shape[-1] - before
    if before or after:
        # Told that the channels come first, the layer pads the last two axes: here the width, by
        # nothing, and the channels. That keeps the model free of layers that only we know.
        x = keras.layers.ZeroPadding2D(
            ((0, 0), (before, after)), data_format="channels_first", name=f"{name}_pad"
        )(x)
    return x


def drop_rates(options: "Options", branches: int) -> list[float]:
    """Give each residual branch the rate at which training leaves it out.

    Args:
        options: Its ``stochastic_depth`` is the last branch's rate.
        branches: The number of residual branches.

    Returns:
        One rate for each branch, in their order, rising linearly: of L branches the l-th has
        l / L of the last one's rate.

    Reference:
        Huang et al. 2016, https://arxiv.org/abs/1603.09382, section 3 (linear decay rule).
    """
    return [options.stochastic_depth * number / branches for number in range(1, branches + 1)]


def add(shortcut: Any, x: Any, *, drop: float = 0.0, name: str) -> Any:
    """Add a residual branch to its shortcut, in training to only some of the images.

    Where the branch is kept, it is scaled by 1 / (1 - drop), so that its mean is what inference
    adds. The paper scales it at inference instead, which comes to the same function.

    Args:
        shortcut: A Keras tensor, (batch, height, width, channels).
        x: The end of the branch, of the same shape.
        drop: The share of images that the branch is left out for in training; see `drop_rates`.
        name: What the layers' names begin with.

    Returns:
        A Keras tensor of the same shape.

    Reference:
        Huang et al. 2016, https://arxiv.org/abs/1603.09382
    """
    if drop:
        # The half-precision dtypes have too few numbers between 0 and 1 to draw a small rate with.
        wide = keras.config.dtype_policy().variable_dtype
        x = keras.layers.Dropout(drop, noise_shape=_ONE_PER_IMAGE, dtype=wide, name=f"{name}_drop")(
            x
        )
        # Keras orders weights by their distance from the output, so both sides get a layer more.
        shortcut = keras.layers.Identity(name=f"{name}_shortcut_keep")(shortcut)
    return keras.layers.Add(name=f"{name}_add")([shortcut, x])


def checked(options: "Options", built: Any) -> Any:
    """Refuse a model that has no residual branches to leave out, if some are to be.

    Args:
        options: What the caller asked for.
        built: The model.

    Returns:
        The model.

    Raises:
        InputError: None of its branches was added by `add`.
    """
    rate = options.stochastic_depth
    if rate and not any(
        getattr(layer, "noise_shape", None) == _ONE_PER_IMAGE for layer in built.layers
    ):
        raise InputError(
            f"stochastic_depth: {built.name} has no residual branches that could be left out; "
            f"accepted is 0; received {rate}"
        )
    return built
