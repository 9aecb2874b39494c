"""The part of docs/normalization.md that stored studies decide: verdicts, plots and tables.

The results are those that ``zoo study all --out docs/studies`` leaves, but for the single runs'
files and the pages.
"""

from collections.abc import Iterable
from pathlib import Path

from training.studies.recipe import StudyRecipe
from training.studies.report import PICTURE_FILE, RESULTS_FILE, Report, read_report, told
from training.studies.verdicts import Judged

ROOT = Path(__file__).parents[2]
STUDIES = ROOT / "docs" / "studies"
# In the order of the document.
NAMES = (
    "mechanics",
    "learning_rate",
    "initialisation",
    "convergence",
    "regularisation",
    "covariate_shift",
    "batch_size",
    "placement",
)


def stored(name: str) -> Report | None:
    """Read a study's stored results; None where they are not there yet."""
    path = STUDIES / name / RESULTS_FILE
    return read_report(path) if path.is_file() else None


def verdicts() -> str:
    """All claims with their verdicts."""
    lines = ["| claim | study | verdict |\n", "| --- | --- | --- |\n"]
    for name in NAMES:
        report = stored(name)
        if report is None:
            continue
        anchor = report.recipe.title.lower().replace(" ", "-")
        lines += [
            f"| {judged.claim.text} | [{report.recipe.title}](#{anchor}) | **{judged.verdict}** |\n"
            for judged in report.judged
        ]
    return "".join(lines)


def studies() -> str:
    """A section of each study: the experiment, its verdicts, plots and tables."""
    return "\n".join(_section(name) for name in NAMES)


def _section(name: str) -> str:
    """One study."""
    report = stored(name)
    if report is None:
        recipe = StudyRecipe.load(name)
        return (
            f"## {recipe.title}\n\n{_experiment(recipe)}\n"
            f"Not measured here yet; `zoo study {name.replace('_', '-')}` does it.\n"
        )
    recipe = report.recipe
    parts = [f"## {recipe.title}\n\n{_experiment(recipe)}"]
    parts += [_claim(judged) for judged in report.judged]
    if report.summary.plots:
        titles = "; ".join(plot.title for plot in report.summary.plots)
        parts.append(f"![{titles}](studies/{name}/{PICTURE_FILE})\n")
    for table in report.summary.tables:
        parts.append(f"{table.title}:\n\n{_table(table.header, table.rows)}")
    parts += [f"{note}\n" for note in (*report.summary.notes, *report.notes)]
    parts.append(f"{_made(report)}\n")
    return "\n".join(parts)


def _experiment(recipe: StudyRecipe) -> str:
    """The three lines."""
    return "".join(f"- {line}\n" for line in recipe.experiment)


def _claim(judged: Judged) -> str:
    """A claim, its verdict, and what decided it."""
    rows = [
        (
            part.rule.text,
            part.rule.in_words(),
            told(part.found.mean),
            f"{told(part.found.low)} to {told(part.found.high)}",
            part.verdict,
        )
        for part in judged.parts
    ]
    header = ("measure", "the claim needs", "mean", "95 % interval", "")
    claim = judged.claim
    return f"**{claim.text}** ({claim.source}): **{judged.verdict}**.\n\n{_table(header, rows)}"


def _table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown."""
    columns = list(header)
    lines = [columns, ["---"] + ["---:"] * (len(columns) - 1), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)


def _made(report: Report) -> str:
    """What it was measured with."""
    made = report.made
    backend = made["backend"]
    return (
        f"{len(report.results)} runs, seeds {', '.join(map(str, report.recipe.seeds))}, on "
        f"{made['hardware']}; keras {made['keras']}, {backend} {made[backend]}."
    )
