"""Initialisation: how far the outcome spreads when the first weights are scaled."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import pydantic

from training.studies.common import (
    Rates,
    Variants,
    measures_of,
    point,
    rate_of,
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
        variants: The normalizations; the measures hold each against ``none``.
        scales: What the first kernels of all convolutions are multiplied by; 1 for He's.
        rates: The learning rate of a variant that has another one than the recipe's.
    """

    variants: Variants
    scales: Rates
    rates: Mapping[str, Annotated[Number, pydantic.Field(gt=0)]] = {}


def runs(recipe: StudyRecipe, results: Results) -> list[Run]:
    """List every variant at every scale with every seed."""
    return [
        _run(variant, scale, seed)
        for variant in recipe.grid.variants
        for scale in recipe.grid.scales
        for seed in recipe.seeds
    ]


def _run(variant: str, scale: float, seed: int) -> Run:
    return Run.of(variant=variant, scale=scale, seed=seed)


def perform(run: Run, bench: "Bench") -> dict[str, Any]:
    """Train once, from scaled kernels."""
    chosen, base = run.settings, bench.recipe.training
    recipe = training_of(
        base,
        chosen["variant"],
        learning_rate=rate_of(bench.recipe.grid.rates, chosen["variant"], base.learning_rate),
        seed=chosen["seed"],
    )
    return bench.train(recipe, begin=lambda model: scale_kernels(model, chosen["scale"])).to_dict()


def scale_kernels(model: Any, factor: float) -> None:
    """Multiply the kernels of all convolutions.

    Args:
        model: A keras.Model.
        factor: What by.
    """
    for variable in model.trainable_variables:
        if len(variable.shape) == 4:
            variable.assign(variable * factor)


def summary(recipe: StudyRecipe, results: Results) -> Summary:
    """Compare the spread over scales, seed by seed."""
    grid, seeds = recipe.grid, recipe.seeds
    accuracy = {
        variant: {
            scale: values(results, (_run(variant, scale, seed).id for seed in seeds), "accuracy")
            for scale in grid.scales
        }
        for variant in grid.variants
    }
    spread = {
        variant: [max(some) - min(some) for some in zip(*scales.values(), strict=True)]
        for variant, scales in accuracy.items()
    }
    header = ("normalization", *(f"× {scale:g}" for scale in grid.scales), "largest - smallest")
    rows = [
        (
            variant,
            *(told_share(some) for some in scales.values()),
            told_share(spread[variant]),
        )
        for variant, scales in accuracy.items()
    ]
    measures = {
        f"{variant.replace('-', '_')}_spread_drop": [
            other - mine for mine, other in zip(spread[variant], spread["none"], strict=True)
        ]
        for variant in grid.variants
        if variant != "none"
    }
    measures |= {
        f"{variant.replace('-', '_')}_spread": spread[variant] for variant in grid.variants
    }
    plot = Plot(
        "Accuracy by the scale of the first kernels",
        "factor on He's initialisation",
        {
            variant: [point(scale, some) for scale, some in scales.items()]
            for variant, scales in accuracy.items()
        },
        percent=True,
        log_x=True,
    )
    return Summary(
        measures=measures,
        tables=[Table("Test accuracy; a diverged run counts as 0", header, rows)],
        plots=[plot],
    )


def measures(grid: Grid) -> list[str]:
    """Name the spreads, and what each is held against none by."""
    drops = measures_of(grid.variants, "none", "{}_spread_drop")
    return [*drops, *measures_of(grid.variants, "", "{}_spread")]


STUDY = Study(Grid, runs, perform, summary, measures, needs=("none",))
