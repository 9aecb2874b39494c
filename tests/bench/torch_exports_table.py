"""The table in docs/folding.md of our files beside those of Keras and PyTorch."""

from typing import Any

from .tables import each, measured, table
from .torch_exports import KINDS


def torch_exports() -> str:
    """Latencies of the same networks from three exporters, on each processor."""
    return "\n".join(map(_latencies, each("torch_exports")))


def _latencies(results: dict[str, Any]) -> str:
    """Latencies of the same networks from three exporters, on one processor."""
    lines = [
        (
            f"{name}, {way}",
            *(f"{found[f'{kind}_ms']:.4g}" for kind in KINDS),
            *(cell for other in ("keras", "torch") for cell in _ratio(found["ours_to"][other])),
            f"{found['load']:.1f}",
        )
        for name, row in results["rows"].items()
        for way, found in row["latency"].items()
    ]
    header = ("", "ours, ms", "ours, NCHW, ms", "Keras', ms", "PyTorch's, ms")
    header += ("ours / Keras'", "middle half")
    header += ("NCHW / PyTorch's", "middle half", "load before")
    versions = sorted({row["torch_version"] for row in results["rows"].values()})
    told = f"\nThe files of PyTorch are from version {', '.join(versions)}.\n"
    return table(header, lines) + told + measured(results)


def _ratio(found: dict[str, float]) -> tuple[str, str]:
    """Write a ratio and its spread."""
    return f"**{found['ratio']:.2f}**", f"{found['ratio_low']:.2f} to {found['ratio_high']:.2f}"
