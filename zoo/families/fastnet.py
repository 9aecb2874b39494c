"""A small network that learns CIFAR-10 in a few epochs, after Jordan 2024, section 3.

    output size   31x31         15x15         7x7           3x3
    layers        2x2, 24       3x3, 64       3x3, 256      3x3, 256
                                3x3, 64       3x3, 256      3x3, 256      then a maximum and logits

A 2x2 max pooling follows the first convolution of each stage, before its norm, and nothing pads the
first convolution of all. Everything is activated by GELU, and the maximum of each channel over all
positions is divided by 9 before the logits, so that they begin small. The paper takes the maximum
of 3x3 positions, which at 32x32 is the same; this one takes images of any size from 9x9.

What the paper does with this network besides is the recipe's: the first convolution is made of
patches that whiten and is not trained (`whiten`), the others begin as identities as far as they
have channels for it (`identity`), and norms learn a shift and no scale (`norm.scale = false`).
Without scales every BatchNorm folds. A scale that becomes negative would keep the BatchNorm that
follows a max pooling: the maximum of negated values is another one.

Where the norm stands:
    before_activation  as in the paper: conv, pooling, norm, gelu, conv, norm, gelu.
    after_activation   conv, pooling, gelu, norm, conv, gelu, norm.
    pre_activation     norm, gelu, conv, pooling, norm, gelu, conv: the first stage takes the
                       activated stem as it is, and the last norm and gelu come after all stages.

Reference:
    Jordan 2024, https://arxiv.org/abs/2404.00498
"""

from typing import Any

from zoo import blocks
from zoo.registry import Options, register_model

PAPER = "Jordan 2024, https://arxiv.org/abs/2404.00498"
STEM = 24  # two of each of the 2 * 2 * 3 patches that whiten, of either sign
STAGES = ((1, 64), (2, 256), (3, 256))  # number, filters
LOGIT_SCALE = 1 / 9


def stem(x: Any, options: Options) -> Any:
    """Convolve the image with 2x2 patches, without padding, and activate the result."""
    layers = blocks.keras.layers
    # As many filters as there are patches, whatever the width: they are not learned.
    filters = STEM // 3 * options.input_shape[-1]
    kernel = blocks.keras.initializers.HeNormal()
    x = layers.Conv2D(filters, 2, kernel_initializer=kernel, name="stem_conv")(x)
    return layers.Activation("gelu", name="stem_act")(x)


def stage(x: Any, filters: int, *, activated: bool, options: Options, name: str) -> Any:
    """Convolve twice, with a max pooling after the first convolution.

    Args:
        x: A Keras tensor.
        filters: The number of channels.
        activated: Whether ``x`` is activated already; else the norm and activation come first,
            where the placement wants them before a convolution.
        options: What the caller asked for.
        name: What the layers' names begin with.

    Returns:
        A Keras tensor of half the height and width.
    """
    norm = options.norm
    pre = norm.placement == "pre_activation"
    bias = blocks.bias_before(norm)
    for number in (1, 2):
        place = f"{name}_{number}"
        if pre and not (activated and number == 1):
            x = blocks.norm_act(x, norm, name=place, activation="gelu")
        x = blocks.conv(x, filters, 3, bias=bias, name=f"{place}_conv")
        if number == 1:
            x = blocks.keras.layers.MaxPooling2D(2, name=f"{name}_pool")(x)
        if not pre:
            x = blocks.norm_act(x, norm, name=place, activation="gelu")
    return x


def head(x: Any) -> Any:
    """Take the maximum of each channel over all positions, made smaller."""
    layers = blocks.keras.layers
    x = layers.GlobalMaxPooling2D(name="pool")(x)
    return layers.Rescaling(LOGIT_SCALE, name="head_scale")(x)


# Parameters: Jordan 2024 has 1.97 million.
@register_model(
    input_shape=(32, 32, 3), num_classes=10, paper=PAPER, min_size=9, parameters=1_972_802
)
def fastnet(options: Options) -> Any:
    """Build the network: 2.0 million parameters."""
    inputs = blocks.image(options)
    x = stem(inputs, options)
    features = {1: x}
    for number, filters in STAGES:
        x = stage(
            x,
            options.channels(filters),
            activated=number == 1,
            options=options,
            name=f"stage{number}",
        )
        features[2**number] = x
    if options.norm.placement == "pre_activation":
        x = blocks.norm_act(x, options.norm, name="final", activation="gelu")
        features[2 ** len(STAGES)] = x
    return blocks.model(options, inputs, features, head=head, name="fastnet")
