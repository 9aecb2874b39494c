"""The table in docs/deployment.md of keras.applications, each exported and judged."""

from typing import Any

from .tables import measured, stored, table


def exports() -> str:
    """Operators and seconds of our file and of Keras' own, and the verdict on ours."""
    results = stored("exports")
    rows = results["rows"]
    header = ("model", "input", "verdict", "error", "limit", "nodes", "Conv", "Transpose")
    header += ("seconds", "Keras' nodes", "Conv", "Transpose", "seconds", "runs")
    lines = [_line(name, row) for name, row in rows.items()]
    return f"{_summary(rows)}\n\n" + table(header, lines) + _refusals(rows) + measured(results)


def _line(name: str, row: dict[str, Any]) -> tuple[object, ...]:
    """Write a model's line; of a file that Keras did not write there is nothing to count."""
    judged = ("ok" if row["ok"] else row["why"], f"{row['error']:.1e}", f"{row['limit']:.1e}")
    runs = "no" if row["plain"]["refused"] else "yes"
    size = f"{row['size']}×{row['size']}" if row["size"] else "any"
    return (name, size, *judged, *_file(row["ours"]), *_file(row["plain"]), runs)


def _file(found: dict[str, Any]) -> tuple[object, ...]:
    """Count what a file has, and what it took."""
    nodes = found.get("nodes")
    if nodes is None:
        return ("", "", "", f"{found['seconds']:.1f}")
    some = (nodes.get("Conv", 0), nodes.get("Transpose", 0))
    return (sum(nodes.values()), *some, f"{found['seconds']:.1f}")


def _summary(rows: dict[str, Any]) -> str:
    """Sum all models up."""
    passed = sum(row["ok"] and not row["ours"]["refused"] for row in rows.values())
    most = max(row["ours"]["nodes"].get("Transpose", 0) for row in rows.values())
    refused = sum(bool(row["plain"]["refused"]) for row in rows.values())
    return (
        f"Of {len(rows)} models {passed} pass, with at most {most} Transpose in the file. "
        f"Onnxruntime cannot run {refused} of Keras' own files on an image."
    )


def _refusals(rows: dict[str, Any]) -> str:
    """Say why onnxruntime does not run some of Keras' files, each reason once."""
    reasons: dict[str, list[str]] = {}
    for name, row in rows.items():
        if row["plain"]["refused"]:
            reasons.setdefault(row["plain"]["refused"], []).append(name)
    lines = [(", ".join(names), f"`{reason}`") for reason, names in reasons.items()]
    return "\n" + table(("Keras' own file of", "does not run, since it"), lines) if lines else ""
