"""EfficientNet of Tan and Le 2019, table 1 (B0) and section 3.3 (how B1 to B7 are scaled).

    stage       stem   1    2    3    4    5    6    7    head
    expansion          1    6    6    6    6    6    6
    channels    32     16   24   40   80   112  192  320  1280
    blocks             1    2    2    3    3    4    1
    kernel      3      3    3    5    3    5    5    3
    stride      2      1    2    2    2    1    2    1    (of the first block)

    network     B0    B1    B2    B3    B4    B5    B6    B7
    width       1.0   1.0   1.1   1.2   1.4   1.6   1.8   2.0   times the channels
    depth       1.0   1.1   1.2   1.4   1.8   2.2   2.6   3.1   times the blocks, rounded up
    image       224   240   260   300   380   456   528   600
    dropout     0.2   0.2   0.3   0.3   0.4   0.4   0.5   0.5   in the authors' training

The blocks are inverted residuals with linear bottlenecks (see `zoo.inverted`), SiLU, and squeeze
and excitation that squeezes to a quarter of the channels that a block takes. The authors' training
leaves residual branches out, at a rate that rises to 0.2 over all blocks, also those that add
nothing; with ``stochastic_depth=0.2`` it rises over those that add their input.

Where the norm stands: see `zoo.inverted`.

keras.applications pads a strided convolution of an even size at the bottom and right only: its
weights compute the same here with the padding ``same``. It scales the image inside its model, ours
takes a scaled one.

Reference:
    Tan and Le 2019, https://arxiv.org/abs/1905.11946
"""

import math
from typing import Any

from zoo import blocks, inverted
from zoo.families.mobilenet_v2 import scaled
from zoo.norm import Norm
from zoo.registry import Options, register_model

PAPER = "Tan and Le 2019, https://arxiv.org/abs/1905.11946"
# The epsilon of the authors' code.
NORM = Norm(epsilon=1e-3)
# Expansion, channels, number of blocks, kernel, stride of the first.
STAGES = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)


def stage_blocks(
    stages: tuple[tuple[int, int, int, int, int], ...], before: int, *, width: float, depth: float
) -> list[list[inverted.Block]]:
    """Make the blocks of these stages, given how many channels the first one takes."""
    made = []
    for expansion, channels, count, kernel, first_stride in stages:
        rows = []
        for number in range(math.ceil(depth * count)):
            rows.append(
                inverted.Block(
                    wide=expansion * before,
                    channels=scaled(channels, width),
                    kernel_size=kernel,
                    stride=1 if number else first_stride,
                    activation="silu",
                    squeezed=max(1, before // 4),
                    squeeze_activation="silu",
                )
            )
            before = rows[-1].channels
        made.append(rows)
    return made


def network(
    options: Options,
    name: str,
    *,
    width: float = 1.0,
    depth: float = 1.0,
    stages: tuple[tuple[int, int, int, int, int], ...] = STAGES,
    last: int = 1280,
) -> Any:
    """Build the network of these stages, with so many times the channels and the blocks."""
    width *= options.width
    inputs = blocks.image(options)
    x = inverted.stem(inputs, scaled(32, width), activation="silu", options=options)
    rows = stage_blocks(stages, x.shape[-1], width=width, depth=depth)
    features = inverted.build_stages(x, rows, activation="silu", options=options)
    stride, x = features.popitem()
    features[stride] = inverted.head(x, scaled(last, width), activation="silu", options=options)
    return blocks.model(options, inputs, features, name=name)


# Parameters: torchvision's models of these names have just as many.
@register_model(
    input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, norm=NORM, parameters=5_288_548
)
def efficientnet_b0(options: Options) -> Any:
    """Build EfficientNet-B0: 5.3 million parameters."""
    return network(options, "efficientnet_b0")


@register_model(
    input_shape=(240, 240, 3), num_classes=1000, paper=PAPER, norm=NORM, parameters=7_794_184
)
def efficientnet_b1(options: Options) -> Any:
    """Build EfficientNet-B1: 7.8 million parameters."""
    return network(options, "efficientnet_b1", width=1.0, depth=1.1)


@register_model(
    input_shape=(260, 260, 3), num_classes=1000, paper=PAPER, norm=NORM, parameters=9_109_994
)
def efficientnet_b2(options: Options) -> Any:
    """Build EfficientNet-B2: 9.1 million parameters."""
    return network(options, "efficientnet_b2", width=1.1, depth=1.2)


@register_model(
    input_shape=(300, 300, 3), num_classes=1000, paper=PAPER, norm=NORM, parameters=12_233_232
)
def efficientnet_b3(options: Options) -> Any:
    """Build EfficientNet-B3: 12.2 million parameters."""
    return network(options, "efficientnet_b3", width=1.2, depth=1.4)


@register_model(
    input_shape=(380, 380, 3), num_classes=1000, paper=PAPER, norm=NORM, parameters=19_341_616
)
def efficientnet_b4(options: Options) -> Any:
    """Build EfficientNet-B4: 19.3 million parameters."""
    return network(options, "efficientnet_b4", width=1.4, depth=1.8)


@register_model(
    input_shape=(456, 456, 3), num_classes=1000, paper=PAPER, norm=NORM, parameters=30_389_784
)
def efficientnet_b5(options: Options) -> Any:
    """Build EfficientNet-B5: 30.4 million parameters."""
    return network(options, "efficientnet_b5", width=1.6, depth=2.2)


@register_model(
    input_shape=(528, 528, 3), num_classes=1000, paper=PAPER, norm=NORM, parameters=43_040_704
)
def efficientnet_b6(options: Options) -> Any:
    """Build EfficientNet-B6: 43.0 million parameters."""
    return network(options, "efficientnet_b6", width=1.8, depth=2.6)


@register_model(
    input_shape=(600, 600, 3), num_classes=1000, paper=PAPER, norm=NORM, parameters=66_347_960
)
def efficientnet_b7(options: Options) -> Any:
    """Build EfficientNet-B7: 66.3 million parameters."""
    return network(options, "efficientnet_b7", width=2.0, depth=3.1)
