"""Inception-ResNet V2 of Szegedy et al. 2017, figures 3 to 18, in the authors' final form.

A number is a 1x1 convolution to so many channels, unless a kernel stands before it; a row is a
branch, and the results of a block's branches are joined.

    stem         3x3 stride 2 to 32, 3x3 to 32, 3x3 to 64, max, 80, 3x3 to 192, max
    stage 3      96
    first block  48, 5x5 to 64
                 64, 3x3 to 96, 3x3 to 96
                 mean, 64
    10 residual  32                                    scaled by 0.17
    blocks       32, 3x3 to 32
                 32, 3x3 to 48, 3x3 to 64
    stage 4      3x3 stride 2 to 384
    reduction    256, 3x3 to 256, 3x3 stride 2 to 384
                 max
    20 residual  192                                   scaled by 0.1
    blocks       128, 1x7 to 160, 7x1 to 192
    stage 5      256, 3x3 stride 2 to 384
    reduction    256, 3x3 stride 2 to 288
                 256, 3x3 to 288, 3x3 stride 2 to 320
                 max
    10 residual  192                                   scaled by 0.2, the last one by 1 and
    blocks       192, 1x3 to 224, 3x1 to 256           without a relu
    head         1536

In a residual block, a 1x1 convolution with a bias and no norm brings the joined branches to the
channels of the block's input. It is scaled and added to that input, and relu follows. All other
convolutions have a norm and relu. Poolings are 3x3, with stride 2 where they take the largest value
and with stride 1 where they take the mean. What has stride 2 is unpadded, and so are the second and
the last convolution of the stem, whatever the option says. The authors' norm learns no scale, which
is this design's norm.

Where the norm stands: see `zoo.inception`; and pre-activated, a residual block's convolution to the
input's channels, which has no norm, is followed by no relu either, so that what is added passes
untouched; with the head's convolution goes a last norm and relu.

Reference:
    Szegedy et al. 2017, https://arxiv.org/abs/1602.07261
"""

from dataclasses import dataclass
from typing import Any

from zoo import blocks, inception, residual
from zoo.inception import MAX, MEAN, Branch, Step
from zoo.norm import Norm
from zoo.registry import Options, register_model

PAPER = "Szegedy et al. 2017, https://arxiv.org/abs/1602.07261"
NORM = Norm(epsilon=1e-3, scale=False)


@dataclass(frozen=True)
class Stage:
    """A block that is joined to nothing, and residual blocks after it.

    Args:
        first: The branches of the first block.
        residual: The branches of the residual blocks.
        count: The number of residual blocks.
        scale: What they are multiplied by before they are added.
    """

    first: tuple[Branch, ...]
    residual: tuple[Branch, ...]
    count: int
    scale: float


STAGES = (
    Stage(
        (
            (Step(96),),
            (Step(48), Step(64, 5)),
            (Step(64), Step(96, 3), Step(96, 3)),
            (MEAN, Step(64)),
        ),
        (
            (Step(32),),
            (Step(32), Step(32, 3)),
            (Step(32), Step(48, 3), Step(64, 3)),
        ),
        10,
        0.17,
    ),
    Stage(
        (
            (Step(384, 3, 2),),
            (Step(256), Step(256, 3), Step(384, 3, 2)),
            (MAX,),
        ),
        (
            (Step(192),),
            (Step(128), Step(160, (1, 7)), Step(192, (7, 1))),
        ),
        20,
        0.1,
    ),
    Stage(
        (
            (Step(256), Step(384, 3, 2)),
            (Step(256), Step(288, 3, 2)),
            (Step(256), Step(288, 3), Step(320, 3, 2)),
            (MAX,),
        ),
        (
            (Step(192),),
            (Step(192), Step(224, (1, 3)), Step(256, (3, 1))),
        ),
        10,
        0.2,
    ),
)


def residual_block(
    x: Any,
    branches: tuple[Branch, ...],
    *,
    scale: float,
    activated: bool,
    drop: float,
    options: Options,
    name: str,
) -> Any:
    """Add the joined branches to their input, scaled, with the activation after the addition."""
    layers = blocks.keras.layers
    added = inception.join(x, branches, options=options, name=name)
    added = blocks.conv(added, x.shape[-1], 1, bias=True, name=f"{name}_project_conv")
    if scale != 1.0:
        # A Rescaling layer would round the factor to float32 in a float64 model, too.
        added = blocks.named(blocks.keras.ops.multiply(added, scale), f"{name}_scale")
    x = residual.add(x, added, drop=drop, name=name)
    return layers.Activation("relu", name=f"{name}_act")(x) if activated else x


def network(options: Options, stages: tuple[Stage, ...], last: int, name: str) -> Any:
    """Build the stem, these stages, the first of which keeps the size, and the head."""
    pre = options.norm.placement == "pre_activation"
    inputs = blocks.image(options)
    features = inception.stem(inputs, options)
    x = features[8]
    drops = iter(residual.drop_rates(options, sum(stage.count for stage in stages)))
    for number, stage in enumerate(stages, start=3):
        x = inception.join(x, stage.first, options=options, name=f"stage{number}_block1")
        for block in range(2, stage.count + 2):
            ends = stage is stages[-1] and block == stage.count + 1
            x = residual_block(
                x,
                stage.residual,
                scale=1.0 if ends else stage.scale,
                activated=not (ends or pre),
                drop=next(drops),
                options=options,
                name=f"stage{number}_block{block}",
            )
        features[2**number] = x
    x = inception.conv(x, Step(last), options=options, name="head")
    features[2**number] = blocks.norm_act(x, options.norm, name="final") if pre else x
    return blocks.model(options, inputs, features, name=name)


# Parameters: keras.applications' InceptionResNetV2, without its moving statistics.
@register_model(
    input_shape=(299, 299, 3),
    num_classes=1000,
    paper=PAPER,
    min_size=75,
    norm=NORM,
    parameters=55_813_192,
)
def inception_resnet_v2(options: Options) -> Any:
    """Build Inception-ResNet V2: 55.8 million parameters."""
    return network(options, STAGES, 1536, "inception_resnet_v2")
