"""What a bundle says of itself: one record, as JSON and as one self-contained page."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from export.checks import Check, Verdict
from zoo import pages
from zoo.charts import Chart, learning_curves
from zoo.files import write_json, write_text
from zoo.pages import png

FORMAT = "foldzoo.report/1"
TEMPLATE = "report.html.j2"
REPORT_FILE = "report.json"
PAGE_FILE = "report.html"
HUGE_SCALE = 100  # a BatchNorm's scale of this or more is marked; the page says why


@dataclass(frozen=True)
class Accuracy:
    """The share of images of one split that each form of the model gets right."""

    images: int
    trained: float
    folded: float
    onnx: float


@dataclass(frozen=True)
class Sample:
    """One test image, and the most probable classes according to the ONNX file.

    Args:
        image: A PNG as a data URI.
        label: What it shows.
        predictions: (class, probability), the most probable one first.
        correct: Whether the first one is the label.
    """

    image: str
    label: str
    predictions: tuple[tuple[str, float], ...]
    correct: bool


@dataclass(frozen=True)
class Report:
    """Everything that is known of a bundle; the page shows this and nothing else.

    Args:
        name: What was exported, for example ``resnet20.digits``.
        target: What it was exported for.
        precision: The number format of the file.
        created: When, in ISO 8601.
        source: The model it came from: its policy, number of parameters and hash.
        fold: What became of each BatchNorm, as `Folded.report` tells it.
        certificate: Whether the folded model is the trained one.
        validation: Whether the file computes what the folded model computes.
        differences: The largest ones, relative: ``float64`` (of folding alone), ``drift`` (of
            leaving mixed precision), and from the float64 answer ``original``, ``float32`` (the
            folded model) and ``onnx``, of which ``onnx_limit`` is accepted.
        latency: How long the file takes in onnxruntime.
        files: Name, size in bytes and SHA-256 of each file.
        versions: Of the packages that made it.
        accuracy: On the images that were passed, if any.
        samples: A few of these images.
        history: The training's history, one row per epoch, if known.
        card: The card of the weights, if there is one.
        seconds: How long each stage took.
        quantization: How a file of fewer bits was made of the validated one, as
            `Quantized.to_dict` tells it.
    """

    name: str
    target: str
    precision: str
    created: str
    source: Mapping[str, Any]
    fold: Mapping[str, Any]
    certificate: Verdict
    validation: Verdict
    differences: Mapping[str, float]
    latency: Mapping[str, Any]
    files: Sequence[Mapping[str, Any]]
    versions: Mapping[str, str]
    accuracy: Accuracy | None = None
    samples: Sequence[Sample] = ()
    history: Sequence[Mapping[str, Any]] = ()
    card: Mapping[str, Any] | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    quantization: Mapping[str, Any] | None = None

    @property
    def ok(self) -> bool:
        """Whether every check holds, of the fold and of the file."""
        smaller = self.quantization is None or self.quantization["verdict"]["ok"]
        return self.certificate.ok and self.validation.ok and smaller

    @property
    def checks(self) -> tuple[Check, ...]:
        """Every check, of the fold and of the file."""
        return (*self.certificate.checks, *self.validation.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that do not hold."""
        return (*self.certificate.failed, *self.validation.failed)

    @property
    def timings(self) -> list[tuple[str, str]]:
        """Each stage with its seconds, as the page shows them."""
        return [(stage, f"{seconds:.1f}") for stage, seconds in self.seconds.items()]

    @property
    def charts(self) -> list[Chart]:
        """The learning curves: one chart for the losses, one for the accuracies."""
        return learning_curves(self.history)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values that JSON can hold: no NaN, no arrays."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values["certificate"] = self.certificate.to_dict()
        values["validation"] = self.validation.to_dict()
        values["accuracy"] = None if self.accuracy is None else asdict(self.accuracy)
        values["samples"] = [asdict(sample) for sample in self.samples]
        return _plain({"format": FORMAT, "ok": self.ok, **values})

    def to_html(self) -> str:
        """Return the report as one page that asks for nothing from anywhere else."""
        return render(TEMPLATE, report=self)

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write ``report.json`` and ``report.html`` into a folder.

        Args:
            folder: The folder.

        Raises:
            InputError: The place cannot be written, or is full.
        """
        write_json(Path(folder) / REPORT_FILE, self.to_dict())
        write_text(Path(folder) / PAGE_FILE, self.to_html())


def render(template: str, **values: Any) -> str:
    """Fill in one of our pages.

    Args:
        template: Its file's name.
        **values: What the template asks for.

    Returns:
        The page. Words from outside are escaped.
    """
    return pages.render(
        Path(__file__).parent / "templates", template, huge_scale=HUGE_SCALE, **values
    )


def choose(truth: np.ndarray, predicted: np.ndarray, *, most: int = 9) -> np.ndarray:
    """Choose a few images to show: some that are got wrong, then one of each class.

    Args:
        truth: The true class of each image, (number,).
        predicted: The predicted one.
        most: How many to choose; at most a third of them are wrong ones.

    Returns:
        The images' positions.
    """
    wrong = np.flatnonzero(predicted != truth)[: most // 3]
    right = np.flatnonzero(predicted == truth)
    one_of_each = right[np.sort(np.unique(truth[right], return_index=True)[1])]
    others = np.setdiff1d(right, one_of_each)
    return np.concatenate([wrong, one_of_each, others])[:most]


def sample(
    pixels: np.ndarray,
    truth: int,
    probabilities: np.ndarray,
    *,
    labels: Sequence[str],
    top: int = 3,
) -> Sample:
    """Make what the page shows of one image.

    Args:
        pixels: uint8, (height, width, channels); 1 or 3 channels.
        truth: Its true class.
        probabilities: Of each class, (classes,).
        labels: The classes' names.
        top: How many predictions to tell.

    Returns:
        The sample.
    """
    order = np.argsort(-probabilities, kind="stable")[:top]
    return Sample(
        image=png(pixels),
        label=labels[truth],
        predictions=tuple((labels[index], float(probabilities[index])) for index in order),
        correct=bool(order[0] == truth),
    )


def _plain(value: Any) -> Any:
    """Turn a value into what JSON can hold; a number that is not finite becomes None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
