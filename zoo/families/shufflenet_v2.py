"""ShuffleNet V2 of Ma et al. 2018, table 5.

    stage      stem   1    2    3    head
    blocks            4    8    4
    channels   24     48   96   192  1024   (x0.5)
                      116  232  464  1024   (x1.0)
                      176  352  704  1024   (x1.5)
                      244  488  976  2048   (x2.0)
    stride     4      2    2    2    1      (of the first block)

The stem is a 3x3 convolution and a 3x3 max pooling, both of stride 2. A block leaves one half of
its channels as they are; the other half passes a 1x1 convolution, a 3x3 depthwise one and a 1x1
convolution. The first block of a stage has two rows that both take all channels: that one, and a
3x3 depthwise and a 1x1 convolution. The two halves are joined and their channels alternate then:
the first of one, the first of the other, the second of one and so on. That and the next division
are one step here, which takes channels by their number.

Where the norm stands:
    before_activation  as in the paper: 1x1, norm, relu, depthwise, norm, 1x1, norm, relu.
    after_activation   1x1, relu, norm, depthwise, norm, 1x1, relu, norm. The zeros that pad the max
                       pooling take part in it where the norm makes all its values negative.
    pre_activation     norm, relu, 1x1, norm, relu, depthwise, norm, 1x1: the stem takes the image
                       as it is, and the last norm and relu come at the end.

Reference:
    Ma et al. 2018, https://arxiv.org/abs/1807.11164
"""

from typing import Any

from zoo import blocks
from zoo.registry import Options, register_model

PAPER = "Ma et al. 2018, https://arxiv.org/abs/1807.11164"
COUNTS = (4, 8, 4)


def joined(one: Any, other: Any, *, name: str) -> tuple[Any, list[int]]:
    """Join two halves; return the order in which their channels alternate, too."""
    x = blocks.keras.layers.Concatenate(name=f"{name}_join")([one, other])
    half = one.shape[-1]
    return x, [channel + start for channel in range(half) for start in (0, half)]


def take(x: Any, order: list[int], name: str) -> Any:
    """Take channels by their numbers."""
    return blocks.named(blocks.keras.ops.take(x, order, axis=-1), name)


def shuffled(one: Any, other: Any, *, name: str) -> Any:
    """Join two halves and alternate their channels."""
    x, order = joined(one, other, name=name)
    return take(x, order, f"{name}_shuffle")


def shuffled_halves(one: Any, other: Any, *, name: str) -> tuple[Any, Any]:
    """Join two halves, alternate their channels and divide them in the middle."""
    x, order = joined(one, other, name=name)
    half = len(order) // 2
    return take(x, order[:half], f"{name}_kept"), take(x, order[half:], f"{name}_taken")


def filtered(x: Any, *, stride: int, activation: str, options: Options, name: str) -> Any:
    """Filter each channel by itself, with a norm beside it and, before that, an activation or none.

    Args:
        x: A Keras tensor.
        stride: The step in both directions.
        activation: What precedes, pre-activated; empty for nothing.
        options: What the caller asked for.
        name: What the layers' names begin with.

    Returns:
        A Keras tensor.
    """
    norm = options.norm
    pre = norm.placement == "pre_activation"
    if pre and activation:
        x = blocks.norm_act(x, norm, activation=activation, name=name)
    bias = blocks.needs_bias(norm, followed_by="norm")
    x = blocks.depthwise(
        x, 3, stride=stride, bias=bias, padding=options.padding, name=f"{name}_conv"
    )
    return x if pre else blocks.normalize(x, norm, name=f"{name}_norm")


def mixed(x: Any, channels: int, *, options: Options, name: str) -> Any:
    """Mix what was filtered; pre-activated, only a norm precedes, since nothing else does."""
    norm = options.norm
    if norm.placement != "pre_activation":
        return blocks.conv_norm_act(x, channels, 1, norm=norm, name=name)
    x = blocks.normalize(x, norm, name=f"{name}_norm")
    bias = blocks.bias_before(norm)
    return blocks.conv(x, channels, 1, bias=bias, name=f"{name}_conv")


def long_row(x: Any, channels: int, *, stride: int, options: Options, name: str) -> Any:
    """Pass a 1x1, a depthwise and a 1x1 convolution."""
    x = blocks.conv_norm_act(x, channels, 1, norm=options.norm, name=f"{name}_1")
    x = filtered(x, stride=stride, activation="relu", options=options, name=f"{name}_2")
    return mixed(x, channels, options=options, name=f"{name}_3")


def short_row(x: Any, channels: int, *, options: Options, name: str) -> Any:
    """Pass a depthwise convolution of stride 2 and a 1x1 convolution."""
    x = filtered(x, stride=2, activation="relu", options=options, name=f"{name}_4")
    return mixed(x, channels, options=options, name=f"{name}_5")


def stem(inputs: Any, channels: int, options: Options) -> tuple[Any, Any]:
    """Convolve the image and pool it; return both."""
    norm = options.norm
    bias = blocks.bias_before(norm)
    x = blocks.conv(
        inputs, channels, 3, stride=2, bias=bias, padding=options.padding, name="stem_conv"
    )
    if norm.placement != "pre_activation":
        x = blocks.norm_act(x, norm, name="stem")
    return x, blocks.max_pool(x, 3, stride=2, padding=options.padding, name="stem_pool")


def network(
    options: Options, channels: tuple[int, ...], last: int, counts: tuple[int, ...], name: str
) -> Any:
    """Build the network of stages with so many blocks of so many channels, and the head."""
    norm = options.norm
    inputs = blocks.image(options)
    first, x = stem(inputs, options.channels(24), options)
    features = {2: first, 4: x}
    for stage, (wide, count) in enumerate(zip(channels, counts, strict=True), start=1):
        half = options.channels(wide) // 2
        place = f"stage{stage}_block1"
        kept = short_row(x, half, options=options, name=place)
        made = long_row(x, half, stride=2, options=options, name=place)
        for number in range(2, count + 1):
            kept, x = shuffled_halves(kept, made, name=place)
            place = f"stage{stage}_block{number}"
            made = long_row(x, half, stride=1, options=options, name=place)
        x = shuffled(kept, made, name=place)
        features[4 * 2**stage] = x
    x = blocks.conv_norm_act(x, options.channels(last), 1, norm=norm, name="head")
    if norm.placement == "pre_activation":
        x = blocks.norm_act(x, norm, name="final")
    features[4 * 2 ** len(counts)] = x
    return blocks.model(options, inputs, features, name=name)


# Parameters: torchvision's models of these names have just as many.
@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=1_366_792)
def shufflenet_v2_x0_5(options: Options) -> Any:
    """Build ShuffleNet V2 x0.5: 1.4 million parameters."""
    return network(options, (48, 96, 192), 1024, COUNTS, "shufflenet_v2_x0_5")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=2_278_604)
def shufflenet_v2_x1_0(options: Options) -> Any:
    """Build ShuffleNet V2 x1.0: 2.3 million parameters."""
    return network(options, (116, 232, 464), 1024, COUNTS, "shufflenet_v2_x1_0")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=3_503_624)
def shufflenet_v2_x1_5(options: Options) -> Any:
    """Build ShuffleNet V2 x1.5: 3.5 million parameters."""
    return network(options, (176, 352, 704), 1024, COUNTS, "shufflenet_v2_x1_5")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=7_393_996)
def shufflenet_v2_x2_0(options: Options) -> Any:
    """Build ShuffleNet V2 x2.0: 7.4 million parameters."""
    return network(options, (244, 488, 976), 2048, COUNTS, "shufflenet_v2_x2_0")
