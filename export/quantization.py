"""From a float ONNX file to one of 8-bit integers or 16-bit floats, chosen by measured accuracy."""

import importlib.metadata
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export import onnx_metadata
from export.calibration import CALIBRATORS, check_balance, check_images, divide
from export.checks import Verdict
from export.comparison import Comparison
from export.errors import ExportError
from export.int8 import CPUS
from export.labelled import Data
from export.trials import Maker, Measure, Progress, Search, Settings, Trial
from zoo.errors import InputError, nearest
from zoo.files import replacing, sha256
from zoo.hardware import cpu_kind

if TYPE_CHECKING:
    import onnx

PRECISIONS = ("fp16", "int8")
LIMIT = 0.5  # points of accuracy
CALIBRATING = 128  # images
CHOOSING = 512  # images; one of them is 0.2 points


@dataclass(frozen=True)
class Quantized:
    """A file of fewer bits, and how it was chosen.

    Args:
        path: The file.
        precision: ``int8`` or ``fp16``.
        cpu: For which processor its integers are; empty for fp16.
        accuracy_limit: How many points of accuracy it may lose.
        chosen: The way that was taken.
        tried: Every way that was tried, in that order.
        reported: The file beside the float file on the test images, which chose nothing; None
            where none were given.
        verdict: Whether the file is sound and within its limit.
    """

    path: Path
    precision: str
    cpu: str
    accuracy_limit: float
    chosen: Trial
    tried: tuple[Trial, ...]
    reported: Comparison | None
    verdict: Verdict

    @property
    def ok(self) -> bool:
        """Whether every check holds."""
        return self.verdict.ok

    def to_dict(self) -> dict[str, Any]:
        """Return all of it but the path as plain values that JSON can hold."""
        return {
            "precision": self.precision,
            "cpu": self.cpu,
            "accuracy_limit": self.accuracy_limit,
            "chosen": self.chosen.to_dict(),
            "tried": [trial.to_dict() for trial in self.tried],
            "reported": None if self.reported is None else asdict(self.reported),
            "verdict": self.verdict.to_dict(),
        }


class QuantizationError(ExportError):
    """A quantization that was given up, since nothing that was tried is good enough.

    Args:
        message: What failed, in one line.
        tried: What was tried.
    """

    def __init__(self, message: str, tried: Sequence[Trial]) -> None:
        super().__init__(message)
        self.tried = tuple(tried)


