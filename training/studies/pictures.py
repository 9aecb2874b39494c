"""The plots of a study as one picture, drawn by Matplotlib without a window or global state."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from training.studies.study import Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colour, dashes and mark differ from line to line, so that they can be told apart in print too.
_COLOURS = (
    "#1b3f8b", "#e07b00", "#6b7280", "#2e8b57", "#a23bbd", "#c2304a", "#1592a3", "#8a6d1a",
    "#7a7fd0",
)  # fmt: skip
_DASHES = ("-", "--", ":", "-.")
_MARKS = "os^Dv<>Xp"


def picture(plots: Sequence[Plot]) -> "Figure":
    """Draw plots side by side, two in a row; shades are the 95 % intervals over the seeds.

    Args:
        plots: At least one.

    Returns:
        A figure of its own, on the Agg canvas.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(2, len(plots))
    rows = -(-len(plots) // columns)
    figure = Figure(figsize=(5.2 * columns, 3.9 * rows), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    fields = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, plot in zip(fields, plots, strict=False):
        _draw(axes, plot)
    for axes in fields[len(plots) :]:
        axes.set_axis_off()
    return figure


def _draw(axes: "Axes", plot: Plot) -> None:
    """Draw one plot."""
    from matplotlib.ticker import PercentFormatter

    for number, (name, points) in enumerate(plot.lines.items()):
        if not points:
            continue
        xs, lows, means, highs = zip(*points, strict=True)
        colour = _COLOURS[number % len(_COLOURS)]
        axes.plot(
            xs,
            means,
            color=colour,
            linestyle=_DASHES[number % len(_DASHES)],
            marker=_MARKS[number % len(_MARKS)] if len(points) <= 20 else "",
            markersize=4,
            linewidth=1.6,
            label=name,
        )
        axes.fill_between(xs, lows, highs, color=colour, alpha=0.13, linewidth=0)
    if plot.log_x:
        axes.set_xscale("log", base=2)
    if plot.log_y:
        axes.set_yscale("log")
    if plot.percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        _keep_to_shares(axes, plot)
    axes.set_title(plot.title, fontsize=11)
    axes.set_xlabel(plot.x_label, fontsize=10)
    axes.legend(fontsize=8, frameon=False)
    axes.grid(color="#d9dde3", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)


def _keep_to_shares(axes: "Axes", plot: Plot) -> None:
    """Leave out of view what no share can be: an interval of Student's t knows no 0 % or 100 %."""
    low, high = axes.get_ylim()
    if all(mean >= 0 for points in plot.lines.values() for _, _, mean, _ in points):
        low = max(low, -0.02)
    axes.set_ylim(low, min(high, 1.02))
