"""The curves of a training: a picture and a page in the run's folder.

The picture is drawn by Matplotlib's Agg backend through its objects: no window, no global state.
The page draws the same curves as SVG in the reader's own colours, light or dark.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training import environment
from training.progress import Progress, duration
from zoo.charts import Chart, chart, learning_curves, learning_series
from zoo.files import replacing, write_text
from zoo.pages import number, percent, render

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from training.recipe import Recipe
    from zoo.cards import Card

PICTURE_FILE = "curves.png"
PAGE_FILE = "curves.html"
TEMPLATES = Path(__file__).parent / "templates"
EVERY = 60.0  # seconds between two drawings of a training; one takes about a second
# A dark and a light one, so that they differ in print too, where their dashes do as well.
_STYLES = (("#1b3f8b", "-"), ("#e07b00", "--"), ("#6b7280", ":"))
_MARKED = 20  # of so many epochs or fewer each one gets a mark


class Drawing(Progress):
    """Draws the curves while a training runs, at the end of an epoch and at most once a minute.

    Args:
        folder: The run's folder.
        recipe: What it is trained by.
        history: One row per epoch; the training adds to it.
        clock: Tells the time, in seconds.
    """

    def __init__(
        self,
        folder: Path,
        recipe: "Recipe",
        history: Sequence[Mapping[str, float]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder, self.recipe, self.history, self.clock = folder, recipe, history, clock
        self._drawn = clock()

    def epoch(self, row: dict[str, float]) -> None:
        """Draw, if that is due; the last epoch's curves are drawn with what is measured then."""
        if self.clock() - self._drawn >= EVERY and row["epoch"] < self.recipe.epochs:
            write(self.folder, self.recipe, self.history)
            self._drawn = self.clock()


def write(
    folder: Path,
    recipe: "Recipe",
    history: Sequence[Mapping[str, float]],
    card: "Card | None" = None,
) -> None:
    """Write ``curves.png`` and ``curves.html``, each whole or not at all.

    Args:
        folder: The run's folder.
        recipe: What was trained by.
        history: One row per epoch, at least one.
        card: What the finished training measured; None while it is under way.

    Raises:
        InputError: The folder cannot be written, or is full.

    Example:
        >>> write(Path("runs/digits"), recipe, zoo.history.read("runs/digits/history.csv"))
    """
    with replacing(folder / PICTURE_FILE) as beside:
        picture(recipe, history, card).savefig(
            beside, format="png", metadata={"Title": recipe.name, "Description": _words(history)}
        )
    write_text(folder / PAGE_FILE, page(recipe, history, card))


