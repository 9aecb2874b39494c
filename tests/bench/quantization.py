"""Compare int8 with fp32 in onnxruntime: speed, and with trained weights accuracy too.

    python -m tests.bench.quantization [--models A,B] [--out FILE]

Both files take turns; a round's ratio is of the medians of its two turns. Speed needs no training:
networks with random statistics compute as much. Data sets are read from the folder that
TFDS_DATA_DIR names. Run it on a machine that does nothing else.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

import export
import training
import zoo
from export.latency import ratios, runner, take_turns
from export.quantization import once
from export.sources import source
from zoo.hardware import cpu_kind

from .models import application, randomize
from .records import fill

# With the data sets that they were trained on.
WEIGHTS = ("resnet20.cifar10", "resnet20.digits")
MODELS = ("ResNet50", "MobileNetV2", *WEIGHTS)
BATCHES = (1, 8)
THREADS = (1, 2)
ROUNDS = 8
RUN_SECONDS = 0.4
CALIBRATING = 8  # random images; which ones changes no time


def measure(name: str) -> dict[str, Any]:
    """Make both files of a model and compare them."""
    with tempfile.TemporaryDirectory() as folder:
        files = {"fp32": Path(folder, "fp32.onnx"), "int8": Path(folder, "int8.onnx")}
        found: dict[str, Any] = {"cpu": cpu_kind(), "load": os.getloadavg()[0]}
        if name in WEIGHTS:
            shape, found["accuracy"] = quantized(name, files)
        else:
            model = build(name)
            shape = model.inputs[0].shape[1:]
            export.to_onnx(export.fold(model), files["fp32"])
            del model
            images = np.random.default_rng(0).normal(size=(CALIBRATING, *shape))
            once(files["fp32"], files["int8"], images.astype(np.float32), precision="int8")
        found["megabytes"] = {kind: path.stat().st_size / 1e6 for kind, path in files.items()}
        found["latency"] = {
            f"{threads} thread{'s' * (threads > 1)}, batch {batch}": compare(
                files, threads, (batch, *shape)
            )
            for threads in THREADS
            for batch in BATCHES
        }
    return found


def build(name: str) -> keras.Model:
    """Build a network at 224x224: of keras.applications, or ours."""
    if name == "MobileNetV2":
        return randomize(
            zoo.create_model("mobilenet_v2", input_shape=(224, 224, 3), num_classes=1000)
        )
    return application(name)


def quantized(name: str, files: dict[str, Path]) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Quantize trained weights as `zoo export --precision int8` does; return the input's shape."""
    given = source(name)
    card = zoo.card(name)
    data = training.load_data(
        card.dataset, os.environ.get("TFDS_DATA_DIR"), preprocessing=given.preprocessing
    )
    export.to_onnx(
        export.fold(given.model),
        files["fp32"],
        preprocessing=given.preprocessing,
        labels=given.labels,
    )
    made = export.quantize(
        files["fp32"],
        files["int8"],
        calibration=(given.preprocessing(data.train.images[:]), data.train.labels),
        test=(given.preprocessing(data.test.images[:]), data.test.labels),
    )
    return card.input_shape, made.to_dict()


def compare(files: dict[str, Path], threads: int, shape: tuple[int, ...]) -> dict[str, Any]:
    """Let both files take turns; tell how many times faster int8 is."""
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    runners = {kind: runner(path, [image], threads=threads) for kind, path in files.items()}
    times = take_turns(runners, rounds=ROUNDS, seconds=RUN_SECONDS)
    faster = ratios(times["fp32"], times["int8"])
    return {
        **{f"{kind}_ms": float(np.median(np.concatenate(times[kind]))) for kind in files},
        "faster": float(np.median(faster)),
        "faster_low": float(np.quantile(faster, 0.25)),
        "faster_high": float(np.quantile(faster, 0.75)),
        "rounds": ROUNDS,
    }


def main() -> None:
    """Measure what the file lacks."""
    fill("quantization", __doc__, MODELS, measure, lambda row: row["latency"])


if __name__ == "__main__":
    main()
