"""The proof that a folded model computes what the original does, with rounding kept apart.

Four things are shown, which together say that nothing but rounding changed:

1. Copy: built anew in float32, the original computes what it did. (A mixed precision model drifts
   there; by how much is told, not judged.)
2. Algebra: folded and computed in float64, the model agrees with the original in float64.
3. Identity: the float32 model that ships is that float64 model, each weight rounded once.
4. Rounding: in float32 it is as near to the float64 answer as the original itself is.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import keras
import numpy as np

from export import parity
from export.checks import Check, Verdict, plain
from export.errors import ExportError
from export.fingerprint import fingerprint
from export.folding import Folded, fold_as
from export.heads import with_logits
from export.rebuilding import require_float64
from zoo.errors import InputError

# Two orders of float64's sums differ by a few of its ulps (2.2e-16), grown by the cancellation and
# the depth of a network; a wrong fold differs by 1e-2 and more. 1e-12 is far from both.
ALGEBRA_LIMIT = 1e-12
# A model that computes in one of these differs from its float32 copy; no limit is known for that.
OTHER_FLOATS = ("float16", "bfloat16", "float64")
# The largest of few rounding errors is a matter of luck: over two images' eight outputs one model's
# was 3.8 times the other's, over sixteen images' at most 1.7 times.
MOST_IMAGES = 16
MOST_VALUES = 300_000
FREE_SIZES = (32, 47)  # even and odd; larger ones follow where a model needs them
LARGER_SIZES = (64, 96, 128, 224)


class CertificateError(ExportError):
    """A folded model does not compute what the original does."""


@dataclass(frozen=True)
class Certificate(Verdict):
    """What `certify` found. Differences are relative to the largest output on inputs of one scale.

    Args:
        checks: What was looked at.
        algebra: Between the original and the folded model, both in float64.
        original_error: Between the original in float32 and in float64.
        folded_error: Between the folded model in float32 and the original in float64.
        drift: Between the model as it was given and its float32 copy: what leaving mixed precision
            changes, which has nothing to do with folding. For a float32 model it is about 0.
        first_difference: The first layer whose output differs in float64; empty where none does.
    """

    algebra: float = 0.0
    original_error: float = 0.0
    folded_error: float = 0.0
    drift: float = 0.0
    first_difference: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the certificate as plain values that JSON can hold."""
        own = ("algebra", "original_error", "folded_error", "drift", "first_difference")
        return {**super().to_dict(), **plain({name: getattr(self, name) for name in own})}


def certify(model: keras.Model, folded: Folded) -> Certificate:
    """Check that a folded model computes what the original does.

    Args:
        model: The model that was folded.
        folded: What `export.fold` made of it.

    Returns:
        The certificate; ``.ok`` is the answer.

    Raises:
        InputError: The backend cannot compute in float64, or an input's size cannot be chosen.

    Example:
        >>> certificate = export.certify(model, export.fold(model))
        >>> certificate.ok, certificate.algebra
    """
    require_float64()
    report = folded.report
    shipped64 = fold_as(
        model,
        "float64",
        forward=report.forward,
        keep=report.keep,
        preprocessing=bool(report.preprocessing),
    ).model
    original64, original32 = with_logits(model, "float64"), with_logits(model, "float32")
    folded64, shipped = shipped64, [folded.model]
    if len(original64.outputs) > len(model.outputs):
        folded64 = with_logits(shipped64, "float64")
        shipped.append(with_logits(folded.model, "float32"))
    mixed = any(layer.compute_dtype in OTHER_FLOATS for layer in model._flatten_layers())
    errors = {"algebra": 0.0, "original": 0.0, "folded": 0.0, "drift": 0.0}
    count = 0
    for alike in batches(original64):
        references = [outputs(original64, inputs) for inputs in alike]
        scales = parity.shared_scales(references)
        for inputs, reference in zip(alike, references, strict=True):
            single = outputs(original32, inputs)
            _note(errors, "algebra", outputs(folded64, inputs), reference, scales)
            _note(errors, "original", single, reference, scales)
            for one in shipped:
                _note(errors, "folded", outputs(one, inputs), reference, scales)
            _note(errors, "drift", outputs(model, inputs), single, scales)
            count += 1
    algebra_ok = errors["algebra"] <= ALGEBRA_LIMIT
    first = "" if algebra_ok else first_difference(original64, folded64)
    limit = parity.limit_for(errors["original"])
    checks = (
        _source_check(model, folded),
        *(() if mixed else (_copy_check(errors["drift"], limit),)),
        Check(
            "algebra in float64",
            algebra_ok,
            errors["algebra"],
            ALGEBRA_LIMIT,
            f"original against folded, both in float64, over {count} kinds of input"
            + (f"; the first layer that differs is {first}" if first else ""),
        ),
        _identity_check(shipped64, folded.model),
        Check(
            "rounding in float32",
            errors["folded"] <= limit,
            errors["folded"],
            limit,
            f"error of the folded model against float64; the original's is {errors['original']:.2g}"
            ", of which twice is accepted and a few units in the last place",
        ),
    )
    return Certificate(
        checks,
        algebra=errors["algebra"],
        original_error=errors["original"],
        folded_error=errors["folded"],
        drift=errors["drift"],
        first_difference=first,
    )


