"""Xception of Chollet 2017, figure 5.

    output size   149x149  147x147  74x74  37x37  19x19  19x19       10x10
    stage         stem     stem     1      2      3      4 to 11     12       then 1536, 2048
    separable 3x3                   2      2      2      3 each      2        1 + 1
    filters       32       64       128    256    728    728         1024

The stem is two 3x3 convolutions that are not padded, the first of stride 2. A separable convolution
is a 3x3 depthwise convolution and a 1x1 convolution with nothing between them and a norm behind.
A stage adds its separable convolutions to its input; stages 1, 2, 3 and 12 end in a 3x3 max pooling
of stride 2 and project their input by a 1x1 convolution. A relu stands before each separable
convolution but the first, and behind the last two.

Where the norm stands:
    before_activation  as in the paper: relu, separable, norm, relu, separable, norm, pool, add; a
                       projection has a norm too.
    after_activation   relu, separable, relu, norm, separable, norm, pool, add: each norm that has
                       its activation behind it changes places with it.
    pre_activation     norm, relu, separable, norm, relu, separable, pool, add, with a norm and relu
                       at the end; a projection takes the first relu's output and has no norm.

The max pooling takes values of both signs. Padded symmetrically, as by default, zeros take part in
it; the weights of keras.applications compute the same here with the padding ``same``.

Reference:
    Chollet 2017, https://arxiv.org/abs/1610.02357
"""

from typing import Any

from zoo import blocks, residual
from zoo.norm import Norm
from zoo.registry import Options, register_model

PAPER = "Chollet 2017, https://arxiv.org/abs/1610.02357"
# The epsilon of the authors' code.
NORM = Norm(epsilon=1e-3)
# The filters of each stage's separable convolutions, and its stride.
ENTRY = (((128, 128), 2), ((256, 256), 2), ((728, 728), 2))
MIDDLE = (((728, 728, 728), 1),) * 8
EXIT = (((728, 1024), 2),)
LAST = (1536, 2048)


def separable(x: Any, filters: int, *, bias: bool, name: str) -> Any:
    """Convolve each channel by itself, and then the channels of each position."""
    x = blocks.depthwise(x, 3, name=f"{name}_depthwise_conv")
    return blocks.conv(x, filters, 1, bias=bias, name=f"{name}_conv")


def separable_norm_act(x: Any, filters: int, *, options: Options, name: str) -> Any:
    """Convolve, normalize and activate, in the order that the placement says."""
    norm = options.norm
    if norm.placement == "pre_activation":
        x = blocks.norm_act(x, norm, name=name)
        return separable(x, filters, bias=blocks.bias_before(norm), name=name)
    x = separable(x, filters, bias=blocks.bias_before(norm), name=name)
    return blocks.norm_act(x, norm, name=name)


def pooled_sum(
    shortcut: Any, x: Any, *, stride: int, drop: float, options: Options, name: str
) -> Any:
    """Add a branch, pooled where there is a stride, to its shortcut."""
    if stride > 1:
        x = blocks.max_pool(x, 3, stride=stride, padding=options.padding, name=f"{name}_pool")
    return residual.add(shortcut, x, drop=drop, name=name)


def block(
    x: Any,
    filters: tuple[int, ...],
    *,
    stride: int,
    drop: float,
    options: Options,
    name: str,
) -> Any:
    """Add separable convolutions to their input or to its projection."""
    norm, shortcut = options.norm, x
    if not name.startswith("stage1_"):  # the stem has activated already
        x = blocks.keras.layers.Activation("relu", name=f"{name}_act")(x)
    *first, last = filters
    for number, wide in enumerate(first, start=1):
        x = separable_norm_act(x, wide, options=options, name=f"{name}_{number}")
    bias, place = blocks.needs_bias(norm, followed_by="norm"), f"{name}_{len(filters)}"
    x = separable(x, last, bias=bias, name=place)
    x = blocks.normalize(x, norm, name=f"{place}_norm")
    if stride > 1:
        bias = blocks.parallel_bias(norm)
        shortcut = blocks.conv(
            shortcut, last, 1, stride=stride, bias=bias, name=f"{name}_shortcut_conv"
        )
        shortcut = blocks.normalize(shortcut, norm, name=f"{name}_shortcut_norm")
    return pooled_sum(shortcut, x, stride=stride, drop=drop, options=options, name=name)


def preactivation_block(
    x: Any,
    filters: tuple[int, ...],
    *,
    stride: int,
    drop: float,
    options: Options,
    name: str,
) -> Any:
    """Add pre-activated separable convolutions to their input, which passes, or is projected."""
    norm, shortcut = options.norm, x
    for number, wide in enumerate(filters, start=1):
        place = f"{name}_{number}"
        x = blocks.norm_act(x, norm, name=place)
        if number == 1 and stride > 1:
            # Without a bias of its own: the last convolution's is added to the same sum.
            shortcut = blocks.conv(x, filters[-1], 1, stride=stride, name=f"{name}_shortcut_conv")
        x = separable(x, wide, bias=blocks.bias_before(norm), name=place)
    return pooled_sum(shortcut, x, stride=stride, drop=drop, options=options, name=name)


def stem(inputs: Any, options: Options) -> tuple[Any, dict[int, Any]]:
    """Convolve the image twice; pre-activated, the first stage normalizes and activates."""
    norm = options.norm
    pre = norm.placement == "pre_activation"
    bias, wide = blocks.bias_before(norm), options.channels
    x = blocks.conv(inputs, wide(32), 3, stride=2, bias=bias, padding="valid", name="stem_1_conv")
    x = blocks.norm_act(x, norm, name="stem_1")
    x = blocks.conv(x, wide(64), 3, bias=bias, padding="valid", name="stem_2_conv")
    x = x if pre else blocks.norm_act(x, norm, name="stem_2")
    return x, {2: x}


def head(x: Any, options: Options) -> Any:
    """Widen the last sum by separable convolutions, which nothing is added to."""
    for number, filters in enumerate(LAST, start=1):
        wide = options.channels(filters)
        x = separable_norm_act(x, wide, options=options, name=f"head_{number}")
    if options.norm.placement == "pre_activation":
        x = blocks.norm_act(x, options.norm, name="final")
    return x


def network(options: Options, stages: tuple[tuple[tuple[int, ...], int], ...], name: str) -> Any:
    """Build the network of these stages: the filters of separable convolutions, and the stride."""
    made = preactivation_block if options.norm.placement == "pre_activation" else block
    inputs = blocks.image(options)
    x, features = stem(inputs, options)
    total_stride = max(features)
    drops = residual.drop_rates(options, len(stages))
    for stage, ((filters, stride), drop) in enumerate(zip(stages, drops, strict=True), start=1):
        total_stride *= stride
        x = features[total_stride] = made(
            x,
            tuple(options.channels(count) for count in filters),
            stride=stride,
            drop=drop,
            options=options,
            name=f"stage{stage}_block1",
        )
    features[total_stride] = head(x, options)
    return blocks.model(options, inputs, features, name=name)


# As many parameters as keras.applications' Xception trains.
@register_model(
    input_shape=(299, 299, 3),
    num_classes=1000,
    paper=PAPER,
    norm=NORM,
    min_size=7,
    parameters=22_855_952,
)
def xception(options: Options) -> Any:
    """Build Xception: 22.9 million parameters."""
    return network(options, ENTRY + MIDDLE + EXIT, "xception")
