"""Batch size: the accuracy of each normalization from two images in a batch to hundreds."""

from typing import TYPE_CHECKING, Annotated, Any

import pydantic

from training.studies.common import (
    Variants,
    measures_of,
    minus,
    point,
    told_share,
    training_of,
    values,
)
from training.studies.recipe import StudyRecipe
from training.studies.study import Plot, Results, Run, Study, Summary, Table
from zoo.settings import Number, Settings, Whole

if TYPE_CHECKING:
    from training.studies.trainer import Bench


Size = Annotated[Whole, pydantic.Field(ge=2)]


class Grid(Settings):
    """What the runs differ in.

    Args:
        variants: The normalizations, ``batch`` among them.
        sizes: The numbers of images in a batch, ascending; the first is the small one of the
            measures.
        reference: The size that the small one is held against; one of ``sizes``.
        images: How many images a run sees, one batch after the other.
        least_steps: The fewest steps that a run has, whatever its size.
        largest_rate: The learning rate is the recipe's at ``reference`` and goes with the size
            (Goyal et al. 2017), up to this.
    """

    variants: Variants
    sizes: Annotated[tuple[Size, ...], pydantic.Field(min_length=2)]
    reference: Size
    images: Annotated[Whole, pydantic.Field(ge=1)]
    least_steps: Annotated[Whole, pydantic.Field(ge=1)]
    largest_rate: Annotated[Number, pydantic.Field(gt=0)]

    @pydantic.model_validator(mode="after")
    def _has_reference(self) -> "Grid":
        if self.reference not in self.sizes:
            raise ValueError(
                f"reference: accepted is one of {list(self.sizes)}; received {self.reference}"
            )
        return self


def runs(recipe: StudyRecipe, results: Results) -> list[Run]:
    """List every variant at every size with every seed."""
    return [
        _run(variant, size, seed)
        for variant in recipe.grid.variants
        for size in recipe.grid.sizes
        for seed in recipe.seeds
    ]


def _run(variant: str, size: int, seed: int) -> Run:
    return Run.of(variant=variant, size=size, seed=seed)


def perform(run: Run, bench: "Bench") -> dict[str, Any]:
    """Train once."""
    grid, chosen, base = bench.recipe.grid, run.settings, bench.recipe.training
    size = chosen["size"]
    recipe = training_of(
        base,
        chosen["variant"],
        batch_size=size,
        learning_rate=min(base.learning_rate * size / grid.reference, grid.largest_rate),
        seed=chosen["seed"],
    )
    return bench.train(recipe, steps=max(grid.images // size, grid.least_steps)).to_dict()


def summary(recipe: StudyRecipe, results: Results) -> Summary:
    """Compare the small size with the reference, seed by seed."""
    grid = recipe.grid
    accuracy = {
        variant: {
            size: values(
                results, (_run(variant, size, seed).id for seed in recipe.seeds), "accuracy"
            )
            for size in grid.sizes
        }
        for variant in grid.variants
    }
    small = grid.sizes[0]
    measures: dict[str, list[float]] = {}
    for variant, sizes in accuracy.items():
        name = variant.replace("-", "_")
        measures[f"{name}_loss_when_small"] = minus(sizes[grid.reference], sizes[small])
        if variant != "batch":
            measures[f"{name}_lead_when_small"] = minus(sizes[small], accuracy["batch"][small])
            measures[f"{name}_lead"] = minus(
                sizes[grid.reference], accuracy["batch"][grid.reference]
            )
    header = ("normalization", *(str(size) for size in grid.sizes))
    rows = [
        (variant, *(told_share(some) for some in sizes.values()))
        for variant, sizes in accuracy.items()
    ]
    plot = Plot(
        "Accuracy by batch size",
        "images in a batch",
        {
            variant: [point(size, some) for size, some in sizes.items()]
            for variant, sizes in accuracy.items()
        },
        percent=True,
        log_x=True,
    )
    return Summary(
        measures=measures,
        tables=[Table("Test accuracy by images in a batch", header, rows)],
        plots=[plot],
        notes=(
            "Sizes are not comparable along a row alone: large ones see more images, small ones "
            "take more steps. Normalizations are comparable down a column.",
        ),
    )


def measures(grid: Grid) -> list[str]:
    """Name what small batches cost each variant, and what it is held against batch by."""
    losses = measures_of(grid.variants, "", "{}_loss_when_small")
    return [*losses, *measures_of(grid.variants, "batch", "{}_lead_when_small", "{}_lead")]


STUDY = Study(Grid, runs, perform, summary, measures, needs=("batch",))
