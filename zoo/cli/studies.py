"""``zoo study``."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from zoo.cli.screen import DataDir, Json, finish, steps
from zoo.cli.startup import load_keras

if TYPE_CHECKING:
    from training import Report

ALL = "all"
FOLDER = Path("runs") / "studies"
_STYLES = {"held": "bold green", "held in part": "yellow", "did not hold": "bold red"}


def study(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|all",
            help="A study (learning-rate, placement, ...), the TOML file of one, or all of them.",
            show_default=False,
        ),
    ],
    *,
    full: Annotated[
        bool, typer.Option("--full", help="ResNet-20 on all of CIFAR-10, for a GPU.")
    ] = False,
    data_dir: DataDir = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The folder for runs and report; by default runs/studies/NAME. Finished runs in "
            "it are taken as they are.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Put claims about normalization to the test; go on where an earlier call ended."""
    import export
    import training

    form = "full" if full else "default"
    names = training.list_studies() if name == ALL else [name]
    recipes = [training.StudyRecipe.load(one, form) for one in names]
    load_keras()
    reports = []
    for recipe in recipes:
        folder = out or FOLDER / (recipe.name if not full else f"{recipe.name}.full")
        if name == ALL and out is not None:
            folder = out / recipe.name
        with _progress(recipe.title) as progress:
            report = training.study(
                recipe, out=folder, data_dir=data_dir, fold=export.fold, progress=progress
            )
        reports.append((report, folder))

    def human(console: Console) -> None:
        for report, folder in reports:
            console.print(_verdicts(report), soft_wrap=False)
            console.print(Text(f"wrote {folder}"))

    finish({"studies": [_told(*one) for one in reports]}, human, as_json=as_json)


@contextmanager
def _progress(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar on a terminal, and elsewhere a line for each run."""
    told = Console(stderr=True, highlight=False, soft_wrap=True)
    if told.is_terminal:
        with steps(title) as progress:
            yield progress
    else:
        yield lambda run, done, total: told.print(Text(f"{done}/{total} {run}"))


def _verdicts(report: "Report") -> Table:
    """Lay out the claims of a study with their verdicts."""
    table = Table(box=None, pad_edge=False, title=report.recipe.title, title_justify="left")
    table.add_column("verdict", no_wrap=True)
    table.add_column("claim", overflow="fold")
    table.add_column("mean", justify="right", no_wrap=True)
    table.add_column("95 % interval", justify="right", no_wrap=True)
    for judged in report.judged:
        table.add_row(
            Text(judged.verdict, style=_STYLES.get(judged.verdict, "")), judged.claim.text
        )
        for row in _parts(judged.parts):
            table.add_row("", *row)
    return table


def _parts(parts: Sequence[Any]) -> Iterator[tuple[str, str, str]]:
    """Tell each measure of a claim."""
    from training.studies.report import told

    for part in parts:
        found = part.found
        yield (
            f"  {part.rule.text}: {part.rule.in_words()}",
            told(found.mean),
            f"{told(found.low)} to {told(found.high)}",
        )


def _told(report: "Report", folder: Path) -> dict[str, Any]:
    """Tell a machine all but the single runs, which are in the folder."""
    whole = report.to_dict()
    return {"folder": str(folder), **{key: whole[key] for key in ("study", "form", "claims")}}
