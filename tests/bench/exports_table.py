"""The table in docs/deployment.md of keras.applications, from model to verdict."""

from typing import Any

from .exports import MODELS
from .tables import measured, stored, table
from .whole_way import AIMED, PARTS


def exports() -> str:
    """What becomes of every model of keras.applications, beside Keras' own export."""
    results = stored("exports")
    rows = {name: results["rows"][name] for name in MODELS}
    header = ("model", "pixels", "BatchNorms left", "nodes", "Transpose", "MB", "export, s")
    header += ("error", "of a limit of", "verdict", "verdict, s", "GB")
    lines = [
        (
            name,
            f"{row['size']}×{row['size']}",
            f"{row['kept']} of {row['batchnorms']}",
            both(row, lambda file: sum(file["nodes"].values())),
            both(row, lambda file: file["nodes"].get("Transpose", 0)),
            both(row, lambda file: f"{file['megabytes']:.0f}"),
            both(row, lambda file: f"{file['seconds']:.1f}"),
            f"{row['error']:.1e}",
            f"{row['limit']:.1e}",
            "passes" if row["ok"] else "fails",
            f"{row['validate_seconds']:.0f}",
            f"{row['gigabytes']:.1f}" if row.get("gigabytes") else "–",
        )
        for name, row in rows.items()
    ]
    passed = sum(row["ok"] for row in rows.values())
    summary = f"{passed} of {len(rows)} models pass; {_usable(rows)}\n\n"
    return summary + table(header, lines) + measured(results)


def both(row: dict[str, Any], told: Any) -> str:
    """Write what is in the plain file and in ours; a dash where Keras writes none."""
    plain = told(row["plain"]) if "nodes" in row["plain"] else "–"
    return f"{plain} → {told(row['ours'])}"


def _usable(rows: dict[str, Any]) -> str:
    """Say which of Keras' own files cannot be used, and why."""
    refused: dict[str, list[str]] = {}
    for name, row in rows.items():
        if row["plain"]["refused"]:
            refused.setdefault(_why(row["plain"]), []).append(name)
    if not refused:
        return "all files of Keras' own can be used too."
    told = "; ".join(f"{', '.join(names)} ({why})" for why, names in refused.items())
    count = sum(map(len, refused.values()))
    return f"of Keras' own files {count} cannot be used with images alone: {told}."


def _why(plain: dict[str, Any]) -> str:
    """Say in few words why a file of Keras' own is of no use."""
    if "nodes" not in plain:
        return f"not written: {plain['refused']}"
    if plain["refused"].startswith("asks for"):
        return "the file asks for more than images"
    return "onnxruntime does not load the file"


def whole_way() -> str:
    """How long everything takes of those models for which a time is aimed at."""
    results = stored("whole_way")
    header = ("model", *(f"{part}, s" for part in PARTS), "all, s", "least to most", "aimed at, s")
    header += ("Keras' export, s", "our export / Keras'", "middle half", "rounds")
    lines = [
        (
            name,
            *(f"{row['parts'][part]:.1f}" for part in PARTS),
            f"**{row['whole']:.1f}**",
            f"{row['least']:.1f} to {row['most']:.1f}",
            AIMED[name],
            f"{row['plain']:.1f}",
            f"**{row['ratio']:.2f}**",
            f"{row['ratio_low']:.2f} to {row['ratio_high']:.2f}",
            row["rounds"],
        )
        for name, row in results["rows"].items()
    ]
    return table(header, lines) + measured(results)
