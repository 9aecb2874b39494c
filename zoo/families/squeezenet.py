"""SqueezeNet 1.0 of Iandola et al. 2016, table 1, and the authors' SqueezeNet 1.1.

    output size   111x111  55x55                27x27                         13x13
    1.0           7x7, 96  16-64, 16-64, 32-128 32-128, 48-192, 48-192, 64-256 64-256
    output size   113x113  56x56          27x27            13x13
    1.1           3x3, 64  16-64, 16-64   32-128, 32-128   48-192, 48-192, 64-256, 64-256

The stem is a convolution of stride 2, and a 3x3 max pooling of stride 2 stands before each further
output size. None of these is padded. A fire module s-e squeezes by a 1x1 convolution to s channels
and expands by a 1x1 and a 3x3 convolution, which are joined, to e channels each. A relu follows
each convolution. The logits are a 1x1 convolution and a relu, averaged over all positions. A
dropout, if asked for, stands before that convolution; the paper's rate is 0.5.

The paper has no norm, and neither has the default. With one, all convolutions but the last have it:
    before_activation  conv, norm, relu.
    after_activation   conv, relu, norm.
    pre_activation     norm, relu, conv: the stem takes the image as it is, both expanding
                       convolutions take one norm and relu, and the last ones stand before the
                       convolution of the logits. A pooling then stands before the norm and relu
                       that it follows otherwise.

Reference:
    Iandola et al. 2016, https://arxiv.org/abs/1602.07360
    https://github.com/forresti/SqueezeNet (1.1)
"""

from typing import Any

from zoo import blocks
from zoo.norm import Norm
from zoo.registry import Options, register_model

PAPER = "Iandola et al. 2016, https://arxiv.org/abs/1602.07360"
# The stem's filters and kernel, and the fire modules of each stage: squeezed, expanded.
STEM_1_0 = (96, 7)
FIRES_1_0 = (
    ((16, 64), (16, 64), (32, 128)),
    ((32, 128), (48, 192), (48, 192), (64, 256)),
    ((64, 256),),
)
STEM_1_1 = (64, 3)
FIRES_1_1 = (
    ((16, 64), (16, 64)),
    ((32, 128), (32, 128)),
    ((48, 192), (48, 192), (64, 256), (64, 256)),
)
# The parameters are those of torchvision's table, https://docs.pytorch.org/vision/stable/models.html


def fire(x: Any, squeezed: int, expanded: int, *, options: Options, name: str) -> Any:
    """Squeeze the channels, and expand them by two convolutions beside each other."""
    norm, sizes = options.norm, (1, 3)
    pre, bias = norm.placement == "pre_activation", blocks.bias_before(norm)
    x = blocks.conv_norm_act(x, squeezed, 1, norm=norm, name=f"{name}_squeeze")
    if pre:
        x = blocks.norm_act(x, norm, name=f"{name}_expand")
    branches = []
    for size in sizes:
        place = f"{name}_expand_{size}x{size}"
        branch = blocks.conv(x, expanded, size, bias=bias, name=f"{place}_conv")
        branches.append(branch if pre else blocks.norm_act(branch, norm, name=place))
    return blocks.keras.layers.Concatenate(name=f"{name}_join")(branches)


def mean_logits(x: Any, options: Options) -> Any:
    """Compute a logit for each class at each position, activate and average them."""
    layers = blocks.keras.layers
    x = blocks.conv(x, options.num_classes, 1, bias=True, name="logits_conv")
    x = layers.Activation("relu", name="logits_act")(x)
    # In float32, whatever the policy computes in.
    return layers.GlobalAveragePooling2D(dtype="float32", name="logits")(x)


def squeezenet(
    options: Options,
    stem: tuple[int, int],
    stages: tuple[tuple[tuple[int, int], ...], ...],
    name: str,
) -> Any:
    """Build the network of this stem and of the fire modules of these stages."""
    norm = options.norm
    pre, bias = norm.placement == "pre_activation", blocks.bias_before(norm)
    inputs = blocks.image(options)
    filters, size = options.channels(stem[0]), stem[1]
    x = blocks.conv(inputs, filters, size, stride=2, bias=bias, padding="valid", name="stem_conv")
    x = x if pre else blocks.norm_act(x, norm, name="stem")
    features = {2: x}
    for stage, fires in enumerate(stages, start=1):
        x = blocks.keras.layers.MaxPooling2D(3, strides=2, name=f"stage{stage}_pool")(x)
        for number, (squeezed, expanded) in enumerate(fires, start=1):
            x = fire(
                x,
                options.channels(squeezed),
                options.channels(expanded),
                options=options,
                name=f"stage{stage}_block{number}",
            )
        features[2 ** (stage + 1)] = x
    if pre:
        features[max(features)] = blocks.norm_act(x, norm, name="final")
    return blocks.model(
        options, inputs, features, head=lambda x: x, classify=mean_logits, name=name
    )


@register_model(
    input_shape=(227, 227, 3),
    num_classes=1000,
    paper=PAPER,
    min_size=35,
    norm=Norm("none"),
    parameters=1_248_424,
)
def squeezenet1_0(options: Options) -> Any:
    """Build SqueezeNet 1.0: 1.2 million parameters."""
    return squeezenet(options, STEM_1_0, FIRES_1_0, "squeezenet1_0")


@register_model(
    input_shape=(227, 227, 3),
    num_classes=1000,
    paper=PAPER,
    min_size=31,
    norm=Norm("none"),
    parameters=1_235_496,
)
def squeezenet1_1(options: Options) -> Any:
    """Build SqueezeNet 1.1, with 2.4 times fewer multiply-adds: 1.2 million parameters."""
    return squeezenet(options, STEM_1_1, FIRES_1_1, "squeezenet1_1")
