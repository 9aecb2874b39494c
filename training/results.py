"""The results of many trainings side by side: from the cards that lie in folders."""

import json
import os
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training import checkpoint
from training.folders import RECIPE_FILE
from training.recipe import Recipe
from zoo import history
from zoo.cards import CARD_FILE, MODEL_FILE, Card
from zoo.errors import InputError
from zoo.files import is_dir, sha256


@dataclass(frozen=True)
class Run:
    """What the card of a finished run says.

    Args:
        folder: Where it lies.
        name: ``arch.tag``.
        dataset: The data it was trained on.
        parameters: How many numbers its weights are; None where the card does not tell, as for
            all that follow.
        accuracy: On the test split.
        interval: Its 95 % interval.
        epochs: How many there were.
        seconds: How long the training took.
        images_per_second: The rate of its steps.
        precision: What it was trained in.
        hardware: What it was trained on; empty where that is not known.
        seed: Of its chance.
    """

    folder: str
    name: str
    dataset: str
    parameters: int | None
    accuracy: float | None
    interval: tuple[float, float] | None
    epochs: int | None
    seconds: float | None
    images_per_second: float | None
    precision: str
    hardware: str
    seed: int | None


@dataclass(frozen=True)
class Seeds:
    """Runs of one recipe that differ in their seed.

    Args:
        name: The recipe's name.
        dataset: Its data.
        seeds: The seeds, ascending.
        mean: The mean of the accuracies.
        deviation: Their standard deviation, of a sample (divided by one less than their number).
        folders: Where the runs lie, in the seeds' order.

    Example:
        >>> read(["runs"]).seeds[0].mean
    """

    name: str
    dataset: str
    seeds: tuple[int, ...]
    mean: float
    deviation: float
    folders: tuple[str, ...]


@dataclass(frozen=True)
class Results:
    """What was found in some folders.

    Args:
        runs: The finished runs, by name and seed.
        seeds: Where there are several seeds of one recipe.
        unfinished: A line for each run that is under way or was interrupted.
        broken: A line for each folder that cannot be read.
    """

    runs: tuple[Run, ...]
    seeds: tuple[Seeds, ...]
    unfinished: tuple[str, ...]
    broken: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the results as plain values that JSON can hold."""
        return asdict(self)

    def to_markdown(self) -> str:
        """Return the results as tables in Markdown."""
        text = _table(HEADER, (cells(run) for run in self.runs))
        if self.seeds:
            text += "\n" + _table(SEEDS_HEADER, (seed_cells(seeds) for seeds in self.seeds))
        return text


HEADER = (
    "run",
    "data",
    "all parameters",
    "accuracy",
    "95 % interval",
    "epochs",
    "seconds",
    "images/s",
    "precision",
    "hardware",
)
SEEDS_HEADER = ("recipe", "data", "seeds", "mean accuracy", "standard deviation")


def read(folders: Iterable[str | os.PathLike[str]]) -> Results:
    """Read the cards of all runs in some folders.

    Args:
        folders: Folders of runs, or folders with such folders in them, at any depth. Links are
            followed.

    Returns:
        What was found. A folder that is damaged or has no run in it is told and stops nothing.

    Example:
        >>> print(read(["runs", "saved_models"]).to_markdown())
    """
    finished: dict[str, tuple[Run, Card]] = {}
    unfinished, broken = [], []
    for folder in dict.fromkeys(place for given in folders for place in _places(Path(given))):
        try:
            if checkpoint.exists(folder):
                unfinished.append(_unfinished(folder))
            else:
                card = _card(folder)
                finished[str(folder)] = _run(folder, card), card
        except (InputError, OSError) as error:
            broken.append(" ".join(str(error).split()))
    runs = sorted(
        (run for run, _ in finished.values()),
        key=lambda run: (run.name, run.seed or 0, run.folder),
    )
    cards = {folder: card for folder, (_, card) in finished.items()}
    return Results(tuple(runs), tuple(_seeds(runs, cards)), tuple(unfinished), tuple(broken))


def cells(run: Run) -> list[str]:
    """Write a run as the cells of a row; see `HEADER`."""
    return [
        run.name if run.seed in (None, 0) else f"{run.name}, seed {run.seed}",
        run.dataset,
        _number(run.parameters, ",d"),
        _percent(run.accuracy),
        "" if run.interval is None else "{:.2f} to {:.2f}".format(*(100 * x for x in run.interval)),
        _number(run.epochs, ",d"),
        _number(run.seconds, ",.0f"),
        _number(run.images_per_second, ",.0f"),
        run.precision,
        run.hardware,
    ]


def seed_cells(found: Seeds) -> list[str]:
    """Write several seeds as the cells of a row; see `SEEDS_HEADER`."""
    return [
        found.name,
        found.dataset,
        ", ".join(map(str, found.seeds)),
        _percent(found.mean),
        f"{100 * found.deviation:.2f} points",
    ]


def _places(folder: Path) -> list[Path]:
    """Find the folders of runs in a folder, itself included."""
    if not is_dir(folder):
        return [folder]
    marks = {CARD_FILE, checkpoint.FILE, MODEL_FILE}
    found = []
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        # A link to a folder above would lead here again. Those with a dot are half-written.
        folders[:] = [] if real in seen else sorted(each for each in folders if each[0] != ".")
        if real not in seen and marks & set(files):
            found.append(Path(place))
        seen.add(real)
    return sorted(found) or [folder]


def _card(folder: Path) -> Card:
    """Read the card of a finished run."""
    if not is_dir(folder):
        raise InputError(f"there is no folder {folder}")
    if not any((folder / name).is_file() for name in (CARD_FILE, MODEL_FILE)):
        raise InputError(f"{folder}: there is no run in it")
    card = Card.read(folder / CARD_FILE)
    if not (folder / MODEL_FILE).is_file():
        raise InputError(f"{folder}: its {MODEL_FILE} is missing")
    if sha256(folder / MODEL_FILE) != card.sha256:
        raise InputError(f"{folder}: model and card do not belong together")
    return card


def _unfinished(folder: Path) -> str:
    """Say how far a run is that has a checkpoint."""
    table, recipe = folder / history.HISTORY_FILE, folder / RECIPE_FILE
    done = len(history.read(table)) if table.is_file() else 0
    epochs = f" of {Recipe.load(recipe).epochs}" if recipe.is_file() else ""
    return f"{folder}: not finished, {done}{epochs} epochs done"


def _run(folder: Path, card: Card) -> Run:
    """Choose what is shown of a card."""
    metrics = card.metrics
    low, high = metrics.get("test_accuracy_low"), metrics.get("test_accuracy_high")
    parameters = metrics.get("parameters")
    return Run(
        folder=str(folder),
        name=card.name,
        dataset=card.dataset,
        parameters=None if parameters is None else int(parameters),
        accuracy=metrics.get("test_accuracy"),
        interval=None if low is None or high is None else (low, high),
        epochs=_whole(folder, card, "epochs"),
        seconds=metrics.get("train_seconds"),
        images_per_second=metrics.get("images_per_second"),
        precision=card.precision,
        hardware=card.hardware,
        seed=_whole(folder, card, "seed"),
    )


def _whole(folder: Path, card: Card, key: str) -> int | None:
    """Read a whole number of a card's recipe, which is not checked when the card is read."""
    value = card.recipe.get(key)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise InputError(
        f"{folder / CARD_FILE}: {key} of its recipe: accepted is a whole number; received {value!r}"
    )


