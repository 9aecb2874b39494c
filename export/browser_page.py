"""A page that runs exported models in a browser: static files, for any web server."""

import base64
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export import manifest, onnx_metadata, pixel_checks, pixels
from export.errors import ExportError
from export.report import FORMAT, PAGE_FILE, REPORT_FILE
from zoo.errors import InputError
from zoo.files import PLACE_REMEDIES, replacing_folder, sha256, writing
from zoo.pages import number, percent, render
from zoo.preprocessing import Preprocessing

if TYPE_CHECKING:
    import onnx

TEMPLATES = Path(__file__).parent / "templates" / "web"
RUNTIME = "onnxruntime-web"
RUNTIME_VERSION = "1.30.0"
# What runs a model on WebAssembly, of the many files of the package.
RUNTIME_FILES = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
)
_PNG = "data:image/png;base64,"
MODELS_FILE = "models.json"
# Every file of a page, and what `models.json` tells of each model: what has more is not ours.
_PARTS = re.compile(
    rf"{MODELS_FILE}|index\.html|app\.js|ort/({'|'.join(map(re.escape, RUNTIME_FILES))})"
    rf"|models/[^/]+/(model\.onnx|{re.escape(PAGE_FILE)}|sample[0-9]+\.png)"
)
_KEYS = {"slug", "title", "file", "report", "channels", "labels", "samples", "facts", "fold"}
_NEWER_KEYS = {"activation"}  # which pages of before lack


@dataclass(frozen=True)
class Bundle:
    """What a page shows of one bundle.

    Args:
        title: Its name and number format.
        folder: Where it lies.
        proto: Its ONNX file, with the preprocessing inside.
        channels: How many colours an image has there.
        labels: The classes' names; empty where the file has none.
        activation: What the file applies at its end, if it gives no logits.
        samples: A few test images, as PNG files, with the classes that they show.
        facts: What a person wants to know of the model.
        fold: What became of each BatchNorm.
    """

    title: str
    folder: Path
    proto: "onnx.ModelProto"
    channels: int
    labels: tuple[str, ...]
    activation: str | None
    samples: list[tuple[bytes, str]]
    facts: list[tuple[str, str]]
    fold: list[tuple[str, str, str]]


def web(
    bundles: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    runtime: str | os.PathLike[str] | None = None,
) -> Path:
    """Write a page on which a person picks a model and an image and sees the classes.

    The page asks for nothing but its own files. It runs each bundle's ONNX file by onnxruntime-web,
    with the preprocessing put inside where it is not yet.

    Args:
        bundles: Folders that `export.bundle` wrote.
        out: The folder; a new or empty one, or one that holds an older page.
        runtime: A folder with onnxruntime-web's files; by default they are installed by npm into
            the cache, once.

    Returns:
        The folder. ``index.html`` is the page; it has to come from a web server.

    Raises:
        InputError: A folder is no bundle, a file of it was changed or does not tell its
            preprocessing, the place cannot be written, or npm is missing.
        ExportError: The preprocessing inside would not be Pillow's.

    Example:
        >>> export.web(["bundle"], "site") / "index.html"
    """
    if not bundles:
        raise InputError("bundles: accepted is at least one folder; received none")
    read = [_read(Path(folder)) for folder in bundles]
    with writing(out, PLACE_REMEDIES):
        out = Path(out).resolve()
        _refuse_what_is_no_page(out)
    files = _runtime() if runtime is None else _complete(Path(runtime))
    with replacing_folder(out) as folder:
        (folder / "ort").mkdir()
        for name in RUNTIME_FILES:
            shutil.copyfile(files / name, folder / "ort" / name)
        slugs = _slugs([bundle.title for bundle in read])
        models = [
            _write_model(bundle, folder, slug) for bundle, slug in zip(read, slugs, strict=True)
        ]
        (folder / MODELS_FILE).write_text(json.dumps(models, indent=1), encoding="utf-8")
        (folder / "app.js").write_bytes((TEMPLATES / "app.js").read_bytes())
        page = render(TEMPLATES, "index.html.j2", models=models)
        (folder / "index.html").write_text(page, encoding="utf-8")
    return out


