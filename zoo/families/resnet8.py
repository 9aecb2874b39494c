"""ResNet-8, the image classification network of MLPerf Tiny (Banbury et al. 2021).

    output size   32x32   32x32   16x16   8x8
    layers        1       2       2       2     (3x3 convolutions), then pooling and logits
    filters       16      16      32      64

It is not one of He et al.'s networks for CIFAR: where the number of channels and the size change,
the shortcut is a 1x1 convolution of stride 2, and no norm follows it.

The benchmark's reference code (github.com/mlcommons/tiny, its image classification training) has
78,666 parameters, which counts the biases of all nine convolutions (336) and the moving statistics
of the norms (480). A norm undoes a bias before it, and the shift of the branch's last norm reaches
the same sum as a projection's bias, so ours has none of those: 77,850 parameters that are learned,
78,330 with the statistics, and the same functions.

Where the norm stands:
    before_activation  as in the reference: conv, norm, relu, conv, norm, add, relu.
    after_activation   conv, relu, norm, conv, norm, add, relu: as in `zoo.families.resnet_cifar`.
    pre_activation     norm, relu, conv, norm, relu, conv, add, with a norm and relu at the end: the
                       blocks of `zoo.families.wide_resnet`, whose projections take the first relu's
                       output.

Reference:
    Banbury et al. 2021, https://arxiv.org/abs/2106.07597
    He et al. 2016, https://arxiv.org/abs/1512.03385
"""

from typing import Any

from zoo import blocks, residual
from zoo.families.wide_resnet import wide_block
from zoo.registry import Options, register_model

PAPER = "Banbury et al. 2021, https://arxiv.org/abs/2106.07597"
STAGES = ((1, 16, 1), (2, 32, 2), (3, 64, 2))  # number, filters, stride


def residual_block(
    x: Any, filters: int, *, stride: int, drop: float, options: Options, name: str
) -> Any:
    """Add two 3x3 convolutions to their input or to its projection, and activate the sum."""
    norm = options.norm
    shortcut = x
    x = blocks.conv_norm_act(
        x, filters, 3, norm=norm, stride=stride, padding=options.padding, name=f"{name}_1"
    )
    bias = blocks.needs_bias(norm, followed_by="norm")
    x = blocks.conv(x, filters, 3, bias=bias, name=f"{name}_2_conv")
    x = blocks.normalize(x, norm, name=f"{name}_2_norm")
    if stride > 1 or shortcut.shape[-1] != filters:
        bias = blocks.parallel_bias(norm)
        shortcut = blocks.conv(
            shortcut, filters, 1, stride=stride, bias=bias, name=f"{name}_shortcut_conv"
        )
    x = residual.add(shortcut, x, drop=drop, name=name)
    return blocks.keras.layers.Activation("relu", name=f"{name}_act")(x)


# Parameters: MLPerf Tiny's reference code has 78,666 with its biases before norms and the moving
# statistics, which are none of ours.
@register_model(input_shape=(32, 32, 3), num_classes=10, paper=PAPER, parameters=77_850)
def resnet8(options: Options) -> Any:
    """Build ResNet-8 of MLPerf Tiny: 0.078 million parameters."""
    pre = options.norm.placement == "pre_activation"
    block = wide_block if pre else residual_block
    x = inputs = blocks.image(options)
    wide = options.channels(16)
    if pre:
        bias = blocks.bias_before(options.norm)
        x = blocks.conv(x, wide, 3, bias=bias, name="stem_conv")
    else:
        x = blocks.conv_norm_act(x, wide, 3, norm=options.norm, name="stem")
    features = {}
    total_stride = 1
    drops = residual.drop_rates(options, len(STAGES))
    for (stage, filters, stride), drop in zip(STAGES, drops, strict=True):
        total_stride *= stride
        wide, name = options.channels(filters), f"stage{stage}_block1"
        x = block(x, wide, stride=stride, drop=drop, options=options, name=name)
        features[total_stride] = x
    if pre:
        features[total_stride] = blocks.norm_act(x, options.norm, name="final")
    return blocks.model(options, inputs, features, name="resnet8")
