"""The whole way from a trained model to a folder that is ready to be deployed, or nothing."""

import datetime
import importlib.metadata
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export import manifest, model_card, quantization, sample_request, targets
from export.bundle_folder import (
    CLIENT_FILE,
    EXPORTED_FILE,
    FOLDED_FILE,
    refuse_reserved_name,
    replaceable,
    smaller_file,
)
from export.checks import Check, Verdict
from export.errors import ExportError
from export.labelled import Data, check_data
from export.pixels import undone
from export.prediction import accuracy, keras_logits, onnx_logits, probabilities
from export.probes import random_inputs
from export.report import Accuracy, Report, Sample, choose, sample
from export.subject import require_exportable
from export.targets import Target, layout
from zoo.cards import Card
from zoo.errors import InputError
from zoo.files import replacing_folder, sha256, write_text
from zoo.preprocessing import Preprocessing

if TYPE_CHECKING:
    import keras

    from export.certificate import Certificate
    from export.sources import Source
    from export.validation import Validation

Progress = Callable[[str, float | None], None]

PACKAGES = ("foldzoo", "keras", "tensorflow", "tf2onnx", "onnx", "onnxruntime", "numpy")
# A wrong answer is off by orders of magnitude; another processor rounds a little otherwise.
SAMPLE_GATE = 10.0


class FailedChecksError(ExportError):
    """An export that was given up because checks do not hold.

    Args:
        name: The model's name.
        failed: The checks that do not hold.
        total: How many there were.
    """

    def __init__(self, name: str, failed: Sequence[Check], total: int) -> None:
        self.failed = tuple(failed)
        told = "; ".join(
            f"{check.name}: measured {check.measured}, limit {check.limit}" for check in failed
        )
        super().__init__(
            f"{name}: {len(failed)} of {total} checks failed, and no bundle was written: {told}"
        )


