"""Weights by name: where they lie, what their cards say, and how they are loaded."""

import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.cards import CARD_FILE, MODEL_FILE, Card
from zoo.errors import InputError, differences, nearest
from zoo.files import sha256
from zoo.norm import Norm
from zoo.registry import create_model

if TYPE_CHECKING:
    import keras

FOLDERS_VARIABLE = "FOLDZOO_MODELS"


def folders() -> list[Path]:
    """List the folders that are searched for weights, first one first.

    Returns:
        Those in the environment variable FOLDZOO_MODELS, then what an installed package carries,
        then ``saved_models`` of a checkout.
    """
    asked = [Path(part) for part in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if part]
    package = Path(__file__).parent
    return [*asked, package / "saved_models", package.parent / "saved_models"]


def names() -> list[str]:
    """List the names of all weights that are there, sorted."""
    found = {card.parent.name for folder in folders() for card in folder.glob(f"*.*/{CARD_FILE}")}
    return sorted(found)


def folder(name: str) -> Path:
    """Find the folder of a set of weights.

    Args:
        name: ``arch.tag``.

    Returns:
        The folder, with a card in it.

    Raises:
        InputError: There are no weights of that name; the nearest names are told.
    """
    if not isinstance(name, str):
        raise InputError(
            f"accepted is the name of weights, for example 'resnet20.digits'; received {name!r}"
        )
    for parent in folders():
        if name in names() and (parent / name / CARD_FILE).is_file():
            return parent / name
    raise InputError(f"there are no weights named {name!r}; {nearest(name, names())}")


def card(name: str) -> Card:
    """Read the card of a set of weights.

    Args:
        name: ``arch.tag``, for example ``resnet20.digits``.

    Returns:
        The card, frozen.

    Raises:
        InputError: There are no such weights, or the card is damaged.

    Example:
        >>> zoo.card("resnet20.digits").metrics["test_accuracy"]
    """
    return Card.read(folder(name) / CARD_FILE)


def load_model(name: str, **overrides: Any) -> "keras.Model":
    """Build a pretrained model by name, with its weights.

    The weight file's SHA-256 is checked against the card before Keras opens it.

    Args:
        name: ``arch.tag``, for example ``resnet20.digits``.
        **overrides: Arguments of `zoo.create_model` to be other than at training. Layers that
            keep their name and shapes get the weights; with another ``num_classes`` the logits
            layer is new. Of the norm only what matters in training may be another: its momentum,
            whether it is synchronized, and the groups of a kind that has none.

    Returns:
        A keras.Model, as `zoo.create_model` returns it.

    Raises:
        InputError: There are no such weights, the file is damaged or not the one the card
            speaks of, or an override is unknown, changes more layers than the logits, or makes
            the same weights compute something else.

    Example:
        >>> model = zoo.load_model("resnet20.digits")
        >>> backbone = zoo.load_model("resnet20.digits", include_top=False)
    """
    where = folder(name)
    return load_weights(Card.read(where / CARD_FILE), where / MODEL_FILE, **overrides)


def load_weights(card: Card, path: Path, **overrides: Any) -> "keras.Model":
    """Build the model a card speaks of, with the weights from a file; see `load_model`."""
    from zoo import keras_files

    _check_overrides(card, overrides)
    if not path.is_file():
        raise InputError(f"{card.name}: the weight file {path} is missing")
    received = sha256(path)
    if received != card.sha256:
        raise InputError(
            f"{path} is not the file that its card speaks of: SHA-256 {received[:12]}..., "
            f"accepted {card.sha256[:12]}...; the file is damaged or was exchanged"
        )
    wanted: dict[str, Any] = {
        "input_shape": card.input_shape,
        "num_classes": card.num_classes,
        "norm": card.norm,
        "dropout": card.dropout,
        "stochastic_depth": card.stochastic_depth,
        "width": card.width,
        "padding": card.padding,
    }
    model = create_model(card.arch, **{**wanted, **overrides})
    source = keras_files.load(path)
    _copy(source, model, name=card.name)
    return model


def _check_overrides(card: Card, overrides: dict[str, Any]) -> None:
    """Refuse overrides that are unknown, or with which the weights would fit and mean nothing."""
    known = inspect.signature(create_model).parameters.keys() - {"name"}
    for key in overrides:
        if key not in known:
            raise InputError(f"{card.name}: unknown override {key!r}; {nearest(key, known)}")
    trained = card.norm.at_inference()
    asked = Norm.of(overrides.get("norm", card.norm)).at_inference()
    differing = differences(asked, trained)
    if differing:
        raise InputError(
            f"{card.name}: with another norm its weights compute something else; it differs in "
            f"{', '.join(differing)}; accepted are changes of momentum and synchronized"
        )


def _copy(source: "keras.Model", model: "keras.Model", *, name: str) -> None:
    """Copy weights layer by layer, by name; only the logits may differ."""
    given = {layer.name: layer for layer in source.layers}
    for layer in model.layers:
        if not layer.weights:
            continue
        weights = given[layer.name].get_weights() if layer.name in given else []
        shapes = [tuple(weight.shape) for weight in layer.weights]
        if [weight.shape for weight in weights] == shapes:
            layer.set_weights(weights)
        elif layer.name != "logits":
            raise InputError(
                f"{name}: the weights do not fit layer {layer.name!r} with these overrides; "
                "accepted are overrides that change no layer but the logits"
            )
