"""What the filters of convolutions begin as: patches that whiten the images, and identities.

Both are of Jordan 2024, https://arxiv.org/abs/2404.00498, section 3.
"""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from zoo.errors import InputError

# Added to the variances of patches of preprocessed images, whose pixels have a variance of 1.
_EPSILON = 5e-4


def convolutions(model: Any) -> list[Any]:
    """List the two-dimensional convolutions of a model that see all channels, in its order."""
    return [
        layer
        for layer in model._flatten_layers(include_self=False)
        if isinstance(layer, keras.layers.Conv2D) and layer.groups == 1
    ]


def whitening(model: Any) -> Any:
    """Find the convolution that whitening patches are for: the first one, which sees the image.

    Args:
        model: The built model.

    Returns:
        Its layer.

    Raises:
        InputError: The model begins with another kind of layer, or its filters are odd in number
            or more than the patches and their negations.
    """
    found = convolutions(model)
    if not found or found[0].kernel.shape[2] != model.input_shape[-1]:
        raise InputError(
            f"whiten: accepted are networks whose first layer is a convolution; {model.name} has "
            "none that takes the image"
        )
    height, width, channels, filters = found[0].kernel.shape
    most = 2 * height * width * channels
    if filters % 2 or filters > most:
        raise InputError(
            f"whiten: accepted is a first convolution with an even number of filters, at most "
            f"{most} for patches of {height}x{width}x{channels}; {found[0].name} of {model.name} "
            f"has {filters}"
        )
    return found[0]


def whiten(layer: Any, batches: Iterable[np.ndarray]) -> None:
    """Make the filters of a convolution patches that whiten, and the negations of these.

    A patch is an eigenvector of the covariance of all patches of the images, divided by its
    standard deviation: the outputs are uncorrelated and have a variance of 1. Those of the largest
    variance come first.

    Args:
        layer: The convolution, from `whitening`.
        batches: Preprocessed images, float32, (batch, height, width, channels), at least as large
            as a patch.

    Raises:
        InputError: The images are smaller than a patch.

    Reference:
        Jordan 2024, https://arxiv.org/abs/2404.00498, section 3.2.
    """
    shape = tuple(layer.kernel.shape)
    variances, vectors = np.linalg.eigh(_covariance(batches, shape[:2]))
    half = shape[-1] // 2
    patches = (vectors / np.sqrt(variances + _EPSILON))[:, ::-1][:, :half]
    layer.kernel.assign(np.concatenate([patches, -patches], axis=1).reshape(shape))


def begin_as_identities(model: Any) -> None:
    """Have convolutions pass their input on: the first filters, one for each input channel.

    The other filters stay random. It is done to all convolutions but the first that keep the size
    of their input: of stride 1, with a kernel that has a centre.

    Args:
        model: The built model; its kernels are changed.

    Raises:
        InputError: It has no such convolution.

    Reference:
        Jordan 2024, https://arxiv.org/abs/2404.00498, section 3.3.
    """
    found = [layer for layer in convolutions(model)[1:] if _keeps_size(layer)]
    if not found:
        raise InputError(
            "identity: accepted is true only where a convolution behind the first has stride 1 and "
            f"an odd kernel; {model.name} has none"
        )
    for layer in found:
        kernel = np.array(keras.ops.convert_to_numpy(layer.kernel))
        height, width, channels, filters = kernel.shape
        passed = min(channels, filters)
        kernel[..., :passed] = 0
        kernel[height // 2, width // 2, range(passed), range(passed)] = 1
        layer.kernel.assign(kernel)


def _keeps_size(layer: Any) -> bool:
    """Say whether a convolution has stride 1 and a kernel with a centre."""
    return set(layer.strides) == {1} and all(side % 2 for side in layer.kernel_size)


def _covariance(batches: Iterable[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Compute the covariance of all patches of this size, float64, each flat as a kernel is."""
    count, total, products = 0, np.zeros(1), np.zeros(1)
    for batch in batches:
        if any(side < least for side, least in zip(batch.shape[1:3], size, strict=True)):
            raise InputError(
                f"whiten: accepted are images of at least {size[0]}x{size[1]} pixels, the patches "
                f"of the first convolution; received {batch.shape[1]}x{batch.shape[2]}"
            )
        for image in batch:
            # (rows, columns, channels, height, width) of a patch, brought into a kernel's order.
            views = np.lib.stride_tricks.sliding_window_view(image, size, axis=(0, 1))
            patches = np.moveaxis(views, 2, -1).reshape(-1, size[0] * size[1] * image.shape[-1])
            patches = patches.astype(np.float64)
            count += len(patches)
            total = total + patches.sum(axis=0)
            products = products + patches.T @ patches
    mean = total / count
    return products / count - np.outer(mean, mean)
