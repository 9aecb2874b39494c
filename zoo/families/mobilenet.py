"""MobileNet of Howard et al. 2017, table 1.

    stage       stem   1    2    3    4    5
    channels    32     64   128  256  512  1024
    blocks             1    2    2    6    2
    stride      2      1    2    2    2    2     (of the first block)

A block filters each channel by a 3x3 depthwise convolution and mixes them by a 1x1 convolution,
both with a norm and an activation. The activation is ReLU6, as in the authors' code. The paper's
widths are 1, 0.75, 0.5 and 0.25; a width scales each number of channels and leaves fractions out.

Where the norm stands:
    before_activation  as in the paper: depthwise, norm, relu6, pointwise, norm, relu6.
    after_activation   depthwise, relu6, norm, pointwise, relu6, norm.
    pre_activation     norm, relu6, depthwise, norm, relu6, pointwise: the stem takes the image as
                       it is, and the last norm and relu6 come at the end.

keras.applications pads a strided convolution at the bottom and right only: its weights compute the
same here with the padding ``same``, for images whose sides are multiples of 32.

Reference:
    Howard et al. 2017, https://arxiv.org/abs/1704.04861
"""

from typing import Any

from zoo import blocks
from zoo.norm import Norm
from zoo.registry import Options, register_model

PAPER = "Howard et al. 2017, https://arxiv.org/abs/1704.04861"
# The epsilon of the authors' code.
NORM = Norm(epsilon=1e-3)
STAGES = (
    (64, 1, 1),
    (128, 2, 2),
    (256, 2, 2),
    (512, 6, 2),
    (1024, 2, 2),
)  # channels, blocks, stride


def scaled(channels: int, width: float) -> int:
    """Scale a number of channels as the authors' code does, to at least 8."""
    return max(8, int(channels * width))


def separable(x: Any, channels: int, *, stride: int, options: Options, name: str) -> Any:
    """Filter each channel by itself and mix them, each with its norm and activation."""
    norm = options.norm
    pre = norm.placement == "pre_activation"
    place = f"{name}_depthwise"
    if pre:
        x = blocks.norm_act(x, norm, activation="relu6", name=place)
    bias = blocks.bias_before(norm)
    x = blocks.depthwise(
        x, 3, stride=stride, bias=bias, padding=options.padding, name=f"{place}_conv"
    )
    if not pre:
        x = blocks.norm_act(x, norm, activation="relu6", name=place)
    return blocks.conv_norm_act(
        x, channels, 1, norm=norm, activation="relu6", name=f"{name}_pointwise"
    )


def stem(inputs: Any, channels: int, options: Options) -> Any:
    """Convolve the image; pre-activated, the norm and activation are the first block's."""
    norm = options.norm
    bias = blocks.bias_before(norm)
    x = blocks.conv(
        inputs, channels, 3, stride=2, bias=bias, padding=options.padding, name="stem_conv"
    )
    if norm.placement == "pre_activation":
        return x
    return blocks.norm_act(x, norm, activation="relu6", name="stem")


def network(options: Options, stages: tuple[tuple[int, int, int], ...], name: str) -> Any:
    """Build the network of these stages: channels, number of blocks, stride of the first."""
    inputs = blocks.image(options)
    x = stem(inputs, scaled(32, options.width), options)
    total_stride = 2
    features = {}
    for stage, (channels, count, first_stride) in enumerate(stages, start=1):
        total_stride *= first_stride
        for number in range(1, count + 1):
            x = separable(
                x,
                scaled(channels, options.width),
                stride=first_stride if number == 1 else 1,
                options=options,
                name=f"stage{stage}_block{number}",
            )
        features[total_stride] = x
    if options.norm.placement == "pre_activation":
        x = blocks.norm_act(x, options.norm, activation="relu6", name="final")
        features[total_stride] = x
    return blocks.model(options, inputs, features, name=name)


# Parameters: keras.applications' MobileNet, without its moving statistics.
@register_model(
    input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, norm=NORM, parameters=4_231_976
)
def mobilenet(options: Options) -> Any:
    """Build MobileNet: 4.2 million parameters."""
    return network(options, STAGES, "mobilenet")
