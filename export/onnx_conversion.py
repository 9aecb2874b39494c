"""Keras to an ONNX graph by way of TensorFlow and tf2onnx, with its failures told."""

import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from export import onnx_gelu, onnx_kernels
from export.errors import ExportError
from export.fingerprint import made_up
from export.subject import unique

if TYPE_CHECKING:
    import keras
    import onnx

# What tf2onnx 1.17 converts to: it rejects 19 and later, and 13 is the first opset that has what
# quantization per channel needs.
OPSETS = range(13, 19)

# While a model is traced its layers go by these names. TensorFlow numbers the scopes that repeat,
# as every layer's does, so a name of ours has to be told from such a number.
_MARK = re.compile(r"(?:^|/)layer\.(\d+)(?:_\d+)?(?=[/:]|$)")

# What the converter raises when it meets something that it was not written for.
_CONVERTER_ERRORS = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RuntimeError,
    AssertionError,
)


def convert(
    model: "keras.Model",
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    *,
    opset: int,
    nchw: bool,
) -> "onnx.ModelProto":
    """Convert a model as tf2onnx does, with its layers told by marks that `layer_of` reads.

    Args:
        model: A float32 model of our own, from `export.rebuild`.
        inputs: The inputs' names in the file.
        outputs: The outputs' names in the file.
        opset: The ONNX opset.
        nchw: Whether the inputs take (batch, channels, height, width).

    Returns:
        What the converter made, not yet tidied nor checked.

    Raises:
        ExportError: The converter raised, or logged an error and carried on.
    """
    import keras
    import tensorflow as tf
    import tf2onnx

    kernels = onnx_kernels.large(model, inputs)
    given = {**dict(zip(inputs, model.inputs, strict=True)), **kernels}
    signature = [tf.TensorSpec(one.shape, one.dtype, name=name) for name, one in given.items()]

    @tf.function(autograph=False)
    def traced(*tensors: Any) -> dict[str, Any]:
        images, held = tensors[: len(inputs)], tensors[len(inputs) :]
        with keras.StatelessScope(zip(kernels.values(), held, strict=True)):
            result = model(tf.nest.pack_sequence_as(model.input, images), training=False)
        return dict(zip(outputs, tf.nest.flatten(result), strict=True))

    def converted() -> Any:
        proto, _ = tf2onnx.convert.from_function(
            traced,
            input_signature=signature,
            opset=opset,
            inputs_as_nchw=list(inputs) if nchw else None,
            custom_op_handlers={"Erfc": (onnx_gelu.write_erfc, [])},
            custom_rewriter=[_widen_added_scalars],
        )
        return proto

    failures = (*_CONVERTER_ERRORS, tf.errors.OpError)
    inlined = _calls_inlined(), _constants_inlined(model)
    with ExitStack() as changed:
        names = changed.enter_context(_layers_marked(model))
        for change in (*inlined, _weights_unwritten(), _same_each_time(), _pads_kept()):
            changed.enter_context(change)
        traced.get_concrete_function(*signature)  # an error in here is the model's own
        proto = None
        with _converter_log() as log, _passes_uncopied(), suppress(*failures):
            proto = converted()
        if proto is None:
            # Some pass failed, or all of it: once more, with the passes that do not fail.
            with _converter_log() as log:
                try:
                    proto = converted()
                except failures as error:
                    log.errors.append(str(error) or type(error).__name__)
    if log.errors:
        raise ExportError(_told(model.name, log.errors[0], names))
    for failure in log.failures:
        warnings.warn(
            f"tf2onnx left the model {model.name!r} less tidy than it could be, which costs time "
            f"and no accuracy: {failure}",
            stacklevel=2,
        )
    onnx_gelu.finish(proto)
    onnx_kernels.put_in(proto, kernels)
    return proto


def _widen_added_scalars(graph: Any, operations: list[Any]) -> list[Any]:
    """Give each scalar that is added to something the shape (1,); the sum stays what it was.

    A scalar behind a convolution stops tf2onnx 1.17 from taking any Transpose out of the whole
    model, since it looks for the longest side of what is added.
    """
    from tf2onnx.utils import make_name

    for node in operations:
        if node.type not in ("Add", "AddV2"):
            continue
        for place, added in enumerate(node.inputs):
            other = graph.get_shape(node.input[1 - place])
            if added.is_const() and added.get_tensor_value(as_list=False).ndim == 0 and other:
                value = added.get_tensor_value(as_list=False).reshape(1)
                wide = graph.make_const(make_name(added.name), value)
                graph.replace_input(node, node.input[place], wide.output[0], place)
    return graph.get_nodes()


def layer_of(name: str) -> int | None:
    """Read a layer's position in the model out of the name of a node or tensor of `convert`."""
    marks = _MARK.findall(name)
    return int(marks[-1]) if marks else None


def labels(model: "keras.Model") -> tuple[str, ...]:
    """Say what each layer is called in the file.

    Names that Keras made up are numbered anew from the model's first layer on, so that the file
    does not depend on what else was built in the process.

    Args:
        model: The model that was converted.

    Returns:
        One name for each of ``model.layers``, no two of them equal.
    """
    return unique(made_up(layer.name, type(layer)) or layer.name for layer in model.layers)


def _told(model: str, problem: str, names: tuple[str, ...]) -> str:
    """Make one line of what the converter said, with the layers' own names."""
    line = problem.strip().splitlines()[0]
    mark = layer_of(line)
    where = f", in layer {names[mark]!r}" if mark is not None else ""
    line = re.sub(r"\[[^\]]*: (\w+)\]", r"\1", line)
    return f"tf2onnx cannot convert the model {model!r}{where}: {line}"


