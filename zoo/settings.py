"""The base of everything a person sets: frozen, range-checked, told in one line when wrong."""

from typing import Annotated, Any, Self

import numpy as np
import pydantic

from zoo.errors import InputError, nearest, one_line


def _plain(value: Any) -> Any:
    """Turn a number of numpy's into Python's, which is what strict fields take."""
    return value.item() if isinstance(value, np.generic) else value


# By itself pydantic would take true and "1" for 1, "yes" for true, and inf for a number.
_PLAIN = pydantic.BeforeValidator(_plain)
Whole = Annotated[int, pydantic.Field(strict=True), _PLAIN]
Number = Annotated[float, pydantic.Field(strict=True, allow_inf_nan=False), _PLAIN]
Flag = Annotated[bool, pydantic.Field(strict=True), _PLAIN]


class Settings(pydantic.BaseModel):
    """A frozen record of checked values that refuses keys it does not know.

    Raises:
        InputError: A value is out of its range, of the wrong type, or its key is unknown.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    def __init__(self, /, **values: Any) -> None:
        known = type(self).model_fields
        for key in values:
            if key not in known:
                raise InputError(
                    f"{type(self).__name__} has no key {key!r}; {nearest(key, known, most=2)}"
                )
        try:
            super().__init__(**values)
        except pydantic.ValidationError as error:
            raise InputError(one_line(error)) from error

    def replace(self, **changes: Any) -> Self:
        """Make a copy with some values changed, all of them checked again.

        Args:
            **changes: The keys to change, with their new values.

        Returns:
            A new object of the same class.

        Raises:
            InputError: As on construction.
        """
        return type(self)(**{**self.model_dump(), **changes})
