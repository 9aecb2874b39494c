"""Folders of random images by class."""

import numpy as np
import PIL.Image

import training

CLASSES = ("ant", "bee", "cat")


def picture(seed, height=8, width=8):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PIL.Image.fromarray(pixels)


def fill(folder, count=5, size=(8, 8), classes=CLASSES, suffix=".png"):
    """Make a folder of random images by class."""
    for number, label in enumerate(classes):
        (folder / label).mkdir(parents=True)
        for index in range(count):
            image = picture(100 * number + index, *size)
            image.save(folder / label / f"{index:03}{suffix}")
    return folder


def load(folder, **options):
    return training.load_data(f"folder:{folder}", **options)
