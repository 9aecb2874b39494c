import numpy as np
import pytest

import training
from training import augmentation, mixing, randaugment
from training.augmentation import augment
from zoo import InputError
from zoo.preprocessing import Preprocessing


class Drawn:
    """A source of chance that gives what it is told, whatever it is asked for."""

    def __init__(self, *values):
        self.values = list(values)

    def __getattr__(self, name):
        return lambda *args, **kwargs: self.values.pop(0)


def test_a_crop_is_a_part_of_the_padded_image(images):
    cropped = augmentation.pad_crop(images, 2, np.random.default_rng(0))
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    places = set()
    for before, after in zip(padded, cropped, strict=True):
        found = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if (before[top : top + 6, left : left + 5] == after).all()
        ]
        assert len(found) == 1
        places.add(found[0])
    assert len(places) > 8  # of 25 places, 16 draws


def test_the_most_distant_crops_are_taken(images):
    many = np.repeat(images[:1], 2000, axis=0)
    cropped = augmentation.pad_crop(many, 1, np.random.default_rng(0))
    # 9 places are equally likely: that 2,000 draws miss one has a probability below 1e-100.
    assert len(np.unique(cropped.reshape(2000, -1), axis=0)) == 9


def test_flipping_mirrors_about_half(images):
    many = np.repeat(images[:1], 1000, axis=0)
    flipped = augmentation.flip(many, np.random.default_rng(0))
    mirrored = (flipped == images[0][:, ::-1]).all((1, 2, 3))
    assert (flipped[~mirrored] == images[0]).all()
    # Binomial(1000, 1/2) has a deviation of 16; six of them.
    assert abs(int(mirrored.sum()) - 500) < 96


def places(count, height, width):
    """Images whose pixels hold their own row and column."""
    rows, columns = np.mgrid[:height, :width]
    one = np.stack([rows, columns, np.zeros_like(rows)], axis=-1).astype(np.uint8)
    return np.repeat(one[None], count, axis=0)


def boxes(cropped):
    """Top, left, height and width of crops of `places`: enlarging keeps the outermost values."""
    first, last = cropped[:, 0, 0, :2].astype(int), cropped[:, -1, -1, :2].astype(int)
    return *first.T, *(last - first + 1).T


def test_resized_crops_have_the_shares_and_ratios_that_are_asked_for():
    count, side, least = 2000, 100, 0.25
    cropped = augmentation.random_resized_crop(
        places(count, side, side), least, np.random.default_rng(0)
    )
    assert cropped.shape == (count, side, side, 3)
    top, left, height, width = boxes(cropped)
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + height <= side).all() and (left + width <= side).all()
    # A side is rounded by up to half a pixel of at least 43, the side of 1/4 of the area at 3/4.
    slack = 0.5 / 43
    share, ratio = height * width / side**2, width / height
    assert (share > least * (1 - 2 * slack)).all()
    assert (np.abs(np.log(ratio)) < np.log(4 / 3) + 2 * slack).all()
    # Its logarithm is uniform in +-0.288 but where large parts do not fit, alike on both sides;
    # five deviations of the mean, each at most 0.288 / sqrt(3) / sqrt(2000).
    assert abs(np.log(ratio).mean()) < 5 * 0.166 / count**0.5
    # Up to a share of 3/4 every ratio fits, so those shares are uniform in [1/4, 3/4]. Five
    # deviations of their mean, and the rounding of the sides, which does not average out fully.
    small = share[share < 0.75]
    assert len(small) > count / 2
    assert abs(small.mean() - 0.5) < 5 * (0.5 / 12**0.5) / len(small) ** 0.5 + 0.005
    # Places are uniform too: the mean of a crop's place between its ends is 1/2.
    free = height < side
    place = top[free] / (side - height[free])
    assert abs(place.mean() - 0.5) < 5 * 0.5 / free.sum() ** 0.5


