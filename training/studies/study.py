"""What every study consists of, and what it makes of its runs."""

import importlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from zoo.settings import Settings

if TYPE_CHECKING:
    from training.studies.recipe import StudyRecipe
    from training.studies.trainer import Bench

Results = Mapping[str, Mapping[str, Any]]
"""What each finished run came to, by its id."""


@dataclass(frozen=True)
class Run:
    """One run of a grid.

    Args:
        id: Its name among the runs of the study, and that of its file.
        settings: What it differs from the others in, as plain values.
    """

    id: str
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, **settings: Any) -> "Run":
        """Name a run after its settings, in the order in which they are passed."""
        name = ".".join(
            value if isinstance(value, str) else f"{key}{_plain(value)}"
            for key, value in settings.items()
        )
        return cls(name, settings)


@dataclass(frozen=True)
class Table:
    """A table of a report.

    Args:
        title: What it shows.
        header: The names of its columns.
        rows: Its cells, as text.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Plot:
    """Some lines over one axis, each with the spread of its seeds.

    Args:
        title: What is drawn.
        x_label: The horizontal axis.
        lines: By name the points (x, low, mean, high).
        percent: Whether the values are fractions to be told in percent.
        log_x: Whether equal factors on the horizontal axis are equally far apart.
        log_y: The same of the vertical axis.
    """

    title: str
    x_label: str
    lines: Mapping[str, Sequence[tuple[float, float, float, float]]]
    percent: bool = False
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Summary:
    """What a study makes of its runs.

    Args:
        measures: What the rules are applied to: one number per seed for each.
        tables: For a reader.
        plots: Likewise.
        notes: What a reader should know.
    """

    measures: Mapping[str, Sequence[float]]
    tables: Sequence[Table] = ()
    plots: Sequence[Plot] = ()
    notes: Sequence[str] = field(default_factory=tuple)


@dataclass(frozen=True)
class Study:
    """The code of a study.

    Args:
        grid: The class of the recipe's table ``grid``.
        runs: Lists the runs, given what is known so far: later ones may depend on earlier ones.
        perform: Does one run and returns plain values.
        summary: Makes measures, tables and plots of all runs.
        measures: Names the measures that there will be, given the grid.
        needs: The variants that a grid must have, since the measures hold the others against them.
        chooses: Whether it chooses a setting by results: then its recipe holds images out for that.
    """

    grid: type[Settings]
    runs: Callable[["StudyRecipe", Results], list[Run]]
    perform: Callable[[Run, "Bench"], dict[str, Any]]
    summary: Callable[["StudyRecipe", Results], Summary]
    measures: Callable[[Any], Collection[str]]
    needs: tuple[str, ...] = ()
    chooses: bool = False


def find(name: str) -> Study:
    """Import the study of a recipe's ``study``."""
    found: Study = importlib.import_module(f"training.studies.{name}").STUDY
    return found


def _plain(value: Any) -> str:
    """Write a value as part of a file name, so that no other one is written alike."""
    if not isinstance(value, float):
        return str(value)
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
