"""MobileOne of Vasu et al. 2022, tables 2 and 3.

    stage         stem          1      2       3       4       branches
    blocks        1             2      8       10      1
    filters       min(64, 64a)  64a    128b    256c    512d
    S0            a, b, c, d:   0.75   1       1       2       4
    S1                          1.5    1.5     2       2.5     1
    S2                          1.5    2       2.5     4       1
    S3                          2      2.5     3       4       1
    S4                          3      3.5     3.5     4       1, with squeeze and excitation

The stem, which has one branch always, and each stage's first block have stride 2. The paper's table
counts the ten blocks of stage 3 as five and five. A block is a 3x3 depthwise and a 1x1 convolution,
each over-parameterised: it is as many parallel convolutions as there are branches, a 1x1 depthwise
convolution (beside the depthwise ones only) and, where stride and channels allow, the input, each
with a norm, all added and activated. The stem has its 1x1 convolution beside the 3x3 one. That is
how it is trained; `export.fold` merges each sum into one convolution.

In S4, the last five blocks of stage 3 and the block of stage 4 scale their channels before each
activation by squeeze and excitation to a sixteenth of the channels.

Where the norm stands: each one belongs to its branch and has no activation beside it, and a branch
of any other order could not be merged. So before_activation, after_activation and pre_activation
are the same network, the paper's.

Reference:
    Vasu et al. 2022, https://arxiv.org/abs/2206.04040
"""

from typing import Any, NamedTuple

from zoo import blocks
from zoo.registry import Options, register_model

PAPER = "Vasu et al. 2022, https://arxiv.org/abs/2206.04040"
REDUCTION = 16
# The parameters are those of timm's models of these names, as they are trained.


class Stage(NamedTuple):
    """A stage's number of blocks, its filters, and how many of its last blocks are excited."""

    depth: int
    filters: int
    excited: int = 0


def paper_stages(
    a: float, b: float, c: float, d: float, *, excited: bool = False
) -> tuple[Stage, ...]:
    """Give each stage its blocks and filters; the stem is not among them."""
    return (
        Stage(2, int(64 * a)),
        Stage(8, int(128 * b)),
        Stage(10, int(256 * c), 5 if excited else 0),
        Stage(1, int(512 * d), 1 if excited else 0),
    )


def merged_sum(branches: list[Any], *, excited: bool, name: str) -> Any:
    """Add the branches, scale the channels if that is wanted, and activate."""
    layers = blocks.keras.layers
    x = layers.Add(name=f"{name}_add")(branches) if len(branches) > 1 else branches[0]
    if excited:
        squeezed = max(1, x.shape[-1] // REDUCTION)
        x = blocks.squeeze_excite(x, squeezed, name=f"{name}_se")
    return layers.Activation("relu", name=f"{name}_act")(x)


def branch_bias(options: Options, *, first: bool) -> bool:
    """Say whether a branch's convolution learns a bias; without a norm one is enough for a sum."""
    norm = options.norm
    return blocks.needs_bias(norm, followed_by="norm") if first else blocks.parallel_bias(norm)


def depthwise(
    x: Any, *, stride: int, branches: int, excited: bool, options: Options, name: str
) -> Any:
    """Add 3x3 depthwise convolutions, a 1x1 one and, where it fits, the input."""
    made = []
    sizes = [3] * branches + [1]
    for number, size in enumerate(sizes, start=1):
        place = f"{name}_{number}" if size > 1 else f"{name}_1x1"
        branch = blocks.depthwise(
            x,
            size,
            stride=stride,
            bias=branch_bias(options, first=number == 1),
            padding=options.padding,
            name=f"{place}_conv",
        )
        made.append(blocks.normalize(branch, options.norm, name=f"{place}_norm"))
    if stride == 1:
        made.append(blocks.normalize(x, options.norm, name=f"{name}_identity_norm"))
    return merged_sum(made, excited=excited, name=name)


def pointwise(
    x: Any, filters: int, *, branches: int, excited: bool, options: Options, name: str
) -> Any:
    """Add 1x1 convolutions and, where it fits, the input."""
    made = []
    for number in range(1, branches + 1):
        bias, place = branch_bias(options, first=number == 1), f"{name}_{number}"
        branch = blocks.conv(x, filters, 1, bias=bias, name=f"{place}_conv")
        made.append(blocks.normalize(branch, options.norm, name=f"{place}_norm"))
    if x.shape[-1] == filters:
        made.append(blocks.normalize(x, options.norm, name=f"{name}_identity_norm"))
    return merged_sum(made, excited=excited, name=name)


def stem(x: Any, filters: int, options: Options) -> Any:
    """Add a 3x3 and a 1x1 convolution of the image, both of stride 2."""
    made = []
    for size in (3, 1):
        bias, place = branch_bias(options, first=size == 3), f"stem_{size}x{size}"
        branch = blocks.conv(
            x,
            filters,
            size,
            stride=2,
            bias=bias,
            padding=options.padding,
            name=f"{place}_conv",
        )
        made.append(blocks.normalize(branch, options.norm, name=f"{place}_norm"))
    return merged_sum(made, excited=False, name="stem")


def mobileone(options: Options, stages: tuple[Stage, ...], branches: int, name: str) -> Any:
    """Build the network of these stages and of so many branches, as it is trained."""
    inputs = blocks.image(options)
    x = stem(inputs, options.channels(min(64, stages[0].filters)), options)
    features = {2: x}
    for stage, (depth, filters, excited) in enumerate(stages, start=1):
        for number in range(1, depth + 1):
            place = f"stage{stage}_block{number}"
            shared: Any = {"branches": branches, "options": options}
            shared["excited"] = number > depth - excited
            stride = 2 if number == 1 else 1
            x = depthwise(x, stride=stride, name=f"{place}_depthwise", **shared)
            x = pointwise(x, options.channels(filters), name=f"{place}_pointwise", **shared)
        features[2 ** (stage + 1)] = x
    return blocks.model(options, inputs, features, name=name)


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=5_293_272)
def mobileone_s0(options: Options) -> Any:
    """Build MobileOne-S0: 5.3 million parameters, folded 2.1 million."""
    return mobileone(options, paper_stages(0.75, 1, 1, 2), 4, "mobileone_s0")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=4_825_192)
def mobileone_s1(options: Options) -> Any:
    """Build MobileOne-S1: 4.8 million parameters, folded 4.8 million."""
    return mobileone(options, paper_stages(1.5, 1.5, 2, 2.5), 1, "mobileone_s1")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=7_884_648)
def mobileone_s2(options: Options) -> Any:
    """Build MobileOne-S2: 7.9 million parameters, folded 7.8 million."""
    return mobileone(options, paper_stages(1.5, 2, 2.5, 4), 1, "mobileone_s2")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=10_170_600)
def mobileone_s3(options: Options) -> Any:
    """Build MobileOne-S3: 10.2 million parameters, folded 10.1 million."""
    return mobileone(options, paper_stages(2, 2.5, 3, 4), 1, "mobileone_s3")


@register_model(input_shape=(224, 224, 3), num_classes=1000, paper=PAPER, parameters=14_951_248)
def mobileone_s4(options: Options) -> Any:
    """Build MobileOne-S4: 15.0 million parameters, folded 14.8 million."""
    return mobileone(options, paper_stages(3, 3.5, 3.5, 4, excited=True), 1, "mobileone_s4")
