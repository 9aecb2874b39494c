"""Measure how the speed of training ResNet-20 changes with batch size, width and processes.

    python -m tests.bench.cost [--out FILE] [--picture FILE]

One of the three grows at a time. Batch sizes and widths are computed as `zoo train` computes them,
each in a process of its own, on images that lie in memory; those of one axis take turns, so that
what slows the machine down slows all. Processes are those of `zoo train --processes` on this host,
with JAX; each count is a short training of its own. Run it on a machine that does nothing else.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from training.precision import resolve
from zoo import onednn
from zoo.files import replacing

from .records import RESULTS, Results
from .steps import BATCH, Runner, ours

PICTURE = Path(__file__).parents[2] / "docs" / "cost.png"
AXES: dict[str, tuple[float, ...]] = {
    "batch size": (16, 32, 64, 128, 256, 512),
    "width": (0.5, 1, 2, 4),
    "processes": (1, 2),
}
SETTINGS = {"batch size": "batch", "width": "width"}
ROUNDS = 5
RUN_SECONDS = 1.0
TRAINING = ("resnet20.digits", "--set", "epochs=2", "--set", f"batch_size={BATCH}")


def row_name(axis: str, value: float) -> str:
    """Name a row."""
    return f"{axis} {value:g}"


def in_turn(axis: str) -> dict[str, dict[str, Any]]:
    """Take turns over all values of an axis."""
    onednn.prefer()
    precision = resolve("auto")
    load = os.getloadavg()[0]
    runners = {value: ours(precision=precision, **{SETTINGS[axis]: value}) for value in AXES[axis]}
    Runner.ready(*runners.values())
    rounds = [
        {value: runner.rate(RUN_SECONDS) for value, runner in runners.items()}
        for _ in range(ROUNDS)
    ]
    for runner in runners.values():
        runner.close()
    return {
        row_name(axis, value): _row([one[value] for one in rounds], precision, load)
        for value in runners
    }


def by_processes(axis: str) -> dict[str, dict[str, Any]]:
    """Take turns of short trainings by so many processes on this host."""
    load = os.getloadavg()[0]
    rates = [{count: _trained_by(int(count)) for count in AXES[axis]} for _ in range(ROUNDS)]
    return {
        row_name(axis, count): _row([one[count] for one in rates], "float32", load)
        for count in AXES[axis]
    }


def _trained_by(processes: int) -> float:
    """Train with so many processes; return the images per second that the first one tells."""
    command = [sys.executable, "-m", "zoo", "train", *TRAINING, "--set", "precision=float32"]
    several = ["--processes", str(processes), "--coordinator", f"127.0.0.1:{_free_port()}"]
    with tempfile.TemporaryDirectory() as folder:
        started = [
            subprocess.Popen(
                [
                    *(*command, "--json", "--out", str(Path(folder, "run"))),
                    *([*several, "--process-id", str(number)] if processes > 1 else []),
                ],
                env={**os.environ, "KERAS_BACKEND": "jax"},
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for number in range(processes)
        ]
        told = [process.communicate()[0] for process in started]
    failed = [process.returncode for process in started if process.returncode]
    if failed:
        raise SystemExit(f"{' '.join(command)} ended with {failed[0]}")
    return float(json.loads(told[0])["card"]["metrics"]["images_per_second"])


def _free_port() -> int:
    """Find a port of this host that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _row(rates: list[float], precision: str, load: float) -> dict[str, Any]:
    """Sum up the rates of one row."""
    return {
        "images_per_second": statistics.median(rates),
        "least": min(rates),
        "most": max(rates),
        "precision": precision,
        "rounds": len(rates),
        "load": load,
    }


def draw(rows: dict[str, dict[str, Any]], path: Path) -> None:
    """Draw images per second over each axis, with the span from the slowest to the fastest run."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 3.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (axis, values) in zip(figure.subplots(1, len(AXES)), AXES.items(), strict=True):
        found = [rows[row_name(axis, value)] for value in values]
        middle = [row["images_per_second"] for row in found]
        below = [row["images_per_second"] - row["least"] for row in found]
        above = [row["most"] - row["images_per_second"] for row in found]
        axes.errorbar(values, middle, yerr=(below, above), marker="o", capsize=3)
        axes.set_xscale("log", base=2)
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.set_ylim(bottom=0)
        axes.set_xlabel(f"{axis} (JAX)" if axis == "processes" else axis)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("images/s")
    with replacing(path) as beside:
        figure.savefig(beside, format="png")


def main() -> None:
    """Measure the axes that the file lacks, and draw what it has."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS / "cost.json")
    parser.add_argument("--picture", type=Path, default=PICTURE)
    arguments = parser.parse_args()
    results = Results(arguments.out)
    for axis, values in AXES.items():
        if any(row_name(axis, value) not in results.rows for value in values):
            measure = in_turn if axis in SETTINGS else by_processes
            for name, row in measure(axis).items():
                results.add(name, row)
                print(name, row, flush=True)
    draw(results.rows, arguments.picture)


if __name__ == "__main__":
    main()
