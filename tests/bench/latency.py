"""Compare onnxruntime's latency on a folded model and on plain ``model.export(format="onnx")``.

    python -m tests.bench.latency [--models A,B] [--out FILE]

Both files stay loaded; short runs of the two take turns, so that what slows the machine down slows
both. A round's ratio is of the medians of its two runs; the spread is over the rounds. Run it on a
machine that does nothing else.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import export

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
FEWEST_CALLS = 3
WARM_UP = 5


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
        found = {}
        for threads in THREADS:
            sessions = {kind: session(path, threads) for kind, path in files.items()}
            for batch in BATCHES:
                row = f"{threads} thread{'s' * (threads > 1)}, batch {batch}"
                found[row] = compare(sessions, batch, shape)
        return found


def session(path: Path, threads: int) -> Any:
    """Load a file with onnxruntime's default optimisations."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def compare(sessions: dict[str, Any], batch: int, shape: tuple[int, ...]) -> dict[str, Any]:
    """Take turns over two sessions; each is first in every other round."""
    image = np.random.default_rng(0).normal(size=(batch, *shape)).astype(np.float32)
    load = os.getloadavg()[0]
    for running in sessions.values():
        run(running, image, WARM_UP, 0)
    rounds = []
    for number in range(ROUNDS):
        order = list(sessions) if number % 2 else list(reversed(sessions))
        rounds.append({kind: run(sessions[kind], image) for kind in order})
    ratios = np.array([found["folded"] / found["plain"] for found in rounds])
    return {
        **{f"{kind}_ms": float(np.median([r[kind] for r in rounds])) for kind in sessions},
        "ratio": float(np.median(ratios)),
        "ratio_low": float(np.quantile(ratios, 0.25)),
        "ratio_high": float(np.quantile(ratios, 0.75)),
        "ratio_least": float(ratios.min()),
        "ratio_most": float(ratios.max()),
        "rounds": ROUNDS,
        "load": load,
    }


def run(
    running: Any, image: np.ndarray, fewest: int = FEWEST_CALLS, seconds: float = RUN_SECONDS
) -> float:
    """Call a session for a while; return the median of a call in milliseconds."""
    feed = {running.get_inputs()[0].name: image}
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < fewest or time.perf_counter() < end:
        start = time.perf_counter()
        running.run(None, feed)
        times.append(1000 * (time.perf_counter() - start))
    return float(np.median(times))


def main() -> None:
    """Measure what the file lacks."""
    fill("latency", __doc__, tuple(MODELS), measure)


if __name__ == "__main__":
    main()
