"""MobileNetV2 of Sandler et al. 2018, table 2, and its form for CIFAR.

    stage       stem   1    2    3    4    5    6     7     head
    expansion          1    6    6    6    6    6     6
    channels    32     16   24   32   64   96   160   320   1280
    blocks             1    2    3    4    3    3     1
    stride      2      1    2    2    2    1    2     1     (of the first block)

A block expands the channels by a 1x1 convolution, filters each one by a 3x3 depthwise convolution
and projects them by a 1x1 convolution that no activation follows (a linear bottleneck). Its input
is added where the shape is the same. The activation is ReLU6. With a width of less than 1, the head
keeps its 1280 channels, as in the paper.

The form for 32x32 has stride 1 in the stem and in stage 2, as is usual for CIFAR.

Where the norm stands:
    before_activation  as in the paper: expand, norm, relu6, depthwise, norm, relu6, project, norm.
    after_activation   expand, relu6, norm, depthwise, relu6, norm, project, norm.
    pre_activation     norm, expand, norm, relu6, depthwise, norm, relu6, project: what is added
                       passes untouched, and still nothing is activated in a bottleneck. Only the
                       stem's output, which is none, is normalized and activated in the first block.

keras.applications pads a strided convolution of an even size at the bottom and right only: its
weights compute the same here with the padding ``same``.

Reference:
    Sandler et al. 2018, https://arxiv.org/abs/1801.04381
"""

from collections.abc import Iterator
from typing import Any

from zoo import blocks, residual
from zoo.norm import Norm
from zoo.registry import Options, register_model

PAPER = "Sandler et al. 2018, https://arxiv.org/abs/1801.04381"
# The epsilon of the authors' code.
NORM = Norm(epsilon=1e-3)
# Expansion, channels, number of blocks, stride of the first.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
CIFAR_STAGES = (STAGES[0], (6, 24, 2, 1), *STAGES[2:])


def scaled(channels: int, width: float) -> int:
    """Scale to the nearest multiple of 8 that is at least 8 and loses no more than a tenth.

    `Options.channels` would round 20 to 16 and 11.2 to 8, where the paper's code has 24 and 16.
    """
    wanted = channels * width
    rounded = max(8, 8 * int(wanted / 8 + 0.5))
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def inverted_residual(
    x: Any,
    channels: int,
    *,
    expansion: int,
    stride: int,
    drops: Iterator[float],
    options: Options,
    name: str,
) -> Any:
    """Expand, filter and project, each with its norm behind it."""
    norm = options.norm
    shortcut = x
    if expansion > 1:
        wide = expansion * x.shape[-1]
        x = blocks.conv_norm_act(x, wide, 1, norm=norm, activation="relu6", name=f"{name}_expand")
    bias = blocks.bias_before(norm)
    x = blocks.depthwise(
        x, 3, stride=stride, bias=bias, padding=options.padding, name=f"{name}_depthwise_conv"
    )
    x = blocks.norm_act(x, norm, activation="relu6", name=f"{name}_depthwise")
    bias = blocks.needs_bias(norm, followed_by="norm")
    x = blocks.conv(x, channels, 1, bias=bias, name=f"{name}_project_conv")
    x = blocks.normalize(x, norm, name=f"{name}_project_norm")
    return added(shortcut, x, stride=stride, drops=drops, name=name)


def preactivation_block(
    x: Any,
    channels: int,
    *,
    expansion: int,
    stride: int,
    drops: Iterator[float],
    options: Options,
    name: str,
) -> Any:
    """Expand, filter and project, each with its norm before it."""
    norm = options.norm
    bias = blocks.bias_before(norm)
    shortcut = x
    if expansion > 1:
        wide = expansion * x.shape[-1]
        x = blocks.normalize(x, norm, name=f"{name}_expand_norm")
        x = blocks.conv(x, wide, 1, bias=bias, name=f"{name}_expand_conv")
    x = blocks.norm_act(x, norm, activation="relu6", name=f"{name}_depthwise")
    x = blocks.depthwise(
        x, 3, stride=stride, bias=bias, padding=options.padding, name=f"{name}_depthwise_conv"
    )
    x = blocks.norm_act(x, norm, activation="relu6", name=f"{name}_project")
    x = blocks.conv(x, channels, 1, bias=bias, name=f"{name}_project_conv")
    return added(shortcut, x, stride=stride, drops=drops, name=name)


