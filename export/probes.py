"""The inputs on which a file is compared with its model."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from export import whole_numbers

if TYPE_CHECKING:
    from zoo.preprocessing import Preprocessing

BATCHES = (1, 2, 7, 64)  # one, a pair, an odd number, and one that fills every vector register
# An image this large fills the registers by itself, and 64 of them would take minutes in float64.
LARGE = 100 * 100 * 3
LARGE_BATCHES = (1, 2, 7, 16)
# Of these 16 would take tens of gigabytes: a network's first maps have hundreds of channels.
HUGE = 300 * 300 * 3
HUGE_BATCHES = (1, 2, 7)

CONSTANT = ("zero", "saturated")  # the kinds in which there are images of one colour

_OTHER_SCALES = (0.1, 10.0)  # besides 1, the scale that networks are trained on
_PLAIN = "random, scale 1"
FREE_SIZE = 64  # pixels, where a model takes images of any size


@dataclass(frozen=True)
class Probe:
    """One batch.

    Args:
        kind: ``random``, ``zero``, ``saturated`` or ``real``.
        name: The kind and how it was made, for a check's detail.
        inputs: One array for each input of the model.
    """

    kind: str
    name: str
    inputs: list[np.ndarray]

    @property
    def family(self) -> str:
        """With which batches its errors are measured: those that were made alike.

        What a model makes of zeros may be zero, or nearly so, beside what it computes on its way:
        that says nothing of its errors, so zeros are measured with the plain random batches.
        """
        return _PLAIN if self.kind == "zero" else self.name.partition(", batch")[0]

    @property
    def has_constant(self) -> bool:
        """Whether some of its images are of one colour."""
        return self.kind in CONSTANT

    @property
    def batch(self) -> int:
        """How many images it holds."""
        return len(self.inputs[0])


def probes(
    model: Any, preprocessing: "Preprocessing | None", images: np.ndarray | None
) -> Iterator[Probe]:
    """Make the batches, the same for each call.

    Args:
        model: The Keras model.
        preprocessing: What makes its input of pixels; without it, saturated inputs are 0 and 255
            as they are.
        images: Real images as the model takes them, if there are any.

    Yields:
        Random, zero and saturated batches of 1, 2, 7 and 64, and real ones where there are any; of
        large images the largest batch is 16, of random and real ones alone, and of huge ones 7.
    """
    batches, extreme = _batches(model)
    scaled = [(batch, 1.0) for batch in batches] + [(7, scale) for scale in _OTHER_SCALES]
    for seed, (batch, scale) in enumerate(scaled):
        inputs = random_inputs(model, batch, seed=seed, scale=scale)
        yield Probe("random", f"random, scale {scale:g}, batch {batch}", inputs)
    for batch in extreme:
        zeros = [np.zeros_like(array) for array in random_inputs(model, batch)]
        yield Probe("zero", f"zero, batch {batch}", zeros)
    for batch in extreme:
        pairs = zip(random_inputs(model, batch), model.inputs, strict=True)
        extremes = [
            _saturated(array, preprocessing, whole_numbers.count(model, tensor))
            for array, tensor in pairs
        ]
        yield Probe("saturated", f"saturated, batch {batch}", extremes)
    if images is not None:
        for batch in batches:
            chosen = np.linspace(0, len(images) - 1, min(batch, len(images))).astype(int)
            yield Probe("real", f"real, batch {len(chosen)}", [images[chosen]])


def _batches(model: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Choose the sizes of random and real batches, and those of zeros and saturated images."""
    size = max(array.size for array in random_inputs(model, 1))
    if size > HUGE:
        return HUGE_BATCHES, HUGE_BATCHES
    return (LARGE_BATCHES, HUGE_BATCHES) if size > LARGE else (BATCHES, BATCHES)


def random_inputs(model: Any, batch: int, *, seed: int = 0, scale: float = 1.0) -> list[np.ndarray]:
    """Draw one array for each input: normal, or of the whole numbers that the model takes."""
    generator = np.random.default_rng(seed)
    arrays = []
    for tensor in model.inputs:
        shape = (batch, *(size or FREE_SIZE for size in tensor.shape[1:]))
        count = whole_numbers.count(model, tensor)
        if count is None:
            arrays.append((scale * generator.standard_normal(shape)).astype(np.float32))
        else:
            dtype = "float32" if "float" in tensor.dtype else tensor.dtype
            arrays.append(generator.integers(0, count, shape).astype(dtype))
    return arrays


def _saturated(
    values: np.ndarray, preprocessing: "Preprocessing | None", count: int | None
) -> np.ndarray:
    """Make an all-white image, an all-black one, and then images of random extremes."""
    white = np.uint8(255 if count is None else count - 1)
    pixels = np.where(values > np.median(values), white, np.uint8(0))
    pixels[0] = white
    pixels[1:2] = 0
    made = None if preprocessing is None else (*preprocessing.size, preprocessing.channels)
    if preprocessing is not None and pixels.shape[1:] == made:
        return preprocessing(pixels)
    return pixels.astype(values.dtype)
