"""Blocks of parallel branches whose results are joined, which the Inception networks are built of.

Where the norm stands:
    before_activation  as in the papers: conv, norm, relu.
    after_activation   conv, relu, norm.
    pre_activation     norm, relu, conv: the first convolution takes the image as it is. A pooling
                       then stands before the norm and relu that it follows otherwise.

Reference:
    Szegedy et al. 2016, https://arxiv.org/abs/1512.00567
"""

from dataclasses import dataclass
from typing import Any

from zoo import blocks
from zoo.registry import Options


@dataclass(frozen=True)
class Step:
    """One layer of a branch.

    Args:
        channels: The output channels of a convolution; 0 for a pooling or a fork.
        kernel_size: The side of the square kernels or windows, or their height and width.
        stride: The step in both directions. What has stride 2 is unpadded.
        pool: ``mean`` or ``max`` for a pooling.
        fork: Branches that the row divides into, joined again after them.
    """

    channels: int = 0
    kernel_size: blocks.KernelSize = 1
    stride: int = 1
    pool: str = ""
    fork: tuple["Branch", ...] = ()


Branch = tuple[Step, ...]
MEAN = Step(kernel_size=3, pool="mean")
MAX = Step(kernel_size=3, stride=2, pool="max")


def stem(inputs: Any, options: Options) -> dict[int, Any]:
    """Build the layers up to the second pooling, which leaves an eighth of the image's size.

    Args:
        inputs: The image.
        options: What the caller asked for.

    Returns:
        The last feature map at each stride; the last one is that of the pooling.
    """
    norm = options.norm
    unpadded: Any = {"options": options, "padding": "valid"}
    if norm.placement == "pre_activation":
        bias = blocks.bias_before(norm)
        channels = options.channels(32)
        x = blocks.conv(
            inputs, channels, 3, stride=2, bias=bias, padding="valid", name="stem_1_conv"
        )
    else:
        x = conv(inputs, Step(32, 3, 2), **unpadded, name="stem_1")
    x = conv(x, Step(32, 3), **unpadded, name="stem_2")
    features = {2: conv(x, Step(64, 3), options=options, name="stem_3")}
    x = pool(features[2], MAX, name="stem_3_pool")
    x = conv(x, Step(80), options=options, name="stem_4")
    features[4] = conv(x, Step(192, 3), **unpadded, name="stem_5")
    features[8] = pool(features[4], MAX, name="stem_5_pool")
    return features


def join(x: Any, branches: tuple[Branch, ...], *, options: Options, name: str) -> Any:
    """Pass a tensor through parallel branches and join their results.

    Args:
        x: A Keras tensor, (batch, height, width, channels).
        branches: The branches, in the order of the results' channels.
        options: What the caller asked for.
        name: What the layers' names begin with.

    Returns:
        A Keras tensor.
    """
    ends = [
        row(x, branch, options=options, name=f"{name}_branch{number}")
        for number, branch in enumerate(branches, start=1)
    ]
    return blocks.keras.layers.Concatenate(name=f"{name}_join")(ends)


def row(x: Any, branch: Branch, *, options: Options, name: str) -> Any:
    """Pass a tensor through one branch."""
    for number, step in enumerate(branch, start=1):
        place = f"{name}_{number}"
        if step.fork:
            x = join(x, step.fork, options=options, name=place)
        elif step.pool:
            x = pool(x, step, name=f"{place}_pool")
        else:
            padding = "valid" if step.stride > 1 else "symmetric"
            x = conv(x, step, options=options, padding=padding, name=place)
    return x


def conv(x: Any, step: Step, *, options: Options, padding: str = "symmetric", name: str) -> Any:
    """Convolve, normalize and activate, in the order that the placement says."""
    return blocks.conv_norm_act(
        x,
        options.channels(step.channels),
        step.kernel_size,
        norm=options.norm,
        stride=step.stride,
        padding=padding,
        name=name,
    )


def pool(x: Any, step: Step, *, name: str) -> Any:
    """Take the mean of each window, of what is inside the image, or the largest value."""
    layers = blocks.keras.layers
    kind = layers.AveragePooling2D if step.pool == "mean" else layers.MaxPooling2D
    padding = "valid" if step.stride > 1 else "same"
    return kind(step.kernel_size, strides=step.stride, padding=padding, name=name)(x)
