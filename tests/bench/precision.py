"""Compare the speed of a training step in each precision, with TensorFlow's kernels and with XLA.

    python -m tests.bench.precision [--out FILE]

All variants stay compiled in one process; short runs of them take turns, so that what slows the
machine down slows all. Run it on a machine that does nothing else.
"""

import os
import statistics
import time
from typing import Any

import keras
import numpy as np

import zoo
from training.optimizer import SGD
from zoo import xla
from zoo.policies import policy

from .records import fill_at_once

VARIANTS = {
    f"{precision}, {name}": (precision, jit)
    for precision in ("float32", "mixed_bfloat16")
    for name, jit in (("TensorFlow's kernels", False), ("XLA", True))
}
BASE = next(iter(VARIANTS))
BATCH = 128
ROUNDS = 9
RUN_SECONDS = 2.0


def measure() -> dict[str, dict[str, Any]]:
    """Take turns over all variants; each round gives one rate for each."""
    steps = {name: training_step(*variant) for name, variant in VARIANTS.items()}
    for step in steps.values():
        step(), step()  # the first one compiles
    load = os.getloadavg()[0]
    rounds = []
    for number in range(ROUNDS):
        order = list(steps) if number % 2 else list(reversed(steps))
        rounds.append({name: rate(steps[name]) for name in order})
    return {
        name: {
            "images_per_second": statistics.median(one[name] for one in rounds),
            **quartiles([one[name] / one[BASE] for one in rounds]),
            "chosen": VARIANTS[name][1] is xla.is_needed(VARIANTS[name][0].removeprefix("mixed_")),
            "rounds": ROUNDS,
            "load": load,
        }
        for name in VARIANTS
    }


def training_step(precision: str, jit: bool | str) -> Any:
    """Make a training step of ResNet-20 for CIFAR-10."""
    with policy(precision):
        model = zoo.create_model("resnet20")
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(SGD(0.1, l2=1e-4), loss, metrics=["accuracy"], jit_compile=jit)
    random = np.random.default_rng(0)
    images = random.normal(size=(BATCH, 32, 32, 3)).astype(np.float32)
    labels = np.eye(10, dtype=np.float32)[random.integers(0, 10, BATCH)]
    return lambda: model.train_on_batch(images, labels)


def rate(step: Any) -> float:
    """Take steps for a while; return the images per second."""
    start, count = time.perf_counter(), 0
    while count < 2 or time.perf_counter() - start < RUN_SECONDS:
        step()
        count += 1
    return count * BATCH / (time.perf_counter() - start)


def quartiles(ratios: list[float]) -> dict[str, float]:
    """Name the median of some ratios, and between which two the middle half of them lies."""
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    return {"ratio": float(middle), "ratio_low": float(low), "ratio_high": float(high)}


def main() -> None:
    """Measure, if the file does not exist."""
    fill_at_once("precision", __doc__, measure)


if __name__ == "__main__":
    main()
