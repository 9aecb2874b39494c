"""Compare how fast batches are made, with each augmentation, with how fast a model learns them.

    python -m tests.bench.loader [--out FILE]

The images have the shape of CIFAR-10's, the model is ResNet-20 in the precision that `zoo train`
chooses. Short runs of the training alone and of the loader alone, with each augmentation, take
turns in one process, so that what slows the machine down slows all. Run it on a machine that does
nothing else: a training uses all cores and loses more to other programs than the loader's thread.
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
from training.precision import resolve
from zoo import onednn
from zoo.preprocessing import Preprocessing

from .records import fill_at_once, quartiles
from .steps import BATCH, rate, training_step

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
RUN_SECONDS = 2.0


def measure() -> dict[str, dict[str, Any]]:
    """Take turns of the training and of each loader."""
    onednn.prefer()
    precision = resolve("auto")
    learn = training_step(precision)
    loaders = {
        name: functools.partial(next, _batches(AUGMENTATIONS[name])) for name in AUGMENTATIONS
    }
    for step in (learn, *loaders.values()):
        step(), step()  # the first one compiles
    load = os.getloadavg()[0]
    rounds = [
        (
            rate(learn, RUN_SECONDS),
            {name: rate(make, RUN_SECONDS) for name, make in loaders.items()},
        )
        for _ in range(ROUNDS)
    ]
    return {
        name: {
            "loader": statistics.median(made[name] for _, made in rounds),
            "training": statistics.median(learned for learned, _ in rounds),
            **quartiles([made[name] / learned for learned, made in rounds]),
            "rounds": ROUNDS,
            "precision": precision,
            "pillow": importlib.metadata.version("pillow"),
            "load": load,
        }
        for name in AUGMENTATIONS
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


def main() -> None:
    """Measure, if the file does not exist."""
    fill_at_once("loader", __doc__, measure)


if __name__ == "__main__":
    main()
