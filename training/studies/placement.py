"""Placement: before and after the activation at equal budget; folding, and its cost once folded."""

import itertools
import statistics
import time
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
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
from zoo.errors import InputError
from zoo.settings import Settings, Whole

if TYPE_CHECKING:
    from training.studies.trainer import Bench


class Grid(Settings):
    """What the runs differ in.

    Args:
        variants: ``batch``, ``batch-after`` and, if wanted, ``batch-pre``.
        rates: What each one's learning rate is chosen from.
        tuning_seeds: By how many seeds, other ones, it is chosen.
        rounds: How often inference is timed before and after folding, in turn.
        batch: On how many images.
    """

    variants: Variants
    rates: Rates
    tuning_seeds: Annotated[Whole, pydantic.Field(ge=1)]
    rounds: Annotated[Whole, pydantic.Field(ge=1)]
    batch: Annotated[Whole, pydantic.Field(ge=1)]


def runs(recipe: StudyRecipe, results: Results) -> list[Run]:
    """List the runs that choose the rates, and then those that are measured."""
    grid = recipe.grid
    tuned = recipe.seeds[: grid.tuning_seeds]
    planned = tuning_runs(grid.variants, grid.rates, tuned)
    for variant in grid.variants:
        rate = best_rate(variant, grid.rates, tuned, results, "accuracy")
        if rate is not None:
            planned += [_run(variant, rate, seed) for seed in recipe.seeds]
    return planned


def _run(variant: str, rate: float, seed: int) -> Run:
    return Run.of(stage="measure", variant=variant, rate=rate, seed=seed)


def perform(run: Run, bench: "Bench") -> dict[str, Any]:
    """Train once; then fold what was trained, and time both."""
    chosen = run.settings
    recipe = training_of(
        bench.recipe.training,
        chosen["variant"],
        learning_rate=chosen["rate"],
        seed=chosen["seed"],
    )
    fold = bench.tools.get("fold")
    if fold is None:
        raise InputError("placement: it folds what it trains; pass fold=export.fold")
    kept: dict[str, Any] = {}

    def at_the_end(step: int, model: Any) -> None:
        if step == bench.recipe.steps and chosen["stage"] == "measure":
            kept.update(_folded(model, fold(model).model, bench))

    done = bench.train(recipe, watch=at_the_end, choosing=chosen["stage"] == "tune")
    return {**done.to_dict(), **kept}


def _folded(model: Any, folded: Any, bench: "Bench") -> dict[str, Any]:
    """Count norms and time inference, both models in turn."""
    from training.averaging import batch_norms

    split = bench.data.test.take(np.arange(min(bench.recipe.grid.batch, len(bench.data.test))))
    images = bench.data.preprocessing(split.images[:])
    times: dict[str, list[float]] = {"plain": [], "folded": []}
    logits = {}
    folded.compile()
    for number in range(bench.recipe.grid.rounds + 1):
        for name, one in (("plain", model), ("folded", folded)):
            start = time.perf_counter()
            logits[name] = np.asarray(one.predict_on_batch(images))
            if number:  # the first call also traces
                times[name].append(time.perf_counter() - start)
    return {
        "norms": len(batch_norms(model)),
        "norms_left": len(batch_norms(folded)),
        "layers": len(model.layers),
        "layers_folded": len(folded.layers),
        "plain_ms": round(1e3 * statistics.median(times["plain"]), 4),
        "folded_ms": round(1e3 * statistics.median(times["folded"]), 4),
        "difference": float(np.abs(logits["plain"] - logits["folded"]).max()),
    }


def summary(recipe: StudyRecipe, results: Results) -> Summary:
    """Hold the places against the one before the activation, seed by seed."""
    grid, seeds = recipe.grid, recipe.seeds
    tuned = seeds[: grid.tuning_seeds]
    found = {}
    for variant in grid.variants:
        rate = best_rate(variant, grid.rates, tuned, results, "accuracy")
        if rate is not None:
            found[variant] = (rate, [results[_run(variant, rate, seed).id] for seed in seeds])
    measures: dict[str, list[float]] = {}
    for variant, (_, some) in found.items():
        name = variant.replace("-", "_")
        measures[f"{name}_left"] = [float(one["norms_left"]) for one in some]
        if variant != "batch":
            before = found["batch"][1]
            pairs = list(zip(before, some, strict=True))
            measures[f"lead_over_{name}"] = [a["accuracy"] - b["accuracy"] for a, b in pairs]
            measures[f"{name}_folded_cost"] = [b["folded_ms"] / a["folded_ms"] for a, b in pairs]
    header = (
        "place",
        "its best rate",
        "test accuracy",
        "BatchNorms → left",
        "layers → folded",
        "inference, ms",
        "folded, ms",
        "largest difference of logits",
    )
    rows = [
        (
            variant,
            f"{rate:g}",
            told_share([one["accuracy"] for one in some]),
            f"{some[0]['norms']} → {some[0]['norms_left']}",
            f"{some[0]['layers']} → {some[0]['layers_folded']}",
            told_number([one["plain_ms"] for one in some]),
            told_number([one["folded_ms"] for one in some]),
            f"{max(one['difference'] for one in some):.1e}",
        )
        for variant, (rate, some) in found.items()
    ]
    return Summary(
        measures=measures,
        tables=[Table("Each place at its own best rate", header, rows)],
        plots=[_plot(recipe, results)],
        notes=(f"Inference is timed on {grid.batch} images at once, on the training's backend.",),
    )


def _plot(recipe: StudyRecipe, results: Results) -> Plot:
    """Draw the accuracies of the tuning runs."""
    grid = recipe.grid
    plan = tuning_runs(grid.variants, grid.rates, recipe.seeds[: grid.tuning_seeds])
    lines: dict[str, list[tuple[float, float, float, float]]] = {}
    by = sorted(
        plan, key=lambda run: (grid.variants.index(run.settings["variant"]), run.settings["rate"])
    )
    for (variant, rate), some in itertools.groupby(
        by, key=lambda run: (run.settings["variant"], run.settings["rate"])
    ):
        mean = statistics.mean(results[run.id]["accuracy"] for run in some)
        lines.setdefault(variant, []).append(point(rate, [mean]))
    return Plot(
        "Accuracy on held-out images by learning rate, of the runs that chose it",
        "learning rate",
        lines,
        percent=True,
        log_x=True,
    )


def measures(grid: Grid) -> list[str]:
    """Name what is left of each place's norms, and what it is held against batch by."""
    left = measures_of(grid.variants, "", "{}_left")
    return [*left, *measures_of(grid.variants, "batch", "lead_over_{}", "{}_folded_cost")]


STUDY = Study(Grid, runs, perform, summary, measures, needs=("batch",), chooses=True)
