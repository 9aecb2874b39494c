"""RandAugment: a few of fourteen operations on each image, all of one magnitude, with Pillow."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import PIL.Image
from PIL import ImageEnhance, ImageOps
from PIL.Image import Image

MAGNITUDES = 30

# What each operation does at the highest magnitude: the ranges of AutoAugment, which RandAugment
# takes over (Cubuk et al. 2019, https://arxiv.org/abs/1805.09501, table 6).
_SHEAR = 0.3
_TRANSLATION = 150 / 331  # of the side: 150 pixels of the 331 in the paper
_DEGREES = 30
_ENHANCEMENT = 0.9
_BITS = 4
# What a moved image uncovers is grey, as in the paper's own experiments.
_GREY = (128, 128, 128)


def rand_augment(
    images: np.ndarray, operations: int, magnitude: int, chance: np.random.Generator
) -> np.ndarray:
    """Apply some random operations to each image, one after the other.

    Each is drawn from all of `OPERATIONS`, also one that was drawn before; its direction is random
    where it has two.

    Args:
        images: uint8, (batch, height, width, 3).
        operations: How many each image gets.
        magnitude: How strong they are, 0 to 30.
        chance: Where operations and directions come from.

    Returns:
        New images of the same shape.

    Reference:
        Cubuk et al. 2020, https://arxiv.org/abs/1909.13719, section 3.
    """
    known = tuple(OPERATIONS.values())
    chosen = chance.integers(0, len(known), size=(len(images), operations))
    backward = chance.integers(0, 2, size=chosen.shape).astype(bool)
    strength = magnitude / MAGNITUDES
    levels = np.where(backward, -strength, strength)
    varied = np.empty_like(images)
    for place, (numbers, strengths) in enumerate(
        zip(chosen.tolist(), levels.tolist(), strict=True)
    ):
        picture = PIL.Image.fromarray(images[place])
        for number, level in zip(numbers, strengths, strict=True):
            picture = known[number](picture, level)
        varied[place] = picture
    return varied


def _identity(image: Image, level: float) -> Image:
    return image


def _auto_contrast(image: Image, level: float) -> Image:
    return ImageOps.autocontrast(image)


def _equalize(image: Image, level: float) -> Image:
    return ImageOps.equalize(image)


def _rotate(image: Image, level: float) -> Image:
    return image.rotate(_DEGREES * level, PIL.Image.Resampling.BILINEAR, fillcolor=_GREY)


def _solarize(image: Image, level: float) -> Image:
    # 256 inverts nothing, where 255 would turn what is white to black at magnitude 0.
    return ImageOps.solarize(image, round(256 * (1 - abs(level))))


def _posterize(image: Image, level: float) -> Image:
    return ImageOps.posterize(image, 8 - round(_BITS * abs(level)))


def _color(image: Image, level: float) -> Image:
    return ImageEnhance.Color(image).enhance(1 + _ENHANCEMENT * level)


def _contrast(image: Image, level: float) -> Image:
    return ImageEnhance.Contrast(image).enhance(1 + _ENHANCEMENT * level)


def _brightness(image: Image, level: float) -> Image:
    return ImageEnhance.Brightness(image).enhance(1 + _ENHANCEMENT * level)


def _sharpness(image: Image, level: float) -> Image:
    return ImageEnhance.Sharpness(image).enhance(1 + _ENHANCEMENT * level)


def _shear_x(image: Image, level: float) -> Image:
    return _affine(image, (1, _SHEAR * level, 0, 0, 1, 0))


def _shear_y(image: Image, level: float) -> Image:
    return _affine(image, (1, 0, 0, _SHEAR * level, 1, 0))


def _translate_x(image: Image, level: float) -> Image:
    return _affine(image, (1, 0, _TRANSLATION * level * image.width, 0, 1, 0))


def _translate_y(image: Image, level: float) -> Image:
    return _affine(image, (1, 0, 0, 0, 1, _TRANSLATION * level * image.height))


def _affine(image: Image, matrix: tuple[float, ...]) -> Image:
    """Take each pixel from where the matrix sends its place."""
    return image.transform(
        image.size,
        PIL.Image.Transform.AFFINE,
        matrix,
        resample=PIL.Image.Resampling.BILINEAR,
        fillcolor=_GREY,
    )


# Each takes an image and a level of -1 to 1, the magnitude's share of the highest one with the
# direction as its sign. At 0 all but AutoContrast and Equalize, which have no magnitude, leave the
# image as it is.
OPERATIONS: Mapping[str, Callable[[Image, float], Image]] = MappingProxyType(
    {
        "Identity": _identity,
        "AutoContrast": _auto_contrast,
        "Equalize": _equalize,
        "Rotate": _rotate,
        "Solarize": _solarize,
        "Color": _color,
        "Posterize": _posterize,
        "Contrast": _contrast,
        "Brightness": _brightness,
        "Sharpness": _sharpness,
        "ShearX": _shear_x,
        "ShearY": _shear_y,
        "TranslateX": _translate_x,
        "TranslateY": _translate_y,
    }
)
