"""MobileOne: its parameters as published, and that each sum of branches becomes one convolution."""

import keras
import numpy as np
import pytest

import export
import zoo
from zoo.norm import PLACEMENTS

from ..export.models import randomize
from .networks import outline, small

# Millions of parameters as deployed, of MMPretrain's table:
# https://github.com/open-mmlab/mmpretrain/blob/main/configs/mobileone/README.md
DEPLOYED = {
    "mobileone_s0": 2.08,
    "mobileone_s1": 4.76,
    "mobileone_s2": 7.81,
    "mobileone_s3": 10.08,
    "mobileone_s4": 14.84,
}
BLOCKS = 2 + 8 + 10 + 1
SUMS = 1 + 2 * BLOCKS  # the stem's, and a depthwise and a pointwise one in each block
EXCITED = 2 * (5 + 1)  # of S4: both of a block's


def deployed(model: keras.Model) -> int:
    """Count the parameters of a model whose sums are one convolution with a bias each."""
    sums = [layer for layer in model.layers if layer.name.endswith(("_1_conv", "_3x3_conv"))]
    kernels = sum(int(np.prod(layer.kernel.shape)) + layer.output.shape[-1] for layer in sums)
    rest = [layer for layer in model.layers if "_se_" in layer.name or layer.name == "logits"]
    return kernels + sum(layer.count_params() for layer in rest)


@pytest.mark.parametrize("name", sorted(DEPLOYED))
def test_the_deployed_form_has_the_published_parameters(name):
    model = outline(zoo.create_model, name)
    assert round(deployed(model) / 1e6, 2) == DEPLOYED[name]
    gates = [layer for layer in model.layers if layer.name.endswith("_se_gate")]
    assert len(gates) == (EXCITED if name == "mobileone_s4" else 0)


@pytest.mark.parametrize(
    "name",
    # S0 has four branches, which makes it the deepest to build.
    ["mobileone_s4", pytest.param("mobileone_s0", marks=pytest.mark.slow)],
)
def test_a_whole_network_folds_to_one_convolution_per_sum(name):
    shape = {"input_shape": (32, 32, 3), "num_classes": 4, "width": 0.0625}
    model = randomize(zoo.create_model(name, **shape))
    folded = export.fold(model)
    assert not folded.report.kept
    kinds = [type(layer).__name__ for layer in folded.model.layers]
    excited = EXCITED if name == "mobileone_s4" else 0
    assert kinds.count("DepthwiseConv2D") == BLOCKS
    assert kinds.count("Conv2D") == BLOCKS + 1 + 2 * excited
    assert "BatchNormalization" not in kinds
    assert "Add" not in kinds
    assert folded.model.count_params() == deployed(model)


def test_all_placements_are_one_network():
    configs = [
        outline(small, "mobileone", norm=zoo.Norm(placement=placement)).get_config()
        for placement in PLACEMENTS
    ]
    assert configs[0] == configs[1] == configs[2]


def test_the_input_is_added_where_stride_and_channels_allow():
    names = [layer.name for layer in outline(zoo.create_model, "mobileone_s1").layers]
    found = [name for name in names if name.endswith("identity_norm")]
    # In depthwise sums without a stride; in pointwise ones that do not change the channels.
    assert len([name for name in found if "depthwise" in name]) == BLOCKS - 4
    assert len([name for name in found if "pointwise" in name]) == BLOCKS - 4
    assert "stage1_block1_depthwise_identity_norm" not in found
