"""Parallel branches become one convolution: RepVGG and MobileOne blocks, and plain sums."""

import keras
import pytest
from keras import layers

import export
from export import graph_reading
from export.rules.branches import merge_branches

from .models import randomize


def branch(x, filters, size, *, stride, explicit, groups, depthwise, name):
    """A convolution of some size with its BatchNorm, padded symmetrically or as 'same'."""
    options = {"padding": "same", "use_bias": False, "name": name}
    if explicit:
        options["padding"] = "valid"
        if size > 1:
            x = layers.ZeroPadding2D(size // 2)(x)
    if depthwise:
        x = layers.DepthwiseConv2D(size, strides=stride, **options)(x)
    else:
        x = layers.Conv2D(filters, size, strides=stride, groups=groups, **options)(x)
    return layers.BatchNormalization(name=f"{name}_norm")(x)


def repvgg(
    *, stride=1, explicit=False, groups=1, depthwise=False, sizes=(3, 1), chained=False, free=False
):
    """A stem and two blocks of parallel branches; with an identity where the sizes allow one."""
    image = keras.Input((None, None, 3) if free else (9, 12, 3), name="image")
    x = layers.BatchNormalization(name="stem_norm")(layers.Conv2D(4, 1, name="stem")(image))
    for number in range(2):
        x = layers.ReLU()(x)
        block = [
            branch(
                x,
                4,
                size,
                stride=stride,
                explicit=explicit,
                groups=groups,
                depthwise=depthwise,
                name=f"block{number}_conv{index}",
            )
            for index, size in enumerate(sizes)
        ]
        if stride == 1:
            block.append(layers.BatchNormalization(name=f"block{number}_identity")(x))
        if chained:
            total = block[0]
            for one in block[1:]:
                total = total + one
            x = total
        else:
            x = layers.Add()(block)
    x = layers.ReLU()(x)
    return randomize(keras.Model(image, layers.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2},
        {"explicit": True},
        {"explicit": True, "stride": 2},
        {"groups": 2},
        {"depthwise": True},
        {"depthwise": True, "stride": 2, "explicit": True},
        {"sizes": (5, 3, 1)},
        {"sizes": (3, 3, 3, 1)},
        {"chained": True},
        {"free": True},
    ],
    ids=str,
)
def test_a_block_becomes_one_convolution(options):
    model = repvgg(**options)
    folded = export.fold(model, certify=True)
    assert not folded.report.kept
    kinds = [type(layer).__name__ for layer in folded.model.layers]
    assert kinds.count("Conv2D") + kinds.count("DepthwiseConv2D") == 3  # the stem and two blocks
    assert "Add" not in kinds
    assert "BatchNormalization" not in kinds


def added(first, second):
    image = keras.Input((8, 8, 4), name="image")
    return keras.Model(image, layers.Add(name="sum")([first(image), second(image)]))


def convolutions(model: keras.Model) -> int:
    kinds = (layers.Conv2D, layers.DepthwiseConv2D)
    return sum(isinstance(layer, kinds) for layer in model.layers)


def test_sums_of_convolutions_of_one_geometry_merge():
    model = added(layers.Conv2D(4, 3, padding="same"), layers.Conv2D(4, 3, padding="same"))
    folded = export.fold(model, certify=True).model
    assert convolutions(folded) == 1
    assert folded.output_names == ["sum"]


@pytest.mark.parametrize(
    ("first", "left"),
    [
        (layers.Conv2D(4, 2, padding="same"), 1),  # its pixels are the last two of three
        (layers.Conv2D(4, 4, padding="same"), 1),  # and here the other's are the first three
        (layers.Conv2D(4, 3, padding="same", dilation_rate=2), 2),
        (layers.Conv2D(4, 3, padding="same", groups=2), 2),
        (layers.Conv2D(4, 3, padding="same", activation="relu"), 2),
        (layers.DepthwiseConv2D(3, padding="same"), 2),
    ],
    ids=["even", "larger", "dilated", "grouped", "activated", "depthwise"],
)
def test_another_pair_merges_only_where_it_is_exact(first, left):
    second = layers.Conv2D(4, 3, padding="same", name="second")
    folded = export.fold(added(first, second), certify=True).model
    assert convolutions(folded) == left


def test_a_plain_residual_connection_is_left_as_it_is():
    image = keras.Input((8, 8, 4))
    model = keras.Model(image, layers.Add()([image, layers.Conv2D(4, 3, padding="same")(image)]))
    names = [layer.name for layer in export.fold(model).model.layers]
    assert names == [layer.name for layer in model.layers]


def test_a_branch_that_is_used_elsewhere_stays():
    image = keras.Input((8, 8, 4))
    first = layers.Conv2D(4, 3, padding="same")(image)
    second = layers.Conv2D(4, 1)(image)
    model = keras.Model(image, [layers.Add()([first, second]), second])
    assert convolutions(export.fold(model, certify=True).model) == 2


def test_a_batchnorm_that_was_asked_to_be_kept_is():
    model = repvgg()
    folded = export.fold(model, keep=["block1_identity"], certify=True)
    assert [entry.layer for entry in folded.report.kept] == ["block1_identity"]


def test_nothing_to_merge_changes_nothing():

    model = repvgg(sizes=(3,), stride=2)
    assert merge_branches(graph_reading.read(model), []) == {}
