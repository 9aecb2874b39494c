"""Learning rates: the largest that converges, the best accuracy, the width of the usable range."""

import math
from typing import TYPE_CHECKING, Annotated, Any

import pydantic

from training.studies.common import (
    Rates,
    Variants,
    measures_of,
    point,
    told_number,
    told_share,
    training_of,
    values,
)
from training.studies.recipe import StudyRecipe
from training.studies.study import Plot, Results, Run, Study, Summary, Table
from zoo.settings import Number, Settings

if TYPE_CHECKING:
    from training.studies.trainer import Bench


class Grid(Settings):
    """What the runs differ in.

    Args:
        variants: The normalizations; ``none`` and ``batch`` are compared by the measures.
        rates: The learning rates, ascending by equal factors.
        converged: The test accuracy from which on a run counts as converged.
    """

    variants: Variants
    rates: Rates
    converged: Annotated[Number, pydantic.Field(gt=0, lt=1)]


def runs(recipe: StudyRecipe, results: Results) -> list[Run]:
    """List every variant at every rate with every seed."""
    return [
        Run.of(variant=variant, rate=rate, seed=seed)
        for variant in recipe.grid.variants
        for rate in recipe.grid.rates
        for seed in recipe.seeds
    ]


def perform(run: Run, bench: "Bench") -> dict[str, Any]:
    """Train once; measure the images that choices are made by too."""
    chosen = run.settings
    recipe = training_of(
        bench.recipe.training,
        chosen["variant"],
        learning_rate=chosen["rate"],
        seed=chosen["seed"],
    )
    kept = {"held_out_accuracy": 0.0}

    def at_the_end(step: int, model: Any) -> None:
        if step == bench.recipe.steps:
            kept["held_out_accuracy"] = bench.measure(model, bench.held_out).accuracy

    return {**bench.train(recipe, watch=at_the_end).to_dict(), **kept}


def summary(recipe: StudyRecipe, results: Results) -> Summary:
    """Compare largest rates, best accuracies and usable ranges."""
    grid, seeds = recipe.grid, recipe.seeds
    found = {
        variant: [_of_seed(recipe, results, variant, seed) for seed in seeds]
        for variant in grid.variants
    }
    rows = [
        (
            variant,
            told_share([one["best"] for one in some]),
            told_number([one["best_rate"] for one in some]),
            told_number([one["largest"] for one in some]),
            told_number([one["width"] for one in some]),
            str(
                sum(
                    results[Run.of(variant=variant, rate=rate, seed=seed).id]["diverged"]
                    is not None
                    for rate in grid.rates
                    for seed in seeds
                )
            ),
        )
        for variant, some in found.items()
    ]
    header = (
        "normalization",
        "accuracy at its best rate",
        "best rate",
        "largest that converges",
        "usable range, doublings",
        "diverged runs",
    )
    plot = Plot(
        "Accuracy by learning rate",
        "learning rate",
        {
            variant: [
                point(
                    rate,
                    values(
                        results,
                        (Run.of(variant=variant, rate=rate, seed=seed).id for seed in seeds),
                        "accuracy",
                    ),
                )
                for rate in grid.rates
            ]
            for variant in grid.variants
        },
        percent=True,
        log_x=True,
    )
    return Summary(
        measures=_measures(found),
        tables=[Table("Each normalization over all rates", header, rows)],
        plots=[plot],
        notes=(
            "The best rate of a seed is the one with the highest accuracy on the held-out images; "
            f"the accuracies told are those on the test images. A run has converged when that is "
            f"at least {grid.converged:.0%}. Where no rate converges, half of the smallest one is "
            "counted, and a range of 0 doublings.",
        ),
    )


def _of_seed(recipe: StudyRecipe, results: Results, variant: str, seed: int) -> dict[str, float]:
    """Sum one variant up over all rates."""
    found = {
        rate: results[Run.of(variant=variant, rate=rate, seed=seed).id]
        for rate in recipe.grid.rates
    }
    usable = [rate for rate, one in found.items() if one["accuracy"] >= recipe.grid.converged]
    best_rate = max(found, key=lambda rate: found[rate]["held_out_accuracy"])
    return {
        "best": found[best_rate]["accuracy"],
        "best_rate": best_rate,
        "largest": max(usable, default=min(recipe.grid.rates) / 2),
        "width": math.log2(max(usable) / min(usable)) if usable else 0.0,
    }


def _measures(found: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Hold every variant against none, seed by seed."""
    none = found["none"]
    measures: dict[str, Any] = {}
    for variant, some in found.items():
        if variant == "none":
            continue
        name = variant.replace("-", "_")
        pairs = list(zip(some, none, strict=True))
        measures[f"{name}_largest_ratio"] = [
            one["largest"] / other["largest"] for one, other in pairs
        ]
        measures[f"{name}_accuracy_gain"] = [one["best"] - other["best"] for one, other in pairs]
        measures[f"{name}_width_gain"] = [one["width"] - other["width"] for one, other in pairs]
    return measures


def measures(grid: Grid) -> list[str]:
    """Name what each variant is held against none by."""
    keys = ("{}_largest_ratio", "{}_accuracy_gain", "{}_width_gain")
    return measures_of(grid.variants, "none", *keys)


STUDY = Study(Grid, runs, perform, summary, measures, needs=("none",), chooses=True)