@pytest.mark.parametrize(
    ("height", "width", "largest"), [(10, 60, (10, 13)), (60, 10, (13, 10)), (40, 40, (40, 40))]
)
def test_where_no_part_fits_the_largest_is_taken(height, width, largest):
    # Nearly the whole area, at ratios away from the image's own. With 48 places at most, 2,000
    # draws miss one with a probability below 1e-16.
    cropped = augmentation.random_resized_crop(
        places(2000, height, width), 0.9999, np.random.default_rng(0)
    )
    top, left, *size = boxes(cropped)
    sizes = set(zip(*(part.tolist() for part in size), strict=True))
    assert sizes == {largest}
    assert (len(set(top.tolist())), len(set(left.tolist()))) == (
        height - largest[0] + 1,
        width - largest[1] + 1,
    )


def test_a_part_is_enlarged_bilinearly():
    image = np.zeros((1, 4, 4, 3), np.uint8)
    image[0, 1:3, 1:3] = np.array([[0, 100], [0, 100]])[..., None]
    # An area of 4 with ratio 1, then the place.
    chance = Drawn(np.full((10, 1), 0.25), np.zeros((10, 1)), np.array([1]), np.array([1]))
    cropped = augmentation.random_resized_crop(image, 0.2, chance)
    # Pixels of twice the size: their centres lie a quarter and three quarters on the way.
    assert cropped[0, :, :, 0].tolist() == [[0, 25, 75, 100]] * 4


def test_tiny_images_keep_a_pixel():
    images = places(50, 1, 3)
    assert augmentation.random_resized_crop(images, 1e-9, np.random.default_rng(0)).shape == (
        images.shape
    )


@pytest.mark.parametrize(
    ("row", "column", "side", "rows", "columns"),
    [
        (2, 2, 2, (1, 3), (1, 3)),
        (2, 2, 3, (1, 4), (1, 4)),
        (0, 4, 3, (0, 2), (3, 5)),
        (3, 0, 1, (3, 4), (0, 1)),
        (1, 1, 5, (0, 4), (0, 4)),
    ],
)
def test_cutout_clears_the_square_around_its_centre(row, column, side, rows, columns):
    image = np.ones((1, 4, 5, 3), np.float32)
    cut = augmentation.cutout(image, side, Drawn(np.array([row]), np.array([column])))
    expected = image.copy()
    expected[0, slice(*rows), slice(*columns)] = 0
    np.testing.assert_array_equal(cut, expected)
    assert image.all()  # it was not changed in place


def test_cutout_clears_as_much_as_theory_says():
    count, side, size = 5000, 6, 10
    cut = augmentation.cutout(
        np.ones((count, size, size, 1), np.float32), side, np.random.default_rng(0)
    )
    cleared = 1 - cut.mean((1, 2, 3))
    # What is left of the square's side over all ten centres; rows and columns are independent.
    lengths = [min(c + 3, size) - max(c - 3, 0) for c in range(size)]
    expected = (np.mean(lengths) / size) ** 2
    assert abs(cleared.mean() - expected) < 5 * cleared.std() / count**0.5


def test_cutout_is_the_mean_colour():
    """Zero after the preprocessing is its mean before."""
    preprocessing = Preprocessing(size=(4, 4), mean=(0.2, 0.4, 0.6), std=(0.1, 0.2, 0.3))
    white = np.full((1, 4, 4, 3), 255, np.uint8)
    x, _ = augment(
        white,
        np.ones((1, 1), np.float32),
        training.Augmentation(cutout=4),
        preprocessing,
        Drawn(np.array([2]), np.array([2])),
    )
    before = x * np.float32(preprocessing.std) + np.float32(preprocessing.mean)
    np.testing.assert_array_equal(before, np.broadcast_to(np.float32([0.2, 0.4, 0.6]), x.shape))


