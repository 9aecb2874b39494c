"""What ``zoo list`` and ``zoo show`` lay out: models, weights and layers in tables."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from zoo.errors import InputError

if TYPE_CHECKING:
    from zoo.catalogue import Row
    from zoo.showing import Shown

_UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}


def quantity(text: str) -> float:
    """Read a number such as 500k, 5M or 1.2G."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kMG]?)", text)
    if not found:
        raise InputError(
            f"accepted is a number, also with k, M or G, for example 5M; received {text!r}"
        )
    return float(found[1]) * _UNITS[found[2]]


def short(count: int | None) -> str:
    """Write a large number in three digits and a unit."""
    if count is None:
        return "?"
    unit, factor = next(
        ((unit, factor) for unit, factor in reversed(_UNITS.items()) if count >= factor), ("", 1.0)
    )
    value = count / factor
    return f"{value:.0f}{unit}" if value >= 100 or not unit else f"{value:.3g}{unit}"


def rows_table(found: Sequence["Row"]) -> Table:
    """Lay out models, or weights with what they were trained on and how well."""
    weights = any(row.dataset for row in found)
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("name", no_wrap=True)
    for title in ("parameters", "multiply-adds", "size"):
        table.add_column(title, justify="right", no_wrap=True)
    if weights:
        table.add_column("data", no_wrap=True)
        table.add_column("accuracy", justify="right", no_wrap=True)
    table.add_column("paper", overflow="ellipsis", no_wrap=True)
    for row in found:
        cells = [row.name, short(row.parameters), short(row.multiply_adds), _size(row.size)]
        if weights:
            cells += [row.dataset, "?" if row.accuracy is None else f"{100 * row.accuracy:.1f} %"]
        table.add_row(*map(Text, [*cells, row.paper]))
    return table


def _size(size: tuple[int | None, int | None]) -> str:
    """Write a height and a width."""
    return "x".join("any" if side is None else str(side) for side in size)


def layers_table(shown: "Shown", *, every: bool) -> Table:
    """Lay out the layers of a model, or its blocks, with a picture of where each one's input is."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("layer" if every else "block", no_wrap=True)
    table.add_column("", no_wrap=True)
    for title in ("output", "parameters", "multiply-adds"):
        table.add_column(title, justify="right", no_wrap=True)
    if every:
        table.add_column("takes", overflow="fold")
    for line in shown.lines(every=every):
        cells = [line.name, line.what, line.shape, f"{line.parameters:,}"]
        cells += [f"{line.multiply_adds:,}"] + ([line.takes] if every else [])
        table.add_row(*map(Text, cells), style="bold" if line.name == "total" else None)
    return table
