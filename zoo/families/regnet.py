"""RegNetX and RegNetY of Radosavovic et al. 2020, section 4 and appendix D.

A network is six numbers: the first width w0, the slope wa and the step wm of its quantised linear
widths, its number of blocks, and the width of a group. Block j is to have w0 + wa j channels, which
is brought to the nearest w0 wm^k of a whole k and then to a multiple of 8. Blocks of one width are
a stage, and its width is brought to a multiple of the group's.

    X      w0   wa      wm    group blocks      Y      w0   wa      wm    group blocks
    002    24   36.44   2.49  8     13          002    24   36.44   2.49  8     13
    004    24   24.48   2.54  16    22          004    48   27.89   2.09  8     16
    006    48   36.97   2.24  24    16          006    48   32.54   2.32  16    15
    008    56   35.73   2.28  16    16          008    56   38.84   2.40  16    14
    016    80   34.01   2.25  24    18          016    48   20.71   2.65  24    27
    032    88   26.31   2.25  48    25          032    80   42.63   2.66  24    21
    040    96   38.65   2.43  40    23          040    96   31.41   2.24  64    22
    064    184  60.83   2.07  56    17          064    112  33.22   2.27  72    25
    080    80   49.56   2.88  120   23          080    192  76.82   2.19  56    17
    120    168  73.36   2.37  112   19          120    168  73.36   2.37  112   19
    160    216  55.59   2.10  128   22          160    200  106.23  2.48  112   18
    320    320  69.86   2.00  168   23          320    232  115.89  2.53  232   20

The names say the multiply-adds, in hundreds of millions. The stem is a 3x3 convolution of stride 2
to 32 channels. A block is a 1x1 convolution, a grouped 3x3 convolution and a 1x1 convolution, all
of the stage's width, added to the input. A stage's first block has stride 2, in the 3x3
convolution, and its shortcut is a 1x1 convolution. In Y, squeeze and excitation stands before the
last convolution, and squeezes to a quarter of the block's input channels.

A width other than 1 is a factor on the stages' widths before they are brought to the groups'.

Where the norm stands:
    before_activation  as in the paper: conv, norm, relu, conv, norm, relu, conv, norm, add, relu; a
                       projection has a norm too.
    after_activation   conv, relu, norm, conv, relu, norm, conv, norm, add, relu.
    pre_activation     norm, relu, conv, norm, relu, conv, norm, relu, conv, add, with a norm and
                       relu at the end. A projection takes the first relu's output and has no norm,
                       and the stem has neither norm nor relu.

Reference:
    Radosavovic et al. 2020, https://arxiv.org/abs/2003.13678
"""

import itertools
import math
from typing import Any, NamedTuple

from zoo import blocks, residual
from zoo.registry import Options, register_model

PAPER = "Radosavovic et al. 2020, https://arxiv.org/abs/2003.13678"
STEM = 32
QUANTUM = 8
# The parameters are those of timm's models of these names, which are the authors'.


class Rule(NamedTuple):
    """The six numbers that a network is, and whether it has squeeze and excitation."""

    first: int
    slope: float
    step: float
    group: int
    depth: int
    excited: bool = False


class Stage(NamedTuple):
    """A number of blocks of one width, and how many groups their 3x3 convolution has."""

    depth: int
    width: int
    groups: int


def quantised(rule: Rule) -> list[int]:
    """Give each block its width, before that is brought to the groups'."""
    widths = []
    for block in range(rule.depth):
        wanted = rule.first + rule.slope * block
        power = round(math.log(wanted / rule.first) / math.log(rule.step))
        widths.append(QUANTUM * round(rule.first * rule.step**power / QUANTUM))
    return widths


def stages_of(rule: Rule, options: Options) -> list[Stage]:
    """Make the stages of a rule."""
    stages = []
    for width, same in itertools.groupby(quantised(rule)):
        wanted = options.channels(width)
        group = min(rule.group, wanted)
        groups = round(wanted / group)
        stages.append(Stage(len(list(same)), groups * group, groups))
    return stages


def units(x: Any, stage: Stage, *, stride: int, excited: bool, options: Options, name: str) -> Any:
    """Convolve twice, the second time in groups, with all that comes before the last one."""
    norm, squeezed = options.norm, max(1, round(x.shape[-1] / 4))
    for number, (size, step, groups) in enumerate(((1, 1, 1), (3, stride, stage.groups)), 1):
        x = blocks.conv(
            x,
            stage.width,
            size,
            stride=step,
            groups=groups,
            bias=blocks.bias_before(norm),
            padding=options.padding,
            name=f"{name}_{number}_conv",
        )
        place = number + 1 if norm.placement == "pre_activation" else number
        x = blocks.norm_act(x, norm, name=f"{name}_{place}")
    return blocks.squeeze_excite(x, squeezed, name=f"{name}_se") if excited else x


