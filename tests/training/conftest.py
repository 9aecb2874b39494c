"""A model and a recipe that train in a second."""

import numpy as np
import pytest

import training
import zoo
from zoo import blocks, registry


def tiny(options):
    image = blocks.image(options)
    x = blocks.conv_norm_act(image, 8, 3, norm=options.norm, stride=2, name="stem")
    return blocks.model(options, image, {2: x}, name="tiny")


@pytest.fixture(autouse=True)
def _tiny_is_registered():
    """Have the small model in the registry, but not for the tests of other packages."""
    zoo.register_model(input_shape=(8, 8, 3), num_classes=10, paper="none")(tiny)
    yield
    registry._MODELS.pop("tiny")


@pytest.fixture
def recipe():
    """Two epochs of five steps on 8x8 digits."""
    return training.Recipe(
        name="tiny.digits",
        arch="tiny",
        dataset="digits",
        image_size=8,
        epochs=2,
        batch_size=256,
        learning_rate=0.1,
        holdout=0.1,
        precision="float32",
    )


@pytest.fixture
def silent():
    return training.Progress()


@pytest.fixture(scope="session")
def digits():
    return training.load_data("digits", image_size=8)


@pytest.fixture
def images():
    """Sixteen 6x5 images without a zero pixel, so that padding can be told from them."""
    return np.random.default_rng(0).integers(1, 256, (16, 6, 5, 3), dtype=np.uint8)
