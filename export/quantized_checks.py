"""The verdict on a file of fewer bits: it is sound, and close to the float file it came from."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from export import onnx_checks, onnx_loads, onnx_metadata
from export.checks import Check, Verdict
from export.comparison import Comparison, compare
from export.errors import ExportError
from export.labelled import Data
from export.onnx_runtime import COMPARED, Session
from export.probes import BATCHES, random_inputs
from export.trials import logits
from zoo.hardware import cpu_kind

if TYPE_CHECKING:
    import keras
    import onnx

_FEW = 128
# Between what rounding does and what another model does. Random inputs leave the calibrated ranges.
_RELATED = 0.5


def judge(
    made: "onnx.ModelProto",
    proto: "onnx.ModelProto",
    choosing: "tuple[np.ndarray, np.ndarray | None]",
    test: Data | None,
    *,
    level: str,
    limit: float,
) -> tuple[Verdict, Comparison | None]:
    """Judge a file of fewer bits.

    Args:
        made: The file.
        proto: The float file that it was made from.
        choosing: The images that chose it, and their classes where they are known.
        test: Images that did not, and their classes.
        level: At which of onnxruntime's levels accuracy counts: ``all`` as this processor's
            kernels compute, ``off`` as exact arithmetic would.
        limit: How many points of accuracy it may lose.

    Returns:
        The verdict, and the comparison on the test images if there are any.
    """
    metadata = onnx_metadata.metadata_of(proto)
    nchw = metadata.get("layout") == "NCHW"
    checks = onnx_checks.structure_as(made, proto, metadata)
    checks.append(_metadata(made, metadata))
    sessions, loads = onnx_loads.load(made, nchw=nchw)
    checks += loads
    if not all(check.ok for check in loads):
        return Verdict(tuple(checks)), None
    images, labels = choosing
    exact = logits(Session(proto, nchw=nchw), images)
    # In float32 what is quantized is slow: a part of the images must do for the other level.
    parts = {name: images if name == level else images[:_FEW] for name in COMPARED}
    values = {name: logits(sessions[name], part) for name, part in parts.items()}
    checks += _batches(sessions, images, exact, values)
    found = compare(exact, values[level], labels)
    checks += _accuracy("the images that choose", found, limit)
    if level == "all":
        checks.append(_levels(values, limit))
    if test is None:
        return Verdict(tuple(checks)), None
    pictures, truth = (np.asarray(part) for part in test)
    float_logits = logits(Session(proto, nchw=nchw), pictures)
    reported = compare(float_logits, logits(sessions[level], pictures), truth)
    checks += _accuracy("the test split", reported, limit)
    return Verdict(tuple(checks)), reported


def against(
    model: "keras.Model",
    sessions: dict[str, Session],
    facts: dict[str, Any],
    data: Data | None,
) -> list[Check]:
    """Hold a file of fewer bits against the Keras model that it came from.

    Args:
        model: The model.
        sessions: The file, loaded at the levels that are compared.
        facts: What the file says of its quantization.
        data: The test split, where there is one: then its accuracy is compared.

    Returns:
        The checks. Without a test split, whether the file has to do with the model at all.
    """
    from export.rebuilding import rebuild
    from export.running import Runner

    single = Runner(rebuild(model))
    images = random_inputs(model, BATCHES[-1])[0]
    exact = single([images])[0]
    errors = [compare(exact, logits(sessions[name], images), None).logit_error for name in COMPARED]
    checks = [
        Check(
            "logit error on random inputs",
            max(errors) <= _RELATED,
            max(errors),
            _RELATED,
            "mean, of the logits' standard deviation; of a file of another model it is over 1",
        )
    ]
    if data is None:
        return checks
    same = facts["precision"] == "fp16" or facts.get("cpu") == cpu_kind()
    pictures, truth = (np.asarray(part) for part in data)
    parts = (pictures[start : start + _FEW] for start in range(0, len(pictures), _FEW))
    exact = np.concatenate([single([part])[0] for part in parts])
    found = compare(exact, logits(sessions["all" if same else "off"], pictures), truth)
    return [*checks, *_accuracy("the test split", found, facts["accuracy_limit"])]


# What makes a file int8: numbers brought to eight bits, or arithmetic on such.
_INT8 = ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger")


def is_quantized(proto: "onnx.ModelProto", facts: Mapping[str, Any]) -> Check:
    """Check that a file is what it says, since a quantized one is judged by accuracy alone.

    Args:
        proto: The file's content.
        facts: What its metadata say of its quantization.

    Returns:
        The check.
    """
    import onnx

    half = any(t.data_type == onnx.TensorProto.FLOAT16 for t in proto.graph.initializer)
    eighth = any(node.op_type in _INT8 for node in proto.graph.node)
    found = {"fp16": half, "int8": eighth}[facts["precision"]]
    measured = facts["precision"] if found else "float32"
    return Check("precision as the file says", found, measured, facts["precision"])


def _metadata(made: "onnx.ModelProto", metadata: dict[str, Any]) -> Check:
    """Check that the file says what its float file says."""
    told = onnx_metadata.metadata_of(made)
    changed = [key for key, value in metadata.items() if told.get(key) != value]
    measured = "the same" if not changed else f"another {', '.join(changed)}"
    return Check("metadata of the float file", not changed, measured, "the same")


def _batches(
    sessions: dict[str, Session],
    images: np.ndarray,
    exact: np.ndarray,
    values: dict[str, np.ndarray],
) -> Iterator[Check]:
    """Run batches of several sizes: an image's logits must not depend on its neighbours."""
    for size in BATCHES:
        few = images[:size]
        differences = [
            np.abs(_whole(sessions[name], few, exact[: len(few)]) - values[name][: len(few)])
            for name in COMPARED
        ]
        worst = float(np.max(differences))  # of what is not a number, that
        allowed = max(float(np.abs(found - exact[: len(found)]).max()) for found in values.values())
        finite = bool(np.isfinite(worst))
        yield Check(
            f"real inputs, batch {len(few)}",
            finite and worst <= allowed,
            worst if finite else "not finite",
            allowed,
            "largest difference from the same images in batches of 64, at both levels; accepted "
            "is the largest from the float file",
        )


