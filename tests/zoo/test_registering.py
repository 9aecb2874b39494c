"""How a model joins the registry, and with what."""

import functools

import pytest

import zoo
from zoo import blocks, registry


def test_a_users_model_joins_the_registry_and_may_not_take_a_name(monkeypatch):
    monkeypatch.setattr(registry, "_MODELS", dict(registry.entries()))

    @zoo.register_model(input_shape=(16, 16, 1), num_classes=3, paper="none", min_size=8)
    def tiny(options):
        image = blocks.image(options)
        x = blocks.conv_norm_act(image, 8, 3, norm=options.norm, name="stem")
        return blocks.model(options, image, {1: x}, name="tiny")

    assert zoo.create_model("tiny", norm="layer").output_shape == (None, 3)
    with pytest.raises(zoo.InputError, match="at least 8x8 pixels; received"):
        zoo.create_model("tiny", input_shape=(4, 16, 1))

    def resnet20(options):
        """Return nothing, as by a forgotten ``return``."""

    with pytest.raises(zoo.InputError, match="a model named 'resnet20' is registered already"):
        zoo.register_model(input_shape=(8, 8, 1), num_classes=2, paper="none")(resnet20)
    with pytest.raises(zoo.InputError, match=r"paper: accepted is .* a text; received None"):
        zoo.register_model(input_shape=(8, 8, 1), num_classes=2, paper=None)
    resnet20.__name__ = "nothing"
    zoo.register_model(input_shape=(8, 8, 1), num_classes=2, paper="none")(resnet20)
    with pytest.raises(
        zoo.InputError, match=r"nothing: .* returns a keras\.Model; .* returned None"
    ):
        zoo.create_model("nothing")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"input_shape": 32}, r"input_shape.*; received 32"),
        ({"input_shape": (8, 8)}, "input_shape"),
        ({"input_shape": (0, 8, 3)}, "input_shape"),
        ({"input_shape": (8, 8, None)}, "input_shape"),
        ({"num_classes": "10"}, r"num_classes.*; received '10'"),
        ({"num_classes": None}, "num_classes"),
        ({"min_size": 0}, "min_size"),
        ({"min_size": None}, "min_size"),
        ({"parameters": 1.5}, "parameters"),
        ({"parameters": -1}, "parameters"),
        ({"norm": 5}, "norm: accepted are a kind"),
        ({"norm": "bath"}, "unknown kind 'bath'; did you mean batch"),
    ],
)
def test_what_a_model_is_registered_with_is_checked_at_once(changes, told):
    given = {"input_shape": (8, 8, 3), "num_classes": 2, "paper": "none", **changes}
    with pytest.raises(zoo.InputError, match=told) as caught:
        zoo.register_model(**given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("build", [lambda options: None, functools.partial(print), None, 5])
def test_a_builder_is_a_function_with_a_name(build):
    with pytest.raises(zoo.InputError, match="accepted is a function that has a name"):
        zoo.register_model(input_shape=(8, 8, 3), num_classes=2, paper="none")(build)


def test_a_users_model_is_registered_with_what_create_model_takes(monkeypatch):
    monkeypatch.setattr(registry, "_MODELS", {})

    @zoo.register_model(input_shape=[None, None, 3], num_classes=2, paper="none", norm="group")
    def tiny(options):
        """Stay unbuilt."""

    entry = registry._MODELS["tiny"]
    assert entry.input_shape == (None, None, 3)
    assert entry.norm == zoo.Norm("group")
