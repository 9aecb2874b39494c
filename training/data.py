"""Labelled images by name, in memory: scikit-learn's digits and any tensorflow-datasets set.

The models here take three channels: a grey image is repeated on all three, and the card says so.
A new set of its own is one new entry in `SOURCES`; every set that tensorflow-datasets knows is
there by its name already.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from zoo.errors import InputError
from zoo.preprocessing import Preprocessing

# Splits must stay the same whatever seed a training has, or its held-out images would leak.
_SPLIT_SEED = 20_260_101
_TEST_SHARE = 0.2


@dataclass(frozen=True)
class Split:
    """Some images and their labels.

    Args:
        images: uint8, (count, height, width, channels).
        labels: int64, (count,), the index of each image's class.
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, chosen: np.ndarray) -> "Split":
        """Return a split of the images at these positions."""
        return Split(self.images[chosen], self.labels[chosen])


@dataclass(frozen=True)
class Data:
    """A set of labelled images.

    Args:
        name: What it was loaded by.
        train: What may be learned from.
        test: What results are measured on, and nothing else.
        labels: The classes' names, in the order of the labels' numbers.
        preprocessing: What turns its images into a model's input.
        notes: What a reader of results on it should know.
    """

    name: str
    train: Split
    test: Split
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    notes: tuple[str, ...] = ()

    def check_labels(self, labels: Sequence[str] | None) -> None:
        """Make sure that a model's classes are those of these images.

        Args:
            labels: The names of the model's classes; None or empty where nobody knows them.

        Raises:
            InputError: Both have names, and they are not the same ones in the same order.
        """
        if labels and self.labels and tuple(labels) != self.labels:
            raise InputError(
                f"{self.name} has the classes {_few(self.labels)} and the model "
                f"{_few(tuple(labels))}; accepted is data with the model's own classes"
            )


@dataclass(frozen=True)
class Raw:
    """What a source gives: images of 1 or 3 channels, all of one size or a list of any sizes.

    Args:
        train: Images and labels to learn from.
        test: Images and labels to measure on, or None where the set has none.
        labels: The classes' names.
        notes: As in `Data`.
    """

    train: tuple[np.ndarray | list[np.ndarray], np.ndarray]
    test: tuple[np.ndarray | list[np.ndarray], np.ndarray] | None
    labels: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """What is known of a set beforehand.

    Args:
        read: Reads it, given the data_dir; None for a set of tensorflow-datasets.
        mean: Of the training images' channels, scaled to 0 to 1; None to compute it.
        std: Likewise, the standard deviation.
        size: The height and width that images are brought to; also what mean and std are of.
    """

    read: Callable[[str | None], Raw] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    size: int = 0


def read_digits(data_dir: str | None = None) -> Raw:
    """Read scikit-learn's 1,797 handwritten digits, 8x8 grey values of 0 to 16, as 0 to 255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    return Raw(
        train=(images, digits.target.astype(np.int64)),
        test=None,
        labels=tuple(str(label) for label in digits.target_names),
        notes=("scikit-learn's load_digits, 8x8 pixels",),
    )


# Every mean and std is what `channel_statistics` gives for the whole train split, to 4 digits;
# for CIFAR-10 they are also the ones that most codebases use. tests/training checks them.
SOURCES = {
    "digits": Source(read_digits, (0.3047,) * 3, (0.3231,) * 3, size=32),
    "cifar10": Source(None, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), size=32),
    "fashion_mnist": Source(None, (0.2860,) * 3, (0.3530,) * 3, size=28),
}


def list_datasets() -> list[str]:
    """List the sets with an entry of their own; any of tensorflow-datasets' can be loaded too."""
    return sorted(SOURCES)