def _whole(session: Session, images: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Run one batch; what fails, or has another shape, is not a number."""
    try:
        value = session.run([images])[0]
    except ExportError:
        return np.full_like(like, np.nan)
    return value if value.shape == like.shape else np.full_like(like, np.nan)


def _accuracy(where: str, found: Comparison, limit: float) -> Iterator[Check]:
    """Check what is lost on some images, and that what changes class was near to it."""
    what = "top-1 changes" if found.drop is None else "accuracy lost"
    yield Check(
        f"{what} on {where}, points",
        found.loss <= limit,
        round(found.loss, 4),
        limit,
        f"{found.interval}; top-1 agreement {100 * found.agreement:.2f} %",
    )
    allowed = int(limit * found.images / 100)
    yield Check(
        f"top-1 changes on {where} beyond noise",
        found.flips_beyond <= allowed,
        found.flips_beyond,
        allowed,
        "images whose margin in the float file is over twice the error of 99 % of the images; "
        "accepted is the accuracy limit's share of them",
    )


def _levels(values: dict[str, np.ndarray], limit: float) -> Check:
    """Check that this processor's integer kernels do not saturate where exact arithmetic is not."""
    count = min(map(len, values.values()))
    off, full = (values[name][:count].argmax(axis=-1) for name in COMPARED)
    changed = 100 * float((off != full).mean())
    return Check(
        "top-1 changes between optimisations off and all, per cent",
        changed <= limit,
        round(changed, 4),
        limit,
        f"integer kernels against the same arithmetic in float32, on {count} images",
    )
