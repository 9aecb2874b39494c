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
    return [_counted(layer, model) for layer in operations(model)]


def operations(model: "keras.Model") -> list[Any]:
    """List what a model is made of: its layers, and Keras' operations such as ``keras.ops.take``.

    Args:
        model: A functional or Sequential model.

    Returns:
        The layers and operations in their order.
    """
    found: list[Any] = _functional(model).operations
    return found


def _functional(model: "keras.Model") -> Any:
    """Return the functional model inside a Sequential one, or the model itself."""
    return getattr(model, "_functional", model)


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
        parameters=_size(getattr(layer, "weights", [])),
        trainable=_size(getattr(layer, "trainable_weights", [])),
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
    depths = _functional(model)._nodes_by_depth.values()
    return [node for node in layer._inbound_nodes if any(node in nodes for nodes in depths)]


def _size(weights: list[Any]) -> int:
    """Count the values of weights."""
    return sum(math.prod(weight.shape) for weight in weights)


def _multiply_adds(layer: Any, inputs: list[Any], outputs: list[Any]) -> int:
    """Count those of one call of a layer."""
    count = next((count for kinds, count in _counts() if isinstance(layer, kinds)), None)
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


def _counts() -> list[tuple[tuple[type, ...], Callable[[Any, Any, Any], int]]]:
    """Tell how the calls of which layers are counted, those of a user's own subclasses too."""
    from keras import layers as kinds

    return [
        ((kinds.Conv1D, kinds.Conv2D, kinds.Conv3D, kinds.Dense), _convolution),
        ((kinds.DepthwiseConv1D, kinds.DepthwiseConv2D), _convolution),
        ((kinds.SeparableConv1D, kinds.SeparableConv2D), _separable),
        ((kinds.Conv1DTranspose, kinds.Conv2DTranspose, kinds.Conv3DTranspose), _transposed),
    ]
