"""The norm object: what it accepts, and the layer that it makes of each kind."""

import keras
import numpy as np
import pytest

import zoo
from zoo.norm import KINDS, PLACEMENTS, group_count


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"momentum": 1.5}, "Norm.momentum: input should be less than 1; received 1.5"),
        ({"momentum": 0}, "Norm.momentum: input should be greater than 0; received 0"),
        ({"epsilon": 0}, "Norm.epsilon: input should be greater than 0; received 0"),
        ({"groups": 0}, "Norm.groups: input should be greater than or equal to 1; received 0"),
        ({"kind": "bacth"}, "Norm.kind: unknown kind 'bacth'; did you mean batch"),
        ({"placement": "before_activaton"}, "did you mean before_activation"),
        ({"momentun": 0.9}, "Norm has no key 'momentun'; did you mean momentum"),
        ({"self": 1}, "Norm has no key 'self'"),
        ({"center": "yes"}, "Norm.center: input should be a valid boolean; received 'yes'"),
        ({"scale": 1}, "Norm.scale: input should be a valid boolean; received 1"),
        ({"groups": True}, "Norm.groups: input should be a valid integer; received True"),
        ({"momentum": "0.5"}, "Norm.momentum: input should be a valid number; received '0.5'"),
        ({"epsilon": float("nan")}, "Norm.epsilon: input should be a finite number"),
    ],
)
def test_a_wrong_value_is_told_in_one_line(values, told):
    with pytest.raises(zoo.InputError) as caught:
        zoo.Norm(**values)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_norm_is_frozen_and_replace_checks_again():
    norm = zoo.Norm("group", groups=4)
    with pytest.raises(ValueError, match="frozen"):
        norm.groups = 8
    assert norm.replace(groups=8) == zoo.Norm("group", groups=8)
    with pytest.raises(zoo.InputError, match="momentum"):
        norm.replace(momentum=2)


@pytest.mark.parametrize(
    ("value", "norm"),
    [
        (None, zoo.Norm("none")),
        ("layer", zoo.Norm("layer")),
        ({"kind": "group", "groups": 2}, zoo.Norm("group", groups=2)),
        (zoo.Norm("rms"), zoo.Norm("rms")),
    ],
)
def test_of_takes_what_callers_pass(value, norm):
    assert zoo.Norm.of(value) == norm


@pytest.mark.parametrize("value", [3, ["batch"], {1: 2}])
def test_of_refuses_anything_else(value):
    with pytest.raises(zoo.InputError, match=r"norm: accepted are a kind, .*; received") as caught:
        zoo.Norm.of(value)
    assert repr(value) in str(caught.value)


def test_numbers_of_numpy_are_numbers():
    norm = zoo.Norm("group", groups=np.int64(4), momentum=np.float32(0.5), center=np.bool_(False))
    assert norm == zoo.Norm("group", groups=4, momentum=0.5, center=False)


def _reference(kind: str, x: np.ndarray, groups: int) -> np.ndarray:
    """Normalize as the papers define it, in float64, for gamma 1 and beta 0."""
    n, h, w, c = x.shape
    epsilon = 1e-5

    def standardized(values, axes):
        mean, variance = values.mean(axes, keepdims=True), values.var(axes, keepdims=True)
        return (values - mean) / np.sqrt(variance + epsilon)

    if kind in ("batch", "batch_renorm"):
        # At inference the stored statistics count: mean 0 and variance 1 in a new layer.
        return x / np.sqrt(1 + epsilon)
    if kind == "group":
        split = x.reshape(n, h, w, groups, c // groups)
        return standardized(split, (1, 2, 4)).reshape(x.shape)
    if kind == "instance":
        return standardized(x, (1, 2))
    if kind == "layer":
        return standardized(x, (3,))
    return x / np.sqrt((x**2).mean(3, keepdims=True) + epsilon)  # rms


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "none"])
def test_each_kind_computes_its_papers_formula(kind):
    norm = zoo.Norm(kind, groups=4)
    x = np.random.default_rng(0).normal(2, 3, size=(2, 5, 7, 8))
    values = norm.layer(8, name="n")(x.astype("float32"))
    # float32 sums of up to 70 numbers of size 5, squared, then divided by a deviation of about 3
    np.testing.assert_allclose(values, _reference(kind, x, 4), atol=2e-5)


def test_no_normalization_makes_no_layer():
    assert zoo.Norm.of(None).layer(8, name="n") is None


@pytest.mark.parametrize("kind", ["batch", "group", "layer", "instance"])
def test_center_and_scale_are_what_is_learned(kind):
    def learned(**values):
        layer = zoo.Norm(kind, **values).layer(8, name="n")
        layer.build((None, 4, 4, 8))
        return sorted(variable.name for variable in layer.trainable_variables)

    assert learned() == ["beta", "gamma"]
    assert learned(center=False) == ["gamma"]
    assert learned(scale=False) == ["beta"]


def test_gamma_starts_where_it_is_told():
    layer = zoo.Norm().layer(4, name="n", gamma=0.0)
    layer.build((None, 2, 2, 4))
    assert np.all(np.asarray(layer.gamma) == 0)


@pytest.mark.parametrize(
    ("channels", "groups", "count"),
    [(64, 32, 32), (16, 32, 8), (24, 32, 12), (7, 4, 1), (6, 4, 3), (1, 32, 1)],
)
def test_group_count_never_leaves_one_channel_in_a_group(channels, groups, count):
    assert group_count(channels, groups) == count


def test_every_kind_and_placement_is_known_to_keras():
    assert len(KINDS) == 7
    assert len(PLACEMENTS) == 3
    for kind in KINDS:
        layer = zoo.Norm(kind).layer(8, name="n")
        assert layer is None or isinstance(layer, keras.layers.Layer)


@pytest.mark.parametrize(("backend", "told"), [("tensorflow", True), ("jax", False)])
def test_only_tensorflow_is_told_to_synchronize(monkeypatch, backend, told):
    # On JAX, where statistics are those of the global batch, Keras refuses to train with the flag.
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    layer = zoo.Norm(synchronized=True).layer(4, name="norm")
    assert layer.synchronized is told
