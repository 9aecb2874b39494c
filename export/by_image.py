"""What a model in float64 makes of images, each computed once however often it is asked for."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from export.probes import random_inputs
from export.running import Runner

if TYPE_CHECKING:
    import keras

_AT_ONCE = 8 * 224 * 224 * 3  # numbers of images; more only wait for memory
_MOST_KEPT = 2**20  # bytes of an image's outputs; feature maps of many layers are not kept

# Float64 in another order of sums; images that reach each other differ by far more.
_SAME = 1e-9


class ByImage:
    """A model whose answers are kept, where an image's answer does not depend on its batch.

    Args:
        model: A float64 model, of arrays with the batch first. One whose images reach each other
            is found out by two images, alone and together, and computes every batch as it is.

    Example:
        >>> exact = ByImage(export.rebuild(model, "float64"))
        >>> exact([np.zeros((64, 224, 224, 3))])  # one image's time
    """

    def __init__(self, model: "keras.Model") -> None:
        self.model = model
        self._run = Runner(model)
        self._known: dict[bytes, list[np.ndarray]] = {}

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Compute a batch.

        Args:
            inputs: One array for each input, float64 or whole numbers.

        Returns:
            One array for each output.
        """
        if not self.apart:
            return self._run(inputs)
        keys = [_key(inputs, image) for image in range(len(inputs[0]))]
        found = dict(self._known)
        missing = {key: image for image, key in enumerate(keys) if key not in found}
        numbers = sum(array[0].size for array in inputs)
        for some in _cut(list(missing.values()), max(1, _AT_ONCE // numbers)):
            outputs = self._run([array[some] for array in inputs])
            for row, image in enumerate(some):
                found[keys[image]] = [output[row] for output in outputs]
        self._known = {key: rows for key, rows in found.items() if _size(rows) <= _MOST_KEPT}
        return [np.stack(parts) for parts in zip(*(found[key] for key in keys), strict=True)]

    @cached_property
    def apart(self) -> bool:
        """Whether two images have the same answers together as alone."""
        from export.parity import doubled

        pair = doubled(random_inputs(self.model, 2))
        together = self._run(pair)
        alone = [self._run([array[i : i + 1] for array in pair]) for i in range(2)]
        if any(output.ndim == 0 or len(output) != 2 for output in together):
            return False
        each = [np.concatenate(parts) for parts in zip(*alone, strict=True)]
        return all(
            one.shape == other.shape
            and np.abs(one - other).max(initial=0.0) <= _SAME * np.abs(other).max(initial=0.0)
            for one, other in zip(each, together, strict=True)
        )


def _key(inputs: Sequence[np.ndarray], image: int) -> bytes:
    """Tell an image from others."""
    digest = hashlib.sha256()
    for array in inputs:
        digest.update(repr((array.dtype.str, array.shape[1:])).encode())
        digest.update(np.ascontiguousarray(array[image]).tobytes())
    return digest.digest()


def _cut(images: list[int], count: int) -> Iterator[list[int]]:
    """Cut a list into parts that are computed at once."""
    for start in range(0, len(images), count):
        yield images[start : start + count]


def _size(rows: list[np.ndarray]) -> int:
    """Add up the bytes of an image's outputs."""
    return sum(row.nbytes for row in rows)
