"""Varying images: padding and cropping, flipping. In numpy, from a given source of chance."""

import numpy as np


def pad_crop(images: np.ndarray, pixels: int, chance: np.random.Generator) -> np.ndarray:
    """Pad each image with zeros and crop it to its own size at a random place.

    Args:
        images: uint8, (batch, height, width, channels).
        pixels: How many zeros are put on each side.
        chance: Where the places come from.

    Returns:
        New images of the same shape.

    Reference:
        He et al. 2016, https://arxiv.org/abs/1512.03385, section 4.2 (4 pixels).
    """
    count, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)))
    top, left = chance.integers(0, 2 * pixels + 1, size=(2, count))
    rows = top[:, None] + np.arange(height)
    columns = left[:, None] + np.arange(width)
    return padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def flip(images: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """Mirror each image left to right with a probability of one half.

    Args:
        images: uint8, (batch, height, width, channels).
        chance: What decides.

    Returns:
        New images of the same shape.
    """
    mirrored = chance.integers(0, 2, size=len(images), dtype=np.uint8).astype(bool)
    return np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
