"""Parameters and multiply-adds, and the stored facts."""

import dataclasses

import keras
import pytest

import zoo
from zoo import catalogue, counting, facts, official, registry, showing
from zoo.cli.models import quantity, short

layers = keras.layers


class Own(layers.Conv2D):
    """A convolution of somebody's own."""


# A layer, the input's shape, and its multiply-adds worked out by hand.
CASES = {
    "conv": (layers.Conv2D(8, 3, padding="same"), (10, 12, 4), 10 * 12 * 3 * 3 * 4 * 8),
    "stride": (layers.Conv2D(8, 3, strides=2, padding="same"), (10, 12, 4), 5 * 6 * 9 * 4 * 8),
    "valid": (layers.Conv2D(8, 3), (10, 12, 4), 8 * 10 * 9 * 4 * 8),
    "groups": (layers.Conv2D(8, 3, groups=4, padding="same"), (10, 12, 4), 120 * 9 * 1 * 8),
    "rectangle": (layers.Conv2D(8, (1, 7), padding="same"), (10, 12, 4), 120 * 7 * 4 * 8),
    "depthwise": (layers.DepthwiseConv2D(3, padding="same"), (10, 12, 4), 120 * 9 * 4),
    "multiplied": (
        layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2),
        (10, 12, 4),
        120 * 9 * 8,
    ),
    "separable": (
        layers.SeparableConv2D(8, 3, padding="same"),
        (10, 12, 4),
        120 * (9 * 4 + 4 * 8),
    ),
    "transposed": (
        layers.Conv2DTranspose(8, 2, strides=2, padding="same"),
        (10, 12, 4),
        120 * 4 * 4 * 8,
    ),
    "one dimension": (layers.Conv1D(8, 3, padding="same"), (10, 4), 10 * 3 * 4 * 8),
    "three dimensions": (layers.Conv3D(8, 3, padding="same"), (2, 3, 4, 5), 24 * 27 * 5 * 8),
    "a subclass": (Own(8, 3, padding="same"), (10, 12, 4), 120 * 9 * 4 * 8),
    "dense": (layers.Dense(5), (7,), 35),
    "dense at each position": (layers.Dense(5), (10, 12, 4), 120 * 20),
    "norm": (layers.BatchNormalization(), (10, 12, 4), 0),
    "nested": (
        keras.Sequential([layers.Input((10, 12, 4)), layers.Conv2D(8, 1)]),
        (10, 12, 4),
        120 * 32,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_multiply_adds_are_as_worked_out_by_hand(case):
    layer, shape, expected = CASES[case]
    image = keras.Input(shape)
    model = keras.Model(image, layer(image))
    _, row = counting.layers(model)
    assert row.multiply_adds == expected
    assert row.parameters == model.count_params()


def test_a_layer_that_is_called_twice_counts_twice_and_its_weights_once():
    image = keras.Input((6, 6, 4))
    layer = layers.Conv2D(4, 1, use_bias=False)
    model = keras.Model(image, layer(layer(image)))
    (row,) = [row for row in counting.layers(model) if row.multiply_adds]
    assert row.multiply_adds == 2 * 36 * 16
    assert row.parameters == 16


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "inception_resnet_v2"])
def test_every_input_that_is_told_is_a_row_and_operations_are_rows(name):
    rows = counting.layers(facts.outline(name))
    names = {row.name for row in rows}
    assert {one for row in rows for one in row.inputs} <= names
    assert {"Take", "Multiply"} & {row.kind for row in rows}


def test_an_open_size_cannot_be_counted():
    with pytest.raises(zoo.InputError, match="fixed input_shape"):
        counting.layers(facts.outline("resnet20", input_shape=(None, None, 3)))


# Millions of multiply-adds as the papers tell them; they round, and some count a little otherwise.
PAPERS = {
    "mobilenet_v2": 300,  # Sandler et al. 2018, table 4
    "resnet20": 40.8,  # the form for CIFAR; Idelbayev, https://github.com/akamaster/pytorch_resnet_cifar10
    "vgg16": 15_500,  # He et al. 2016, section 3.3, tells 19.6 billion of VGG-19
    "vgg19": 19_600,
    "resnet18": 1_800,  # He et al. 2016, table 1, to resnet152
    "resnet34": 3_600,
    "resnet50": 3_800,
    "resnet101": 7_600,
    "resnet152": 11_300,
    "resnet50_v1_5": 4_090,  # torchvision's table, as the next ones
    "squeezenet1_1": 350,
    "resnext50_32x4d": 4_230,
    "regnetx_002": 200,  # Radosavovic et al. 2020: what the names say
    "regnetx_320": 31_800,
    "regnety_016": 1_600,
    "ds_cnn_s": 5.4 / 2,  # Zhang et al. 2017 count additions too
    "ds_cnn_m": 19.8 / 2,
    "ds_cnn_l": 56.9 / 2,
    "densenet121": 2_870,  # https://github.com/facebookresearch/fvcore's count of torchvision's
}


