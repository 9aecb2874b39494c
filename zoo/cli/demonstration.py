"""``zoo demo``: from images to a checked ONNX file, on data that comes with a package."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.learning import RUNS, test_split
from zoo.cli.screen import Json, finish, stages
from zoo.cli.startup import load_keras
from zoo.cli.summary import read_report, summary

RECIPE = "resnet20.digits"
FOLDER = RUNS / "demo"


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write.")] = FOLDER,
    as_json: Json = False,
) -> None:
    """Train a ResNet-20 on handwritten digits, fold, export and validate it: the whole way."""
    load_keras()
    with stages() as progress:
        folder = demonstrate(out, progress)
    report = read_report(folder)
    finish(report, lambda console: console.print(summary(report, folder)), as_json=as_json)


def demonstrate(out: Path, progress: Callable[[str, float | None], None]) -> Path:
    """Train where that is not done yet, and bundle; all files end up in one folder.

    The one place where training and export meet, neither of which knows of the other.

    Args:
        out: The folder. A finished run of the same recipe in it is taken as it is.
        progress: Told the stages of the bundle; see `export.bundle`.

    Returns:
        The folder.

    Raises:
        InputError: The folder cannot be written, or holds another run.
        ExportError: A check fails. The trained model stays.
    """
    import export
    import training
    from export.bundle_folder import FILES
    from export.sources import source
    from training import checkpoint
    from zoo.cards import MODEL_FILE
    from zoo.files import check_writable

    check_writable(out / MODEL_FILE)
    recipe = training.Recipe.load(RECIPE)
    if training.finished(out, recipe) is None:
        for name in FILES:  # they speak of a model that is about to be replaced
            (out / name).unlink(missing_ok=True)
        begun = checkpoint.exists(out)
        # Only the demo's own folder may hold a run that can be thrown away.
        training.train(recipe, out=out, resume=begun, overwrite=out == FOLDER and not begun)
    given = source(out / MODEL_FILE)
    images = test_split(recipe.dataset, None, given.preprocessing)
    with tempfile.TemporaryDirectory(dir=out, prefix=".bundle.") as beside:
        made = export.bundle(given, Path(beside) / "bundle", data=images, progress=progress)
        for name in FILES:
            (made / name).replace(out / name)
    return out
