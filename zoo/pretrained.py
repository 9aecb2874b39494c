"""Weights by name: where they lie, what their cards say, and how they are loaded."""

import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from zoo import downloads, facts, official
from zoo.cards import CARD_FILE, MODEL_FILE, Card
from zoo.errors import InputError, differences, nearest
from zoo.files import expanded, is_dir, is_file, sha256
from zoo.registry import create_model, resolved_norm

if TYPE_CHECKING:
    import keras

FOLDERS_VARIABLE = "FOLDZOO_MODELS"
HUGGING_FACE = "hf://"
_HINT = "with these overrides; accepted are overrides that change no layer but the logits"
LOGITS = "logits"  # how the names of layers begin that depend on the classes; see zoo.blocks.model
Logits = Literal["copied", "fitting", "new"]


def folders() -> list[Path]:
    """List the folders that are searched for weights, first one first.

    Returns:
        Those in the environment variable FOLDZOO_MODELS, then what an installed package carries,
        then ``saved_models`` of a checkout.

    Raises:
        InputError: A home folder that the variable names is not known.
    """
    parts = os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep)
    asked = [expanded(part) for part in parts if part]
    package = Path(__file__).parent
    return [*asked, package / "saved_models", package.parent / "saved_models"]


def names() -> list[str]:
    """List the names of all weights: those in `folders`, and those that can be fetched; sorted."""
    return sorted({*stored(), *official.names()})


def stored() -> set[str]:
    """Give the names of the weights that lie in `folders`."""
    there = [folder for folder in folders() if is_dir(folder)]
    found = (card.parent.name for folder in there for card in folder.glob(f"*.*/{CARD_FILE}"))
    return {name for name in found if not name.startswith(".")}  # those are half-written


def folder(name: str | os.PathLike[str]) -> Path:
    """Find the folder of a set of weights.

    Args:
        name: ``arch.tag``, or the path of the folder itself.

    Returns:
        The folder, with a card in it.

    Raises:
        InputError: There are no weights of that name in a folder; the nearest names are told.
    """
    if isinstance(name, os.PathLike):
        if is_file(Path(name) / CARD_FILE):
            return Path(name)
        raise InputError(f"accepted is a folder with a {CARD_FILE}; there is none in {name}")
    if not isinstance(name, str):
        raise InputError(
            f"accepted is the name of weights, for example 'resnet20.digits'; received {name!r}"
        )
    found = stored()
    for parent in folders():
        if name in found and is_file(parent / name / CARD_FILE):
            return parent / name
    if name in official.names():
        raise InputError(f"{name}: its weights are fetched, and lie in no folder with a card")
    raise InputError(f"there are no weights named {name!r}; {nearest(name, names())}")


def is_fetched(name: str | os.PathLike[str]) -> bool:
    """Say whether weights are official ones, and none of that name lie in a folder."""
    return isinstance(name, str) and name not in stored() and name in official.names()


def card(name: str | os.PathLike[str]) -> Card:
    """Read the card of a set of weights.

    Args:
        name: ``arch.tag``, for example ``resnet20.digits``, or the path of a folder with a card.

    Returns:
        The card, frozen.

    Raises:
        InputError: There are no such weights, or the card is damaged.

    Example:
        >>> zoo.card("resnet20.digits").metrics["test_accuracy"]
    """
    if is_fetched(name):
        return official.card(str(name))
    return Card.read(folder(name) / CARD_FILE)


def load_model(name: str | os.PathLike[str], **overrides: Any) -> "keras.Model":
    """Build a pretrained model by name, with its weights.

    The weight file's hash is checked against the card before Keras opens it. Official weights,
    such as ``resnet50.imagenet``, are fetched first where they are not in the cache: see
    `zoo.downloads.fetch` for what the environment says of cache, mirror and network.

    Args:
        name: ``arch.tag``, for example ``resnet20.digits``; the path of a folder with a card; or
            ``hf://user/model``, which Keras fetches from Hugging Face as it is, without a card.
        **overrides: Arguments of `zoo.create_model` to be other than at training. Layers that
            keep their name and shapes get the weights; with another ``num_classes`` the logits
            layer is new. Of the norm only what matters in training may be another: its momentum,
            whether it is synchronized, and the groups of a kind that has none.

    Returns:
        A keras.Model, as `zoo.create_model` returns it.

    Raises:
        InputError: There are no such weights, the file cannot be had, is damaged or not the one
            the card speaks of, or an override is unknown, changes more layers than the logits, or
            makes the same weights compute something else.

    Example:
        >>> model = zoo.load_model("resnet20.digits")
        >>> backbone = zoo.load_model("resnet20.digits", include_top=False)
    """
    if isinstance(name, str) and name.startswith(HUGGING_FACE):
        return _from_hugging_face(name, overrides)
    if is_fetched(name):
        about = official.card(str(name))
        _check_overrides(about, overrides)
        if not overrides:
            return official.load(about.name)
        changed = {**about.options(), **overrides}
        outlines = facts.outline_of(about), facts.outline(about.arch, **changed)
        _pairs(*outlines, logits="fitting", name=about.name, hint=_HINT)  # before a long download
        source = official.load(about.name)
        model = create_model(about.arch, **changed)
        copy_weights(source, model, logits="fitting", name=about.name, hint=_HINT)
        return model
    where = folder(name)
    return load_weights(Card.read(where / CARD_FILE), where / MODEL_FILE, **overrides)