def _seeds(runs: Sequence[Run], cards: dict[str, Card]) -> list[Seeds]:
    """Put runs together that differ in nothing but their seed."""
    groups: dict[str, dict[int, Run]] = defaultdict(dict)
    for run in runs:
        if run.seed is not None and run.accuracy is not None:
            # The same seed again is the same training again.
            groups[_without_seed(cards[run.folder])].setdefault(run.seed, run)
    return [_summary(tuple(found.values())) for found in groups.values() if len(found) > 1]


def _summary(runs: Sequence[Run]) -> Seeds:
    """Sum up runs of one recipe, ascending by seed."""
    accuracies = [run.accuracy for run in runs if run.accuracy is not None]
    return Seeds(
        name=runs[0].name,
        dataset=runs[0].dataset,
        seeds=tuple(run.seed for run in runs if run.seed is not None),
        mean=statistics.mean(accuracies),
        deviation=statistics.stdev(accuracies),
        folders=tuple(run.folder for run in runs),
    )


def _without_seed(card: Card) -> str:
    """Write all of a card's recipe that decides its result, but for the seed, as one text."""
    try:  # keys that are younger than the card get their defaults
        recipe = Recipe(**card.recipe).model_dump(mode="json")
    except InputError:  # of another version, whose keys are not ours to judge
        recipe = dict(card.recipe)
    for key in ("seed", "notes", "checkpoint_epochs"):
        recipe.pop(key, None)
    return json.dumps([card.name, recipe], sort_keys=True, default=str)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table in Markdown: the first column to the left, the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join("| " + " | ".join(map(_escaped, line)) + " |\n" for line in lines)


def _escaped(cell: str) -> str:
    """Keep a cell from ending at a bar of its own."""
    return cell.replace("|", "\\|")


def _number(value: float | None, form: str) -> str:
    """Write a number, or nothing where there is none."""
    return "" if value is None else format(value, form)


def _percent(share: float | None) -> str:
    """Write a share, or nothing where there is none."""
    return "" if share is None else f"{100 * share:.2f} %"
