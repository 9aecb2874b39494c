"""What a training begins with: pretrained or made weights, and what does not move."""

import difflib
import fnmatch
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from training import filters
from training.recipe import Recipe
from zoo import keras_files, pretrained
from zoo.cards import CARD_FILE, MODEL_FILE, Card
from zoo.errors import InputError, differences, nearest
from zoo.imagenet import same_classes

NORMS = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.RMSNormalization,
)
# The layers that do nothing at inference: a branch ends in what stands before them.
PASSING = (keras.layers.Dropout, keras.layers.SpatialDropout2D, keras.layers.Identity)


def freeze(model: Any, recipe: Recipe) -> None:
    """Take the layers that a recipe freezes out of the training.

    A frozen layer keeps its weights, and a frozen BatchNorm its statistics too: it computes as at
    inference. The flags are those of the model in training. What a run stores is a fresh model, so
    every layer of it can be trained again; what was frozen is in the card's recipe.

    Args:
        model: The built model, not compiled yet; its layers are changed.
        recipe: Its ``freeze``, ``freeze_norm`` and ``whiten`` are used: the bias beside patches
            that whiten is trained, and the patches are not.

    Raises:
        InputError: A pattern matches no layer that has weights, there is no norm to freeze, or
            nothing is left to train; or the first convolution cannot whiten.

    Example:
        >>> freeze(model, training.Recipe.load("resnet20.digits", freeze=["stem_*", "stage1_*"]))
    """
    layers = {layer.name: layer for layer in _layers(model) if layer.weights}
    for pattern in recipe.freeze:
        names = fnmatch.filter(layers, pattern)
        if not names:
            raise InputError(
                f"freeze: {pattern!r} matches no layer with weights of {model.name}; "
                f"{_nearest(pattern, layers)}"
            )
        for name in names:
            layers[name].trainable = False
    if recipe.freeze_norm:
        norms = [layer for layer in layers.values() if isinstance(layer, NORMS)]
        if not norms:
            raise InputError(f"freeze_norm: {model.name} has no norm; accepted is false")
        for layer in norms:
            layer.trainable = False
    if recipe.whiten:
        filters.whitening(model).kernel.trainable = False
    if not model.trainable_variables:
        raise InputError(
            "freeze: accepted are patterns that leave something to train; received "
            f"{', '.join(recipe.freeze)}, which match all of {model.name}"
        )


def begin(
    model: Any, recipe: Recipe, labels: tuple[str, ...], images: Iterable[np.ndarray] = ()
) -> list[str]:
    """Give a model the first weights that a recipe asks for.

    Args:
        model: The built model with random weights, its frozen layers marked.
        recipe: Its ``weights``, ``zero_last_gamma``, ``whiten`` and ``identity`` are used.
        labels: The classes' names, one for each logit.
        images: Preprocessed training images, float32, (batch, height, width, channels), for
            ``whiten``.

    Returns:
        What the card should say of where the weights come from; empty for random ones.

    Raises:
        InputError: The weights are not there, are damaged, or are of another network; or the model
            has no layer that could begin as asked.

    Reference:
        Goyal et al. 2017, https://arxiv.org/abs/1706.02677, section 5.1 (zero gammas).
    """
    if recipe.weights:
        _refuse_made(recipe)
        return load(model, recipe, labels)
    if recipe.zero_last_gamma:
        zero_last_gammas(model)
    if recipe.identity:
        filters.begin_as_identities(model)
    if recipe.whiten:
        filters.whiten(filters.whitening(model), images)
    return []


def _refuse_made(recipe: Recipe) -> None:
    """Refuse what would undo a part of pretrained weights."""
    for key, what, none in (
        ("zero_last_gamma", "gammas", "false"),
        ("identity", "filters", "false"),
        ("whiten", "filters", "0"),
    ):
        value = getattr(recipe, key)
        if value:
            raise InputError(
                f"{key}: accepted is {none} with pretrained weights, whose {what} it would undo; "
                f"received {str(value).lower()} with weights {recipe.weights!r}"
            )


def load(model: Any, recipe: Recipe, labels: tuple[str, ...]) -> list[str]:
    """Give a model the pretrained weights that a recipe names; the file's hash is checked.

    Logits for other classes, or for the same ones in another order, stay as they are: random. The
    size of the images may be another one where no layer's shape depends on it.

    Args:
        model: The built model.
        recipe: Its ``weights`` are loaded; its architecture, width and norm must be theirs.
        labels: The classes' names, one for each logit.

    Returns:
        Lines for the card: which weights, with the SHA-256 of their file, and whether the logits
        are new.

    Raises:
        InputError: See `begin`.
    """
    card, path = _find(recipe.weights)
    _check_fit(card, recipe, channels=model.input_shape[-1])
    if path is None:
        source = pretrained.load_model(card.name)
        card = pretrained.card(card.name)  # the labels and the hash came with the file
    else:
        source = pretrained.load_weights(card, path)
    is_new = not same_classes(card.labels, labels)
    pretrained.copy_weights(
        source,
        model,
        logits="new" if is_new else "copied",
        name=f"weights: {card.name}",
        hint="accepted are, for images of another size, networks in which no layer's shape depends "
        "on it",
    )
    told = [f"first weights: {card.name}, SHA-256 {card.sha256}"]
    if is_new:
        told.append(
            f"new logits for the {len(labels)} classes of {recipe.dataset}; those for the "
            f"{card.num_classes} of {card.dataset} were dropped"
        )
    return told


