"""How an image of any size becomes one of the model's size."""

import numpy as np
import PIL.Image
import pytest

import zoo
from zoo.preprocessing import Preprocessing

METHODS = {name: PIL.Image.Resampling[name.upper()] for name in ("nearest", "bilinear", "bicubic")}


def picture(height, width):
    random = np.random.default_rng(0)
    return PIL.Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize("interpolation", METHODS)
@pytest.mark.parametrize("size", [(200, 30), (30, 200), (60, 80), (23, 70)])
def test_the_width_is_resized_first_whatever_the_shape(size, interpolation):
    image, method = picture(*size), METHODS[interpolation]
    wanted = image.resize((40, size[0]), method).resize((40, 24), method)
    made = Preprocessing(size=(24, 40), interpolation=interpolation).resize(image)
    assert (made == np.asarray(wanted)).all()


@pytest.mark.parametrize("interpolation", METHODS)
def test_the_part_that_is_kept_is_in_the_centre(interpolation):
    # 0.5 of the largest 2:1 rectangle in 60x80, which is 40x80: 20x40 in the centre.
    image, method = picture(60, 80), METHODS[interpolation]
    wanted = image.resize((10, 60), method, (20, 0, 60, 60)).resize(
        (10, 5), method, (0, 20, 10, 40)
    )
    made = Preprocessing(size=(5, 10), interpolation=interpolation, crop=0.5).resize(image)
    assert (made == np.asarray(wanted)).all()


def test_an_image_of_the_models_size_is_kept_whole():
    image = picture(24, 40)
    for crop in (0.0, 0.5, 1.0):
        assert (Preprocessing(size=(24, 40), crop=crop).resize(image) == np.asarray(image)).all()


def test_pixels_are_the_image_at_its_own_size(tmp_path):
    image = picture(30, 50)
    image.save(tmp_path / "picture.png")
    read = Preprocessing(size=(8, 8), crop=0.5).pixels(tmp_path / "picture.png")
    assert (read == np.asarray(image)).all()


@pytest.mark.parametrize("images", [None, 5, [], "abc", np.uint8(3), picture(8, 8)])
def test_images_are_an_array(images):
    with pytest.raises(zoo.InputError, match=r"accepted is an array .* uint8 of shape \(batch, 8"):
        Preprocessing(size=(8, 8))(images)


@pytest.mark.parametrize("image", [None, 5, np.zeros((8, 8, 3), np.uint8)])
def test_what_is_resized_is_an_image_of_pillow(image):
    with pytest.raises(zoo.InputError, match="image: accepted is one of Pillow's"):
        Preprocessing(size=(8, 8)).resize(image)


@pytest.mark.parametrize("path", [None, 5, True])
def test_what_is_read_is_a_path(path):
    for read in (Preprocessing(size=(8, 8)).read, Preprocessing(size=(8, 8)).pixels):
        with pytest.raises(zoo.InputError, match=f"image's path or binary file; received {path}"):
            read(path)
