"""RepVGG: its parameters as published, and that each block becomes one convolution."""

import keras
import numpy as np
import pytest

import export
import zoo
from zoo.norm import PLACEMENTS

from ..export.models import randomize
from .networks import outline, small

# Millions of parameters as trained and as deployed, of MMPretrain's table:
# https://github.com/open-mmlab/mmpretrain/blob/main/configs/repvgg/README.md
PUBLISHED = {
    "repvgg_a0": (9.11, 8.31),
    "repvgg_a1": (14.09, 12.79),
    "repvgg_a2": (28.21, 25.50),
    "repvgg_b0": (15.82, 14.34),
    "repvgg_b1": (57.42, 51.83),
}
# By hand from table 2: the stem and the stages' blocks.
BLOCKS = {"a": 1 + 2 + 4 + 14 + 1, "b": 1 + 4 + 6 + 16 + 1}
BUILDERS = [*PUBLISHED, "repvgg_cifar"]


def blocks_of(name: str) -> int:
    return 1 + 3 * 6 if name == "repvgg_cifar" else BLOCKS[name[len("repvgg_")]]


def deployed(model: keras.Model) -> int:
    """Count the parameters of a model whose blocks are one 3x3 convolution with a bias each."""
    large = [layer for layer in model.layers if layer.name.endswith("_3x3_conv")]
    kernels = sum(int(np.prod(layer.kernel.shape)) + layer.filters for layer in large)
    return kernels + model.get_layer("logits").count_params()


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_both_forms_have_the_published_parameters(name):
    model = outline(zoo.create_model, name)
    learned = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    assert (round(learned / 1e6, 2), round(deployed(model) / 1e6, 2)) == PUBLISHED[name]


def test_the_small_form_deploys_the_convolutions_of_resnet20():
    def shapes(model, suffix):
        return [layer.kernel.shape for layer in model.layers if layer.name.endswith(suffix)]

    ours = shapes(outline(zoo.create_model, "repvgg_cifar"), "_3x3_conv")
    assert ours == shapes(outline(zoo.create_model, "resnet20"), "_conv")


def narrow(name: str) -> keras.Model:
    """The whole depth of a network, narrow and for images that it brings to one position."""
    size = 8 if name == "repvgg_cifar" else 32
    shape = {"input_shape": (size, size, 3), "num_classes": 4, "width": 0.0625}
    return randomize(zoo.create_model(name, **shape))


@pytest.mark.parametrize("name", BUILDERS)
def test_each_builder_folds_to_one_convolution_per_block(name):
    model = narrow(name)
    folded = export.fold(model)
    assert not folded.report.kept
    kinds = [type(layer).__name__ for layer in folded.model.layers]
    assert kinds.count("Conv2D") == kinds.count("Activation") == blocks_of(name)
    assert "BatchNormalization" not in kinds
    assert "Add" not in kinds
    assert folded.model.count_params() == deployed(model)


@pytest.mark.parametrize(
    "name",
    [
        "repvgg_cifar",
        # The same blocks, more of them: half a minute each.
        *(pytest.param(name, marks=pytest.mark.slow) for name in PUBLISHED),
    ],
)
def test_each_folded_builder_is_certified(name):
    assert not export.fold(narrow(name), certify=True).report.kept  # raises where it does not hold


def test_all_placements_are_one_network():
    configs = [
        outline(small, "repvgg", norm=zoo.Norm(placement=placement)).get_config()
        for placement in PLACEMENTS
    ]
    assert configs[0] == configs[1] == configs[2]


def test_the_identity_is_there_where_stride_and_channels_allow():
    names = [layer.name for layer in outline(zoo.create_model, "repvgg_a0").layers]
    found = [name for name in names if name.endswith("identity_norm")]
    # Not in the stem nor at the head of each of the four stages.
    assert len(found) == BLOCKS["a"] - 5
    assert "stage1_block1_identity_norm" not in found
