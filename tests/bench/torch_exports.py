"""Compare onnxruntime's latency on our files, on Keras' own and on those that PyTorch exports.

    python -m tests.bench.torch_exports [--torch-python PYTHON] [--models A,B] [--out FILE]

The same networks, with random weights and norm statistics of a trained one's kind: those of
keras.applications, folded and exported by us and as they are by ``model.export(format="onnx")``,
and written again in PyTorch and exported by it. PyTorch's files take images with their channels
first, and so does the file of ours that is beside them. The four files of a network stay loaded;
short runs take turns, so that what slows the machine down slows all. PyTorch is the extra
``bench``; ``--torch-python`` names the interpreter of another environment that has it. Run it on a
machine that does nothing else.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import export
from export.latency import ratios, runner, take_turns

from .latency import ROUNDS, RUN_SECONDS, in_all_ways
from .models import application
from .onnx_nodes import plain
from .records import RESULTS, Results, alone, chosen, quartiles
from .torch_training import check

NETWORKS = ("ResNet50", "MobileNetV2", "DenseNet121")
KINDS = ("ours", "ours_nchw", "keras", "torch")
FIRST = ("ours_nchw", "torch")  # which take images with their channels first
BESIDE = {"keras": "ours", "torch": "ours_nchw"}  # each beside ours of the same layout
THEIRS = Path(__file__).with_name("torch_networks.py")


def measure(name: str, python: str) -> dict[str, Any]:
    """Let the files of a network take turns, for each number of threads and batch size."""
    with tempfile.TemporaryDirectory() as folder:
        files = {kind: Path(folder, f"{kind}.onnx") for kind in KINDS}
        command = [python, "-W", "ignore", str(THEIRS), name, str(files["torch"])]
        version = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        model = application(name)
        folded = export.fold(model)
        export.to_onnx(folded, files["ours"])
        export.to_onnx(folded, files["ours_nchw"], layout="NCHW")
        plain(model, files["keras"])
        keras_kernels, torch_kernels = (kernels(files[kind]) for kind in ("keras", "torch"))
        if keras_kernels != torch_kernels:
            raise SystemExit(f"{name}: kernels {keras_kernels}, in PyTorch {torch_kernels}")
        shape = model.inputs[0].shape[1:]
        del model, folded
        found = in_all_ways(lambda threads, batch: compare(files, threads, (batch, *shape)))
        return {"torch_version": version.split()[-1], "latency": found}


def kernels(path: Path) -> Counter[tuple[int, ...]]:
    """Count the kernels of a file's convolutions by shape: equal networks have the same."""
    import onnx

    graph = onnx.load(path).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    return Counter(shapes[node.input[1]] for node in graph.node if node.op_type == "Conv")


def compare(files: dict[str, Path], threads: int, shape: tuple[int, ...]) -> dict[str, Any]:
    """Let files take turns; their order is another one in every other round."""
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    first = np.ascontiguousarray(image.transpose(0, 3, 1, 2))  # PyTorch's layout
    load = os.getloadavg()[0]
    runners = {
        kind: runner(path, [first if kind in FIRST else image], threads=threads)
        for kind, path in files.items()
    }
    times = take_turns(runners, rounds=ROUNDS, seconds=RUN_SECONDS)
    medians = {
        f"{kind}_ms": float(np.median([np.median(turn) for turn in turns]))
        for kind, turns in times.items()
    }
    ours = {
        other: quartiles(list(ratios(times[own], times[other]))) for other, own in BESIDE.items()
    }
    return {**medians, "ours_to": ours, "rounds": ROUNDS, "load": load}


def main() -> None:
    """Measure what the file lacks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch-python", default=sys.executable)
    parser.add_argument("--models", help="names separated by commas; default: all")
    parser.add_argument("--out", type=Path, default=RESULTS / "torch_exports.json")
    arguments = parser.parse_args()
    results = Results(arguments.out)
    for name in chosen(arguments.models, NETWORKS):
        if name not in results.rows:
            check(arguments.torch_python)
            results.add(name, alone(measure, name, arguments.torch_python))
            print(name, results.rows[name], flush=True)


if __name__ == "__main__":
    main()