def zero_last_gammas(model: Any) -> None:
    """Set the gamma of each norm that ends a residual branch to 0: blocks begin as shortcuts.

    Of each addition the residual branch is the operand that more layers with weights lie before,
    counted along the longest way; operands with equally many are parallel branches.

    Args:
        model: The built model; its gammas are changed.

    Raises:
        InputError: No residual branch ends in a norm that has a gamma, or such a norm is frozen.
    """
    ends = [_last_layer(tensor) for tensor in _residual_branches(model)]
    found = [layer for layer in ends if _gamma(layer) is not None]
    if not found:
        raise InputError(
            "zero_last_gamma: accepted is true only where residual branches end in a norm with a "
            f"gamma; {_why_none(model, ends)}"
        )
    frozen = [layer.name for layer in found if not layer.trainable]
    if frozen:
        raise InputError(
            f"zero_last_gamma: {frozen[0]} is frozen, so its branch would add nothing for good; "
            "accepted is either a norm that is trained or zero_last_gamma = false"
        )
    for layer in found:
        gamma = _gamma(layer)
        gamma.assign(keras.ops.zeros(gamma.shape, gamma.dtype))


def _layers(model: Any) -> list[Any]:
    """List all layers, also those of nested models."""
    return list(model._flatten_layers(include_self=False))


def _nearest(pattern: str, names: dict[str, Any]) -> str:
    """Name what a pattern may have meant: layers or whole stages, or all of the latter."""
    stages = {f"{name.partition('_')[0]}_*" if "_" in name else name for name in names}
    if difflib.get_close_matches(pattern, [*stages, *names], cutoff=0.5):
        return nearest(pattern, {*stages, *names})
    return nearest(pattern, stages)


def _find(weights: str) -> tuple[Card, Path | None]:
    """Find weights by their name or their file, and read their card; official ones have no file."""
    if pretrained.is_fetched(weights):
        return pretrained.card(weights), None
    path = Path(weights)
    if path.suffix != ".keras":
        folder = pretrained.folder(weights)
        return Card.read(folder / CARD_FILE), folder / MODEL_FILE
    keras_files.check(path)
    return Card.read(path.parent / CARD_FILE), path


def _check_fit(card: Card, recipe: Recipe, *, channels: int) -> None:
    """Refuse weights of another network, or of one that computes something else."""
    ours, theirs = _network(recipe, channels), _network(card, card.input_shape[-1])
    differing = differences(ours, theirs)
    if differing:
        raise InputError(
            f"weights: {card.name} is of another network; it differs in {', '.join(differing)}; "
            "accepted are weights of the same network, for other classes or another image size"
        )


def _network(built: Recipe | Card, channels: int) -> dict[str, Any]:
    """Put down what makes a network that given weights belong to."""
    norms = {f"norm.{key}": value for key, value in built.norm.at_inference().items()}
    same = {key: getattr(built, key) for key in ("arch", "width", "padding")}
    return {**same, "channels": channels, **norms}


def _residual_branches(model: Any) -> Iterator[Any]:
    """Follow the graph from the input on; yield the tensor that ends each residual branch."""
    before: dict[int, int] = {}  # how many layers with weights lie before a tensor
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            operands = sorted(node.input_tensors, key=lambda tensor: before[id(tensor)])
            count = before[id(operands[-1])] if operands else 0
            count += bool(getattr(node.operation, "weights", ()))
            before.update({id(tensor): count for tensor in node.outputs})
            # Besides the layer there is the operation of `a + b`, of the same name.
            if type(node.operation).__name__ != "Add" or len(operands) < 2:
                continue
            if before[id(operands[-1])] > before[id(operands[-2])]:
                yield operands[-1]


def _last_layer(tensor: Any) -> Any:
    """Find the layer that a tensor comes from, behind layers that do nothing at inference."""
    operation, index, _ = tensor._keras_history
    while isinstance(operation, PASSING):
        operation, index, _ = operation._inbound_nodes[index].input_tensors[0]._keras_history
    return operation


def _gamma(layer: Any) -> Any:
    """Return the variable that scales a norm's output, or None where there is none."""
    if isinstance(layer, keras.layers.RMSNormalization):
        return layer.scale
    return getattr(layer, "gamma", None) if isinstance(layer, NORMS) else None


def _why_none(model: Any, ends: list[Any]) -> str:
    """Say why a model has no gamma to begin with 0."""
    if not ends:
        return f"{model.name} has no residual branches"
    kind = type(ends[0]).__name__
    what = f"a {kind} without gamma" if isinstance(ends[0], NORMS) else f"a {kind}"
    return f"those of {model.name} end in {what}, for example {ends[0].name}"
