"""MobileNetV3 of Howard et al. 2019, tables 1 (large) and 2 (small), and the minimalistic forms.

    large                                    small
    stage  channels  blocks  kernel  SE      stage  channels  blocks  kernel  SE
    stem   16                                stem   16
    1      16        1       3               1      16        1       3       yes
    2      24        2       3               2      24        2       3
    3      40        3       5       yes     3      40        3       5       yes
    4      80        4       3               4      48        2       5       yes
    5      112       2       3       yes     5      96        3       5       yes
    6      160       3       5       yes     head   576, then 1024
    head   960, then 1280

The blocks are inverted residuals with linear bottlenecks (see `zoo.inverted`); LARGE and SMALL say
how much each one expands. The first stages have ReLU, the others, the stem and the head have
hard-swish. Squeeze and excitation squeezes to a quarter, and its gates are hard sigmoids. The last
widening, to 1280 or 1024, comes after the pooling and has no norm. The width scales neither the
stem nor, where it is less than 1, that last widening.

The minimalistic forms, of the authors' code, have 3x3 kernels only, ReLU, and no squeeze and
excitation.

Where the norm stands: see `zoo.inverted`.

keras.applications pads a strided convolution of an even size at the bottom and right only: its
weights compute the same here with the padding ``same``.

Reference:
    Howard et al. 2019, https://arxiv.org/abs/1905.02244
"""

from dataclasses import replace
from typing import Any

from zoo import blocks, inverted
from zoo.families.mobilenet_v2 import scaled
from zoo.norm import Norm
from zoo.registry import Options, register_model

PAPER = "Howard et al. 2019, https://arxiv.org/abs/1905.02244"
# The epsilon of the authors' code.
NORM = Norm(epsilon=1e-3)
# The wide channels in those of the block's input, channels, kernel, stride, squeezes, hard-swish.
Row = tuple[float, int, int, int, bool, bool]
LARGE: tuple[tuple[Row, ...], ...] = (
    ((1, 16, 3, 1, False, False),),
    ((4, 24, 3, 2, False, False), (3, 24, 3, 1, False, False)),
    ((3, 40, 5, 2, True, False), (3, 40, 5, 1, True, False), (3, 40, 5, 1, True, False)),
    (
        (6, 80, 3, 2, False, True),
        (2.5, 80, 3, 1, False, True),
        (2.3, 80, 3, 1, False, True),
        (2.3, 80, 3, 1, False, True),
    ),
    ((6, 112, 3, 1, True, True), (6, 112, 3, 1, True, True)),
    ((6, 160, 5, 2, True, True), (6, 160, 5, 1, True, True), (6, 160, 5, 1, True, True)),
)
SMALL: tuple[tuple[Row, ...], ...] = (
    ((1, 16, 3, 2, True, False),),
    ((72 / 16, 24, 3, 2, False, False), (88 / 24, 24, 3, 1, False, False)),
    ((4, 40, 5, 2, True, True), (6, 40, 5, 1, True, True), (6, 40, 5, 1, True, True)),
    ((3, 48, 5, 1, True, True), (3, 48, 5, 1, True, True)),
    ((6, 96, 5, 2, True, True), (6, 96, 5, 1, True, True), (6, 96, 5, 1, True, True)),
)


def stage_blocks(
    stages: tuple[tuple[Row, ...], ...], before: int, *, width: float, minimalistic: bool
) -> list[list[inverted.Block]]:
    """Make the blocks of these stages, given how many channels the first one takes."""
    made: list[list[inverted.Block]] = []
    for rows in stages:
        made.append([])
        for expansion, channels, kernel, stride, squeezes, swish in rows:
            wide = before if expansion == 1 else scaled(before, expansion)
            row = inverted.Block(
                wide=wide,
                channels=scaled(channels, width),
                kernel_size=kernel,
                stride=stride,
                activation="hard_swish" if swish else "relu",
                squeezed=scaled(wide, 0.25) if squeezes else 0,
                gate="hard_sigmoid",
            )
            if minimalistic:
                row = replace(row, kernel_size=3, activation="relu", squeezed=0)
            made[-1].append(row)
            before = row.channels
    return made


def network(
    options: Options,
    stages: tuple[tuple[Row, ...], ...],
    last: int,
    name: str,
    *,
    minimalistic: bool = False,
) -> Any:
    """Build the network of these stages, whose pooled features are widened to ``last``."""
    act = "relu" if minimalistic else "hard_swish"
    inputs = blocks.image(options)
    x = inverted.stem(inputs, 16, activation=act, options=options)
    rows = stage_blocks(stages, 16, width=options.width, minimalistic=minimalistic)
    features = inverted.build_stages(x, rows, activation=act, options=options)
    stride, x = features.popitem()
    features[stride] = inverted.head(x, scaled(x.shape[-1], 6), activation=act, options=options)

    def head(x: Any) -> Any:
        layers = blocks.keras.layers
        units = scaled(last, max(1.0, options.width))
        x = layers.Dense(units, kernel_initializer="he_normal", name="head_dense")(blocks.pooled(x))
        return layers.Activation(act, name="head_dense_act")(x)

    return blocks.model(options, inputs, features, head=head, name=name)


# Parameters: torchvision's mobilenet_v3_large and mobilenet_v3_small; keras.applications' for the
# minimalistic forms, without their moving statistics.
@register_model(
    input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, norm=NORM, parameters=5_483_032
)
def mobilenet_v3_large(options: Options) -> Any:
    """Build MobileNetV3-Large: 5.5 million parameters."""
    return network(options, LARGE, 1280, "mobilenet_v3_large")


@register_model(
    input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, norm=NORM, parameters=2_542_856
)
def mobilenet_v3_small(options: Options) -> Any:
    """Build MobileNetV3-Small: 2.5 million parameters."""
    return network(options, SMALL, 1024, "mobilenet_v3_small")


@register_model(
    input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, norm=NORM, parameters=3_924_288
)
def mobilenet_v3_large_minimalistic(options: Options) -> Any:
    """Build MobileNetV3-Large without its advanced blocks: 3.9 million parameters."""
    return network(options, LARGE, 1280, "mobilenet_v3_large_minimalistic", minimalistic=True)


@register_model(
    input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, norm=NORM, parameters=2_044_736
)
def mobilenet_v3_small_minimalistic(options: Options) -> Any:
    """Build MobileNetV3-Small without its advanced blocks: 2.0 million parameters."""
    return network(options, SMALL, 1024, "mobilenet_v3_small_minimalistic", minimalistic=True)
