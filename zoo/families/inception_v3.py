"""Inception V3 of Szegedy et al. 2016, table 1 and figures 5 to 7, in the authors' final form.

A number is a 1x1 convolution to so many channels, unless a kernel stands before it; a row is a
branch, and the results of a block's branches are joined.

    stem       3x3 stride 2 to 32, 3x3 to 32, 3x3 to 64, max, 80, 3x3 to 192, max
    stage 3    64
    3 blocks   48, 5x5 to 64
               64, 3x3 to 96, 3x3 to 96
               mean, c                             c = 32, 64, 64
    stage 4    3x3 stride 2 to 384
    reduction  64, 3x3 to 96, 3x3 stride 2 to 96
               max
    stage 4    192
    4 blocks   c, 1x7 to c, 7x1 to 192             c = 128, 160, 160, 192
               c, 7x1 to c, 1x7 to c, 7x1 to c, 1x7 to 192
               mean, 192
    stage 5    192, 3x3 stride 2 to 320
    reduction  192, 1x7 to 192, 7x1 to 192, 3x3 stride 2 to 192
               max
    stage 5    320
    2 blocks   384, 1x3 to 384 and beside it 3x1 to 384
               448, 3x3 to 384, 1x3 to 384 and beside it 3x1 to 384
               mean, 192

Each convolution has a norm and relu. Poolings are 3x3, with stride 2 where they take the largest
value and with stride 1 where they take the mean. What has stride 2 is unpadded, and so are the
second and the last convolution of the stem, whatever the option says. The auxiliary classifier of
the paper's training is left out. The authors' norm learns no scale, which is this design's norm.

Where the norm stands: see `zoo.inception`.

Reference:
    Szegedy et al. 2016, https://arxiv.org/abs/1512.00567
"""

from typing import Any

from zoo import blocks, inception
from zoo.inception import MAX, MEAN, Branch, Step
from zoo.norm import Norm
from zoo.registry import Options, register_model

PAPER = "Szegedy et al. 2016, https://arxiv.org/abs/1512.00567"
NORM = Norm(epsilon=1e-3, scale=False)
Stage = tuple[tuple[Branch, ...], ...]
CROSS = Step(fork=((Step(384, (1, 3)),), (Step(384, (3, 1)),)))


def fives(channels: int) -> tuple[Branch, ...]:
    """Give the branches of stage 3, the last one of so many channels."""
    return (
        (Step(64),),
        (Step(48), Step(64, 5)),
        (Step(64), Step(96, 3), Step(96, 3)),
        (MEAN, Step(channels)),
    )


def sevens(channels: int) -> tuple[Branch, ...]:
    """Give the branches of stage 4, with so many channels on the way."""
    flat, tall = Step(channels, (1, 7)), Step(channels, (7, 1))
    return (
        (Step(192),),
        (Step(channels), flat, Step(192, (7, 1))),
        (Step(channels), tall, flat, tall, Step(192, (1, 7))),
        (MEAN, Step(192)),
    )


TO_SEVENS: tuple[Branch, ...] = (
    (Step(384, 3, 2),),
    (Step(64), Step(96, 3), Step(96, 3, 2)),
    (MAX,),
)
TO_CROSSES: tuple[Branch, ...] = (
    (Step(192), Step(320, 3, 2)),
    (Step(192), Step(192, (1, 7)), Step(192, (7, 1)), Step(192, 3, 2)),
    (MAX,),
)
CROSSES: tuple[Branch, ...] = (
    (Step(320),),
    (Step(384), CROSS),
    (Step(448), Step(384, 3), CROSS),
    (MEAN, Step(192)),
)
STAGES: tuple[Stage, ...] = (
    (fives(32), fives(64), fives(64)),
    (TO_SEVENS, sevens(128), sevens(160), sevens(160), sevens(192)),
    (TO_CROSSES, CROSSES, CROSSES),
)


def network(options: Options, stages: tuple[Stage, ...], name: str) -> Any:
    """Build the stem and these stages, the first of which keeps the size."""
    inputs = blocks.image(options)
    features = inception.stem(inputs, options)
    x = features[8]
    for stage, stage_blocks in enumerate(stages, start=3):
        for number, branches in enumerate(stage_blocks, start=1):
            x = inception.join(x, branches, options=options, name=f"stage{stage}_block{number}")
        features[2**stage] = x
    if options.norm.placement == "pre_activation":
        features[2**stage] = blocks.norm_act(x, options.norm, name="final")
    return blocks.model(options, inputs, features, name=name)


# Parameters: keras.applications' InceptionV3, without its moving statistics.
@register_model(
    input_shape=(299, 299, 3),
    num_classes=1000,
    paper=PAPER,
    min_size=75,
    norm=NORM,
    parameters=23_817_352,
)
def inception_v3(options: Options) -> Any:
    """Build Inception V3: 23.8 million parameters."""
    return network(options, STAGES, "inception_v3")