def load_data(
    name: str, data_dir: str | os.PathLike[str] | None = None, *, image_size: int = 0
) -> Data:
    """Load a set of labelled images into memory.

    A set without a test split gets one, a fifth of each class, always the same images.

    Args:
        name: ``digits``, or a set of tensorflow-datasets, for example ``cifar10``.
        data_dir: Where tensorflow-datasets keeps its prepared sets; None for its default. A set
            that is not there is downloaded into it where there is a network.
        image_size: Height and width in pixels to bring all images to; 0 for the set's own.

    Returns:
        The data, its images uint8 with three channels.

    Raises:
        InputError: There is no such set, it is not one of labelled images, or it is neither
            prepared nor can it be downloaded.

    Example:
        >>> data = training.load_data("digits")
        >>> data.train.images.shape
        (1438, 32, 32, 3)
    """
    source = SOURCES.get(name, Source())
    where = None if data_dir is None else os.path.expanduser(data_dir)  # noqa: PTH111  keeps gs://
    if source.read is not None:
        raw = source.read(where)
    else:
        from training.prepared import read_prepared

        raw = read_prepared(name, where)
    size = image_size or source.size
    train = _split(name, raw.train, size)
    notes = raw.notes
    if raw.test is None:
        learn, held = stratified(train.labels, _TEST_SHARE)
        train, test = train.take(learn), train.take(held)
        notes += ("it has no test split; a fixed fifth of each class was taken as test",)
    else:
        test = _split(name, raw.test, size)
    if raw.train[0][0].shape[-1] == 1:
        notes += ("grey images, repeated on three channels",)
    if source.mean is None or source.std is None or size != source.size:
        mean, std = channel_statistics(train.images)
    else:
        mean, std = source.mean, source.std
    preprocessing = Preprocessing(size=train.images.shape[1:3], mean=mean, std=std)
    return Data(name, train, test, raw.labels, preprocessing, notes)


def stratified(labels: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Divide images into two parts in which the classes have the same shares.

    Args:
        labels: int64, (count,).
        share: The part of each class that goes into the second part, in [0, 1).

    Returns:
        The positions of the first part and of the second, each ascending; always the same ones
        for the same labels.
    """
    chance = np.random.default_rng(_SPLIT_SEED)
    second = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = chance.permutation(np.flatnonzero(labels == label))
        second[members[: round(share * len(members))]] = True
    return np.flatnonzero(~second), np.flatnonzero(second)


def channel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute the mean and the standard deviation of each channel, scaled to 0 to 1.

    Args:
        images: uint8, (count, height, width, channels).

    Returns:
        Mean and standard deviation, one number per channel, to four digits. A channel with one
        value only gets the deviation 1, so that it can be divided by.
    """
    values = np.arange(256) / 255
    means, deviations = [], []
    for channel in range(images.shape[-1]):
        # Counting is exact and needs no copy of the images in floating point.
        counts = np.bincount(images[..., channel].ravel(), minlength=256)
        mean = float(np.average(values, weights=counts))
        variance = float(np.average((values - mean) ** 2, weights=counts))
        means.append(round(mean, 4))
        deviations.append(round(variance**0.5, 4) or 1.0)
    return tuple(means), tuple(deviations)


def _few(labels: tuple[str, ...]) -> str:
    """Name the first labels, and how many there are."""
    told = ", ".join(labels[:4])
    return f"{told}, ... ({len(labels)})" if len(labels) > 4 else told


def _split(name: str, pair: tuple[np.ndarray | list[np.ndarray], np.ndarray], size: int) -> Split:
    """Bring the images of a source to one size and three channels."""
    images, labels = pair
    shapes = {image.shape for image in images}
    if not size and len(shapes) > 1:
        raise InputError(
            f"{name} has images of {len(shapes)} sizes; pass image_size, for example image_size=64"
        )
    channels = next(iter(shapes))[-1]
    if size and shapes != {(size, size, channels)}:
        images = _resize(images, size)
    stack = np.stack(list(images)) if isinstance(images, list) else images
    if stack.shape[-1] == 1:
        stack = np.repeat(stack, 3, axis=-1)
    return Split(np.ascontiguousarray(stack), labels.astype(np.int64))


def _resize(images: np.ndarray | list[np.ndarray], size: int) -> list[np.ndarray]:
    """Resize images one by one, bilinearly, as a card's preprocessing does it for a file."""
    import PIL.Image

    resized = []
    for image in images:
        channels = image.shape[-1]
        picture = PIL.Image.fromarray(image[..., 0] if channels == 1 else image)
        small = picture.resize((size, size), PIL.Image.Resampling.BILINEAR)
        resized.append(np.asarray(small, np.uint8).reshape(size, size, channels))
    return resized
