"""A picture of accuracy against latency."""

import math
from collections.abc import Mapping
from pathlib import Path

from zoo.files import replacing

Point = tuple[float, float]
MARKERS = "os^D"
COLOURS = 10  # that matplotlib has by default


def draw(
    groups: Mapping[str, Mapping[str, Point]],
    path: Path,
    *,
    title: str,
    y_label: str,
    named: Mapping[str, str],
) -> None:
    """Draw points, a colour and a marker for each group.

    Args:
        groups: Of each group its points by name: milliseconds and percent.
        path: The PNG file.
        title: What the groups are.
        y_label: Which accuracy it is.
        named: What is written beside some points, by the point's name; above and below in turns.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for number, (group, points) in enumerate(groups.items()):
        axes.scatter(
            *zip(*points.values(), strict=True),
            label=group,
            color=f"C{number % COLOURS}",
            marker=MARKERS[number // COLOURS],
        )
    axes.set(xscale="log", xlabel="latency of one image, ms", ylabel=y_label)
    axes.margins(x=0.15)  # room for names
    places = {name: point for points in groups.values() for name, point in points.items()}
    for number, name in enumerate(sorted(named, key=lambda name: places[name])):
        above = number % 2 == 0
        axes.annotate(
            named[name],
            places[name],
            (-5, 5) if above else (5, -5),
            textcoords="offset points",
            horizontalalignment="right" if above else "left",
            verticalalignment="bottom" if above else "top",
            fontsize=7,
        )
    for ticks in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        ticks(FuncFormatter(lambda milliseconds, _: _tick(milliseconds)))
    axes.grid(alpha=0.3)
    axes.legend(title=title, fontsize=8, loc="lower right")
    with replacing(path) as beside:
        figure.savefig(beside, dpi=150)


def _tick(value: float) -> str:
    """Write 1, 2 and 5 and their tens on an axis of powers, and nothing between them."""
    first = round(value / 10 ** math.floor(math.log10(value) + 1e-9))
    return f"{value:g}" if first in (1, 2, 5) else ""


def frontier(points: Mapping[str, Point]) -> list[str]:
    """Name those that none is both faster and more accurate than, from the fastest on."""
    best: list[str] = []
    for name in sorted(points, key=lambda name: (points[name][0], -points[name][1])):
        if not best or points[name][1] > points[best[-1]][1]:
            best.append(name)
    return best
