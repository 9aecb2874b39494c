"""What a run writes for people while it is under way, beside what it needs itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from training import tensorboard
from training.curves import Drawing
from training.progress import Progress, Together

if TYPE_CHECKING:
    from training.recipe import Recipe


def recording(
    shown: Progress, folder: Path | None, recipe: "Recipe", history: Sequence[dict[str, float]]
) -> Progress:
    """Let curves and TensorBoard's logs be written too.

    Args:
        shown: What a person sees.
        folder: The run's folder; None to write nothing.
        recipe: What is trained by.
        history: One row per epoch that is done; the training adds to it.

    Returns:
        What the training is to tell of its steps.
    """
    if folder is None:
        return shown
    parts: list[Progress] = [Drawing(folder, recipe, history)]
    if tensorboard.is_installed():
        parts.append(tensorboard.Events(folder, recipe, history))
    else:
        shown.note(tensorboard.MISSING)
    # What a person sees begins last: a folder that refuses is told on a quiet terminal.
    return Together(*parts, shown)
