"""Where a file begins to differ from its model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from export import parity
from export.errors import ExportError
from export.onnx_conversion import labels
from export.onnx_runtime import Session

if TYPE_CHECKING:
    import onnx

# One batch is a small sample of a layer's rounding, so a layer may be this much worse than its own
# float32 error; what is looked for is off by orders of magnitude.
_SLACK = 10.0


def first_divergence(
    proto: "onnx.ModelProto",
    reference: parity.Reference,
    inputs: Sequence[np.ndarray],
    *,
    nchw: bool,
) -> str:
    """Name the first layer whose output is wrong in a file.

    The nodes of a file of ours are named after layers. The last tensor of each layer is computed in
    onnxruntime without optimisations, and is right if it equals the output of some layer of the
    Keras model, in either layout: folding makes a convolution's tensor that of the BatchNorm behind
    it. A tensor that equals none, and neither does anything that is computed from it, is wrong.

    Args:
        proto: The file's content.
        reference: The model.
        inputs: A batch on which the two differ.
        nchw: Whether the file takes the channels first.

    Returns:
        A clause for a message: the layer, or why none can be named.
    """
    layers = {label: position for position, label in enumerate(labels(reference.single))}
    tensors = _last_tensors(proto, layers)
    if not tensors:
        return "no layer can be named: the file's nodes do not have the layers' names"
    try:
        values = _intermediate(proto, list(tensors.values()), inputs, nchw=nchw)
    except ExportError as error:
        return f"no layer can be named: {error}"
    known = _layer_outputs(reference, inputs)
    wrong = {tensor for tensor in tensors.values() if not _is_some_output(values[tensor], known)}
    needed_by = _descendants(proto, set(tensors.values()))
    for label, tensor in tensors.items():
        if tensor in wrong and needed_by[tensor] <= wrong:
            name = reference.single.layers[layers[label]].name
            return f"the first layer whose output is wrong is {name!r} (tensor {tensor!r})"
    return "no layer can be named: every layer's output is right by itself"


def _last_tensors(proto: "onnx.ModelProto", layers: dict[str, int]) -> dict[str, str]:
    """Return the last tensor of each layer, in the order of the file."""
    tensors: dict[str, str] = {}
    for node in proto.graph.node:
        label = node.name.rpartition("/")[0]
        if label in layers:
            tensors.pop(label, None)  # the place of its last tensor, not of its first
            tensors[label] = node.output[0]
    return tensors


def _intermediate(
    proto: "onnx.ModelProto", names: list[str], inputs: Sequence[np.ndarray], *, nchw: bool
) -> dict[str, np.ndarray]:
    """Compute tensors inside the file."""
    import onnx

    opened = onnx.ModelProto()
    opened.CopyFrom(proto)
    declared = {value.name for value in opened.graph.output}
    for name in names:
        if name not in declared:
            opened.graph.output.append(onnx.ValueInfoProto(name=name))
    session = Session(opened, level="off", nchw=nchw)
    return dict(zip(session.outputs, session.run(inputs), strict=True))


def _layer_outputs(
    reference: parity.Reference, inputs: Sequence[np.ndarray]
) -> list[tuple[np.ndarray, float]]:
    """Compute each layer's output in float64, and the error that it may have."""
    opened = parity.Reference(_opened(reference.exact), _opened(reference.single))
    known = zip(opened.compute_exact(inputs), opened.compute_single(inputs), strict=True)
    return [
        (value, _SLACK * parity.limit_for(parity.error(rounded, value))) for value, rounded in known
    ]


def _opened(model: Any) -> Any:
    """Make a model whose outputs are those of all layers, at each of their calls."""
    import keras

    nodes = [node for layer in model.layers for node in layer._inbound_nodes]
    return keras.Model(model.input, [tensor for node in nodes for tensor in node.output_tensors])


def _is_some_output(value: np.ndarray, known: list[tuple[np.ndarray, float]]) -> bool:
    """Say whether a tensor of the file is some layer's output, in Keras' layout or in ONNX's."""
    layouts = [value]
    if value.ndim > 2:
        layouts.append(np.moveaxis(value, 1, -1))
    return any(
        parity.error(layout, output) <= limit
        for output, limit in known
        for layout in layouts
        if layout.shape == output.shape
    )


def _descendants(proto: "onnx.ModelProto", among: set[str]) -> dict[str, set[str]]:
    """Return for each tensor those of ``among`` that are computed from it, itself left out."""
    users: dict[str, list[Any]] = {}
    for node in proto.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    found: dict[str, set[str]] = {}
    for node in reversed(proto.graph.node):
        for name in node.output:
            below: set[str] = set()
            for user in users.get(name, []):
                for output in user.output:
                    below |= found.get(output, set()) | ({output} & among)
            found[name] = below
    return found
