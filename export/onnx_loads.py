"""Whether onnxruntime loads a file, at each level of optimisation."""

from typing import TYPE_CHECKING

from export.checks import Check
from export.errors import ExportError
from export.onnx_runtime import COMPARED, LEVELS, Session

if TYPE_CHECKING:
    import onnx


def load(proto: "onnx.ModelProto", *, nchw: bool) -> tuple[dict[str, Session], list[Check]]:
    """Load a file at every level of optimisation, one after the other.

    Args:
        proto: The file's content.
        nchw: Whether its images have the channels first; they are given with the channels last.

    Returns:
        The sessions by level, those of `COMPARED` that load: each holds the weights once or twice,
        so the others are let go of. And a check for each level.
    """
    sessions, checks = {}, []
    for level in LEVELS:
        problem = ""
        try:
            session = Session(proto, level=level, nchw=nchw)
            if level in COMPARED:
                sessions[level] = session
            del session
        except ExportError as error:
            problem = str(error)
        measured = "refused" if problem else "loaded"
        name = f"loads in onnxruntime, optimisations {level}"
        checks.append(Check(name, not problem, measured, "loaded", problem))
    return sessions, checks
