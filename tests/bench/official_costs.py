"""Measure what the weights of keras.applications cost as ONNX files: size and latency.

    python -m tests.bench.official_costs [--models A,B] [--out FILE]

Each network is built as the weights' card says, at its default size, with random weights and
BatchNorms as after training, whose values size and latency hardly depend on. It is folded,
exported and timed in a process of its own. Run it on a machine that does nothing else.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import export
import zoo
from export.latency import measure as timed
from zoo import pretrained

from .models import randomize
from .records import fill
from .zoo_results import LATENCY

WEIGHTS = tuple(name for name in zoo.list_models(pretrained=True) if pretrained.is_fetched(name))


def measure(name: str) -> dict[str, Any]:
    """Fold, export and time the network of some weights."""
    card = zoo.card(name)
    folded = export.fold(randomize(zoo.create_model(card.arch, **card.options())))
    image = np.random.default_rng(0).normal(size=(1, *card.input_shape)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = export.to_onnx(folded, Path(folder, "model.onnx"))
        latency = timed(path, [image])
        size = path.stat().st_size
    return {
        "batchnorms": len(folded.report.entries),
        "kept": len(folded.report.kept),
        "onnx_bytes": size,
        "latency": {key: getattr(latency, key) for key in LATENCY},
        "load": os.getloadavg()[0],
    }


if __name__ == "__main__":
    fill("official_costs", __doc__, WEIGHTS, measure)
