"""Doing a study: run after run, each kept as a file of its own the moment it is finished."""

import importlib.metadata
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from training import environment
from training.data import Data
from training.lock import holding
from training.studies.recipe import StudyRecipe
from training.studies.report import FILES, FORMAT, Report
from training.studies.study import Run, Study, find
from training.studies.subject import Builder, Subject, subject
from zoo.errors import InputError, differences
from zoo.files import write_json
from zoo.policies import kept

if TYPE_CHECKING:
    from training.studies.trainer import Bench

RUNS = "runs"
Progress = Callable[[str, int, int], None]
"""Is told a run's name, how many runs are done, and how many there are as far as is known."""


def study(
    name: "str | os.PathLike[str] | StudyRecipe",
    *,
    form: str = "default",
    out: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    data: Data | Sequence[np.ndarray] | None = None,
    model: Builder | None = None,
    fold: Callable[[Any], Any] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Do a study, or what is left of it.

    Each finished run is a file in ``out``; the same call goes on after the last one of them. The
    names that Keras has given to layers are forgotten: its session is cleared between models. Its
    dtype policy is the caller's again at the end.

    Args:
        name: A name from `list_studies`, the path of a recipe, or a `StudyRecipe`.
        form: ``default``, ``full`` or ``fast``; see `StudyRecipe`.
        out: The folder for runs and report; None to keep nothing.
        data_dir: Where tensorflow-datasets keeps its data.
        data: Your own images: a `training.Data`, or the arrays training images, labels, test
            images, labels; images uint8, (count, height, width, channels). None for the recipe's.
        model: Your own models: a function from a `zoo.Norm` and a rate of dropout to a keras.Model
            from images to logits. None for the recipe's architecture.
        fold: What folds the BatchNorms of a model, `export.fold`; the study ``placement`` asks
            for it.
        progress: Is told of each run.

    Returns:
        The report, with a verdict for each claim.

    Raises:
        InputError: The recipe or the data cannot be used, or the folder holds runs of another
            recipe, version or machine, or files of the report's names that are no study's.

    Example:
        >>> report = training.study("mechanics", out="runs/mechanics")
        >>> [judged.verdict for judged in report.judged]
    """
    recipe = StudyRecipe.load(name, form)
    from training.repeatable import make_repeatable
    from training.studies.trainer import Bench

    make_repeatable(recipe.seeds[0])
    chosen = find(recipe.name)
    given = subject(
        recipe,
        data=data,
        model=model,
        data_dir=None if data_dir is None else os.fspath(data_dir),
    )
    bench = Bench(recipe, given, {} if fold is None else {"fold": fold})
    if out is None:
        with kept():
            return _complete(bench, chosen, None, progress)
    with holding(Path(out)), kept():
        _keep_others(Path(out))
        report = _complete(bench, chosen, Path(out), progress)
        report.write(Path(out))
    return report


def _complete(bench: "Bench", chosen: Study, out: Path | None, progress: Progress | None) -> Report:
    """Do all runs that are not there yet, and sum up."""
    recipe = bench.recipe
    made = made_with(recipe, bench.subject)
    results: dict[str, dict[str, Any]] = {}
    known: dict[str, Run] = {}
    while True:
        planned = chosen.runs(recipe, results)
        new = [run for run in planned if run.id not in results]
        if not new:
            break
        known |= {run.id: run for run in planned}
        for run in new:
            if progress is not None:
                progress(f"{recipe.name} {run.id}", len(results), len(known))
            path = None if out is None else out / RUNS / f"{run.id}.json"
            results[run.id] = _stored(path, made) or _perform(run, chosen, bench, path, made)
    if progress is not None:
        progress(recipe.name, len(results), len(results))
    settings = {name: dict(run.settings) for name, run in known.items()}
    return Report(recipe, made, settings, results, bench.data.notes)


def _keep_others(folder: Path) -> None:
    """Refuse to replace files that no study has left there."""
    there = [name for name in FILES if os.path.lexists(folder / name)]
    if there and not any((folder / RUNS).glob("*.json")):
        raise InputError(
            f"{folder} holds {', '.join(there)} and no runs of a study; accepted is another folder"
        )


def made_with(recipe: StudyRecipe, given: Subject) -> dict[str, str]:
    """List what must agree between runs that are compared.

    Args:
        recipe: The study's recipe.
        given: Its data and models.

    Returns:
        The format of the file, hashes of the recipe and of data and model that are not the
        recipe's own, the backend, versions, and the hardware.
    """
    import keras

    backend = keras.backend.backend()
    return {
        "format": str(FORMAT),
        "recipe": recipe.digest(),
        **given.identity,
        "backend": backend,
        **{name: importlib.metadata.version(name) for name in ("foldzoo", "keras", backend)},
        "hardware": environment.hardware(),
    }


def _perform(
    run: Run, chosen: Study, bench: Any, path: Path | None, made: Mapping[str, str]
) -> dict[str, Any]:
    """Do one run and keep it."""
    found = plain(chosen.perform(run, bench))
    if path is not None:
        write_json(path, {"made": made, "id": run.id, "settings": run.settings, "result": found})
    return found


def _stored(path: Path | None, made: Mapping[str, str]) -> dict[str, Any] | None:
    """Read a run that is there already.

    Raises:
        InputError: It is damaged, or was made with something else.
    """
    if path is None or not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        theirs, result = dict(found["made"]), dict(found["result"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a run of a study; remove it and start again") from error
    if theirs != dict(made):
        changed = ", ".join(differences(made, theirs))
        raise InputError(
            f"{path.parent.parent} holds runs made with another {changed}; results of two are not "
            "mixed: pass another folder with --out, or remove that one"
        )
    return result


def plain(value: Any) -> Any:
    """Turn numpy's values into Python's, and numbers that are not finite into None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
