"""Inverted residuals with squeeze and excitation, which several mobile families are built of.

A block expands the channels by a 1x1 convolution, filters each one by a depthwise convolution,
scales them by squeeze and excitation, and projects them by a 1x1 convolution that no activation
follows. Its input is added where the shape is the same. A block whose expansion is 1 expands
nothing. A fused block has one full convolution for expanding and filtering; with an expansion of 1
that is all it has, and an activation follows it.

Where the norm stands:
    before_activation  as in the papers: expand, norm, act, depthwise, norm, act, squeeze and
                       excitation, project, norm; fused: convolution, norm, act, project, norm.
    after_activation   expand, act, norm, depthwise, act, squeeze and excitation, norm, project,
                       norm; fused: convolution, act, norm, project, norm. Behind the excitation a
                       norm can be folded into the projection. Instance normalization would undo
                       the excitation there, since it divides each channel of an image by its own
                       deviation, and stands before it.
    pre_activation     norm, expand, norm, act, depthwise, norm, act, squeeze and excitation,
                       project; fused: norm, convolution, norm, act, project. What is added passes
                       untouched, and nothing is activated in a bottleneck: only the stem's output,
                       which is none, in the first block, and what a fused block of expansion 1
                       takes.

Reference:
    Sandler et al. 2018, https://arxiv.org/abs/1801.04381
    Howard et al. 2019, https://arxiv.org/abs/1905.02244 (squeeze and excitation)
    Tan and Le 2021, https://arxiv.org/abs/2104.00298 (fused blocks)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zoo import blocks, residual
from zoo.norm import Norm
from zoo.registry import Options


@dataclass(frozen=True)
class Block:
    """One block as a paper's table has it.

    Args:
        wide: The channels that are filtered; as many as the block takes for an expansion of 1.
        channels: The channels that it ends with.
        kernel_size: The side of the depthwise, or of the fused, kernels.
        stride: The step of that convolution.
        activation: A Keras activation's name.
        squeezed: The channels that squeeze and excitation squeezes to; 0 for none of it.
        squeeze_activation: The activation in it.
        gate: The activation of its factors.
        fused: Whether expanding and filtering are one convolution.
    """

    wide: int
    channels: int
    kernel_size: int = 3
    stride: int = 1
    activation: str = "relu"
    squeezed: int = 0
    squeeze_activation: str = "relu"
    gate: str = "sigmoid"
    fused: bool = False

    def adds(self, before: int) -> bool:
        """Say whether the input is added, given how many channels it has."""
        return self.stride == 1 and self.channels == before


def stem(inputs: Any, channels: int, *, activation: str, options: Options) -> Any:
    """Convolve the image with stride 2; pre-activated, the rest is the first block's."""
    norm = options.norm
    bias = blocks.bias_before(norm)
    x = blocks.conv(
        inputs, channels, 3, stride=2, bias=bias, padding=options.padding, name="stem_conv"
    )
    if norm.placement == "pre_activation":
        return x
    return blocks.norm_act(x, norm, activation=activation, name="stem")


def build_stages(
    x: Any, stages: Sequence[Sequence[Block]], *, activation: str, options: Options
) -> dict[int, Any]:
    """Build stages of blocks.

    Args:
        x: What the stem made, (batch, height, width, channels).
        stages: The blocks of each stage.
        activation: The stem's activation; pre-activated, the first block begins with it.
        options: What the caller asked for.

    Returns:
        The last feature map at each stride.
    """
    pre = options.norm.placement == "pre_activation"
    drops = iter(residual.drop_rates(options, branch_count(stages, x.shape[-1])))
    stride, lead = 2, activation
    features = {stride: x}
    for stage, rows in enumerate(stages, start=1):
        for number, row in enumerate(rows, start=1):
            name = f"stage{stage}_block{number}"
            shortcut = x
            if pre:
                x = preactivated(x, row, lead=lead, options=options, name=name)
            else:
                x = normalized(x, row, options=options, name=name)
            if row.adds(shortcut.shape[-1]):
                x = residual.add(shortcut, x, drop=next(drops), name=name)
            stride, lead = stride * row.stride, ""
            features[stride] = x
    return features


def branch_count(stages: Sequence[Sequence[Block]], channels: int) -> int:
    """Count the blocks that add their input, which has so many channels before the first one."""
    count = 0
    for row in (row for rows in stages for row in rows):
        count += row.adds(channels)
        channels = row.channels
    return count