def require(model: keras.Model, folded: Folded) -> Certificate:
    """Certify, and raise if the certificate does not hold; see `certify`.

    Raises:
        CertificateError: It does not.
    """
    certificate = certify(model, folded)
    if not certificate.ok:
        raise CertificateError(f"the fold is not certified: {certificate.why()}")
    return certificate


def outputs(model: keras.Model, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Run a model for inference and return its outputs, flat.

    Args:
        model: The model.
        inputs: One array per input, in the model's order.

    Returns:
        One array per output.

    Raises:
        InputError: The backend lacks an operation of the model in its dtype, as TensorFlow lacks
            3D pooling in float64.
    """
    cast = [
        array.astype(tensor.dtype) if np.issubdtype(array.dtype, np.floating) else array
        for array, tensor in zip(inputs, model.inputs, strict=True)
    ]
    structure = getattr(model, "_inputs_struct", None)
    given = cast[0] if structure is None else keras.tree.pack_sequence_as(structure, cast)
    try:
        made = keras.tree.flatten(model(given, training=False))
    except _backend_errors() as error:
        raise InputError(
            f"Keras on {keras.backend.backend()} cannot compute {model.name} in "
            f"{model.inputs[0].dtype}: {' '.join(str(error).split())[:300]}"
        ) from error
    return [np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(o, _wide(o)))) for o in made]


def _backend_errors() -> tuple[type[BaseException], ...]:
    """Return what a backend raises where it has no kernel for an operation in some dtype."""
    if keras.backend.backend() != "tensorflow":
        return ()
    import tensorflow as tf

    return (tf.errors.OpError,)


def _wide(tensor: Any) -> str:
    """Return a dtype that numpy knows and that holds a tensor's values."""
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    return "float32" if dtype in ("bfloat16", "float16") else dtype


def batches(model: keras.Model) -> Iterator[list[list[np.ndarray]]]:
    """Make inputs of all kinds for a model, the same ones each time.

    Args:
        model: The model.

    Yields:
        Batches of one scale, whose errors are relative to the largest output of all of them: what
        a model makes of one kind alone, say of zeros, may be zero, or nearly so by cancellation.
        A batch is one array per input, float64 or integer: normal, uniform, zero, constant, a
        single bright position; then large values; at several sizes where a model's sizes are free.

    Raises:
        InputError: The model takes none of the sizes that are tried for its free axes.
    """
    for size in _sizes(model):
        shapes = [_shape(tensor, size) for tensor in model.inputs]
        seeds = itertools.count()
        for kinds in _KINDS:
            yield [_batch(model, shapes, kind, next(seeds)) for kind in kinds]


def _batch(
    model: keras.Model, shapes: list[tuple[int, ...]], kind: Callable[..., Any], seed: int
) -> list[np.ndarray]:
    """Make one array of a kind for each input; integers where the input takes those."""
    random = np.random.default_rng(seed)
    return [
        _integers(random, shape, tensor) if _takes_integers(tensor) else kind(random, shape)
        for shape, tensor in zip(shapes, model.inputs, strict=True)
    ]


def _impulse(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Make all zeros but the first corner, where padding shows."""
    values = np.zeros(shape)
    corner: Any = (slice(None), *[0] * (len(shape) - 2))
    values[corner] = 1.0
    return values


_KINDS = (
    (
        lambda random, shape: random.normal(size=shape),
        lambda random, shape: random.uniform(0, 1, size=shape),
        lambda random, shape: np.zeros(shape),
        lambda random, shape: np.ones(shape),
        _impulse,
    ),
    (lambda random, shape: 100 * random.normal(size=shape),),
)


def _takes_integers(tensor: Any) -> bool:
    return not str(tensor.dtype).startswith(("float", "bfloat"))


def _integers(random: np.random.Generator, shape: tuple[int, ...], tensor: Any) -> np.ndarray:
    """Make the integers that every table of two or more entries has."""
    return random.integers(0, 2, size=shape).astype(tensor.dtype)


def _shape(tensor: Any, size: int) -> tuple[int, ...]:
    """Fill a tensor's free axes in: a batch of that size."""
    sides = tuple(side or size for side in tensor.shape[1:])
    count = max(2, min(MOST_IMAGES, MOST_VALUES // math.prod(sides)))
    return (tensor.shape[0] or count, *sides)


def _sizes(model: keras.Model) -> tuple[int, ...]:
    """Choose sizes for free axes: those that the model can take."""
    free = any(side is None for tensor in model.inputs for side in tensor.shape[1:])
    if not free:
        return (1,)
    takes = tuple(size for size in FREE_SIZES if _runs(model, size))
    if takes:
        return takes
    for size in LARGER_SIZES:
        if _runs(model, size):
            return (size,)
    raise InputError(
        f"the model has inputs of free size but takes none of {FREE_SIZES + LARGER_SIZES}; "
        "build it with a fixed input shape"
    )


def _runs(model: keras.Model, size: int) -> bool:
    """Say whether a model's shapes work out at a size."""
    specs = [keras.KerasTensor(_shape(t, size), dtype=t.dtype) for t in model.inputs]
    structure = getattr(model, "_inputs_struct", None)
    given = specs[0] if structure is None else keras.tree.pack_sequence_as(structure, specs)
    try:
        model.compute_output_spec(given)
    except ValueError:
        return False
    return True


def _note(
    errors: dict[str, float],
    name: str,
    values: list[np.ndarray],
    references: list[np.ndarray],
    scales: list[float],
) -> None:
    """Keep the largest error of a model's outputs; logits may follow them in the references."""
    given = len(values)
    error = parity.worst_error(values, references[:given], scales[:given])
    errors[name] = max(errors[name], error)


def _source_check(model: keras.Model, folded: Folded) -> Check:
    """Check that the model is the one that was folded."""
    found, wanted = fingerprint(model), folded.report.source_sha256
    return Check("source", found == wanted, found[:16], wanted[:16], "the model's fingerprint")


def _identity_check(folded64: keras.Model, shipped: keras.Model) -> Check:
    """Check that the shipped weights are the float64 ones, each rounded once."""
    pairs = zip_longest(folded64.weights, shipped.weights)
    wrong = [
        (wide if narrow is None else narrow).path
        for wide, narrow in pairs
        if not _rounded_once(wide, narrow)
    ]
    detail = "weights of the shipped model that are not the float64 model's rounded once"
    return Check(
        "identity", not wrong, len(wrong), 0, detail + "".join(f"; {p}" for p in wrong[:3])
    )


def _copy_check(drift: float, limit: float) -> Check:
    """Check that the copy which all others are compared with is the model that was given."""
    detail = "the model as it was given against its float32 copy, both in float32"
    return Check("copy", drift <= limit, drift, limit, detail)


def _rounded_once(wide: Any, narrow: Any) -> bool:
    """Say whether two models' weights at one place are one, but for rounding."""
    if wide is None or narrow is None or wide.name != narrow.name:
        return False
    values = keras.ops.convert_to_numpy(narrow)
    return np.array_equal(keras.ops.convert_to_numpy(wide).astype(values.dtype), values)


def first_difference(original: keras.Model, folded: keras.Model) -> str:
    """Name the layer at which two models part.

    Between a BatchNorm and the layer that took it in, a sound fold differs too, and agrees again
    later. So the layer looked for is the first one from which on none agrees.

    Args:
        original: The original in float64.
        folded: The folded model in float64.

    Returns:
        The layer's name; empty where the last common layer agrees.
    """
    ours = {layer.name: layer for layer in folded.layers}
    pairs = [
        (layer, ours[layer.name])
        for layer in original.layers
        if layer.name in ours and _has_one_output(layer) and _has_one_output(ours[layer.name])
    ]
    inputs = next(batches(original))[0]
    first, second = (
        outputs(keras.Model(model.inputs, [pair[side].output for pair in pairs]), inputs)
        for side, model in enumerate((original, folded))
    )
    parted = ""
    for (layer, _), reference, values in zip(pairs, first, second, strict=True):
        same = values.shape == reference.shape
        if same and parity.error(values, reference) <= ALGEBRA_LIMIT:
            parted = ""
        else:
            parted = parted or layer.name
    return parted


def _has_one_output(layer: Any) -> bool:
    """Say whether a layer is called once and makes one tensor."""
    return len(layer._inbound_nodes) == 1 and len(layer._inbound_nodes[0].outputs) == 1
