"""The same model in several formats, side by side: latency, throughput and memory.

Within a round all formats take turns in one process; see `export.formats`.
"""

import importlib.metadata
import importlib.util
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from export.fed_images import check_fits, for_file
from export.formats import Candidate, alone, peak, turns
from export.latency import ratios
from export.prediction import is_onnx
from export.sources import source
from zoo.charts import Chart, chart
from zoo.errors import InputError
from zoo.files import replacing_folder, write_json, write_text
from zoo.hardware import processor
from zoo.pages import number

Progress = Callable[[str, int, int], None]

FORMATS = ("keras", "folded", "fp32", "fp16", "int8", "openvino")
DEFAULT_FORMATS = ("keras", "folded", "fp32", "int8", "openvino")
JSON_FILE, PAGE_FILE = "bench.json", "bench.html"
_PACKAGES = ("keras", "tensorflow", "onnxruntime", "openvino")
_CALIBRATING = 32


@dataclass(frozen=True)
class Row:
    """One format of one model, at one batch size and number of threads.

    Args:
        model: The model's name; what was given, where several have the same.
        format: The format.
        batch: Images in a call.
        threads: Within an operation.
        median_ms: Half of the calls took no longer, in milliseconds.
        p99_ms: 99 % of the calls took no longer.
        images_per_second: By the median.
        ratio: Its time over that of the first row with this batch and number of threads.
        ratio_low: The lower quartile of that over the rounds.
        ratio_high: The upper quartile.
        calls: How many calls were timed.
        file_mb: The size of its file, in 10^6 bytes.
        peak_mb: The largest memory of a process that loads it and runs the largest batch, in 2^20
            bytes; None where the system does not tell.
    """

    model: str
    format: str
    batch: int
    threads: int
    median_ms: float
    p99_ms: float
    images_per_second: float
    ratio: float
    ratio_low: float
    ratio_high: float
    calls: int
    file_mb: float
    peak_mb: float | None


