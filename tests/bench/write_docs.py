"""Write the tables of the documents, and two pictures, from the stored results and the code.

    python -m tests.bench.write_docs

A table stands between two marks, ``<!-- written by tests/bench/write_docs.py: NAME -->`` and
``<!-- end -->``; the text around them is a person's.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from export.rules.engine import EXPLANATIONS
from training.results import read
from zoo import catalogue
from zoo.cards import CARD_FILE, Card
from zoo.files import write_text

from . import (
    exports_table,
    nightly_table,
    normalization,
    quantization_table,
    serving_table,
    torch_exports_table,
    zoo_results_table,
)
from .onnx_nodes import NODES
from .scaling import exponent
from .tables import measured, millions, stored, table

ROOT = Path(__file__).parents[2]
DOCUMENTS = (
    ROOT / "README.md",
    *(
        ROOT / "docs" / f"{name}.md"
        for name in (
            *("deployment", "folding", "models", "normalization", "quantization"),
            *("serving", "training"),
        )
    ),
)
_MARKED = re.compile(
    r"(<!-- written by tests/bench/write_docs\.py: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL
)
# The actions of a report, with the columns that they are shown in.
_ACTIONS = {
    "folded_backward": "backward",
    "folded_forward": "forward",
    "clamped": "clamped",
    "scale_forward": "one addition left",
    "merged": "merged",
}


def written(text: str) -> str:
    """Put the tables into a document's text."""
    return _MARKED.sub(lambda found: found[1] + TABLES[found[2]]() + found[3], text)


def reasons() -> str:
    """The closed list of reasons."""
    lines = [f"| `{reason}` | {text} |\n" for reason, text in EXPLANATIONS.items()]
    return "| code | why a BatchNorm is kept |\n|---|---|\n" + "".join(lines)


def applications() -> str:
    """What became of the BatchNorms of keras.applications, and what it took."""
    results = stored("applications")
    rows = results["rows"]
    actions = [a for a in _ACTIONS if any(row["actions"].get(a) for row in rows.values())]
    header = ("model", "BatchNorms", *(_ACTIONS[a] for a in actions), "kept")
    header += ("weights, MB", "fold, s", "building, s", "memory, × weights", "new model")
    lines = [
        (
            name,
            row["batchnorms"],
            *(row["actions"].get(action, 0) for action in actions),
            len(row["kept"]),
            f"{row['weights_mb']:.0f}",
            f"{row['fold_seconds']:.2f}",
            f"{row['build_seconds']:.2f}",
            f"{row['peak_mb'] / row['weights_mb']:.1f}",
            f"{row['result_mb'] / row['weights_mb']:.1f}",
        )
        for name, row in rows.items()
    ]
    total = sum(row["batchnorms"] for row in rows.values())
    kept = sum(len(row["kept"]) for row in rows.values())
    summary = f"{len(rows)} models with {total} BatchNorms, of which {kept} are kept.\n\n"
    return summary + table(header, lines) + kept_reasons(rows) + measured(results)


def kept_reasons(rows: dict[str, Any]) -> str:
    """The BatchNorms that are kept, each with its reason; nothing where there is none."""
    lines = [
        f"| {name} | `{kept['layer']}` | {kept['reason']} |\n"
        for name, row in rows.items()
        for kept in row["kept"]
    ]
    return "\n| model | kept | why |\n|---|---|---|\n" + "".join(lines) if lines else ""


def certificates() -> str:
    """The certificates of keras.applications."""
    results = stored("certificates")
    lines = [
        (
            name,
            f"{row['size']}×{row['size']}" if row["size"] else "of free size",
            f"{row['algebra']:.1e}",
            f"{row['original_error']:.1e}",
            f"{row['folded_error']:.1e}",
            "holds" if row["ok"] else row["why"],
        )
        for name, row in results["rows"].items()
    ]
    header = ("model", "input", "algebra", "original's rounding", "folded's rounding", "it")
    return table(header, lines) + measured(results)


