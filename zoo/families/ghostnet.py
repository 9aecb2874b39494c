"""GhostNet of Han et al. 2020, table 1.

    stage  blocks: wide channels, channels (kernel, SE for squeeze and excitation)
    stem   16, 3x3 stride 2
    1      16, 16 (3)
    2      48, 24 (3)      72, 24 (3)
    3      72, 40 (5 SE)   120, 40 (5 SE)
    4      240, 80 (3)     200, 80 (3)     184, 80 (3)     184, 80 (3)
           480, 112 (3 SE) 672, 112 (3 SE)
    5      672, 160 (5 SE) 960, 160 (5)    960, 160 (5 SE) 960, 160 (5)    960, 160 (5 SE)
    head   960, then 1280 after the pooling, without a norm

A ghost module makes half of its channels by a 1x1 convolution and the other half of these by a 3x3
depthwise one, and joins both. A block is a ghost module to the wide channels, with relu, and one
back, without; the first block of stages 2 to 5 has a depthwise convolution of stride 2 between
them, and squeeze and excitation comes before the second module. The input is added, or what a
depthwise and a 1x1 convolution make of it where the shape is another.

Where the norm stands:
    before_activation  as in the paper: behind each convolution, before the relu if there is one.
    after_activation   a norm that has its relu behind it changes places with it.
    pre_activation     before each convolution, with the relu if its input has one; squeeze and
                       excitation comes between the second module's norm and its convolution. What
                       is added passes untouched, and the first block activates the stem's output.

Reference:
    Han et al. 2020, https://arxiv.org/abs/1911.11907
"""

from dataclasses import dataclass, replace
from typing import Any

from zoo import blocks, inverted, residual
from zoo.registry import Options, register_model

PAPER = "Han et al. 2020, https://arxiv.org/abs/1911.11907"


@dataclass(frozen=True)
class Row:
    """One block: wide channels, channels, kernel of its depthwise convolutions, and the rest."""

    wide: int
    channels: int
    kernel_size: int = 3
    stride: int = 1
    squeezes: bool = False


STAGES = (
    (Row(16, 16),),
    (Row(48, 24, stride=2), Row(72, 24)),
    (Row(72, 40, 5, 2, squeezes=True), Row(120, 40, 5, squeezes=True)),
    (
        Row(240, 80, stride=2),
        Row(200, 80),
        Row(184, 80),
        Row(184, 80),
        Row(480, 112, squeezes=True),
        Row(672, 112, squeezes=True),
    ),
    (
        Row(672, 160, 5, 2, squeezes=True),
        Row(960, 160, 5),
        Row(960, 160, 5, squeezes=True),
        Row(960, 160, 5),
        Row(960, 160, 5, squeezes=True),
    ),
)


def scaled(channels: float) -> int:
    """Round to the nearest multiple of 4 that is at least 4 and loses no more than a tenth."""
    rounded = max(4, 4 * int(channels / 4 + 0.5))
    return rounded + 4 if rounded < 0.9 * channels else rounded


@dataclass(frozen=True)
class Step:
    """A 1x1 convolution to so many channels, or a depthwise one if these are 0."""

    channels: int = 0
    kernel_size: int = 1
    stride: int = 1

    def apply(self, x: Any, options: Options, name: str, *, activated: bool = False) -> Any:
        """Convolve; say whether an activation follows, before a norm or behind it."""
        norm = options.norm
        bias = (
            blocks.bias_before(norm) if activated else blocks.needs_bias(norm, followed_by="norm")
        )
        if self.channels:
            return blocks.conv(x, self.channels, 1, bias=bias, name=f"{name}_conv")
        return blocks.depthwise(
            x,
            self.kernel_size,
            stride=self.stride,
            bias=bias,
            padding=options.padding,
            name=f"{name}_conv",
        )


def unit(x: Any, step: Step, *, act: str, options: Options, name: str) -> Any:
    """Convolve, with a norm and an activation, or none, in the order that the placement says.

    Args:
        x: A Keras tensor.
        step: The convolution.
        act: The activation behind it; pre-activated, before it. Empty for none.
        options: What the caller asked for.
        name: What the layers' names begin with.

    Returns:
        A Keras tensor.
    """
    norm = options.norm
    if norm.placement == "pre_activation":
        return step.apply(inverted.normed(x, norm, activation=act, name=name), options, name)
    x = step.apply(x, options, name, activated=bool(act))
    return inverted.normed(x, norm, activation=act, name=name)