def quantize(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    calibration: np.ndarray | Data,
    test: Data | None = None,
    precision: str = "int8",
    accuracy_limit: float = LIMIT,
    calibrating_images: int = CALIBRATING,
    choosing_images: int = CHOOSING,
    cpu: str | None = None,
    calibrators: Sequence[str] = tuple(CALIBRATORS),
    per_channel: bool | None = None,
    keep_float: Sequence[str] = (),
    progress: Progress | None = None,
) -> Quantized:
    """Write a classifier's ONNX file in 8-bit integers or 16-bit floats, as accurate as asked.

    Some of the images calibrate, others choose: the calibrator, one scale for a weight or one for
    each of its channels, and, where no way of quantizing everything is good enough, which layers
    stay in float32, those first that change the logits most. What chooses never reports: for the
    accuracy of what was chosen there are the test images.

    The file keeps the float file's inputs, outputs, symbolic batch and metadata. Equal arguments
    make equal bytes. It is written beside its final name and gets that only if every check holds.

    Args:
        path: The float file, of a classifier with one image as its input and logits as its first
            output.
        out: The file to write; its name must end in ``.onnx``.
        calibration: Preprocessed training images, float32, (count, height, width, channels), and
            the index of each one's class where it is known. Without classes, what counts as lost
            is the share of images that change class.
        test: Preprocessed test images and their classes.
        precision: ``int8`` or ``fp16``.
        accuracy_limit: How many points of accuracy it may lose, on the images that choose and on
            the test images each.
        calibrating_images: How many images calibrate, at most half of them.
        choosing_images: How many of the others choose, at most.
        cpu: The processor that int8 is for: ``x86-vnni``, ``x86`` (without VNNI: weights of 7
            bits) or ``arm``; None for this one. For this one accuracy is measured as its integer
            kernels compute; for another, as exact arithmetic would.
        calibrators: Which ones to try, of ``minmax``, ``percentile``, ``entropy``.
        per_channel: Whether each channel of a weight has its own scale; None to try both.
        keep_float: Patterns of nodes' names that stay in float32 in any case: ``stem_*``.
        progress: Called with what is done, how many steps are done, and how many there may be.

    Returns:
        The file, what was tried, and the verdict.

    Raises:
        InputError: An argument is not accepted.
        ExportError: No way is within the limit, or a check fails; no file is written.

    Example:
        >>> made = export.quantize("model.onnx", "int8.onnx", calibration=(images, labels))
        >>> made.chosen.settings.calibrator
        'minmax'

    Reference:
        Jacob et al. 2018, https://arxiv.org/abs/1712.05877; Krishnamoorthi 2018 (per channel),
        https://arxiv.org/abs/1806.08342; Wu et al. 2020 (layers left in float, chosen by their
        sensitivity), https://arxiv.org/abs/2004.09602
    """
    from export.quantized_checks import judge

    path, out = Path(path), Path(out)
    cpu = cpu or cpu_kind()
    _check_files(path, out)
    _check_options(precision, cpu, calibrators)
    check_numbers(
        accuracy_limit, calibrating_images=calibrating_images, choosing_images=choosing_images
    )
    proto = onnx_metadata.load(path)
    metadata = onnx_metadata.metadata_of(proto, path)
    images, labels = _parted(calibration)
    shape, classes = _interface(proto, metadata)
    check_images("calibration", images, labels, shape, classes)
    if test is not None:
        check_images("test", *_parted(test), shape, classes)
    if labels is not None:
        check_balance(labels, classes)
    calibrating, pictures, truth = divide(images, labels, calibrating_images, choosing_images)
    nchw = metadata.get("layout") == "NCHW"
    level = "all" if precision == "fp16" or cpu == cpu_kind() else "off"
    with replacing(out) as beside, tempfile.TemporaryDirectory() as folder:
        maker = Maker(path, proto, Path(folder), precision, cpu, images=calibrating, nchw=nchw)
        kept = maker.matching(keep_float)
        measure = Measure(proto, pictures, truth, level=level, nchw=nchw, limit=accuracy_limit)
        search = Search(maker, measure, kept, progress or (lambda what, done, total: None))
        granularities = (True, False) if per_channel is None else (per_channel,)
        chosen = search.run(calibrators, granularities)
        if not chosen.ok:
            raise QuantizationError(
                f"{path.name}: no {precision} file within {accuracy_limit:g} points; the best of "
                f"{len(search.tried)} tried ({chosen.settings}): {chosen.comparison.interval}",
                search.tried,
            )
        made = _finished(maker, chosen.settings, accuracy_limit)
        verdict, reported = judge(
            made, proto, (pictures, truth), test, level=level, limit=accuracy_limit
        )
        if not verdict.ok:
            raise QuantizationError(
                f"{path.name}: the {precision} file fails: {verdict.why()}", search.tried
            )
        beside.write_bytes(made.SerializeToString(deterministic=True))
    return Quantized(
        out,
        precision,
        cpu if precision == "int8" else "",
        accuracy_limit,
        chosen,
        tuple(search.tried),
        reported,
        verdict,
    )


def once(
    path: Path, out: Path, images: np.ndarray, *, precision: str, cpu: str | None = None
) -> Path:
    """Write a file of fewer bits without choosing or judging, to measure its speed.

    Args:
        path: The float file.
        out: The file to write.
        images: What to calibrate with; see `quantize`.
        precision: ``int8`` or ``fp16``.
        cpu: See `quantize`.

    Returns:
        The file.
    """
    proto = onnx_metadata.load(path)
    nchw = onnx_metadata.metadata_of(proto, path).get("layout") == "NCHW"
    cpu = cpu or cpu_kind()
    settings = Settings("minmax", per_channel=True) if precision == "int8" else Settings()
    with replacing(out) as beside, tempfile.TemporaryDirectory() as folder:
        maker = Maker(path, proto, Path(folder), precision, cpu, images=images, nchw=nchw)
        made = _finished(maker, settings, accuracy_limit=100)
        beside.write_bytes(made.SerializeToString(deterministic=True))
    return out


