"""What ``zoo list`` and ``zoo show`` lay out: models, weights and layers in tables."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from zoo.errors import InputError

if TYPE_CHECKING:
    from zoo.catalogue import Row
    from zoo.showing import Shown

_PAPER = 20  # the least width of the column of papers
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


def rows_table(found: Sequence["Row"], console: Console) -> Table:
    """Lay out models, or weights with what they were trained on and how well.

    Args:
        found: The models.
        console: Where they are shown. On a terminal with little room the paper is cut.

    Returns:
        The table.
    """
    titles = ["name", "parameters", "multiply-adds", "size"]
    if any(row.dataset for row in found):
        titles += ["data", "accuracy"]
    lines = [[*_cells(row)[: len(titles)], row.paper] for row in found]
    widths = [max(map(len, column)) for column in zip([*titles, "paper"], *lines, strict=True)]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title, width in zip(titles, widths[:-1], strict=True):
        justify: JustifyMethod = "left" if title in ("name", "data") else "right"
        table.add_column(title, justify=justify, min_width=width, no_wrap=True)
    table.add_column("paper", overflow="ellipsis", no_wrap=True)
    for line in lines:
        table.add_row(*map(Text, line))
    table.width = sum(widths) + 2 * len(titles)
    if console.is_terminal:
        table.width = min(table.width, max(console.width, table.width - widths[-1] + _PAPER))
    return table


def _cells(row: "Row") -> list[str]:
    """Write what is known of a model or of weights, without the paper."""
    share = "?" if row.accuracy is None else f"{100 * row.accuracy:.1f} %"
    sizes = [short(row.parameters), short(row.multiply_adds), _size(row.size)]
    return [row.name, *sizes, row.dataset, share]


def _size(size: tuple[int | None, int | None]) -> str:
    """Write a height and a width."""
    return "x".join("any" if side is None else str(side) for side in size)


def layers_table(shown: "Shown", console: Console, *, every: bool) -> Table:
    """Lay out the layers of a model, or its blocks with the layers in each as a line of signs."""
    titles = ["layer" if every else "block", "", "output", "parameters", "multiply-adds"]
    titles += ["takes"] if every else []
    lines = [
        [line.name, line.what, line.shape, f"{line.parameters:,}", f"{line.multiply_adds:,}"]
        + ([line.takes] if every else [])
        for line in shown.lines(every=every)
    ]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in titles:
        justify: JustifyMethod = "right" if title in titles[2:5] else "left"
        table.add_column(title, justify=justify, no_wrap=title != "", overflow="fold")
    for line in lines:
        table.add_row(*map(Text, line), style="bold" if line is lines[-1] else None)
    if every or not console.is_terminal:  # a terminal wraps the lines that are longer than it
        widths = [max(map(len, column)) for column in zip(titles, *lines, strict=True)]
        table.width = sum(widths) + 2 * len(widths)
    return table
