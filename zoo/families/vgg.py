"""The very deep networks of Simonyan and Zisserman 2014, table 1, and their small form for CIFAR.

    stage         1     2     3     4     5     3x3 convolutions, with a 2x2 max pooling after each
    filters       64    128   256   512   512
    11 layers     1     1     2     2     2     (A)
    13 layers     2     2     2     2     2     (B)
    16 layers     2     2     3     3     3     (D)
    19 layers     2     2     4     4     4     (E)

Then the paper has two fully connected layers of 4096, each with relu and dropout, and logits. That
takes images of one size: their weights depend on it. The paper has no norm, which is norm="none";
with one, the fully connected layers have none still.

The form for 32x32, widely used for CIFAR and not the paper's, averages over all positions and has
fully connected layers of 512, so it takes images of any size from 32x32.

A dropout, if asked for, stands after each of the fully connected layers; the paper's rate is 0.5.

Where the norm stands:
    before_activation  conv, norm, relu.
    after_activation   conv, relu, norm.
    pre_activation     norm, relu, conv: the first convolution takes the image as it is, and the
                       last norm and relu come after the last pooling. A pooling then stands before
                       the norm and relu that it follows otherwise.

Reference:
    Simonyan and Zisserman 2014, https://arxiv.org/abs/1409.1556
"""

from collections.abc import Callable
from typing import Any

from zoo import blocks
from zoo.errors import InputError
from zoo.registry import Options, register_model

PAPER = "Simonyan and Zisserman 2014, https://arxiv.org/abs/1409.1556"
FILTERS = (64, 128, 256, 512, 512)
A = (1, 1, 2, 2, 2)
B = (2, 2, 2, 2, 2)
D = (2, 2, 3, 3, 3)
E = (2, 2, 4, 4, 4)


def fully_connected(x: Any, units: int, options: Options) -> Any:
    """Pass vectors through two layers with relu, and a dropout between them if one is asked for."""
    layers = blocks.keras.layers
    for number in (1, 2):
        x = layers.Dense(
            options.channels(units),
            activation="relu",
            kernel_initializer="he_normal",
            name=f"head_{number}_dense",
        )(x)
        if options.dropout and number == 1:
            x = layers.Dropout(options.dropout, name="head_1_dropout")(x)
    return x


def paper_head(options: Options) -> Callable[[Any], Any]:
    """Make the head of the paper, which sees every position of the last feature map."""

    def head(x: Any) -> Any:
        if None in x.shape[1:3]:
            raise InputError(
                "the fully connected layers take a fixed height and width; accepted are those, "
                "include_top=False or features_only=True; received "
                f"input_shape={options.input_shape}"
            )
        return fully_connected(blocks.keras.layers.Flatten(name="head_flat")(x), 4096, options)

    return head


def cifar_head(options: Options) -> Callable[[Any], Any]:
    """Make the head for small images, which sees the average over all positions."""
    return lambda x: fully_connected(blocks.pooled(x), 512, options)


def vgg(
    options: Options,
    convolutions: tuple[int, ...],
    head: Callable[[Options], Callable[[Any], Any]],
    name: str,
) -> Any:
    """Build the network with so many convolutions in each stage."""
    norm = options.norm
    pre = norm.placement == "pre_activation"
    x = inputs = blocks.image(options)
    features = {}
    for stage, (filters, count) in enumerate(zip(FILTERS, convolutions, strict=True), start=1):
        for number in range(1, count + 1):
            wide, place = options.channels(filters), f"stage{stage}_{number}"
            if pre and x is inputs:
                bias = blocks.bias_before(norm)
                x = blocks.conv(x, wide, 3, bias=bias, name=f"{place}_conv")
            else:
                x = blocks.conv_norm_act(x, wide, 3, norm=norm, name=place)
        features[2 ** (stage - 1)] = x
        x = blocks.keras.layers.MaxPooling2D(2, name=f"stage{stage}_pool")(x)
    features[2 ** len(FILTERS)] = blocks.norm_act(x, norm, name="final") if pre else x
    return blocks.model(options, inputs, features, head=head(options), name=name)


# Parameters: torchvision's vgg11_bn to vgg19_bn have as many, and a bias before each norm; the
# paper's table 2 has 133, 133, 138 and 144 million, without a norm.
@register_model(
    input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, min_size=32, parameters=132_866_088
)
def vgg11(options: Options) -> Any:
    """Build VGG-11, configuration A: 133 million parameters."""
    return vgg(options, A, paper_head, "vgg11")


@register_model(
    input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, min_size=32, parameters=133_050_792
)
def vgg13(options: Options) -> Any:
    """Build VGG-13, configuration B: 133 million parameters."""
    return vgg(options, B, paper_head, "vgg13")


@register_model(
    input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, min_size=32, parameters=138_361_768
)
def vgg16(options: Options) -> Any:
    """Build VGG-16, configuration D: 138 million parameters."""
    return vgg(options, D, paper_head, "vgg16")


@register_model(
    input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, min_size=32, parameters=143_672_744
)
def vgg19(options: Options) -> Any:
    """Build VGG-19, configuration E: 144 million parameters."""
    return vgg(options, E, paper_head, "vgg19")


@register_model(
    input_shape=(32, 32, 3), num_classes=10, paper=PAPER, min_size=32, parameters=9_753_674
)
def vgg11_cifar(options: Options) -> Any:
    """Build VGG-11 for small images: 9.8 million parameters."""
    return vgg(options, A, cifar_head, "vgg11_cifar")


@register_model(
    input_shape=(32, 32, 3), num_classes=10, paper=PAPER, min_size=32, parameters=9_938_378
)
def vgg13_cifar(options: Options) -> Any:
    """Build VGG-13 for small images: 9.9 million parameters."""
    return vgg(options, B, cifar_head, "vgg13_cifar")


@register_model(
    input_shape=(32, 32, 3), num_classes=10, paper=PAPER, min_size=32, parameters=15_249_354
)
def vgg16_cifar(options: Options) -> Any:
    """Build VGG-16 for small images: 15.2 million parameters."""
    return vgg(options, D, cifar_head, "vgg16_cifar")


@register_model(
    input_shape=(32, 32, 3), num_classes=10, paper=PAPER, min_size=32, parameters=20_560_330
)
def vgg19_cifar(options: Options) -> Any:
    """Build VGG-19 for small images: 20.6 million parameters."""
    return vgg(options, E, cifar_head, "vgg19_cifar")
