"""The table in docs/models.md of what our own weights achieve, whatever runs them."""

from typing import Any

from zoo import catalogue

from .tables import measured, millions, stored, table


def zoo_results() -> str:
    """What our own weights achieve as trained, folded, exported and in int8."""
    measurements = stored("zoo_results")
    known = {row.name: row for row in catalogue.rows(pretrained=True)}
    lines = [
        (
            f"`{name}`",
            known[name].dataset,
            f"{known[name].parameters or 0:,}",
            millions(known[name].multiply_adds),
            *(percent(row["accuracy"][kind]) for kind in ("trained", "folded", "onnx")),
            f"{row['keras_bytes'] / 1e6:.2f}",
            f"{row['onnx_bytes'] / 1e6:.2f}",
            f"{row['latency']['median_ms']:.2f}",
            *_int8(row["int8"]),
        )
        for name, row in sorted(measurements["rows"].items())
    ]
    header = ("weights", "data", "parameters", "multiply-adds", "Keras", "folded", "ONNX")
    header += (".keras, MB", ".onnx, MB", "one image, ms", "int8", "int8, MB", "int8, ms")
    picture = "\n![Accuracy of the ONNX files against latency](accuracy_latency.png)\n"
    return table(header, lines) + _refused(measurements["rows"]) + picture + measured(measurements)


def percent(share: float) -> str:
    """Write a share of images."""
    return f"{100 * share:.2f} %"


def _int8(found: dict[str, Any]) -> tuple[str, str, str]:
    """Write what the int8 file achieves; nothing where there is none."""
    if "refused" in found:
        return ("none", "", "")
    size, milliseconds = found["onnx_bytes"] / 1e6, found["latency"]["median_ms"]
    return (percent(found["accuracy"]), f"{size:.2f}", f"{milliseconds:.2f}")


def _refused(rows: dict[str, Any]) -> str:
    """Say why weights have no int8 file."""
    told = {name: row["int8"]["refused"] for name, row in rows.items() if "refused" in row["int8"]}
    return "".join(f"\nNo int8 file of `{name}`: {why}.\n" for name, why in told.items())
