"""What a fold did, as one page that a person reads: numbers, every BatchNorm, two pictures."""

import math
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from typing import get_args

import keras

from export import graph_reading
from export.certificate import Certificate
from export.folding import Action, Entry, Folded
from export.graph import Call, Graph
from export.graph_picture import Picture, picture
from export.report import HUGE_SCALE, render
from export.rules.inputs import KINDS

TEMPLATE = "fold_report.html.j2"
MOST_CALLS = 2000  # of a model that is drawn; beyond, nobody finds anything in a picture
_TAKEN_IN = ("changed", "")  # the mark of a layer that took something in
_NEW = ("new", "")


def page(
    model: keras.Model,
    folded: Folded,
    *,
    name: str = "",
    certificate: Certificate | None = None,
) -> str:
    """Write what a fold did as one page that asks for nothing from anywhere else.

    Args:
        model: The model that was folded.
        folded: What `export.fold` made of it.
        name: What to call the model; its own name where that is empty.
        certificate: What `export.certify` found, if it was asked.

    Returns:
        HTML.

    Example:
        >>> zoo.files.write_text("report.html", export.fold_report.page(model, folded))
    """
    report = folded.report
    before, after = graph_reading.read(model), graph_reading.read(folded.model)
    entries = (*report.entries, *report.preprocessing)
    found = Counter(entry.action for entry in report.entries)
    return render(
        TEMPLATE,
        name=name or model.name,
        report=report,
        certificate=certificate,
        actions={action: found[action] for action in get_args(Action) if found[action]},
        largest=max(report.entries, key=lambda entry: entry.max_scale, default=None),
        huge=[entry for entry in report.entries if entry.max_scale >= HUGE_SCALE],
        dead=sum(entry.dead_channels for entry in report.entries),
        layers=[_layers(before), _layers(after)],
        parameters=[_parameters(model), _parameters(folded.model)],
        pictures=_pictures(before, after, entries),
        versions={package: version(package) for package in ("foldzoo", "keras", "numpy")},
    )


def _layers(read: Graph) -> int:
    """Count the layers of a graph that are more than its inputs."""
    return sum(not issubclass(layer.cls, keras.layers.InputLayer) for layer in read.layers())


def _parameters(model: keras.Model) -> int:
    """Count the numbers in a model's weights."""
    return sum(math.prod(weight.shape) for weight in model.weights)


def _pictures(before: Graph, after: Graph, entries: tuple[Entry, ...]) -> tuple[Picture, ...]:
    """Draw both graphs, the second one so that what stayed is at the same height; or none."""
    if len(before.calls) > MOST_CALLS:
        return ()
    first = picture(before, _fates(before, entries))
    known = {layer.name: layer.label for layer in before.layers()}
    taken_in = {layer for entry in entries for layer in entry.into}
    marks: Mapping[Call, tuple[str, str]] = {
        call: _TAKEN_IN if call.layer.name in taken_in else _NEW
        for call in after.calls
        if call.layer.name in taken_in or known.get(call.layer.name) != call.layer.label
    }
    kept = {call: mark for call, mark in _fates(after, entries).items() if mark[0] == "kept"}
    return first, picture(after, {**marks, **kept}, beside=first)


def _fates(read: Graph, entries: tuple[Entry, ...]) -> dict[Call, tuple[str, str]]:
    """Tell what became of each BatchNorm and preprocessing layer, by its name."""
    found = {entry.layer: entry for entry in entries}
    kinds = (keras.layers.BatchNormalization, *KINDS)
    return {
        call: (entry.action, entry.action.replace("_", " "))
        for call in read.calls
        if issubclass(call.layer.cls, kinds)
        and (entry := found.get(call.layer.source.name)) is not None
    }
