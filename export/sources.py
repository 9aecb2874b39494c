"""Where a model to be deployed comes from: a name with weights, a file, or an object."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zoo import keras_files, pretrained
from zoo.cards import CARD_FILE, MODEL_FILE, Card
from zoo.errors import InputError
from zoo.files import is_dir, is_file, sha256
from zoo.history import HISTORY_FILE, read
from zoo.preprocessing import Preprocessing

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Source:
    """A trained model as it was given, under the policy that it was trained in.

    Args:
        name: What to call it: the card's name, or the file's or model's.
        model: The model.
        card: What is known of its weights, if anything.
        folder: Where its weights lie, if they come from a file that the card speaks of.
        neighbour: The card of another model in its folder, which takes and gives the same: how
            images are fed and labels are read holds for this one too, and nothing else does.
    """

    name: str
    model: "keras.Model"
    card: Card | None = None
    folder: Path | None = None
    neighbour: Card | None = None

    @property
    def preprocessing(self) -> Preprocessing:
        """What turns an image into the model's input.

        Raises:
            InputError: Nobody knows.
        """
        if self.known_preprocessing is None:
            raise unknown_preprocessing(self.name)
        return self.known_preprocessing

    @property
    def known_preprocessing(self) -> Preprocessing | None:
        """The preprocessing, or None where nobody knows it."""
        described = self.card or self.neighbour
        return None if described is None else described.preprocessing

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes' names; empty where nobody knows them."""
        described = self.card or self.neighbour
        return () if described is None else described.labels

    def history(self) -> list[dict[str, float]]:
        """Read the training's history, one row per epoch; empty where it is not known.

        Raises:
            InputError: The file is damaged.
        """
        path = None if self.folder is None else self.folder / HISTORY_FILE
        return read(path) if path is not None and path.is_file() else []


def source(
    what: "str | os.PathLike[str] | keras.Model | Source", card: Card | None = None
) -> Source:
    """Find a model and its card.

    Args:
        what: Pretrained weights by name (``resnet20.digits``), a ``.keras`` file, a model, or a
            source, which is returned. Of a file that the ``card.json`` beside it speaks of, all is
            known that the card says; of another file in the same folder, such as a folded model,
            only how it is fed and read, and that only where its shapes are those of the card.
        card: The card to go by instead of the one beside the file, in the same way.

    Returns:
        The model, in the policy that it was saved with, and what is known of it.

    Raises:
        InputError: There is no such name or file, the file is damaged, or it has the name of the
            one that its card speaks of and is another.

    Example:
        >>> source("runs/demo/model.keras").card.labels
    """
    if isinstance(what, Source):
        return what
    if not isinstance(what, str | os.PathLike):
        return Source(what.name if card is None else card.name, what, card)
    if pretrained.is_fetched(what):
        return Source(str(what), pretrained.load_model(what), pretrained.card(what))
    path = _path(what)
    if card is None and is_file(path.parent / CARD_FILE):
        card = Card.read(path.parent / CARD_FILE)
    own = card is not None and _speaks_of(card, path)
    model = keras_files.load(path)
    fits = card is not None and _fits(card, model)
    if card is None or not own:
        return Source(path.stem, model, neighbour=card if fits else None)
    if not fits:
        raise InputError(
            f"{path}: its card says that it takes {card.input_shape} and gives {card.num_classes} "
            f"logits; it takes {model.input_shape[1:]} and gives {model.output_shape[1:]}"
        )
    return Source(card.name, model, card, folder=path.parent)


def refuse_overwriting(what: str | os.PathLike[str], out: str | os.PathLike[str]) -> None:
    """Refuse to write a model over trained weights, which no fold can give back.

    Args:
        what: What is read: a name or a file, as in `source`.
        out: The file to be written.

    Raises:
        InputError: It is the same file, or the weights that a card beside it speaks of.
    """
    path, out = _path(what), Path(out)
    same = is_file(out) and is_file(path) and out.samefile(path)
    if same or (out.name == MODEL_FILE and is_file(out.parent / CARD_FILE)):
        raise InputError(
            f"cannot write {out}: it holds trained weights, which would be lost; accepted is "
            f"another name, for example {out.with_name('folded.keras')}"
        )


def unknown_preprocessing(name: str) -> InputError:
    """Make the error for a model of which nobody knows what it is fed."""
    return InputError(
        f"{name}: its preprocessing is not known; accepted are pretrained weights, a .keras file "
        "with its card.json beside it, and an ONNX file made from these"
    )


def _path(what: str | os.PathLike[str]) -> Path:
    """Tell a name from a file, and find the file of a name."""
    path = Path(what)
    is_there = is_file(path) or is_dir(path)
    is_meant = is_there or path.suffix in (".keras", ".h5", ".onnx") or len(path.parts) > 1
    return path if is_meant else pretrained.folder(str(what)) / MODEL_FILE


def _speaks_of(card: Card, path: Path) -> bool:
    """Say whether a card is of this very file; refuse another one under the name of its own."""
    keras_files.check(path)
    received = sha256(path)
    if path.name == MODEL_FILE and received != card.sha256:
        raise InputError(
            f"{path} is not the file that its card speaks of: SHA-256 {received[:12]}..., "
            f"accepted {card.sha256[:12]}...; the file is damaged or was exchanged"
        )
    return received == card.sha256


def _fits(card: Card, model: "keras.Model") -> bool:
    """Say whether a model takes and gives what a card says; a side of None takes any."""
    takes, gives = getattr(model, "input_shape", ()), getattr(model, "output_shape", ())
    if not isinstance(takes, tuple) or not isinstance(gives, tuple):
        return False  # of several inputs or outputs
    fed = (*card.preprocessing.size, card.preprocessing.channels)
    return (
        len(takes) == 1 + len(fed)
        and all(side in (None, wanted) for side, wanted in zip(takes[1:], fed, strict=True))
        and gives[1:] == (card.num_classes,)
    )
