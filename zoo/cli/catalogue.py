"""``zoo list``, ``zoo show`` and ``zoo results``: what there is."""

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from zoo.cli.learning import RUNS
from zoo.cli.measured import runs_table
from zoo.cli.screen import Json, finish, rows
from zoo.cli.startup import load_keras
from zoo.errors import InputError

if TYPE_CHECKING:
    from training.results import Results


def list_models(
    pattern: Annotated[str, typer.Argument(help="A shell-style pattern.")] = "*",
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="List weights instead of architectures.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the models that can be built, or those with weights."""
    import zoo

    names = zoo.list_models(pattern, pretrained=pretrained)

    def human(console: Console) -> None:
        for name in names:
            console.print(name, markup=False)
        if not names:
            kind = "weights" if pretrained else "models"
            Console(stderr=True).print(f"there are no {kind} that match {pattern}", markup=False)

    finish({"models": names}, human, as_json=as_json)


def show(
    name: Annotated[
        str, typer.Argument(help="A model (resnet20) or weights (resnet20.digits).", metavar="NAME")
    ],
    as_json: Json = False,
) -> None:
    """Show what is known of a model or of a set of weights."""
    facts = _weights(name) if "." in name else _architecture(name)

    def human(console: Console) -> None:
        console.print(rows((key.replace("_", " "), _words(value)) for key, value in facts.items()))

    finish(facts, human, as_json=as_json)


def results(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FOLDER]...",
            help="Runs, or folders of runs; by default runs and the pretrained weights.",
            show_default=False,
        ),
    ] = None,
    *,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the tables in Markdown.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the results of trainings side by side, seeds of one recipe with mean and deviation."""
    from training.results import read
    from zoo.pretrained import folders as weights

    if markdown and as_json:
        raise InputError("accepted is either --markdown or --json; received both")
    found = read(folders or [place for place in (RUNS, *weights()) if place.is_dir()])

    def human(console: Console) -> None:
        if markdown:
            sys.stdout.write(found.to_markdown())
        elif found.runs:
            console.print(runs_table(found), soft_wrap=False)
        _tell_the_rest(found)

    finish(found.to_dict(), human, as_json=as_json)
    if found.broken:
        raise typer.Exit(2)


def _tell_the_rest(found: "Results") -> None:
    """Tell, on stderr, what is not in the table."""
    told = Console(stderr=True, highlight=False, soft_wrap=True)
    if not (found.runs or found.unfinished or found.broken):
        told.print("there are no runs yet")
    for line in found.unfinished:
        told.print(Text(line))
    for line in found.broken:
        told.print(Text(f"error: {line}"))


def _architecture(name: str) -> dict[str, Any]:
    """Tell what the registry knows of a model, and how large it is."""
    import zoo
    from zoo.registry import entry

    found = entry(name)
    load_keras()
    model = zoo.create_model(name)
    return {
        "name": name,
        "input_shape": list(found.input_shape),
        "smallest_side": found.min_size,
        "classes": found.num_classes,
        "parameters": model.count_params(),
        "trainable_parameters": sum(math.prod(w.shape) for w in model.trainable_weights),
        "weights": zoo.list_models(f"{name}.*", pretrained=True),
        "paper": found.paper,
    }


def _weights(name: str) -> dict[str, Any]:
    """Tell what the card of a set of weights says."""
    import zoo

    return zoo.card(name).model_dump(mode="json")


def _words(value: Any) -> str:
    """Write a value of a card on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_words, value)) or "none"
    return (
        f"{value:,}"
        if isinstance(value, int) and not isinstance(value, bool)
        else str(value) or "not known"
    )
