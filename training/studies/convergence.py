"""Convergence: steps and seconds to fixed accuracies, each kind at its own best learning rate."""

import itertools
from typing import TYPE_CHECKING, Annotated, Any

import pydantic

from training.studies.common import (
    Rates,
    Variants,
    best_rate,
    measures_of,
    point,
    told_number,
    told_share,
    training_of,
    tuning_runs,
)
from training.studies.recipe import StudyRecipe
from training.studies.study import Plot, Results, Run, Study, Summary, Table
from zoo.settings import Number, Settings, Whole

if TYPE_CHECKING:
    from training.studies.trainer import Bench, Trained


Share = Annotated[Number, pydantic.Field(gt=0, lt=1)]


class Grid(Settings):
    """What the runs differ in.

    Args:
        variants: The normalizations; ``none`` and ``batch`` are compared by the measures.
        rates: What each one's learning rate is chosen from.
        tuning_seeds: By how many seeds, other ones, it is chosen.
        targets: Test accuracies, ascending; the steps to each are counted, and the last one
            decides.
        every: After how many steps the accuracy is measured each time.
    """

    variants: Variants
    rates: Rates
    tuning_seeds: Annotated[Whole, pydantic.Field(ge=1)]
    targets: Annotated[tuple[Share, ...], pydantic.Field(min_length=1)]
    every: Annotated[Whole, pydantic.Field(ge=1)]


def runs(recipe: StudyRecipe, results: Results) -> list[Run]:
    """List the runs that choose the rates, and then those that are measured."""
    grid = recipe.grid
    planned = tuning_runs(grid.variants, grid.rates, _tuning_seeds(recipe))
    for variant in grid.variants:
        rate = _rate(recipe, results, variant)
        if rate is not None:
            planned += [_run(variant, rate, seed) for seed in recipe.seeds]
    return planned


def _tuning_seeds(recipe: StudyRecipe) -> tuple[int, ...]:
    return recipe.seeds[: recipe.grid.tuning_seeds]


def _rate(recipe: StudyRecipe, results: Results, variant: str) -> float | None:
    """Choose the rate with the highest accuracy on average over the whole run."""
    return best_rate(variant, recipe.grid.rates, _tuning_seeds(recipe), results, "mean_accuracy")


def _run(variant: str, rate: float, seed: int) -> Run:
    return Run.of(stage="measure", variant=variant, rate=rate, seed=seed)


def perform(run: Run, bench: "Bench") -> dict[str, Any]:
    """Train once, measured again and again."""
    grid, chosen = bench.recipe.grid, run.settings
    recipe = training_of(
        bench.recipe.training,
        chosen["variant"],
        learning_rate=chosen["rate"],
        seed=chosen["seed"],
    )
    marks = tuple(range(grid.every, bench.recipe.steps + 1, grid.every))
    done = bench.train(recipe, measure_at=marks, choosing=chosen["stage"] == "tune")
    curve = [(step, found.accuracy) for step, found in sorted(done.measured.items())]
    return {
        **done.to_dict(),
        "mean_accuracy": sum(value for _, value in curve) / len(marks),
        "steps_to": {f"{target:g}": steps_to(curve, target) for target in grid.targets},
        "curve": _kept(done, curve),
    }


def _kept(done: "Trained", curve: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Round the curve that is kept for the plot."""
    return [] if done.diverged else [(step, round(value, 4)) for step, value in curve]


def steps_to(curve: list[tuple[int, float]], target: float) -> float | None:
    """Find when an accuracy was first reached.

    Args:
        curve: Steps, ascending, and the accuracies after them.
        target: The accuracy.

    Returns:
        The number of steps, on a straight line between two measurements; None for never.
    """
    for (start, low), (end, high) in itertools.pairwise([(0, 0.0), *curve]):
        if high >= target:
            return start + (end - start) * (target - low) / (high - low)
    return None


def summary(recipe: StudyRecipe, results: Results) -> Summary:
    """Compare steps and seconds to the last target, seed by seed."""
    grid, seeds = recipe.grid, recipe.seeds
    found = {}
    for variant in grid.variants:
        rate = _rate(recipe, results, variant)
        if rate is not None:
            found[variant] = (rate, [results[_run(variant, rate, seed).id] for seed in seeds])
    target = f"{grid.targets[-1]:g}"
    steps = {
        variant: [one["steps_to"][target] or recipe.steps for one in some]
        for variant, (_, some) in found.items()
    }
    seconds = {
        variant: [
            count * one["step_ms"] / 1e3 for count, one in zip(steps[variant], some, strict=True)
        ]
        for variant, (_, some) in found.items()
    }
    measures: dict[str, list[float]] = {}
    for variant in found:
        if variant != "none":
            name = variant.replace("-", "_")
            measures[f"{name}_speed_in_steps"] = _ratios(steps["none"], steps[variant])
            measures[f"{name}_speed_in_seconds"] = _ratios(seconds["none"], seconds[variant])
    header = (
        "normalization",
        "its best rate",
        *(f"steps to {goal:.0%}" for goal in grid.targets),
        "ms per step",
        f"seconds to {grid.targets[-1]:.0%}",
        "last accuracy",
    )
    rows = [
        (
            variant,
            f"{rate:g}",
            *(_told_steps(recipe, some, f"{goal:g}") for goal in grid.targets),
            told_number([one["step_ms"] for one in some]),
            told_number(seconds[variant]),
            told_share([one["accuracy"] for one in some]),
        )
        for variant, (rate, some) in found.items()
    ]
    return Summary(
        measures=measures,
        tables=[Table("To fixed accuracies on the test images", header, rows)],
        plots=[_plot(found)],
        notes=(
            "A target that is never reached counts as reached at the last step, so a ratio with "
            "it is a lower bound of the advantage of the other. Seconds are those of training "
            "steps alone, at the median of each run.",
        ),
    )


def _ratios(slow: list[float], fast: list[float]) -> list[float]:
    return [one / other for one, other in zip(slow, fast, strict=True)]


def _told_steps(recipe: StudyRecipe, some: list[Any], target: str) -> str:
    """Write steps, and how many runs never came so far."""
    never = sum(one["steps_to"][target] is None for one in some)
    text = told_number([one["steps_to"][target] or recipe.steps for one in some])
    return f"{text} ({never} never)" if never else text


def _plot(found: dict[str, tuple[float, list[Any]]]) -> Plot:
    """Draw the mean accuracy over the steps."""
    lines = {}
    for variant, (rate, some) in found.items():
        curves = [dict(map(tuple, one["curve"])) for one in some if one["curve"]]
        marks = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
        lines[f"{variant}, rate {rate:g}"] = [
            point(step, [curve[step] for curve in curves]) for step in marks
        ]
    return Plot("Accuracy on the test images", "step", lines, percent=True)


def measures(grid: Grid) -> list[str]:
    """Name what each variant is held against none by."""
    return measures_of(grid.variants, "none", "{}_speed_in_steps", "{}_speed_in_seconds")


STUDY = Study(Grid, runs, perform, summary, measures, needs=("none",), chooses=True)
