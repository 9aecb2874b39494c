"""Labelled images by name: digits, any tensorflow-datasets set, any folder of images by class.

The models here take three channels: a grey image is repeated on all three, and the card says so.
A new set of its own is one new entry in `SOURCES`; every set that tensorflow-datasets knows is
there by its name already. A split that would take more than `MEMORY` is decoded as it is read.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from training.streaming import Arrays, Encoded, Stream
from zoo.errors import InputError
from zoo.imagenet import same_classes
from zoo.preprocessing import Preprocessing

# Splits must stay the same whatever seed a training has, or its held-out images would leak.
_SPLIT_SEED = 20_260_101
_TEST_SHARE = 0.2
# A fixed limit: with one that follows the machine, results of a set would follow it too.
MEMORY = 2 * 2**30
_PART = 1024  # images that are counted at once
_STATISTICS_IMAGES = 20_000  # of a stream; its mean is then known to about 0.002

Images = np.ndarray | list[np.ndarray] | Encoded


@dataclass(frozen=True)
class Split:
    """Some images and their labels.

    Args:
        images: uint8, (count, height, width, channels); a `training.streaming.Stream` decodes
            those that are asked for.
        labels: int64, (count,), the index of each image's class.
    """

    images: np.ndarray | Stream
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def some(self, most: int) -> "Split":
        """Return a split of at most so many of the images, drawn by chance; always the same."""
        if len(self) <= most:
            return self
        chance = np.random.default_rng(_SPLIT_SEED)
        return self.take(np.sort(chance.permutation(len(self))[:most]))

    def take(self, chosen: np.ndarray) -> "Split":
        """Return a split of the images at these positions."""
        images = self.images
        part = images.select(chosen) if isinstance(images, Stream) else images[chosen]
        return Split(part, self.labels[chosen])


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
            InputError: Both have names, and they are not the same ones in the same order. Numbers
                of WordNet are the same as the names of ImageNet's classes.
        """
        if labels and self.labels and not same_classes(labels, self.labels):
            raise InputError(
                f"{self.name} has the classes {_few(self.labels)} and the model "
                f"{_few(tuple(labels))}; accepted is data with the model's own classes"
            )

    def held_out(self, share: float) -> tuple[Split, Split | None]:
        """Divide the training images into those learned from and those held out.

        Args:
            share: The part of each class that is held out.

        Returns:
            Both; None for the second where the share is 0.

        Raises:
            InputError: The share is so small that it holds no image out.
        """
        if not share:
            return self.train, None
        learned, held = stratified(self.train.labels, share)
        if not len(held):
            raise InputError(
                f"holdout: accepted is a share that holds out at least one of {len(self.train)} "
                f"images, or 0; received {share}"
            )
        return self.train.take(learned), self.train.take(held)

    def digest(self) -> str:
        """Hash by what it is known again, without decoding an image.

        Returns:
            The SHA-256, in hexadecimal digits, of the training labels in their order, the number
            and shape of the images, and the names of the classes.
        """
        told = repr((tuple(self.train.images.shape), self.labels)).encode()
        return hashlib.sha256(self.train.labels.astype(np.int64).tobytes() + told).hexdigest()


@dataclass(frozen=True)
class Raw:
    """What a source gives: uint8 images of 1 or 3 channels, as an array, a list, or stored ones.

    Args:
        train: Images and labels to learn from.
        test: Images and labels to measure on, or None where the set has none.
        labels: The classes' names.
        notes: As in `Data`.
    """

    train: tuple[Images, np.ndarray]
    test: tuple[Images, np.ndarray] | None
    labels: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def grey(self) -> bool:
        """Whether the images have one channel."""
        images = self.train[0]
        return (Arrays(images) if isinstance(images, np.ndarray | list) else images).grey


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


# A mean and std is what `channel_statistics` gives for the whole train split, to 4 digits, which
# tests/training checks where the set is; for CIFAR-10 they are also the ones that most codebases
# use. MNIST's are those of https://github.com/pytorch/examples/blob/main/mnist/main.py, ImageNet's
# those of https://docs.pytorch.org/vision/stable/models.html. Others are computed when loaded.
SOURCES = {
    "digits": Source(read_digits, (0.3047,) * 3, (0.3231,) * 3, size=32),
    "cifar10": Source(None, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), size=32),
    "cifar100": Source(size=32),
    "fashion_mnist": Source(None, (0.2860,) * 3, (0.3530,) * 3, size=28),
    "imagenet2012": Source(None, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), size=224),
    "mnist": Source(None, (0.1307,) * 3, (0.3081,) * 3, size=28),
    "svhn_cropped": Source(size=32),
}


def list_datasets() -> list[str]:
    """List the sets with an entry of their own; any of tensorflow-datasets' can be loaded too."""
    return sorted(SOURCES)


