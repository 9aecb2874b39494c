"""Preprocessing inside a network."""

import keras
import numpy as np
import PIL.Image
import pytest

import export
import zoo
from zoo import keras_files, resampling

from .networks import small


def pixels(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, height, width, channels), np.uint8)


def outside(given: zoo.Preprocessing, images: np.ndarray) -> np.ndarray:
    """What Pillow and numpy make of the images."""
    pictures = [PIL.Image.fromarray(image.squeeze()) for image in images]
    return given(np.stack([given.resize(picture) for picture in pictures]))


VALUES = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4)}


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("crop", [0.0, 0.875])
@pytest.mark.parametrize("size", [(37, 53), (9, 8), (16, 12)])
def test_it_resizes_as_pillow_does(interpolation, crop, size):
    given = zoo.Preprocessing(size=(16, 12), interpolation=interpolation, crop=crop, **VALUES)
    images = pixels(*size)
    inside = np.asarray(given.layer()(images))
    differing = np.abs(inside - outside(given, images)) * 255 * np.array(given.std)
    # Where a value is half way between two levels, Pillow's integers and float32 may round apart.
    assert differing.max() <= 1.001
    assert np.mean(differing > 0.001) <= 0.05


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_it_scales_as_numpy_does(order):
    given = zoo.Preprocessing(size=(5, 4), order=order, **VALUES)
    images = pixels(5, 4)
    # A few roundings of float32 of values up to 5.
    np.testing.assert_allclose(given.layer()(images), given(images), rtol=0, atol=2e-6)


def test_bgr_turns_the_colours_round():
    plain, turned = (zoo.Preprocessing(size=(5, 4), order=order) for order in ("rgb", "bgr"))
    images = pixels(5, 4)
    np.testing.assert_array_equal(turned(images), plain(images)[..., ::-1])


def test_grey_has_one_order():
    with pytest.raises(zoo.InputError, match="order"):
        zoo.Preprocessing(size=(5, 4), channels=1, mean=(0,), std=(1,), order="bgr")


def whole(given: zoo.Preprocessing) -> keras.Model:
    """A small network with its preprocessing in front."""
    image = keras.Input((12, 10, 3), name="image", dtype="uint8")
    return keras.Model(image, small("resnet8")(given.layer()(image)))


def test_it_is_saved_with_a_model_and_folds(tmp_path):
    model = whole(zoo.Preprocessing(size=(8, 8), crop=0.9, order="bgr", **VALUES))
    keras_files.save(model, tmp_path / "whole.keras")
    loaded = keras_files.load(tmp_path / "whole.keras")
    images = pixels(12, 10)
    np.testing.assert_array_equal(loaded(images), model(images))
    folded = export.fold(loaded)
    assert not folded.report.kept
    expected = np.asarray(model(images))
    # float32 rounds elsewhere in the folded model.
    np.testing.assert_allclose(
        folded.model(images), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )


@pytest.mark.parametrize("shape", [(12, 10, 1), (None, 10, 3)])
def test_what_it_cannot_resize_is_refused(shape):
    with pytest.raises(zoo.InputError, match=r"preprocessing: accepted are images of"):
        zoo.Preprocessing(size=(8, 8)).layer()(keras.Input(shape))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_a_constant_stays_constant(interpolation):
    weights = resampling.matrix(31, 7, 2.5, 28.5, interpolation)
    # A sum of some ten float64 numbers of about 0.1.
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=0, atol=1e-14)
