"""Parallel convolutions of one tensor whose results are added are one convolution.

(W1 * x) + (W2 * x) = (W1 + W2) * x, once the smaller kernel is laid into the larger one at the tap
that reads the same pixel. A BatchNorm of x beside them is a 1x1 convolution with a diagonal kernel,
and x itself one with ones. This is how RepVGG and MobileOne blocks become one convolution.

Preconditions: linear convolutions of one kind, same strides, dilation and groups, each used by the
addition alone; padding whose size is known. Identity branches join only where BatchNorms or several
convolutions are added: a plain residual connection is left as it is.

Source: Ding et al. 2021, https://arxiv.org/abs/2101.03697, section 3.3; Vasu et al. 2022,
https://arxiv.org/abs/2206.04040.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import keras
import numpy as np

from export.graph import Call, Graph, Layer, Tensor
from export.rules.engine import Refused
from export.rules.kernels import CONVOLUTIONS, DEPTHWISE, channel_axis
from export.rules.merging import batchnorm_affine, batchnorm_axis
from export.rules.shapes import PADDINGS, padding_of

_SETTINGS = ("strides", "dilation_rate", "groups", "data_format", "depth_multiplier")


@dataclass(eq=False)
class _Branch:
    """One operand of an addition.

    Args:
        position: Its place among the operands.
        call: The convolution or BatchNorm; None for the tensor itself.
        source: What the branch reads.
        pads: Zeros before the first pixel, per spatial axis.
    """

    position: int
    call: Call | None
    source: Tensor
    pads: tuple[int, ...]

    @property
    def is_convolution(self) -> bool:
        """Whether it has a kernel of its own."""
        return self.call is not None and _convolves(self.call)

    @property
    def layer(self) -> Layer:
        """The convolution or BatchNorm."""
        assert self.call is not None
        return self.call.layer

    @property
    def axis(self) -> int:
        """The channels' axis, of a convolution."""
        assert self.call is not None
        return channel_axis(self.call)

    @property
    def channels(self) -> int:
        """The number of output channels, of a convolution."""
        assert self.call is not None
        size = self.call.output.shape[self.axis]
        assert size is not None
        return size


def merge_branches(graph: Graph, batchnorms: Iterable[Call]) -> dict[Call, str]:
    """Merge the parallel branches of every addition in a graph.

    Args:
        graph: The graph, which is changed.
        batchnorms: The BatchNorm calls that may be taken in.

    Returns:
        The BatchNorm calls that are gone, each with the convolution that took it in.
    """
    gone: dict[Call, str] = {}
    allowed = set(batchnorms)
    for call in [call for call in graph.calls if call.layer.is_keras and call.layer.kind == "Add"]:
        operands = call.inputs
        if len(call.layer.calls) > 1 or any(t.shape != call.output.shape for t in operands):
            continue
        if len(operands) != len(keras.tree.flatten((call.args, call.kwargs))):
            continue  # a constant is added too
        branches = [
            branch
            for branch in _branches(call)
            if branch.call is None or branch.is_convolution or branch.call in allowed
        ]
        for base in [branch for branch in branches if branch.is_convolution]:
            others = [other for other in branches if _fits(base, other)]
            if any(other.call is not None for other in others):
                gone.update(_merge(graph, call, base, others))
                break
    return gone


def _convolves(call: Call) -> bool:
    """Say whether a call is of a convolution of Keras' own."""
    return call.layer.is_keras and call.layer.kind in (*CONVOLUTIONS, *DEPTHWISE)


def _branches(add: Call) -> list[_Branch]:
    """Read the operands of an addition, leaving out those that nothing can be merged with."""
    found = []
    for position, tensor in enumerate(add.inputs):
        if tensor.users.count(add) > 1:
            continue
        call = tensor.call
        alone = len(tensor.users) == 1 and not tensor.is_output and len(call.layer.calls) == 1
        if alone and _convolves(call):
            pads = _pads(call)
            if pads is not None:
                found.append(_Branch(position, call, *pads))
            continue
        rank = len(tensor.shape) - 2
        if alone and call.layer.cls is keras.layers.BatchNormalization:
            found.append(_Branch(position, call, call.inputs[0], (0,) * rank))
        found.append(_Branch(position, None, tensor, (0,) * rank))
    return found


