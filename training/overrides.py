"""Changes of a recipe by keys with dots, as they are typed after ``--set``."""

import tomllib
from typing import Any

from zoo.errors import InputError
from zoo.settings import Settings


def parse(text: str) -> tuple[str, Any]:
    """Split ``key=value`` and read the value as TOML, or as a string where it is not.

    Args:
        text: For example ``epochs=2`` or ``norm.kind=group``.

    Returns:
        The key and the value.

    Raises:
        InputError: It has another form.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise InputError(f"accepted is key=value, for example epochs=2; received {text!r}")
    try:
        parsed = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()
    # A value of several lines could be read as several keys; it is a string.
    return key.strip(), parsed["value"] if len(parsed) == 1 else value.strip()


def assign(table: dict[str, Any], key: str, value: Any) -> None:
    """Set a value in nested tables by its dotted key.

    Args:
        table: The whole recipe, as plain values; changed in place.
        key: For example ``norm.kind``.
        value: The new value.

    Raises:
        InputError: What stands before a dot is no table.
    """
    *parents, last = key.split(".")
    for parent in parents:
        inner = table.setdefault(parent, {})
        if isinstance(inner, Settings):
            inner = table[parent] = inner.model_dump(mode="json")
        if isinstance(inner, str) and parent == "norm":
            inner = table[parent] = {"kind": inner}
        if not isinstance(inner, dict):
            raise InputError(f"{parent} has one value and no keys of its own; received {key!r}")
        table = inner
    table[last] = value
