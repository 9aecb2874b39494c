"""The wide residual networks of Zagoruyko and Komodakis 2016, table 1.

    output size   32x32   32x32    16x16    8x8
    layers        1       2n       2n       2n     (3x3 convolutions), then pooling and logits
    filters       16      16k      32k      64k

WRN-d-k has d = 6n + 4 layers: n = 2, 4, 6 gives 16, 28 and 40, where the projections count as a
layer each. A block is norm, relu, conv, norm, relu, conv, add. Where the number of channels or the
size changes, the shortcut is a 1x1 convolution of the block's first norm and relu, as in the
authors' code. The dropout between a block's convolutions, which the paper tries, is not there.

The design is pre-activated, so every norm and activation stand before a convolution, and:
    before_activation  as in the paper: norm, relu, conv.
    pre_activation     the same network.
    after_activation   relu, norm, conv.

Reference:
    Zagoruyko and Komodakis 2016, https://arxiv.org/abs/1605.07146
"""

from typing import Any

from zoo import blocks, residual
from zoo.registry import Options, register_model

PAPER = "Zagoruyko and Komodakis 2016, https://arxiv.org/abs/1605.07146"
STAGES = ((1, 16, 1), (2, 32, 2), (3, 64, 2))  # number, filters where k is 1, first block's stride


def wide_block(
    x: Any, filters: int, *, stride: int, drop: float, options: Options, name: str
) -> Any:
    """Add two pre-activated 3x3 convolutions to their input or to its projection."""
    norm = options.norm
    bias = blocks.bias_before(norm)
    shortcut = x
    x = blocks.norm_act(x, norm, name=f"{name}_1")
    if stride > 1 or shortcut.shape[-1] != filters:
        # Without a bias of its own: the second convolution's is added to the same sum.
        shortcut = blocks.conv(x, filters, 1, stride=stride, name=f"{name}_shortcut_conv")
    x = blocks.conv(
        x, filters, 3, stride=stride, bias=bias, padding=options.padding, name=f"{name}_1_conv"
    )
    x = blocks.norm_act_conv(x, filters, 3, norm=norm, name=f"{name}_2")
    return residual.add(shortcut, x, drop=drop, name=name)


def wide_resnet(options: Options, depth: int, factor: int) -> Any:
    """Build WRN-``depth``-``factor``, where the depth is 6n + 4."""
    inputs = blocks.image(options)
    bias = blocks.bias_before(options.norm)
    x = blocks.conv(inputs, options.channels(16), 3, bias=bias, name="stem_conv")
    features = {}
    total_stride = 1
    count = (depth - 4) // 6
    drops = iter(residual.drop_rates(options, len(STAGES) * count))
    for stage, filters, first_stride in STAGES:
        total_stride *= first_stride
        for number in range(1, count + 1):
            x = wide_block(
                x,
                options.channels(filters * factor),
                stride=first_stride if number == 1 else 1,
                drop=next(drops),
                options=options,
                name=f"stage{stage}_block{number}",
            )
        features[total_stride] = x
    features[total_stride] = blocks.norm_act(x, options.norm, name="final")
    return blocks.model(options, inputs, features, name=f"wrn{depth}_{factor}")


# Parameters: the paper has 11.0, 36.5 and 2.2 million for the last three.
@register_model(input_shape=(32, 32, 3), num_classes=10, paper=PAPER, parameters=2_748_890)
def wrn16_4(options: Options) -> Any:
    """Build WRN-16-4: 2.7 million parameters."""
    return wide_resnet(options, 16, 4)


@register_model(input_shape=(32, 32, 3), num_classes=10, paper=PAPER, parameters=10_961_370)
def wrn16_8(options: Options) -> Any:
    """Build WRN-16-8: 11.0 million parameters."""
    return wide_resnet(options, 16, 8)


@register_model(input_shape=(32, 32, 3), num_classes=10, paper=PAPER, parameters=36_479_194)
def wrn28_10(options: Options) -> Any:
    """Build WRN-28-10: 36.5 million parameters."""
    return wide_resnet(options, 28, 10)


@register_model(input_shape=(32, 32, 3), num_classes=10, paper=PAPER, parameters=2_243_546)
def wrn40_2(options: Options) -> Any:
    """Build WRN-40-2: 2.2 million parameters."""
    return wide_resnet(options, 40, 2)
