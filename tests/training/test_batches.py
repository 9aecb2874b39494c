import numpy as np
import pytest

import training
from training import augmentation
from training.batches import batches, steps_per_epoch
from zoo import InputError


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


def epoch_of(data, recipe, **where):
    return list(
        batches(data.train, recipe, data.preprocessing, classes=10, **{"epoch": 0, **where})
    )


@pytest.fixture
def varied(recipe):
    return training.Recipe.load(recipe, augmentation={"pad_crop": 1, "flip": True})


def test_an_epoch_follows_from_the_seed(digits, varied):
    first, again = epoch_of(digits, varied), epoch_of(digits, varied)
    for (x, y), (other_x, other_y) in zip(first, again, strict=True):
        assert (x == other_x).all()
        assert (y == other_y).all()
    for other in (
        epoch_of(digits, varied, epoch=1),
        epoch_of(digits, training.Recipe.load(varied, seed=1)),
    ):
        assert not (other[0][0] == first[0][0]).all()


def test_an_epoch_can_begin_in_the_middle(digits, varied):
    whole, rest = epoch_of(digits, varied), epoch_of(digits, varied, first=3)
    assert len(rest) == len(whole) - 3
    assert all((x == y).all() for (x, _), (y, _) in zip(whole[3:], rest, strict=True))


def test_each_image_is_seen_once_at_most(digits, recipe):
    marked = training.Data(
        digits.name,
        training.Split(digits.train.images, np.arange(len(digits.train))),
        digits.test,
        digits.labels,
        digits.preprocessing,
    )
    seen = [
        index
        for _, labels in batches(
            marked.train, recipe, marked.preprocessing, classes=len(marked.train), epoch=0
        )
        for index in labels.argmax(-1)
    ]
    assert len(seen) == len(set(seen)) == 5 * 256


def test_labels_stay_with_their_images(digits, recipe):
    split = digits.train
    known = {
        image.tobytes(): label for image, label in zip(split.images, split.labels, strict=True)
    }
    x, y = epoch_of(digits, recipe)[0]
    scaled = x * np.asarray(digits.preprocessing.std) + np.asarray(digits.preprocessing.mean)
    pixels = np.rint(scaled * 255).astype(np.uint8)
    assert [known[image.tobytes()] for image in pixels] == list(y.argmax(-1))
    assert (y.sum(-1) == 1).all()


def test_a_batch_larger_than_the_set_is_refused(recipe):
    with pytest.raises(InputError, match=r"batch_size.*at most.*100; received 256"):
        steps_per_epoch(recipe, 100)
