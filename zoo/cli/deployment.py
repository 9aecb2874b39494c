"""``zoo fold``, ``zoo export``, ``zoo validate`` and ``zoo predict``: from weights to a server."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from zoo.cli.learning import CardOption, Model, open_classifier, test_split, training_images
from zoo.cli.screen import DataDir, Json, check_page, checks, finish, stages, steps, verdict
from zoo.cli.startup import load_keras
from zoo.cli.summary import fold_summary, read_report, summary
from zoo.errors import InputError
from zoo.files import is_dir

if TYPE_CHECKING:
    from export import Verdict

Source = Annotated[
    str,
    typer.Argument(
        metavar="NAME|FILE",
        help="Pretrained weights (resnet20.digits), or a .keras file with its card beside it.",
        show_default=False,
    ),
]
DataName = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="NAME",
        help="A data set whose test split is compared too: digits, cifar10, ...",
        show_default=False,
    ),
]


def fold(
    file: Source,
    *,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="OUT", help="The .keras file to write.", show_default=False
        ),
    ],
    forward: Annotated[
        bool,
        typer.Option(help="Whether a BatchNorm may go into the layer after it as well."),
    ] = True,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="BatchNorms to leave alone, by name: 'stem_*'. May be given several times.",
            show_default=False,
        ),
    ] = None,
    preprocessing: Annotated[
        bool,
        typer.Option(
            "--preprocessing",
            help="Fold Rescaling and Normalization layers into the next ones too.",
        ),
    ] = False,
    certify: Annotated[
        bool, typer.Option("--certify", help="Prove that the folded model is the same one.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="PAGE.html",
            help="Write a page: each BatchNorm, and the graph before and after.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Fold every BatchNorm of a model into the layers beside it."""
    import export
    from export.sources import refuse_overwriting, source
    from zoo import keras_files
    from zoo.files import check_writable, write_text

    keras_files.check_name(out)  # first: the next makes folders
    check_writable(out)
    refuse_overwriting(file, out)
    if report is not None:
        check_page(report)
    load_keras()
    given = source(file)
    folded = export.fold(given.model, forward=forward, keep=keep or (), preprocessing=preprocessing)
    certificate = export.certify(given.model, folded) if certify else None
    ok = certificate is None or certificate.ok
    if ok:
        keras_files.save(folded.model, out)
    if report is not None:
        from export.fold_report import page

        write_text(report, page(given.model, folded, name=given.name, certificate=certificate))

    def human(console: Console) -> None:
        console.print(fold_summary(folded.report))
        if certificate is not None:
            console.print(checks(certificate))
            console.print(verdict(certificate.ok))
        console.print(Text(f"wrote {out}" if ok else f"{out} was not written"))
        if report is not None:
            console.print(Text(f"wrote {report}"))

    document = {
        "ok": ok,
        "file": str(out) if ok else None,
        "report": None if report is None else str(report),
        "fold": folded.report.to_dict(),
    }
    if certificate is not None:
        document["certificate"] = certificate.to_dict()
    finish(document, human, as_json=as_json)


def export(
    file: Source,
    *,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The folder to write.", show_default=False)
    ],
    target: Annotated[
        str,
        typer.Option(
            metavar="TARGET",
            help="What it is for: onnx, triton, kserve, tfserving, openvino or litert.",
        ),
    ] = "onnx",
    precision: Annotated[
        str, typer.Option(metavar="FORMAT", help="The numbers in the file: fp32, fp16 or int8.")
    ] = "fp32",
    pixels: Annotated[
        bool,
        typer.Option(
            "--pixels", help="Preprocess inside the file: it takes uint8 images of any size."
        ),
    ] = False,
    instances: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="How many of the model a server runs side by side; as many as it has cores answer "
            "the most requests, one answers a lone request soonest.",
        ),
    ] = 1,
    data: DataName = None,
    calibration_images: Annotated[
        int,
        typer.Option(metavar="N", help="How many training images calibrate int8."),
    ] = 128,
    accuracy_limit: Annotated[
        float,
        typer.Option(metavar="POINTS", help="The accuracy that fp16 and int8 may lose."),
    ] = 0.5,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Fold, certify, export to ONNX, validate and time a model; write a bundle, or nothing."""
    from export import bundle
    from export.quantization import CHOOSING, PRECISIONS, check_numbers
    from export.sources import source

    if precision in PRECISIONS:
        check_numbers(accuracy_limit, calibration_images=calibration_images)
        if data is None:
            raise InputError(f"--precision {precision}: --data is missing, by which it is chosen")
    load_keras()
    given = source(file)
    images = calibration = None
    if data is not None:
        images = test_split(data, data_dir, given.preprocessing, given.labels)
    if data is not None and precision in PRECISIONS:
        most = calibration_images + CHOOSING
        calibration = training_images(data, data_dir, given.preprocessing, most, given.labels)
    with stages() as progress:
        folder = bundle(
            given,
            out,
            target=target,
            precision=precision,
            pixels=pixels,
            instances=instances,
            data=images,
            calibration=calibration,
            calibration_images=calibration_images,
            accuracy_limit=accuracy_limit,
            progress=progress,
        )
    report = read_report(folder)
    finish(report, lambda console: console.print(summary(report, folder)), as_json=as_json)


def validate(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="BUNDLE|FILE.onnx", help="The bundle or file to judge.", show_default=False
        ),
    ],
    *,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="The model that a file should compute; a bundle brings its own.",
            show_default=False,
        ),
    ] = None,
    data: DataName = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Judge a bundle as it was shipped, or whether an ONNX file computes what a model computes."""
    load_keras()
    if is_dir(file):
        answer = _validated_bundle(file, against, data, data_dir)
    else:
        answer = _validated_file(file, against, data, data_dir)

    def human(console: Console) -> None:
        console.print(checks(answer))
        console.print(verdict(answer.ok))

    finish(answer.to_dict(), human, as_json=as_json)