def test_mixup_by_hand():
    images = np.float32([8, 0, 4]).reshape(3, 1, 1, 1)
    chance = Drawn(0.25, np.array([1, 2, 0]))
    x, y = mixing.mixup_batch(images, np.eye(3, dtype=np.float32), 1.0, chance)
    assert x.ravel().tolist() == [0.25 * 8, 0.75 * 4, 0.25 * 4 + 0.75 * 8]
    assert y.tolist() == [[0.25, 0.75, 0], [0, 0.25, 0.75], [0.75, 0, 0.25]]
    assert x.dtype == y.dtype == np.float32
    assert images.ravel().tolist() == [8, 0, 4]


def test_cutmix_by_hand():
    images = np.repeat(np.float32([0, 1]), 16).reshape(2, 4, 4, 1)
    # A share of 1/4 is a box of 2x2; around row 0 only one row of it is inside.
    chance = Drawn(0.25, 0, 2, np.array([1, 0]))
    x, y = mixing.cutmix_batch(images, np.eye(2, dtype=np.float32), 1.0, chance)
    expected = np.zeros((4, 4))
    expected[0, 1:3] = 1
    np.testing.assert_array_equal(x[0, ..., 0], expected)
    np.testing.assert_array_equal(x[1, ..., 0], 1 - expected)
    assert y.tolist() == [[0.875, 0.125], [0.125, 0.875]]
    assert images.mean((1, 2, 3)).tolist() == [0, 1]


@pytest.mark.parametrize("alpha", [0.001, 0.2, 1.0, 100.0])
def test_shares_of_mixup_are_of_the_beta_distribution(alpha):
    count, chance = 4000, np.random.default_rng(0)
    images, labels = np.ones((8, 1, 1, 1), np.float32), np.eye(8, dtype=np.float32)
    shares = np.empty(count)
    for draw in range(count):
        x, y = mixing.mixup_batch(images, labels, alpha, chance)
        # One that has itself for a partner keeps its label; eight at once as good as never do.
        shares[draw] = y.diagonal().min()
        # A share and its rest are each rounded to float32.
        assert np.abs(y.sum(-1) - 1).max() < 2e-7 and np.abs(x - 1).max() < 2e-7
    # Five deviations of the means: shares deviate by at most 1/2, their squared distance from 1/2,
    # which lies in [0, 1/4], by at most 1/8.
    assert abs(shares.mean() - 0.5) < 5 * 0.5 / count**0.5
    assert abs(((shares - 0.5) ** 2).mean() - 1 / (8 * alpha + 4)) < 5 * 0.125 / count**0.5


def test_labels_of_cutmix_are_the_areas_that_are_pasted():
    count, size, chance = 2000, 16, np.random.default_rng(0)
    # Each image is of one number, so its mean tells what it is made of.
    images = np.zeros((8, size, size, 8), np.float32)
    images[np.arange(8), :, :, np.arange(8)] = 1
    areas = np.empty(count)
    for draw in range(count):
        x, y = mixing.cutmix_batch(images, np.eye(8, dtype=np.float32), 1.0, chance)
        np.testing.assert_allclose(x.mean((1, 2)), y, rtol=0, atol=1e-6)  # 256 float32 are added
        areas[draw] = 1 - y.diagonal().min()
    # What is inside of a side, over all its centres; the share is uniform for alpha 1.
    shares = (np.arange(2000) + 0.5) / 2000
    inside = []
    for share in shares:
        length = round(size * share**0.5)
        starts = np.arange(size) - length // 2
        inside.append((np.minimum(starts + length, size) - np.maximum(starts, 0)).mean() / size)
    expected = np.square(inside).mean()
    assert abs(areas.mean() - expected) < 5 * areas.std() / count**0.5


def test_with_both_each_batch_gets_one_of_the_two():
    chance = np.random.default_rng(0)
    images = np.zeros((8, 8, 8, 1), np.float32)
    images[::2] = 1
    labels = np.eye(8, dtype=np.float32)
    averaged = 0
    for _ in range(1000):
        x, _ = mixing.mix(images, labels, mixup=100.0, cutmix=1.0, chance=chance)
        averaged += bool(((x > 0) & (x < 1)).any())
    # Binomial(1000, 1/2) has a deviation of 16, six of them; and one of 70 permutations pairs
    # alike with alike, where averages cannot be told: 7 of 500.
    assert abs(averaged - 493) < 96


