"""The target ``onnx``: the file alone."""

from pathlib import Path

from export.checks import Check
from export.targets.layout import MODEL_FILE, Exported


def model_file(name: str) -> str:
    """Tell where the ONNX file lies in the folder, whatever the model's name."""
    return MODEL_FILE


def lay_out(made: Exported, folder: Path) -> None:
    """Put the file into the folder.

    Args:
        made: What was exported.
        folder: The folder.
    """
    made.onnx.replace(folder / MODEL_FILE)


def check(folder: Path, name: str) -> list[Check]:
    """Look at nothing: no server reads anything but the file, which is validated by itself."""
    return []
