"""The proof that a folded model computes what the original does, with rounding kept apart.

Four things are shown, which together say that nothing but rounding changed:

1. Copy: built anew in float32, the original computes what it did. (A mixed precision model drifts
   there; by how much is told, not judged.)
2. Algebra: folded and computed in float64, the model agrees with the original in float64.
3. Identity: the float32 model that ships is that float64 model, each weight rounded once.
4. Rounding: in float32 it is as near to the float64 answer as the original itself is.
"""

from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import keras
import numpy as np

from export import parity
from export.certificate_inputs import batches
from export.checks import Check, Verdict, plain
from export.errors import ExportError
from export.exact import fast
from export.fingerprint import fingerprint
from export.folding import Folded, fold_as
from export.heads import Head, heads, with_logits
from export.rebuilding import require_float64
from export.running import outputs

# Two orders of float64's sums differ by a few of its ulps (2.2e-16), grown by the cancellation and
# the depth of a network; a wrong fold differs by 1e-2 and more. 1e-12 is far from both.
ALGEBRA_LIMIT = 1e-12
# A model that computes in one of these differs from its float32 copy; no limit is known for that.
OTHER_FLOATS = ("float16", "bfloat16", "float64")


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
    copies = _Copies.of(model, folded)
    errors = _Errors()
    for alike in batches(copies.original64):
        errors.kinds += len(alike)
        errors.measure(model, copies, _joined(model, alike))
    return _judged(model, folded, copies, errors)


@dataclass(frozen=True)
class _Copies:
    """The models that are compared, with logits as further outputs where a softmax hides them.

    Args:
        original64: The original in float64, in layers that are fast there, as in ``folded64``.
        original32: The original in float32.
        refolded: The original folded once more, in float64.
        folded64: The same, with its logits.
        shipped: The folded model in float32, as it is; and with its logits, where it has any.
        heads: What stands between these and the outputs, in float64.
    """

    original64: keras.Model
    original32: keras.Model
    refolded: keras.Model
    folded64: keras.Model
    shipped: tuple[keras.Model, ...]
    heads: tuple[Head, ...]

    @classmethod
    def of(cls, model: keras.Model, folded: Folded) -> "_Copies":
        """Build all of them."""
        report = folded.report
        refolded = fold_as(
            model,
            "float64",
            forward=report.forward,
            keep=report.keep,
            preprocessing=bool(report.preprocessing),
        ).model
        original64, original32 = with_logits(model, "float64"), with_logits(model, "float32")
        folded64, shipped = refolded, [folded.model]
        if len(original64.outputs) > len(model.outputs):
            folded64 = with_logits(refolded, "float64")
            shipped.append(with_logits(folded.model, "float32"))
        ends = tuple(heads(model, original64))
        return cls(fast(original64), original32, refolded, fast(folded64), tuple(shipped), ends)

    def expected(self, exact: list[np.ndarray], made: list[np.ndarray]) -> list[np.ndarray]:
        """Return what outputs in float32 should be, by their own logits.

        A softmax of large logits magnifies their rounding, which is judged beside it.

        Args:
            exact: The outputs in float64, logits included.
            made: The folded model's in float32, logits included.

        Returns:
            The exact outputs; those behind a softmax moved by what it makes of that rounding.
        """
        wanted = list(exact)
        for head in self.heads:
            rounded = made[head.logits].astype(np.float64)
            (here,), (there,) = (
                outputs(head.model, [logits]) for logits in (rounded, exact[head.logits])
            )
            moved = np.where(np.isfinite(here - there), here - there, 0.0)
            wanted[head.output] = wanted[head.output] + moved
        return wanted


