"""ConvNeXt of Liu et al. 2022, section 3 and table 9.

    stage      stem  1     2     3     4
    blocks           3     3     9     3     (tiny; 27 in stage 3 of all others)
    channels         96    192   384   768   (tiny, small)
                     128   256   512   1024  (base)
                     192   384   768   1536  (large)
                     256   512   1024  2048  (xlarge)

A block is a 7x7 depthwise convolution, a norm, a 1x1 convolution to four times the channels, GELU
and a 1x1 convolution back, whose channels are each scaled by a factor that is learned (LayerScale)
before they are added to the block's input. The stem is a 4x4 convolution of stride 4 and a norm;
each later stage begins with a norm and a 2x2 convolution of stride 2. The pooled features are
normalized once more.

The design's norm is layer normalization with an epsilon of 1e-6, and any other can stand in its
place. Group and layer normalization do not undo a bias before them, and the convolutions keep
theirs. Instance normalization has nothing to average over in pooled features, so the head has none.

Where the norm of a block stands; the others have no activation beside them:
    before_activation  as in the paper: depthwise, norm, expand, gelu, project.
    after_activation   depthwise, expand, gelu, norm, project.
    pre_activation     norm, depthwise, expand, gelu, project.

A LayerScale is a 1x1 depthwise convolution here, which every tool knows that reads Keras models.

The last feature map is that before the pooling, without the head's norm.

Reference:
    Liu et al. 2022, https://arxiv.org/abs/2201.03545
    Touvron et al. 2021, https://arxiv.org/abs/2103.17239 (LayerScale)
"""

from collections.abc import Callable
from typing import Any

from zoo import blocks, residual
from zoo.norm import Norm
from zoo.registry import Options, register_model

PAPER = "Liu et al. 2022, https://arxiv.org/abs/2201.03545"
NORM = Norm("layer", epsilon=1e-6)
LAYER_SCALE = 1e-6  # what the factors begin with
UNDO_BIASES = ("batch", "batch_renorm", "instance")
TINY = (3, 3, 9, 3)
OTHERS = (3, 3, 27, 3)


def biased(norm: Norm) -> bool:
    """Say whether a convolution that a norm follows learns a bias."""
    return norm.kind not in UNDO_BIASES


def stem(inputs: Any, channels: int, norm: Norm) -> Any:
    """Convolve patches of 4x4 pixels."""
    x = blocks.conv(
        inputs, channels, 4, stride=4, bias=biased(norm), padding="valid", name="stem_conv"
    )
    return blocks.normalize(x, norm, name="stem_norm")


def downsample(x: Any, channels: int, norm: Norm, *, name: str) -> Any:
    """Halve the size."""
    x = blocks.normalize(x, norm, name=f"{name}_norm")
    return blocks.conv(x, channels, 2, stride=2, bias=True, padding="valid", name=f"{name}_conv")


def branch(x: Any, norm: Norm, *, layer_scale: float, name: str) -> Any:
    """Build what a block adds to its input."""
    channels, place = x.shape[-1], norm.placement
    if place == "pre_activation":
        x = blocks.normalize(x, norm, name=f"{name}_norm")
    bias = place == "before_activation" and biased(norm)
    x = blocks.depthwise(x, 7, bias=bias, name=f"{name}_depthwise_conv")
    if place == "before_activation":
        x = blocks.normalize(x, norm, name=f"{name}_norm")
    x = blocks.conv(x, 4 * channels, 1, bias=True, name=f"{name}_expand_conv")
    x = blocks.keras.layers.Activation("gelu", name=f"{name}_act")(x)
    if place == "after_activation":
        x = blocks.normalize(x, norm, name=f"{name}_norm")
    x = blocks.conv(x, channels, 1, bias=True, name=f"{name}_project_conv")
    return scale(x, layer_scale, name=f"{name}_scale")


def scale(x: Any, value: float, *, name: str) -> Any:
    """Scale each channel by a factor that is learned and begins with ``value``."""
    initial = blocks.keras.initializers.Constant(value)
    return blocks.keras.layers.DepthwiseConv2D(
        1, use_bias=False, depthwise_initializer=initial, name=name
    )(x)


def head(norm: Norm) -> Callable[[Any], Any]:
    """Make the head: pooling and a norm."""

    def pooled(x: Any) -> Any:
        x = blocks.pooled(x)
        return x if norm.kind == "instance" else blocks.normalize(x, norm, name="head_norm")

    return pooled


def network(
    options: Options,
    counts: tuple[int, ...],
    channels: tuple[int, ...],
    name: str,
    *,
    layer_scale: float = LAYER_SCALE,
) -> Any:
    """Build the network of stages with so many blocks of so many channels."""
    norm = options.norm
    inputs = blocks.image(options)
    x = stem(inputs, options.channels(channels[0]), norm)
    drops = iter(residual.drop_rates(options, sum(counts)))
    features = {}
    for stage, (count, wide) in enumerate(zip(counts, channels, strict=True), start=1):
        if stage > 1:
            x = downsample(x, options.channels(wide), norm, name=f"stage{stage}_downsample")
        for number in range(1, count + 1):
            place = f"stage{stage}_block{number}"
            added = branch(x, norm, layer_scale=layer_scale, name=place)
            x = residual.add(x, added, drop=next(drops), name=place)
        features[2 ** (stage + 1)] = x
    return blocks.model(options, inputs, features, head=head(norm), name=name)


# Parameters: torchvision's models of the first four names have just as many; xlarge has as many as
# keras.applications'.
@register_model(
    input_shape=(224, 224, 3),
    num_classes=1000,
    paper=PAPER,
    min_size=32,
    norm=NORM,
    parameters=28_589_128,
)
def convnext_tiny(options: Options) -> Any:
    """Build ConvNeXt-Tiny: 28.6 million parameters."""
    return network(options, TINY, (96, 192, 384, 768), "convnext_tiny")


@register_model(
    input_shape=(224, 224, 3),
    num_classes=1000,
    paper=PAPER,
    min_size=32,
    norm=NORM,
    parameters=50_223_688,
)
def convnext_small(options: Options) -> Any:
    """Build ConvNeXt-Small: 50.2 million parameters."""
    return network(options, OTHERS, (96, 192, 384, 768), "convnext_small")


@register_model(
    input_shape=(224, 224, 3),
    num_classes=1000,
    paper=PAPER,
    min_size=32,
    norm=NORM,
    parameters=88_591_464,
)
def convnext_base(options: Options) -> Any:
    """Build ConvNeXt-Base: 88.6 million parameters."""
    return network(options, OTHERS, (128, 256, 512, 1024), "convnext_base")


@register_model(
    input_shape=(224, 224, 3),
    num_classes=1000,
    paper=PAPER,
    min_size=32,
    norm=NORM,
    parameters=197_767_336,
)
def convnext_large(options: Options) -> Any:
    """Build ConvNeXt-Large: 198 million parameters."""
    return network(options, OTHERS, (192, 384, 768, 1536), "convnext_large")


@register_model(
    input_shape=(224, 224, 3),
    num_classes=1000,
    paper=PAPER,
    min_size=32,
    norm=NORM,
    parameters=350_196_968,
)
def convnext_xlarge(options: Options) -> Any:
    """Build ConvNeXt-XLarge: 350 million parameters."""
    return network(options, OTHERS, (256, 512, 1024, 2048), "convnext_xlarge")