def bundle(
    name_or_model: "str | os.PathLike[str] | keras.Model | Source",
    out: str | os.PathLike[str],
    *,
    target: str = "onnx",
    precision: str = "fp32",
    pixels: bool = False,
    instances: int = 1,
    data: Data | None = None,
    calibration: np.ndarray | Data | None = None,
    calibration_images: int = quantization.CALIBRATING,
    accuracy_limit: float = quantization.LIMIT,
    card: Card | None = None,
    history: Sequence[Mapping[str, Any]] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Fold, certify, export, validate and time a model, and write all of it into one folder.

    The folder holds what the target's server reads, ``folded.keras``, ``report.json`` and
    ``report.html``, ``model_card.md``, and ``manifest.json`` with the SHA-256 of every file; for a
    server also a sample request with the expected answer, and ``client.py``, which sends it. It
    appears whole, or not at all: when a check fails, a bundle that was there before stays.

    Args:
        name_or_model: Pretrained weights by name, a ``.keras`` file, a model, or what
            `export.sources.source` made of one of these.
        out: The folder. One that holds an older bundle is replaced as a whole; one that holds
            anything else is refused.
        target: What it is for: ``onnx``, the file alone; ``triton``, a model repository for NVIDIA
            Triton; ``kserve``, the same with a manifest for KServe; ``tfserving``, a SavedModel for
            TensorFlow Serving; ``openvino``, OpenVINO's own form; ``litert``, a ``.tflite`` file.
        precision: The number format of the file: ``fp32``, ``fp16`` or ``int8``.
        pixels: Whether the preprocessing is inside the file, which then takes uint8 images of any
            size, as an image decoder makes them; for targets that run the ONNX file.
        instances: How many of the model a server runs side by side, for targets that are servers.
            With more than one, each computes with one thread: as many as there are cores answer the
            most requests, while a single one answers a lone request soonest.
        data: Preprocessed test images, float32 (number, height, width, channels), and the index of
            each one's class. With them, the accuracy is compared and the page shows a few.
        calibration: For fp16 and int8, preprocessed training images, by which they are chosen; see
            `export.quantize`.
        calibration_images: How many of them calibrate.
        accuracy_limit: How many points of accuracy fp16 and int8 may lose.
        card: What is known of the weights; by default what lies beside the file.
        history: The training's history, one row per epoch; by default what lies beside the file.
        progress: Told each stage's name as it begins, with None, and as it ends, with its seconds.

    Returns:
        The folder.

    Raises:
        InputError: The model, its name, the target, the precision, a number or the folder cannot be
            used.
        ExportError: The model cannot be exported, or a check fails.

    Example:
        >>> export.bundle("runs/demo/model.keras", "bundle") / "model.onnx"
    """
    from export.certificate import certify
    from export.folding import fold
    from export.latency import measure
    from export.onnx_file import to_onnx
    from export.pixel_checks import with_preprocessing
    from export.sources import source
    from export.validation import validate
    from zoo import keras_files

    chosen = targets.chosen(target, precision, pixels=pixels, instances=instances)
    if precision != "fp32":
        _check_quantization(precision, calibration, calibration_images, accuracy_limit)
    out = replaceable(out)
    clock = _Clock(progress)
    with replacing_folder(out) as folder:  # first of all: a place that refuses is told at once
        with clock("load"):
            given = source(name_or_model, card)
            require_exportable(given.model)
            refuse_reserved_name(given.name, chosen)
            learned = given.history() if history is None else history
            if data is not None:
                check_data(given.model, data)
        with clock("fold"):
            folded = fold(given.model)
            keras_files.save(folded.model, folder / FOLDED_FILE)
        with clock("certify"):
            certificate = certify(given.model, folded)
        with clock("export"):
            path = to_onnx(folded, folder / EXPORTED_FILE, **_options(given, chosen))
            if pixels and precision == "fp32":
                path = with_preprocessing(path)
        with clock("validate"):
            validation = validate(given.model, path, data=data)
        _require(given.name, certificate, validation)
        quantized = None
        if calibration is not None and precision != "fp32":
            with clock("quantize"):
                quantized = quantization.quantize(
                    path,
                    folder / smaller_file(precision),
                    calibration=calibration,
                    test=data,
                    precision=precision,
                    accuracy_limit=accuracy_limit,
                    calibrating_images=calibration_images,
                )
                path.unlink()
                path = with_preprocessing(quantized.path) if pixels else quantized.path
        image = _one_image(folded.model, data, given.known_preprocessing if pixels else None)
        with clock("measure latency"):
            latency = measure(path, image)
        with clock("compare accuracy"):
            accuracy, shown = _compare(given, folded.model, path, data)
        made = layout.Exported(
            layout.served_name(given.name),
            path,
            folded.model,
            image,
            given.labels,
            given.card,
            instances,
        )
        model = _lay_out(made, chosen, folder, validation.limit)
        report = Report(
            name=given.name,
            target=target,
            precision=precision,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            source=_facts(given, folded.report.source_sha256),
            fold=folded.report.to_dict(),
            certificate=certificate,
            validation=validation,
            differences=_differences(certificate, validation),
            latency=asdict(latency),
            files=_files(folder),
            versions={
                one: importlib.metadata.version(one) for one in (*PACKAGES, *chosen.packages)
            },
            accuracy=accuracy,
            samples=shown,
            history=learned,
            card=None if given.card is None else given.card.model_dump(mode="json"),
            seconds=clock.seconds,
            quantization=None if quantized is None else quantized.to_dict(),
        )
        report.write(folder)
        _write_papers(folder, report, model, validation.limit)
    return out


class _Clock:
    """Time stages, and tell of each as it begins and ends."""

    def __init__(self, progress: Progress | None) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress or (lambda stage, seconds: None)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        self._progress(stage, None)
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - start, 3)
        self._progress(stage, self.seconds[stage])


def _check_quantization(
    precision: str, calibration: np.ndarray | Data | None, count: int, accuracy_limit: float
) -> None:
    """Refuse what no file of fewer bits can be made with."""
    if calibration is None:
        raise InputError(f"precision {precision}: calibration images are missing")
    quantization.check_numbers(accuracy_limit, calibration_images=count)


def _options(given: "Source", target: Target) -> dict[str, Any]:
    """Choose what goes into the ONNX file; what is not known stays out."""
    from export.onnx_file import has_logits

    return {
        "preprocessing": given.known_preprocessing,
        "labels": given.labels or None,
        "probabilities": target.server and has_logits(given.model),
    }


def _lay_out(made: layout.Exported, target: Target, folder: Path, limit: float) -> dict[str, Any]:
    """Lay out a model for its target, within the verdict's limit; return how a client knows it."""
    from export import runtime_parity
    from export.onnx_metadata import load

    inputs, outputs = layout.interface(load(made.onnx))
    file = target.model_file(made.name)
    target.lay_out(made, folder)
    checks = tuple(runtime_parity.check(made.model, target, folder, made.name, limit))
    failed = Verdict(checks).failed
    if failed:
        raise FailedChecksError(made.name, failed, len(checks))
    if target.server:
        sample_request.write(folder, file, made.name, layout.VERSION, made.sample)
        client = Path(__file__).parent / "templates" / CLIENT_FILE
        write_text(folder / CLIENT_FILE, client.read_text(encoding="utf-8"))
    return {
        "name": made.name,
        "file": file,
        "inputs": [one.to_dict() for one in inputs],
        "outputs": [one.to_dict() for one in outputs],
        "labels": list(made.labels),
    }


def _write_papers(folder: Path, report: Report, model: dict[str, Any], limit: float) -> None:
    """Write what tells of all the rest: the model card, and last of all the manifest."""
    model_card.write(folder, report, model)
    manifest.write(
        folder,
        name=report.name,
        target=report.target,
        precision=report.precision,
        created=report.created,
        model=model,
        source=dict(report.source),
        versions=dict(report.versions),
        tolerances={"verdict": limit, "sample": SAMPLE_GATE * limit},
    )


def _require(name: str, certificate: Verdict, validation: Verdict) -> None:
    """Raise unless every check of both verdicts holds."""
    failed = (*certificate.failed, *validation.failed)
    if failed or not (certificate.ok and validation.ok):
        total = len(certificate.checks) + len(validation.checks)
        raise FailedChecksError(name, failed, total)


def _differences(certificate: "Certificate", validation: "Validation") -> dict[str, float]:
    """Choose the numbers that a reader looks for first."""
    return {
        "float64": certificate.algebra,
        "drift": certificate.drift,
        "original": certificate.original_error,
        "float32": certificate.folded_error,
        "onnx": validation.error,
        "onnx_limit": validation.limit,
    }


def _one_image(
    model: "keras.Model", data: Data | None, inside: Preprocessing | None
) -> list[np.ndarray]:
    """Choose the input to time: a real image where there is one; pixels, if these are asked for."""
    inputs = random_inputs(model, 1) if data is None else [np.asarray(data[0][:1], np.float32)]
    return inputs if inside is None else [undone(inputs[0], inside)]


def _compare(
    given: "Source", folded: "keras.Model", path: Path, data: Data | None
) -> tuple[Accuracy | None, tuple[Sample, ...]]:
    """Let the trained model, the folded one and the file classify the same images."""
    from export.onnx_file import probable

    if data is None:
        return None, ()
    images, truth = data
    onnx = onnx_logits(path)(images)
    accuracies = Accuracy(
        images=len(images),
        trained=accuracy(keras_logits(given.model)(images), truth),
        folded=accuracy(keras_logits(folded)(images), truth),
        onnx=accuracy(onnx, truth),
    )
    labels = given.labels or tuple(map(str, range(onnx.shape[-1])))
    chosen = choose(truth, onnx.argmax(axis=-1))
    pixels = undone(images[chosen], given.known_preprocessing)
    shares = probabilities(onnx[chosen], probable(folded))
    shown = zip(pixels, truth[chosen], shares, strict=True)
    return accuracies, tuple(sample(*one, labels=labels) for one in shown)


def _facts(given: "Source", fingerprint: str) -> dict[str, Any]:
    """Tell what the bundle was made from."""
    policies = Counter(layer.dtype_policy.name for layer in given.model.layers if layer.weights)
    return {
        "policy": policies.most_common(1)[0][0] if policies else given.model.dtype_policy.name,
        "parameters": given.model.count_params(),
        "sha256": fingerprint,
    }


def _files(folder: Path) -> list[dict[str, Any]]:
    """List what a folder holds, the deployed model first."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    paths.sort(key=lambda path: (path.suffix != ".onnx", str(path)))
    return [
        {
            "name": str(path.relative_to(folder)),
            "bytes": path.stat().st_size,
            "sha256": sha256(path),
        }
        for path in paths
    ]
