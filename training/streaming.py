"""Images that are decoded when they are read, one interface for folders, records and arrays.

Shuffling, augmentation, held-out images and resuming ask for images by their positions. So
what is too large for the memory is read at random as well, and everything works on it as on an
array, with the same batches bit for bit. tf.data would have an order of its own: it shuffles within
a buffer only, and comes back to the middle of an epoch by reading all that lies before. Pillow
decodes outside of Python's lock, so threads are enough to use every core.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import Protocol, TypeVar

import numpy as np

from zoo.errors import InputError
from zoo.preprocessing import Preprocessing

T = TypeVar("T")

_CHUNK = 1024  # tasks that wait at once, where there may be millions


class Encoded(Protocol):
    """Images that can be read at random, as they are stored.

    Args:
        varied: Whether they may have several sizes.
        grey: Whether all have one channel.
        trusted: Whether they were all decoded when they were stored, so that a damaged one is so
            unlikely that nobody wants to wait until each was looked at.
    """

    @property
    def varied(self) -> bool: ...  # noqa: D102
    @property
    def grey(self) -> bool: ...  # noqa: D102
    @property
    def trusted(self) -> bool: ...  # noqa: D102

    def __len__(self) -> int: ...

    def read(self, position: int, view: Preprocessing) -> np.ndarray:
        """Decode one image, uint8, at the view's size and channels; from any thread."""
        ...

    def size(self, position: int) -> tuple[int, int]:
        """Read the height and width of one image."""
        ...


@dataclass(frozen=True)
class Arrays:
    """Images of an array or a list, to be resized.

    Args:
        images: uint8, each (height, width, channels) with 1 or 3 channels.
    """

    images: np.ndarray | list[np.ndarray]
    trusted: bool = True

    @property
    def varied(self) -> bool:
        """Whether the images may have several sizes."""
        return isinstance(self.images, list)

    @property
    def grey(self) -> bool:
        """Whether they have one channel."""
        return self.images[0].shape[-1] == 1

    def __len__(self) -> int:
        return len(self.images)

    def read(self, position: int, view: Preprocessing) -> np.ndarray:
        """Resize one image as a card's preprocessing does it for a file."""
        import PIL.Image

        image = self.images[position]
        return view.resize(PIL.Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image))

    def size(self, position: int) -> tuple[int, int]:
        """Return the height and width of one image."""
        height, width, _ = self.images[position].shape
        return height, width


@dataclass(frozen=True)
class Stream:
    """What stands for an array of images and decodes those that are asked for.

    Args:
        encoded: The images as they are stored.
        view: What size, channels and part of each image is read.
        chosen: int64, (count,), which of them are here, in this order.
    """

    encoded: Encoded
    view: Preprocessing
    chosen: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of the array that this stands for."""
        return (len(self.chosen), *self.view.size, self.view.channels)

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the images, uint8."""
        return np.dtype(np.uint8)

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, key: int | slice | np.ndarray) -> np.ndarray:
        """Decode images.

        Args:
            key: A slice or an array of positions, or the position of one image.

        Returns:
            uint8, (count, height, width, channels), or of one image (height, width, channels).

        Raises:
            InputError: One of them is damaged, or no longer there.
        """
        positions = self.chosen[key]
        images = decode(self.encoded, self.view, np.atleast_1d(positions))
        return images if positions.ndim else images[0]

    def select(self, positions: np.ndarray) -> "Stream":
        """Return the images at these positions, still to be decoded."""
        return Stream(self.encoded, self.view, self.chosen[positions])


def decode(encoded: Encoded, view: Preprocessing, positions: np.ndarray) -> np.ndarray:
    """Decode images side by side.

    Args:
        encoded: The images as they are stored.
        view: What size, channels and part of each image is read.
        positions: int64, (count,).

    Returns:
        uint8, (count, height, width, channels).

    Raises:
        InputError: One of them is damaged, or no longer there.
    """
    images = np.empty((len(positions), *view.size, view.channels), np.uint8)

    def fill(place: int) -> None:
        images[place] = encoded.read(int(positions[place]), view)

    for _ in side_by_side(fill, len(positions)):
        pass
    return images


def hold(
    encoded: Encoded,
    chosen: np.ndarray,
    view: Preprocessing,
    *,
    memory: int,
    skip_corrupt: bool = False,
    check: bool = True,
) -> tuple[np.ndarray | Stream, np.ndarray]:
    """Decode images into memory where there is room for them, else make a stream of them.

    Args:
        encoded: The images as they are stored.
        chosen: int64, (count,), which of them.
        view: What size, channels and part of each image is read.
        memory: How many bytes the decoded images may take.
        skip_corrupt: Whether images that cannot be read are left out.
        check: Whether those of a stream must be known to be readable.

    Returns:
        The images, and which of the chosen ones they are, where some were left out.

    Raises:
        InputError: Some cannot be read, and are not to be left out.
    """
    shape = (len(chosen), *view.size, view.channels)
    if math.prod(shape) > memory:
        if check and (skip_corrupt or not encoded.trusted):
            chosen = _readable(encoded, chosen, view, None, skip_corrupt=skip_corrupt)
        return Stream(encoded, view, chosen), chosen
    images = np.empty(shape, np.uint8)
    kept = _readable(encoded, chosen, view, images, skip_corrupt=skip_corrupt)
    return (images if len(kept) == len(chosen) else images[np.isin(chosen, kept)]), kept


def several_sizes(parts: Iterable[Encoded]) -> set[tuple[int, int]]:
    """Look for the sizes of images, until there are two.

    Args:
        parts: Sets of images as they are stored.

    Returns:
        The height and width of all; several where they are not the same. Those of images whose
        header cannot be read are not among them.
    """
    found: set[tuple[int, int]] = set()
    for encoded in parts:
        count = len(encoded) if encoded.varied else 1
        for size in side_by_side(partial(_size, encoded), count):
            found |= {size} if size else set()
            if len(found) > 1:
                return found
    return found


def side_by_side(function: Callable[[int], T], count: int) -> Iterator[T]:
    """Call a function with 0 to count - 1, in several threads.

    Args:
        function: What to call; it must not call this.
        count: How often.

    Yields:
        What it returns, in order.
    """
    for start in range(0, count, _CHUNK):
        yield from _threads().map(function, range(start, min(start + _CHUNK, count)))


@cache
def _threads() -> ThreadPoolExecutor:
    """Return the threads that all reading is done by; a few more than there are cores."""
    return ThreadPoolExecutor(thread_name_prefix="images")


def _readable(
    encoded: Encoded,
    chosen: np.ndarray,
    view: Preprocessing,
    images: np.ndarray | None,
    *,
    skip_corrupt: bool,
) -> np.ndarray:
    """Decode every image, into an array if there is one; return those that can be read."""

    def problem(place: int) -> str:
        try:
            image = encoded.read(int(chosen[place]), view)
        except InputError as error:
            return str(error)
        if images is not None:
            images[place] = image
        return ""

    told = list(side_by_side(problem, len(chosen)))
    problems = [text for text in told if text]
    if problems and not skip_corrupt:
        others = f" (and {len(problems) - 1} more of {len(chosen)})" if problems[1:] else ""
        raise InputError(
            f"{problems[0]}{others}; repair or remove what cannot be read, or leave it out with "
            "skip_corrupt=true"
        )
    return chosen[[not text for text in told]]


def _size(encoded: Encoded, position: int) -> tuple[int, int] | None:
    """Read the size of one image; None where it is damaged, which is told when it is decoded."""
    try:
        return encoded.size(position)
    except InputError:
        return None
