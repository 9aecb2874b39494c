import types

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
    with pytest.raises(InputError, match=r"mine has images of several sizes, such as 4x4 and 6x5"):
        training.load_data("mine")
    data = training.load_data("mine", image_size=8)
    assert data.train.images.shape[1:] == data.test.images.shape[1:] == (8, 8, 3)
    assert "no test split" in data.notes[0]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cifar11", ["unknown dataset", "'cifar11'", "cifar10"]),
        ("./pictures", ["unknown dataset './pictures'", "is folder:./pictures"]),
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


@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        (lambda x, y: (x[:0], y[:0]), None, "no images in its train split"),
        (lambda x, y: (x, y), lambda x, y: (x[:0], y[:0]), "no images in its test split"),
        (lambda x, y: (x, y - 1), None, r"labels from 0 to 1.*received -1 to 0 in the train"),
        (lambda x, y: (x, y + 1), None, "received 1 to 2 in the train split"),
        (lambda x, y: (x, y), lambda x, y: (x, y * 5), "received 0 to 5 in the test split"),
        (lambda x, y: (x, y[:9]), None, r"for each of 16 train images; received int64.*\(9,\)"),
        (lambda x, y: (x, y / 2), None, "received float64"),
        (lambda x, y: (x, None), None, r"received object of shape \(\)"),
        (lambda x, y: (x[..., :2], y), None, r"or 3\); received uint8 of shape \(6, 5, 2\)"),
        (lambda x, y: (x / 255, y), None, "received float64 of shape"),
        (lambda x, y: (x[..., 0], y), None, r"of shape \(6, 5\) in the train split"),
        (lambda x, y: ([*x[:15], x[0, 0]], y), None, r"of shape \(5, 3\) in the train split"),
        (lambda x, y: (x[:2], y[:2]), None, "no images for its test split"),
    ],
)
def test_what_is_no_labelled_set_is_told(new_set, images, train, test, words):
    labels = np.arange(16) % 2
    new_set(train(images, labels), test and test(images, labels))
    with pytest.raises(InputError, match=words) as caught:
        training.load_data("mine")
    assert "\n" not in str(caught.value)


def test_known_sets_have_statistics_of_every_channel():
    assert {"cifar100", "imagenet2012", "mnist", "svhn_cropped"} <= set(training.list_datasets())
    for source in data_module.SOURCES.values():
        assert source.size > 0
        assert (source.mean is None) == (source.std is None)
        assert source.mean is None or len(source.mean) == len(source.std) == 3
    imagenet = data_module.SOURCES["imagenet2012"]
    assert (imagenet.mean, imagenet.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [("mnist", (28, 28, 3), 10), ("cifar100", (32, 32, 3), 100), ("svhn_cropped", (32, 32, 3), 10)],
)
def test_known_sets_are_read_by_their_names(name, shape, classes, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")
    real = tfds.builder(name)
    features = {key: real.info.features[key] for key in ("image", "label")}
    side, _, channels = features["image"].shape

    class Prepared:
        """A builder that has random images and no files."""

        info = types.SimpleNamespace(
            name=name,
            full_name=f"{name}/0",
            features=features,
            splits={
                split: types.SimpleNamespace(num_examples=2 * classes)
                for split in ("train", "test")
            },
        )

        def is_prepared(self):
            return True

        def as_dataset(self, split, decoders, batch_size):
            chance = np.random.default_rng(len(split))
            images = chance.integers(0, 256, (2 * classes, side, side, channels), dtype=np.uint8)
            return {"image": images, "label": np.arange(2 * classes) % classes}

    monkeypatch.setattr("training.prepared._builder", lambda name, data_dir: Prepared())
    monkeypatch.setattr(tfds, "as_numpy", lambda arrays: arrays)
    data = training.load_data(name)
    assert data.train.images.shape == (2 * classes, *shape)
    assert len(data.labels) == classes
    mean = data_module.SOURCES[name].mean
    assert data.preprocessing.mean == (mean or channel_statistics(data.train.images)[0])


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


@pytest.mark.parametrize("name", [5, None, b"digits"])
def test_the_name_of_a_set_is_a_text(name):
    with pytest.raises(InputError, match="dataset: accepted is a name"):
        training.load_data(name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("CIFAR10", r"unknown dataset 'CIFAR10'; did you mean cifar10\b"),
        ("qqqq", r"accepted: .*, \.\.\. \(\d+ in all\)$"),
        ("huggingface:mnist", "huggingface:mnist"),
    ],
)
def test_an_unknown_set_is_told_in_one_short_line(name, words):
    pytest.importorskip("tensorflow_datasets")
    with pytest.raises(InputError, match=words) as caught:
        training.load_data(name)
    assert len(str(caught.value)) < 1000
    assert "\n" not in str(caught.value)


def test_some_images_are_always_the_same_ones():
    train = training.load_data("digits").train
    some = train.some(100)
    assert len(some) == 100
    np.testing.assert_array_equal(some.labels, train.some(100).labels)
    # Each is one of the images, with its own label, and none is there twice.
    rows = {image.tobytes(): label for image, label in zip(train.images, train.labels, strict=True)}
    assert all(
        rows[image.tobytes()] == label
        for image, label in zip(some.images, some.labels, strict=True)
    )
    assert len({image.tobytes() for image in some.images}) == 100
    assert len(set(some.labels)) == 10  # by chance, and so of all classes
    assert train.some(10_000) is train
