"""The last norm of a residual branch begins with gamma 0."""

import keras
import numpy as np
import pytest

import training
import zoo
from training import initial
from zoo import InputError

from ..zoo.networks import small


@pytest.mark.parametrize("drop", [0.0, 0.5])
@pytest.mark.parametrize(
    ("family", "norm", "ends"),
    [
        ("resnet_cifar", "batch", [f"stage{n}_block1_2_norm" for n in (1, 2, 3)]),
        ("resnet_cifar", "group", [f"stage{n}_block1_2_norm" for n in (1, 2, 3)]),
        ("resnet_cifar", "rms", [f"stage{n}_block1_2_norm" for n in (1, 2, 3)]),
        ("resnet", "batch", [f"stage{n}_block1_2_norm" for n in (1, 2)]),
        ("resnet8", "layer", [f"stage{n}_block1_2_norm" for n in (1, 2, 3)]),
        ("mobilenet_v2", "batch", ["stage2_block2_project_norm"]),
    ],
)
def test_the_last_gammas_begin_at_zero_and_no_other(family, norm, ends, drop):
    model = small(family, norm=zoo.Norm(norm), stochastic_depth=drop)
    initial.zero_last_gammas(model)
    zero = [
        layer.name
        for layer in model.layers
        if isinstance(layer, initial.NORMS)
        and not np.any(layer.scale if norm == "rms" else layer.gamma)
    ]
    assert sorted(zero) == ends


def test_zero_gammas_make_a_block_its_shortcut():
    model = small("resnet8")
    initial.zero_last_gammas(model)
    inside = keras.Model(
        model.input,
        [model.get_layer("stem_act").output, model.get_layer("stage1_block1_act").output],
    )
    before, after = inside(np.random.default_rng(0).normal(size=(2, 8, 8, 3)))
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("family", "norm", "why"),
    [
        ("vgg", {}, "small has no residual branches"),
        ("densenet", {}, "small has no residual branches"),
        ("repvgg", {}, "small has no residual branches"),
        ("se_resnet", {}, "those of small end in a Multiply, for example stage1_block1_se_scale"),
        ("wide_resnet", {}, "those of wrn10_2 end in a Conv2D, for example stage1_block1_2_conv"),
        ("resnet_cifar", {"placement": "pre_activation"}, "end in a Conv2D, for example"),
        ("resnet_cifar", {"kind": "none"}, "end in a Conv2D, for example"),
        ("resnet_cifar", {"scale": False}, "end in a BatchNormalization without gamma, for"),
    ],
)
def test_a_network_without_such_a_norm_is_refused(family, norm, why):
    with pytest.raises(InputError, match=why) as caught:
        initial.zero_last_gammas(small(family, norm=zoo.Norm(**norm)))
    assert "\n" not in str(caught.value)


def test_a_sum_written_as_an_operation_is_an_addition_too():
    image = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(3, 3, padding="same")(image)
    model = keras.Model(image, image + keras.layers.BatchNormalization(name="last")(x))
    initial.zero_last_gammas(model)
    assert not np.any(model.get_layer("last").gamma)


def test_a_training_with_zero_gammas_and_stochastic_depth_leaves_a_card_that_builds(
    resnet8, tmp_path, silent, digits, monkeypatch
):
    result = training.train(
        resnet8,
        zero_last_gamma=True,
        stochastic_depth=0.3,
        out=tmp_path / "resnet8.digits",
        progress=silent,
    )
    assert np.any(result.model.get_layer("stage1_block1_2_norm").gamma)  # it was trained
    assert result.card.stochastic_depth == 0.3
    monkeypatch.setenv("FOLDZOO_MODELS", str(tmp_path))
    loaded = zoo.load_model("resnet8.digits")
    assert loaded.get_layer("stage3_block1_drop").rate == 0.3
    plain = zoo.load_model("resnet8.digits", stochastic_depth=0.0)
    assert "stage3_block1_drop" not in [layer.name for layer in plain.layers]
    for model in (loaded, plain):
        assert training.evaluate(model, digits).accuracy == result.card.metrics["test_accuracy"]
