"""Keras' dtype policy, set for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from zoo.lazily import keras


@contextmanager
def kept() -> Iterator[None]:
    """Have the caller's dtype policy back at the end, whatever is set meanwhile.

    Yields:
        Nothing.
    """
    before = keras.config.dtype_policy()
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@contextmanager
def policy(name: str) -> Iterator[None]:
    """Have layers made in a dtype policy, and the caller's policy back at the end.

    Args:
        name: The Keras dtype policy, for example ``mixed_bfloat16``.

    Yields:
        Nothing.

    Example:
        >>> with policy("mixed_bfloat16"):
        ...     model = zoo.create_model("resnet20")
    """
    with kept():
        keras.config.set_dtype_policy(name)
        yield
