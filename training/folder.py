"""A folder of images by class as a data set: ``folder:PATH``. Pillow reads it; nothing is written.

There is either ``PATH/train/CLASS/*.jpg`` with ``PATH/test`` (or ``val``, ``validation``), or
``PATH/CLASS/*.jpg`` alone.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoo.errors import InputError
from zoo.files import expanded, is_dir, is_file
from zoo.preprocessing import Preprocessing, image_size

if TYPE_CHECKING:
    from training.data import Raw

PREFIX = "folder:"
_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
_TRAIN = "train"
_MEASURED = ("test", "val", "validation")  # the first of them that is there


@dataclass(frozen=True)
class Files:
    """Image files; a `training.streaming.Encoded`.

    Args:
        paths: The files.
    """

    paths: tuple[str, ...]
    varied: bool = True
    grey: bool = False
    trusted: bool = False

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, position: int, view: Preprocessing) -> np.ndarray:
        """Decode one image as `zoo.Preprocessing.read` does it."""
        return view.decode(self.paths[position])

    def size(self, position: int) -> tuple[int, int]:
        """Read the height and width of one image."""
        return image_size(self.paths[position])


def read_folder(name: str) -> "Raw":
    """Find the images of a folder.

    Args:
        name: ``folder:PATH``; a path with ``~`` is one in a home folder.

    Returns:
        Its images, not decoded yet. A class is a folder with the images in it and in its folders;
        names that begin with a dot are passed over. Links are followed.

    Raises:
        InputError: There is no such folder, or its classes cannot be learned.
    """
    from training.data import Raw

    path = name.removeprefix(PREFIX)
    if not path:
        raise InputError(f"dataset: accepted is {PREFIX}PATH; received {name}")
    root = expanded(path)
    if not is_dir(root):
        what = "that is a file" if is_file(root) else "there is no such folder"
        raise InputError(f"dataset {name}: {what}; accepted is a folder of images by class")
    try:
        return _found(root, Raw)
    except OSError as error:
        raise InputError(f"cannot read {error.filename or root}: {error.strerror}") from error


def _found(root: Path, raw: "type[Raw]") -> "Raw":
    """Find the splits of a folder, and their images."""
    splits = {split: root / split for split in (_TRAIN, *_MEASURED) if _folders(root / split)}
    if splits and _TRAIN not in splits:
        raise InputError(
            f"{root} has {', '.join(splits)} and no {_TRAIN}; accepted is "
            f"{root / _TRAIN}/CLASS/*.jpg beside it"
        )
    learned = splits.get(_TRAIN, root)
    classes = _folders(learned)
    _check_classes(classes, learned)
    notes = ["a folder of images by class"]
    measured = next((split for split in _MEASURED if split in splits), None)
    test = None
    if measured is not None:
        others = [each for each in _folders(splits[measured]) if each not in classes]
        if others:
            raise InputError(
                f"{splits[measured]} has the class {others[0]}, which {learned} lacks; accepted "
                "are the same classes"
            )
        test = _split(splits[measured], classes, notes)
        if measured != _MEASURED[0]:
            notes.append(f"it has no {_MEASURED[0]} split; {measured} was taken as test")
    train = _split(learned, classes, notes)
    return raw(train=train, test=test, labels=tuple(classes), notes=tuple(notes))


def _check_classes(classes: Sequence[str], folder: Path) -> None:
    """Refuse a folder without at least two classes, and names that no card can hold."""
    for label in classes:
        if not _is_text(label):
            raise InputError(
                f"{folder} has the class {os.fsencode(label)!r}, whose name is not UTF-8; accepted "
                "are names in UTF-8, which a card can hold"
            )
    if len(classes) > 1:
        return
    received = f"one class only, {classes[0]}" if classes else "no folder"
    raise InputError(
        f"{folder} has {received}; accepted are two or more folders of images, one for each class, "
        f"in it or in {folder / _TRAIN}"
    )


def _is_text(name: str) -> bool:
    """Say whether a name is text; Python stands in for bytes that are none with lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _split(folder: Path, classes: Sequence[str], notes: list[str]) -> tuple[Files, np.ndarray]:
    """Find the images of one split; note how many other files there are."""
    paths: list[str] = []
    counts = []
    others = 0
    present = set(_folders(folder))
    for label in classes:
        files = sorted(_files(folder / label)) if label in present else []
        images = [path for path in files if path.lower().endswith(_SUFFIXES)]
        if label in present and not images:
            raise InputError(
                f"{folder / label} has no image; accepted are {', '.join(_SUFFIXES)} in the folder "
                "of each class"
            )
        others += len(files) - len(images)
        counts.append(len(images))
        paths += images
    if others:
        notes.append(f"{others} files in {folder.name} that are no images were passed over")
    return Files(tuple(paths)), np.repeat(np.arange(len(classes)), counts)


def _folders(folder: Path) -> list[str]:
    """List the folders in a folder, sorted; none where there is no folder."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(each.name for each in entries if each.name[0] != "." and each.is_dir())


def _files(folder: Path) -> Iterator[str]:
    """List all files below a folder."""
    seen = set()
    for place, folders, files in os.walk(folder, onerror=_raise, followlinks=True):
        real = os.path.realpath(place)
        # A link to a folder above would lead here again and again.
        folders[:] = [] if real in seen else sorted(each for each in folders if each[0] != ".")
        if real not in seen:
            yield from (str(Path(place, each)) for each in files if each[0] != ".")
        seen.add(real)


def _raise(error: OSError) -> None:
    raise error
