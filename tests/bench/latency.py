"""Compare onnxruntime's latency on a folded model and on plain ``model.export(format="onnx")``.

    python -m tests.bench.latency [--models A,B] [--out FILE]

Both files stay loaded; short runs of the two take turns, so that what slows the machine down slows
both. A round's ratio is of the medians of its two runs; the spread is over the rounds. Run it on a
machine that does nothing else.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import export
from export.latency import ratios, runner, take_turns

from .models import application
from .onnx_nodes import plain
from .records import fill

# Gammas of both signs are the harder case: as Max and Min a clamp would be two operations, not one.
# ResNet50 is the control: both of its files have no BatchNorm left.
MODELS = {
    "DenseNet121": ("DenseNet121", (-1, 1)),
    "DenseNet121 with gamma > 0": ("DenseNet121", (1,)),
    "ResNet50V2": ("ResNet50V2", (-1, 1)),
    "ResNet50V2 with gamma > 0": ("ResNet50V2", (1,)),
    "ResNet50": ("ResNet50", (-1, 1)),
}
BATCHES = (1, 8)
THREADS = (1, 2)
ROUNDS = 15
RUN_SECONDS = 0.4


def measure(name: str) -> dict[str, Any]:
    """Take turns over both files of a model, for each number of threads and batch size."""
    architecture, signs = MODELS[name]
    model = application(architecture, signs=signs)
    with tempfile.TemporaryDirectory() as folder:
        files = {"plain": Path(folder, "plain.onnx"), "folded": Path(folder, "folded.onnx")}
        plain(model, files["plain"])
        export.to_onnx(export.fold(model), files["folded"])
        shape = model.inputs[0].shape[1:]
        del model
        return in_all_ways(lambda threads, batch: compare(files, threads, (batch, *shape)))


def in_all_ways(compared: Callable[[int, int], dict[str, Any]]) -> dict[str, Any]:
    """Call a comparison for each number of threads and batch size; name the rows by both."""
    return {
        f"{threads} thread{'s' * (threads > 1)}, batch {batch}": compared(threads, batch)
        for threads in THREADS
        for batch in BATCHES
    }


def compare(files: dict[str, Path], threads: int, shape: tuple[int, ...]) -> dict[str, Any]:
    """Let two files take turns; each is first in every other round."""
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    load = os.getloadavg()[0]
    runners = {kind: runner(path, [image], threads=threads) for kind, path in files.items()}
    times = take_turns(runners, rounds=ROUNDS, seconds=RUN_SECONDS)
    ratio = ratios(times["folded"], times["plain"])
    medians = {kind: [float(np.median(turn)) for turn in turns] for kind, turns in times.items()}
    return {
        **{f"{kind}_ms": float(np.median(found)) for kind, found in medians.items()},
        "ratio": float(np.median(ratio)),
        "ratio_low": float(np.quantile(ratio, 0.25)),
        "ratio_high": float(np.quantile(ratio, 0.75)),
        "ratio_least": float(ratio.min()),
        "ratio_most": float(ratio.max()),
        "rounds": ROUNDS,
        "load": load,
    }


def main() -> None:
    """Measure what the file lacks."""
    fill("latency", __doc__, tuple(MODELS), measure)


if __name__ == "__main__":
    main()
