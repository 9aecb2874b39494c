"""Fold every BatchNorm of a Keras model into its neighbours, or say exactly why not."""

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import keras
import numpy as np

from export import graph, graph_reading
from export.fingerprint import fingerprint
from export.graph import Call, Graph, Layer
from export.rules import engine
from export.rules.branches import merge_branches
from export.rules.engine import Plan, Reason, Refused
from export.rules.inputs import fold_inputs
from export.rules.merging import batchnorm_affine, batchnorm_axis, cancels, require_float
from zoo.errors import InputError

Action = Literal["folded_backward", "folded_forward", "clamped", "scale_forward", "merged", "kept"]


@dataclass(frozen=True)
class Entry:
    """What became of one call of a BatchNorm, or of a preprocessing layer.

    Args:
        layer: The layer's name.
        action: ``folded_backward`` or ``folded_forward`` into a layer before or after it;
            ``clamped``: forward, and a clamp is left of it and its activation; ``scale_forward``:
            forward, and one addition is left; ``merged`` into a BatchNorm before it or into a
            convolution beside it; ``kept``.
        into: The layers that took it in.
        reason: Why it was kept, by direction; empty where it was not.
        codes: The same as codes of `export.rules.Reason`.
        max_scale: The largest magnitude of its scale, ``gamma / sqrt(variance + epsilon)`` of a
            BatchNorm; -1 where that is not a finite number, or not known.
        dead_channels: How many channels have scale 0, or one below 1e-30, which is taken for 0:
            float32 could hold no kernel that is multiplied by it.
    """

    layer: str
    action: Action
    into: tuple[str, ...]
    reason: str
    codes: tuple[str, ...]
    max_scale: float
    dead_channels: int


