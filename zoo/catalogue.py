"""What there is to build and to load, with what is known of it, found without Keras."""

import fnmatch
import numbers
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from zoo import facts, official, registry
from zoo.cards import Card
from zoo.errors import InputError, nearest
from zoo.pretrained import card as read_card
from zoo.pretrained import stored

# The numbers of a card that may be called its accuracy, the first one there is.
_ACCURACIES = ("test_accuracy", "published_top1")


@dataclass(frozen=True)
class Row:
    """One model, or one set of weights.

    Args:
        name: ``arch``, or ``arch.tag``.
        size: The default height and width in pixels; None for any.
        parameters: How many are trained, as papers count; of weights that only their own card
            speaks of, all that they have; None where it is not known.
        multiply_adds: For one image of that size; None where it is not known.
        paper: Where the design was published.
        dataset: What the weights were trained on; empty for a model without.
        accuracy: On its test split, or as published; None for a model without weights.
    """

    name: str
    size: tuple[int | None, int | None]
    parameters: int | None
    multiply_adds: int | None
    paper: str
    dataset: str = ""
    accuracy: float | None = None


def rows(
    pattern: str = "*",
    pretrained: bool = False,
    *,
    dataset: str | None = None,
    max_parameters: float | None = None,
    min_accuracy: float | None = None,
) -> list[Row]:
    """List models or weights, with what is known of them.

    Args:
        pattern: A shell-style pattern that the whole name must match.
        pretrained: Whether to list weights instead of architectures. ``dataset`` and
            ``min_accuracy``, which only weights have, ask for that too.
        dataset: A shell-style pattern for the data that the weights were trained on.
        max_parameters: The most parameters; what has an unknown number is left out.
        min_accuracy: The least accuracy, a fraction.

    Returns:
        The rows by name, sorted.

    Raises:
        InputError: There is no such data set, a number is out of its range, or a pattern is none.
    """
    for key, value in (("pattern", pattern), ("dataset", dataset)):
        if not isinstance(value, str) and not (key == "dataset" and value is None):
            raise InputError(f"{key}: accepted is a shell-style pattern; received {value!r}")
    if max_parameters is not None and not (_is_number(max_parameters) and max_parameters > 0):
        raise InputError(f"max_parameters: accepted is more than 0; received {max_parameters!r}")
    if min_accuracy is not None and not (_is_number(min_accuracy) and 0 <= min_accuracy <= 1):
        raise InputError(f"min_accuracy: accepted is 0 to 1; received {min_accuracy!r}")
    weights = pretrained or dataset is not None or min_accuracy is not None
    every = list(_weights(pattern, every=dataset is not None) if weights else _models())
    if dataset is not None:
        _check_dataset(dataset, {row.dataset for row in every})
    return [
        row
        for row in every
        if fnmatch.fnmatch(row.name, pattern)
        and (dataset is None or fnmatch.fnmatch(row.dataset, dataset))
        and (max_parameters is None or _is_within(row.parameters, max_parameters))
        and (min_accuracy is None or (row.accuracy or 0) >= min_accuracy)
    ]


def _is_number(value: object) -> bool:
    """Say whether a value is a number, Python's or numpy's; true and false are none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_within(count: int | None, most: float) -> bool:
    """Say whether a count is known, and at most so large."""
    return count is not None and count <= most


def _check_dataset(pattern: str, known: set[str]) -> None:
    """Refuse a data set that no weights were trained on."""
    if not fnmatch.filter(known, pattern):
        raise InputError(f"no weights were trained on {pattern!r}; {nearest(pattern, known)}")


def _models() -> Iterator[Row]:
    """Tell of every model."""
    counted = facts.read()
    for name, entry in registry.entries().items():
        known = counted.get(name)
        yield Row(
            name=name,
            size=entry.input_shape[:2],
            parameters=known.trainable_parameters if known else entry.parameters,
            multiply_adds=known.multiply_adds if known else None,
            paper=entry.paper,
        )


def _weights(pattern: str, *, every: bool) -> Iterator[Row]:
    """Tell of the weights of a pattern, or of every one; on stderr of those with a damaged card."""
    counted, registered = facts.read(), registry.entries()
    lying = stored()
    for name in sorted({*lying, *official.names()}):
        is_asked = fnmatch.fnmatch(name, pattern)
        if not (is_asked or every):
            continue
        try:
            card = read_card(name) if name in lying else official.card(name)
        except InputError as error:  # one bad file hides no other weights
            if is_asked:
                print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        known = counted.get(name)
        if known and _parameters(card) not in (None, known.parameters):
            known = None  # a user's own weights of that name, of another network
        yield Row(
            name=name,
            size=card.input_shape[:2],
            parameters=known.trainable_parameters if known else _parameters(card),
            multiply_adds=known.multiply_adds if known else None,
            paper=registered[card.arch].paper if card.arch in registered else "",
            dataset=card.dataset,
            accuracy=accuracy(card),
        )


def _parameters(card: Card) -> int | None:
    """Take the number of parameters from a card, where it tells one."""
    found = card.metrics.get("parameters")
    return None if found is None else int(found)


def accuracy(card: Card) -> float | None:
    """Take the accuracy from a card: measured on the test split, or published by others."""
    return next((card.metrics[key] for key in _ACCURACIES if key in card.metrics), None)
