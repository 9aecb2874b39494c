"""The densely connected networks of Huang et al. 2017, table 1, and DenseNet-BC for CIFAR.

    output size      56x56   28x28   14x14   7x7     dense layers in each block
    121 layers       6       12      24      16
    169 layers       6       12      32      32
    201 layers       6       12      48      32

A dense layer is norm, relu, a 1x1 convolution to 4k channels, norm, relu, a 3x3 convolution to k
channels, which are joined to the layer's input. The growth rate k is 32. Between blocks a
transition halves the channels by norm, relu and a 1x1 convolution, and the size by average pooling.
The stem is a 7x7 convolution of stride 2 to 2k channels, norm, relu and a 3x3 max pooling of
stride 2.

DenseNet-BC-L-k for 32x32 has three blocks of (L - 4) / 6 dense layers, and a stem of one 3x3
convolution to 2k channels.

The design is pre-activated, so norm and activation stand before the convolutions, and:
    before_activation  as in the paper: norm, relu, conv; in the 7x7 stem conv, norm, relu.
    pre_activation     the same network.
    after_activation   relu, norm, conv; in the 7x7 stem conv, relu, norm. The zeros that pad the
                       max pooling take part in it where the norm makes all its values negative.

Reference:
    Huang et al. 2017, https://arxiv.org/abs/1608.06993
"""

from collections.abc import Callable
from typing import Any

from zoo import blocks
from zoo.registry import Options, register_model

PAPER = "Huang et al. 2017, https://arxiv.org/abs/1608.06993"
COMPRESSION = 0.5
BOTTLENECK = 4  # the channels of a 1x1 convolution, in growth rates


def imagenet_stem(image: Any, filters: int, options: Options) -> dict[int, Any]:
    """Convolve and pool the image to a quarter of its size; return the maps by stride."""
    bias = blocks.bias_before(options.norm)
    x = blocks.conv(
        image, filters, 7, stride=2, bias=bias, padding=options.padding, name="stem_conv"
    )
    x = blocks.norm_act(x, options.norm, name="stem")
    return {2: x, 4: blocks.max_pool(x, 3, stride=2, padding=options.padding, name="stem_pool")}


def cifar_stem(image: Any, filters: int, options: Options) -> dict[int, Any]:
    """Convolve the image; the first dense layer normalizes and activates."""
    bias = blocks.bias_before(options.norm)
    return {1: blocks.conv(image, filters, 3, bias=bias, name="stem_conv")}


def dense_layer(x: Any, growth: int, *, options: Options, name: str) -> Any:
    """Join ``growth`` new channels, computed of all that are there, to them."""
    norm = options.norm
    new = blocks.norm_act_conv(x, BOTTLENECK * growth, 1, norm=norm, name=f"{name}_1")
    new = blocks.norm_act_conv(new, growth, 3, norm=norm, name=f"{name}_2")
    return blocks.keras.layers.Concatenate(name=f"{name}_join")([x, new])


def transition(x: Any, *, options: Options, name: str) -> Any:
    """Halve the channels and the size."""
    filters = int(COMPRESSION * x.shape[-1])
    x = blocks.norm_act_conv(x, filters, 1, norm=options.norm, name=name)
    return blocks.keras.layers.AveragePooling2D(2, name=f"{name}_pool")(x)


def densenet(
    options: Options,
    sizes: tuple[int, ...],
    growth: int,
    stem: Callable[[Any, int, Options], dict[int, Any]],
    name: str,
) -> Any:
    """Build the network with so many dense layers in each block."""
    growth = options.channels(growth)
    inputs = blocks.image(options)
    features = stem(inputs, 2 * growth, options)
    stride, x = list(features.items())[-1]
    for stage, count in enumerate(sizes, start=1):
        if stage > 1:
            x = transition(x, options=options, name=f"stage{stage}_transition")
            stride *= 2
        for number in range(1, count + 1):
            x = dense_layer(x, growth, options=options, name=f"stage{stage}_block{number}")
        features[stride] = x
    features[stride] = blocks.norm_act(x, options.norm, name="final")
    return blocks.model(options, inputs, features, name=name)


# Parameters: torchvision's models of the first three names have just as many; the paper's table 2
# has 0.8 million for DenseNet-BC-100-12.
@register_model(
    input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, min_size=29, parameters=7_978_856
)
def densenet121(options: Options) -> Any:
    """Build DenseNet-121: 8.0 million parameters."""
    return densenet(options, (6, 12, 24, 16), 32, imagenet_stem, "densenet121")


@register_model(
    input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, min_size=29, parameters=14_149_480
)
def densenet169(options: Options) -> Any:
    """Build DenseNet-169: 14.1 million parameters."""
    return densenet(options, (6, 12, 32, 32), 32, imagenet_stem, "densenet169")


@register_model(
    input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, min_size=29, parameters=20_013_928
)
def densenet201(options: Options) -> Any:
    """Build DenseNet-201: 20.0 million parameters."""
    return densenet(options, (6, 12, 48, 32), 32, imagenet_stem, "densenet201")


@register_model(
    input_shape=(32, 32, 3), num_classes=10, paper=PAPER, min_size=4, parameters=769_162
)
def densenet_bc_100_12(options: Options) -> Any:
    """Build DenseNet-BC-100-12: 0.77 million parameters."""
    return densenet(options, (16, 16, 16), 12, cifar_stem, "densenet_bc_100_12")
