"""Compare how fast batches are made, with each augmentation, with how fast a model learns them.

    python -m tests.bench.loader [--models NAME,...] [--out FILE]

The images have the shape of CIFAR-10's, the model is ResNet-20 in the precision that `zoo train`
chooses. Short runs of the loader alone and of the training alone take turns, so that what slows
the machine down slows both.
"""

import functools
import importlib.metadata
import itertools
import os
import statistics
from collections.abc import Iterator
from typing import Any

import numpy as np

import training
from training.batches import batches
from training.precision import jit_compile, resolve
from zoo.preprocessing import Preprocessing

from .precision import BATCH, quartiles, rate, training_step
from .records import fill

AUGMENTATIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "pad_crop + flip": {"pad_crop": 4, "flip": True},
    "random_resized_crop": {"random_resized_crop": 0.08},
    "rand_augment = 2": {"rand_augment": 2},
    "cutout": {"cutout": 16},
    "mixup": {"mixup": 0.2},
    "cutmix": {"cutmix": 1.0},
    "all at once": {
        "random_resized_crop": 0.08,
        "flip": True,
        "rand_augment": 2,
        "cutout": 16,
        "mixup": 0.2,
        "cutmix": 1.0,
    },
}
IMAGES = 10_000
ROUNDS = 5


def measure(name: str) -> dict[str, Any]:
    """Take turns of the loader and the training."""
    precision = resolve("auto")
    learn = training_step(precision, jit_compile(precision))
    make = functools.partial(next, _batches(AUGMENTATIONS[name]))
    for step in (learn, make):
        step(), step()  # the first one compiles
    load = os.getloadavg()[0]
    rounds = [(rate(make), rate(learn)) for _ in range(ROUNDS)]
    return {
        "loader": statistics.median(made for made, _ in rounds),
        "training": statistics.median(learned for _, learned in rounds),
        **quartiles([made / learned for made, learned in rounds]),
        "rounds": ROUNDS,
        "precision": precision,
        "pillow": importlib.metadata.version("pillow"),
        "load": load,
    }


def _batches(settings: dict[str, Any]) -> Iterator[Any]:
    """Make the batches of epoch after epoch of random images."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)
    split = training.Split(images, random.integers(0, 10, IMAGES))
    recipe = training.Recipe.load("resnet20.cifar10", augmentation=settings, batch_size=BATCH)
    preprocessing = Preprocessing(size=(32, 32), mean=(0.5,) * 3, std=(0.25,) * 3)
    for epoch in itertools.count():
        yield from batches(split, recipe, preprocessing, classes=10, epoch=epoch)


if __name__ == "__main__":
    fill("loader", __doc__, tuple(AUGMENTATIONS), measure)
