"""Measure all weights that ship: accuracy as trained, folded, exported and in int8; sizes, latency.

    python -m tests.bench.zoo_results [--models A,B] [--out FILE]

Data sets are read from the folder that TFDS_DATA_DIR names. The accuracies are of float32 on the
whole test split. Run it on a machine that does nothing else, for the latency.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import export
import training
import zoo
from export.errors import ExportError
from export.report import REPORT_FILE
from zoo import pretrained
from zoo.cards import MODEL_FILE

from .records import fill

WEIGHTS = tuple(
    name for name in zoo.list_models(pretrained=True) if not pretrained.is_fetched(name)
)
LATENCY = ("median_ms", "p95_ms", "threads")


def measure(name: str) -> dict[str, Any]:
    """Export weights by name with their test split, and take what the report says."""
    card = zoo.card(name)
    data = training.load_data(
        card.dataset, os.environ.get("TFDS_DATA_DIR"), preprocessing=card.preprocessing
    )
    train, test = (
        (card.preprocessing(split.images[:]), split.labels) for split in (data.train, data.test)
    )
    fp32 = exported(name, data=test)
    sizes = {Path(file["name"]).suffix: file["bytes"] for file in fp32["files"]}
    return {
        "accuracy": fp32["accuracy"],
        "keras_bytes": (pretrained.folder(name) / MODEL_FILE).stat().st_size,
        "onnx_bytes": sizes[".onnx"],
        "latency": latency(fp32),
        "int8": int8(name, data=test, calibration=train),
        "load": os.getloadavg()[0],
    }


def exported(name: str, **options: Any) -> dict[str, Any]:
    """Export as `zoo export` does; return the report."""
    with tempfile.TemporaryDirectory() as folder:
        made = export.bundle(name, Path(folder) / "bundle", **options)
        return json.loads((made / REPORT_FILE).read_text(encoding="utf-8"))


def int8(name: str, **options: Any) -> dict[str, Any]:
    """Tell of the int8 file; where none is within the limit of accuracy, why that is so."""
    try:
        report = exported(name, precision="int8", **options)
    except ExportError as error:
        return {"refused": str(error)}
    (size,) = (file["bytes"] for file in report["files"] if file["name"].endswith(".onnx"))
    return {
        "accuracy": report["accuracy"]["onnx"],
        "onnx_bytes": size,
        "latency": latency(report),
    }


def latency(report: dict[str, Any]) -> dict[str, Any]:
    """Take the times of one image from a report."""
    return {key: report["latency"][key] for key in LATENCY}


if __name__ == "__main__":
    fill("zoo_results", __doc__, WEIGHTS, measure)
