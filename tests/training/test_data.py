import numpy as np
import pytest

import training
from training import data as data_module
from training.data import Raw, Source, channel_statistics, stratified
from zoo import InputError


@pytest.fixture
def new_set(monkeypatch):
    """Give a set of its own to the table, as a user would."""

    def add(train, test=None, labels=("no", "yes")):
        raw = Raw(train, test, labels)
        monkeypatch.setitem(data_module.SOURCES, "mine", Source(lambda data_dir: raw))

    return add


def test_digits_are_brought_to_the_size_of_the_models():
    data = training.load_data("digits")
    assert data.train.images.shape == (1438, 32, 32, 3)
    assert data.test.images.shape == (359, 32, 32, 3)
    assert data.train.images.dtype == np.uint8
    assert data.train.images.max() == 255
    assert data.labels == tuple("0123456789")
    assert (data.train.images[..., 0] == data.train.images[..., 2]).all()
    assert data.preprocessing.size == (32, 32)


def test_the_test_split_is_fixed_and_stratified(digits):
    again = training.load_data("digits", image_size=8)
    assert (again.test.images == digits.test.images).all()
    train, test = np.bincount(digits.train.labels), np.bincount(digits.test.labels)
    # A fifth of each class, rounded: at most half an image from the exact share.
    assert (np.abs(test - 0.2 * (train + test)) <= 0.5).all()


def test_no_image_is_in_both_parts():
    labels = np.repeat([0, 1, 2], [10, 20, 7])
    first, second = stratified(labels, 0.3)
    assert sorted([*first, *second]) == list(range(37))
    assert list(np.bincount(labels[second])) == [3, 6, 2]


def test_statistics_are_those_of_the_pixels(images):
    mean, std = channel_statistics(images)
    scaled = images / 255
    # The statistics are rounded to four digits.
    np.testing.assert_allclose(mean, scaled.mean((0, 1, 2)), rtol=0, atol=5.1e-5)
    np.testing.assert_allclose(std, scaled.std((0, 1, 2)), rtol=0, atol=5.1e-5)


def test_a_channel_with_one_value_can_be_divided_by_its_deviation():
    assert channel_statistics(np.full((2, 4, 4, 1), 51, np.uint8)) == ((0.2,), (1.0,))


def test_known_statistics_are_those_of_the_train_split():
    data = training.load_data("digits")
    assert channel_statistics(data.train.images) == (
        data.preprocessing.mean,
        data.preprocessing.std,
    )


def test_a_new_set_is_one_entry(new_set, images):
    labels = np.arange(16) % 2
    new_set((images[..., :1], labels), (images[:4, ..., :1], labels[:4]))
    data = training.load_data("mine")
    assert data.train.images.shape == (16, 6, 5, 3)
    assert len(data.test) == 4
    assert data.preprocessing.mean == channel_statistics(data.train.images)[0]
    assert data.notes == ("grey images, repeated on three channels",)


def test_images_of_several_sizes_need_one(new_set, images):
    several = [*images[:8], *images[8:, :4, :4]]
    new_set((several, np.arange(16) % 2))
    with pytest.raises(InputError, match=r"mine has images of 2 sizes; pass image_size"):
        training.load_data("mine")
    data = training.load_data("mine", image_size=8)
    assert data.train.images.shape[1:] == data.test.images.shape[1:] == (8, 8, 3)
    assert "no test split" in data.notes[0]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cifar11", ["unknown dataset", "'cifar11'", "cifar10"]),
        ("glue", ["not a set of labelled images", "sentence"]),
        ("cifar10:9.9.9", ["cifar10:9.9.9", "9.9.9"]),
    ],
)
def test_what_cannot_be_loaded_is_told_in_one_line(name, words, tmp_path):
    pytest.importorskip("tensorflow_datasets")
    with pytest.raises(InputError) as caught:
        training.load_data(name, tmp_path)
    assert "\n" not in str(caught.value)
    assert [word for word in words if word not in str(caught.value)] == []


def test_a_set_that_is_nowhere_says_what_to_pass(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow_datasets")
    monkeypatch.setattr("training.prepared._resolves", lambda host: False)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    with pytest.raises(InputError, match=r"cifar10 is not prepared in .*pass --data-dir.*cifar10/"):
        training.load_data("cifar10", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(("name", "counts"), [("cifar10", 50_000), ("fashion_mnist", 60_000)])
def test_prepared_sets_are_read_whole(name, counts, tfds_dir):
    data = training.load_data(name, tfds_dir)
    assert (len(data.train), len(data.test)) == (counts, 10_000)
    assert data.train.images.shape[-1] == 3
    assert len(data.labels) == 10
    assert channel_statistics(data.train.images) == (
        data.preprocessing.mean,
        data.preprocessing.std,
    )
