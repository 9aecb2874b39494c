"""Take a model of the zoo the whole way: a training step with each norm, fold, export, verdict.

Each model is built for the smallest images that leave it something to look at. With every kind of
norm it takes one training step in bfloat16; as its design has it, it is then folded, certified,
exported and judged. ``make nightly`` does so with every model that `zoo list` lists.
"""

import math
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

import export
import zoo
from export.errors import ExportError
from zoo import registry
from zoo.norm import KINDS, Norm
from zoo.policies import policy

from .models import randomize

CLASSES = 10
BATCH = 2
SMALLEST = 32  # pixels, where a design takes fewer
# At 32 the last norm of a SqueezeNet has one pixel, of which instance normalization makes zeros.
SIZES = {"squeezenet1_0": 64, "squeezenet1_1": 64}
MODELS = tuple(registry.entries())


def measure(name: str) -> dict[str, Any]:
    """Take a model the whole way."""
    entry = registry.entry(name)
    side = SIZES.get(name, min(max(entry.min_size, SMALLEST), entry.input_shape[0]))
    shape = (side, side, entry.input_shape[2])
    steps = {kind: trained(name, shape, kind) for kind in KINDS}
    return {"size": side, "steps": steps, **deployed(name, shape)}


def trained(name: str, shape: tuple[int, int, int], kind: str) -> str:
    """Take one step with a kind of norm; say what went wrong, if anything."""
    keras.utils.set_random_seed(0)
    keras.backend.clear_session()
    design = registry.entry(name).norm
    with policy("mixed_bfloat16"):
        model = zoo.create_model(
            name,
            input_shape=shape,
            num_classes=CLASSES,
            norm=Norm(kind=kind, placement=design.placement),
        )
    model.compile(
        keras.optimizers.SGD(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        # Tracing a large network takes ten times as long as the step, which is taken once.
        run_eagerly=True,
    )
    before = learned(model)
    images = np.random.default_rng(0).normal(size=(BATCH, *shape)).astype(np.float32)
    loss = float(model.train_on_batch(images, np.arange(BATCH)))
    if not math.isfinite(loss):
        return f"the loss is {loss}"
    after = learned(model)
    if not all(np.isfinite(weight).all() for weight in after):
        return "weights are not finite"
    if all((one == other).all() for one, other in zip(before, after, strict=True)):
        return "no weight moved"
    return ""


def learned(model: keras.Model) -> list[np.ndarray]:
    """Copy what a model trains."""
    return [keras.ops.convert_to_numpy(weight).copy() for weight in model.trainable_weights]


def deployed(name: str, shape: tuple[int, int, int]) -> dict[str, Any]:
    """Fold, certify, export and judge a model as its design has it, with BatchNorms as trained."""
    keras.utils.set_random_seed(0)
    keras.backend.clear_session()
    model = randomize(zoo.create_model(name, input_shape=shape, num_classes=CLASSES))
    folded = export.fold(model)
    certificate = export.certify(model, folded)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        try:
            export.to_onnx(folded, path)
            verdict = export.validate(folded, path)
            judged = "" if verdict.ok else verdict.why()
        except ExportError as error:
            judged = str(error)
    return {
        "batchnorms": len(folded.report.entries),
        "kept": {entry.layer: [*entry.codes] for entry in folded.report.kept},
        "certificate": "" if certificate.ok else certificate.why(),
        "verdict": judged,
    }


def wrong(row: dict[str, Any]) -> list[str]:
    """List what went wrong with a model, a line each."""
    steps = [f"{kind}: {problem}" for kind, problem in row["steps"].items() if problem]
    return steps + [f"{what}: {row[what]}" for what in ("certificate", "verdict") if row[what]]
