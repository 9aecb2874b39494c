"""How a model is fed and read, as a card or a bundle tells it."""

import os
from dataclasses import dataclass
from pathlib import Path

from export import manifest
from export.bundle_checks import fed_with
from zoo.cards import CARD_FILE, Card
from zoo.errors import InputError
from zoo.files import is_dir, is_file
from zoo.preprocessing import Preprocessing


@dataclass(frozen=True)
class Described:
    """What is needed to feed a model with images and to read its answer.

    Args:
        where: The card or the bundle that tells it.
        preprocessing: What turns an image into the model's input.
        labels: The classes' names; empty where it tells none.
    """

    where: str
    preprocessing: Preprocessing
    labels: tuple[str, ...]


def described(path: str | os.PathLike[str]) -> Described:
    """Read a description of a model.

    Args:
        path: A ``card.json``, a folder that holds one, or a bundle that `export.bundle` wrote.

    Returns:
        The description.

    Raises:
        InputError: It is none of these, it is damaged, or it tells no preprocessing.

    Example:
        >>> described("runs/demo").labels
    """
    path = Path(path)
    if is_file(path / manifest.MANIFEST_FILE):
        fed = fed_with(path)
        if fed is None:
            raise InputError(
                f"{path} is not as it was shipped: its ONNX file is another one, or is missing; "
                f"`zoo validate {path}` tells more"
            )
        return Described(str(path), *fed)
    card = Card.read(path / CARD_FILE if is_dir(path) else path)
    return Described(str(path), card.preprocessing, card.labels)
