"""The pieces every family is built of. The norm object decides kind, placement and biases."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from zoo import instance, residual
from zoo.lazily import keras
from zoo.norm import Norm

if TYPE_CHECKING:
    from zoo.registry import Options


KernelSize = int | tuple[int, int]
Stride = int | tuple[int, int]

# RMS normalization learns no shift and none has none at all, so their convolutions keep a bias.
_NEED_BIAS = ("none", "rms")


def image(options: "Options") -> Any:
    """Make the model's input, named ``image``: float, (batch, height, width, channels)."""
    return keras.Input(options.input_shape, name="image")


def conv(
    x: Any,
    filters: int,
    kernel_size: KernelSize,
    *,
    stride: Stride = 1,
    groups: int = 1,
    bias: bool = False,
    padding: str = "symmetric",
    name: str,
) -> Any:
    """Convolve, padded so that stride 1 keeps the size, with He initialisation.

    A strided convolution that is padded symmetrically is padded by a layer of its own:
    TensorFlow's ``same`` pads an even size at the bottom and right only, and shifts it against its
    shortcut and against the papers' weights.

    Args:
        x: A Keras tensor, (batch, height, width, channels).
        filters: The number of output channels.
        kernel_size: The side of the square kernel, or its height and width. An even one is padded
            by one more at the bottom and right.
        stride: The step in both directions, or down and to the right.
        groups: How many groups of channels are convolved apart; divides both numbers of channels.
        bias: Whether a bias is learned.
        padding: ``symmetric`` or ``same`` as in `zoo.Options`, or ``valid`` for none.
        name: The layer's name.

    Returns:
        A Keras tensor.

    Reference:
        He et al. 2015, https://arxiv.org/abs/1502.01852 (initialisation).
    """
    x, padding = _padded(x, kernel_size, stride=stride, padding=padding, name=name)
    return keras.layers.Conv2D(
        filters,
        kernel_size,
        strides=stride,
        padding=padding,
        groups=groups,
        use_bias=bias,
        kernel_initializer="he_normal",
        name=name,
    )(x)


def depthwise(
    x: Any,
    kernel_size: int,
    *,
    stride: int = 1,
    bias: bool = False,
    padding: str = "symmetric",
    name: str,
) -> Any:
    """Convolve each channel with a kernel of its own, padded and initialised as `conv` does.

    Args:
        x: A Keras tensor, (batch, height, width, channels).
        kernel_size: The side of the square kernels, odd unless the padding is ``valid``.
        stride: The step in both directions.
        bias: Whether a bias is learned.
        padding: As in `conv`.
        name: The layer's name.

    Returns:
        A Keras tensor with as many channels.
    """
    x, padding = _padded(x, kernel_size, stride=stride, padding=padding, name=name)
    # Keras' own He initialisation would count the positions of all channels into each one's sum.
    spread = math.sqrt(2) / kernel_size
    return keras.layers.DepthwiseConv2D(
        kernel_size,
        strides=stride,
        padding=padding,
        use_bias=bias,
        depthwise_initializer=keras.initializers.RandomNormal(stddev=spread),
        name=name,
    )(x)


def max_pool(x: Any, size: int, *, stride: int = 1, padding: str = "symmetric", name: str) -> Any:
    """Take the largest value of each window, padded as `conv` pads.

    Args:
        x: A Keras tensor, (batch, height, width, channels). Padded symmetrically, zeros take part,
            which matters where a window holds nothing but negative values.
        size: The side of the square window.
        stride: The step in both directions.
        padding: As in `conv`.
        name: The layer's name; where it is padded, ``_pad`` follows for that layer.

    Returns:
        A Keras tensor with as many channels.
    """
    if padding == "symmetric" and size > 1:
        x, padding = keras.layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x), "valid"
    elif padding == "symmetric":
        padding = "valid"
    return keras.layers.MaxPooling2D(size, strides=stride, padding=padding, name=name)(x)


