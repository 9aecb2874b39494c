"""The tables and pictures in docs/models.md of what weights achieve and what they cost."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import zoo
from zoo import catalogue, registry

from . import scatter
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


def official_costs() -> str:
    """What the weights of keras.applications cost as ONNX files, and what they achieve."""
    measurements = stored("official_costs")
    known = {row.name: row for row in catalogue.rows(pretrained=True)}
    lines = [
        (
            f"`{name}`",
            f"{100 * (known[name].accuracy or 0):.1f} %",
            f"{known[name].parameters or 0:,}",
            millions(known[name].multiply_adds),
            f"{row['batchnorms']}",
            f"{row['onnx_bytes'] / 1e6:.1f}",
            f"{row['latency']['median_ms']:.1f}",
            f"{row['latency']['p95_ms']:.1f}",
        )
        for name, row in sorted(measurements["rows"].items())
    ]
    header = ("weights", "published top-1", "parameters", "multiply-adds", "BatchNorms folded")
    header += (".onnx, MB", "one image, ms", "95 % within, ms")
    picture = "\n![Published accuracy against latency](imagenet_latency.png)\n"
    return table(header, lines) + picture + measured(measurements)


def draw(docs: Path) -> None:
    """Draw accuracy against latency: of our weights by data set, of the official ones by family.

    Args:
        docs: The folder of the pictures.
    """
    rows = stored("zoo_results")["rows"]
    own = _grouped(rows, _data, lambda name: rows[name]["accuracy"]["onnx"])
    path = docs / "accuracy_latency.png"
    scatter.draw(
        own,
        path,
        title="data",
        y_label="test accuracy, %",
        named={name: name.partition(".")[0] for name in rows},
    )
    rows = stored("official_costs")["rows"]
    official = _grouped(rows, _family, lambda name: zoo.card(name).metrics["published_top1"])
    best = scatter.frontier({k: point for group in official.values() for k, point in group.items()})
    scatter.draw(
        official,
        docs / "imagenet_latency.png",
        title="family",
        y_label="published ImageNet top-1, %",
        named={name: name.replace(".imagenet", "") for name in best},
    )


def _grouped(
    rows: dict[str, Any], group: Callable[[str], str], accuracy: Callable[[str], float]
) -> dict[str, dict[str, scatter.Point]]:
    """Put the points of weights, latency and accuracy, into groups."""
    groups: dict[str, dict[str, scatter.Point]] = {}
    for name in sorted(rows, key=lambda name: (group(name), name)):
        point = rows[name]["latency"]["median_ms"], 100 * accuracy(name)
        groups.setdefault(group(name), {})[name] = point
    return groups


def _data(name: str) -> str:
    """Name the data that weights were trained on."""
    return zoo.card(name).dataset


def _family(name: str) -> str:
    """Name the file that a network's builder is in."""
    return registry.entry(zoo.card(name).arch).build.__module__.rpartition(".")[2]


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
