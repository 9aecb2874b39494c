"""A picture of accuracy against latency."""

from collections.abc import Collection, Mapping
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
    named: Collection[str],
) -> None:
    """Draw points, a colour and a marker for each group.

    Args:
        groups: Of each group its points by name: milliseconds and percent.
        path: The PNG file.
        title: What the groups are.
        y_label: Which accuracy it is.
        named: The points whose names are written beside them.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for number, (group, points) in enumerate(groups.items()):
        axes.scatter(
            *zip(*points.values(), strict=True),
            label=group,
            color=f"C{number % COLOURS}",
            marker=MARKERS[number // COLOURS],
        )
        for name in points.keys() & {*named}:
            axes.annotate(
                name.partition(".")[0],
                points[name],
                (4, 4),
                textcoords="offset points",
                fontsize=8,
            )
    axes.set(xscale="log", xlabel="latency of one image, ms", ylabel=y_label)
    axes.margins(x=0.15)  # room for names
    for ticks in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        ticks(FuncFormatter(lambda milliseconds, _: f"{milliseconds:g}"))
    axes.grid(alpha=0.3)
    axes.legend(title=title, fontsize=8)
    with replacing(path) as beside:
        figure.savefig(beside, dpi=150)


def frontier(points: Mapping[str, Point]) -> list[str]:
    """Name those that none is both faster and more accurate than, from the fastest on."""
    best: list[str] = []
    for name in sorted(points, key=lambda name: (points[name][0], -points[name][1])):
        if not best or points[name][1] > points[best[-1]][1]:
            best.append(name)
    return best