def test_what_is_off_draws_nothing(images):
    labels = np.eye(16, dtype=np.float32)
    preprocessing = Preprocessing(size=(6, 5))
    x, y = augment(images, labels, training.Augmentation(), preprocessing, Drawn())
    np.testing.assert_array_equal(x, preprocessing(images))
    assert y is labels


def test_the_order_is_that_of_the_keys(images, monkeypatch):
    done = []

    def note(module, name):
        real = getattr(module, name)

        def wrapped(*args, **kwargs):
            done.append((name, args[0].dtype))
            return real(*args, **kwargs)

        monkeypatch.setattr(module, name, wrapped)

    for name in ("flip", "random_resized_crop", "cutout"):
        note(augmentation, name)
    note(randaugment, "rand_augment")
    note(mixing, "mixup_batch")
    settings = training.Augmentation(
        random_resized_crop=0.5, flip=True, rand_augment=1, cutout=2, mixup=1.0
    )
    augment(
        images,
        np.eye(16, dtype=np.float32),
        settings,
        Preprocessing(size=(6, 5)),
        np.random.default_rng(0),
    )
    assert [name for name, _ in done] == [
        "random_resized_crop",
        "flip",
        "rand_augment",
        "cutout",
        "mixup_batch",
    ]
    assert [dtype for _, dtype in done] == [np.uint8] * 3 + [np.float32] * 2


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"pad_crop": 1025}, ["pad_crop", "1024", "1025"]),
        ({"alternate_flip": True}, ["alternate_flip", "with flip only", "flip false"]),
        ({"random_resized_crop": 1.0}, ["random_resized_crop", "less than 1", "1.0"]),
        ({"random_resized_crop": -0.1}, ["random_resized_crop", "0", "-0.1"]),
        ({"rand_augment": 15}, ["rand_augment", "14", "15"]),
        ({"rand_augment": 2.5}, ["rand_augment", "integer", "2.5"]),
        ({"rand_augment_magnitude": 31}, ["rand_augment_magnitude", "30", "31"]),
        ({"rand_augment_magnitude": -1}, ["rand_augment_magnitude", "0", "-1"]),
        ({"cutout": -1}, ["cutout", "0", "-1"]),
        ({"cutout": 1025}, ["cutout", "1024", "1025"]),
        ({"mixup": -0.2}, ["mixup", "0", "-0.2"]),
        ({"mixup": 101}, ["mixup", "100", "101"]),
        ({"mixup": float("nan")}, ["mixup", "finite", "nan"]),
        ({"mixup": 1e-4}, ["mixup: accepted are 0 and 0.001 to 100; received 0.0001"]),
        ({"cutmix": 1e-4}, ["cutmix: accepted are 0 and 0.001 to 100; received 0.0001"]),
        ({"cutmix": True}, ["cutmix", "number", "True"]),
        (
            {"pad_crop": 4, "random_resized_crop": 0.08},
            ["random_resized_crop: accepted is 0 with pad_crop", "received 0.08 with pad_crop 4"],
        ),
        ({"mix_up": 1.0}, ["'mix_up'", "mixup"]),
    ],
)
def test_bad_settings_are_told_in_one_line(values, words):
    for make in (
        lambda: training.Augmentation(**values),
        lambda: training.Recipe.load("resnet20.digits", augmentation=values),
    ):
        with pytest.raises(InputError) as caught:
            make()
        message = str(caught.value)
        assert "\n" not in message
        assert [word for word in words if word not in message] == []


def test_the_ends_of_the_ranges_are_accepted():
    training.Augmentation(
        random_resized_crop=0.999,
        rand_augment=14,
        rand_augment_magnitude=30,
        cutout=1024,
        mixup=100,
        cutmix=0.001,
    )