def _from_hugging_face(address: str, overrides: dict[str, Any]) -> "keras.Model":
    """Load a model as Keras does it from Hugging Face, in safe mode."""
    import keras

    if overrides:
        raise InputError(f"{address}: accepted are no overrides; received {', '.join(overrides)}")
    if downloads.is_offline():
        raise InputError(
            f"{address}: {downloads.OFFLINE_VARIABLE} is set; accepted is a local name"
        )
    try:
        model: keras.Model = keras.saving.load_model(address, compile=False, safe_mode=True)
    except (ImportError, OSError, ValueError) as error:  # of Hugging Face's package and Keras
        why = str(error).strip().partition("\n")[0]
        raise InputError(f"{address} cannot be loaded: {why}") from error
    return model


def load_weights(card: Card, path: Path, **overrides: Any) -> "keras.Model":
    """Build the model a card speaks of, with the weights from a file; see `load_model`."""
    from zoo import keras_files

    _check_overrides(card, overrides)
    if not is_file(path):
        raise InputError(f"{card.name}: the weight file {path} is missing")
    received = sha256(path)
    if received != card.sha256:
        raise InputError(
            f"{path} is not the file that its card speaks of: SHA-256 {received[:12]}..., "
            f"accepted {card.sha256[:12]}...; the file is damaged or was exchanged"
        )
    model = create_model(card.arch, **{**card.options(), **overrides})
    source = keras_files.load(path)
    copy_weights(source, model, logits="fitting", name=card.name, hint=_HINT)
    return model


def _check_overrides(card: Card, overrides: dict[str, Any]) -> None:
    """Refuse overrides that are unknown, or with which the weights would fit and mean nothing."""
    known = inspect.signature(create_model).parameters.keys() - {"name"}
    for key in overrides:
        if key not in known:
            raise InputError(f"{card.name}: unknown override {key!r}; {nearest(key, known)}")
    padding = overrides.get("padding", card.padding)
    if padding != card.padding:
        raise InputError(
            f"{card.name}: with another padding its weights compute something else; "
            f"accepted is {card.padding!r}; received {padding!r}"
        )
    trained = card.norm.at_inference()
    asked = resolved_norm(card.arch, overrides.get("norm", card.norm)).at_inference()
    differing = differences(asked, trained)
    if differing:
        raise InputError(
            f"{card.name}: with another norm its weights compute something else; it differs in "
            f"{', '.join(differing)}; accepted are changes of momentum and synchronized"
        )


def copy_weights(
    source: "keras.Model", model: "keras.Model", *, logits: Logits, name: str, hint: str
) -> None:
    """Copy weights layer by layer, by name.

    Args:
        source: The model that has them.
        model: The one that gets them, changed in place.
        logits: Of the layers that depend on the classes: whether their weights are ``copied`` as
            all others are, only where they are ``fitting``, or stay ``new``.
        name: What the weights are called.
        hint: What is accepted, for the message.

    Raises:
        InputError: The weights do not fit a layer.
    """
    for given, layer in _pairs(source, model, logits=logits, name=name, hint=hint):
        layer.set_weights(given.get_weights())


def _pairs(
    source: "keras.Model", model: "keras.Model", *, logits: Logits, name: str, hint: str
) -> list[tuple["keras.Layer", "keras.Layer"]]:
    """Pair the layers whose weights are to be copied; refuse those that do not fit."""
    pairs = []
    given = {layer.name: layer for layer in source.layers}
    for layer in model.layers:
        is_logits = layer.name.partition("_")[0] == LOGITS
        if not layer.weights or (is_logits and logits == "new"):
            continue
        ours, theirs = _shapes(layer), _shapes(given.get(layer.name))
        if ours == theirs:
            pairs.append((given[layer.name], layer))
        elif not (is_logits and logits == "fitting"):
            raise InputError(
                f"{name}: the weights do not fit layer {layer.name!r}, whose shapes are {ours}, "
                f"there {theirs}, {hint}"
            )
    return pairs


def _shapes(layer: "keras.Layer | None") -> list[tuple[int, ...]]:
    """List the shapes of a layer's weights; none where there is no such layer."""
    return [tuple(weight.shape) for weight in layer.weights] if layer is not None else []
