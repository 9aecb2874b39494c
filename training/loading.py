"""From what a source gives to splits of one size and so many channels, in memory or as streams."""

from dataclasses import dataclass, field

import numpy as np

from training.data import Images, Raw, Split
from training.streaming import Arrays, Encoded, hold, several_sizes
from zoo.errors import InputError
from zoo.preprocessing import Preprocessing

# The papers' centre crop: the shorter side is brought to 256 where the crop has 224.
_CROP = 0.875


def common_view(name: str, raw: Raw, size: int) -> Preprocessing:
    """Settle what the images of a set are brought to.

    Args:
        name: The set, for errors.
        raw: Its images.
        size: Height and width in pixels; 0 for the images' own.

    Returns:
        Size and crop; mean and std are not settled.

    Raises:
        InputError: The images have several sizes, and none was chosen.
    """
    parts = [_encoded(images) for images, _ in (raw.train, raw.test or raw.train)]
    if size:
        varied = any(part.varied for part in parts)
        return Preprocessing(size=(size, size), crop=_CROP if varied else 0.0)
    sizes = sorted(several_sizes(parts))
    if len(sizes) > 1:
        some = " and ".join(f"{height}x{width}" for height, width in sizes[:2])
        raise InputError(
            f"{name} has images of several sizes, such as {some}; pass image_size, for example "
            "image_size=64"
        )
    if not sizes:
        raise InputError(f"{name} has no image that can be read")
    return Preprocessing(size=sizes[0])


@dataclass
class Loading:
    """How the splits of a set are loaded.

    Args:
        name: The set, for errors.
        raw: Its images and labels, which are checked at once.
        memory: How many bytes a split may take; a larger one becomes a stream.
        skip_corrupt: Whether images that cannot be read are left out.
        notes: How many were.

    Raises:
        InputError: Images, labels and classes do not belong together.
    """

    name: str
    raw: Raw
    memory: int
    skip_corrupt: bool
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for split, pair in (("train", self.raw.train), ("test", self.raw.test)):
            if pair is not None:
                self._check(split, *pair)

    def split(
        self, name: str, view: Preprocessing, chosen: np.ndarray | None, *, wanted: bool = True
    ) -> Split:
        """Load one split.

        Args:
            name: ``train`` or ``test``.
            view: What its images are brought to.
            chosen: int64, which of them, or of the training images where there is no test split;
                None for all.
            wanted: Whether the images will be needed; if not, they are read on demand only.

        Returns:
            The images that can be read, and their labels.

        Raises:
            InputError: Some cannot be read, and are not to be left out, or a class lost all.
        """
        own = self.raw.test if name == "test" else None
        images, labels = own or self.raw.train
        labels = np.asarray(labels).astype(np.int64)
        chosen = np.arange(len(labels)) if chosen is None else chosen
        if not len(chosen):
            raise InputError(f"{self.name} has no images for its {name} split")
        if isinstance(images, np.ndarray) and _fits(images, view):
            part = images if len(chosen) == len(images) else images[chosen]
            grey = part.shape[-1] < view.channels
            return Split(np.repeat(part, 3, axis=-1) if grey else part, labels[chosen])
        held, kept = hold(
            _encoded(images),
            chosen,
            view,
            memory=self.memory if wanted else 0,
            skip_corrupt=self.skip_corrupt,
            check=wanted,
        )
        if len(kept) < len(chosen):
            self._note_left_out(name, labels[chosen], labels[kept])
        return Split(held, labels[kept])

    def _note_left_out(self, split: str, before: np.ndarray, after: np.ndarray) -> None:
        """Count what was left out, and refuse a split of which a class lost all its images."""
        lost = sorted({*before.tolist()} - {*after.tolist()})
        if lost:
            raise InputError(
                f"{self.name}: no {split} image of the class {self.raw.labels[lost[0]]} can be read"
            )
        self.notes.append(
            f"{len(before) - len(after)} of {len(before)} {split} images could not be read and "
            "were left out"
        )

    def _check(self, split: str, images: Images, labels: np.ndarray) -> None:
        """Refuse images and labels that do not belong together or to the classes."""
        labels, classes = np.asarray(labels), len(self.raw.labels)
        if not len(images):
            raise InputError(f"{self.name} has no images in its {split} split")
        if isinstance(images, np.ndarray | list):
            self._check_arrays(split, images)
        if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
            raise InputError(
                f"{self.name}: accepted is one whole number for each of {len(images)} {split} "
                f"images; received {labels.dtype} of shape {labels.shape}"
            )
        if labels.min() < 0 or labels.max() >= classes:
            raise InputError(
                f"{self.name}: accepted are labels from 0 to {classes - 1}, one for each class; "
                f"received {labels.min()} to {labels.max()} in the {split} split"
            )

    def _check_arrays(self, split: str, images: np.ndarray | list[np.ndarray]) -> None:
        """Refuse arrays that are no images."""
        for image in images[:1] if isinstance(images, np.ndarray) else images:
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] not in (1, 3):
                raise InputError(
                    f"{self.name}: accepted are uint8 images of shape (height, width, 1 or 3); "
                    f"received {image.dtype} of shape {image.shape} in the {split} split"
                )


def _encoded(images: Images) -> Encoded:
    """Read images one by one, wherever they are."""
    return Arrays(images) if isinstance(images, np.ndarray | list) else images


def _fits(images: np.ndarray, view: Preprocessing) -> bool:
    """Say whether an array's images have their size already, and channels that can be repeated."""
    return images.shape[1:3] == view.size and images.shape[-1] <= view.channels