def _parted(data: np.ndarray | Data) -> tuple[np.ndarray, np.ndarray | None]:
    """Separate images and labels, if there are any."""
    if isinstance(data, np.ndarray):
        return data, None
    images, labels = data
    return np.asarray(images), np.asarray(labels)


def _check_files(path: Path, out: Path) -> None:
    """Refuse a place that is none for the file."""
    if out.suffix != ".onnx" or out.resolve() == path.resolve():
        raise InputError(f"out: accepted is another file name that ends in .onnx; received {out}")


def _check_options(precision: str, cpu: str, calibrators: Sequence[str]) -> None:
    """Refuse what can be refused before reading the file."""
    if precision not in PRECISIONS:
        raise InputError(f"precision: {nearest(precision, PRECISIONS)}; received {precision!r}")
    if cpu not in CPUS:
        raise InputError(f"cpu: {nearest(cpu, CPUS)}; received {cpu!r}")
    unknown = [name for name in calibrators if name not in CALIBRATORS]
    if unknown or not calibrators:
        received = ", ".join(unknown) or "none"
        raise InputError(f"calibrators: accepted are {', '.join(CALIBRATORS)}; received {received}")


def check_numbers(accuracy_limit: float, **counts: int) -> None:
    """Refuse numbers out of their range, before any work.

    Args:
        accuracy_limit: How many points of accuracy may be lost.
        **counts: Numbers of images, by the argument's name.

    Raises:
        InputError: One is out of its range.
    """
    if not isinstance(accuracy_limit, int | float) or not 0 <= accuracy_limit <= 100:
        raise InputError(f"accuracy_limit: accepted are 0 to 100; received {accuracy_limit}")
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise InputError(f"{name}: accepted is a whole number above 0; received {count!r}")


def _interface(proto: "onnx.ModelProto", metadata: dict[str, Any]) -> tuple[list[Any], int]:
    """Tell a classifier's input without the batch, channels last, and its number of logits."""
    constants = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in constants]
    sizes = [
        [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*inputs, *proto.graph.output)
    ]
    if "quantization" in metadata:
        raise InputError("accepted is a float file; received one that was quantized already")
    if len(inputs) != 1 or len(sizes[1]) != 2 or not isinstance(sizes[1][1], int):
        raise InputError(
            "accepted is a classifier with one input and one row of logits per image; received "
            f"{len(inputs)} inputs and outputs of shapes {sizes[len(inputs) :]}"
        )
    shape = sizes[0][1:]
    if metadata.get("layout") == "NCHW":
        shape = [*shape[1:], shape[0]]
    return shape, sizes[1][1]


def _finished(maker: Maker, settings: Settings, accuracy_limit: float) -> "onnx.ModelProto":
    """Make a file with all that its float file says of itself, and how it was made of that."""
    import onnx

    made, proto = maker.make(settings), maker.proto
    facts: dict[str, Any] = {
        "precision": maker.precision,
        "float_sha256": sha256(maker.path),
        "accuracy_limit": accuracy_limit,
        "float_layers": list(settings.float_layers),
        "onnxruntime": importlib.metadata.version("onnxruntime"),
    }
    if maker.precision == "int8":
        facts |= {
            "cpu": maker.cpu,
            "calibrator": settings.calibrator,
            "per_channel": settings.per_channel,
            "calibrating_images": len(maker.images),
        }
    said = {entry.key: entry.value for entry in proto.metadata_props}
    said[f"{onnx_metadata.PREFIX}quantization"] = json.dumps(facts)
    onnx.helper.set_model_props(made, said)
    made.producer_name, made.producer_version = proto.producer_name, proto.producer_version
    made.graph.name = proto.graph.name
    # onnxruntime declares every set of operators that it has; a server may know fewer.
    used = {node.domain for node in made.graph.node}
    imports = [entry for entry in made.opset_import if entry.domain in used]
    del made.opset_import[:]
    made.opset_import.extend(imports)
    for side in ("input", "output"):
        values = getattr(made.graph, side)
        del values[:]
        values.extend(getattr(proto.graph, side))
    return made