def _read(folder: Path) -> Bundle:
    """Read a bundle; its ONNX file must be the one that its report speaks of."""
    try:
        report = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
        known = report["format"] == FORMAT
        files = {file["name"]: file["sha256"] for file in report["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        known, files = False, {}
    names = [name for name in files if name.endswith(".onnx")]
    if not known or len(names) != 1:
        raise InputError(
            f"{folder} is no bundle; accepted are folders that zoo export wrote, with a "
            f"{REPORT_FILE} and one ONNX file"
        )
    path = folder / names[0]
    proto = onnx_metadata.load(path)
    if sha256(path) != files[names[0]]:
        raise InputError(f"{path} was changed after the checks: its SHA-256 is another")
    said = onnx_metadata.metadata_of(proto, path)
    if "preprocessing" not in said:
        raise InputError(f"{path} does not tell how images are preprocessed; export it with a card")
    preprocessing = Preprocessing(**said["preprocessing"])
    if said.get("input") != onnx_metadata.PIXELS:
        proto = pixels.embedded(proto, preprocessing, nchw=said.get("layout") == "NCHW")
    for check in pixel_checks.front_checks(pixels.front_of(proto), preprocessing):
        if not check.ok:
            raise ExportError(f"{path}: {check.name}: {check.measured}, accepted {check.limit}")
    labels = tuple(said.get("labels") or ())
    try:
        shown = _shown(report, preprocessing)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        lacking = f"it has no {error}" if isinstance(error, KeyError) else error
        raise InputError(
            f"{folder / REPORT_FILE} is damaged: {lacking}; accepted is one as zoo export wrote it"
        ) from error
    return Bundle(
        folder=folder,
        proto=proto,
        channels=preprocessing.channels,
        labels=labels,
        activation=said.get("activation"),
        **shown,
    )


def _shown(report: Mapping[str, Any], made: Preprocessing) -> dict[str, Any]:
    """Choose what is shown of a report; it raises whatever a damaged one leads to."""
    return {
        "title": f"{report['name']}, {report['precision']}",
        "samples": [
            (base64.b64decode(one["image"].removeprefix(_PNG)), one["label"])
            for one in report["samples"]
        ],
        "facts": _facts(report, made),
        "fold": _fold(report["fold"]),
    }


def _refuse_what_is_no_page(out: Path) -> None:
    """Refuse to replace a folder that holds anything but an older page."""
    if not out.is_dir() or not any(out.iterdir()):
        return
    whole = _tells_models(out / MODELS_FILE)
    others = [path for path in manifest.held(out) if not (whole and _PARTS.fullmatch(path))]
    if others:
        raise InputError(
            f"cannot write {out}: it holds {others[0]}, which is no part of a page; "
            "accepted are a new folder, an empty one and one that holds an older page alone"
        )


def _tells_models(path: Path) -> bool:
    """Say whether a file is the list of models that we write; anybody may call a file so."""
    try:
        models = json.loads(path.read_text(encoding="utf-8"))
        return bool(models) and all(set(model) - _NEWER_KEYS == _KEYS for model in models)
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def _slugs(titles: Sequence[str]) -> list[str]:
    """Make a folder's name of each title, each another one."""
    made: list[str] = []
    for title in titles:
        slug = base = re.sub(r"[^\w.]+", "-", title).strip("-.") or "model"
        count = 1
        while slug in made:
            count += 1
            slug = f"{base}-{count}"
        made.append(slug)
    return made


def _write_model(bundle: Bundle, folder: Path, slug: str) -> dict[str, Any]:
    """Write a model's files; return what the page's script knows of it."""
    place = folder / "models" / slug
    place.mkdir(parents=True)
    (place / "model.onnx").write_bytes(bundle.proto.SerializeToString(deterministic=True))
    report = bundle.folder / PAGE_FILE
    if report.is_file():
        shutil.copyfile(report, place / PAGE_FILE)
    samples = []
    for index, (image, label) in enumerate(bundle.samples):
        name = f"sample{index}.png"
        (place / name).write_bytes(image)
        samples.append({"file": f"models/{slug}/{name}", "label": label})
    return {
        "slug": slug,
        "title": bundle.title,
        "file": f"models/{slug}/model.onnx",
        "report": f"models/{slug}/{PAGE_FILE}",
        "channels": bundle.channels,
        "labels": list(bundle.labels),
        "activation": bundle.activation,
        "samples": samples,
        "facts": bundle.facts,
        "fold": bundle.fold,
    }


def _facts(report: Mapping[str, Any], made: Preprocessing) -> list[tuple[str, str]]:
    """Choose what a person wants to know of a model: its card in short, and its preprocessing."""
    card, accuracy, fold = report["card"] or {}, report["accuracy"], report["fold"]
    height, width = made.size
    kept = f"the central {made.crop:g} of it" if made.crop else "the whole image"
    facts = [
        ("Model", report["name"]),
        ("Data", card.get("dataset", "not known")),
        ("Parameters", number(report["source"]["parameters"])),
        ("Number format", report["precision"]),
        ("BatchNorms", f"{fold['folded']} folded, {fold['kept']} kept"),
        ("Size", f"{height} x {width} pixels, {made.interpolation}, {kept}"),
        ("Colours", "red, green, blue" if made.channels == 3 else "grey"),
        ("Scale", f"(v x {made.scale:.6g} - mean) / std"),
        ("Mean", ", ".join(f"{value:g}" for value in made.mean)),
        ("Standard deviation", ", ".join(f"{value:g}" for value in made.std)),
    ]
    if accuracy:
        words = f"{percent(accuracy['onnx'])} of {number(accuracy['images'])} test images"
        facts.insert(2, ("Accuracy", words))
    return facts


def _fold(fold: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Tell of each BatchNorm what became of it."""
    return [
        (
            entry["layer"],
            entry["action"].replace("_", " "),
            entry["reason"] or ", ".join(entry["into"]),
        )
        for entry in fold["entries"]
    ]


def _complete(folder: Path) -> Path:
    """Make sure that a folder holds the runtime."""
    missing = [name for name in RUNTIME_FILES if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"runtime: accepted is a folder with {', '.join(RUNTIME_FILES)}; {folder} lacks "
            f"{', '.join(missing)}"
        )
    return folder


def _runtime() -> Path:
    """Return the runtime's files, installed into the cache by npm where they are not there yet."""
    from zoo.downloads import cache

    place = cache() / f"{RUNTIME}-{RUNTIME_VERSION}"
    if place.is_dir():
        return _complete(place)
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(
            f"the page runs by {RUNTIME} {RUNTIME_VERSION}, which npm installs, and npm is not "
            "there; install it, for example by apt-get install npm, or pass a folder with "
            f"{', '.join(RUNTIME_FILES)} as runtime"
        )
    with writing(place), replacing_folder(place) as folder:
        work = folder / "npm"
        work.mkdir()
        command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(
            [*command, "--prefix", str(work), f"{RUNTIME}@{RUNTIME_VERSION}"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            told = " ".join(done.stderr.split())[-300:]
            raise InputError(f"npm cannot install {RUNTIME} {RUNTIME_VERSION}: {told}")
        for name in RUNTIME_FILES:
            shutil.copyfile(work / "node_modules" / RUNTIME / "dist" / name, folder / name)
        shutil.rmtree(work)
    return _complete(place)
