"""``zoo web``: exported models on a page."""

import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from zoo.cli.screen import Json, finish


def web(
    bundles: Annotated[
        list[Path],
        typer.Argument(
            metavar="BUNDLE...", help="Folders that zoo export wrote.", show_default=False
        ),
    ],
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the page goes.")] = Path(
        "runs/web"
    ),
    serve: Annotated[
        bool, typer.Option("--serve", help="Serve the page on this machine until Ctrl-C.")
    ] = False,
    port: Annotated[int, typer.Option(help="With --serve: the port; 0 for a free one.")] = 8080,
    as_json: Json = False,
) -> None:
    """Write a page that runs exported models in a browser, for any web server."""
    import export
    from export.web_server import serving

    folder = export.web(bundles, out)
    document = {"page": str(folder / "index.html"), "bundles": [str(path) for path in bundles]}

    def human(console: Console) -> None:
        console.print(f"page  {folder / 'index.html'}", markup=False)

    if not serve:
        finish(document, human, as_json=as_json)
        return
    with serving(folder, port=port) as address:
        document["address"] = address
        finish(
            document,
            lambda console: console.print(f"page  {address}  (Ctrl-C ends it)", markup=False),
            as_json=as_json,
        )
        signal.pause()
