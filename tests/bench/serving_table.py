"""The table in docs/deployment.md of the server's throughput beside onnxruntime's own."""

from typing import Any

from .serving import AIMED, COUNTS, INSTANCES, direct_name, served_name
from .tables import measured, stored, table


def serving() -> str:
    """Throughput and latency of the server by concurrency, beside onnxruntime by batch size."""
    results = stored("serving")
    header = ("model, n", "batches of n, images/s", "processor's time, ms")
    for _ in INSTANCES:
        header += ("images/s", "ratio", "middle half", "p50, ms", "p99, ms")
        header += ("images in a batch", "processor's time, ms")
    lines = [_line(name, row, count) for name, row in results["rows"].items() for count in COUNTS]
    best = "; ".join(
        f"of `{name}`, {row['best'].removeprefix('batch ')}"
        for name, row in results["rows"].items()
    )
    return (
        _reached(results["rows"])
        + table(header, lines)
        + "\nAfter the batches, with n requests at a time: "
        + "; then ".join(INSTANCES)
        + f". The ratio is to the fastest batch size: {best}. The processor's time is that of all "
        "threads, for an image; the client's own, which comes to the server's, is "
        f"{_client(results['rows'])} ms.\n" + measured(results)
    )


def _reached(rows: dict[str, Any]) -> str:
    """Say which ratio each server reaches at the concurrency that is aimed at."""
    found = [
        f"`{name}`, {kind}: **{row['turns'][served_name(kind, AIMED)]['ratio']:.2f}**"
        for name, row in rows.items()
        for kind in INSTANCES
    ]
    return f"With {AIMED} requests at a time, of onnxruntime's throughput: {'; '.join(found)}.\n\n"


def _client(rows: dict[str, Any]) -> str:
    """Say what the client computes for an image, from the least to the most."""
    times = [
        row["turns"][served_name(kind, count)]["client_us"] / 1e3
        for row in rows.values()
        for kind in INSTANCES
        for count in COUNTS
    ]
    return f"{min(times):.2f} to {max(times):.2f}"


def _line(name: str, row: dict[str, Any], count: int) -> tuple[object, ...]:
    """Write one line: batches of so many images, and so many requests at a time."""
    direct = row["turns"][direct_name(count)]
    line = [f"`{name}`, {count}", f"{direct['images_per_second']:.0f}"]
    line.append(f"{direct['processor_us'] / 1e3:.2f}")
    for kind in INSTANCES:
        served = row["turns"][served_name(kind, count)]
        line += [
            f"{served['images_per_second']:.0f}",
            f"**{served['ratio']:.2f}**",
            f"{served['ratio_low']:.2f} to {served['ratio_high']:.2f}",
            f"{served['p50_ms']:.1f}",
            f"{served['p99_ms']:.1f}",
            f"{served['batch']:.1f}",
            f"{served['processor_us'] / 1e3:.2f}",
        ]
    return tuple(line)
