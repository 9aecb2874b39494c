"""The residual networks for CIFAR of He et al. 2016, section 4.2 and table 6.

    output size   32x32      16x16     8x8
    layers        1 + 2n     2n        2n      (3x3 convolutions), then pooling and logits
    filters       16         32        64

n = 3, 5, 7, 9, 18 gives 20, 32, 44, 56 and 110 layers. Shortcuts are of option A: no parameters.

Where the norm stands:
    before_activation  as in the paper: conv, norm, relu, conv, norm, add, relu.
    after_activation   conv, relu, norm, conv, norm, add, relu: each norm that has its activation
                       beside it changes places with it. The branch's last norm stays before the
                       addition, since a norm after it holds the shortcut up (He et al. 2016b,
                       figure 4b).
    pre_activation     norm, relu, conv, norm, relu, conv, add, with a norm and relu at the end
                       (He et al. 2016b).

Reference:
    He et al. 2016, https://arxiv.org/abs/1512.03385
    He et al. 2016b, https://arxiv.org/abs/1603.05027
"""

from typing import Any

from zoo import blocks, residual
from zoo.registry import Options, register_model

PAPER = "He et al. 2016, https://arxiv.org/abs/1512.03385"
STAGES = ((1, 16, 1), (2, 32, 2), (3, 64, 2))  # number, filters, stride of the first block


def residual_block(
    x: Any, filters: int, *, stride: int, drop: float, options: Options, name: str
) -> Any:
    """Add two 3x3 convolutions to their input, with the activation after the addition."""
    norm = options.norm
    shortcut = residual.shortcut_pad(x, filters, stride=stride, name=f"{name}_shortcut")
    x = blocks.conv_norm_act(
        x, filters, 3, norm=norm, stride=stride, padding=options.padding, name=f"{name}_1"
    )
    bias = blocks.needs_bias(norm, followed_by="norm")
    x = blocks.conv(x, filters, 3, bias=bias, name=f"{name}_2_conv")
    x = blocks.normalize(x, norm, name=f"{name}_2_norm")
    x = residual.add(shortcut, x, drop=drop, name=name)
    return blocks.keras.layers.Activation("relu", name=f"{name}_act")(x)


def preactivation_block(
    x: Any, filters: int, *, stride: int, drop: float, options: Options, name: str
) -> Any:
    """Add two pre-activated 3x3 convolutions to their input, which passes untouched."""
    norm = options.norm
    shortcut = residual.shortcut_pad(x, filters, stride=stride, name=f"{name}_shortcut")
    x = blocks.conv_norm_act(
        x, filters, 3, norm=norm, stride=stride, padding=options.padding, name=f"{name}_1"
    )
    x = blocks.conv_norm_act(x, filters, 3, norm=norm, name=f"{name}_2")
    return residual.add(shortcut, x, drop=drop, name=name)


def resnet_cifar(options: Options, depth: int) -> Any:
    """Build the network of ``depth`` = 6n + 2 layers."""
    pre = options.norm.placement == "pre_activation"
    block = preactivation_block if pre else residual_block
    inputs = blocks.image(options)
    if pre:
        bias = blocks.needs_bias(options.norm, followed_by="norm")
        x = blocks.conv(inputs, options.channels(16), 3, bias=bias, name="stem_conv")
    else:
        x = blocks.conv_norm_act(inputs, options.channels(16), 3, norm=options.norm, name="stem")
    features = {}
    total_stride = 1
    count = (depth - 2) // 6
    drops = iter(residual.drop_rates(options, len(STAGES) * count))
    for stage, filters, first_stride in STAGES:
        total_stride *= first_stride
        for number in range(1, count + 1):
            x = block(
                x,
                options.channels(filters),
                stride=first_stride if number == 1 else 1,
                drop=next(drops),
                options=options,
                name=f"stage{stage}_block{number}",
            )
        features[total_stride] = x
    if pre:
        features[total_stride] = blocks.norm_act(x, options.norm, name="final")
    return blocks.model(options, inputs, features, name=f"resnet{depth}")


# Parameters: He et al. 2016, table 6, has these, rounded; they are those of option A shortcuts.
@register_model(input_shape=(32, 32, 3), num_classes=10, paper=PAPER, parameters=269_722)
def resnet20(options: Options) -> Any:
    """Build ResNet-20: 0.27 million parameters."""
    return resnet_cifar(options, 20)


@register_model(input_shape=(32, 32, 3), num_classes=10, paper=PAPER, parameters=464_154)
def resnet32(options: Options) -> Any:
    """Build ResNet-32: 0.46 million parameters."""
    return resnet_cifar(options, 32)


@register_model(input_shape=(32, 32, 3), num_classes=10, paper=PAPER, parameters=658_586)
def resnet44(options: Options) -> Any:
    """Build ResNet-44: 0.66 million parameters."""
    return resnet_cifar(options, 44)


@register_model(input_shape=(32, 32, 3), num_classes=10, paper=PAPER, parameters=853_018)
def resnet56(options: Options) -> Any:
    """Build ResNet-56: 0.85 million parameters."""
    return resnet_cifar(options, 56)


@register_model(input_shape=(32, 32, 3), num_classes=10, paper=PAPER, parameters=1_727_962)
def resnet110(options: Options) -> Any:
    """Build ResNet-110: 1.7 million parameters."""
    return resnet_cifar(options, 110)
