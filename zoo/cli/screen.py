"""Where a command speaks: the answer on stdout, what happens meanwhile on stderr."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from zoo.errors import InputError
from zoo.files import check_writable, writing

if TYPE_CHECKING:
    from export import Verdict

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
DataDir = Annotated[
    str | None,
    typer.Option(
        metavar="DIR",
        help="Where tensorflow-datasets keeps its data; it downloads there what is missing.",
        show_default=False,
    ),
]


def print_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")
    sys.stdout.flush()


def finish(document: dict[str, Any], human: Callable[[Console], None], *, as_json: bool) -> None:
    """Tell a command's answer, and end with 1 where it is not a good one.

    Args:
        document: The answer for machines. Where it has a key ``ok``, that is the verdict.
        human: Prints the answer for people. With ``as_json`` it goes to stderr.
        as_json: Whether stdout is to carry the document.

    Raises:
        InputError: Standard output is full.
        typer.Exit: The verdict is not good.
    """
    with writing("the answer to standard output"):
        human(Console(stderr=as_json, highlight=False, soft_wrap=True))
        if as_json:
            print_json(document)
        sys.stdout.flush()
    if not document.get("ok", True):
        raise typer.Exit(1)


def check_page(path: Path, option: str = "--report") -> None:
    """Make sure, before the long work, that a page can be written at a place."""
    if path.suffix not in (".html", ".htm"):
        raise InputError(f"{option}: accepted is a file name that ends in .html; received {path}")
    check_writable(path)


def verdict(ok: bool) -> Text:
    """Write PASS or FAIL, coloured where the screen has colours."""
    return Text("PASS", style="bold green") if ok else Text("FAIL", style="bold red")


def rows(pairs: Iterable[tuple[str, Any]]) -> Table:
    """Lay out names and values in two columns."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(name, value if isinstance(value, Text) else Text(str(value)))
    return table


@contextmanager
def stages() -> Iterator[Callable[[str, float | None], None]]:
    """Show on stderr what is being done, and what was done in how many seconds.

    Yields:
        What `export.bundle` takes as its progress.
    """
    console = Console(stderr=True, highlight=False)
    with console.status("") as status:

        def progress(stage: str, seconds: float | None) -> None:
            if seconds is None:
                status.update(f"{stage} ...")
            else:
                console.print(f"  {stage:<18} {seconds:6.1f} s", style="dim")

        yield progress


@contextmanager
def steps(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar on stderr for work whose number of steps is known.

    Args:
        title: What is being done.

    Yields:
        A function that is told the step, how many are done and how many there are.
    """
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,  # elsewhere it would leave an empty line
    )
    with bar:
        task = bar.add_task(title, total=None)

        def progress(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        yield progress


def checks(answer: "Verdict") -> Table:
    """Lay out the checks of a verdict."""
    from zoo.pages import number

    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("check", overflow="fold")
    table.add_column("measured", justify="right", overflow="fold")
    table.add_column("limit", justify="right", overflow="fold")
    for check in answer.checks:
        table.add_row(
            verdict(check.ok),
            Text(check.name if check.ok else f"{check.name}: {check.detail}"),
            Text(number(check.measured)),
            Text(number(check.limit)),
        )
    return table
