"""Export every model of keras.applications at its default size: ours, judged, beside Keras' own.

    python -m tests.bench.exports [--models A,B] [--out FILE]

Each model is folded, exported and judged by `export.validate` in a process of its own, and exported
as it is by ``model.export(format="onnx")``. Results are written after each model, and models that
the file already has are passed over. The judging is what takes long: the reference is in float64.
"""

import contextlib
import io
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

import export
from export.errors import ExportError
from export.onnx_runtime import Session, first_line

from .models import APPLICATIONS, application, small
from .onnx_nodes import plain
from .records import fill

# Those without BatchNorm: there is nothing to fold, and the way to a verdict is the same.
WITHOUT_NORM = (
    *("VGG16", "VGG19"),
    *("ConvNeXtTiny", "ConvNeXtSmall", "ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtXLarge"),
)
MODELS = (*APPLICATIONS, *WITHOUT_NORM)


def measure(name: str) -> dict[str, Any]:
    """Export a model both ways, and judge our file."""
    load = os.getloadavg()[0]
    model = application(name)
    with tempfile.TemporaryDirectory() as folder:
        warm_up(Path(folder))
        # Keras' exporter leaves what it traced in the model, so that ours goes first.
        start = time.perf_counter()
        folded = export.fold(model)
        fold_seconds = time.perf_counter() - start
        ours = exported(Path(folder, "ours.onnx"), lambda path: export.to_onnx(folded, path))
        start = time.perf_counter()
        verdict = export.validate(folded, Path(folder, "ours.onnx"))
        validate_seconds = time.perf_counter() - start
        plain_file = attempted(model, Path(folder, "plain.onnx"))
    return {
        "size": model.inputs[0].shape[1],
        "batchnorms": len(folded.report.entries),
        "kept": len(folded.report.kept),
        "fold_seconds": fold_seconds,
        "validate_seconds": validate_seconds,
        "ok": verdict.ok,
        "why": "" if verdict.ok else verdict.why(),
        "error": verdict.error,
        "limit": verdict.limit,
        "ours": ours,
        "plain": plain_file,
        "load": load,
    }


def warm_up(folder: Path) -> None:
    """Export something small both ways: what TensorFlow makes on first use is not the export's."""
    first = small("conv-BN")
    export.to_onnx(export.fold(first), folder / "first.onnx")
    quiet(first, folder / "first_plain.onnx")


def quiet(model: keras.Model, path: Path) -> None:
    """Export as Keras does, without what it prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        plain(model, path)


def attempted(model: keras.Model, path: Path) -> dict[str, Any]:
    """Export as Keras does; where that fails, why is a result. An error of ours stops the run."""
    start = time.perf_counter()
    try:
        return exported(path, lambda path: quiet(model, path))
    except Exception as error:  # the converter raises whatever it meets, of any class
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "refused": f"{type(error).__name__}: {first_line(error)}"}


def exported(path: Path, write: Callable[[Path], object]) -> dict[str, Any]:
    """Write a file; count its nodes, and load it.

    Returns:
        The seconds, the nodes by operator, the file's megabytes, and as ``refused`` why onnxruntime
        does not load it or not run it on images alone.
    """
    start = time.perf_counter()
    write(path)
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
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
