"""EfficientNetV2 of Tan and Le 2021, table 4 (S), and its other sizes.

    S      stage       stem   1    2    3    4    5    6           head
           expansion          1    4    4    4    6    6
           channels    24     24   48   64   128  160  256         1280
           blocks             2    4    4    6    9    15
    M      channels    24     24   48   80   160  176  304  512    1280
           blocks             3    5    5    7    14   18   5
    L      channels    32     32   64   96   192  224  384  640    1280
           blocks             4    7    7    10   19   25   7
    B0     channels    32     16   32   48   96   112  192         1280
           blocks             1    2    2    3    5    8
           stride      2      1    2    2    2    1    2    1      (of the first block)

B1, B2 and B3 have the blocks of B0, 1.1, 1.2 and 1.4 times as many, rounded up, with 1.0, 1.1 and
1.2 times the channels. M and L, and the B networks, are not in the paper but in the authors' code.

All kernels are 3x3 and all activations SiLU. The blocks of the first three stages are fused, the
others are inverted residuals with squeeze and excitation that squeezes to a quarter of the channels
that a block takes (see `zoo.inverted`). The authors' training leaves residual branches out;
with ``stochastic_depth=0.2`` the rate rises to that over the blocks that add their input.

Where the norm stands: see `zoo.inverted`.

keras.applications pads a strided convolution of an even size at the bottom and right only: its
weights compute the same here with the padding ``same``. It scales the image inside its model, ours
takes a scaled one.

Reference:
    Tan and Le 2021, https://arxiv.org/abs/2104.00298
"""

import math
from typing import Any

from zoo import blocks, inverted
from zoo.norm import Norm
from zoo.registry import Options, register_model

PAPER = "Tan and Le 2021, https://arxiv.org/abs/2104.00298"
# The epsilon of the authors' code.
NORM = Norm(epsilon=1e-3)
FUSED = 3  # so many stages, the first ones
# Expansion, channels, number of blocks, stride of the first.
Stages = tuple[tuple[int, int, int, int], ...]
S: Stages = (
    (1, 24, 2, 1),
    (4, 48, 4, 2),
    (4, 64, 4, 2),
    (4, 128, 6, 2),
    (6, 160, 9, 1),
    (6, 256, 15, 2),
)
M: Stages = (
    (1, 24, 3, 1),
    (4, 48, 5, 2),
    (4, 80, 5, 2),
    (4, 160, 7, 2),
    (6, 176, 14, 1),
    (6, 304, 18, 2),
    (6, 512, 5, 1),
)
L: Stages = (
    (1, 32, 4, 1),
    (4, 64, 7, 2),
    (4, 96, 7, 2),
    (4, 192, 10, 2),
    (6, 224, 19, 1),
    (6, 384, 25, 2),
    (6, 640, 7, 1),
)
B: Stages = (
    (1, 16, 1, 1),
    (4, 32, 2, 2),
    (4, 48, 2, 2),
    (4, 96, 3, 2),
    (6, 112, 5, 1),
    (6, 192, 8, 2),
)


def scaled(channels: int, width: float) -> int:
    """Scale a number of channels to the nearest multiple of 8, at least 8, as the authors' code."""
    return max(8, 8 * int(channels * width / 8 + 0.5))


def stage_blocks(
    stages: Stages, before: int, *, width: float, depth: float, fused: int
) -> list[list[inverted.Block]]:
    """Make the blocks of these stages, given how many channels the first one takes."""
    made = []
    for stage, (expansion, channels, count, first_stride) in enumerate(stages):
        rows = []
        for number in range(math.ceil(depth * count)):
            rows.append(
                inverted.Block(
                    wide=expansion * before,
                    channels=scaled(channels, width),
                    stride=1 if number else first_stride,
                    activation="silu",
                    squeezed=0 if stage < fused else max(1, before // 4),
                    squeeze_activation="silu",
                    fused=stage < fused,
                )
            )
            before = rows[-1].channels
        made.append(rows)
    return made


def network(
    options: Options,
    stages: Stages,
    stem: int,
    name: str,
    *,
    width: float = 1.0,
    depth: float = 1.0,
    fused: int = FUSED,
    last: int = 1280,
) -> Any:
    """Build the network of these stages, with so many times the channels and the blocks."""
    width *= options.width
    inputs = blocks.image(options)
    x = inverted.stem(inputs, scaled(stem, width), activation="silu", options=options)
    rows = stage_blocks(stages, x.shape[-1], width=width, depth=depth, fused=fused)
    features = inverted.build_stages(x, rows, activation="silu", options=options)
    stride, x = features.popitem()
    features[stride] = inverted.head(x, scaled(last, width), activation="silu", options=options)
    return blocks.model(options, inputs, features, name=name)


# Parameters: torchvision's S, M and L have just as many; keras.applications' for the others,
# without their moving statistics.
@register_model(
    input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, norm=NORM, parameters=7_139_704
)
def efficientnet_v2_b0(options: Options) -> Any:
    """Build EfficientNetV2-B0: 7.1 million parameters."""
    return network(options, B, 32, "efficientnet_v2_b0")


@register_model(
    input_shape=(240, 240, 3), num_classes=1000, paper=PAPER, norm=NORM, parameters=8_141_052
)
def efficientnet_v2_b1(options: Options) -> Any:
    """Build EfficientNetV2-B1: 8.1 million parameters."""
    return network(options, B, 32, "efficientnet_v2_b1", width=1.0, depth=1.1)


@register_model(
    input_shape=(260, 260, 3), num_classes=1000, paper=PAPER, norm=NORM, parameters=10_096_086
)
def efficientnet_v2_b2(options: Options) -> Any:
    """Build EfficientNetV2-B2: 10.1 million parameters."""
    return network(options, B, 32, "efficientnet_v2_b2", width=1.1, depth=1.2)


@register_model(
    input_shape=(300, 300, 3), num_classes=1000, paper=PAPER, norm=NORM, parameters=14_358_406
)
def efficientnet_v2_b3(options: Options) -> Any:
    """Build EfficientNetV2-B3: 14.4 million parameters."""
    return network(options, B, 32, "efficientnet_v2_b3", width=1.2, depth=1.4)


@register_model(
    input_shape=(384, 384, 3), num_classes=1000, paper=PAPER, norm=NORM, parameters=21_458_488
)
def efficientnet_v2_s(options: Options) -> Any:
    """Build EfficientNetV2-S: 21.5 million parameters."""
    return network(options, S, 24, "efficientnet_v2_s")


@register_model(
    input_shape=(480, 480, 3), num_classes=1000, paper=PAPER, norm=NORM, parameters=54_139_356
)
def efficientnet_v2_m(options: Options) -> Any:
    """Build EfficientNetV2-M: 54.1 million parameters."""
    return network(options, M, 24, "efficientnet_v2_m")


@register_model(
    input_shape=(480, 480, 3), num_classes=1000, paper=PAPER, norm=NORM, parameters=118_515_272
)
def efficientnet_v2_l(options: Options) -> Any:
    """Build EfficientNetV2-L: 118.5 million parameters."""
    return network(options, L, 32, "efficientnet_v2_l")
