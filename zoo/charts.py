"""Line charts as numbers that a template draws: paths, ticks and labels in a fixed box."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# The box is about as wide as a phone, so that its text is drawn at its own size there.
WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 10, 30
_MOST_TICKS = 8  # of so few different values on a logarithmic axis each one is told
# What stands before loss and accuracy in a column of a history, and which line that is.
SERIES = {"": "train", "val_": "held out", "test_": "test"}


@dataclass(frozen=True)
class Tick:
    """A value on an axis: where it is drawn, and what is written there."""

    position: float
    label: str


@dataclass(frozen=True)
class Line:
    """One series: its name, its path, and each point with the words to tell it by."""

    name: str
    path: str
    points: tuple[tuple[float, float, str], ...]
    last: str


@dataclass(frozen=True)
class Chart:
    """A line chart, laid out.

    Args:
        title: What is drawn.
        x_label: What the horizontal axis counts.
        lines: The series.
        x_ticks: The horizontal axis.
        y_ticks: The vertical axis.
        summary: One sentence for readers who do not see it.
    """

    title: str
    x_label: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    summary: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


def chart(
    title: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    x_label: str,
    percent: bool = False,
    log_x: bool = False,
    log_y: bool = False,
) -> Chart:
    """Lay out a line chart.

    Args:
        title: What is drawn.
        series: The points of each line, (x, y), by the line's name; none is empty.
        x_label: What the horizontal axis counts.
        percent: Whether the values are fractions to be told in percent.
        log_x: Whether equal factors on the horizontal axis are equally far apart; all x are
            above 0 then.
        log_y: The same of the vertical axis.

    Returns:
        The chart.

    Example:
        >>> chart("Loss", {"train": [(1, 2.3), (2, 1.1)]}, x_label="epoch")
    """
    x_values = [x for points in series.values() for x, _ in points]
    y_values = [y for points in series.values() for _, y in points]
    x_range = (min(x_values), max(x_values))
    if log_x:
        across = sorted(set(x_values)) if len(set(x_values)) <= _MOST_TICKS else powers(*x_range)
    else:
        across = ticks(*x_range, whole=all(float(x).is_integer() for x in x_values))
    up = powers(min(y_values), max(y_values)) if log_y else ticks(min(y_values), max(y_values))
    y_range = (up[0], up[-1])

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            _between(x, x_range, LEFT, WIDTH - RIGHT, log=log_x),
            _between(y, y_range, HEIGHT - BOTTOM, TOP, log=log_y),
        )

    step = up[1] - up[0]
    lines = tuple(_line(name, points, place, percent) for name, points in series.items())
    return Chart(
        title=title,
        x_label=x_label,
        lines=lines,
        x_ticks=tuple(
            Tick(place(x, y_range[0])[0], f"{x:g}") for x in across if x_range[0] <= x <= x_range[1]
        ),
        y_ticks=tuple(
            Tick(place(x_range[0], y)[1], f"{y:.0e}" if log_y else _tick_label(y, step, percent))
            for y in up
        ),
        summary=f"{title}: " + "; ".join(f"{line.name} ends at {line.last}" for line in lines),
    )


def learning_curves(history: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Lay out the curves of a training: one chart for the losses, one for the accuracies.

    Args:
        history: One row per epoch, with ``epoch`` and columns that end in ``loss`` and
            ``accuracy``.

    Returns:
        The charts for which there are values.
    """
    kinds = (("Loss", "loss", False), ("Accuracy", "accuracy", True))
    return [
        chart(title, series, x_label="epoch", percent=percent)
        for title, ending, percent in kinds
        if (series := learning_series(history, ending))
    ]


def learning_series(
    history: Sequence[Mapping[str, Any]], ending: str
) -> dict[str, list[tuple[float, float]]]:
    """Collect the columns of a history whose name has an ending.

    Args:
        history: One row per epoch.
        ending: Such as ``loss``, also of ``val_loss``; the whole name of a single column.

    Returns:
        The finite points of each line, (epoch, value), by the line's name; none is empty.
    """
    columns = dict.fromkeys(key for row in history for key in row if key.endswith(ending))
    series = {}
    for column in columns:
        points = [
            (float(row["epoch"]), float(row[column]))
            for row in history
            if row.get(column) is not None and math.isfinite(row[column])
        ]
        if points:
            series[SERIES.get(column.removesuffix(ending), column)] = points
    return series


def ticks(low: float, high: float, *, whole: bool = False, most: int = 5) -> list[float]:
    """Choose round values that span a range.

    Args:
        low: The smallest value.
        high: The largest value.
        whole: Whether steps below 1 make no sense, as for epochs.
        most: About how many steps there shall be.

    Returns:
        At least two values in equal steps, the first not above ``low``, the last not below
        ``high``.
    """
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / most))
    step = power * next(factor for factor in (1, 2, 5, 10) if power * factor >= span / most)
    if whole:
        step = max(1.0, round(step))
    # A value that is a whole number of steps but for rounding is not moved to the next one.
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * number for number in range(first, max(last, first + 1) + 1)]


def powers(low: float, high: float, *, most: int = 6) -> list[float]:
    """Choose powers of ten that span a range.

    Args:
        low: The smallest value, above 0.
        high: The largest value.
        most: About how many steps there shall be.

    Returns:
        At least two powers, the first not above ``low``, the last not below ``high``.
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    step = max(1, math.ceil((last - first) / most))
    return [10.0**power for power in range(first, max(last, first + 1) + step, step)]


def _between(
    value: float, source: tuple[float, float], start: float, end: float, *, log: bool = False
) -> float:
    """Map a value from a range of values to a range of the box; halfway if all agree."""
    low, high = source
    if log:
        value, low, high = math.log(value), math.log(low), math.log(high)
    share = (value - low) / (high - low) if high > low else 0.5
    return round(start + share * (end - start), 1)


def _line(
    name: str,
    points: Sequence[tuple[float, float]],
    place: Callable[[float, float], tuple[float, float]],
    percent: bool,
) -> Line:
    """Lay out one series."""
    placed = [(*place(x, y), f"{name} at {x:g}: {_value(y, percent)}") for x, y in points]
    path = "M" + " L".join(f"{x:g} {y:g}" for x, y, _ in placed)
    return Line(name, path, tuple(placed), _value(points[-1][1], percent))


def _value(value: float, percent: bool) -> str:
    """Write a value of a series."""
    return f"{100 * value:.2f} %" if percent else f"{value:.4g}"


def _tick_label(value: float, step: float, percent: bool) -> str:
    """Write a value of the vertical axis with as many decimals as its steps need."""
    if percent:
        value, step = value * 100, step * 100
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    small = abs(step) < 1e-4
    text = f"{value:.1e}" if small and value else f"{value:.{0 if small else decimals}f}"
    return f"{text} %" if percent else text
