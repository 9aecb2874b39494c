"""A small network of each family, and models built without their weights."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras

import zoo
from zoo.families import (
    convnext,
    densenet,
    efficientnet,
    efficientnet_v2,
    ghostnet,
    inception_resnet_v2,
    inception_v3,
    mobilenet,
    mobilenet_v2,
    mobilenet_v3,
    nasnet,
    repvgg,
    resnet8,
    resnet_cifar,
    shufflenet_v2,
    vgg,
    wide_resnet,
)

SHORT = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 1, 2))  # stages of MobileNetV2
PLAIN = ((16, 1, 1), (32, 2, 2))  # stages of MobileNet
GATED = (mobilenet_v3.SMALL[0], ((4, 24, 3, 1, False, True), (3, 24, 5, 1, True, True)))
SCALED = ((1, 16, 2, 3, 1), (6, 24, 2, 5, 2))  # stages of EfficientNet
FUSED = ((1, 16, 2, 1), (4, 24, 2, 2), (4, 24, 2, 1))  # stages of EfficientNetV2, two of them fused
JOINED = ((inception_v3.fives(32),), (inception_v3.TO_CROSSES, inception_v3.CROSSES))
SUMMED = tuple(replace(stage, count=1) for stage in inception_resnet_v2.STAGES[:2])
CELLS = nasnet.Form(stem=16, filters=32, cells=1, skips=False, last=3)
GHOSTS = (
    (ghostnet.Row(16, 16),),
    (ghostnet.Row(48, 24, 5, 2, squeezes=True), ghostnet.Row(72, 24, squeezes=True)),
)
FEW = ((1, 16, 2), (2, 16, 1), (2, 32, 2))  # the stem and stages of RepVGG
# By family: a builder of few layers, and how many norms it has.
SMALL: dict[str, tuple[Callable[[zoo.Options], keras.Model], int]] = {
    # Factors of the usual size show whether a branch computes the right thing.
    "convnext": (
        lambda options: convnext.network(options, (1, 1), (16, 32), "small", layer_scale=0.5),
        5,
    ),
    "densenet": (
        lambda options: densenet.densenet(options, (2, 2), 16, densenet.cifar_stem, "small"),
        10,
    ),
    "densenet_imagenet": (
        lambda options: densenet.densenet(options, (1, 1), 16, densenet.imagenet_stem, "small"),
        7,
    ),
    "efficientnet": (
        lambda options: efficientnet.network(options, "small", stages=SCALED, last=32),
        12,
    ),
    "efficientnet_v2": (
        lambda options: efficientnet_v2.network(options, FUSED, 16, "small", fused=2, last=32),
        14,
    ),
    "ghostnet": (lambda options: ghostnet.network(options, GHOSTS, "small", last=32), 17),
    "inception_resnet_v2": (
        lambda options: inception_resnet_v2.network(options, SUMMED, 64, "small"),
        27,
    ),
    "inception_v3": (lambda options: inception_v3.network(options, JOINED, "small"), 27),
    "mobilenet": (lambda options: mobilenet.network(options, PLAIN, "small"), 7),
    "mobilenet_v2": (lambda options: mobilenet_v2.mobilenet(options, SHORT, 1, "small"), 13),
    "mobilenet_v3": (lambda options: mobilenet_v3.network(options, GATED, 32, "small"), 10),
    "nasnet": (lambda options: nasnet.network(options, CELLS, "small"), 36),
    "repvgg": (lambda options: repvgg.repvgg(options, FEW, "small"), 13),
    "resnet8": (resnet8.resnet8, 7),
    "resnet_cifar": (lambda options: resnet_cifar.resnet_cifar(options, 8), 7),
    "shufflenet_v2": (
        lambda options: shufflenet_v2.network(options, (16, 32), 32, (2, 1), "small"),
        15,
    ),
    "vgg": (lambda options: vgg.vgg(options, vgg.A, vgg.cifar_head, "small"), 8),
    "wide_resnet": (lambda options: wide_resnet.wide_resnet(options, 10, 2), 7),
}
FAMILIES = sorted(SMALL)
# The others take 8x8.
SIZES = {"inception_resnet_v2": 43, "inception_v3": 43, "vgg": 32}
WIDTHS = {
    "inception_resnet_v2": 0.125,
    "inception_v3": 0.125,
    "vgg": 0.125,
}  # the others are of half width


def small(family: str, **options: Any) -> keras.Model:
    """Build the family's small network, narrow and for small images."""
    size, width = SIZES.get(family, 8), WIDTHS.get(family, 0.5)
    values = {"input_shape": (size, size, 3), "num_classes": 10, "width": width, **options}
    return SMALL[family][0](zoo.Options(**values))


def outline(build: Callable[..., keras.Model], *arguments: Any, **options: Any) -> keras.Model:
    """Build a model whose weights have a shape and no values: at once, however large it is."""
    with keras.StatelessScope(initialize_variables=False):
        return build(*arguments, **options)
