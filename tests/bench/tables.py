"""Tables in Markdown of stored results, with where and when these were measured."""

import json
from collections.abc import Iterable
from typing import Any

from .records import RESULTS


def stored(name: str) -> dict[str, Any]:
    """Read a results file."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def names(name: str) -> list[str]:
    """Name each machine's results: ``NAME``, and ``NAME.MACHINE`` of further ones."""
    return [name, *(path.stem for path in sorted(RESULTS.glob(f"{name}.*.json")))]


def each(name: str) -> list[dict[str, Any]]:
    """Read each machine's results."""
    return [stored(found) for found in names(name)]


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Write a table in Markdown: the first column to the left, the others to the right."""
    columns = list(header)
    lines = [columns, ["---"] + ["---:"] * (len(columns) - 1), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)


def millions(count: int | None) -> str:
    """Write multiply-adds in millions, with a digit behind the point where there are few."""
    if not count:
        return ""
    return f"{count / 1e6:,.{1 if count < 10e6 else 0}f} M"


def measured(results: dict[str, Any]) -> str:
    """Say where and when results were measured."""
    found = results["environment"]
    versions = ", ".join(f"{package} {version}" for package, version in found["versions"].items())
    return (
        f"\nMeasured on {found['date']}, {found['processor']}, {found['threads']} threads; "
        f"{versions}.{_load(results['rows'])}\n"
    )


def _load(rows: dict[str, Any]) -> str:
    """Say how busy the machine was, where that was written down."""
    loads = [row["load"] for row in rows.values() if "load" in row]
    if not loads:
        return ""
    return (
        f" Other programs ran too (load average {min(loads):.1f} to {max(loads):.1f}), so a quiet "
        "machine is faster."
    )
