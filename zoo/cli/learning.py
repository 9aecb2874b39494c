"""``zoo train`` and ``zoo evaluate``."""

import datetime
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from zoo import onednn
from zoo.cli.measured import accuracy, confusion, measured
from zoo.cli.screen import DataDir, Json, check_page, finish, rows
from zoo.cli.startup import load_keras, stdout_for_the_answer
from zoo.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from export.prediction import Classifier
    from training import Metrics
    from zoo import Card, Preprocessing

RUNS = Path("runs")
MEMORY = 4 * 2**30  # bytes that test images may take as float32: 7,133 of 224x224 pixels
SEVERAL = "Several devices, and hosts (JAX)"

Model = Annotated[
    str,
    typer.Argument(
        metavar="NAME|FILE|ADDRESS",
        help="Pretrained weights, a .keras file with its card beside it, an .onnx file, or a model "
        "on a running server: http://HOST:PORT/v2/models/NAME, likewise https:// and grpc://.",
        show_default=False,
    ),
]
CardOption = Annotated[
    Path | None,
    typer.Option(
        "--card",
        metavar="CARD.json|BUNDLE",
        help="What tells preprocessing and labels, instead of the model itself or its card.",
        show_default=False,
    ),
]


def test_split(
    name: str,
    data_dir: str | None,
    preprocessing: "Preprocessing",
    labels: Sequence[str] | None = None,
) -> tuple["np.ndarray", "np.ndarray"]:
    """Load a test split as a model takes it, and its labels; `labels` are the model's own.

    Of a split that does not fit into `MEMORY`, as ImageNet's, some images are drawn by chance,
    always the same ones, and stderr tells so.
    """
    import training

    data = training.load_data(name, data_dir, preprocessing=preprocessing)
    data.check_labels(labels)
    size = 4 * math.prod(preprocessing.size) * preprocessing.channels
    test = data.test.some(MEMORY // size)
    if len(test) < len(data.test):
        Console(stderr=True, highlight=False, soft_wrap=True).print(
            f"{name}: {len(test):,} of {len(data.test):,} test images are taken, drawn by chance; "
            f"all would take {size * len(data.test) / 1e9:.1f} GB of memory",
            markup=False,
        )
    return preprocessing(test.images[:]), test.labels


def training_images(
    name: str,
    data_dir: str | None,
    preprocessing: "Preprocessing",
    most: int,
    labels: Sequence[str] | None = None,
) -> tuple["np.ndarray", "np.ndarray"]:
    """Load some training images as a model takes them, and their labels; see `test_split`."""
    import training

    data = training.load_data(name, data_dir, preprocessing=preprocessing)
    data.check_labels(labels)
    some = data.train.some(most)
    return preprocessing(some.images[:]), some.labels


def open_classifier(file: str, card: Path | None) -> "Classifier":
    """Open what classifies images; an ONNX file and a served model need no Keras."""
    from export.described import described
    from export.prediction import classifier, needs_keras

    told = None if card is None else described(card)
    if needs_keras(file):
        load_keras()
    return classifier(file, told)


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="A name (resnet20.digits) or a TOML file.",
            show_default=False,
        ),
    ],
    *,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change one value of the recipe, for example epochs=3 or norm.kind=group.",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="NAME|FILE",
            help="Begin with pretrained weights: a name (resnet20.digits), or a .keras file with "
            "its card beside it.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="The folder to write; by default runs/RECIPE.", show_default=False
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint in the folder.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is in the folder.")
    ] = False,
    devices: Annotated[
        str | None,
        typer.Option(
            metavar="N|all",
            envvar="ZOO_DEVICES",
            help="Devices that each process uses; by default 1, or all with several processes.",
            rich_help_panel=SEVERAL,
            show_default=False,
        ),
    ] = None,
    processes: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto",
            envvar="ZOO_PROCESSES",
            help="Processes that train together; auto: what Slurm, Open MPI, Kubernetes or Cloud "
            "TPU says.",
            rich_help_panel=SEVERAL,
            show_default=False,
        ),
    ] = None,
    coordinator: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            envvar="ZOO_COORDINATOR",
            help="Where process 0 is found.",
            rich_help_panel=SEVERAL,
            show_default=False,
        ),
    ] = None,
    process_id: Annotated[
        int | None,
        typer.Option(
            metavar="I",
            envvar="ZOO_PROCESS_ID",
            help="The number of this process, from 0; process 0 writes and speaks.",
            rich_help_panel=SEVERAL,
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a model as a recipe says; leave its weights, card, history and recipe."""
    import training
    from training.distribution import is_first
    from training.folders import keep_recipe

    begun = {} if weights is None else {"weights": weights}
    chosen = training.Recipe.load(recipe, changes or (), **begun)
    distribution = training.Distribution(
        **_given(
            devices=_number(devices),
            processes=_number(processes),
            coordinator=coordinator,
            process_id=process_id,
        )
    )
    folder = out or RUNS / chosen.name
    if not resume:
        keep_recipe(recipe, folder)
    onednn.prefer()
    load_keras()
    with stdout_for_the_answer() if distribution.processes != 1 else nullcontext():
        result = training.train(
            chosen,
            out=folder,
            data_dir=data_dir,
            resume=resume,
            overwrite=overwrite,
            distribution=distribution,
        )
    if not is_first():
        return
    metrics = result.card.metrics
    facts = [
        ("model", result.card.name),
        ("precision", result.card.precision),
        ("test accuracy", _accuracy(metrics, "test_accuracy")),
        *_by_views(metrics),
        ("test images", f"{metrics['test_images']:,}"),
        ("seconds", f"{result.seconds:.1f}"),
        ("images/s", f"{metrics['images_per_second']:,.0f}"),
        ("folder", str(folder)),
    ]
    document = {
        "folder": str(folder),
        "card": result.card.model_dump(mode="json"),
        "history": result.history,
    }
    finish(document, lambda console: console.print(rows(facts)), as_json=as_json)


def evaluate(
    file: Model,
    *,
    data: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The data set: digits, cifar10, folder:PATH, ...",
            show_default=False,
        ),
    ],
    card: CardOption = None,
    data_dir: DataDir = None,
    views: Annotated[
        int,
        typer.Option(
            metavar="1|2|6",
            help="Average the logits of so many views of each image: 2 are the image and its "
            "mirror image, 6 both shifted by a pixel too.",
        ),
    ] = 1,
    skip_corrupt: Annotated[
        bool, typer.Option("--skip-corrupt", help="Leave out images that cannot be read.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="PAGE.html",
            help="Write a page: confusion matrix, each class, the most confident mistakes.",
            show_default=False,
        ),
    ] = None,
    write_card: Annotated[
        bool,
        typer.Option("--write-card", help="Store what is measured in the card beside the file."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure the accuracy of a model on the test split of a data set."""
    if write_card:
        if card is not None:
            raise InputError(
                "accepted is either --card or --write-card: what is measured by another card does "
                "not belong in the one beside the file; received both"
            )
        _own_card(file)
    if report is not None:
        check_page(report)
    import training
    from training.evaluation import answers
    from training.views import check
    from zoo.files import write_text

    check(views)

    model = open_classifier(file, card)
    load_keras()  # reading the data may load TensorFlow, which speaks at its start
    loaded = training.load_data(
        data, data_dir, skip_corrupt=skip_corrupt, preprocessing=model.known_preprocessing
    )
    found = answers(model.logits, loaded, labels=model.labels or None, views=views)
    metrics = found.metrics()
    document = {**metrics.to_dict(), "notes": list(loaded.notes)}
    wrote = []
    if report is not None:
        from training.evaluation_page import page

        wrote.append(write_text(report, page(model.name, data, found)))
        document["report"] = str(report)
    if write_card:
        wrote.append(_store(file, data, metrics))
        document["card"] = str(wrote[-1])

    def human(console: Console) -> None:
        console.print(rows([("model", model.name), *measured(metrics)]))
        console.print(confusion(metrics, console))
        for note in loaded.notes:
            console.print(Text(f"note: {note}"))
        for path in wrote:
            console.print(Text(f"wrote {path}"))

    finish(document, human, as_json=as_json)


def _own_card(file: str) -> "Card":
    """Read the card that a measurement can be stored in, or refuse."""
    from zoo.cards import own_card

    if Path(file).suffix != ".keras":
        raise InputError(
            "--write-card: accepted is a .keras file with its card.json beside it, no other "
            f"file, no pretrained weights by name and no address; received {file}"
        )
    return own_card(file)


def _store(file: str, data: str, metrics: "Metrics") -> Path:
    """Store a measurement in the card beside a file; return the card's path."""
    from zoo.cards import CARD_FILE, Evaluation

    card = _own_card(file)
    low, high = metrics.interval
    evaluation = Evaluation(
        accuracy=metrics.accuracy,
        low=low,
        high=high,
        loss=metrics.loss,
        images=metrics.count,
        views=metrics.views,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
    )
    name = data if metrics.views == 1 else f"{data}, {metrics.views} views"
    kept = {**card.evaluations, name: evaluation}
    return card.model_copy(update={"evaluations": kept}).write(Path(file).parent / CARD_FILE)


def _given(**options: Any) -> dict[str, Any]:
    """Keep the options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def _number(text: str | None) -> int | str | None:
    """Read an option that is a number or a word."""
    return int(text) if text is not None and text.isdecimal() else text


def _accuracy(metrics: Mapping[str, float], name: str) -> str:
    """Write an accuracy that a card tells, with its interval."""
    return accuracy(metrics[name], (metrics[f"{name}_low"], metrics[f"{name}_high"]))


def _by_views(metrics: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Tell the accuracy of several views of each image, where it was measured."""
    if "test_views" in metrics:
        yield f"by {metrics['test_views']} views", _accuracy(metrics, "test_views_accuracy")
