"""What a study leaves: every run, verdicts, tables, plots, and a page."""

import csv
import io
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from training.studies.recipe import StudyRecipe
from training.studies.study import Summary, find
from training.studies.verdicts import Judged, judge
from zoo.charts import Chart, chart
from zoo.errors import InputError
from zoo.files import replacing, write_text
from zoo.pages import number, render

FORMAT = 1  # of stored runs; runs of another are not mixed in
RESULTS_FILE, TABLE_FILE = "results.json", "results.csv"
PICTURE_FILE, PAGE_FILE = "results.png", "results.html"
FILES = (RESULTS_FILE, TABLE_FILE, PICTURE_FILE, PAGE_FILE)
TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Report:
    """The outcome of a study.

    Args:
        recipe: Its recipe.
        made: What it was made with.
        settings: Of each run, by its id.
        results: What each run came to.
        notes: What a reader should know of the data.
    """

    recipe: StudyRecipe
    made: Mapping[str, str]
    settings: Mapping[str, Mapping[str, Any]]
    results: Mapping[str, Mapping[str, Any]]
    notes: tuple[str, ...] = ()

    @cached_property
    def summary(self) -> Summary:
        """Measures, tables and plots."""
        return find(self.recipe.name).summary(self.recipe, self.results)

    @cached_property
    def judged(self) -> tuple[Judged, ...]:
        """The claims, each with the verdict that its rules come to."""
        return tuple(judge(claim, self.summary.measures) for claim in self.recipe.claims)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it but the plots as plain values that JSON can hold."""
        return {
            "study": self.recipe.name,
            "form": self.recipe.form,
            "made": dict(self.made),
            "claims": [judged.to_dict() for judged in self.judged],
            "measures": {name: list(values) for name, values in self.summary.measures.items()},
            "notes": list(self.summary.notes),
            "data_notes": list(self.notes),
            "recipe": self.recipe.to_dict(),
            "runs": {
                name: {"settings": dict(self.settings[name]), "result": dict(found)}
                for name, found in self.results.items()
            },
        }

    def to_json(self) -> str:
        """Write `to_dict` as JSON, with each run on a line of its own."""
        whole = self.to_dict()
        runs = whole.pop("runs")
        lines = ",\n".join(
            f"    {json.dumps(name)}: {json.dumps(found, allow_nan=False)}"
            for name, found in runs.items()
        )
        head = json.dumps(whole, indent=2, allow_nan=False).removesuffix("\n}")
        return f'{head},\n  "runs": {{\n{lines}\n  }}\n}}\n'

    def to_csv(self) -> str:
        """Write one row per run: its settings and the single numbers that it came to."""
        rows = [
            {
                "run": name,
                **self.settings[name],
                **{
                    key: value
                    for key, value in found.items()
                    if not isinstance(value, Mapping | list)
                },
            }
            for name, found in self.results.items()
        ]
        columns = list(dict.fromkeys(key for row in rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def charts(self) -> list[Chart]:
        """Lay the plots out for a page."""
        return [
            chart(
                plot.title,
                {
                    name: [(x, mean) for x, _, mean, _ in points]
                    for name, points in plot.lines.items()
                    if points
                },
                x_label=plot.x_label,
                percent=plot.percent,
                log_x=plot.log_x,
                log_y=plot.log_y,
            )
            for plot in self.summary.plots
            if any(plot.lines.values())
        ]

    def page(self) -> str:
        """Write the page: verdicts, plots, tables, and how it was made.

        Returns:
            HTML that asks for nothing from anywhere else.
        """
        return render(
            TEMPLATES,
            "study.html.j2",
            recipe=self.recipe,
            judged=self.judged,
            charts=self.charts(),
            tables=self.summary.tables,
            notes=[*self.notes, *self.summary.notes],
            made=list(self.made.items()),
            runs=len(self.results),
            told=told,
        )

    def write(self, folder: Path) -> None:
        """Write JSON, CSV, picture and page, each whole or not at all.

        Args:
            folder: Where to; made where it is missing.

        Raises:
            InputError: The place cannot be written, or is full.
        """
        from training.studies.pictures import picture

        write_text(folder / RESULTS_FILE, self.to_json())
        write_text(folder / TABLE_FILE, self.to_csv())
        write_text(folder / PAGE_FILE, self.page())
        if self.summary.plots:
            with replacing(folder / PICTURE_FILE) as beside:
                picture(self.summary.plots).savefig(
                    beside, format="png", metadata={"Title": self.recipe.title}
                )


def read_report(path: str | os.PathLike[str]) -> Report:
    """Read a stored study; its verdicts are computed anew from its runs.

    Args:
        path: A ``results.json``.

    Returns:
        The report.

    Raises:
        InputError: It cannot be read, or is of another format than this version's.
    """
    path = Path(path)
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        form = stored["made"]["format"]
        if form != str(FORMAT):
            raise InputError(f"{path}: accepted is format {FORMAT}; received {form}")
        return Report(
            recipe=StudyRecipe(**stored["recipe"]),
            made=stored["made"],
            settings={name: run["settings"] for name, run in stored["runs"].items()},
            results={name: run["result"] for name, run in stored["runs"].items()},
            notes=tuple(stored["data_notes"]),
        )
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a stored study that can be read: {error!r}") from error


def told(value: float) -> str:
    """Write a measured number; an end of an interval that is not finite as such."""
    return "unbounded" if math.isinf(value) else number(float(value))
