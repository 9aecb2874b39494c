"""Checkpoints: everything that a training needs to go on as if it had never stopped.

One ``.npz`` file, whole or absent, with nothing pickled in it: all variables of the model (also
the states of its random layers), all of the optimizer, and the rest as JSON.
"""

import json
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zoo.errors import InputError
from zoo.files import is_file, replacing

FILE = "checkpoint.npz"


@dataclass
class State:
    """Where a training stands, apart from its variables.

    Args:
        recipe: The resolved recipe, as plain values.
        backend: The Keras backend.
        step: The number of steps that are done.
        seconds: How long the training has taken so far.
        history: One row for each epoch that is done.
        images: How many images the current epoch has seen.
        loss: The sum of their losses.
        correct: How many of them were classified correctly.
        timed_images: How many images were trained in ``timed_seconds``: all but those of each
            process's first step, which also traces and compiles.
        timed_seconds: See there.
        origin: What the card will say of where the first weights come from.
        data: The digest of the data, see `training.data.Data`; empty in checkpoints of before it
            was kept.
    """

    recipe: dict[str, Any]
    backend: str
    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    images: int = 0
    loss: float = 0.0
    correct: float = 0.0
    timed_images: int = 0
    timed_seconds: float = 0.0
    origin: list[str] = field(default_factory=list)
    data: str = ""

    @property
    def images_per_second(self) -> float:
        """The rate of the whole training, or 0 before anything was timed."""
        return self.timed_images / self.timed_seconds if self.timed_seconds else 0.0


def exists(folder: Path) -> bool:
    """Say whether a folder holds a checkpoint."""
    return is_file(folder / FILE)


def save(folder: Path, model: Any, state: State) -> Path:
    """Write a checkpoint, whole or not at all.

    Args:
        folder: The run's folder.
        model: The compiled model, its optimizer built.
        state: Where the training stands.

    Returns:
        The file.

    Raises:
        InputError: The folder cannot be written, or is full.
    """
    arrays = {
        f"{owner}_{number:05d}": np.asarray(variable.numpy())
        for owner, variables in _variables(model).items()
        for number, variable in enumerate(variables)
    }
    with replacing(folder / FILE) as beside:
        np.savez(beside, allow_pickle=False, state=np.array(json.dumps(asdict(state))), **arrays)
    return folder / FILE


def read(folder: Path) -> tuple[State, dict[str, np.ndarray]]:
    """Read a checkpoint.

    Args:
        folder: The run's folder.

    Returns:
        Where the training stands, and the arrays for `restore`.

    Raises:
        InputError: The file is damaged.
    """
    path = folder / FILE
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        return State(**json.loads(str(arrays.pop("state")))), arrays
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError, EOFError) as error:
        raise InputError(
            f"{path} is damaged or not a checkpoint ({error}); start again with --overwrite"
        ) from error


def restore(model: Any, arrays: dict[str, np.ndarray]) -> None:
    """Give a model and its optimizer the variables of a checkpoint.

    Args:
        model: The compiled model, its optimizer built, of the same recipe.
        arrays: From `read`.

    Raises:
        InputError: The arrays are not this model's.
    """
    wanted = {
        f"{owner}_{number:05d}": variable
        for owner, variables in _variables(model).items()
        for number, variable in enumerate(variables)
    }
    if {name: tuple(value.shape) for name, value in wanted.items()} != {
        name: value.shape for name, value in arrays.items()
    }:
        raise InputError(
            "the checkpoint holds the variables of another model or of another version of this "
            "project; start again with --overwrite"
        )
    for name, variable in wanted.items():
        variable.assign(arrays[name])


def remove(folder: Path) -> None:
    """Remove the checkpoint, and what a killed process may have left of writing one."""
    for path in (folder / FILE, *folder.glob(f".{Path(FILE).stem}.*.part.npz")):
        path.unlink(missing_ok=True)


def _variables(model: Any) -> dict[str, list[Any]]:
    """List everything that changes in training, by owner."""
    return {"model": model.variables, "optimizer": model.optimizer.variables}