def picture(
    recipe: "Recipe", history: Sequence[Mapping[str, float]], card: "Card | None" = None
) -> "Figure":
    """Draw loss, accuracy and learning rate over the epochs, one above the other.

    Args:
        recipe: As in `write`.
        history: As in `write`.
        card: As in `write`.

    Returns:
        A figure of its own, as wide as a phone, on the Agg canvas.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = Figure(figsize=(5.4, 8.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(recipe.name, fontsize=15, fontweight="bold")
    losses, accuracies, rates = figure.subplots(3, 1, sharex=True, height_ratios=(4, 4, 2.4))
    _plot(losses, "loss", learning_series(history, "loss"))
    _plot(accuracies, "accuracy", learning_series(history, "accuracy"))
    accuracies.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    _plot(rates, "learning rate", {"": _column(history, "learning_rate")})
    rates.set_xlabel("epoch", fontsize=12)
    rates.xaxis.set_major_locator(MaxNLocator(integer=True))
    losses.set_title(_standing(recipe, history, card), fontsize=11)
    figure.align_ylabels()
    return figure


def page(
    recipe: "Recipe", history: Sequence[Mapping[str, float]], card: "Card | None" = None
) -> str:
    """Write the page: curves, final numbers, recipe, hardware, versions and every epoch.

    Args:
        recipe: As in `write`.
        history: As in `write`.
        card: As in `write`.

    Returns:
        HTML that asks for nothing from anywhere else.
    """
    return render(
        TEMPLATES,
        "curves.html.j2",
        name=recipe.name,
        standing=_standing(recipe, history, card),
        charts=_charts(history),
        numbers=list(_numbers(history, card)),
        made=[
            ("Hardware", environment.hardware() if card is None else card.hardware or "not known"),
            ("Precision", recipe.precision),
            ("Data", recipe.dataset),
            ("Seed", recipe.seed),
        ],
        notes=() if card is None else card.notes,
        recipe=list(_flat(recipe.model_dump(mode="json"))),
        versions=environment.versions() if card is None else card.versions,
        commit=environment.commit() if card is None else card.commit,
        history=history,
    )


def _plot(axes: "Axes", label: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    """Draw some lines into one field."""
    for (name, points), (colour, dashes) in zip(series.items(), _STYLES, strict=False):
        marker = "o" if len(points) <= _MARKED else ""
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            color=colour,
            linestyle=dashes,
            marker=marker,
            markersize=4,
            linewidth=2,
            label=name,
        )
    if len(series) > 1:
        axes.legend(fontsize=11, frameon=False)
    axes.set_ylabel(label, fontsize=12)
    axes.tick_params(labelsize=11)
    axes.grid(color="#d9dde3", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)


def _charts(history: Sequence[Mapping[str, float]]) -> list[Chart]:
    """Lay out the same curves for the page."""
    rate = {"learning rate": _column(history, "learning_rate")}
    return [*learning_curves(history), chart("Learning rate", rate, x_label="epoch")]


def _column(history: Sequence[Mapping[str, float]], name: str) -> list[tuple[float, float]]:
    """Collect the points of one column."""
    return [(row["epoch"], row[name]) for row in history]


def _words(history: Sequence[Mapping[str, float]]) -> str:
    """Tell the curves to who does not see them."""
    return ". ".join(drawn.summary for drawn in _charts(history)) + "."


def _standing(recipe: "Recipe", history: Sequence[Mapping[str, float]], card: "Card | None") -> str:
    """Say how far the training is, or how it ended."""
    epochs = f"{history[-1]['epoch']:.0f} of {recipe.epochs} epochs"
    if card is None:
        return f"{epochs}, under way"
    low, high = card.metrics["test_accuracy_low"], card.metrics["test_accuracy_high"]
    return (
        f"{epochs}, test accuracy {percent(card.metrics['test_accuracy'])} "
        f"({100 * low:.2f} to {100 * high:.2f})"
    )


def _numbers(
    history: Sequence[Mapping[str, float]], card: "Card | None"
) -> Iterator[tuple[str, str, str]]:
    """Choose the numbers that stand on top: name, value and what it is."""
    last = history[-1]
    if card is not None:
        metrics = card.metrics
        low, high = metrics["test_accuracy_low"], metrics["test_accuracy_high"]
        yield (
            "Test accuracy",
            percent(metrics["test_accuracy"]),
            f"95 % interval {percent(low)} to {percent(high)}, {number(metrics['test_images'])} "
            "images",
        )
        if "test_views" in metrics:
            yield (
                f"By {metrics['test_views']} views",
                percent(metrics["test_views_accuracy"]),
                f"95 % interval {percent(metrics['test_views_accuracy_low'])} to "
                f"{percent(metrics['test_views_accuracy_high'])}, their logits averaged",
            )
        yield "Parameters", number(metrics["parameters"]), "numbers in the model's weights"
    if "val_accuracy" in last:
        yield (
            "Held-out accuracy",
            percent(last["val_accuracy"]),
            f"of the last epoch; best {percent(max(row['val_accuracy'] for row in history))}",
        )
    yield "Training loss", number(last["loss"]), f"accuracy {percent(last['accuracy'])}"
    yield "Time", duration(last["seconds"]), f"{number(last['images_per_second'])} images/s"


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """List every value of a recipe with its dotted key."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            words = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            yield f"{prefix}{key}", words or "none"
