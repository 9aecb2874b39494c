"""Where a model to be deployed comes from: a name with weights, a file, or an object."""

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.cards import CARD_FILE, MODEL_FILE, Card
from zoo.errors import InputError
from zoo.files import sha256
from zoo.preprocessing import Preprocessing

if TYPE_CHECKING:
    import keras

HISTORY_FILE = "history.csv"


@dataclass(frozen=True)
class Source:
    """A trained model as it was given, under the policy that it was trained in.

    Args:
        name: What to call it: the card's name, or the file's or model's.
        model: The model.
        card: What is known of its weights, if anything.
        history: The training's history, one row per epoch, if it is known.
    """

    name: str
    model: "keras.Model"
    card: Card | None = None
    history: Sequence[Mapping[str, float]] = ()

    @property
    def preprocessing(self) -> Preprocessing:
        """What turns an image into the model's input.

        Raises:
            InputError: Nobody knows.
        """
        if self.card is None:
            raise unknown_preprocessing(self.name)
        return self.card.preprocessing


def source(
    what: "str | os.PathLike[str] | keras.Model | Source", card: Card | None = None
) -> Source:
    """Find a model and its card.

    Args:
        what: Pretrained weights by name (``resnet20.digits``), a ``.keras`` file (``card.json``
            and ``history.csv`` beside it are read too), a model, or a source, which is returned.
        card: The card, where there is no file to find it beside.

    Returns:
        The model, in the policy that it was saved with, and its card.

    Raises:
        InputError: There is no such name or file, or the file is damaged or is not the one that
            its card speaks of.

    Example:
        >>> source("runs/demo/model.keras").card.labels
    """
    if isinstance(what, Source):
        return what
    if not isinstance(what, str | os.PathLike):
        return Source(what.name if card is None else card.name, what, card)
    path = _path(what)
    if card is None and (path.parent / CARD_FILE).is_file():
        card = Card.read(path.parent / CARD_FILE)
    model = _load(path, card)
    if card is not None and not _fits(card, model):
        # The card of another model that lies in the same folder.
        return Source(path.stem, model)
    return Source(path.stem if card is None else card.name, model, card, _history(path.parent))


def unknown_preprocessing(name: str) -> InputError:
    """Make the error for a model of which nobody knows what it is fed."""
    return InputError(
        f"{name}: its preprocessing is not known; accepted are pretrained weights, a .keras file "
        "with its card.json beside it, and an ONNX file made from these"
    )


def _path(what: str | os.PathLike[str]) -> Path:
    """Tell a name from a file, and find the file of a name."""
    from zoo import pretrained

    path = Path(what)
    is_file = path.exists() or path.suffix in (".keras", ".h5", ".onnx") or len(path.parts) > 1
    return path if is_file else pretrained.folder(str(what)) / MODEL_FILE


def _load(path: Path, card: Card | None) -> "keras.Model":
    """Load a file; the one that a card speaks of only if its hash is the card's."""
    from zoo import keras_files

    keras_files.check(path)
    if card is not None and path.name == MODEL_FILE and sha256(path) != card.sha256:
        raise InputError(
            f"{path} is not the file that its card speaks of: SHA-256 {sha256(path)[:12]}..., "
            f"accepted {card.sha256[:12]}...; the file is damaged or was exchanged"
        )
    return keras_files.load(path)


def _fits(card: Card, model: "keras.Model") -> bool:
    """Say whether a model takes and gives what a card says."""
    return tuple(getattr(model, "input_shape", ())[1:]) == card.input_shape and tuple(
        getattr(model, "output_shape", ())[1:]
    ) == (card.num_classes,)


def _history(folder: Path) -> list[dict[str, float]]:
    """Read the history that training left in a folder, if it did."""
    path = folder / HISTORY_FILE
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {key: float(value) for key, value in row.items() if value}
            for row in csv.DictReader(file)
        ]
