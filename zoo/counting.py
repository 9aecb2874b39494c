"""How many weights and multiply-adds a network has, layer by layer, without running it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zoo.errors import InputError

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Layer:
    """One layer of a network, and what it takes to compute it for one image.

    Args:
        name: The layer's name.
        kind: Its class.
        inputs: The names of the layers whose outputs it takes.
        shape: The shape of its output, without the batch.
        parameters: How many weights it has.
        trainable: How many of them are trained.
        multiply_adds: How many multiplications with an addition it computes, of convolutions and
            fully connected layers; what the others do is not counted, as in papers.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    shape: tuple[int | None, ...]
    parameters: int
    trainable: int
    multiply_adds: int


def layers(model: "keras.Model") -> list[Layer]:
    """Count a functional model's weights and multiply-adds, layer by layer.

    Args:
        model: The model, for images of a fixed size.

    Returns:
        Its layers in their order.

    Raises:
        InputError: A convolution's size is not known, as the model takes images of any size.

    Example:
        >>> sum(layer.multiply_adds for layer in layers(zoo.create_model("resnet20")))
        40551040
    """
    return [_counted(layer, model) for layer in model.layers]


def _counted(layer: Any, model: "keras.Model") -> Layer:
    """Count one layer, over all its calls."""
    calls = own_calls(layer, model)
    inputs = [tensor for node in calls for tensor in node.input_tensors]
    outputs = [tensor for node in calls for tensor in node.outputs]
    return Layer(
        name=layer.name,
        kind=type(layer).__name__,
        inputs=tuple(tensor._keras_history.operation.name for tensor in inputs),
        shape=tuple(outputs[0].shape[1:]),
        parameters=_size(layer.weights),
        trainable=_size(layer.trainable_weights),
        multiply_adds=sum(
            _multiply_adds(layer, node.input_tensors, node.outputs) for node in calls
        ),
    )


def own_calls(layer: Any, model: "keras.Model") -> list[Any]:
    """List a layer's calls in a model: it may have others, in models that share it.

    Args:
        layer: The layer.
        model: A functional or Sequential model.

    Returns:
        Keras' nodes, which have ``input_tensors`` and ``outputs``.
    """
    inside = getattr(model, "_functional", model)  # a Sequential has a functional model inside
    depths = inside._nodes_by_depth.values()
    return [node for node in layer._inbound_nodes if any(node in nodes for nodes in depths)]


def _size(weights: list[Any]) -> int:
    """Count the values of weights."""
    return sum(math.prod(weight.shape) for weight in weights)


def _multiply_adds(layer: Any, inputs: list[Any], outputs: list[Any]) -> int:
    """Count those of one call of a layer."""
    count = _COUNTS.get(type(layer).__name__)
    if count is None:
        return sum(inner.multiply_adds for inner in layers(layer)) if _is_model(layer) else 0
    if None in inputs[0].shape[1:] + outputs[0].shape[1:]:
        raise InputError(
            f"{layer.name}: multiply-adds depend on the size of the images; accepted is a model "
            "with a fixed input_shape"
        )
    return count(layer, inputs[0].shape, outputs[0].shape)


def _is_model(layer: Any) -> bool:
    """Say whether a layer is a model itself."""
    return hasattr(layer, "layers")


def _convolution(layer: Any, taken: Any, given: Any) -> int:
    """Each output position takes each weight of the kernel once, for all groups together."""
    return math.prod(given[1:-1]) * math.prod(layer.kernel.shape)


def _separable(layer: Any, taken: Any, given: Any) -> int:
    """A depthwise convolution, then a 1x1 convolution at the same positions."""
    kernels = (layer.depthwise_kernel, layer.pointwise_kernel)
    return math.prod(given[1:-1]) * sum(math.prod(kernel.shape) for kernel in kernels)


def _transposed(layer: Any, taken: Any, given: Any) -> int:
    """Each input position meets each weight of the kernel once."""
    return math.prod(taken[1:-1]) * math.prod(layer.kernel.shape)


_COUNTS: dict[str, Callable[[Any, Any, Any], int]] = {
    "Conv2D": _convolution,
    "DepthwiseConv2D": _convolution,
    "Dense": _convolution,
    "SeparableConv2D": _separable,
    "Conv2DTranspose": _transposed,
}