def added(shortcut: Any, x: Any, *, stride: int, drops: Iterator[float], name: str) -> Any:
    """Add a block's input to its output where they have the same shape."""
    if stride > 1 or shortcut.shape[-1] != x.shape[-1]:
        return x
    return residual.add(shortcut, x, drop=next(drops), name=name)


def branch_count(stages: tuple[tuple[int, int, int, int], ...], width: float) -> int:
    """Count the blocks that `added` adds the input of."""
    before, count = scaled(32, width), 0
    for _, channels, number, first_stride in stages:
        after = scaled(channels, width)
        count += number - 1 + (first_stride == 1 and before == after)
        before = after
    return count


def stem(inputs: Any, channels: int, *, stride: int, options: Options) -> Any:
    """Convolve the image; pre-activated, the norm and activation are the first block's."""
    norm = options.norm
    bias = blocks.bias_before(norm)
    x = blocks.conv(
        inputs, channels, 3, stride=stride, bias=bias, padding=options.padding, name="stem_conv"
    )
    if norm.placement == "pre_activation":
        return x
    return blocks.norm_act(x, norm, activation="relu6", name="stem")


def head(x: Any, channels: int, *, options: Options) -> Any:
    """Widen the last bottleneck before the pooling."""
    norm = options.norm
    if norm.placement == "pre_activation":
        x = blocks.normalize(x, norm, name="final_norm")
    bias = blocks.bias_before(norm)
    x = blocks.conv(x, channels, 1, bias=bias, name="head_conv")
    return blocks.norm_act(x, norm, activation="relu6", name="head")


def mobilenet(
    options: Options, stages: tuple[tuple[int, int, int, int], ...], stem_stride: int, name: str
) -> Any:
    """Build the network of these stages: expansion, channels, number of blocks, first stride."""
    pre = options.norm.placement == "pre_activation"
    block = preactivation_block if pre else inverted_residual
    inputs = blocks.image(options)
    x = stem(inputs, scaled(32, options.width), stride=stem_stride, options=options)
    features = {}
    total_stride = stem_stride
    drops = iter(residual.drop_rates(options, branch_count(stages, options.width)))
    for stage, (expansion, channels, count, first_stride) in enumerate(stages, start=1):
        total_stride *= first_stride
        for number in range(1, count + 1):
            x = block(
                x,
                scaled(channels, options.width),
                expansion=expansion,
                stride=first_stride if number == 1 else 1,
                drops=drops,
                options=options,
                name=f"stage{stage}_block{number}",
            )
        features[total_stride] = x
    features[total_stride] = head(x, scaled(1280, max(1.0, options.width)), options=options)
    return blocks.model(options, inputs, features, name=name)


# Parameters: torchvision's mobilenet_v2 has just as many; the paper's table 4 has 3.4 million.
@register_model(
    input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, norm=NORM, parameters=3_504_872
)
def mobilenet_v2(options: Options) -> Any:
    """Build MobileNetV2: 3.5 million parameters."""
    return mobilenet(options, STAGES, 2, "mobilenet_v2")


@register_model(input_shape=(32, 32, 3), num_classes=10, paper=PAPER, parameters=2_236_682)
def mobilenet_v2_cifar(options: Options) -> Any:
    """Build MobileNetV2 for small images: 2.2 million parameters."""
    return mobilenet(options, CIFAR_STAGES, 1, "mobilenet_v2_cifar")
