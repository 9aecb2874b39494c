"""The table in docs/deployment.md of the server's throughput beside onnxruntime's own."""

from typing import Any

from .serving import COUNTS, direct_name, served_name
from .tables import measured, stored, table


def serving() -> str:
    """Throughput and latency of the server by concurrency, beside onnxruntime by batch size."""
    results = stored("serving")
    lines = [_line(name, row, count) for name, row in results["rows"].items() for count in COUNTS]
    header = ("model, n", "batches of n, images/s", "n requests at a time, images/s", "ratio")
    header += ("middle half", "p50, ms", "p99, ms", "images in a batch")
    header += ("processor's time, ms: batches of n", "server", "client")
    best = "; ".join(
        f"of `{name}`, {row['best'].removeprefix('batch ')}"
        for name, row in results["rows"].items()
    )
    return (
        table(header, lines)
        + f"\nThe ratio is to the fastest batch size: {best}. The processor's time is that of all "
        "threads, for an image.\n" + measured(results)
    )


def _line(name: str, row: dict[str, Any], count: int) -> tuple[object, ...]:
    """Write one line: batches of so many images, and so many requests at a time."""
    direct, served = (row["turns"][kind(count)] for kind in (direct_name, served_name))
    return (
        f"`{name}`, {count}",
        f"{direct['images_per_second']:.0f}",
        f"{served['images_per_second']:.0f}",
        f"**{served['ratio']:.2f}**",
        f"{served['ratio_low']:.2f} to {served['ratio_high']:.2f}",
        f"{served['p50_ms']:.1f}",
        f"{served['p99_ms']:.1f}",
        f"{served['batch']:.1f}",
        f"{direct['processor_us'] / 1e3:.2f}",
        f"{served['processor_us'] / 1e3:.2f}",
        f"{served['client_us'] / 1e3:.2f}",
    )