def nodes() -> str:
    """The nodes in plain and in folded files."""
    results = stored("onnx_nodes")
    rows = results["rows"]
    kinds = [
        kind
        for kind in NODES
        if any(row[file]["nodes"][kind] for row in rows.values() for file in ("plain", "folded"))
    ]
    lines = [
        (
            name,
            *(f"{row['plain']['nodes'][k]} → {row['folded']['nodes'][k]}" for k in kinds),
            f"{row['plain']['all_nodes']} → {row['folded']['all_nodes']}",
            f"{row['plain']['megabytes']:.3g} → {row['folded']['megabytes']:.3g}",
            f"{row['plain']['seconds']:.1f} → {row['folded']['seconds']:.1f}",
        )
        for name, row in rows.items()
    ]
    useless = [
        f"\nThe {file} file of {name} cannot be run on images alone: besides the image it asks for "
        f"`{'`, `'.join(row[file]['extra_inputs'])}`.\n"
        for name, row in rows.items()
        for file in ("plain", "folded")
        if row[file]["extra_inputs"]
    ]
    header = ("plain → folded", *kinds, "all nodes", "MB", "seconds")
    return table(header, lines) + "".join(useless) + measured(results)


def latency() -> str:
    """Latencies side by side."""
    results = stored("latency")
    lines = [
        (
            f"{name}, {batch}",
            f"{row['plain_ms']:.1f}",
            f"{row['folded_ms']:.1f}",
            f"**{row['ratio']:.2f}**",
            f"{row['ratio_low']:.2f} to {row['ratio_high']:.2f}",
            f"{row['ratio_least']:.2f} to {row['ratio_most']:.2f}",
            row["rounds"],
            f"{row['load']:.1f}",
        )
        for name, batches in results["rows"].items()
        for batch, row in batches.items()
    ]
    header = ("", "plain, ms", "folded, ms", "folded / plain", "middle half", "all", "rounds")
    return table((*header, "load before"), lines) + measured(results)


def scaling() -> str:
    """Times over chains of more and more layers."""
    results = stored("scaling")
    orders: dict[str, list[dict[str, Any]]] = {}
    for row in results["rows"].values():
        orders.setdefault(row["order"], []).append(row)
    lines = [
        (
            f"{order}, {row['blocks']} times",
            row["layers"],
            f"{row['fold_seconds']:.2f}",
            f"{1e3 * row['fold_seconds'] / row['layers']:.2f}",
            f"{row['build_seconds']:.2f}",
            f"{1e3 * row['build_seconds'] / row['layers']:.2f}",
        )
        for order, rows in orders.items()
        for row in rows
    ]
    powers = "; ".join(
        f"{order}: fold {exponent(rows, 'fold_seconds'):.2f}, "
        f"building {exponent(rows, 'build_seconds'):.2f}"
        for order, rows in orders.items()
    )
    header = ("chain", "layers", "fold, s", "per layer, ms", "building, s", "per layer, ms")
    return (
        table(header, lines)
        + f"\nTime grows with this power of the number of layers (1 is linear): {powers}.\n"
        + measured(results)
    )


def precision() -> str:
    """Speeds of a training step in each precision."""
    results = stored("precision")
    lines = [
        (
            name,
            f"{row['images_per_second']:.0f}",
            f"{row['ratio']:.2f}",
            f"{row['ratio_low']:.2f} to {row['ratio_high']:.2f}",
            row["rounds"],
            "chosen" if row["chosen"] else "",
        )
        for name, row in results["rows"].items()
    ]
    header = ("computed in, by", "images/s", "ratio", "middle half", "rounds", "")
    return table(header, lines) + measured(results)


def torch_training() -> str:
    """Speeds of a training step beside PyTorch's."""
    results = stored("torch_training")
    lines = [
        (
            name,
            f"{row['ours']:.0f}",
            f"{row['torch']:.0f}",
            f"**{row['ratio']:.2f}**",
            f"{row['ratio_low']:.2f} to {row['ratio_high']:.2f}",
            f"{row['ratio_least']:.2f} to {row['ratio_most']:.2f}",
            row["rounds"],
        )
        for name, row in results["rows"].items()
    ]
    (torch,) = {row["torch_version"] for row in results["rows"].values()}
    header = ("", "ours, images/s", f"PyTorch {torch}, images/s", "ours / PyTorch", "middle half")
    return table((*header, "all", "rounds"), lines) + measured(results)


def cost() -> str:
    """Speeds of a training step by batch size, width and processes."""
    results = stored("cost")
    lines = [
        (
            name,
            f"{row['images_per_second']:.0f}",
            f"{row['least']:.0f} to {row['most']:.0f}",
            row["precision"],
            row["rounds"],
        )
        for name, row in results["rows"].items()
    ]
    header = ("", "images/s", "slowest to fastest run", "computed in", "rounds")
    return table(header, lines) + measured(results)


