"""The squeeze-and-excitation residual networks of Hu et al. 2018, table 1.

    output size   112x112  56x56   28x28   14x14   7x7
    18 layers     stem     2       2       2       2       blocks of two 3x3 convolutions
    34 layers     stem     3       4       6       3
    50 layers     stem     3       4       6       3       bottlenecks: 1x1, 3x3, 1x1 convolutions
    101 layers    stem     3       4       23      3
    152 layers    stem     3       8       36      3

The blocks of `zoo.families.resnet`, strides in the first 1x1 convolution as in the authors' code,
whose residual branch ends in squeeze and excitation: each channel is scaled by a factor that two
fully connected layers with a bias, of a sixteenth as many channels and of as many, compute of the
means of all channels. Where the norm stands is said in `zoo.families.resnet`; the scaling comes
after the branch's last norm and, pre-activated, after its last convolution.

Reference:
    Hu et al. 2018, https://arxiv.org/abs/1709.01507
"""

from dataclasses import replace
from typing import Any

from zoo.families.resnet import BASIC, BOTTLENECK, R18, R34, R50, R101, R152, resnet
from zoo.registry import Options, register_model

PAPER = "Hu et al. 2018, https://arxiv.org/abs/1709.01507"
SE_BASIC = replace(BASIC, reduction=16)
SE_BOTTLENECK = replace(BOTTLENECK, reduction=16)
# The parameters are those of timm's legacy_seresnet18 to legacy_seresnet152, which have the shapes
# of the authors' weights.


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=11_778_592)
def se_resnet18(options: Options) -> Any:
    """Build SE-ResNet-18: 11.8 million parameters."""
    return resnet(options, R18, SE_BASIC, "se_resnet18")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=21_958_868)
def se_resnet34(options: Options) -> Any:
    """Build SE-ResNet-34: 22.0 million parameters."""
    return resnet(options, R34, SE_BASIC, "se_resnet34")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=28_088_024)
def se_resnet50(options: Options) -> Any:
    """Build SE-ResNet-50: 28.1 million parameters."""
    return resnet(options, R50, SE_BOTTLENECK, "se_resnet50")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=49_326_872)
def se_resnet101(options: Options) -> Any:
    """Build SE-ResNet-101: 49.3 million parameters."""
    return resnet(options, R101, SE_BOTTLENECK, "se_resnet101")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=66_821_848)
def se_resnet152(options: Options) -> Any:
    """Build SE-ResNet-152: 66.8 million parameters."""
    return resnet(options, R152, SE_BOTTLENECK, "se_resnet152")
