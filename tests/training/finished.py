"""Folders of runs without their trainings, and what a page says, by its elements."""

from html.parser import HTMLParser
from pathlib import Path

import zoo
from zoo import history
from zoo.files import sha256

HISTORY = [
    {
        "epoch": epoch,
        "loss": 2.0 / epoch,
        "accuracy": 1 - 0.5 / epoch,
        "val_loss": 2.2 / epoch,
        "val_accuracy": 1 - 0.6 / epoch,
        "learning_rate": 0.1 / epoch,
        "images_per_second": 1234.5,
        "seconds": 100.0 * epoch,
    }
    for epoch in (1, 2, 3)
]

FINISHED = [
    "card.json",
    "curves.html",
    "curves.png",
    "history.csv",
    "model.keras",
    "recipe.toml",
]


def files(folder: Path) -> list[str]:
    """The files of a run; beside them is a folder of TensorBoard's where that is installed."""
    return sorted(path.name for path in folder.iterdir() if path.name != "tensorboard")


def make_card(recipe, *, accuracy=0.75, sha="0" * 64, **changes) -> zoo.Card:
    """What a training by a recipe might have left."""
    values = {
        "name": recipe.name,
        "arch": recipe.arch,
        "input_shape": (8, 8, 3),
        "num_classes": 10,
        "norm": recipe.norm,
        "dropout": 0.0,
        "width": 1.0,
        "preprocessing": zoo.Preprocessing(size=(8, 8), mean=(0.5,) * 3, std=(0.5,) * 3),
        "labels": tuple(map(str, range(10))),
        "dataset": recipe.dataset,
        "precision": recipe.precision,
        "metrics": {
            "test_accuracy": accuracy,
            "test_accuracy_low": accuracy - 0.02,
            "test_accuracy_high": accuracy + 0.01,
            "test_images": 359,
            "train_seconds": 61.4,
            "images_per_second": 1234.5,
            "parameters": 4321,
        },
        "recipe": recipe.model_dump(mode="json"),
        "sha256": sha,
        "versions": {"keras": "3.0.0"},
        "hardware": "a processor, 2 threads",
    }
    return zoo.Card(**{**values, **changes})


def write_run(folder: Path, recipe, **values) -> Path:
    """Leave what a finished run leaves, with a model file that is none."""
    folder.mkdir(parents=True)
    model = folder / "model.keras"
    model.write_bytes(folder.name.encode())
    make_card(recipe, sha=sha256(model), **values).write(folder / "card.json")
    history.write(folder / "history.csv", HISTORY)
    recipe.save(folder / "recipe.toml")
    return folder


class Content(HTMLParser):
    """The tables of a page as rows of texts, its images, and its drawings' labels."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.images: list[dict[str, str]] = []
        self.drawings: list[str] = []
        self.headers: list[dict[str, str]] = []
        self._cell = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._cell = True
            if tag == "th":
                self.headers.append(values)
        elif tag == "img":
            self.images.append(values)
        elif tag == "svg" and values.get("role") == "img":
            self.drawings.append(values["aria-label"])

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data):
        if self._cell:
            self.tables[-1][-1][-1] += data.strip()