@pytest.mark.parametrize("name", PAPERS)
def test_multiply_adds_are_those_of_the_papers(name):
    # Two digits of most figures are told.
    assert facts.read()[name].multiply_adds / 1e6 == pytest.approx(PAPERS[name], rel=0.02)


def sized(names: list[str]) -> list:
    """The names as parameters; those of many layers take seconds to build."""
    stored = facts.read()
    return [
        pytest.param(
            name,
            id=name,
            marks=pytest.mark.slow if name not in stored or stored[name].layers > 160 else (),
        )
        for name in names
    ]


@pytest.mark.parametrize("name", sized(sorted(registry.entries())))
def test_the_facts_of_a_model_are_what_is_built(name):
    # To make them so: python -m tests.bench.write_facts
    assert facts.read().get(name) == facts.of_model(name)


@pytest.mark.parametrize("name", sized(official.names()))
def test_the_facts_of_official_weights_are_what_is_built(name):
    assert facts.read().get(name) == facts.of_card(official.card(name))


def test_there_are_no_facts_of_what_is_not_there():
    assert set(facts.read()) <= {*registry.entries(), *zoo.list_models(pretrained=True)}


def test_filters():
    everything = catalogue.rows(pretrained=True)
    assert {row.name for row in everything} >= {"resnet20.digits", "vgg16.imagenet"}
    few = zoo.list_models(pretrained=True, max_parameters=1e6)
    assert "resnet20.digits" in few
    assert "vgg16.imagenet" not in few
    good = zoo.list_models(dataset="imagenet*", min_accuracy=0.75)
    assert "densenet201.imagenet" in good
    assert "vgg16.imagenet" not in good
    assert zoo.list_models("densenet*", dataset="digits") == []
    small = zoo.list_models(max_parameters=0.3e6)
    assert "resnet20" in small
    assert "resnet56" not in small


def test_one_damaged_card_hides_no_other_weights(monkeypatch, tmp_path, capsys):
    for name in ("broken.digits", ".resnet20.digits.ab12.part"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "card.json").write_text("{")
    monkeypatch.setenv("FOLDZOO_MODELS", str(tmp_path))
    assert "resnet20.digits" in zoo.list_models("resnet20*", pretrained=True)
    assert "resnet20.digits" in zoo.list_models("resnet20*", dataset="digits")
    assert capsys.readouterr().err == ""  # it was not asked for
    found = zoo.list_models(pretrained=True)
    assert "resnet20.digits" in found
    assert [name for name in found if "broken" in name or name.startswith(".")] == []
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("broken.digits is left out: ")
    assert "is not a card" in line


def test_a_folder_that_cannot_be_one_hides_no_weights(monkeypatch):
    monkeypatch.setenv("FOLDZOO_MODELS", "m" * 300)
    assert "resnet20.digits" in zoo.list_models(pretrained=True)
    assert zoo.card("resnet20.digits").name == "resnet20.digits"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dataset": "digit"}, "did you mean digits"),
        ({"min_accuracy": 75}, "accepted is 0 to 1; received 75"),
        ({"max_parameters": -1}, "more than 0; received -1"),
    ],
)
def test_filters_that_mean_nothing_are_refused(options, words):
    with pytest.raises(zoo.InputError, match=words):
        zoo.list_models(**options)


@pytest.mark.parametrize(("text", "value"), [("5M", 5e6), ("500k", 5e5), ("1.5G", 1.5e9), ("7", 7)])
def test_a_quantity_may_have_a_unit(text, value):
    assert quantity(text) == value
    assert short(int(value)) == text


@pytest.mark.parametrize("text", ["", "M", "-1", "5 M", "1e6", "five"])
def test_a_quantity_that_is_none_is_refused(text):
    with pytest.raises(zoo.InputError, match="for example 5M; received"):
        quantity(text)


def test_blocks_sum_up_to_the_total():
    shown = showing.describe("resnet20")
    *blocks, total = shown.lines(every=False)
    assert total.parameters == sum(block.parameters for block in blocks) == 271_098
    assert total.multiply_adds == sum(block.multiply_adds for block in blocks) == 40_551_040
    names = [block.name for block in blocks]
    assert names[:3] == ["image", "stem", "stage1_block1"]
    assert blocks[2].what == "conv3x3 norm relu conv3x3 norm + relu"
    assert len(shown.lines(every=True)) == len(shown.layers) + 1
    assert dataclasses.asdict(blocks[1])["shape"] == "32x32x16"
