"""Fold every model of keras.applications that has BatchNorm, and certify the fold.

    python -m tests.bench.applications [--models A,B] [--out FILE] [--no-certificate]

Each model is folded in a process of its own; results are written after each one, and models that
the file already has are passed over, so that a run can be stopped and taken up.
"""

import argparse
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
from .records import RESULTS, Results, alone, chosen

REPEATS = 3
# From this model of the list on, float64 over a dozen images would take hours at the default size.
# The layers, their weights and what is folded are the same at this one.
SMALL = 128
CERTIFIED_SMALL = APPLICATIONS[APPLICATIONS.index("ResNet152") :]


def measure(name: str) -> dict[str, Any]:
    """Fold a model; count what became of its BatchNorms, and take memory and times."""
    export.fold(small("conv-BN"))  # what TensorFlow makes on first use is not the fold's
    model = application(name)
    _, over = peak_over(lambda: export.fold(model))
    times = [timed_fold(model) for _ in range(REPEATS)]
    return {
        "size": model.inputs[0].shape[1],
        **counts(model),
        "layers": len(model.layers),
        "weights_mb": sum(variable.value.numpy().nbytes for variable in model.weights) / 1e6,
        "peak_mb": over / 1e6,
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


def peak_over(function: Callable[[], Any]) -> tuple[Any, int]:
    """Call a function; return its result, and by how many bytes memory grew at the most.

    It is the resident memory of the process, as Linux counts it, so TensorFlow's is in it too.
    """
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # memory that is free already would hide growth
    Path("/proc/self/clear_refs").write_text("5")  # sets the highest resident size to the present
    before = resident("VmRSS")
    result = function()
    return result, resident("VmHWM") - before


def resident(field: str) -> int:
    """The process's resident memory in bytes: ``VmRSS`` now, ``VmHWM`` at its highest."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise SystemExit(f"the system does not tell {field}; this comparison runs on Linux")


def certify(name: str) -> dict[str, Any]:
    """Certify the fold of a model."""
    model = application(name, SMALL if name in CERTIFIED_SMALL else None)
    certificate = export.certify(model, export.fold(model))
    return {
        "ok": certificate.ok,
        "why": "" if certificate.ok else certificate.why(),
        "size": model.inputs[0].shape[1],
        "algebra": certificate.algebra,
        "original_error": certificate.original_error,
        "folded_error": certificate.folded_error,
    }


def main() -> None:
    """Measure what the file lacks, then certify what it lacks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", help="names separated by commas; default: all")
    parser.add_argument("--out", type=Path, default=RESULTS / "applications.json")
    parser.add_argument("--no-certificate", action="store_true", help="only fold")
    arguments = parser.parse_args()
    names = chosen(arguments.models, APPLICATIONS)
    results = Results(arguments.out)
    for name in names:
        if name not in results.rows:
            row = alone(measure, name)
            results.add(name, row)
            print(
                f"{name}: {row['batchnorms']} BatchNorms, {len(row['kept'])} kept, "
                f"{row['fold_seconds']:.2f} s + {row['build_seconds']:.2f} s building, "
                f"{row['peak_mb'] / row['weights_mb']:.1f} times the weights",
                flush=True,
            )
    for name in () if arguments.no_certificate else names:
        if "certificate" not in results.rows[name]:
            certificate = alone(certify, name)
            results.add(name, {"certificate": certificate})
            print(f"{name}: {certificate}", flush=True)


if __name__ == "__main__":
    main()
