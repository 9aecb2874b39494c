"""``zoo bench``: models in several formats, side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from zoo.cli.learning import training_images
from zoo.cli.screen import DataDir, Json, finish, steps
from zoo.cli.startup import load_keras
from zoo.errors import InputError

if TYPE_CHECKING:
    from zoo.preprocessing import Preprocessing

_IMAGES = 64


def bench(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME|FILE...",
            help="Pretrained weights, .keras files, or .onnx files, measured as they are.",
            show_default=False,
        ),
    ],
    *,
    formats: Annotated[
        str, typer.Option(metavar="LIST", help="Of keras, folded, fp32, fp16, int8, openvino.")
    ] = "keras,folded,fp32,int8,openvino",
    batch: Annotated[str, typer.Option(metavar="LIST", help="Images in a call.")] = "1,8",
    threads: Annotated[str, typer.Option(metavar="LIST", help="Within an operation.")] = "1,2",
    data: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A data set whose training images are run; random ones otherwise.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
    rounds: Annotated[int, typer.Option(metavar="N", help="Turns that each one has.")] = 10,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write bench.json and bench.html there.", show_default=False
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure latency, throughput and memory of models in several formats, taking turns."""
    import export
    from export.benchmark import HEADER, cells, check_folder

    if out is not None:
        check_folder(out)
    batches, counts = _numbers("--batch", batch), _numbers("--threads", threads)
    load_keras()
    images = None
    if data is not None:
        images, _ = training_images(data, data_dir, _preprocessing(models[0]), _IMAGES)
    with steps("measuring") as progress:
        found = export.bench(
            models,
            formats=formats.split(","),
            batches=batches,
            threads=counts,
            images=images,
            rounds=rounds,
            progress=progress,
        )
    if out is not None:
        found.write(out)

    def human(console: Console) -> None:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for number, name in enumerate(HEADER):
            table.add_column(name, justify="right" if number > 1 else "left", no_wrap=True)
        for row in found.rows:
            table.add_row(*map(Text, cells(row)))
        console.print(table)
        for line in found.skipped:
            console.print(Text(f"left out: {line}"))
        if out is not None:
            console.print(Text(f"wrote {out}"))

    finish(found.to_dict(), human, as_json=as_json)


def _preprocessing(model: str) -> "Preprocessing":
    """Find out how images are made for a model; an ONNX file tells it itself."""
    from export.onnx_metadata import read_metadata
    from export.prediction import is_onnx
    from export.sources import source, unknown_preprocessing
    from zoo.preprocessing import Preprocessing

    if not is_onnx(model):
        return source(model).preprocessing
    told = read_metadata(model).get("preprocessing")
    if told is None:
        raise unknown_preprocessing(model)
    return Preprocessing(**told)


def _numbers(option: str, text: str) -> list[int]:
    """Read a list of whole numbers."""
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise InputError(
            f"{option}: accepted are whole numbers with commas between; received {text!r}"
        ) from None
