"""The tables in docs/quantization.md: int8 beside fp32, and what was tried on trained weights."""

from typing import Any

from .tables import each, measured, stored, table


def quantization() -> str:
    """Latencies of int8 and fp32, on each processor."""
    return "\n".join(map(_latencies, each("quantization")))


def _latencies(results: dict[str, Any]) -> str:
    """Latencies of int8 and fp32 on one processor."""
    lines = [
        (
            f"{name}, {batch}",
            f"{row['fp32_ms']:.4g}",
            f"{row['int8_ms']:.4g}",
            f"**{row['faster']:.2f}**",
            f"{row['faster_low']:.2f} to {row['faster_high']:.2f}",
            " → ".join(f"{found['megabytes'][kind]:.3g}" for kind in ("fp32", "int8")),
        )
        for name, found in results["rows"].items()
        for batch, row in found["latency"].items()
    ]
    kinds = ", ".join(sorted({row["cpu"] for row in results["rows"].values()}))
    header = ("", "fp32, ms", "int8, ms", "times faster", "middle half", "file, MB")
    return table(header, lines) + f"\nint8 is for this processor: `{kinds}`.\n" + measured(results)


def quantization_tried() -> str:
    """What was tried on trained weights, and what the chosen file loses on test images."""
    rows = stored("quantization")["rows"]
    parts = []
    for name, row in rows.items():
        if "accuracy" not in row:
            continue
        found = row["accuracy"]
        lines = [
            (
                f"**{trial['name']}**"
                if trial["name"] == found["chosen"]["name"]
                else trial["name"],
                f"{100 * trial['agreement']:.2f} %",
                f"{trial['drop']:.2f}",
                f"{trial['logit_error']:.4f}",
            )
            for trial in found["tried"]
        ]
        told = found["reported"]
        header = (f"`{name}`, {found['chosen']['images']} images", "same top-1", "points lost")
        parts.append(
            table((*header, "logit error"), lines)
            + f"\nThe chosen one on the {told['images']} test images: "
            f"{100 * told['accuracy']:.2f} %, float32 {100 * told['float_accuracy']:.2f} %; "
            f"{told['drop']:.2f} points lost "
            f"(95 % interval {told['drop_low']:.2f} to {told['drop_high']:.2f}).\n"
        )
    return "\n".join(parts)
