"""A run's folder: what is in it, and whether a training may go on there.

A finished one holds ``model.keras``, ``card.json``, ``history.csv`` and ``recipe.toml``. While a
training is under way there is a ``checkpoint.npz`` too: as long as that is there, the run is not
finished.
"""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from training import checkpoint, tensorboard
from training.curves import PAGE_FILE, PICTURE_FILE
from training.distribution import Distribution
from training.group import Group
from training.recipe import Recipe
from zoo import history
from zoo.cards import CARD_FILE, MODEL_FILE, Card
from zoo.errors import InputError
from zoo.files import is_file, sha256

if TYPE_CHECKING:
    import keras

RECIPE_FILE = "recipe.toml"
# What a run would replace, beside older logs.
_MADE = (MODEL_FILE, history.HISTORY_FILE, RECIPE_FILE, PICTURE_FILE, PAGE_FILE)


@dataclass(frozen=True)
class Result:
    """What a training made.

    Args:
        model: The trained model, not compiled, in the precision it was trained in.
        card: What is known of it. Its ``sha256`` is all zeros where this process wrote no file.
        history: One row for each epoch: epoch, loss, accuracy, val_loss and val_accuracy where
            images are held out, learning_rate (of its last step), images_per_second, seconds
            (since the start). Loss and accuracy are means over the epoch's own steps, with
            augmentation and label smoothing.
        folder: Where it was written, or None.
    """

    model: "keras.Model"
    card: Card
    history: list[dict[str, float]]
    folder: Path | None

    @property
    def seconds(self) -> float:
        """How long the training took, without reading data and measuring on test."""
        return float(self.card.metrics["train_seconds"])


def look(
    folder: Path | None, recipe: Recipe, group: Group, *, resume: bool, overwrite: bool
) -> Result | None:
    """Look into the folder in process 0, and in the others where they shall read there."""
    done = None
    with group.together():
        if folder is not None and group.is_first:
            done = _look(folder, recipe, resume=resume, overwrite=overwrite)
    there = [folder / name for name in (checkpoint.FILE, CARD_FILE)] if folder and resume else []
    seen = [sha256(path) if path.is_file() else "" for path in there]
    group.check(recipe=recipe.to_toml(), folder=" ".join(seen))
    if folder is not None and resume and not group.is_first:
        done = _look(folder, recipe, resume=resume, overwrite=overwrite)
    return done


def _look(folder: Path, recipe: Recipe, *, resume: bool, overwrite: bool) -> Result | None:
    """See what is in the folder: refuse, return a finished run that is resumed, or go on."""
    if resume and overwrite:
        raise InputError("accepted is either resume or overwrite; received both")
    if overwrite:
        return None
    unfinished = checkpoint.exists(folder)
    # Beside a checkpoint a card is an older run's, which may be damaged: it will be replaced.
    card = None if unfinished else card_of(folder)
    if not (resume or card or unfinished):
        _keep_others(folder)
        return None
    if not resume:
        what = "an unfinished" if unfinished else "a finished"
        go_on = "--resume to go on with it, " if unfinished else ""
        raise InputError(
            f"{folder} holds {what} run; pass {go_on}--overwrite to replace it, or another --out"
        )
    if unfinished:
        import keras

        state, _ = checkpoint.read(folder)
        there, backend = state.recipe, keras.backend.backend()
        if state.backend != backend:
            raise InputError(
                f"{folder} was begun on the Keras backend {state.backend}; received {backend}"
            )
    elif card is not None:
        there = card.recipe
    else:
        raise InputError(f"there is no run to resume in {folder}; start it without --resume")
    differing = recipe.differences(there)
    if differing:
        raise InputError(
            f"{folder} was begun with another recipe; it differs in {', '.join(differing)}"
        )
    if card is None:
        return None
    done = read(folder, card)
    if done is None:
        raise InputError(f"{folder}: model and card do not belong together; pass --overwrite")
    return done


def _keep_others(folder: Path) -> None:
    """Refuse to replace files that no run has left there."""
    there = [name for name in _MADE if os.path.lexists(folder / name)]
    there += [f"logs in {tensorboard.FOLDER}"] if tensorboard.logs(folder) else []
    if there:
        raise InputError(
            f"{folder} holds {', '.join(there)} and no run; pass --overwrite to replace what is "
            "there, or another --out"
        )


def keep_recipe(recipe: str | os.PathLike[str] | Recipe, folder: Path) -> None:
    """Refuse to write a new run over the very recipe that it is read from.

    Args:
        recipe: What `training.train` was given.
        folder: The run's folder.

    Raises:
        InputError: The recipe is the file that the run would leave its own recipe in.
    """
    own = folder / RECIPE_FILE
    if isinstance(recipe, Recipe) or not (is_file(recipe) and is_file(own)):
        return
    if own.samefile(recipe):
        raise InputError(
            f"{own} is the recipe that is read, and would be replaced; accepted are another --out, "
            "or --resume to go on with the run there"
        )


def command(
    folder: Path | None,
    data_dir: str | os.PathLike[str] | None,
    distribution: Distribution | None,
) -> str:
    """Write the command that goes on with a run.

    Args:
        folder: The run's folder, or None where nothing is written.
        data_dir: As in `training.train`.
        distribution: Likewise.

    Returns:
        The command for a shell; empty without a folder.
    """
    if folder is None:
        return ""
    words = ["zoo", "train", str(folder / RECIPE_FILE), "--out", str(folder), "--resume"]
    if data_dir is not None:
        words += ["--data-dir", str(data_dir)]
    if distribution is not None:
        words += distribution.words()
    return shlex.join(words)


def card_of(folder: Path) -> Card | None:
    """Read the card of a run, if there is one."""
    path = folder / CARD_FILE
    return Card.read(path) if is_file(path) else None


def read(folder: Path, card: Card) -> Result | None:
    """Read a finished run; None where its files do not belong together."""
    from zoo import keras_files

    path, table = folder / MODEL_FILE, folder / history.HISTORY_FILE
    if not path.is_file() or not table.is_file() or sha256(path) != card.sha256:
        return None
    return Result(keras_files.load(path), card, history.read(table), folder)
