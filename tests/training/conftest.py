"""A model and a recipe that train in a second."""

import numpy as np
import pytest

import training
from zoo import registry

from .tiny import register, tiny_recipe


@pytest.fixture(autouse=True)
def _tiny_is_registered():
    """Have the small model in the registry, but not for the tests of other packages."""
    register()
    yield
    registry._MODELS.pop("tiny")


@pytest.fixture
def recipe():
    """Two epochs of five steps on 8x8 digits."""
    return tiny_recipe()


@pytest.fixture
def resnet8(recipe):
    """One epoch of five steps of a small ResNet-8 on 8x8 digits."""
    return training.Recipe.load(recipe, arch="resnet8", width=0.5, epochs=1)


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
