from collections import Counter

import numpy as np
import PIL.Image
import pytest

from training import randaugment
from training.randaugment import OPERATIONS, rand_augment

# Those have no magnitude.
WITHOUT = {"AutoContrast", "Equalize"}


@pytest.fixture
def noise():
    """A 20x30 image with all values, black and white among them."""
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    image[0, :2] = [[0] * 3, [255] * 3]
    return image


def apply(name, image, level):
    return np.asarray(OPERATIONS[name](PIL.Image.fromarray(image), level)).astype(int)


def test_the_operations_are_those_of_the_paper():
    assert set(OPERATIONS) == {
        *("Identity", "AutoContrast", "Equalize", "Rotate", "Solarize", "Color", "Posterize"),
        *("Contrast", "Brightness", "Sharpness", "ShearX", "ShearY", "TranslateX", "TranslateY"),
    }


@pytest.mark.parametrize("name", sorted(OPERATIONS.keys() - WITHOUT))
@pytest.mark.parametrize("level", [0.0, -0.0])
def test_magnitude_0_leaves_the_image_as_it_is(noise, name, level):
    np.testing.assert_array_equal(apply(name, noise, level), noise)


@pytest.mark.parametrize("name", sorted(WITHOUT | {"Identity"}))
def test_what_has_no_magnitude_is_the_same_at_any(noise, name):
    np.testing.assert_array_equal(apply(name, noise, 0.0), apply(name, noise, -1.0))


@pytest.mark.parametrize(
    "name", [name for name in OPERATIONS if name not in WITHOUT | {"Identity"}]
)
@pytest.mark.parametrize("level", [1.0, -1.0])
def test_the_highest_magnitude_changes_the_image(noise, name, level):
    assert (apply(name, noise, level) != noise).mean() > 0.3


def test_auto_contrast_spreads_each_channel():
    image = np.array([[[50, 0, 7], [60, 0, 7], [101, 255, 7]]], np.uint8)
    expected = [[0, 0, 7], [50, 0, 7], [255, 255, 7]]
    assert apply("AutoContrast", image, 0.0)[0].tolist() == expected


def test_equalize_makes_all_values_as_frequent():
    image = np.random.default_rng(0).integers(0, 16, (64, 64, 3), dtype=np.uint8)
    values = np.unique(apply("Equalize", image, 0.0)[..., 0])
    # Sixteen values, about as frequent, lie about as far from each other.
    assert len(values) == 16 and values[-1] == 255
    assert np.abs(np.diff(values) - 16).max() < 6


def test_solarize_inverts_what_is_bright(noise):
    np.testing.assert_array_equal(apply("Solarize", noise, 1.0), 255 - noise)
    expected = np.where(noise < 128, noise, 255 - noise)
    np.testing.assert_array_equal(apply("Solarize", noise, -0.5), expected)


@pytest.mark.parametrize(("magnitude", "bits"), [(3, 8), (4, 7), (11, 7), (12, 6), (30, 4)])
def test_posterize_keeps_the_highest_bits(noise, magnitude, bits):
    expected = noise & (256 - 2 ** (8 - bits))
    np.testing.assert_array_equal(apply("Posterize", noise, magnitude / 30), expected)


@pytest.mark.parametrize(("level", "factor"), [(1.0, 1.9), (-1.0, 0.1), (0.5, 1.45)])
def test_brightness_multiplies(noise, level, factor):
    expected = np.clip(noise * factor, 0, 255)
    # Pillow cuts off what is behind the point.
    assert np.abs(apply("Brightness", noise, level) - expected).max() <= 1


def test_contrast_and_color_and_sharpness_blend_with_what_lacks_them(noise):
    grey = np.asarray(PIL.Image.fromarray(noise).convert("L")).astype(float)
    for level in (1.0, -1.0):
        factor = 1 + 0.9 * level
        for name, lacking in (("Contrast", np.rint(grey.mean())), ("Color", grey[..., None])):
            expected = np.clip(lacking + factor * (noise - lacking), 0, 255)
            assert np.abs(apply(name, noise, level) - expected).max() <= 1
    inside = (slice(1, -1), slice(1, -1))
    blurred, sharp = apply("Sharpness", noise, -1.0), apply("Sharpness", noise, 1.0)
    assert blurred[inside].std() < noise[inside].std() < sharp[inside].std()