def loader() -> str:
    """Speeds of the making of batches, beside that of the training."""
    results = stored("loader")
    lines = [
        (
            name,
            f"{row['loader']:.0f}",
            f"{row['training']:.0f}",
            f"**{row['ratio']:.1f}**",
            f"{row['ratio_low']:.1f} to {row['ratio_high']:.1f}",
            row["rounds"],
        )
        for name, row in results["rows"].items()
    ]
    header = ("augmentation", "loader, images/s", "training, images/s", "loader / training")
    return table((*header, "middle half", "rounds"), lines) + measured(results)


def weights() -> str:
    """The shipped weights, from their cards."""
    cards = [Card.read(path) for path in sorted(ROOT.glob(f"saved_models/*/{CARD_FILE}"))]
    known = {row.name: row for row in catalogue.rows(pretrained=True)}
    lines = [
        (
            f"`{card.name}`",
            card.dataset,
            f"{100 * card.metrics['test_accuracy']:.2f} %",
            f"{100 * card.metrics['test_accuracy_low']:.2f} to "
            f"{100 * card.metrics['test_accuracy_high']:.2f}",
            card.metrics["test_images"],
            f"{known[card.name].parameters:,}",
            card.precision,
        )
        for card in cards
    ]
    header = ("weights", "data", "test accuracy", "95 % interval", "test images", "parameters")
    return table((*header, "trained in"), lines)


def models() -> str:
    """Every model of the registry."""
    lines = [
        (
            f"`{row.name}`",
            f"{row.parameters:,}" if row.parameters else "",
            millions(row.multiply_adds),
            _size(row),
            row.paper,
        )
        for row in catalogue.rows()
    ]
    return table(("model", "parameters", "multiply-adds", "size", "paper"), lines)


def pretrained() -> str:
    """All weights that can be loaded by name."""
    lines = [
        (
            f"`{row.name}`",
            row.dataset,
            f"{100 * row.accuracy:.1f} %" if row.accuracy else "",
            f"{row.parameters:,}" if row.parameters else "",
            millions(row.multiply_adds),
            _size(row),
        )
        for row in catalogue.rows(pretrained=True)
    ]
    header = ("weights", "data", "accuracy", "parameters", "multiply-adds", "size")
    return table(header, lines)


def _size(row: catalogue.Row) -> str:
    """Write the height and width of a model's images."""
    return "×".join("any" if side is None else str(side) for side in row.size)


def imports() -> str:
    """Seconds of imports and lists."""
    measurements = stored("imports")
    lines = [
        (f"`{name}`", f"{row['seconds']:.2f}", f"{row['least']:.2f} to {row['most']:.2f}")
        for name, row in measurements["rows"].items()
    ]
    header = ("process", "processor's time, s, median", "all")
    return table(header, lines) + measured(measurements)


def results() -> str:
    """The trainings of the shipped weights, as `zoo results --markdown` shows them."""
    found = read([ROOT / "saved_models"])
    if found.broken:
        raise SystemExit("; ".join(found.broken))
    return found.to_markdown()


TABLES: dict[str, Callable[[], str]] = {
    "reasons": reasons,
    "applications": applications,
    "certificates": certificates,
    "nodes": nodes,
    "latency": latency,
    "torch_exports": torch_exports_table.torch_exports,
    "exports": exports_table.exports,
    "whole_way": exports_table.whole_way,
    "quantization": quantization_table.quantization,
    "quantization_tried": quantization_table.quantization_tried,
    "scaling": scaling,
    "precision": precision,
    "torch_training": torch_training,
    "cost": cost,
    "loader": loader,
    "serving": serving_table.serving,
    "serving_reached": serving_table.serving_reached,
    "weights": weights,
    "results": results,
    "models": models,
    "imports": imports,
    "pretrained": pretrained,
    "zoo_results": zoo_results_table.zoo_results,
    "official_costs": zoo_results_table.official_costs,
    "nightly": nightly_table.nightly,
    "verdicts": normalization.verdicts,
    "studies": normalization.studies,
}


def main() -> None:
    """Write the documents."""
    for path in DOCUMENTS:
        write_text(path, written(path.read_text(encoding="utf-8")))
        print(path.relative_to(ROOT))
    zoo_results_table.draw(ROOT / "docs")


if __name__ == "__main__":
    main()
