"""ImageNet's 1000 classes, which some name in words and others by WordNet's numbers."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from zoo import downloads
from zoo.cards import Origin

CLASSES = 1000
# The index that keras.applications uses: of each class its number in WordNet, and a word.
CLASS_INDEX = Origin(
    url="https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json",
    digest="md5:c2c37ea517e94d9795004a39431a14cb",
)
_NUMBER = re.compile(r"n\d{8}")


def labels(*, fetch: bool = True) -> tuple[str, ...]:
    """Give the classes their names, from the index that keras.applications uses.

    Args:
        fetch: Whether to download the index where it is not in the cache.

    Returns:
        1000 names, those that two classes share followed by the class's WordNet number; none where
        the index is not there, or damaged, and must not be fetched.

    Raises:
        InputError: The index cannot be had.
    """
    return _names(_pairs(fetch=fetch))


def same_classes(one: Sequence[str], other: Sequence[str]) -> bool:
    """Say whether two lists of labels name the same classes in the same order.

    ImageNet's images lie in folders that are named by numbers of WordNet, and tensorflow-datasets
    names the classes so, while models tell their names.

    Args:
        one: Labels.
        other: Others.

    Returns:
        Whether they are alike, or one the names and the other the numbers of ImageNet's classes.

    Raises:
        InputError: The index of the classes is needed, and cannot be had.
    """
    one, other = tuple(one), tuple(other)
    if one == other:
        return True
    named = [side for side in (one, other) if not all(map(_NUMBER.fullmatch, side))]
    if len(named) != 1 or len(one) != CLASSES or len(other) != CLASSES:
        return False
    pairs = _pairs(fetch=not downloads.is_offline())
    numbers = other if named[0] is one else one
    return numbers == tuple(number for number, _ in pairs) and named[0] == _names(pairs)


def _names(pairs: list[tuple[str, str]]) -> tuple[str, ...]:
    """Name each class by its word, or by its number too where another class has the same word."""
    count = Counter(word for _, word in pairs)
    return tuple(f"{word} ({number})" if count[word] > 1 else word for number, word in pairs)


def _pairs(*, fetch: bool) -> list[tuple[str, str]]:
    """Read each class's WordNet number and name; nothing where the index must not be fetched."""
    name, digest = Path(CLASS_INDEX.url).name, CLASS_INDEX.digest
    if fetch:
        path = downloads.fetch(CLASS_INDEX.url, name, digest=digest)
    else:
        lying = downloads.checked(name, digest)
        if lying is None:
            return []
        path = lying
    index = json.loads(path.read_text(encoding="utf-8"))
    return [(number, word) for number, word in (index[str(at)] for at in range(CLASSES))]
