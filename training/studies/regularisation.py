"""Regularisation: the gap between training and test images, dropout, and the batches' noise."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pydantic

from training.studies.common import (
    Variants,
    minus,
    point,
    rate_of,
    told_number,
    told_share,
    training_of,
    values,
)
from training.studies.recipe import StudyRecipe
from training.studies.study import Plot, Results, Run, Study, Summary, Table
from zoo.settings import Number, Settings, Whole

if TYPE_CHECKING:
    from training.studies.trainer import Bench


Share = Annotated[Number, pydantic.Field(ge=0, lt=1)]


class Grid(Settings):
    """What the runs differ in.

    Args:
        variants: The normalizations, ``none`` and ``batch`` among them.
        dropouts: The rates of the dropout before the logits, ascending from 0.
        rates: The learning rate of a variant that has another one than the recipe's.
        noise_sizes: For which batch sizes the noise of the statistics is measured, ascending.
        noise_batches: Over how many batches each time.
    """

    variants: Variants
    dropouts: Annotated[tuple[Share, ...], pydantic.Field(min_length=1)]
    rates: Mapping[str, Annotated[Number, pydantic.Field(gt=0)]] = {}
    noise_sizes: Annotated[tuple[Whole, ...], pydantic.Field(min_length=2)]
    noise_batches: Annotated[Whole, pydantic.Field(ge=2)]


def runs(recipe: StudyRecipe, results: Results) -> list[Run]:
    """List every variant at every rate of dropout with every seed."""
    return [
        _run(variant, dropout, seed)
        for variant in recipe.grid.variants
        for dropout in recipe.grid.dropouts
        for seed in recipe.seeds
    ]


def _run(variant: str, dropout: float, seed: int) -> Run:
    return Run.of(variant=variant, dropout=dropout, seed=seed)


def perform(run: Run, bench: "Bench") -> dict[str, Any]:
    """Train once; measure all splits, and the noise where there is a BatchNorm and no dropout."""
    grid, chosen, base = bench.recipe.grid, run.settings, bench.recipe.training
    recipe = training_of(
        base,
        chosen["variant"],
        dropout=chosen["dropout"],
        learning_rate=rate_of(grid.rates, chosen["variant"], base.learning_rate),
        seed=chosen["seed"],
    )
    from training.averaging import batch_norms

    kept: dict[str, Any] = {"train_accuracy": 0.0, "held_out_accuracy": 0.0}

    def at_the_end(step: int, model: Any) -> None:
        if step == bench.recipe.steps:
            kept["train_accuracy"] = bench.measure(model, bench.data.train).accuracy
            kept["held_out_accuracy"] = bench.measure(model, bench.held_out).accuracy
            if batch_norms(model) and not chosen["dropout"]:
                kept["noise"] = {
                    str(size): noise(model, _batches(bench, recipe.seed, size))
                    for size in grid.noise_sizes
                }

    done = bench.train(recipe, watch=at_the_end)
    return {**done.to_dict(), **kept}


def _batches(bench: "Bench", seed: int, size: int) -> list[np.ndarray]:
    """Draw batches of training images."""
    chance = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(size,)))
    images = bench.data.train.images
    return [
        bench.data.preprocessing(images[chance.choice(len(images), size, replace=False)])
        for _ in range(bench.recipe.grid.noise_batches)
    ]


def noise(model: Any, batches: list[np.ndarray]) -> float:
    """Measure how far the mean of a batch is from that of all batches.

    Args:
        model: A keras.Model with BatchNorms.
        batches: Inputs, all of one size.

    Returns:
        The standard deviation of the batches' means in units of the standard deviation of what a
        norm receives: the median over the channels of all norms.
    """
    from training.averaging import Moments, batch_norms

    moments = Moments(model, batch_norms(model))
    moments.compile()
    found = np.stack([np.asarray(moments.predict_on_batch(batch), np.float64) for batch in batches])
    means, variances = found[:, 0], found[:, 1]
    whole = np.sqrt(variances.mean(axis=0) + means.var(axis=0)) + 1e-12
    return float(np.median(means.std(axis=0, ddof=1) / whole))


def summary(recipe: StudyRecipe, results: Results) -> Summary:
    """Compare gaps and best rates of dropout, seed by seed."""
    grid, seeds = recipe.grid, recipe.seeds

    def numbers(variant: str, dropout: float, key: str) -> list[float]:
        return values(results, (_run(variant, dropout, seed).id for seed in seeds), key)

    test = {
        variant: {rate: numbers(variant, rate, "accuracy") for rate in grid.dropouts}
        for variant in grid.variants
    }
    gap = {
        variant: {
            rate: [
                train - its
                for train, its in zip(
                    numbers(variant, rate, "train_accuracy"), test[variant][rate], strict=True
                )
            ]
            for rate in grid.dropouts
        }
        for variant in grid.variants
    }
    best = {
        variant: _best(
            {rate: numbers(variant, rate, "held_out_accuracy") for rate in grid.dropouts}
        )
        for variant in grid.variants
    }
    first = grid.dropouts[0]
    noises = _noises(recipe, results)
    measures = {
        "gap_drop": minus(gap["none"][first], gap["batch"][first]),
        "best_dropout_drop": minus(best["none"], best["batch"]),
        "accuracy_gain": minus(test["batch"][first], test["none"][first]),
        "noise_slope": [
            _slope(grid.noise_sizes, some) for some in zip(*noises.values(), strict=True)
        ],
    }
    header = ("normalization", *(f"dropout {rate:g}" for rate in grid.dropouts), "best dropout")
    rows = [
        (
            f"{variant}, {what}",
            *(told_share(some[rate]) for rate in grid.dropouts),
            told_number(best[variant]) if what == "test accuracy" else "",
        )
        for variant in grid.variants
        for what, some in (("test accuracy", test[variant]), ("gap", gap[variant]))
    ]
    noise_rows = [(str(size), told_number(some)) for size, some in noises.items()]
    plots = [
        Plot(
            "Gap between training and test accuracy",
            "rate of dropout",
            {v: [point(rate, some) for rate, some in rates.items()] for v, rates in gap.items()},
            percent=True,
        ),
        Plot(
            "Test accuracy",
            "rate of dropout",
            {v: [point(rate, some) for rate, some in rates.items()] for v, rates in test.items()},
            percent=True,
        ),
        Plot(
            "Noise of a batch's mean, in standard deviations",
            "images in a batch",
            {"batch": [point(size, some) for size, some in noises.items() if some]},
            log_x=True,
            log_y=True,
        ),
    ]
    return Summary(
        measures=measures,
        tables=[
            Table(
                "Accuracy on test images, and how much higher it is on training images",
                header,
                rows,
            ),
            Table(
                "Noise of the batch statistics",
                ("images in a batch", "standard deviation of the mean, in those of the layer"),
                noise_rows,
            ),
        ],
        plots=plots,
        notes=(
            "The best dropout of a seed is the rate with the highest accuracy on the held-out "
            "images.",
        ),
    )


def _noises(recipe: StudyRecipe, results: Results) -> dict[int, list[float]]:
    """Collect the noise of the runs that did not diverge, by batch size."""
    some = [
        found["noise"]
        for seed in recipe.seeds
        if "noise" in (found := results[_run("batch", recipe.grid.dropouts[0], seed).id])
    ]
    return {size: [one[str(size)] for one in some] for size in recipe.grid.noise_sizes}


def _best(accuracies: Mapping[float, list[float]]) -> list[float]:
    """Choose each seed's rate of dropout with the highest accuracy; the lower one of equals."""
    seeds = zip(*(accuracies[rate] for rate in sorted(accuracies)), strict=True)
    return [sorted(accuracies)[int(np.argmax(some))] for some in seeds]


def _slope(sizes: tuple[int, ...], noises: tuple[float, ...]) -> float:
    """Fit the power of the batch size that the noise goes with."""
    return float(np.polyfit(np.log(sizes), np.log(noises), 1)[0])


def measures(grid: Grid) -> list[str]:
    """Name what batch is held against none by, and the slope of the noise."""
    return ["gap_drop", "best_dropout_drop", "accuracy_gain", "noise_slope"]


STUDY = Study(Grid, runs, perform, summary, measures, needs=("none", "batch"), chooses=True)