def serve(
    bundle: Annotated[
        Path,
        typer.Argument(metavar="BUNDLE", help="A bundle for triton or kserve.", show_default=False),
    ],
    *,
    http_port: Annotated[int, typer.Option(metavar="PORT", help="0 for any free one.")] = 8000,
    grpc_port: Annotated[int, typer.Option(metavar="PORT", help="0 for any free one.")] = 8001,
    metrics_port: Annotated[int, typer.Option(metavar="PORT", help="0 for any free one.")] = 8002,
    threads: Annotated[
        int | None,
        typer.Option(help="Threads of an instance; by default one a core.", show_default=False),
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long it may take to become ready.")
    ] = 60.0,
    model_control: Annotated[
        str,
        typer.Option(
            metavar="MODE",
            help="When models are loaded: none (at the start), explicit (on request) or poll.",
        ),
    ] = "none",
    log: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep the server's log.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Serve a bundle by NVIDIA Triton on this machine alone, until Ctrl-C."""
    import export

    with ExitStack() as stack:
        with stages() as progress:
            server = stack.enter_context(
                export.serve(
                    bundle,
                    http_port=http_port,
                    grpc_port=grpc_port,
                    metrics_port=metrics_port,
                    threads=threads,
                    timeout=timeout,
                    model_control=model_control,
                    log=log,
                    progress=progress,
                )
            )
        facts = server.to_dict()
        lines = [f"{name:<8} {value}" for name, value in facts.items()]
        lines.append(f"try      zoo predict {facts['http']} IMAGE")
        lines.append(f"or       {server.python} {bundle / 'client.py'} --url {server.http}")
        try:  # whoever reads that it serves may end it at once
            finish(facts, lambda console: console.print(Text("\n".join(lines))), as_json=as_json)
            server.wait()
        except KeyboardInterrupt as interrupt:
            raise type(interrupt)("the server was ended, with all that it started") from interrupt


def _validated_bundle(
    folder: Path, against: str | None, data: str | None, data_dir: str | None
) -> "Verdict":
    """Judge a bundle."""
    import export
    from export.bundle_checks import fed_with

    if against is not None:
        raise InputError("--against: accepted for an ONNX file alone; a bundle brings its model")
    fed = None if data is None else fed_with(folder)
    images = None if data is None or fed is None else test_split(data, data_dir, *fed)
    with steps("comparing") as progress:
        return export.validate_bundle(folder, data=images, progress=progress)


def _validated_file(
    file: Path, against: str | None, data: str | None, data_dir: str | None
) -> "Verdict":
    """Judge an ONNX file."""
    import export
    from export.sources import source

    if against is None:
        raise InputError(
            f"{file}: --against NAME|FILE is missing, the model that the file should compute; "
            "without it, accepted is a folder that `zoo export` wrote"
        )
    given = source(against)
    images = None if data is None else test_split(data, data_dir, given.preprocessing, given.labels)
    with steps("comparing") as progress:
        return export.validate(
            given.model, file, data=images, card=given.card or given.neighbour, progress=progress
        )


def predict(
    file: Model,
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE...", help="Image files.", show_default=False)
    ],
    *,
    card: CardOption = None,
    as_json: Json = False,
) -> None:
    """Classify image files; the five most probable classes of each."""
    model = open_classifier(file, card)
    answers = [(image, model.top(image)) for image in images]

    def human(console: Console) -> None:
        for image, classes in answers:
            console.print(Text(image, style="bold"))
            for label, probability in classes:
                console.print(Text(f"  {100 * probability:6.2f} %  {label}"))

    document = [
        {
            "image": image,
            "predictions": [{"label": label, "probability": p} for label, p in classes],
        }
        for image, classes in answers
    ]
    finish({"images": document}, human, as_json=as_json)
