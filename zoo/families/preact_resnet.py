"""The pre-activated ResNet-18 for CIFAR, in the form that work on data augmentation compares with.

    output size   32x32   32x32   16x16   8x8   4x4
    layers        1       4       4       4     4       (3x3 convolutions), then pooling and logits
    filters       64      64      128     256   512

The blocks of He et al. 2016b, with the stages and filters of ResNet-18 (He et al. 2016, table 1).
They are those of `zoo.families.wide_resnet`: a projection takes the first relu's output. As in the
paper, a norm and relu end the network. Widely used code (github.com/kuangliu/pytorch-cifar) takes
the mean of the last sum as it is, and has the 1,024 parameters of that norm less: 11,171,146.

The design is pre-activated, so every norm and activation stand before a convolution, and:
    before_activation  as in the paper: norm, relu, conv.
    pre_activation     the same network.
    after_activation   relu, norm, conv.

Reference:
    He et al. 2016b, https://arxiv.org/abs/1603.05027
"""

from typing import Any

from zoo import blocks, residual
from zoo.families.resnet import FILTERS, R18
from zoo.families.wide_resnet import wide_block
from zoo.registry import Options, register_model

PAPER = "He et al. 2016, https://arxiv.org/abs/1603.05027"


def preact_resnet(options: Options, sizes: tuple[int, ...], name: str) -> Any:
    """Build the network with so many blocks in each stage."""
    inputs = blocks.image(options)
    bias = blocks.bias_before(options.norm)
    x = blocks.conv(inputs, options.channels(FILTERS[0]), 3, bias=bias, name="stem_conv")
    features = {}
    drops = iter(residual.drop_rates(options, sum(sizes)))
    for stage, (filters, count) in enumerate(zip(FILTERS, sizes, strict=False), start=1):
        for number in range(1, count + 1):
            x = wide_block(
                x,
                options.channels(filters),
                stride=2 if number == 1 and stage > 1 else 1,
                drop=next(drops),
                options=options,
                name=f"stage{stage}_block{number}",
            )
        features[2 ** (stage - 1)] = x
    features[max(features)] = blocks.norm_act(x, options.norm, name="final")
    return blocks.model(options, inputs, features, name=name)


# Parameters: github.com/kuangliu/pytorch-cifar has as many, but for the last norm's 1,024.
@register_model(input_shape=(32, 32, 3), num_classes=10, paper=PAPER, parameters=11_172_170)
def preact_resnet18(options: Options) -> Any:
    """Build the pre-activated ResNet-18 for small images: 11.2 million parameters."""
    return preact_resnet(options, R18, "preact_resnet18")
