"""What is known of each model without building it: written by a tool, read in no time.

``facts.json`` holds one entry for each model and for each set of weights. It is written by
``python -m tests.bench.write_facts``, and the tests hold it against the builders.
"""

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import counting, registry
from zoo.cards import Card
from zoo.settings import Settings, Whole

if TYPE_CHECKING:
    import keras

PATH = Path(__file__).parent / "facts.json"


class Facts(Settings):
    """How large a network is.

    Args:
        parameters: How many weights it has.
        trainable_parameters: How many of them are trained, which is what papers count.
        multiply_adds: How many it takes for one image of its default size: those of convolutions
            and fully connected layers, as papers count.
        layers: How many layers and operations it is made of.
    """

    parameters: Whole
    trainable_parameters: Whole
    multiply_adds: Whole
    layers: Whole


@functools.cache
def read() -> dict[str, Facts]:
    """Read the facts, by the names of models and of weights."""
    found: dict[str, dict[str, Any]] = json.loads(PATH.read_text(encoding="utf-8"))
    return {name: Facts(**values) for name, values in found.items()}


def of_model(name: str) -> Facts:
    """Build a model's default form without values, and count.

    Args:
        name: A name from `zoo.list_models`.

    Returns:
        The facts.
    """
    return measured(outline(name))


def of_card(card: Card) -> Facts:
    """Build the model that a card speaks of without values, and count."""
    return measured(outline_of(card))


def outline_of(card: Card) -> "keras.Model":
    """Build the model that a card speaks of without values.

    Args:
        card: The card; an open size is taken to be that of its preprocessing.

    Returns:
        A keras.Model that cannot compute.
    """
    shape = (*card.preprocessing.size, card.preprocessing.channels)
    return outline(card.arch, **{**card.options(), "input_shape": shape})


def outline(name: str, **options: Any) -> "keras.Model":
    """Build a model whose weights have shapes and no values: soon, however large it is.

    Args:
        name: A name from `zoo.list_models`.
        **options: What `zoo.create_model` takes.

    Returns:
        A keras.Model that cannot compute.
    """
    import keras

    with keras.StatelessScope(initialize_variables=False):
        return registry.create_model(name, **options)


def measured(model: "keras.Model") -> Facts:
    """Count a model's weights, multiply-adds and layers."""
    return total(counting.layers(model))


def total(layers: Sequence[counting.Layer]) -> Facts:
    """Sum up what was counted of a model's layers."""
    return Facts(
        parameters=sum(layer.parameters for layer in layers),
        trainable_parameters=sum(layer.trainable for layer in layers),
        multiply_adds=sum(layer.multiply_adds for layer in layers),
        layers=len(layers),
    )
