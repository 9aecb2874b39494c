"""A model and a recipe that train in a second, for tests and for the processes that they start."""

from typing import Any

import training
import zoo
from zoo import blocks


def tiny(options):
    image = blocks.image(options)
    x = blocks.conv_norm_act(image, 8, 3, norm=options.norm, stride=2, name="stem")
    return blocks.model(options, image, {2: x}, name="tiny")


def register() -> None:
    """Put the small model into the registry."""
    zoo.register_model(input_shape=(8, 8, 3), num_classes=10, paper="none")(tiny)


def tiny_recipe(**changes: Any) -> training.Recipe:
    """Two epochs of five steps on 8x8 digits; the small model has to be registered."""
    values = {
        "name": "tiny.digits",
        "arch": "tiny",
        "dataset": "digits",
        "image_size": 8,
        "epochs": 2,
        "batch_size": 256,
        "learning_rate": 0.1,
        "holdout": 0.1,
        "precision": "float32",
    }
    return training.Recipe(**{**values, **changes})
