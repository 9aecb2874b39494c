"""The history of a training: one row of numbers per epoch, in a file beside the weights."""

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from zoo.errors import InputError
from zoo.files import write_text

HISTORY_FILE = "history.csv"
EPOCH = "epoch"  # the column that every row has; the others depend on the training


def read(path: str | os.PathLike[str]) -> list[dict[str, float]]:
    """Read a history.

    Args:
        path: The file.

    Returns:
        One row per epoch, without the values that are left empty.

    Raises:
        InputError: It cannot be read, or a line is not a row of numbers; it names the line.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            table = csv.DictReader(file)
            return [_row(row, where=f"{path}, line {table.line_num}") for row in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a history that can be read: {error}") from error


def write(path: str | os.PathLike[str], history: Sequence[Mapping[str, float]]) -> Path:
    """Write a history as a table with a header, whole or not at all.

    Args:
        path: The file.
        history: One row per epoch.

    Returns:
        The path.

    Raises:
        InputError: The place cannot be written, or is full.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(history[0]) if history else [EPOCH])
    writer.writeheader()
    writer.writerows(history)
    return write_text(path, text.getvalue())


def _row(texts: Mapping[str | None, str | None], *, where: str) -> dict[str, float]:
    """Turn one line into numbers."""
    if None in texts or None in texts.values():  # csv's mark for a line of another length
        raise InputError(f"{where}: accepted are as many values as the header has columns")
    row = {str(name): _number(text, f"{where}: {name}") for name, text in texts.items() if text}
    if EPOCH not in row:
        raise InputError(f"{where}: it has no value for {EPOCH}")
    return row


def _number(text: str, where: str) -> float:
    """Read a finite number."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{where}: accepted is a finite number; received {text!r}")
    return number
