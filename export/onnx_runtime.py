"""onnxruntime on the CPU, with its refusals told in one line."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from export.errors import ExportError

if TYPE_CHECKING:
    import onnx

LEVELS = {
    "off": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
COMPARED = ("off", "all")  # those whose answers are compared: as written, and as served
THREADS = 2
# Onnxruntime's severity. Its warnings are about graphs that it can make faster, and its errors are
# raised here too.
_FATAL_ONLY = 4


class Session:
    """A model loaded in onnxruntime.

    Args:
        proto: The model.
        level: How far onnxruntime optimises it: ``off``, ``basic``, ``extended`` or ``all``.
        nchw: Whether its images have the channels first; they are given with the channels last.

    Raises:
        ExportError: onnxruntime refuses the model.
    """

    def __init__(self, proto: "onnx.ModelProto", *, level: str = "all", nchw: bool = False) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(
            onnxruntime.GraphOptimizationLevel, LEVELS[level]
        )
        options.intra_op_num_threads = THREADS
        options.log_severity_level = _FATAL_ONLY
        self._nchw = nchw
        try:
            self._session = onnxruntime.InferenceSession(
                proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except _refusals() as error:
            raise ExportError(
                f"onnxruntime (optimisations: {level}) cannot load it: {first_line(error)}"
            ) from error
        self.inputs = [value.name for value in self._session.get_inputs()]
        self.outputs = [value.name for value in self._session.get_outputs()]

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run one batch.

        Args:
            inputs: One array for each input, in Keras' layout.

        Returns:
            One array for each output.

        Raises:
            ExportError: onnxruntime refuses the batch or fails in the middle.
        """
        if self._nchw:
            inputs = [np.ascontiguousarray(np.moveaxis(array, -1, 1)) for array in inputs]
        try:
            return self._session.run(None, dict(zip(self.inputs, inputs, strict=True)))
        except _refusals() as error:
            raise ExportError(f"onnxruntime cannot run it: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _refusals() -> tuple[Any, ...]:
    """Return what onnxruntime raises; its errors have no class in common."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return (
        ValueError,
        state.EPFail,
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NotImplemented,
        state.RuntimeException,
    )