@dataclass(frozen=True)
class Benchmark:
    """All rows, and what they were measured with.

    Args:
        rows: In the order of threads, batch sizes, models and formats.
        skipped: What was left out, and why, in one line each.
        environment: The processor, the versions, the rounds, and the load before.
    """

    rows: tuple[Row, ...]
    skipped: tuple[str, ...]
    environment: Mapping[str, Any]

    @property
    def charts(self) -> list[Chart]:
        """Throughput against batch size, one chart for each model and number of threads."""
        keys = dict.fromkeys((row.model, row.threads) for row in self.rows)
        return [self._chart(*key) for key in keys]

    def _chart(self, model: str, threads: int) -> Chart:
        series: dict[str, list[tuple[float, float]]] = {}
        for row in self.rows:
            if (row.model, row.threads) == (model, threads):
                series.setdefault(row.format, []).append((row.batch, row.images_per_second))
        words = f"{threads} thread{'s' * (threads > 1)}"
        return chart(f"{model}: images per second, {words}", series, x_label="batch size")

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values that JSON can hold."""
        return {
            "environment": dict(self.environment),
            "rows": [asdict(row) for row in self.rows],
            "skipped": list(self.skipped),
        }

    def write(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``bench.json`` and ``bench.html`` into a folder, which appears whole.

        Args:
            folder: A new folder, an empty one, or one that holds an older benchmark alone.

        Returns:
            The folder.

        Raises:
            InputError: It holds anything else, or cannot be written.
        """
        from export.report import render

        folder = Path(folder)
        check_folder(folder)
        with replacing_folder(folder) as beside:
            write_json(beside / JSON_FILE, self.to_dict())
            write_text(
                beside / PAGE_FILE, render("bench.html.j2", bench=self, header=HEADER, cells=cells)
            )
        return folder


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds anything but an older benchmark."""
    inside = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    others = inside - {JSON_FILE, PAGE_FILE}
    if others:
        raise InputError(
            f"cannot write {folder}: it holds {min(others)}, which is no part of a benchmark; "
            "accepted is a new or an empty folder"
        )


def bench(
    models: Sequence[str],
    *,
    formats: Sequence[str] = DEFAULT_FORMATS,
    batches: Sequence[int] = (1, 8),
    threads: Sequence[int] = (1, 2),
    images: np.ndarray | None = None,
    rounds: int = 10,
    seconds: float = 0.3,
    progress: Progress | None = None,
) -> Benchmark:
    """Measure models in several formats, side by side.

    Args:
        models: Pretrained weights by name, ``.keras`` files, and ``.onnx`` files, which are
            measured as they are.
        formats: ``keras`` as it was trained, ``folded`` Keras, ONNX ``fp32``, ``fp16``, ``int8``,
            and ``openvino``, which reads the fp32 file.
        batches: Images in a call.
        threads: Within an operation.
        images: Preprocessed images to measure with and to calibrate int8; without them random
            ones, which are good enough for times.
        rounds: How many turns each has.
        seconds: How long a turn is.
        progress: Called with what is done, how many steps are done, and how many there are.

    Returns:
        The rows; the first format of the first model is what ratios are to.

    Raises:
        InputError: A name, a format or a number is not accepted.
        ExportError: A model cannot be exported.

    Example:
        >>> export.bench(["resnet20.digits"], formats=["fp32", "int8"]).rows[1].ratio
    """
    _check(models, formats, batches=batches, threads=threads, rounds=[rounds])
    told = progress or (lambda what, done, total: None)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    skipped: list[str] = []
    if "openvino" in formats and importlib.util.find_spec("openvino") is None:
        skipped.append("openvino: not installed; pip install 'foldzoo[openvino]' installs it")
        formats = [name for name in formats if name != "openvino"]
    with tempfile.TemporaryDirectory() as folder:
        made = []
        for done, model in enumerate(models):
            told(f"exporting {model}", done, len(models))
            place = Path(folder, str(done))
            place.mkdir()
            made.append(_candidates(model, formats, images, max(batches), place))
        candidates = _distinct(models, made)
        if not candidates:
            raise InputError(f"nothing is left to measure: {'; '.join(skipped)}")
        total = len(candidates) + len(threads)
        peaks = {}
        for done, one in enumerate(candidates):
            told(f"memory of {one.name}", done, total)
            peaks[one.name] = alone(peak, one, max(batches), max(threads))
        rows: list[Row] = []
        for done, count in enumerate(threads):
            told(f"{count} threads", len(candidates) + done, total)
            times = alone(turns, candidates, batches, count, rounds, seconds)
            for batch in batches:
                rows += _rows(candidates, times[batch], peaks, batch, count)
    return Benchmark(tuple(rows), tuple(skipped), _environment(rounds, load))


def _check(models: Sequence[str], formats: Sequence[str], **counts: Sequence[int]) -> None:
    """Refuse what cannot be measured, before the work."""
    if not models:
        raise InputError("accepted is at least one name or file")
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        received = ", ".join(unknown) or "none"
        raise InputError(f"formats: accepted are {', '.join(FORMATS)}; received {received}")
    if len({*formats}) < len(formats):
        raise InputError(f"formats: accepted is each of them once; received {', '.join(formats)}")
    for name, values in counts.items():
        if not values or any(not isinstance(value, int) or value < 1 for value in values):
            raise InputError(f"{name}: accepted are whole numbers above 0; received {list(values)}")


def _distinct(models: Sequence[str], made: Sequence[list[Candidate]]) -> list[Candidate]:
    """Join the candidates of all models, each model under a name of its own."""
    names = [of_one[0].model if of_one else "" for of_one in made]
    taken: list[str] = []
    for given, name in zip(models, names, strict=True):
        chosen = base = str(given) if names.count(name) > 1 else name
        count = 1
        while chosen in taken:
            count += 1
            chosen = f"{base} ({count})"
        taken.append(chosen)
    pairs = zip(taken, made, strict=True)
    return [replace(one, model=name) for name, of_one in pairs for one in of_one]


def _candidates(
    model: str, formats: Sequence[str], images: np.ndarray | None, batch: int, place: Path
) -> list[Candidate]:
    """Write one model in all formats."""
    if is_onnx(model):
        path = Path(model)
        fed = for_file(path, images, batch)
        return [Candidate(path.stem, "onnx", path, _stored(fed, batch, place))]
    from export.folding import fold
    from export.onnx_file import to_onnx
    from export.probes import random_inputs
    from export.quantization import once
    from zoo import keras_files

    given = source(model)
    if len(given.model.inputs) != 1:
        raise InputError(f"{model}: accepted are models with one input")
    count = max(batch, _CALIBRATING)
    if images is None:
        images = random_inputs(given.model, count)[0]
    check_fits(model, given.model.inputs[0].shape[1:], images)
    pictures = _stored(images.astype(np.float32), count, place)
    folded = fold(given.model)
    files = {"keras": place / "keras.keras", "folded": place / "folded.keras"}
    keras_files.save(given.model, files["keras"])
    keras_files.save(folded.model, files["folded"])
    files["fp32"] = files["openvino"] = to_onnx(folded, place / "fp32.onnx")
    for precision in ("fp16", "int8"):
        if precision in formats:
            out = place / f"{precision}.onnx"
            files[precision] = once(
                files["fp32"], out, np.load(pictures)[:_CALIBRATING], precision=precision
            )
    return [Candidate(given.name, name, files[name], pictures) for name in formats]


def _stored(images: np.ndarray, count: int, place: Path) -> Path:
    """Store some images, repeated where there are too few, for other processes."""
    path = place / "images.npy"
    np.save(path, np.resize(images, (count, *images.shape[1:])))
    return path


def _rows(
    candidates: Sequence[Candidate],
    times: Mapping[str, list[list[float]]],
    peaks: Mapping[str, float | None],
    batch: int,
    threads: int,
) -> list[Row]:
    """Make the rows of one batch size and number of threads."""
    rows = []
    for one in candidates:
        all_times = np.concatenate(times[one.name])
        ratio = ratios(times[one.name], times[candidates[0].name])
        median = float(np.median(all_times))
        rows.append(
            Row(
                model=one.model,
                format=one.format,
                batch=batch,
                threads=threads,
                median_ms=median,
                p99_ms=float(np.percentile(all_times, 99)),
                images_per_second=1000 * batch / median,
                ratio=float(np.median(ratio)),
                ratio_low=float(np.quantile(ratio, 0.25)),
                ratio_high=float(np.quantile(ratio, 0.75)),
                calls=len(all_times),
                file_mb=one.path.stat().st_size / 1e6,
                peak_mb=peaks[one.name],
            )
        )
    return rows


def _environment(rounds: int, load: float | None) -> dict[str, Any]:
    """Tell what decides the times."""
    versions = {
        name: importlib.metadata.version(name)
        for name in _PACKAGES
        if importlib.util.find_spec(name) is not None
    }
    return {"processor": processor(), "rounds": rounds, "load": load, "versions": versions}


def cells(row: Row) -> tuple[str, ...]:
    """Write a row for a table: see `HEADER`."""
    return (
        row.model,
        row.format,
        str(row.threads),
        str(row.batch),
        f"{row.median_ms:.3g}",
        f"{row.p99_ms:.3g}",
        number(round(row.images_per_second, 1)),
        f"{row.ratio:.2f} ({row.ratio_low:.2f} to {row.ratio_high:.2f})",
        f"{row.file_mb:.3g}",
        "" if row.peak_mb is None else f"{row.peak_mb:.0f}",
    )


HEADER = (
    *("model", "format", "threads", "batch", "median, ms", "p99, ms", "images/s"),
    *("time / first (middle half)", "file, MB", "peak, MiB"),
)
