"""Export every model of keras.applications at its default size: ours, judged, beside Keras' own.

    python -m tests.bench.exports [--models A,B] [--out FILE]

Each model is folded, exported and judged by `export.validate` in a process of its own, and exported
as it is by ``model.export(format="onnx")``. Results are written after each model, and models that
the file already has are passed over. The judging is what takes long: the reference is in float64.
"""

import contextlib
import io
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import export

from .models import APPLICATIONS, application, small
from .records import fill

# Those without BatchNorm: there is nothing to fold, and the way to a verdict is the same.
WITHOUT_NORM = (
    *("VGG16", "VGG19"),
    *("ConvNeXtTiny", "ConvNeXtSmall", "ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtXLarge"),
)
MODELS = (*APPLICATIONS, *WITHOUT_NORM)
# What an image's sides are where a model takes any; its own documentation names the same.
FREE_SIZE = 224


def measure(name: str) -> dict[str, Any]:
    """Export a model both ways, and judge our file."""
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
        plain_file = exported(Path(folder, "plain.onnx"), lambda path: plain(model, path))
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
    }


def warm_up(folder: Path) -> None:
    """Export something small both ways: what TensorFlow makes on first use is not the export's."""
    first = small("conv-BN")
    export.to_onnx(export.fold(first), folder / "first.onnx")
    plain(first, folder / "first_plain.onnx")


def plain(model: keras.Model, path: Path) -> None:
    """Export as Keras does when it is told nothing else."""
    sides = [side or FREE_SIZE for side in model.input_shape[1:]]
    model(np.zeros((1, *sides), np.float32))  # it refuses a model never called
    with contextlib.redirect_stdout(io.StringIO()):
        model.export(path, format="onnx", verbose=False)


def exported(path: Path, write: Callable[[Path], object]) -> dict[str, Any]:
    """Write a file; count its nodes, and load it.

    Returns:
        The seconds, the nodes by operator, the file's megabytes, and as ``refused`` why there is no
        file, or why onnxruntime does not load it or not run it on images alone.
    """
    start = time.perf_counter()
    try:
        write(path)
    except Exception as error:  # whatever it is, it goes into the table
        return {"seconds": time.perf_counter() - start, "refused": told(error)}
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
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # it has a class of its own for each of its codes
        return told(error)
    more = [value.name for value in session.get_inputs()][1:]
    return f"asks for {', '.join(more)} besides the image" if more else ""


def told(error: Exception) -> str:
    """The first line of an error."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"


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
