"""All commands of ``zoo``, in the order in which its help lists them."""

from typing import Annotated

import typer

from zoo.cli import (
    benchmark,
    browser,
    catalogue,
    demonstration,
    deployment,
    learning,
    studies,
)

app = typer.Typer(
    name="zoo",
    help="CNNs that arrive on an inference server exactly as they were trained.",
    epilog="Example: zoo demo",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show a traceback with an error; anywhere in the line.")
    ] = False,
) -> None:
    """Declare what `zoo.cli.main` takes out of the line before typer sees it."""


app.command("demo", epilog="Example: zoo demo --out runs/demo")(demonstration.demo)
app.command("list", epilog="Example: zoo list 'resnet*'")(catalogue.list_models)
app.command("show", epilog="Example: zoo show resnet20")(catalogue.show)
app.command("results", epilog="Example: zoo results runs --markdown")(catalogue.results)
app.command("train", epilog="Example: zoo train resnet20.digits --set epochs=3 --out runs/three")(
    learning.train
)
app.command("evaluate", epilog="Example: zoo evaluate runs/three/model.keras --data digits")(
    learning.evaluate
)
app.command(
    "fold",
    epilog="Example: zoo fold runs/three/model.keras -o folded.keras --certify --report fold.html",
)(deployment.fold)
app.command(
    "export", epilog="Example: zoo export runs/three/model.keras --data digits --out bundle"
)(deployment.export)
app.command(
    "validate",
    epilog="Examples: zoo validate bundle --data digits; "
    "zoo validate bundle/model.onnx --against runs/three/model.keras",
)(deployment.validate)
app.command("serve", epilog="Example: zoo serve bundle --http-port 8000")(deployment.serve)
app.command("web", epilog="Example: zoo web bundle --out runs/web --serve")(browser.web)
app.command(
    "predict",
    epilog="Examples: zoo predict bundle/model.onnx image.png; "
    "zoo predict http://127.0.0.1:8000 image.png",
)(deployment.predict)
app.command("bench", epilog="Example: zoo bench resnet20.digits --formats fp32,int8 --batch 1")(
    benchmark.bench
)
app.command("study", epilog="Example: zoo study learning-rate --out runs/rates")(studies.study)
