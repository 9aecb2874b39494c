"""Keras' dtype policy, set for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from zoo.errors import InputError
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


@contextmanager
def asked(name: str | None) -> Iterator[None]:
    """Have layers made in a dtype policy that a caller asks for.

    Args:
        name: The Keras dtype policy; None for the one that Keras is set to.

    Yields:
        Nothing.

    Raises:
        InputError: There is no such policy.
    """
    if name is None:
        yield
        return
    try:
        keras.dtype_policies.get(name)
    except (ValueError, TypeError, AttributeError) as error:  # what Keras raises for other objects
        raise InputError(
            "dtype: accepted is a Keras dtype policy, for example 'float32' or 'mixed_bfloat16'; "
            f"received {name!r}"
        ) from error
    with policy(name):
        yield
