"""What was measured on labelled images, as one page that a person reads."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training import environment
from training.evaluation import Answers, Metrics, Mistake
from zoo.pages import number, percent, png, render

TEMPLATES = Path(__file__).parent / "templates"
MOST_CELLS = 20  # of so many classes or fewer the matrix is a table, of more a picture
_THUMBNAIL = 192  # pixels; an image is shown at half of that on a sharp screen
_PICTURE = 480  # pixels that a confusion matrix is wide at least
_LIGHT, _DARK = np.array([255, 255, 255]), np.array([20, 45, 110])


@dataclass(frozen=True)
class Bar:
    """The accuracy on one class, to be drawn.

    Args:
        name: The class.
        count: How many images there are of it.
        accuracy: The share of them that was classified correctly; None where there are none.
        interval: Its 95 % interval.
    """

    name: str
    count: int
    accuracy: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Thumbnail:
    """A wrongly classified image, to be shown.

    Args:
        image: A PNG as a data URI.
        mistake: What was wrong.
    """

    image: str
    mistake: Mistake


def page(name: str, dataset: str, answers: Answers) -> str:
    """Write a page: accuracy, confusion matrix, each class, the most confident mistakes.

    Args:
        name: What to call the model.
        dataset: What its images are called.
        answers: From `training.evaluation.answers`.

    Returns:
        HTML that asks for nothing from anywhere else.

    Example:
        >>> found = answers(zoo.load_model("resnet20.digits"), data)
        >>> zoo.files.write_text("report.html", page("resnet20.digits", "digits", found))
    """
    metrics = answers.metrics()
    few = len(answers.labels) <= MOST_CELLS
    return render(
        TEMPLATES,
        "evaluation.html.j2",
        name=name,
        dataset=dataset,
        metrics=metrics,
        numbers=_numbers(metrics),
        labels=answers.labels,
        cells=_shares(metrics) if few else (),
        picture="" if few else png(_matrix(metrics)),
        confusions=metrics.confusions(),
        bars=_bars(metrics),
        thumbnails=[
            Thumbnail(png(answers.split.images[mistake.position], longest=_THUMBNAIL), mistake)
            for mistake in answers.mistakes()
        ],
        made=[
            ("Made", f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"),
            ("Hardware", environment.hardware()),
        ],
        versions=environment.versions(),
    )


def _numbers(metrics: Metrics) -> list[tuple[str, str, str]]:
    """Choose the numbers that stand on top."""
    low, high = metrics.interval
    measured = [bar for bar in _bars(metrics) if bar.accuracy is not None]
    by_views = f", by {metrics.views} views of each image" if metrics.views > 1 else ""
    worst = min(measured, key=lambda bar: bar.accuracy or 0.0)
    return [
        (
            "Accuracy",
            percent(metrics.accuracy),
            f"95 % interval {percent(low)} to {percent(high)}{by_views}",
        ),
        ("Images", number(metrics.count), f"{number(metrics.count - metrics.correct)} wrong"),
        ("Loss", f"{metrics.loss:.4f}", "mean cross-entropy, in nats"),
        ("Hardest class", percent(worst.accuracy or 0.0), worst.name),
    ]


def _shares(metrics: Metrics) -> list[list[tuple[int, float]]]:
    """Return each cell of the matrix: the count, and its share of the row."""
    totals = [sum(row) for row in metrics.confusion]
    return [
        [(cell, cell / total if total else 0.0) for cell in row]
        for row, total in zip(metrics.confusion, totals, strict=True)
    ]


def _matrix(metrics: Metrics) -> np.ndarray:
    """Draw the matrix: a square for each cell, the darker the larger its share of the row."""
    confusion = np.asarray(metrics.confusion, np.float64)
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    # The square root lets rare confusions be seen beside a strong diagonal.
    strength = np.sqrt(shares)[..., None]
    pixels = np.rint(_LIGHT + strength * (_DARK - _LIGHT)).astype(np.uint8)
    scale = max(1, -(-_PICTURE // len(pixels)))
    return pixels.repeat(scale, axis=0).repeat(scale, axis=1)


def _bars(metrics: Metrics) -> Sequence[Bar]:
    """Collect what is drawn of each class."""
    return [
        Bar(name, sum(row), accuracy, metrics.per_class_intervals[name])
        for (name, accuracy), row in zip(metrics.per_class.items(), metrics.confusion, strict=True)
    ]
