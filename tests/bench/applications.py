"""Fold every model of keras.applications that has BatchNorm, and take time and memory.

    python -m tests.bench.applications [--models A,B] [--out FILE]

Each model is folded in a process of its own; results are written after each one, and models that
the file already has are passed over, so that a run can be stopped and taken up.
"""

import ctypes
import gc
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import keras

import export
from export import graph
from zoo.layers import ChannelClamp, SpatialBias

from .models import APPLICATIONS, application, small
from .records import fill

REPEATS = 3


def measure(name: str) -> dict[str, Any]:
    """Fold a model; count what became of its BatchNorms, and take memory and times."""
    export.fold(small("conv-BN"))  # what TensorFlow makes on first use is not the fold's
    model = application(name)
    _, over, stays = memory_of(lambda: export.fold(model))
    times = [timed_fold(model) for _ in range(REPEATS)]
    return {
        "size": model.inputs[0].shape[1],
        **counts(model),
        "layers": len(model.layers),
        "weights_mb": sum(variable.value.numpy().nbytes for variable in model.weights) / 1e6,
        "peak_mb": over / 1e6,
        "result_mb": stays / 1e6,
        "fold_seconds": statistics.median(whole - building for whole, building in times),
        "build_seconds": statistics.median(building for _, building in times),
        "load": os.getloadavg()[0],
    }


def counts(model: keras.Model) -> dict[str, Any]:
    """Fold a model and count what became of its BatchNorms, and what is there instead."""
    folded = export.fold(model)
    entries = folded.report.entries
    left = Counter(type(layer) for layer in folded.model._flatten_layers())
    return {
        "batchnorms": len(entries),
        "actions": dict(Counter(entry.action for entry in entries)),
        "kept": [
            {"layer": entry.layer, "codes": list(entry.codes), "reason": entry.reason}
            for entry in folded.report.kept
        ],
        "left": {
            kind.__name__: left[kind]
            for kind in (keras.layers.BatchNormalization, ChannelClamp, SpatialBias)
        },
    }


def timed_fold(model: keras.Model) -> tuple[float, float]:
    """Fold; return the seconds of `export.fold`, and those that Keras took to build the result."""
    building = 0.0
    build = graph.build

    def timed(*arguments: Any) -> keras.Model:
        nonlocal building
        start = time.perf_counter()
        made = build(*arguments)
        building = time.perf_counter() - start
        return made

    with mock.patch.object(graph, "build", timed):
        start = time.perf_counter()
        export.fold(model)
        return time.perf_counter() - start, building


def memory_of(function: Callable[[], Any]) -> tuple[Any, int, int]:
    """Call a function; return its result, and by how many bytes memory grew at the most and stays.

    It is the resident memory of the process, as Linux counts it, so TensorFlow's is in it too.
    """
    trim()  # memory that is free already would hide growth
    Path("/proc/self/clear_refs").write_text("5")  # sets the highest resident size to the present
    before = resident("VmRSS")
    result = function()
    most = resident("VmHWM")
    trim()
    return result, most - before, resident("VmRSS") - before


def trim() -> None:
    """Give memory that is free back to the system."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)


def resident(field: str) -> int:
    """The process's resident memory in bytes: ``VmRSS`` now, ``VmHWM`` at its highest."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise SystemExit(f"the system does not tell {field}; this comparison runs on Linux")


def main() -> None:
    """Measure what the file lacks."""
    fill("applications", __doc__, APPLICATIONS, measure, told)


def told(row: dict[str, Any]) -> str:
    """Say of a model what a person waits for."""
    return (
        f"{row['batchnorms']} BatchNorms, {len(row['kept'])} kept, {row['fold_seconds']:.2f} s + "
        f"{row['build_seconds']:.2f} s building, {row['peak_mb'] / row['weights_mb']:.1f} times "
        "the weights"
    )


if __name__ == "__main__":
    main()
