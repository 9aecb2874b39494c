"""RepVGG of Ding et al. 2021, table 2, and a small form for CIFAR.

    stage         stem          1     2      3      4      width factors a, b
    filters       min(64, 64a)  64a   128a   256a   512b
    A0 blocks     1             2     4      14     1      0.75, 2.5
    A1 blocks     1             2     4      14     1      1, 2.5
    A2 blocks     1             2     4      14     1      1.5, 2.75
    B0 blocks     1             4     6      16     1      1, 2.5
    B1 blocks     1             4     6      16     1      2, 4

Each stage's first block has stride 2. A block is a 3x3 convolution with its norm, a 1x1 convolution
with its norm and, where stride and channels allow, a norm of the input, all three added and
activated. That is how it is trained; `export.fold` merges the three into one 3x3 convolution, so
that what is deployed is a plain stack of convolutions and relus.

The form for 32x32 is not the paper's: a stem and three stages of six blocks with 16, 32 and 64
filters, of which the last two begin with stride 2. Folded it has the convolutions of ResNet-20 (He
et al. 2016, https://arxiv.org/abs/1512.03385) and none of its additions.

Where the norm stands: each one belongs to its branch and has no activation beside it, and a branch
of any other order could not be merged. So before_activation, after_activation and pre_activation
are the same network, the paper's.

Reference:
    Ding et al. 2021, https://arxiv.org/abs/2101.03697
"""

from typing import Any

from zoo import blocks
from zoo.registry import Options, register_model

PAPER = "Ding et al. 2021, https://arxiv.org/abs/2101.03697"
A = (2, 4, 14, 1)
B = (4, 6, 16, 1)
# The number of blocks, filters and the stride of the first block, of each stage; the stem first.
CIFAR_STAGES = ((1, 16, 1), (6, 16, 1), (6, 32, 2), (6, 64, 2))


def paper_stages(
    counts: tuple[int, ...], *, a: float, b: float
) -> tuple[tuple[int, int, int], ...]:
    """Give the stem and each stage its number of blocks, filters and first stride."""
    filters = (min(64, int(64 * a)), int(64 * a), int(128 * a), int(256 * a), int(512 * b))
    return tuple(zip((1, *counts), filters, (2,) * len(filters), strict=True))


def block(x: Any, filters: int, *, stride: int, options: Options, name: str) -> Any:
    """Add a 3x3 convolution, a 1x1 convolution and, where it fits, the input; activate the sum."""
    norm, layers = options.norm, blocks.keras.layers
    bias = blocks.needs_bias(norm, followed_by="norm")
    large = blocks.conv(
        x, filters, 3, stride=stride, bias=bias, padding=options.padding, name=f"{name}_3x3_conv"
    )
    large = blocks.normalize(large, norm, name=f"{name}_3x3_norm")
    bias = blocks.parallel_bias(norm)
    small = blocks.conv(x, filters, 1, stride=stride, bias=bias, name=f"{name}_1x1_conv")
    branches = [large, blocks.normalize(small, norm, name=f"{name}_1x1_norm")]
    if stride == 1 and x.shape[-1] == filters:
        branches.append(blocks.normalize(x, norm, name=f"{name}_identity_norm"))
    x = layers.Add(name=f"{name}_add")(branches)
    return layers.Activation("relu", name=f"{name}_act")(x)


def repvgg(options: Options, stages: tuple[tuple[int, int, int], ...], name: str) -> Any:
    """Build the network of these stages, as it is trained."""
    x = inputs = blocks.image(options)
    features = {}
    total_stride = 1
    for stage, (count, filters, first_stride) in enumerate(stages):
        total_stride *= first_stride
        for number in range(1, count + 1):
            x = block(
                x,
                options.channels(filters),
                stride=first_stride if number == 1 else 1,
                options=options,
                name=f"stage{stage}_block{number}" if stage else "stem",
            )
        features[total_stride] = x
    return blocks.model(options, inputs, features, name=name)


# Parameters: timm's models of the first five names have just as many, as they are trained; the
# paper's table 4 counts the deployed form.
@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=9_108_968)
def repvgg_a0(options: Options) -> Any:
    """Build RepVGG-A0: 9.1 million parameters, folded 8.3 million."""
    return repvgg(options, paper_stages(A, a=0.75, b=2.5), "repvgg_a0")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=14_092_264)
def repvgg_a1(options: Options) -> Any:
    """Build RepVGG-A1: 14.1 million parameters, folded 12.8 million."""
    return repvgg(options, paper_stages(A, a=1, b=2.5), "repvgg_a1")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=28_210_600)
def repvgg_a2(options: Options) -> Any:
    """Build RepVGG-A2: 28.2 million parameters, folded 25.5 million."""
    return repvgg(options, paper_stages(A, a=1.5, b=2.75), "repvgg_a2")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=15_817_960)
def repvgg_b0(options: Options) -> Any:
    """Build RepVGG-B0: 15.8 million parameters, folded 14.3 million."""
    return repvgg(options, paper_stages(B, a=1, b=2.5), "repvgg_b0")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=57_415_016)
def repvgg_b1(options: Options) -> Any:
    """Build RepVGG-B1: 57.4 million parameters, folded 51.8 million."""
    return repvgg(options, paper_stages(B, a=2, b=4), "repvgg_b1")


@register_model(input_shape=(32, 32, 3), num_classes=10, paper=PAPER, parameters=301_994)
def repvgg_cifar(options: Options) -> Any:
    """Build the small RepVGG for small images: 0.30 million parameters, folded 0.27 million."""
    return repvgg(options, CIFAR_STAGES, "repvgg_cifar")