def _pads(call: Call) -> tuple[Tensor, tuple[int, ...]] | None:
    """Find what a convolution reads before any zero padding, and how much of that there is."""
    config, source = call.layer.config, call.inputs[0]
    adapted = getattr(call.layer.source, "lora_enabled", False)
    adapted = adapted or getattr(call.layer.source, "quantization_mode", None)
    if config.get("activation") not in (None, "linear") or adapted:
        return None
    first = 2 if channel_axis(call) == 1 else 1
    pads = []
    for number, kernel in enumerate(config["kernel_size"]):
        span = (kernel - 1) * config["dilation_rate"][number] + 1
        stride = config["strides"][number]
        size, made = source.shape[first + number], call.output.shape[first + number]
        if config["padding"] == "valid" or span == 1:
            pads.append(0)
        elif config["padding"] == "causal":
            pads.append(span - 1)
        elif stride == 1:
            pads.append((span - 1) // 2)
        elif size is not None and made is not None:
            pads.append(max((made - 1) * stride + span - size, 0) // 2)
        else:
            return None
    maker = source.call
    if maker.layer.is_keras and maker.layer.kind in PADDINGS and config["padding"] == "valid":
        explicit = padding_of(maker)
        if channel_axis(call) not in explicit:
            before = [explicit.get(first + number, (0, 0))[0] for number in range(len(pads))]
            return maker.inputs[0], tuple(before)
    return source, tuple(pads)


def _fits(base: _Branch, other: _Branch) -> bool:
    """Say whether a branch's kernel can be laid into another's."""
    if other is base or other.source is not base.source or other.position == base.position:
        return False
    frozen_alike = other.call is None or other.layer.trainable == base.layer.trainable
    config = base.layer.config
    if not other.is_convolution:
        one_stride = all(stride == 1 for stride in config["strides"])
        if not frozen_alike or not one_stride or config.get("depth_multiplier", 1) != 1:
            return False
        return other.call is None or _takes_batchnorm(base, other.call)
    theirs = other.layer.config
    if not frozen_alike or base.layer.cls is not other.layer.cls:
        return False
    single = all(size == 1 for size in theirs["kernel_size"])
    for key in _SETTINGS:
        if config.get(key) != theirs.get(key) and not (single and key == "dilation_rate"):
            return False
    return all(start is not None for start in _starts(base, other))


def _takes_batchnorm(base: _Branch, batchnorm: Call) -> bool:
    """Say whether a BatchNorm beside a convolution is a plain scale and shift of its channels."""
    plain = not batchnorm.kwargs.get("training") and batchnorm.kwargs.get("mask") is None
    return plain and batchnorm_axis(batchnorm) == base.axis


def _starts(base: _Branch, other: _Branch) -> list[int | None]:
    """Return at which tap of the base's kernel the other's begins; None where it does not fit."""
    config = base.layer.config
    theirs = other.layer.config["kernel_size"] if other.is_convolution else None
    starts: list[int | None] = []
    for number, size in enumerate(config["kernel_size"]):
        start, rest = divmod(
            base.pads[number] - other.pads[number], config["dilation_rate"][number]
        )
        kernel = theirs[number] if theirs else 1
        starts.append(start if rest == 0 and 0 <= start <= size - kernel else None)
    return starts


def _merge(graph: Graph, add: Call, base: _Branch, others: list[_Branch]) -> dict[Call, str]:
    """Lay branches into the base's kernel and take them out of the addition."""
    layer, gone = base.layer, {}
    kernel, bias = layer.weight("kernel"), _bias(base)
    taken = []
    for other in others:
        if other.position in taken:
            continue
        starts = [start for start in _starts(base, other) if start is not None]
        if len(starts) < len(base.pads):
            continue
        part = _kernel_of(other, base)
        if part is None:
            continue
        spots = zip(starts, part[0].shape, strict=False)
        kernel[tuple(slice(start, start + size) for start, size in spots)] += part[0]
        bias += part[1]
        taken.append(other.position)
        if other.call is not None and not other.is_convolution:
            gone[other.call] = layer.name
    if not taken:
        return {}
    layer.change("kernel", kernel)
    if layer.config["use_bias"] or np.any(bias):
        layer.change("bias", bias)
        layer.config = {**layer.config, "use_bias": True}
    layer.drop_constraints()
    _drop(graph, add, taken)
    return gone


def _bias(branch: _Branch) -> np.ndarray:
    """Return a convolution's bias, zero where it has none."""
    if branch.layer.config["use_bias"]:
        return branch.layer.weight("bias")
    return np.zeros(branch.channels)


def _kernel_of(branch: _Branch, base: _Branch) -> tuple[np.ndarray, np.ndarray] | None:
    """Write a branch as a kernel and a bias of the base's kind; None for broken statistics."""
    if branch.is_convolution:
        return branch.layer.weight("kernel"), _bias(branch)
    kernel = base.layer.weight("kernel")
    scale, shift = np.ones(base.channels), np.zeros(base.channels)
    if branch.call is not None:
        try:
            affine = batchnorm_affine(branch.layer, base.axis)
        except Refused:
            return None
        scale, shift = affine.scale, affine.shift
    shape = (1,) * (kernel.ndim - 2) + kernel.shape[-2:]
    diagonal = np.zeros(shape)
    outputs = np.arange(scale.size)
    if base.layer.kind in DEPTHWISE:  # (..., channels, 1)
        diagonal[..., outputs, 0] = scale
    else:  # (..., channels of a group, out)
        diagonal[..., outputs % kernel.shape[-2], outputs] = scale
    return diagonal, shift


def _drop(graph: Graph, add: Call, taken: list[int]) -> None:
    """Take operands out of an addition, and what only they needed out of the graph."""
    operands = add.inputs
    left = [tensor for number, tensor in enumerate(operands) if number not in taken]
    for number in taken:
        operands[number].users.remove(add)
    if len(left) == 1:
        add.args, add.kwargs = (left[0],), {}
        graph.bypass(add)
    elif issubclass(add.layer.cls, keras.layers.Layer):
        add.args, add.kwargs = (left,), {}
    else:
        add.args, add.kwargs = tuple(left), {}
    for number in taken:
        graph.prune(operands[number])
