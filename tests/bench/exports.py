"""Export every model of keras.applications at its default size: ours, judged, beside Keras' own.

    python -m tests.bench.exports [--models A,B] [--out FILE]

Each model is folded, exported and judged by `export.validate` in a process of its own, and
exported as it is by ``model.export(format="onnx")`` in another one. Results are written after each
model, and models that the file already has are passed over. The judging is what takes long: the
reference is in float64.
"""

import contextlib
import io
import os
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import keras

import export
from export.errors import ExportError
from export.onnx_runtime import Session, first_line
from zoo.hardware import peak_memory

from .models import APPLICATIONS, application, small
from .onnx_nodes import plain
from .records import alone, fill

# Those without BatchNorm: there is nothing to fold, and the way to a verdict is the same.
WITHOUT_NORM = (
    *("VGG16", "VGG19"),
    *("ConvNeXtTiny", "ConvNeXtSmall", "ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtXLarge"),
)
MODELS = (*APPLICATIONS, *WITHOUT_NORM)


def measure(name: str) -> dict[str, Any]:
    """Export a model both ways, and judge our file; each in a process, as both take much memory."""
    row = {"load": os.getloadavg()[0], **alone(judged, name)}
    start = time.perf_counter()
    try:
        plain_file = alone(attempted, name)
    except BrokenProcessPool:  # Linux ended it
        why = f"the process was ended for its memory, of {memory_gigabytes():.0f} GB"
        plain_file = {"seconds": time.perf_counter() - start, "refused": why}
    return {**row, "plain": plain_file}


def memory_gigabytes() -> float:
    """Return how much memory this machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9


def judged(name: str) -> dict[str, Any]:
    """Fold and export a model, and judge the file."""
    model = application(name)
    with tempfile.TemporaryDirectory() as folder:
        first = small("conv-BN")  # what TensorFlow makes on first use is not the export's
        export.to_onnx(export.fold(first), Path(folder, "first.onnx"))
        start = time.perf_counter()
        folded = export.fold(model)
        fold_seconds = time.perf_counter() - start
        del model  # the largest one's weights take 1.4 GB
        path = Path(folder, "ours.onnx")
        start = time.perf_counter()
        export.to_onnx(folded, path)
        ours = {"seconds": time.perf_counter() - start, **found_in(path)}
        start = time.perf_counter()
        verdict = export.validate(folded, path)
        validate_seconds = time.perf_counter() - start
        memory = peak_memory()
    return {
        "size": folded.model.inputs[0].shape[1],
        "batchnorms": len(folded.report.entries),
        "kept": len(folded.report.kept),
        "fold_seconds": fold_seconds,
        "validate_seconds": validate_seconds,
        "gigabytes": None if memory is None else memory / 1e9,
        "ok": verdict.ok,
        "why": "" if verdict.ok else verdict.why(),
        "error": verdict.error,
        "limit": verdict.limit,
        "ours": ours,
    }


def attempted(name: str) -> dict[str, Any]:
    """Export as Keras does; where that fails, why is a result."""
    if sys.platform == "linux":  # where memory ends, this process is to end and no other
        Path("/proc/self/oom_score_adj").write_text("1000")
    model = application(name)
    with tempfile.TemporaryDirectory() as folder:
        quiet(small("conv-BN"), Path(folder, "first.onnx"))
        path = Path(folder, "plain.onnx")
        start = time.perf_counter()
        try:
            quiet(model, path)
        except Exception as error:  # that it fails, with whatever class, is what is measured
            seconds = time.perf_counter() - start
            return {"seconds": seconds, "refused": f"{type(error).__name__}: {first_line(error)}"}
        return {"seconds": time.perf_counter() - start, **found_in(path)}


def quiet(model: keras.Model, path: Path) -> None:
    """Export as Keras does, without what it prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        plain(model, path)


def found_in(path: Path) -> dict[str, Any]:
    """Count a file's nodes, and load it.

    Returns:
        The nodes by operator, the file's megabytes, and as ``refused`` why onnxruntime does not
        load it or not run it on images alone.
    """
    return {
        "nodes": operators(path),
        "megabytes": path.stat().st_size / 1e6,
        "refused": refusal(path),
    }


def operators(path: Path) -> dict[str, int]:
    """Count the nodes of a file by operator."""
    import onnx

    counted = Counter(node.op_type for node in onnx.load(path, load_external_data=False).graph.node)
    return dict(counted.most_common())


def refusal(path: Path) -> str:
    """Say why onnxruntime does not take a file, or needs more than an image; else nothing."""
    import onnx

    try:
        more = Session(onnx.load(path)).inputs[1:]
    except ExportError as error:
        return str(error)
    return f"asks for {', '.join(more)} besides the image" if more else ""


def summary(row: dict[str, Any]) -> str:
    """Say of a model what a person waits for."""
    return (
        f"{'ok' if row['ok'] else row['why']}, error {row['error']:.2g} of {row['limit']:.2g}; "
        f"{row['ours']['seconds']:.1f} s, Transpose {row['ours']['nodes'].get('Transpose', 0)}; "
        f"plain {row['plain']['seconds']:.1f} s {row['plain']['refused']}; "
        f"judged in {row['validate_seconds']:.0f} s"
    )


def main() -> None:
    """Measure what the file lacks."""
    fill("exports", __doc__, MODELS, measure, summary)


if __name__ == "__main__":
    main()
