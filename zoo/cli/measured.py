"""What ``zoo evaluate`` and ``zoo results`` show: accuracies, confusions, runs side by side."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from training import Metrics
    from training.results import Results, Run, Seeds

MOST_CLASSES = 20  # of a matrix; of more classes there is a page, or --json
_ANY_WIDTH = 10_000  # more than any matrix takes
MOST_ROWS = 10  # of a list of confusions or of hard classes


def accuracy(share: float, interval: tuple[float, float]) -> str:
    """Write an accuracy with its interval."""
    low, high = interval
    return f"{_percent(share)} (95 % interval {_percent(low)} to {_percent(high)})"


def measured(metrics: "Metrics") -> Iterator[tuple[str, str]]:
    """Tell what was measured, of many classes only those with the lowest accuracies."""
    yield "accuracy", accuracy(metrics.accuracy, metrics.interval)
    if metrics.views > 1:
        yield "views", f"{metrics.views} of each image, averaged"
    yield "images", f"{metrics.count:,}"
    yield "loss", f"{metrics.loss:.4f}"
    classes = list(metrics.per_class.items())
    if len(classes) > MOST_CLASSES:
        known = [(name, share) for name, share in classes if share is not None]
        classes = sorted(known, key=lambda pair: pair[1])[:MOST_ROWS]
        yield "hardest classes", f"{len(classes)} of {len(metrics.per_class)}"
    for name, share in classes:
        interval = metrics.per_class_intervals[name]
        known_share = share is not None and interval is not None
        yield f"  {name}", accuracy(share, interval) if known_share else "no images"


def confusion(metrics: "Metrics", console: Console) -> RenderableType:
    """Lay out the confusion matrix, or where it does not fit, the most frequent confusions.

    Args:
        metrics: What was measured.
        console: Where it is to be shown. What is no terminal takes any width.

    Returns:
        Counts; shares of the row in percent where only these fit the terminal.
    """
    if len(metrics.confusion) <= MOST_CLASSES:
        for shares in (False, True):
            table = _matrix(metrics, shares=shares)
            anything = console.options.update(width=_ANY_WIDTH)
            needed = Measurement.get(console, anything, table).maximum
            if needed <= console.width or not console.is_terminal:
                table.width = needed
                return Group(_title("percent of each true class" if shares else "images"), table)
    return _frequent(metrics)


def _matrix(metrics: "Metrics", *, shares: bool) -> Table:
    """Lay out the whole matrix; brackets mark the diagonal where there are no colours."""
    names = list(metrics.per_class)
    plain = all(name == str(number) for number, name in enumerate(names))
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("", no_wrap=True)
    for number in range(len(names)):
        table.add_column(f"{number} ", justify="right", no_wrap=True)
    for i, row in enumerate(metrics.confusion):
        total = sum(row)
        cells = [_cell(count, total, hit=i == j, shares=shares) for j, count in enumerate(row)]
        table.add_row(Text(names[i] if plain else f"{i} {names[i]}", style="dim"), *cells)
    return table


def _title(what: str) -> Text:
    """Say how a matrix is to be read."""
    return Text(f"confusion in {what}: rows are true, columns what they were taken for", "dim")


def _cell(count: int, total: int, *, hit: bool, shares: bool) -> Text:
    """Write one cell of the matrix."""
    value = str(round(100 * count / total)) if shares and count else str(count or "·")
    if hit:
        return Text(f"[{value}]", style="bold green")
    return Text(f"{value} ", style="red" if count else "dim")


def _frequent(metrics: "Metrics") -> RenderableType:
    """Lay out which classes are most often taken for which."""
    found = metrics.confusions(MOST_ROWS)
    if not found:
        return Text("nothing was confused")
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("true class", overflow="fold")
    table.add_column("taken for", overflow="fold")
    table.add_column("images", justify="right", no_wrap=True)
    for truth, predicted, count in found:
        table.add_row(Text(truth), Text(predicted), f"{count:,}")
    return Group(Text("the most frequent confusions", "dim"), table)


def runs_table(results: "Results") -> Table:
    """Lay out runs side by side, each with what it was trained in and on beneath its name."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("run", overflow="fold")
    table.add_column("data", overflow="fold")
    for name in ("accuracy", "epochs", "seconds", "images/s"):
        table.add_column(name, justify="right", no_wrap=True)
    for run in results.runs:
        table.add_row(*_run(run))
    for seeds in results.seeds:
        table.add_row(*_seeds(seeds))
    return table


def _run(run: "Run") -> Sequence[Text]:
    """Write one run as a row."""
    seed = "" if run.seed is None else f", seed {run.seed}"
    details = [
        _near(Path(run.folder)),
        "" if run.parameters is None else f"{run.parameters:,} parameters",
        f"{run.precision}{seed}",
        run.hardware,
    ]
    shown = Text.assemble(
        (run.name, "bold"), *((f"\n  {detail}", "dim") for detail in details if detail)
    )
    accuracies = "" if run.accuracy is None else _percent(run.accuracy)
    if run.interval is not None:
        accuracies += "\n{:.2f} to {:.2f}".format(*(100 * end for end in run.interval))
    return [
        shown,
        Text(run.dataset),
        Text(accuracies),
        *(
            Text("" if value is None else f"{value:,.0f}")
            for value in (run.epochs, run.seconds, run.images_per_second)
        ),
    ]


def _seeds(seeds: "Seeds") -> Sequence[Text]:
    """Write several seeds of one recipe as a row."""
    which = ", ".join(map(str, seeds.seeds))
    return [
        Text.assemble((seeds.name, "bold"), (f"\n  mean of seeds {which}", "dim")),
        Text(seeds.dataset),
        Text(f"{_percent(seeds.mean)}\n± {100 * seeds.deviation:.2f}"),
    ]


def _near(folder: Path) -> str:
    """Name a folder from where the person is, if it lies below."""
    here, there = Path.cwd(), folder.resolve()
    return str(there.relative_to(here) if there.is_relative_to(here) else folder)


def _percent(share: float) -> str:
    """Write a share."""
    return f"{100 * share:.2f} %"