def load_data(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    image_size: int = 0,
    skip_corrupt: bool = False,
    preprocessing: Preprocessing | None = None,
) -> Data:
    """Load a set of labelled images: into memory, or where it is too large as streams.

    A set without a test split gets one, a fifth of each class, always the same images. Images of
    several sizes are cut in their centre, see ``crop`` of `zoo.Preprocessing`; those that all have
    one size are resized whole.

    Args:
        name: ``digits``, a set of tensorflow-datasets, for example ``cifar10``, or
            ``folder:PATH``, a folder of images by class; see `training.folder`.
        data_dir: Where tensorflow-datasets keeps its prepared sets; None for its default. A set
            that is not there is downloaded into it where there is a network.
        image_size: Height and width in pixels to bring all images to; 0 for the set's own.
        skip_corrupt: Whether images that cannot be read are left out, and counted in the notes,
            instead of being refused.
        preprocessing: What a model takes, to measure it: the images are brought to its size and
            channels as it says, whatever ``image_size`` is, and the training images are not
            looked at.

    Returns:
        The data, its images uint8, with three channels if ``preprocessing`` has no others.

    Raises:
        InputError: There is no such set, it is not one of labelled images, it is neither prepared
            nor can it be downloaded, or some of its images cannot be read.

    Example:
        >>> data = training.load_data("digits")
        >>> data.train.images.shape
        (1438, 32, 32, 3)
    """
    from training.loading import Loading, common_view

    if not isinstance(name, str):
        raise InputError(
            f"dataset: accepted is a name, such as 'digits', or 'folder:PATH'; received {name!r}"
        )
    source = SOURCES.get(name, Source())
    raw = _read(name, source, None if data_dir is None else os.fspath(data_dir))
    loading = Loading(name, raw, MEMORY, skip_corrupt=skip_corrupt)
    view = preprocessing or common_view(name, raw, image_size or source.size)
    learn, held = None, None
    notes = list(raw.notes)
    if raw.test is None:
        learn, held = stratified(np.asarray(raw.train[1]), _TEST_SHARE)
        notes.append("it has no test split; a fixed fifth of each class was taken as test")
    if raw.grey and view.channels == 3:
        notes.append("grey images, repeated on three channels")
    train = loading.split("train", view, learn, wanted=preprocessing is None)
    test = loading.split("test", view, held)
    if preprocessing is None:
        mean, std = _statistics(source, view, train)
        preprocessing = Preprocessing(size=view.size, mean=mean, std=std, crop=view.crop)
    notes += loading.notes
    return Data(name, train, test, raw.labels, preprocessing, tuple(notes))


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


def channel_statistics(images: np.ndarray | Stream) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute the mean and the standard deviation of each channel, scaled to 0 to 1.

    Args:
        images: uint8, (count, height, width, channels).

    Returns:
        Mean and standard deviation, one number per channel, to four digits. A channel with one
        value only gets the deviation 1, so that it can be divided by.
    """
    values = np.arange(256) / 255
    counts = np.zeros((images.shape[-1], 256), np.int64)
    # Counting is exact, and needs neither all images at once nor floating point.
    for start in range(0, len(images), _PART):
        part = images[start : start + _PART]
        for channel in range(part.shape[-1]):
            counts[channel] += np.bincount(part[..., channel].ravel(), minlength=256)
    means, deviations = [], []
    for row in counts:
        mean = float(np.average(values, weights=row))
        variance = float(np.average((values - mean) ** 2, weights=row))
        means.append(round(mean, 4))
        deviations.append(round(variance**0.5, 4) or 1.0)
    return tuple(means), tuple(deviations)


def _few(labels: tuple[str, ...]) -> str:
    """Name the first labels, and how many there are."""
    told = ", ".join(labels[:4])
    return f"{told}, ... ({len(labels)})" if len(labels) > 4 else told


def _read(name: str, source: Source, data_dir: str | None) -> Raw:
    """Read or find a set."""
    where = None if data_dir is None else os.path.expanduser(data_dir)  # noqa: PTH111  keeps gs://
    if source.read is not None:
        return source.read(where)
    from training.folder import PREFIX, read_folder

    if name.startswith(("/", "~", ".")):
        raise InputError(f"unknown dataset {name!r}; a folder of images is {PREFIX}{name}")
    if name.startswith(PREFIX):
        return read_folder(name)
    from training.prepared import read_prepared

    return read_prepared(name, where, MEMORY)


def _statistics(
    source: Source, view: Preprocessing, train: Split
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the known mean and standard deviation, or compute them; of a stream, of a part."""
    if source.mean and source.std and view.size == (source.size, source.size):
        return source.mean, source.std
    if isinstance(train.images, Stream) and len(train) > _STATISTICS_IMAGES:
        chance = np.random.default_rng(_SPLIT_SEED)
        train = train.take(np.sort(chance.choice(len(train), _STATISTICS_IMAGES, replace=False)))
    return channel_statistics(train.images)