@dataclass(frozen=True)
class Report:
    """What became of every BatchNorm.

    Args:
        entries: One per call of a BatchNorm, in the model's order.
        source_sha256: The fingerprint of the model that was folded.
        forward: Whether forward folding was asked for.
        keep: The name patterns of the BatchNorms that were to be kept.
        preprocessing: Where these were to be folded too, one entry per call of a Rescaling or
            Normalization layer, in the model's order; else none.
    """

    entries: tuple[Entry, ...]
    source_sha256: str
    forward: bool
    keep: tuple[str, ...]
    preprocessing: tuple[Entry, ...] = ()

    @property
    def kept(self) -> tuple[Entry, ...]:
        """The entries of the BatchNorms that are still there."""
        return tuple(entry for entry in self.entries if entry.action == "kept")

    @property
    def folded(self) -> tuple[Entry, ...]:
        """The entries of the BatchNorms that are gone."""
        return tuple(entry for entry in self.entries if entry.action != "kept")

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values that JSON can hold."""
        return {
            "batchnorms": len(self.entries),
            "folded": len(self.folded),
            "kept": len(self.kept),
            "source_sha256": self.source_sha256,
            "forward": self.forward,
            "keep": list(self.keep),
            "entries": [asdict(entry) for entry in self.entries],
            "preprocessing": [asdict(entry) for entry in self.preprocessing],
        }


@dataclass(frozen=True)
class Folded:
    """A folded model and what was done to get it.

    Args:
        model: A new float32 model with the same inputs and outputs.
        report: What became of every BatchNorm.
    """

    model: keras.Model
    report: Report


def fold(
    model: keras.Model,
    *,
    forward: bool = True,
    keep: Sequence[str] = (),
    preprocessing: bool = False,
    certify: bool = False,
) -> Folded:
    """Fold the BatchNorms of a model into its other layers.

    All algebra is done in float64 and cast to float32 once. A model of another policy is folded
    from its float32 weights. The model given is not changed.

    Args:
        model: A functional or Sequential Keras 3 model.
        forward: Whether a BatchNorm that no earlier layer can take in may go into later ones.
        keep: Name patterns, as a shell writes them, of BatchNorms to leave alone.
        preprocessing: Whether Rescaling and Normalization layers go into the layers after them as
            well. A mean is then subtracted inside a convolution, where float32 rounds it more.
        certify: Whether to check the result with `export.certify` before returning it.

    Returns:
        The folded model and the report.

    Raises:
        InputError: The model's graph cannot be seen, or a pattern matches no BatchNorm.
        CertificateError: ``certify`` was asked for and the certificate does not hold.

    Example:
        >>> folded = export.fold(model)
        >>> folded.report.kept
        ()

    Reference:
        Jacob et al. 2018, https://arxiv.org/abs/1712.05877, section 3.2.
    """
    folded = fold_as(model, "float32", forward=forward, keep=keep, preprocessing=preprocessing)
    if certify:
        from export.certificate import require

        require(model, folded)
    return folded


def fold_as(
    model: keras.Model,
    dtype: str,
    *,
    forward: bool = True,
    keep: Sequence[str] = (),
    preprocessing: bool = False,
) -> Folded:
    """Fold a model and build the result in a dtype; see `fold`."""
    source = graph_reading.read(model)
    sha256 = fingerprint(model)  # before there are float64 weights beside what it copies
    entries = fold_graph(source, forward=forward, keep=tuple(keep))
    inputs = tuple(_fold_preprocessing(source)) if preprocessing else ()
    report = Report(tuple(entries), sha256, forward, tuple(keep), inputs)
    return Folded(graph.build(source, dtype), report)


def fold_graph(source: Graph, *, forward: bool, keep: tuple[str, ...]) -> list[Entry]:
    """Fold the BatchNorms of a graph in place.

    Args:
        source: The graph.
        forward: As in `fold`.
        keep: As in `fold`.

    Returns:
        One entry per BatchNorm call, in the graph's order.
    """
    batchnorms = [call for call in source.calls if _is_batchnorm(call)]
    _require_matches(keep, [call.layer.name for call in batchnorms])
    folder = _Folder(source, forward=forward, keep=keep)
    found = {call: folder.start(call) for call in batchnorms}
    entries = {call: entry for call, entry in found.items() if entry.action == "kept"}
    left = [call for call in batchnorms if not entries.get(call)]
    while True:
        # Everything backward first: a layer that has its scale can then take one from before it.
        done = folder.attempt(left, engine.backward)
        left = [call for call in left if call not in done]
        entries.update(done)
        gone = folder.attempt(left, engine.forward) if forward else {}
        left = [call for call in left if call not in gone]
        entries.update(gone)
        merged = merge_branches(source, left)
        left = [call for call in left if call not in merged]
        entries.update({call: folder.merged(call, into) for call, into in merged.items()})
        if not done and not gone and not merged:
            break
    entries.update({call: folder.kept(call) for call in left})
    return [entries[call] for call in batchnorms] + list(_inside(source))


class _Folder:
    """Tries to move BatchNorms and remembers why each one could not go."""

    def __init__(self, source: Graph, *, forward: bool, keep: tuple[str, ...]) -> None:
        self._graph = source
        self._forward = forward
        self._keep = keep
        self._refusals: dict[Call, dict[str, Refused]] = {}
        self._facts: dict[Call, tuple[float, int]] = {}
        self._names: dict[Call, str] = {}
        self._untouched: set[Layer] = set()

    def start(self, call: Call) -> Entry:
        """Look at a BatchNorm before anything moves."""
        refusal = None
        self._names[call] = call.layer.name
        try:
            _require_inference(call)
            require_float(call)
            scale = batchnorm_affine(call.layer, batchnorm_axis(call)).scale
            self._facts[call] = (float(np.abs(scale).max()), int(np.sum(scale == 0)))
        except Refused as refused:
            refusal = refused
        if any(fnmatch.fnmatch(call.layer.name, pattern) for pattern in self._keep):
            refusal = Refused(Reason.NOT_ASKED, "it was asked to be kept")
            self._untouched.add(call.layer)
        if refusal is not None:
            return self._entry(call, "kept", refusals={"": refusal})
        return self._entry(call, "folded_backward")

    def attempt(self, calls: list[Call], send: Any) -> dict[Call, Entry]:
        """Try to send BatchNorms one way: all calls of a shared one together, then each alone."""
        done: dict[Call, Entry] = {}
        for group in _by_layer(calls):
            done.update(self._together(group, send))
            if len(group) > 1 and not done.keys() >= set(group):
                for call in group:
                    done.update(self._together([call], send))
        return done

    def _together(self, calls: list[Call], send: Any) -> dict[Call, Entry]:
        """Send some calls of one BatchNorm away, or none of them."""
        plan = Plan(
            self._graph,
            self._untouched,
            trainable=calls[0].layer.trainable,
            leave_shift=cancels(calls[0].layer),
        )
        try:
            for call in calls:
                plan.visit(call)
                affine = batchnorm_affine(call.layer, batchnorm_axis(call))
                tensor = call.inputs[0] if send is engine.backward else call.output
                send(tensor, affine, plan)
            plan.check()
        except Refused as refusal:
            # Its traceback would keep every array of the attempt alive.
            answer = refusal.with_traceback(None)
            for call in calls:
                self._refusals.setdefault(call, {})[send.__name__] = answer
            return {}
        plan.carry_out()
        for call in calls:
            self._graph.bypass(call)
        action = plan.action
        action = action or ("folded_backward" if send is engine.backward else "folded_forward")
        return {call: self._entry(call, action, into=plan.into) for call in calls}

    def merged(self, call: Call, into: str) -> Entry:
        """Tell that a BatchNorm became part of a parallel convolution."""
        return self._entry(call, "merged", into=[into])

    def kept(self, call: Call) -> Entry:
        """Tell why a BatchNorm went nowhere."""
        refusals = dict(self._refusals[call])
        if not self._forward:
            refusals["forward"] = Refused(Reason.NOT_ASKED, "forward")
        return self._entry(call, "kept", refusals=refusals)

    def _entry(
        self,
        call: Call,
        action: Any,
        *,
        into: Iterable[str] = (),
        refusals: dict[str, Refused] | None = None,
    ) -> Entry:
        reasons = refusals or {}
        largest, dead = self._facts.get(call, (-1.0, 0))
        told = "; ".join(f"{way}: {no}" if way else str(no) for way, no in reasons.items())
        codes = tuple(no.reason.value for no in reasons.values())
        return Entry(self._names[call], action, tuple(into), told, codes, largest, dead)


def _fold_preprocessing(source: Graph) -> Iterable[Entry]:
    """Fold the preprocessing layers of a graph in place.

    BatchNorms go first: the map that may be left here would stand in their way.
    """
    for call, outcome in fold_inputs(source).items():
        scale, refusal = outcome.scale, outcome.refusal
        yield Entry(
            call.layer.name if call.layer.source is None else call.layer.source.name,
            cast(Action, outcome.action),
            outcome.into,
            "" if refusal is None else str(refusal),
            () if refusal is None else (refusal.reason.value,),
            -1.0 if scale is None else float(np.abs(scale).max()),
            0 if scale is None else int(np.sum(scale == 0)),
        )


def _is_batchnorm(call: Call) -> bool:
    return issubclass(call.layer.cls, keras.layers.BatchNormalization)


def _require_inference(call: Call) -> None:
    """Refuse a BatchNorm that is more than a scale and a shift.

    A mask is no reason: it chooses what statistics are made of, and inference makes none.
    """
    if call.layer.cls is not keras.layers.BatchNormalization:
        raise Refused(Reason.UNSUPPORTED_LAYER, engine.describe(call))
    # A frozen one uses its stored statistics even when it is called for training.
    if call.kwargs.get("training") and call.layer.config.get("trainable", True):
        raise Refused(Reason.TRAINING_MODE, engine.describe(call))


def _by_layer(calls: list[Call]) -> list[list[Call]]:
    """Group calls by their layer, in the order of first calls."""
    groups: dict[Any, list[Call]] = {}
    for call in calls:
        groups.setdefault(call.layer, []).append(call)
    return list(groups.values())


def _require_matches(patterns: tuple[str, ...], names: list[str]) -> None:
    """Refuse a pattern that keeps nothing: it is likely misspelt."""
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise InputError(
                f"keep: no BatchNorm is named {pattern!r}; there are {len(names)}"
                + (f", such as {', '.join(names[:3])}" if names else "")
            )


def _inside(source: Graph) -> Iterable[Entry]:
    """Report the BatchNorms inside layers whose graph cannot be seen."""
    for call in source.calls:
        inner = getattr(call.layer.source, "_flatten_layers", None)
        if inner is None or _is_batchnorm(call):
            continue
        for layer in inner(include_self=False):
            if isinstance(layer, keras.layers.BatchNormalization):
                refusal = Refused(Reason.INSIDE_LAYER, engine.describe(call))
                name = f"{call.layer.name}/{layer.name}"
                codes = (refusal.reason.value,)
                yield Entry(name, "kept", (), str(refusal), codes, -1.0, 0)
