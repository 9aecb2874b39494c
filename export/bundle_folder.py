"""What lies in a bundle's folder, and what must not."""

import json
import os
from pathlib import Path

from export import manifest, model_card, quantization, sample_request
from export.report import FORMAT, PAGE_FILE, REPORT_FILE
from export.targets import Target, kserve, layout
from zoo.errors import InputError
from zoo.files import PLACE_REMEDIES, writing

FOLDED_FILE = "folded.keras"
CLIENT_FILE = "client.py"
EXPORTED_FILE = "exported.onnx"  # until the target moves it to its place
FILES = (layout.MODEL_FILE, FOLDED_FILE, REPORT_FILE, PAGE_FILE)  # an `onnx` bundle's essence
# What is written last, and so is not among the files that the report tells of.
LAST_FILES = (REPORT_FILE, PAGE_FILE, model_card.CARD_FILE, manifest.MANIFEST_FILE)


def smaller_file(precision: str) -> str:
    """Name the file of fewer bits, until the target moves it to its place."""
    return f"{precision}.onnx"


# No model's folder can have the name of a file beside it.
RESERVED = frozenset(
    {
        *FILES,
        *LAST_FILES,
        *(CLIENT_FILE, sample_request.REQUEST_FILE, sample_request.RESPONSE_FILE),
        *(kserve.MANIFEST_FILE, EXPORTED_FILE, *map(smaller_file, quantization.PRECISIONS)),
    }
)


def refuse_reserved_name(name: str, target: Target) -> None:
    """Refuse a model whose folder in the bundle would have the name of a file there.

    Args:
        name: The model's name.
        target: What the bundle is for.

    Raises:
        InputError: It has such a name, and the target makes a folder of it.
    """
    has_folder = target.server or target.load is not None
    # Some file systems do not tell capitals from small letters.
    if has_folder and layout.served_name(name).lower() in RESERVED:
        raise InputError(
            "the model's name: accepted is any but those of a bundle's own files, beside which its "
            f"folder lies; received {name}; rename the .keras file, or the model in its card"
        )


def replaceable(out: str | os.PathLike[str]) -> Path:
    """Find a folder for a bundle.

    Args:
        out: A new folder, an empty one, or one that holds an older bundle alone.

    Returns:
        The folder, without links.

    Raises:
        InputError: It holds anything else, or cannot be read.
    """
    with writing(out, PLACE_REMEDIES):
        folder = Path(out).resolve()
        _refuse_what_is_no_bundle(folder)
    return folder


def _refuse_what_is_no_bundle(out: Path) -> None:
    """Refuse to replace a folder that holds anything but an older bundle."""
    if not out.is_dir() or not any(out.iterdir()):
        return
    try:
        report = json.loads((out / REPORT_FILE).read_text(encoding="utf-8"))
        known = {file["name"] for file in report["files"]} | {*LAST_FILES}
        if report["format"] != FORMAT:
            known = set()
    except (OSError, ValueError, KeyError, TypeError):  # there is none, or one of another form
        known = set()
    others = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} - known
    if others:
        raise InputError(
            f"cannot write {out}: it holds {sorted(others)[0]}, which is no part of a bundle; "
            "accepted are a new folder, an empty one and one that holds an older bundle alone"
        )
