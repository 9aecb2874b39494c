"""Mixing the images of a batch with each other, and their labels by the same shares."""

import numpy as np


def mix(
    images: np.ndarray,
    labels: np.ndarray,
    *,
    mixup: float,
    cutmix: float,
    chance: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Mix a batch by `mixup` or `cutmix`; by one of the two, each as likely, where both are set.

    Args:
        images: float32, (batch, height, width, channels).
        labels: float32, (batch, classes), each row of sum 1.
        mixup: Its alpha, or 0 for no mixup.
        cutmix: Its alpha, or 0 for no cutmix.
        chance: Where everything random comes from; nothing is drawn where both are 0.

    Returns:
        Images and labels, float32, of the same shapes.
    """
    first = bool(mixup)
    if mixup and cutmix:
        first = bool(chance.integers(0, 2))
    if first:
        return mixup_batch(images, labels, mixup, chance)
    return cutmix_batch(images, labels, cutmix, chance) if cutmix else (images, labels)


def mixup_batch(
    images: np.ndarray, labels: np.ndarray, alpha: float, chance: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Average each image with another one of the batch, and their labels likewise.

    As in the paper's experiments the whole batch has one share, drawn from Beta(alpha, alpha), and
    its partners are a permutation of itself.

    Args:
        images: float32, (batch, height, width, channels).
        labels: float32, (batch, classes), each row of sum 1.
        alpha: The parameter of the Beta distribution, greater than 0.
        chance: Where the share and the partners come from.

    Returns:
        New images and labels, float32, of the same shapes.

    Reference:
        Zhang et al. 2018, https://arxiv.org/abs/1710.09412, section 2.
    """
    share = chance.beta(alpha, alpha)
    partners = chance.permutation(len(images))
    return _average(images, partners, share), _average(labels, partners, share)


def cutmix_batch(
    images: np.ndarray, labels: np.ndarray, alpha: float, chance: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Paste a box of another image of the batch into each one; labels by the area that is pasted.

    As in the paper the whole batch has one box. Its area is to be a share of the image's that is
    drawn from Beta(alpha, alpha); what would hang over the border is cut off, and the labels have
    the share that is left.

    Args:
        images: float32, (batch, height, width, channels).
        labels: float32, (batch, classes), each row of sum 1.
        alpha: The parameter of the Beta distribution, greater than 0.
        chance: Where the box and the partners come from.

    Returns:
        New images and labels, float32, of the same shapes.

    Reference:
        Yun et al. 2019, https://arxiv.org/abs/1905.04899, section 3.1.
    """
    _, height, width, _ = images.shape
    side = np.sqrt(chance.beta(alpha, alpha))
    top, bottom = _interval(round(height * side), height, chance)
    left, right = _interval(round(width * side), width, chance)
    partners = chance.permutation(len(images))
    pasted = images.copy()
    pasted[:, top:bottom, left:right] = images[partners, top:bottom, left:right]
    area = (bottom - top) * (right - left) / (height * width)
    return pasted, _average(labels, partners, 1 - area)


def _average(values: np.ndarray, partners: np.ndarray, share: float) -> np.ndarray:
    """Add up a share of each value and the rest of its partner's, in float32."""
    mixed = values * np.float32(share)
    others = values[partners]
    others *= np.float32(1 - share)
    mixed += others
    return mixed


def _interval(length: int, size: int, chance: np.random.Generator) -> tuple[int, int]:
    """Place an interval with its centre anywhere in [0, size), and cut off what is outside."""
    start = int(chance.integers(0, size)) - length // 2
    return max(start, 0), min(start + length, size)