def residual_block(
    x: Any,
    stage: Stage,
    *,
    stride: int,
    excited: bool,
    drop: float,
    options: Options,
    name: str,
) -> Any:
    """Add three convolutions to their input or to its projection."""
    norm, shortcut = options.norm, x
    pre = norm.placement == "pre_activation"
    if pre:
        x = blocks.norm_act(x, norm, name=f"{name}_1")
    is_projected = stride > 1 or x.shape[-1] != stage.width
    if is_projected:
        shortcut = blocks.conv(
            x,
            stage.width,
            1,
            stride=stride,
            bias=not pre and blocks.parallel_bias(norm),
            name=f"{name}_shortcut_conv",
        )
    x = units(x, stage, stride=stride, excited=excited, options=options, name=name)
    bias = blocks.bias_before(norm) if pre else blocks.needs_bias(norm, followed_by="norm")
    x = blocks.conv(x, stage.width, 1, bias=bias, name=f"{name}_3_conv")
    if pre:
        return residual.add(shortcut, x, drop=drop, name=name)
    x = blocks.normalize(x, norm, name=f"{name}_3_norm")
    if is_projected:
        shortcut = blocks.normalize(shortcut, norm, name=f"{name}_shortcut_norm")
    x = residual.add(shortcut, x, drop=drop, name=name)
    return blocks.keras.layers.Activation("relu", name=f"{name}_act")(x)


def regnet(options: Options, rule: Rule, name: str) -> Any:
    """Build the network of a rule."""
    norm = options.norm
    pre = norm.placement == "pre_activation"
    inputs = blocks.image(options)
    x = blocks.conv(
        inputs,
        options.channels(STEM),
        3,
        stride=2,
        bias=blocks.bias_before(norm),
        padding=options.padding,
        name="stem_conv",
    )
    x = x if pre else blocks.norm_act(x, norm, name="stem")
    features = {2: x}
    drops = iter(residual.drop_rates(options, rule.depth))
    for number, stage in enumerate(stages_of(rule, options), start=1):
        for block in range(1, stage.depth + 1):
            x = residual_block(
                x,
                stage,
                stride=2 if block == 1 else 1,
                excited=rule.excited,
                drop=next(drops),
                options=options,
                name=f"stage{number}_block{block}",
            )
        features[2 ** (number + 1)] = x
    if pre:
        features[max(features)] = blocks.norm_act(x, norm, name="final")
    return blocks.model(options, inputs, features, name=name)


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=2_684_792)
def regnetx_002(options: Options) -> Any:
    """Build RegNetX of 200 million multiply-adds: 2.7 million parameters."""
    return regnet(options, Rule(24, 36.44, 2.49, 8, 13), "regnetx_002")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=5_157_512)
def regnetx_004(options: Options) -> Any:
    """Build RegNetX of 400 million multiply-adds: 5.2 million parameters."""
    return regnet(options, Rule(24, 24.48, 2.54, 16, 22), "regnetx_004")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=6_196_040)
def regnetx_006(options: Options) -> Any:
    """Build RegNetX of 600 million multiply-adds: 6.2 million parameters."""
    return regnet(options, Rule(48, 36.97, 2.24, 24, 16), "regnetx_006")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=7_259_656)
def regnetx_008(options: Options) -> Any:
    """Build RegNetX of 800 million multiply-adds: 7.3 million parameters."""
    return regnet(options, Rule(56, 35.73, 2.28, 16, 16), "regnetx_008")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=9_190_136)
def regnetx_016(options: Options) -> Any:
    """Build RegNetX of 1.6 billion multiply-adds: 9.2 million parameters."""
    return regnet(options, Rule(80, 34.01, 2.25, 24, 18), "regnetx_016")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=15_296_552)
def regnetx_032(options: Options) -> Any:
    """Build RegNetX of 3.2 billion multiply-adds: 15.3 million parameters."""
    return regnet(options, Rule(88, 26.31, 2.25, 48, 25), "regnetx_032")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=22_118_248)
def regnetx_040(options: Options) -> Any:
    """Build RegNetX of 4 billion multiply-adds: 22.1 million parameters."""
    return regnet(options, Rule(96, 38.65, 2.43, 40, 23), "regnetx_040")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=26_209_256)
