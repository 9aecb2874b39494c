"""Compare the throughput of `zoo serve` with that of onnxruntime called directly.

    python -m tests.bench.serving [--out FILE] [--picture FILE]

Onnxruntime runs each batch size in this process; a server gets one image per request, from a
client in a process of its own that keeps so many requests with it. Onnxruntime has as many threads
as there are cores; so has a server's one instance of the model, and another server has that many
instances of one thread. All sizes, levels and servers take turns, so that what slows the machine
down slows all. A round's ratio is of the server and of the batch size that is fastest over all
rounds. Server and client share the cores: what the client computes (it is told) the server lacks.
Run it on a machine that does nothing else; the first run installs the server.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np

import export
from export.latency import calls, runner
from export.serving import Server
from export.targets import triton
from zoo.files import replacing
from zoo.hardware import cores

from .closed_loop import keep_busy, request
from .models import application
from .records import RESULTS, Results, alone, quartiles

PICTURE = Path(__file__).parents[2] / "docs" / "serving.png"
# A light model shows what a request costs beside the model, a heavy one what is left of that.
MODELS: dict[str, Callable[[], Any]] = {
    "resnet20.cifar10": lambda: "resnet20.cifar10",
    "MobileNetV2": lambda: application("MobileNetV2"),
}
COUNTS = (1, 2, 4, 8, 16, 32, 64)  # of images in a batch, and of requests at a time
INSTANCES = ("one instance", "an instance a core")
AIMED = 32  # the concurrency whose ratio ought to be at least 0.8
ROUNDS = 5
# Several batches of the largest model's: the last one is answered while fewer and fewer are asked.
RUN_SECONDS = 2.5
QUARTILES = ("ratio_low", "ratio_high")
FREE = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}


def measure(name: str) -> dict[str, Any]:
    """Serve a model in both ways, and let the servers and onnxruntime take turns."""
    load = os.getloadavg()[0]
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        client = stack.enter_context(ProcessPoolExecutor(1, mp_context=context))
        kinds = []
        for kind, instances in zip(INSTANCES, (1, cores()), strict=True):
            bundle = folder / kind
            export.bundle(MODELS[name](), bundle, target="triton", instances=instances)
            server = stack.enter_context(export.serve(bundle, **FREE, threads=cores()))
            if not kinds:
                kinds.append(_direct(bundle / triton.model_file(server.name), server))
            kinds.append(_served(kind, server, client, _image(server, 1)))
        rounds = in_turn(*kinds)
    return {**summed_up(rounds), "rounds": ROUNDS, "load": load}


def in_turn(*kinds: dict[str, Callable[[], dict[str, Any]]]) -> list[dict[str, dict[str, Any]]]:
    """Let all take turns, in the other direction in every other round; what each found."""
    turns = {name: turn for kind in kinds for name, turn in kind.items()}
    for turn in turns.values():
        turn()
    return [
        {name: turns[name]() for name in (turns if number % 2 else reversed(list(turns)))}
        for number in range(ROUNDS)
    ]


def _image(server: Server, batch: int) -> np.ndarray:
    """Make a batch of noise, in the size that the server's model takes."""
    _, told = server.request("GET", f"/v2/models/{server.name}")
    shape = (batch, *told["inputs"][0]["shape"][1:])
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def _direct(file: Path, server: Server) -> dict[str, Callable[[], dict[str, Any]]]:
    """Make the turns of onnxruntime."""

    def turn(count: int) -> Callable[[], dict[str, Any]]:
        call = runner(file, [_image(server, count)], threads=cores())

        def run() -> dict[str, Any]:
            used = time.process_time()
            times = calls(call, seconds=RUN_SECONDS)
            used = time.process_time() - used
            images = count * len(times)
            return {
                "images_per_second": 1e3 * images / sum(times),
                "milliseconds": times,
                "processor_us": 1e6 * used / images,
            }

        return run

    return {direct_name(count): turn(count) for count in COUNTS}


def _served(
    kind: str, server: Server, client: ProcessPoolExecutor, image: np.ndarray
) -> dict[str, Callable[[], dict[str, Any]]]:
    """Make the turns of a server."""
    sent = request(server.name, image)

    def turn(count: int) -> dict[str, Any]:
        used, images, batches = _processor_us(server), *_computed(server)
        found = client.submit(keep_busy, server.http, sent, count, RUN_SECONDS).result()
        now, images_now, batches_now = _processor_us(server), *_computed(server)
        return {
            "images_per_second": found.images_per_second,
            "milliseconds": found.milliseconds,
            "processor_us": (now - used) / (images_now - images),
            "client_us": found.processor_us,
            "batch": (images_now - images) / (batches_now - batches),
        }

    return {served_name(kind, count): lambda count=count: turn(count) for count in COUNTS}