def head(x: Any, channels: int, *, activation: str, options: Options) -> Any:
    """Widen the last bottleneck before the pooling."""
    norm = options.norm
    if norm.placement == "pre_activation":
        x = blocks.normalize(x, norm, name="final_norm")
    bias = blocks.bias_before(norm)
    x = blocks.conv(x, channels, 1, bias=bias, name="head_conv")
    return blocks.norm_act(x, norm, activation=activation, name="head")


def normalized(x: Any, row: Block, *, options: Options, name: str) -> Any:
    """Build a block's branch with each norm behind its convolution."""
    norm, act = options.norm, row.activation
    expands = row.wide != x.shape[-1]
    if row.fused:
        channels = row.wide if expands else row.channels
        x = filtered(x, row, channels, options=options, name=f"{name}_fused")
        x = blocks.norm_act(x, norm, activation=act, name=f"{name}_fused")
        if not expands:
            return x
    else:
        if expands:
            x = blocks.conv_norm_act(
                x, row.wide, 1, norm=norm, activation=act, name=f"{name}_expand"
            )
        x = filtered(x, row, row.wide, options=options, name=f"{name}_depthwise")
        x = norm_act_excite(x, row, norm, name=name)
    bias = blocks.needs_bias(norm, followed_by="norm")
    x = blocks.conv(x, row.channels, 1, bias=bias, name=f"{name}_project_conv")
    return blocks.normalize(x, norm, name=f"{name}_project_norm")


def preactivated(x: Any, row: Block, *, lead: str, options: Options, name: str) -> Any:
    """Build a block's branch with each norm before its convolution.

    Args:
        x: The block's input.
        row: The block.
        lead: The activation of what the block takes; none where that is a bottleneck's output.
        options: What the caller asked for.
        name: What the layers' names begin with.

    Returns:
        A Keras tensor.
    """
    norm, act = options.norm, row.activation
    expands = row.wide != x.shape[-1]
    if row.fused:
        lead = lead or ("" if expands else act)
        x = normed(x, norm, activation=lead, name=f"{name}_fused")
        channels = row.wide if expands else row.channels
        x = filtered(x, row, channels, options=options, name=f"{name}_fused")
        if not expands:
            return x
    else:
        if expands:
            x = normed(x, norm, activation=lead, name=f"{name}_expand")
            bias = blocks.bias_before(norm)
            x = blocks.conv(x, row.wide, 1, bias=bias, name=f"{name}_expand_conv")
            lead = act
        x = normed(x, norm, activation=lead, name=f"{name}_depthwise")
        x = filtered(x, row, row.wide, options=options, name=f"{name}_depthwise")
    x = blocks.norm_act(x, norm, activation=act, name=f"{name}_project")
    x = excited(x, row, name=name)
    bias = blocks.bias_before(norm)
    return blocks.conv(x, row.channels, 1, bias=bias, name=f"{name}_project_conv")


def filtered(x: Any, row: Block, channels: int, *, options: Options, name: str) -> Any:
    """Convolve, each channel by itself unless the block is fused."""
    bias = blocks.bias_before(options.norm)
    same: Any = {"stride": row.stride, "bias": bias, "padding": options.padding}
    if row.fused:
        return blocks.conv(x, channels, row.kernel_size, name=f"{name}_conv", **same)
    return blocks.depthwise(x, row.kernel_size, name=f"{name}_conv", **same)


def normed(x: Any, norm: Norm, *, activation: str, name: str) -> Any:
    """Normalize, and activate if there is an activation."""
    if activation:
        return blocks.norm_act(x, norm, activation=activation, name=name)
    return blocks.normalize(x, norm, name=f"{name}_norm")


def norm_act_excite(x: Any, row: Block, norm: Norm, *, name: str) -> Any:
    """Normalize, activate and excite what was filtered, in the order that the placement says."""
    place = f"{name}_depthwise"
    if norm.placement == "before_activation" or norm.kind == "instance":
        return excited(
            blocks.norm_act(x, norm, activation=row.activation, name=place), row, name=name
        )
    x = blocks.keras.layers.Activation(row.activation, name=f"{place}_act")(x)
    return blocks.normalize(excited(x, row, name=name), norm, name=f"{place}_norm")


def excited(x: Any, row: Block, *, name: str) -> Any:
    """Squeeze and excite, if the block does."""
    if not row.squeezed:
        return x
    return blocks.squeeze_excite(
        x,
        row.squeezed,
        activation=row.squeeze_activation,
        gate=row.gate,
        name=f"{name}_se",
    )
