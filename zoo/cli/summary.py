"""The tables that ``zoo demo``, ``zoo export`` and ``zoo fold`` end with."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from zoo.cli.screen import rows, verdict

if TYPE_CHECKING:
    from export.folding import Entry, Report

MOST_ROWS = 40  # of a table of BatchNorms; for more of them there is the page, or --json


def read_report(folder: Path) -> dict[str, Any]:
    """Read the report of a bundle."""
    from export.report import REPORT_FILE

    report: dict[str, Any] = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
    return report


def summary(report: dict[str, Any], folder: Path) -> Table:
    """Lay out what a report says in a dozen lines."""
    return rows(_lines(report, folder))


def _lines(report: dict[str, Any], folder: Path) -> Iterator[tuple[str, str | Text]]:
    """Choose the lines."""
    from zoo.pages import number, percent, size

    accuracy, differences = report["accuracy"], report["differences"]
    latency, norms = report["latency"], report["fold"]
    yield "model", report["name"]
    if accuracy is not None:
        policy = report["source"]["policy"]
        yield f"accuracy, trained ({policy})", percent(accuracy["trained"])
        yield "accuracy, folded (float32)", percent(accuracy["folded"])
        yield "accuracy, ONNX file", f"{percent(accuracy['onnx'])} of {accuracy['images']} images"
    yield "BatchNorms", f"{norms['folded']} folded, {norms['kept']} kept"
    yield "float64 difference", f"{number(differences['float64'])} (folding alone)"
    yield (
        "float32 error, ONNX file",
        f"{number(differences['onnx'])} (accepted: {number(differences['onnx_limit'])})",
    )
    made = report.get("quantization")
    if made is not None:
        yield f"{made['precision']}, of {len(made['tried'])} tried", made["chosen"]["name"]
        where = "reported" if made["reported"] else "chosen"
        yield "points lost", _lost(made[where], made["accuracy_limit"])
    for file in report["files"]:
        yield file["name"], size(file["bytes"])
    yield (
        "onnxruntime",
        f"{latency['median_ms']:.3g} ms (median, batch {latency['batch']}, "
        f"{latency['threads']} threads)",
    )
    yield "report", str(folder / "report.html")
    yield "verdict", verdict(report["ok"])


def _lost(found: dict[str, Any], limit: float) -> str:
    """Tell what fewer bits cost, with its interval."""
    return (
        f"{found['drop']:+.2f} (95 % interval {found['drop_low']:+.2f} to "
        f"{found['drop_high']:+.2f}; accepted: {limit:g}) on {found['images']} images"
    )


def fold_summary(report: "Report") -> Group:
    """Tell what became of each BatchNorm, or of many of them how many; and why some are kept."""
    few = len(report.entries) <= MOST_ROWS
    parts: list[Table | Text] = [
        Text(
            f"{len(report.folded)} of {len(report.entries)} BatchNorms folded, "
            f"{len(report.kept)} kept",
            style="bold",
        )
    ]
    if report.entries:
        parts.append(_each(report.entries) if few else _counts(report.entries))
    if report.preprocessing:
        parts += [Text("preprocessing", style="bold"), _each(report.preprocessing)]
    kept = [entry for entry in (*report.entries, *report.preprocessing) if entry.action == "kept"]
    parts += [Text(f"{entry.layer} kept: {entry.reason}") for entry in kept]
    return Group(*parts)


def _each(entries: Sequence["Entry"]) -> Table:
    """Lay out one row for each layer: with its largest scale, and how many channels are dead."""
    from export.report import HUGE_SCALE
    from zoo.pages import number

    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("layer", overflow="fold")
    table.add_column("action", no_wrap=True)
    table.add_column("into", overflow="fold")
    table.add_column("scale", justify="right", no_wrap=True)
    table.add_column("dead", justify="right", no_wrap=True)
    for entry in entries:
        huge, known = entry.max_scale >= HUGE_SCALE, entry.max_scale >= 0
        table.add_row(
            Text(entry.layer),
            Text(entry.action.replace("_", " "), style="red" if entry.action == "kept" else ""),
            Text(", ".join(entry.into)),
            Text(number(entry.max_scale) if known else "?", style="bold red" if huge else ""),
            Text(str(entry.dead_channels or "")),
        )
    return table


def _counts(entries: Sequence["Entry"]) -> Table:
    """Lay out how many layers went which way, and the largest scale."""
    from zoo.pages import number

    actions = Counter(entry.action for entry in entries)
    largest = max(entries, key=lambda entry: entry.max_scale)
    return rows(
        [
            *((action.replace("_", " "), count) for action, count in actions.most_common()),
            ("largest scale", f"{number(largest.max_scale)} ({largest.layer})"),
            ("dead channels", sum(entry.dead_channels for entry in entries)),
        ]
    )