def direct_name(count: int) -> str:
    """Name the turns of a batch size."""
    return f"batch {count}"


def served_name(kind: str, count: int) -> str:
    """Name the turns of a server at a concurrency."""
    return f"{kind}, concurrency {count}"


def _processor_us(server: Server) -> float:
    """Tell how long the server's processes have computed, in microseconds."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # a process that has ended meanwhile
            _, _, text = path.read_text(encoding="utf-8", errors="replace").rpartition(")")
            fields = text.split()
            if int(fields[2]) == server.process.pid:  # its group
                ticks += int(fields[11]) + int(fields[12])
    return 1e6 * ticks / os.sysconf("SC_CLK_TCK")


def _computed(server: Server) -> tuple[int, int]:
    """Ask how many images the server has computed, in how many batches."""
    _, told = server.request("GET", f"/v2/models/{server.name}/stats")
    (found,) = told["model_stats"]
    return int(found["inference_count"]), int(found["execution_count"])


def summed_up(rounds: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Sum up all rounds; each server is compared with the batch size that is fastest over all."""
    rows = {name: _row([one[name] for one in rounds]) for name in rounds[0]}
    best = max(map(direct_name, COUNTS), key=lambda name: rows[name]["images_per_second"])
    for name in (served_name(kind, count) for kind in INSTANCES for count in COUNTS):
        rates = [(one[name]["images_per_second"], one[best]["images_per_second"]) for one in rounds]
        rows[name] |= quartiles([ours / direct for ours, direct in rates])
    return {"best": best, "turns": rows}


def _row(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Sum up one name's turns."""
    times = np.concatenate([one["milliseconds"] for one in found])
    medians = (key for key in found[0] if key != "milliseconds")
    return {
        **{key: float(np.median([one[key] for one in found])) for key in medians},
        "p50_ms": float(np.median(times)),
        "p99_ms": float(np.quantile(times, 0.99)),
    }


def draw(rows: dict[str, dict[str, Any]], path: Path) -> None:
    """Draw throughput and p99 against concurrency, a row of pictures for each model."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 3 * len(rows)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for pair, (name, row) in zip(figure.subplots(len(rows), 2), rows.items(), strict=True):
        best = row["turns"][row["best"]]["images_per_second"]
        for kind in INSTANCES:
            turns = [row["turns"][served_name(kind, count)] for count in COUNTS]
            rates = [turn["images_per_second"] for turn in turns]
            spans = [[abs(turn[end] - turn["ratio"]) * best for turn in turns] for end in QUARTILES]
            pair[0].errorbar(COUNTS, rates, yerr=spans, marker="o", capsize=3, label=kind)
            for key, style in (("p99_ms", "-"), ("p50_ms", ":")):
                values = [turn[key] for turn in turns]
                color = f"C{INSTANCES.index(kind)}"
                label = f"{key.partition('_')[0]}, {kind}"
                pair[1].plot(COUNTS, values, style, marker="o", color=color, label=label)
        pair[0].axhline(best, color="C2", label=f"onnxruntime, {row['best']}")
        pair[0].set_ylabel(f"{name}, images/s")
        pair[0].legend(loc="lower right")
        pair[1].set_ylabel("ms")
        pair[1].legend(loc="upper left")
        for axes in pair:
            axes.set_xscale("log", base=2)
            axes.set_xticks(COUNTS, [str(count) for count in COUNTS])
            axes.set_ylim(bottom=0)
            axes.grid(alpha=0.3)
    for axes in figure.axes[-2:]:
        axes.set_xlabel("requests at a time")
    with replacing(path) as beside:
        figure.savefig(beside, format="png")


def main() -> None:
    """Measure the models that the file lacks, and draw what it has."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS / "serving.json")
    parser.add_argument("--picture", type=Path, default=PICTURE)
    arguments = parser.parse_args()
    results = Results(arguments.out)
    for name in MODELS:
        if name not in results.rows:
            results.add(name, alone(measure, name))
            turns = results.rows[name]["turns"]
            for kind in INSTANCES:
                print(name, kind, json.dumps(turns[served_name(kind, AIMED)]), flush=True)
    draw(results.rows, arguments.picture)


if __name__ == "__main__":
    main()
