"""A small network of each family, and models built without their weights."""

from collections.abc import Callable
from typing import Any

import keras

import zoo
from zoo.families import (
    densenet,
    fastnet,
    mobilenet_v2,
    repvgg,
    resnet8,
    resnet_cifar,
    vgg,
    wide_resnet,
)

SHORT = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 1, 2))  # stages of MobileNetV2
FEW = ((1, 16, 2), (2, 16, 1), (2, 32, 2))  # the stem and stages of RepVGG
# By family: a builder of few layers, and how many norms it has.
SMALL: dict[str, tuple[Callable[[zoo.Options], keras.Model], int]] = {
    "densenet": (
        lambda options: densenet.densenet(options, (2, 2), 16, densenet.cifar_stem, "small"),
        10,
    ),
    "densenet_imagenet": (
        lambda options: densenet.densenet(options, (1, 1), 16, densenet.imagenet_stem, "small"),
        7,
    ),
    "fastnet": (fastnet.fastnet, 6),
    "mobilenet_v2": (lambda options: mobilenet_v2.mobilenet(options, SHORT, 1, "small"), 13),
    "repvgg": (lambda options: repvgg.repvgg(options, FEW, "small"), 13),
    "resnet8": (resnet8.resnet8, 7),
    "resnet_cifar": (lambda options: resnet_cifar.resnet_cifar(options, 8), 7),
    "vgg": (lambda options: vgg.vgg(options, vgg.A, vgg.cifar_head, "small"), 8),
    "wide_resnet": (lambda options: wide_resnet.wide_resnet(options, 10, 2), 7),
}
FAMILIES = sorted(SMALL)
SIZES = {"fastnet": 17, "vgg": 32}  # the others take 8x8
WIDTHS = {"fastnet": 0.125, "vgg": 0.125}  # the others are of half width


def small(family: str, **options: Any) -> keras.Model:
    """Build the family's small network, narrow and for small images."""
    size, width = SIZES.get(family, 8), WIDTHS.get(family, 0.5)
    values = {"input_shape": (size, size, 3), "num_classes": 10, "width": width, **options}
    return SMALL[family][0](zoo.Options(**values))


def outline(build: Callable[..., keras.Model], *arguments: Any, **options: Any) -> keras.Model:
    """Build a model whose weights have a shape and no values: at once, however large it is."""
    with keras.StatelessScope(initialize_variables=False):
        return build(*arguments, **options)
