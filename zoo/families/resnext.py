"""The aggregated residual networks of Xie et al. 2017, table 1.

    output size   112x112  56x56   28x28   14x14   7x7
    50 32x4d      stem     3       4       6       3       bottlenecks: 1x1, grouped 3x3, 1x1
    101 32x8d     stem     3       4       23      3
    filters       64       256     512     1024    2048    of each bottleneck's output

The blocks are the bottlenecks of `zoo.families.resnet` whose 3x3 convolution, which has the stride,
has 32 groups (the cardinality) of 4 or 8 channels each in the first stage, and twice as many in
each stage after it. Where the norm stands is said in `zoo.families.resnet`.

A width below 1 leaves the cardinality as it is: the groups get narrower.

Reference:
    Xie et al. 2017, https://arxiv.org/abs/1611.05431
"""

from typing import Any

from zoo.families.resnet import R50, R101, Design, resnet
from zoo.registry import Options, register_model

PAPER = "Xie et al. 2017, https://arxiv.org/abs/1611.05431"
X32_4 = Design(strided=2, groups=32, inner=2)  # 32 * 4 channels where there are 64 filters
X32_8 = Design(strided=2, groups=32, inner=4)
# The parameters are those of torchvision's table, https://docs.pytorch.org/vision/stable/models.html


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=25_028_904)
def resnext50_32x4d(options: Options) -> Any:
    """Build ResNeXt-50 32x4d: 25.0 million parameters."""
    return resnet(options, R50, X32_4, "resnext50_32x4d")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=88_791_336)
def resnext101_32x8d(options: Options) -> Any:
    """Build ResNeXt-101 32x8d: 88.8 million parameters."""
    return resnet(options, R101, X32_8, "resnext101_32x8d")
