"""``zoo list``, ``zoo show`` and ``zoo results``: what there is."""

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from zoo.cli.learning import RUNS
from zoo.cli.measured import runs_table
from zoo.cli.models import layers_table, quantity, rows_table
from zoo.cli.screen import Json, check_page, finish, rows
from zoo.cli.startup import load_keras
from zoo.errors import InputError

if TYPE_CHECKING:
    from training.results import Results


def list_models(
    pattern: Annotated[str, typer.Argument(help="A shell-style pattern.")] = "*",
    *,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="List weights instead of architectures.")
    ] = False,
    dataset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Weights trained on it; a pattern.", show_default=False),
    ] = None,
    max_parameters: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="At most so many trained parameters, for example 5M.",
            show_default=False,
        ),
    ] = None,
    min_accuracy: Annotated[
        float | None,
        typer.Option(metavar="X", help="Weights of at least this, 0 to 1.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the models that can be built, or those with weights; sizes are as papers count."""
    from zoo.catalogue import rows

    found = rows(
        pattern,
        pretrained,
        dataset=dataset,
        max_parameters=None if max_parameters is None else quantity(max_parameters),
        min_accuracy=min_accuracy,
    )

    def human(console: Console) -> None:
        if found:
            console.print(rows_table(found, console))
        else:
            Console(stderr=True).print(f"nothing matches {pattern}", markup=False)

    document = {
        "models": [row.name for row in found],
        "facts": {row.name: dataclasses.asdict(row) for row in found},
    }
    finish(document, human, as_json=as_json)


def show(
    name: Annotated[
        str, typer.Argument(help="A model (resnet20) or weights (resnet20.digits).", metavar="NAME")
    ],
    *,
    layers: Annotated[
        bool, typer.Option("--layers", help="List every layer instead of a line for each block.")
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a page with a diagram.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what is known of a model or of weights, its layers, and how they are connected."""
    from zoo.showing import check_name, describe

    if html is not None:
        check_page(html, "--html")
    check_name(name)
    load_keras()
    shown = describe(name)
    if html is not None:
        from export.model_page import write_model_page

        write_model_page(shown, html)

    def human(console: Console) -> None:
        pairs = ((key.replace("_", " "), _words(value)) for key, value in shown.facts.items())
        console.print(rows(pairs))
        console.print(layers_table(shown, console, every=layers))
        if html is not None:
            Console(stderr=True).print(f"page: {html}", markup=False)

    finish(shown.to_dict(), human, as_json=as_json)


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
