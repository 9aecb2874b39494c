"""A small network of each family, and models built without their weights."""

from collections.abc import Callable
from typing import Any

import keras

import zoo
from zoo.families import resnet_cifar, wide_resnet

# By family: a builder of few layers, and how many norms it has.
SMALL: dict[str, tuple[Callable[[zoo.Options], keras.Model], int]] = {
    "resnet_cifar": (lambda options: resnet_cifar.resnet_cifar(options, 8), 7),
    "wide_resnet": (lambda options: wide_resnet.wide_resnet(options, 10, 2), 7),
}
FAMILIES = sorted(SMALL)


def small(family: str, size: int = 8, **options: Any) -> keras.Model:
    """Build the family's small network, of half width unless told otherwise, for small images."""
    values = {"input_shape": (size, size, 3), "num_classes": 10, "width": 0.5, **options}
    return SMALL[family][0](zoo.Options(**values))


def outline(name: str, **options: Any) -> keras.Model:
    """Build a registered model whose weights have a shape and no values, however large it is."""
    with keras.StatelessScope(initialize_variables=False):
        return zoo.create_model(name, **options)