@dataclass
class _Errors:
    """The largest errors so far; see `Certificate`.

    Args:
        kinds: How many kinds of input were compared.
        exact: How many outputs are finite in float64.
        numbers: How many outputs were judged in float32: those that the original computes there.
    """

    algebra: float = 0.0
    original: float = 0.0
    folded: float = 0.0
    drift: float = 0.0
    kinds: int = 0
    exact: int = 0
    numbers: int = 0

    def measure(self, model: keras.Model, copies: _Copies, alike: list[list[np.ndarray]]) -> None:
        """Compare all models on batches of one scale."""
        exact = [outputs(copies.original64, inputs) for inputs in alike]
        single = [outputs(copies.original32, inputs) for inputs in alike]
        finite = [[np.isfinite(array) for array in one] for one in single]
        everywhere = parity.shared_scales(exact)
        counted = parity.shared_scales(exact, finite)
        for inputs, reference, own, where in zip(alike, exact, single, finite, strict=True):
            wide = outputs(copies.folded64, inputs)
            self.algebra = max(self.algebra, _worst(wide, reference, everywhere))
            self.original = max(self.original, _worst(own, reference, counted, where))
            made = [outputs(shipped, inputs) for shipped in copies.shipped]
            expected = copies.expected(reference, made[-1])
            for one in made:
                self.folded = max(self.folded, _worst(one, expected, counted, where))
            self.drift = max(self.drift, _worst(outputs(model, inputs), own, counted))
            self.exact += sum(int(np.isfinite(array).sum()) for array in reference)
            self.numbers += sum(int(array.sum()) for array in where)


def _joined(model: keras.Model, alike: list[list[np.ndarray]]) -> list[list[np.ndarray]]:
    """Put batches of one scale into one, unless the model takes batches of one size alone.

    A call of a deep model takes most of its time however few images it is given.
    """
    if any(tensor.shape[0] is not None for tensor in model.inputs):
        return alike
    return [[np.concatenate(parts) for parts in zip(*alike, strict=True)]]


def _worst(
    values: list[np.ndarray],
    references: list[np.ndarray],
    scales: list[float],
    where: list[np.ndarray] | None = None,
) -> float:
    """Return the largest error of a model's outputs; logits may follow them in the references."""
    given = len(values)
    counted = None if where is None else where[:given]
    return parity.worst_error(values, references[:given], scales[:given], counted)


def _judged(model: keras.Model, folded: Folded, copies: _Copies, errors: _Errors) -> Certificate:
    """Make the certificate of what was measured."""
    algebra = errors.algebra if errors.exact else float("inf")  # NaNs alone are no agreement
    algebra_ok = algebra <= ALGEBRA_LIMIT
    first = "" if algebra_ok else first_difference(copies.original64, copies.folded64)
    limit = parity.limit_for(errors.original)
    as_near = errors.folded <= limit and errors.numbers > 0
    # A clamp's shift goes on into the next layer's bias, where digits may cancel.
    instead = "" if as_near else "; export.fold(model, forward=False) leaves clamps and shifts out"
    dtypes = {layer.compute_dtype for layer in model._flatten_layers()}
    mixed = bool({*dtypes, *(tensor.dtype for tensor in model.inputs)} & {*OTHER_FLOATS})
    checks = (
        _source_check(model, folded),
        *(() if mixed else (_copy_check(errors.drift, limit),)),
        Check(
            "algebra in float64",
            algebra_ok,
            algebra,
            ALGEBRA_LIMIT,
            f"original against folded, both in float64, over {errors.kinds} kinds of input"
            + (f"; the first layer that differs is {first}" if first else ""),
        ),
        _identity_check(copies.refolded, folded.model),
        Check(
            "rounding in float32",
            as_near,
            errors.folded,
            limit,
            f"error of the folded model against float64; the original's is {errors.original:.2g}"
            ", of which twice is accepted and a few units in the last place; "
            f"{errors.numbers} numbers{instead}",
        ),
    )
    return Certificate(
        checks,
        algebra=algebra,
        original_error=errors.original,
        folded_error=errors.folded,
        drift=errors.drift,
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
    once = keras.ops.convert_to_numpy(wide).astype(values.dtype)
    return np.array_equal(once, values, equal_nan=np.issubdtype(values.dtype, np.floating))


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