@contextmanager
def _layers_marked(model: "keras.Model") -> Iterator[tuple[str, ...]]:
    """Name each layer by its position for a while; yield the names they have otherwise."""
    names = tuple(layer.name for layer in model.layers)
    try:
        for position, layer in enumerate(model.layers):
            layer.name = f"layer.{position}"
        yield names
    finally:
        for layer, name in zip(model.layers, names, strict=True):
            layer.name = name


@contextmanager
def _calls_inlined() -> Iterator[None]:
    """Let inner tf.functions be traced as plain Python.

    Keras compiles grouped convolutions with XLA; the converter cannot look into such a call.
    """
    import tensorflow as tf

    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


@contextmanager
def _constants_inlined(model: "keras.Model") -> Iterator[None]:
    """Let Normalization layers compute with plain arrays, which a trace takes as constants.

    What they have are tensors; a trace makes inputs of those, and so would the converter.
    """
    import keras

    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Normalization)]
    before = [(layer.mean, layer.variance) for layer in layers]
    try:
        for layer in layers:
            layer.mean = keras.ops.convert_to_numpy(layer.mean)
            layer.variance = keras.ops.convert_to_numpy(layer.variance)
        yield
    finally:
        for layer, (mean, variance) in zip(layers, before, strict=True):
            layer.mean, layer.variance = mean, variance


@contextmanager
def _weights_unwritten() -> Iterator[None]:
    """Keep the converter from writing all weights into their nodes again after each pass.

    It makes the file's weights of their own attributes, never of what is written there; and the
    memory of what it overwrites is not given back, which made 15 GB of a VGG-16's half.
    """
    from tf2onnx.graph import Node

    whole = Node.update_proto

    def update(node: Any, *arguments: Any, **options: Any) -> None:
        if not node.is_const():
            whole(node, *arguments, **options)

    Node.update_proto = update
    try:
        yield
    finally:
        Node.update_proto = whole


@contextmanager
def _same_each_time() -> Iterator[None]:
    """Let the converter make the same of the same model, whatever happened in the process before.

    It holds nodes, and the users of a tensor, in sets, whose order is that of addresses in memory
    and of hashes of texts; it decides past which user a Transpose moves first. Here both come in
    the order of the graph, in which it can move past most. Names have numbers that count up in the
    process, so that what was ``a__9`` before ``b`` is ``a__10`` the next time, wherever they are
    sorted: they start from 1 for a while.
    """
    from tf2onnx import utils
    from tf2onnx.graph import Graph

    methods = ("find_output_consumers", "extract_sub_graph_nodes")
    unordered = {name: getattr(Graph, name) for name in methods}
    count = utils.INTERNAL_NAME

    def ordered(method: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
        def found(graph: Any, *given: Any, **options: Any) -> list[Any]:
            nodes = method(graph, *given, **options)
            if len(nodes) < 2:
                return nodes
            places = {node.name: place for place, node in enumerate(graph.get_nodes())}
            return sorted(nodes, key=lambda node: (places.get(node.name, -1), node.name))

        return found

    try:
        for name, method in unordered.items():
            setattr(Graph, name, ordered(method))
        utils.INTERNAL_NAME = 1
        yield
    finally:
        for name, method in unordered.items():
            setattr(Graph, name, method)
        utils.INTERNAL_NAME = max(count, utils.INTERNAL_NAME)


@contextmanager
def _pads_kept() -> Iterator[None]:
    """Keep a Pad apart from a convolution that has found out by how much it pads itself.

    tf2onnx 1.17 writes the Pad's numbers over the convolution's own, which a dilated one with
    padding "same" has by then; `export.onnx_pads` adds them up.
    """
    from tf2onnx import tfonnx

    whole = tfonnx.rewrite_conv2d_with_pad

    def rewrite(graph: Any, operations: list[Any]) -> list[Any]:
        own = [node for node in operations if node.get_attr_value("padding") != b"EXPLICIT"]
        whole(graph, own)
        return operations

    tfonnx.rewrite_conv2d_with_pad = rewrite
    try:
        yield
    finally:
        tfonnx.rewrite_conv2d_with_pad = whole


@contextmanager
def _passes_uncopied() -> Iterator[None]:
    """Have the converter's passes work on its graph itself, and not each on a copy of it.

    It copies the graph, all weights included, for each pass, so as to drop what a pass that fails
    has done: a third of the time that a ResNet-50 takes. This variable keeps it from that, whatever
    its value is; a pass that fails then raises.
    """
    from tf2onnx.constants import ENV_TF2ONNX_CATCH_ERRORS as VARIABLE

    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "FALSE"
    try:
        yield
    finally:
        os.environ.pop(VARIABLE)
        if before is not None:
            os.environ[VARIABLE] = before


class _Collector(logging.Handler):
    """Keeps the text of errors, and of warnings that tell of a pass that failed."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.errors: list[str] = []
        self.failures: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno >= logging.ERROR:
            self.errors.append(text)
        elif text.startswith("Failed"):
            reason = record.exc_info[1] if record.exc_info else None
            text = text if reason is None else f"{text}: {type(reason).__name__}: {reason}"
            if text not in self.failures:  # passes are repeated
                self.failures.append(text)


@contextmanager
def _converter_log() -> Iterator[_Collector]:
    """Keep what the converter logs off the screen; yield its errors and failed passes.

    It logs an operation that it does not know as an error, writes the operation into the file as
    it is, and reports success. Of an optimisation that raises it logs a warning, and goes on
    without what that would have done.
    """
    logger = logging.getLogger("tf2onnx")
    collector = _Collector()
    before = logger.propagate
    logger.addHandler(collector)
    logger.propagate = False
    try:
        yield collector
    finally:
        logger.removeHandler(collector)
        logger.propagate = before
