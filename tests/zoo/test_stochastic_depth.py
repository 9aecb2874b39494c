"""Residual branches that training leaves out: where, how often, and that nothing else changes."""

import keras
import numpy as np
import pytest

import export
import zoo
from zoo import residual
from zoo.norm import PLACEMENTS

from ..export.models import randomize
from .networks import FAMILIES, outline, small

# By family, how many residual branches its small network has.
BRANCHES = {
    "convnext": 2,
    "efficientnet": 2,
    "efficientnet_v2": 5,
    "ghostnet": 3,
    "inception_resnet_v2": 2,
    "mobilenet_v2": 1,
    "mobilenet_v3": 1,
    "preact_resnet": 2,
    "regnet_x": 1,
    "regnet_y": 3,
    "resnet": 2,
    "resnet8": 3,
    "resnet_bottleneck": 3,
    "resnet_cifar": 3,
    "resnet_v2": 3,
    "resnext": 2,
    "se_resnet": 2,
    "wide_resnet": 3,
    "xception": 2,
}


def drops(model: keras.Model) -> list[keras.layers.Dropout]:
    return [layer for layer in model.layers if layer.name.endswith("_drop")]


@pytest.mark.parametrize("family", sorted(BRANCHES))
def test_rates_rise_linearly_to_the_last_branch(family):
    count = BRANCHES[family]
    found = drops(outline(small, family, stochastic_depth=0.3))
    assert [layer.noise_shape for layer in found] == [(None, 1, 1, 1)] * count
    expected = [0.3 * number / count for number in range(1, count + 1)]
    assert [layer.rate for layer in found] == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v2_cifar"])
@pytest.mark.parametrize("width", [0.35, 0.5, 1.0, 1.4])
def test_mobilenets_last_branch_has_the_whole_rate_at_any_width(name, width):
    # At small widths stages get equal channels, and CIFAR's second begins without a stride.
    found = drops(outline(zoo.create_model, name, width=width, stochastic_depth=0.2))
    assert found[-1].rate == 0.2


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("family", sorted(BRANCHES))
def test_weights_have_the_same_names_and_order_at_every_rate(family, placement):
    norm = zoo.Norm(placement=placement)
    plain, dropping = (
        outline(small, family, norm=norm, stochastic_depth=rate) for rate in (0.0, 0.5)
    )
    assert [weight.path for weight in plain.weights] == [weight.path for weight in dropping.weights]
    names = {layer.name for layer in plain.layers}
    more = {layer.name for layer in dropping.layers} - names
    assert len(more) == 2 * BRANCHES[family]
    assert all(name.endswith(("_drop", "_shortcut_keep")) for name in more)


@pytest.mark.parametrize("family", sorted(BRANCHES))
def test_inference_is_the_same_and_norms_fold_through_it(family):
    plain, dropping = (randomize(small(family, stochastic_depth=rate)) for rate in (0.0, 0.5))
    dropping.set_weights(plain.get_weights())
    x = np.random.default_rng(0).normal(size=(2, *plain.input_shape[1:])).astype("float32")
    np.testing.assert_array_equal(plain(x), dropping(x))
    folded = export.fold(dropping, certify=True)
    assert not folded.report.kept


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - set(BRANCHES)))
def test_a_family_without_residual_branches_refuses_a_rate(family):
    with pytest.raises(zoo.InputError) as caught:
        outline(small, family, stochastic_depth=0.1)
    name = outline(small, family).name
    assert str(caught.value) == (
        f"stochastic_depth: {name} has no residual branches that could be left out; "
        "accepted is 0; received 0.1"
    )


@pytest.mark.parametrize("rate", [-0.1, 1, "0.1"])
def test_a_rate_is_in_its_range(rate):
    with pytest.raises(zoo.InputError, match=r"Options\.stochastic_depth"):
        zoo.create_model("resnet20", stochastic_depth=rate)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_whole_branches_are_left_out_image_by_image_at_the_rate(policy):
    keras.config.set_dtype_policy(policy)
    rate, count = 0.01, 20_000
    shortcut, branch = keras.Input((2, 2, 1)), keras.Input((2, 2, 1))
    model = keras.Model([shortcut, branch], residual.add(shortcut, branch, drop=rate, name="block"))
    ones = np.ones((count, 2, 2, 1), "float32")
    values = np.asarray(model([0 * ones, ones], training=True)).astype("float64")
    assert np.all(values == values[:, :1, :1])
    out = np.mean(values[:, 0, 0, 0] == 0)
    # Four standard deviations of a count. Drawn in bfloat16 the rate would be 2/128.
    assert abs(out - rate) <= 4 * np.sqrt(rate * (1 - rate) / count)
