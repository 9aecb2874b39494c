"""The residual networks of He et al. 2016, table 1, and ResNet-18 for CIFAR.

    output size   112x112  56x56   28x28   14x14   7x7
    18 layers     stem     2       2       2       2       blocks of two 3x3 convolutions
    34 layers     stem     3       4       6       3
    50 layers     stem     3       4       6       3       bottlenecks: 1x1, 3x3, 1x1 convolutions
    101 layers    stem     3       4       23      3
    152 layers    stem     3       8       36      3
    filters       64       64      128     256     512     a bottleneck's output has four times more

The stem is a 7x7 convolution of stride 2 and a 3x3 max pooling of stride 2. The second and later
stages begin with stride 2. Where the shape changes, the shortcut is a 1x1 convolution (option B).

A bottleneck has its stride in the first 1x1 convolution, as in the paper and in keras.applications
(`resnet50`), or in the 3x3 convolution, as in torchvision: version 1.5 (`resnet50_v1_5`). Both have
the same parameters.

The form for 32x32, widely used for CIFAR and not the paper's, has a stem of one 3x3 convolution.

Where the norm stands:
    before_activation  as in the paper: conv, norm, relu, ..., conv, norm, add, relu; a projection
                       has a norm too.
    after_activation   conv, relu, norm, ..., conv, norm, add, relu: as in
                       `zoo.families.resnet_cifar`. The zeros that pad the max pooling take part in
                       it where the norm makes all its values negative.
    pre_activation     norm, relu, conv, ..., norm, relu, conv, add, with a norm and relu at the end
                       (He et al. 2016b). A projection takes the first relu's output and has no
                       norm, and the stem has neither norm nor relu.

Reference:
    He et al. 2016, https://arxiv.org/abs/1512.03385
    He et al. 2016b, https://arxiv.org/abs/1603.05027
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from zoo import blocks, residual
from zoo.registry import Options, register_model

PAPER = "He et al. 2016, https://arxiv.org/abs/1512.03385"
FILTERS = (64, 128, 256, 512)
R18 = (2, 2, 2, 2)
R34 = R50 = (3, 4, 6, 3)
R101 = (3, 4, 23, 3)
R152 = (3, 8, 36, 3)
# The parameters are those of torchvision's table, https://docs.pytorch.org/vision/stable/models.html


@dataclass(frozen=True)
class Design:
    """What the blocks of a network are made of.

    Args:
        expansion: How many times a block's filters its output has: 1 for two 3x3 convolutions, 4
            for a bottleneck.
        strided: Which of a bottleneck's convolutions has the stride, 1 or 2.
        groups: The groups of a bottleneck's 3x3 convolution.
        inner: How many times a block's filters the inside of a bottleneck has.
        reduction: How many times fewer channels squeeze and excitation has than what it scales; 0
            for none.
    """

    expansion: int = 4
    strided: int = 1
    groups: int = 1
    inner: int = 1
    reduction: int = 0


BASIC = Design(expansion=1)
BOTTLENECK = Design()
BOTTLENECK_V1_5 = replace(BOTTLENECK, strided=2)


class Convolution(NamedTuple):
    """One convolution of a residual branch."""

    filters: int
    kernel_size: int
    stride: int = 1
    groups: int = 1


def convolutions(
    filters: int, *, stride: int, design: Design, options: Options
) -> tuple[Convolution, ...]:
    """List the convolutions of a block's residual branch."""
    outer = options.channels(design.expansion * filters)
    if design.expansion == 1:
        return Convolution(outer, 3, stride), Convolution(outer, 3)
    # Each group gets a whole number of channels at any width.
    each = options.channels(design.inner * filters) // design.groups
    inner = design.groups * max(1, each)
    first, second = (stride, 1) if design.strided == 1 else (1, stride)
    return (
        Convolution(inner, 1, first),
        Convolution(inner, 3, second, design.groups),
        Convolution(outer, 1),
    )


def is_projected(x: Any, filters: int, stride: int) -> bool:
    """Say whether a shortcut needs a convolution to have the shape of its branch."""
    return stride > 1 or x.shape[-1] != filters


