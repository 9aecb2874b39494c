"""Every set of weights that ships: its card, its hash, and the accuracy that the card tells."""

import pytest

import training
import zoo
from zoo import cards, files, pretrained

NAMES = [name for name in zoo.list_models(pretrained=True) if not pretrained.is_fetched(name)]
ALWAYS_THERE = ("digits",)  # sets that come inside a package


def slow_unless_small(name):
    """Mark the weights of a data set of many images."""
    small = zoo.card(name).dataset in ALWAYS_THERE
    return pytest.param(name, marks=() if small else pytest.mark.slow)


def test_there_are_weights():
    assert "resnet20.digits" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_folder_is_as_training_leaves_it(name):
    folder = pretrained.folder(name)
    card = zoo.card(name)
    assert card.name == name == folder.name
    assert card.sha256 == files.sha256(folder / cards.MODEL_FILE)
    recipe = training.Recipe.load(folder / "recipe.toml")
    assert recipe.differences(card.recipe) == []
    assert card.arch == recipe.arch
    rows = (folder / "history.csv").read_text().splitlines()
    assert len(rows) == 1 + recipe.epochs
    assert len(card.labels) == card.num_classes


@pytest.mark.parametrize("name", [slow_unless_small(name) for name in NAMES])
def test_it_is_as_accurate_as_its_card_says(name, request):
    card = zoo.card(name)
    data_dir = None if card.dataset in ALWAYS_THERE else request.getfixturevalue("tfds_dir")
    data = training.load_data(card.dataset, data_dir, image_size=card.preprocessing.size[0])
    metrics = training.evaluate(zoo.load_model(name), data, preprocessing=card.preprocessing)
    # It was measured in mixed precision and is loaded in float32: an image on the edge may turn.
    difference = abs(metrics.accuracy - card.metrics["test_accuracy"])
    assert difference <= 0.003
    assert metrics.count == card.metrics["test_images"]
