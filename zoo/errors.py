"""The one error that means "what was given cannot be used", and the words it is told in."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import pydantic


class InputError(ValueError):
    """Bad input: one line with what was wrong, what was received and what is accepted.

    The command line prints it without a traceback and exits with 2. Everything else that is
    raised is a defect of this project or of what it stands on, and is shown as such.
    """


_LISTED = 40  # of the options, so that a line stays one that is read


def nearest(word: str, options: Iterable[str], *, most: int = 3) -> str:
    """Say which of the options a misspelt word may have meant.

    Args:
        word: What was received.
        options: What would be accepted.
        most: How many to name.

    Returns:
        A clause such as ``did you mean resnet20, resnet32?``, or ``accepted: ...`` with the
        options, the first ones of many, when none is near. Capitals make no difference.
    """
    options = sorted(options)
    plain = {option.lower(): option for option in reversed(options)}
    near = difflib.get_close_matches(word.lower(), plain, n=most, cutoff=0.5)
    if near:
        return f"did you mean {', '.join(plain[found] for found in near)}?"
    if not options:
        return "there are none"
    more = f", ... ({len(options)} in all)" if len(options) > _LISTED else ""
    return f"accepted: {', '.join(options[:_LISTED])}{more}"


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Name the keys in which two flat mappings differ.

    Args:
        ours: What was asked for.
        theirs: What it is held against.

    Returns:
        For example ``["epochs (2, there 200)"]``, by key; a key that one of them lacks counts as
        None there.
    """
    return [
        f"{key} ({ours.get(key)!r}, there {theirs.get(key)!r})"
        for key in sorted(ours.keys() | theirs.keys())
        if ours.get(key) != theirs.get(key)
    ]


def one_line(error: pydantic.ValidationError) -> str:
    """Tell a pydantic validation error in one line that names each key and what it received.

    Args:
        error: The error as pydantic raised it.

    Returns:
        For example ``Norm.momentum: input should be less than 1; received 1.5``.
    """
    parts = []
    for problem in error.errors(include_url=False):
        where = ".".join([error.title, *(str(key) for key in problem["loc"])])
        message = problem["msg"].removeprefix("Value error, ")
        if not problem["type"].startswith("value_error"):
            message = f"{message[0].lower()}{message[1:]}; received {problem['input']!r}"
        parts.append(f"{where}: {message}")
    return " | ".join(parts)