@pytest.mark.parametrize(("name", "axis"), [("TranslateX", 1), ("TranslateY", 0)])
def test_translations_move_by_a_share_of_the_side(name, axis):
    """150 pixels of 331 at the highest magnitude, as in the paper."""
    shape = [4, 4, 3]
    shape[axis] = 331
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    forward, backward = (np.moveaxis(apply(name, image, level), axis, 0) for level in (1.0, -1.0))
    image = np.moveaxis(image, axis, 0)
    # 331 * (150 / 331) may miss 150 by its last bit, and Pillow cuts off what is behind the point.
    np.testing.assert_allclose(forward[:181], image[150:].astype(int), rtol=0, atol=1)
    assert (forward[181:] == 128).all()
    np.testing.assert_allclose(backward[150:], image[:181].astype(int), rtol=0, atol=1)
    assert (backward[:150] == 128).all()


@pytest.mark.parametrize(("name", "axis"), [("ShearX", 1), ("ShearY", 0)])
def test_shears_move_each_row_by_its_distance(name, axis):
    image = np.zeros((60, 60, 3), np.uint8)
    image += np.moveaxis(np.arange(0, 240, 4, dtype=np.uint8)[:, None, None], 0, axis)
    sheared = np.moveaxis(apply(name, image, 1.0), axis, 0)[..., 0]  # position, row
    positions, rows = np.mgrid[:60, :60]
    source = positions + 0.3 * (rows + 0.5)
    inside = source < 59
    # Values rise by 4 a pixel; Pillow cuts off what is behind the point.
    assert np.abs(sheared - 4 * source)[inside].max() < 1.001
    assert (sheared[source > 60] == 128).all()


def test_rotations_turn_around_the_middle():
    image = np.zeros((41, 41, 3), np.uint8)
    image[20, 36] = 255  # 16 pixels to the right of the middle
    for level, sign in ((1.0, -1), (-1.0, 1)):
        turned = apply("Rotate", image, level)[..., 0]
        turned[turned == 128] = 0
        row, column = np.unravel_index(turned.argmax(), turned.shape)
        # By 30 degrees: 16 * sin and 16 * cos, to the nearest pixel.
        assert abs(row - (20 + sign * 8)) <= 1
        assert abs(column - (20 + 16 * 3**0.5 / 2)) <= 1
        assert apply("Rotate", image, level)[0, 0].tolist() == [128] * 3


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (8, 8), (97, 160)])
def test_images_of_any_size_get_every_operation(size):
    images = np.random.default_rng(0).integers(0, 256, (40, *size, 3), dtype=np.uint8)
    before = images.copy()
    varied = rand_augment(images, 14, 30, np.random.default_rng(0))
    assert varied.shape == images.shape and varied.dtype == np.uint8
    np.testing.assert_array_equal(images, before)


def test_it_follows_from_the_source_of_chance(noise):
    images = np.repeat(noise[None], 32, axis=0)
    one, two, other = (rand_augment(images, 2, 9, np.random.default_rng(s)) for s in (0, 0, 1))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()
    assert len(np.unique(one.reshape(32, -1), axis=0)) > 16  # each image has operations of its own


def test_every_operation_and_direction_is_as_likely(noise, monkeypatch):
    seen = Counter()

    def noting(name):
        def operation(image, level):
            seen[name, level] += 1
            return image

        return operation

    monkeypatch.setattr(randaugment, "OPERATIONS", {name: noting(name) for name in OPERATIONS})
    rand_augment(np.repeat(noise[None, :2, :2], 7000, axis=0), 2, 15, np.random.default_rng(0))
    assert {level for _, level in seen} == {0.5, -0.5}
    # Binomial(14000, 1/28): 500 with a deviation of 22; five of them.
    assert len(seen) == 28
    assert max(abs(count - 500) for count in seen.values()) < 110
