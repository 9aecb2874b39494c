"""A small network of each family, and models built without their weights."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras

import zoo
from zoo.families import (
    convnext,
    densenet,
    ds_cnn,
    efficientnet,
    efficientnet_v2,
    fastnet,
    ghostnet,
    inception_resnet_v2,
    inception_v3,
    lenet,
    mobilenet,
    mobilenet_v2,
    mobilenet_v3,
    mobileone,
    nasnet,
    preact_resnet,
    regnet,
    repvgg,
    resnet,
    resnet8,
    resnet_cifar,
    resnet_v2,
    resnext,
    se_resnet,
    shufflenet_v2,
    squeezenet,
    vgg,
    wide_resnet,
    xception,
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
OVER = (mobileone.Stage(2, 16), mobileone.Stage(1, 32, 1))  # stages of MobileOne, the last excited
PLANE = regnet.Rule(16, 8, 2, 8, 1)
EXCITED = regnet.Rule(16, 8, 2, 8, 3, excited=True)  # two stages, of one and two blocks
FIRES = (((16, 32),), ((16, 32),))  # the fire modules of SqueezeNet
SEPARABLE = (((32, 32), 2), ((32, 32), 1))  # the stages of Xception
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
    "ds_cnn": (lambda options: ds_cnn.ds_cnn(options, 32, (2, 1), (2, 1), "small"), 5),
    "fastnet": (fastnet.fastnet, 6),
    "lenet": (lenet.lenet5, 3),
    "mobileone": (lambda options: mobileone.mobileone(options, OVER, 2, "small"), 20),
    "preact_resnet": (lambda options: preact_resnet.preact_resnet(options, (1, 1), "small"), 5),
    "regnet_x": (lambda options: regnet.regnet(options, PLANE, "small"), 5),
    "regnet_y": (lambda options: regnet.regnet(options, EXCITED, "small"), 12),
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
    "resnet": (lambda options: resnet.resnet(options, (1, 1), resnet.BASIC, "small"), 6),
    "resnet8": (resnet8.resnet8, 7),
    "resnet_cifar": (lambda options: resnet_cifar.resnet_cifar(options, 8), 7),
    "resnet_bottleneck": (
        lambda options: resnet.resnet(options, (2, 1), resnet.BOTTLENECK, "small"),
        12,
    ),
    "resnet_v2": (lambda options: resnet_v2.resnet_v2(options, (2, 1), "small"), 10),
    "resnext": (lambda options: resnet.resnet(options, (1, 1), resnext.X32_4, "small"), 9),
    "se_resnet": (
        lambda options: resnet.resnet(options, (1, 1), se_resnet.SE_BOTTLENECK, "small"),
        9,
    ),
    "squeezenet": (
        lambda options: squeezenet.squeezenet(options, (16, 3), FIRES, "small"),
        7,
    ),
    "shufflenet_v2": (
        lambda options: shufflenet_v2.network(options, (16, 32), 32, (2, 1), "small"),
        15,
    ),
    "vgg": (lambda options: vgg.vgg(options, vgg.A, vgg.cifar_head, "small"), 8),
    "wide_resnet": (lambda options: wide_resnet.wide_resnet(options, 10, 2), 7),
    "xception": (lambda options: xception.network(options, SEPARABLE, "small"), 9),
}
# How many norms fewer there are pre-activated: projections have none then, and two convolutions
# that take the same input share one.
FEWER = {
    "regnet_x": 1,
    "regnet_y": 2,
    "resnet": 1,
    "resnet_bottleneck": 2,
    "resnext": 2,
    "se_resnet": 2,
    "squeezenet": 2,
    "xception": 1,
}
FAMILIES = sorted(SMALL)
# The others take 8x8.
SIZES = {
    "fastnet": 17,
    "inception_resnet_v2": 43,
    "inception_v3": 43,
    "lenet": 32,
    "squeezenet": 32,
    "vgg": 32,
    "xception": 16,
}
# The others are of half width.
NARROW = ("fastnet", "inception_resnet_v2", "inception_v3", "vgg", "xception")
WIDTHS = dict.fromkeys(NARROW, 0.125)


def small(family: str, **options: Any) -> keras.Model:
    """Build the family's small network, narrow and for small images."""
    size, width = SIZES.get(family, 8), WIDTHS.get(family, 0.5)
    values = {"input_shape": (size, size, 3), "num_classes": 10, "width": width, **options}
    return SMALL[family][0](zoo.Options(**values))


def norm_count(family: str, placement: str) -> int:
    """How many norms the family's small network has."""
    fewer = FEWER.get(family, 0) if placement == "pre_activation" else 0
    return SMALL[family][1] - fewer


def outline(build: Callable[..., keras.Model], *arguments: Any, **options: Any) -> keras.Model:
    """Build a model whose weights have a shape and no values: at once, however large it is."""
    with keras.StatelessScope(initialize_variables=False):
        return build(*arguments, **options)