def join(one: Any, other: Any, *, name: str) -> Any:
    """Join the two halves of a ghost module."""
    return blocks.keras.layers.Concatenate(name=f"{name}_join")([one, other])


def squeezed(x: Any, *, options: Options, name: str) -> Any:
    """Squeeze to a quarter of the channels and excite."""
    return blocks.squeeze_excite(x, scaled(x.shape[-1] / 4), gate="hard_sigmoid", name=f"{name}_se")


def branch(x: Any, row: Row, *, lead: str, options: Options, name: str) -> Any:
    """Build two ghost modules and what is between them.

    Args:
        x: The block's input.
        row: The block, its channels scaled.
        lead: The activation of the input, pre-activated; empty for none.
        options: What the caller asked for.
        name: What the layers' names begin with.

    Returns:
        A Keras tensor.
    """
    pre = options.norm.placement == "pre_activation"
    half, last = row.wide // 2, row.channels // 2
    given: Any = {"options": options}
    first = unit(x, Step(half), act=lead if pre else "relu", name=f"{name}_1", **given)
    cheap = unit(first, Step(0, 3), act="relu", name=f"{name}_1_cheap", **given)
    x = join(first, cheap, name=f"{name}_1")
    act = "relu"
    if row.stride > 1:
        step = Step(0, row.kernel_size, row.stride)
        x = unit(x, step, act="relu" if pre else "", name=f"{name}_depthwise", **given)
        act = ""
    if pre:
        x = inverted.normed(x, options.norm, activation=act, name=f"{name}_2")
    if row.squeezes:
        x = squeezed(x, options=options, name=name)
    first = Step(last).apply(x, options, f"{name}_2")
    if not pre:
        first = blocks.normalize(first, options.norm, name=f"{name}_2_norm")
    cheap = unit(first, Step(0, 3), act="", name=f"{name}_2_cheap", **given)
    return join(first, cheap, name=f"{name}_2")


def shortcut(x: Any, row: Row, *, lead: str, options: Options, name: str) -> Any:
    """Bring a block's input to the shape of its output."""
    if row.stride == 1 and x.shape[-1] == row.channels:
        return x
    given: Any = {"options": options}
    step = Step(0, row.kernel_size, row.stride)
    x = unit(x, step, act=lead, name=f"{name}_shortcut_1", **given)
    return unit(x, Step(row.channels), act="", name=f"{name}_shortcut_2", **given)


def widened(row: Row, width: float) -> Row:
    """Scale a block's channels."""
    return replace(row, wide=scaled(row.wide * width), channels=scaled(row.channels * width))


def network(
    options: Options, stages: tuple[tuple[Row, ...], ...], name: str, *, last: int = 1280
) -> Any:
    """Build the network of these stages."""
    width, pre = options.width, options.norm.placement == "pre_activation"
    inputs = blocks.image(options)
    x = inverted.stem(inputs, scaled(16 * width), activation="relu", options=options)
    drops = iter(residual.drop_rates(options, sum(len(rows) for rows in stages)))
    features = {}
    stride, lead = 2, "relu" if pre else ""
    for stage, rows in enumerate(stages, start=1):
        for number, full in enumerate(rows, start=1):
            place = f"stage{stage}_block{number}"
            row = widened(full, width)
            kept = shortcut(x, row, lead=lead, options=options, name=place)
            made = branch(x, row, lead=lead, options=options, name=place)
            x = residual.add(kept, made, drop=next(drops), name=place)
            stride, lead = stride * row.stride, ""
        features[stride] = x
    wide = scaled(stages[-1][-1].wide * width)
    features[stride] = inverted.head(x, wide, activation="relu", options=options)

    def head(x: Any) -> Any:
        layers = blocks.keras.layers
        x = layers.Dense(last, kernel_initializer="he_normal", name="head_dense")(blocks.pooled(x))
        return layers.Activation("relu", name="head_dense_act")(x)

    return blocks.model(options, inputs, features, head=head, name=name)


# Parameters: timm's ghostnet_100 has just as many; the paper's table 7 has 5.2 million.
@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=5_182_508)
def ghostnet(options: Options) -> Any:
    """Build GhostNet: 5.2 million parameters."""
    return network(options, STAGES, "ghostnet")
