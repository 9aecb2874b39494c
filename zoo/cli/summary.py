"""The short table that ``zoo demo`` and ``zoo export`` end with."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from zoo.cli.screen import rows, verdict


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
    from export.report import number, percent, size

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
    for file in report["files"]:
        yield file["name"], size(file["bytes"])
    yield (
        "onnxruntime",
        f"{latency['median_ms']:.3g} ms (median, batch {latency['batch']}, "
        f"{latency['threads']} threads)",
    )
    yield "report", str(folder / "report.html")
    yield "verdict", verdict(report["ok"])