def _padded(
    x: Any, kernel_size: KernelSize, *, stride: Stride, padding: str, name: str
) -> tuple[Any, str]:
    """Pad what a strided convolution takes; return it and the padding left to the convolution."""
    if padding != "symmetric":
        return x, padding
    if stride == 1 or kernel_size == 1:
        return x, "same"
    height, width = (kernel_size,) * 2 if isinstance(kernel_size, int) else kernel_size
    sides = tuple(((size - 1) // 2, size // 2) for size in (height, width))
    return keras.layers.ZeroPadding2D(sides, name=f"{name}_pad")(x), "valid"


def squeeze_excite(
    x: Any,
    channels: int,
    *,
    activation: str = "relu",
    gate: str = "sigmoid",
    name: str,
) -> Any:
    """Scale each channel by a factor computed of the means of all channels.

    The means are those before instance normalization, where that comes just before.

    Args:
        x: A Keras tensor, (batch, height, width, channels).
        channels: How many channels the means are squeezed to.
        activation: A Keras activation's name, after the squeeze.
        gate: A Keras activation's name, of the factors.
        name: What the layers' names begin with.

    Returns:
        A Keras tensor of the same shape.

    Reference:
        Hu et al. 2018, https://arxiv.org/abs/1709.01507
    """
    layers = keras.layers
    seen = instance.before(x, any_channels=True, name=name)
    factor = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(seen)
    factor = conv(factor, channels, 1, bias=True, name=f"{name}_squeeze")
    factor = layers.Activation(activation, name=f"{name}_squeeze_act")(factor)
    factor = conv(factor, x.shape[-1], 1, bias=True, name=f"{name}_excite")
    factor = layers.Activation(gate, name=f"{name}_gate")(factor)
    return layers.Multiply(name=f"{name}_scale")([x, factor])


def normalize(x: Any, norm: Norm, *, name: str, gamma: float = 1.0) -> Any:
    """Normalize over the last axis as ``norm`` says; nothing for kind ``none``.

    Instance normalization of a map of one position is left out: it would leave nothing of it.
    """
    if norm.kind == "none" or instance.erases(x, norm):
        return x
    return norm.layer(x.shape[-1], name=name, gamma=gamma)(x)


def norm_act(x: Any, norm: Norm, *, name: str, activation: str = "relu") -> Any:
    """Normalize and activate, in the order that the placement says.

    Args:
        x: A Keras tensor.
        norm: The normalization.
        name: What the layers' names begin with; ``_norm`` and ``_act`` follow.
        activation: A Keras activation's name.

    Returns:
        A Keras tensor of the same shape.
    """
    act = keras.layers.Activation(activation, name=f"{name}_act")
    if norm.placement == "after_activation":
        return normalize(act(x), norm, name=f"{name}_norm")
    return act(normalize(x, norm, name=f"{name}_norm"))


def needs_bias(norm: Norm, *, followed_by: str) -> bool:
    """Say whether a convolution learns a bias, given what follows it.

    Args:
        norm: The normalization.
        followed_by: ``norm`` where a normalization comes next and would undo the bias or add a
            shift of its own; ``activation`` where the shift must be there before.

    Returns:
        Whether the bias is wanted.
    """
    return norm.kind in _NEED_BIAS or followed_by == "activation"


def bias_before(norm: Norm) -> bool:
    """Say whether a convolution whose output `norm_act` takes learns a bias."""
    after = norm.placement == "after_activation"
    return needs_bias(norm, followed_by="activation" if after else "norm")


def parallel_bias(norm: Norm) -> bool:
    """Say whether a convolution learns a bias beside another one whose results are added to its.

    The shift of a norm in either branch, or without a norm the other convolution's bias, reaches
    the same sum. RMS normalization has no shift, and a bias before it is no shift of the sum.
    """
    return norm.kind == "rms"


def conv_norm_act(
    x: Any,
    filters: int,
    kernel_size: KernelSize,
    *,
    norm: Norm,
    stride: Stride = 1,
    groups: int = 1,
    padding: str = "symmetric",
    activation: str = "relu",
    name: str,
) -> Any:
    """Convolve, normalize and activate, in the order that the placement says.

    Args:
        x: A Keras tensor, (batch, height, width, channels).
        filters: The number of output channels.
        kernel_size: As in `conv`.
        norm: The normalization. ``before_activation``: convolution, norm, activation;
            ``after_activation``: convolution, activation, norm; ``pre_activation``: norm,
            activation, convolution.
        stride: As in `conv`.
        groups: As in `conv`.
        padding: As in `conv`.
        activation: A Keras activation's name.
        name: What the layers' names begin with; ``_conv``, ``_norm`` and ``_act`` follow.

    Returns:
        A Keras tensor.
    """
    options: Any = {"stride": stride, "groups": groups, "padding": padding}
    options |= {"bias": bias_before(norm), "name": f"{name}_conv"}
    if norm.placement == "pre_activation":
        x = norm_act(x, norm, name=name, activation=activation)
        return conv(x, filters, kernel_size, **options)
    x = conv(x, filters, kernel_size, **options)
    return norm_act(x, norm, name=name, activation=activation)


def norm_act_conv(
    x: Any, filters: int, kernel_size: int, *, norm: Norm, stride: int = 1, name: str
) -> Any:
    """Normalize, activate and convolve, for families whose design is pre-activated.

    Args:
        x: A Keras tensor, (batch, height, width, channels).
        filters: The number of output channels.
        kernel_size: The side of the square kernel, odd.
        norm: The normalization. ``before_activation`` and ``pre_activation``: norm, activation,
            convolution; ``after_activation``: activation, norm, convolution.
        stride: The step in both directions.
        name: What the layers' names begin with; ``_norm``, ``_act`` and ``_conv`` follow.

    Returns:
        A Keras tensor.
    """
    x = norm_act(x, norm, name=name)
    bias = bias_before(norm)
    return conv(x, filters, kernel_size, stride=stride, bias=bias, name=f"{name}_conv")


def named(x: Any, name: str) -> Any:
    """Name the operation that made a tensor, which Keras numbers by how many it made before."""
    x._keras_history.operation.name = name
    return x


def pooled(x: Any) -> Any:
    """Average each channel over all positions: (batch, height, width, channels) to vectors.

    Instance normalization just before is left out: every average would be its beta.
    """
    return keras.layers.GlobalAveragePooling2D(name="pool")(instance.before(x, name="pool"))


def dense_logits(x: Any, options: "Options") -> Any:
    """Compute a logit for each class of a vector: (batch, channels) to (batch, num_classes)."""
    # The loss and whoever reads the logits want float32, whatever less the policy computes in.
    wide = keras.config.dtype_policy().compute_dtype == "float64"
    dtype = "float64" if wide else "float32"
    return keras.layers.Dense(options.num_classes, dtype=dtype, name="logits")(x)


def model(
    options: "Options",
    inputs: Any,
    features: dict[int, Any],
    *,
    head: Callable[[Any], Any] = pooled,
    classify: Callable[[Any, "Options"], Any] = dense_logits,
    name: str,
) -> Any:
    """End a network as the caller asked: logits, last feature map, or all feature maps.

    Args:
        options: What the caller asked for.
        inputs: The tensor from `image`.
        features: The last feature map at each stride; the last one is what is classified.
        head: What makes of the last feature map the vectors that the logits are computed of.
        classify: What computes them, in a layer named ``logits``; the names of further layers
            whose shapes depend on the number of classes begin with ``logits_``.
        name: The model's name.

    Returns:
        A keras.Model.

    Raises:
        InputError: Residual branches are to be left out, and the network has none that were added
            by `residual.add`.
    """
    if options.features_only:
        outputs: Any = {f"stride_{stride}": x for stride, x in features.items()}
        return residual.checked(options, keras.Model(inputs, outputs, name=name))
    x = list(features.values())[-1]
    if options.include_top:
        x = head(x)
        if options.dropout:
            x = keras.layers.Dropout(options.dropout, name="dropout")(x)
        x = classify(x, options)
    return residual.checked(options, keras.Model(inputs, x, name=name))