def excited(x: Any, design: Design, name: str) -> Any:
    """Scale the channels of a branch's end, where the design says so."""
    if not design.reduction:
        return x
    squeezed = max(1, x.shape[-1] // design.reduction)
    return blocks.squeeze_excite(x, squeezed, name=f"{name}_se")


def residual_block(
    x: Any,
    filters: int,
    *,
    stride: int,
    drop: float,
    design: Design,
    options: Options,
    name: str,
) -> Any:
    """Add the convolutions to their input or to its projection, and activate the sum."""
    norm, shortcut = options.norm, x
    *first, last = convolutions(filters, stride=stride, design=design, options=options)
    for number, made in enumerate(first, start=1):
        x = blocks.conv_norm_act(
            x,
            made.filters,
            made.kernel_size,
            norm=norm,
            stride=made.stride,
            groups=made.groups,
            padding=options.padding,
            name=f"{name}_{number}",
        )
    place = f"{name}_{len(first) + 1}"
    bias = blocks.needs_bias(norm, followed_by="norm")
    x = blocks.conv(x, last.filters, last.kernel_size, bias=bias, name=f"{place}_conv")
    x = excited(blocks.normalize(x, norm, name=f"{place}_norm"), design, name)
    if is_projected(shortcut, last.filters, stride):
        shortcut = blocks.conv(
            shortcut,
            last.filters,
            1,
            stride=stride,
            bias=blocks.parallel_bias(norm),
            name=f"{name}_shortcut_conv",
        )
        shortcut = blocks.normalize(shortcut, norm, name=f"{name}_shortcut_norm")
    x = residual.add(shortcut, x, drop=drop, name=name)
    return blocks.keras.layers.Activation("relu", name=f"{name}_act")(x)


def preactivation_block(
    x: Any,
    filters: int,
    *,
    stride: int,
    drop: float,
    design: Design,
    options: Options,
    name: str,
) -> Any:
    """Add pre-activated convolutions to their input, which passes untouched, or is projected."""
    norm, shortcut = options.norm, x
    bias = blocks.bias_before(norm)
    branch = convolutions(filters, stride=stride, design=design, options=options)
    for number, made in enumerate(branch, start=1):
        place = f"{name}_{number}"
        x = blocks.norm_act(x, norm, name=place)
        if number == 1 and is_projected(shortcut, branch[-1].filters, stride):
            # Without a bias of its own: the last convolution's is added to the same sum.
            shortcut = blocks.conv(
                x, branch[-1].filters, 1, stride=stride, name=f"{name}_shortcut_conv"
            )
        x = blocks.conv(
            x,
            made.filters,
            made.kernel_size,
            stride=made.stride,
            groups=made.groups,
            bias=bias,
            padding=options.padding,
            name=f"{place}_conv",
        )
    return residual.add(shortcut, excited(x, design, name), drop=drop, name=name)


def stem(x: Any, kernel_size: int, stride: int, options: Options) -> Any:
    """Convolve the image; pre-activated, the first block normalizes and activates."""
    norm = options.norm
    x = blocks.conv(
        x,
        options.channels(FILTERS[0]),
        kernel_size,
        stride=stride,
        bias=blocks.bias_before(norm),
        padding=options.padding,
        name="stem_conv",
    )
    return x if norm.placement == "pre_activation" else blocks.norm_act(x, norm, name="stem")


def imagenet_stem(image: Any, options: Options) -> tuple[Any, dict[int, Any]]:
    """Convolve and pool the image to a quarter of its size; return the feature maps too."""
    x = stem(image, 7, 2, options)
    pooled = blocks.max_pool(x, 3, stride=2, padding=options.padding, name="stem_pool")
    return pooled, {2: x, 4: pooled}


def cifar_stem(image: Any, options: Options) -> tuple[Any, dict[int, Any]]:
    """Convolve the image at its size; return the feature maps too."""
    x = stem(image, 3, 1, options)
    return x, {1: x}


def resnet(
    options: Options,
    sizes: tuple[int, ...],
    design: Design,
    name: str,
    *,
    first: Callable[[Any, Options], tuple[Any, dict[int, Any]]] = imagenet_stem,
) -> Any:
    """Build the network with so many blocks in each stage, after the stem ``first``."""
    pre = options.norm.placement == "pre_activation"
    block = preactivation_block if pre else residual_block
    inputs = blocks.image(options)
    x, features = first(inputs, options)
    total_stride = max(features)
    drops = iter(residual.drop_rates(options, sum(sizes)))
    for stage, (filters, count) in enumerate(zip(FILTERS, sizes, strict=False), start=1):
        first_stride = 1 if stage == 1 else 2
        total_stride *= first_stride
        for number in range(1, count + 1):
            x = block(
                x,
                filters,
                stride=first_stride if number == 1 else 1,
                drop=next(drops),
                design=design,
                options=options,
                name=f"stage{stage}_block{number}",
            )
        features[total_stride] = x
    if pre:
        features[total_stride] = blocks.norm_act(x, options.norm, name="final")
    return blocks.model(options, inputs, features, name=name)


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=11_689_512)
def resnet18(options: Options) -> Any:
    """Build ResNet-18: 11.7 million parameters."""
    return resnet(options, R18, BASIC, "resnet18")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=21_797_672)
def resnet34(options: Options) -> Any:
    """Build ResNet-34: 21.8 million parameters."""
    return resnet(options, R34, BASIC, "resnet34")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=25_557_032)
def resnet50(options: Options) -> Any:
    """Build ResNet-50 with its strides in 1x1 convolutions: 25.6 million parameters."""
    return resnet(options, R50, BOTTLENECK, "resnet50")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=44_549_160)
def resnet101(options: Options) -> Any:
    """Build ResNet-101 with its strides in 1x1 convolutions: 44.5 million parameters."""
    return resnet(options, R101, BOTTLENECK, "resnet101")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=60_192_808)
def resnet152(options: Options) -> Any:
    """Build ResNet-152 with its strides in 1x1 convolutions: 60.2 million parameters."""
    return resnet(options, R152, BOTTLENECK, "resnet152")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=25_557_032)
def resnet50_v1_5(options: Options) -> Any:
    """Build ResNet-50 with its strides in 3x3 convolutions: 25.6 million parameters."""
    return resnet(options, R50, BOTTLENECK_V1_5, "resnet50_v1_5")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=44_549_160)
def resnet101_v1_5(options: Options) -> Any:
    """Build ResNet-101 with its strides in 3x3 convolutions: 44.5 million parameters."""
    return resnet(options, R101, BOTTLENECK_V1_5, "resnet101_v1_5")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=60_192_808)
def resnet152_v1_5(options: Options) -> Any:
    """Build ResNet-152 with its strides in 3x3 convolutions: 60.2 million parameters."""
    return resnet(options, R152, BOTTLENECK_V1_5, "resnet152_v1_5")


# Parameters: github.com/kuangliu/pytorch-cifar has just as many.
@register_model(input_shape=(32, 32, 3), num_classes=10, paper=PAPER, parameters=11_173_962)
def resnet18_cifar(options: Options) -> Any:
    """Build ResNet-18 for small images: 11.2 million parameters."""
    return resnet(options, R18, BASIC, "resnet18_cifar", first=cifar_stem)
