"""The pre-activated residual networks of He et al. 2016b, in the form of keras.applications.

    output size   112x112  56x56   28x28   14x14   7x7
    50 layers     stem     2       1 + 3   1 + 5   1 + 3       bottlenecks: 1x1, 3x3, 1x1
    101 layers    stem     2       1 + 3   1 + 22  1 + 3
    152 layers    stem     2       1 + 7   1 + 35  1 + 3
    filters       64       64      64, 128 128, 256 256, 512   the output has four times more

A stage has 3, 4, 6, 3 blocks (of 50 layers) of the same filters, and its last block has stride 2,
not the next one's first: its shortcut then takes every second position and has no convolution.
Only a stage's first block projects its shortcut. That and the biases are keras.applications', whose
weights fit. The stem, the projections and the last convolution of each block have a bias: a
pooling that is padded with zeros or an addition follows, and no norm.

The design is pre-activated, so every norm and activation stand before a convolution, and:
    before_activation  as in the paper: norm, relu, conv.
    pre_activation     the same network.
    after_activation   relu, norm, conv.

Reference:
    He et al. 2016b, https://arxiv.org/abs/1603.05027
"""

from typing import Any

from zoo import blocks, residual
from zoo.families.resnet import FILTERS, R50, R101, R152
from zoo.registry import Options, register_model

PAPER = "He et al. 2016, https://arxiv.org/abs/1603.05027"
EXPANSION = 4
# The parameters are those that keras.applications' models of these names train.


def block(
    x: Any,
    filters: int,
    *,
    is_first: bool,
    stride: int,
    drop: float,
    options: Options,
    name: str,
) -> Any:
    """Add a pre-activated bottleneck to its input, picked where there is a stride, or projected."""
    norm, shortcut = options.norm, x
    inner, outer = options.channels(filters), options.channels(EXPANSION * filters)
    bias = blocks.bias_before(norm)
    x = blocks.norm_act(x, norm, name=f"{name}_1")
    if is_first:
        shortcut = blocks.conv(x, outer, 1, bias=True, name=f"{name}_shortcut_conv")
    if stride > 1:
        shortcut = blocks.max_pool(shortcut, 1, stride=stride, name=f"{name}_shortcut_pick")
    x = blocks.conv(x, inner, 1, bias=bias, name=f"{name}_1_conv")
    x = blocks.norm_act(x, norm, name=f"{name}_2")
    x = blocks.conv(
        x, inner, 3, stride=stride, bias=bias, padding=options.padding, name=f"{name}_2_conv"
    )
    x = blocks.norm_act(x, norm, name=f"{name}_3")
    x = blocks.conv(x, outer, 1, bias=True, name=f"{name}_3_conv")
    return residual.add(shortcut, x, drop=drop, name=name)


def resnet_v2(options: Options, sizes: tuple[int, ...], name: str) -> Any:
    """Build the network with so many blocks in each stage."""
    inputs = blocks.image(options)
    x = blocks.conv(
        inputs,
        options.channels(FILTERS[0]),
        7,
        stride=2,
        bias=True,
        padding=options.padding,
        name="stem_conv",
    )
    features, total_stride = {2: x}, 4
    x = blocks.max_pool(x, 3, stride=2, padding=options.padding, name="stem_pool")
    drops = iter(residual.drop_rates(options, sum(sizes)))
    for stage, (filters, count) in enumerate(zip(FILTERS, sizes, strict=False), start=1):
        for number in range(1, count + 1):
            stride = 2 if number == count and stage < len(sizes) else 1
            total_stride *= stride
            x = features[total_stride] = block(
                x,
                filters,
                is_first=number == 1,
                stride=stride,
                drop=next(drops),
                options=options,
                name=f"stage{stage}_block{number}",
            )
    features[total_stride] = blocks.norm_act(x, options.norm, name="final")
    return blocks.model(options, inputs, features, name=name)


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=25_568_360)
def resnet50_v2(options: Options) -> Any:
    """Build ResNet-50 V2: 25.6 million parameters."""
    return resnet_v2(options, R50, "resnet50_v2")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=44_577_896)
def resnet101_v2(options: Options) -> Any:
    """Build ResNet-101 V2: 44.6 million parameters."""
    return resnet_v2(options, R101, "resnet101_v2")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=60_236_904)
def resnet152_v2(options: Options) -> Any:
    """Build ResNet-152 V2: 60.2 million parameters."""
    return resnet_v2(options, R152, "resnet152_v2")
