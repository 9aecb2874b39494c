"""The table in docs/deployment.md of the server's throughput beside onnxruntime's own."""

from typing import Any

from .serving import AIMED, COUNTS, INSTANCES, direct_name, served_name
from .tables import measured, names, stored, table


def serving_reached() -> str:
    """Of onnxruntime's throughput, what the server reaches where many ask at once."""
    found = map(stored, names("serving"))
    header = (f"{AIMED} requests at a time, of onnxruntime's throughput", *INSTANCES)
    return table(header, [line for results in found for line in _reached(results)])


def serving() -> str:
    """Throughput and latency of the server by concurrency, beside onnxruntime, by machine."""
    return "\n".join(map(_machine, names("serving")))


def _machine(name: str) -> str:
    """Write what was measured on one machine, with its picture."""
    results = stored(name)
    rows = results["rows"]
    best = "; ".join(f"of `{name}`, {row['best']}" for name, row in rows.items())
    header = ("model", "server", "requests at a time", "images/s", "ratio", "middle half")
    header += ("p50, ms", "p99, ms", "images in a batch", "processor's time, ms")
    lines = [
        (f"`{name}`", kind, *_served(row, kind, count))
        for name, row in rows.items()
        for kind in INSTANCES
        for count in COUNTS
    ]
    return (
        f"## {results['environment']['processor']}\n\nOnnxruntime called directly:\n\n"
        + table(("model, images in a batch", *map(str, COUNTS)), _direct(rows))
        + f"\nThe server, and the ratio to the fastest batch: {best}.\n\n"
        + table(header, lines)
        + "\nThe processor's time is that of all threads, for an image; the client's own, which "
        f"comes to the server's, is {_client(rows)} ms.\n"
        + measured(results)
        + "\n![Throughput, p50 and p99 of the server over the number of requests at a time]"
        f"({name}.png)\n"
    )


def _direct(rows: dict[str, Any]) -> list[tuple[object, ...]]:
    """Write the lines of onnxruntime by batch size."""
    lines: list[tuple[object, ...]] = []
    for name, row in rows.items():
        turns = [row["turns"][direct_name(count)] for count in COUNTS]
        rates = (f"{turn['images_per_second']:.0f}" for turn in turns)
        times = (f"{turn['processor_us'] / 1e3:.2f}" for turn in turns)
        lines.append((f"`{name}`, images/s", *rates))
        lines.append((f"`{name}`, processor's time of an image, ms", *times))
    return lines


def _served(row: dict[str, Any], kind: str, count: int) -> tuple[object, ...]:
    """Write what a server does with so many requests at a time."""
    served = row["turns"][served_name(kind, count)]
    return (
        count,
        f"{served['images_per_second']:.0f}",
        f"**{served['ratio']:.2f}**",
        f"{served['ratio_low']:.2f} to {served['ratio_high']:.2f}",
        f"{served['p50_ms']:.1f}",
        f"{served['p99_ms']:.1f}",
        f"{served['batch']:.1f}",
        f"{served['processor_us'] / 1e3:.2f}",
    )


def _reached(results: dict[str, Any]) -> list[tuple[object, ...]]:
    """Write for each model the ratios at the concurrency that is aimed at."""
    place = results["environment"]["processor"]
    return [
        (f"`{name}`, {place}", *(_ratio(row["turns"][served_name(k, AIMED)]) for k in INSTANCES))
        for name, row in results["rows"].items()
    ]


def _ratio(served: dict[str, Any]) -> str:
    """Write a ratio and the middle half of the rounds'."""
    return f"**{served['ratio']:.2f}** ({served['ratio_low']:.2f} to {served['ratio_high']:.2f})"


def _client(rows: dict[str, Any]) -> str:
    """Say what the client computes for an image, from the least to the most."""
    times = [
        row["turns"][served_name(kind, count)]["client_us"] / 1e3
        for row in rows.values()
        for kind in INSTANCES
        for count in COUNTS
    ]
    return f"{min(times):.2f} to {max(times):.2f}"
