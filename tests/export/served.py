"""A small trained model with a card, and its bundle, for what serves it."""

from pathlib import Path

import keras

import export
import zoo
from zoo import keras_files
from zoo.files import sha256

SHAPE = (4, 4, 3)
LABELS = ("ant", "bee", "cat")


def tiny_model(classes: int) -> keras.Model:
    image = keras.Input(SHAPE, name="image")
    x = keras.layers.Conv2D(4, 3, use_bias=False, name="conv")(image)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(keras.layers.ReLU(name="act")(x))
    return keras.Model(image, keras.layers.Dense(classes, name="logits")(x), name="tiny")


def make_bundle(folder: Path, seed: int, labels: tuple[str, ...] = LABELS, **options) -> Path:
    """A bundle for Triton of weights by a seed, beside its model and card."""
    keras.utils.set_random_seed(seed)
    folder.mkdir()
    path = with_card(tiny_model(len(labels)), folder, labels)
    return export.bundle(path, folder / "bundle", target="triton", **options)


def with_card(model: keras.Model, folder: Path, labels: tuple[str, ...]) -> Path:
    """Save a model of images with its card beside it; return the file."""
    path = keras_files.save(model, folder / "model.keras")
    zoo.Card(
        name="tiny.test",
        arch="tiny",
        input_shape=SHAPE,
        num_classes=len(labels),
        norm=zoo.Norm(),
        dropout=0.0,
        width=1.0,
        preprocessing=zoo.Preprocessing(size=SHAPE[:2]),
        labels=labels,
        dataset="noise",
        precision="float32",
        metrics={},
        recipe={},
        sha256=sha256(path),
        versions={},
    ).write(folder / "card.json")
    return path