def regnetx_064(options: Options) -> Any:
    """Build RegNetX of 6.4 billion multiply-adds: 26.2 million parameters."""
    return regnet(options, Rule(184, 60.83, 2.07, 56, 17), "regnetx_064")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=39_572_648)
def regnetx_080(options: Options) -> Any:
    """Build RegNetX of 8 billion multiply-adds: 39.6 million parameters."""
    return regnet(options, Rule(80, 49.56, 2.88, 120, 23), "regnetx_080")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=46_106_056)
def regnetx_120(options: Options) -> Any:
    """Build RegNetX of 12 billion multiply-adds: 46.1 million parameters."""
    return regnet(options, Rule(168, 73.36, 2.37, 112, 19), "regnetx_120")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=54_278_536)
def regnetx_160(options: Options) -> Any:
    """Build RegNetX of 16 billion multiply-adds: 54.3 million parameters."""
    return regnet(options, Rule(216, 55.59, 2.1, 128, 22), "regnetx_160")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=107_811_560)
def regnetx_320(options: Options) -> Any:
    """Build RegNetX of 32 billion multiply-adds: 107.8 million parameters."""
    return regnet(options, Rule(320, 69.86, 2.0, 168, 23), "regnetx_320")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=3_162_996)
def regnety_002(options: Options) -> Any:
    """Build RegNetY of 200 million multiply-adds: 3.2 million parameters."""
    return regnet(options, Rule(24, 36.44, 2.49, 8, 13, excited=True), "regnety_002")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=4_344_144)
def regnety_004(options: Options) -> Any:
    """Build RegNetY of 400 million multiply-adds: 4.3 million parameters."""
    return regnet(options, Rule(48, 27.89, 2.09, 8, 16, excited=True), "regnety_004")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=6_055_160)
def regnety_006(options: Options) -> Any:
    """Build RegNetY of 600 million multiply-adds: 6.1 million parameters."""
    return regnet(options, Rule(48, 32.54, 2.32, 16, 15, excited=True), "regnety_006")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=6_263_168)
def regnety_008(options: Options) -> Any:
    """Build RegNetY of 800 million multiply-adds: 6.3 million parameters."""
    return regnet(options, Rule(56, 38.84, 2.4, 16, 14, excited=True), "regnety_008")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=11_202_430)
def regnety_016(options: Options) -> Any:
    """Build RegNetY of 1.6 billion multiply-adds: 11.2 million parameters."""
    return regnet(options, Rule(48, 20.71, 2.65, 24, 27, excited=True), "regnety_016")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=19_436_338)
def regnety_032(options: Options) -> Any:
    """Build RegNetY of 3.2 billion multiply-adds: 19.4 million parameters."""
    return regnet(options, Rule(80, 42.63, 2.66, 24, 21, excited=True), "regnety_032")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=20_646_656)
def regnety_040(options: Options) -> Any:
    """Build RegNetY of 4 billion multiply-adds: 20.6 million parameters."""
    return regnet(options, Rule(96, 31.41, 2.24, 64, 22, excited=True), "regnety_040")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=30_583_252)
def regnety_064(options: Options) -> Any:
    """Build RegNetY of 6.4 billion multiply-adds: 30.6 million parameters."""
    return regnet(options, Rule(112, 33.22, 2.27, 72, 25, excited=True), "regnety_064")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=39_180_068)
def regnety_080(options: Options) -> Any:
    """Build RegNetY of 8 billion multiply-adds: 39.2 million parameters."""
    return regnet(options, Rule(192, 76.82, 2.19, 56, 17, excited=True), "regnety_080")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=51_822_544)
def regnety_120(options: Options) -> Any:
    """Build RegNetY of 12 billion multiply-adds: 51.8 million parameters."""
    return regnet(options, Rule(168, 73.36, 2.37, 112, 19, excited=True), "regnety_120")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=83_590_140)
def regnety_160(options: Options) -> Any:
    """Build RegNetY of 16 billion multiply-adds: 83.6 million parameters."""
    return regnet(options, Rule(200, 106.23, 2.48, 112, 18, excited=True), "regnety_160")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=145_046_770)
def regnety_320(options: Options) -> Any:
    """Build RegNetY of 32 billion multiply-adds: 145.0 million parameters."""
    return regnet(options, Rule(232, 115.89, 2.53, 232, 20, excited=True), "regnety_320")
