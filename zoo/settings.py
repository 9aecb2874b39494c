"""The base of everything a person sets: frozen, range-checked, told in one line when wrong."""

from typing import Any

import pydantic

from zoo.errors import InputError, nearest, one_line


class Settings(pydantic.BaseModel):
    """A frozen record of checked values that refuses keys it does not know.

    Raises:
        InputError: A value is out of its range, of the wrong type, or its key is unknown.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    def __init__(self, **values: Any) -> None:
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

    def replace(self, **changes: Any) -> "Settings":
        """Make a copy with some values changed, all of them checked again.

        Args:
            **changes: The keys to change, with their new values.

        Returns:
            A new object of the same class.

        Raises:
            InputError: As on construction.
        """
        return type(self)(**{**self.model_dump(), **changes})
