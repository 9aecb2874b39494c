"""A bundle's model card, in Markdown: what it is, how it is fed, how good it is, what was checked.

Reference:
    Mitchell et al. 2019, Model Cards for Model Reporting, https://arxiv.org/abs/1810.03993
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.files import write_text
from zoo.pages import number, percent, size

if TYPE_CHECKING:
    from export.report import Report

CARD_FILE = "model_card.md"
_MOST_LABELS = 20


def write(folder: Path, report: "Report", model: Mapping[str, Any]) -> None:
    """Write the card of a bundle.

    Args:
        folder: The bundle.
        report: What is known of it.
        model: How a server knows it: ``name``, ``file``, ``inputs``, ``outputs``, ``labels``.
    """
    write_text(folder / CARD_FILE, "\n".join(_lines(report, model)) + "\n")


def _lines(report: "Report", model: Mapping[str, Any]) -> Iterator[str]:
    """Write all sections."""
    yield f"# {_plain(report.name)}"
    yield ""
    passed = len(report.checks) - len(report.failed)
    yield (
        f"{'PASS' if report.ok else 'FAIL'}: {passed} of {len(report.checks)} checks hold, that "
        "the file computes what the trained model computed. All of them are in `report.html`."
    )
    yield from _section("Inputs and outputs", _table(_TENSOR_HEAD, _tensors(model)))
    yield from _section("Preprocessing", _preprocessing(report))
    yield from _section("Classes", _classes(model["labels"]))
    yield from _section("Accuracy", _accuracy(report))
    yield from _section("Numbers", _table(("what", "measured"), _numbers(report)))
    yield from _section("Made from", _table(("what", "value"), _origin(report)))


_TENSOR_HEAD = ("tensor", "direction", "type", "shape")


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    """Write a heading and what is under it."""
    yield from ("", f"## {title}", "", *lines)


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Write a table."""
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(_plain(cell) for cell in row)} |"


def _tensors(model: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """List the tensors of a request and of its answer."""
    for direction in ("inputs", "outputs"):
        for one in model[direction]:
            shape = ", ".join("any" if side == -1 else str(side) for side in one["shape"][1:])
            yield f"`{one['name']}`", direction[:-1], one["datatype"], f"(batch, {shape})"


def _preprocessing(report: "Report") -> Iterator[str]:
    """Say how an image becomes the input."""
    known = None if report.card is None else report.card["preprocessing"]
    if known is None:
        yield "Not known: the weights came without a card."
        return
    yield "A pixel's value v of 0 to 255 becomes `(v * scale - mean) / std`, channel by channel."
    yield ""
    yield from _table(("key", "value"), ((key, _texts(value)) for key, value in known.items()))


def _texts(value: Any) -> str:
    """Write a value or several."""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _classes(labels: Sequence[str]) -> Iterator[str]:
    """Name the classes, or the first of them."""
    if not labels:
        yield "Not known."
        return
    more = f" and {len(labels) - _MOST_LABELS} more" if len(labels) > _MOST_LABELS else ""
    yield f"{len(labels)}: {', '.join(map(_plain, labels[:_MOST_LABELS]))}{more}."


def _accuracy(report: "Report") -> Iterator[str]:
    """Tell the accuracy on the images that were passed."""
    found = report.accuracy
    if found is None:
        yield "Not measured: no test images were passed."
        return
    shares = (("trained", found.trained), ("folded", found.folded), ("this file", found.onnx))
    rows = ((form, percent(share), found.images) for form, share in shares)
    yield from _table(("model", "accuracy", "test images"), rows)


def _numbers(report: "Report") -> Iterator[tuple[str, str]]:
    """Choose a few measured numbers."""
    told, latency = report.differences, report.latency
    yield "float32 error against float64, of the largest output", number(told["onnx"])
    yield "accepted of it", number(told["onnx_limit"])
    yield (
        "onnxruntime, median",
        f"{latency['median_ms']:.3g} ms (batch {latency['batch']}, {latency['threads']} threads)",
    )
    for file in report.files:
        if str(file["name"]).endswith(".onnx"):
            yield f"`{file['name']}`", size(file["bytes"])


def _origin(report: "Report") -> Iterator[tuple[str, Any]]:
    """Say what it was made from, and with what."""
    yield "made", report.created
    yield "target", report.target
    yield "precision", report.precision
    yield "trained in", report.source["policy"]
    yield "parameters", number(report.source["parameters"])
    yield "SHA-256 of the trained weights", f"`{report.source['sha256']}`"
    if report.card is not None:
        yield "architecture", report.card["arch"]
        yield "data set", report.card["dataset"]
    yield from report.versions.items()


def _plain(text: Any) -> str:
    """Keep a text within its cell, and its characters from being taken for Markdown's."""
    joined = " ".join(str(text).split())
    if joined.startswith("`") or set(joined) == {"-"}:
        return joined
    for mark in "\\|*_<>[]#":
        joined = joined.replace(mark, f"\\{mark}")
    return joined
