"""Covariate shift: how layers' inputs move, how gradients change, how smooth the loss is.

Two things have been called internal covariate shift. Ioffe and Szegedy 2015 mean that the
distribution of a layer's inputs moves; Santurkar et al. 2018 also measure how far the gradient of a
layer changes when the layers before it have moved. Both are here, and the loss along the step.
"""

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pydantic

from training.studies.common import (
    Variants,
    measures_of,
    point,
    told_number,
    told_share,
    training_of,
)
from training.studies.recipe import StudyRecipe
from training.studies.study import Plot, Results, Run, Study, Summary, Table
from training.studies.weights import arrays, assign, norm_of
from zoo.settings import Number, Settings, Whole

if TYPE_CHECKING:
    from training.studies.trainer import Bench


_KEYS = ("mean", "variance", "wasserstein", "gradient", "loss_range", "gradient_range")
_LABELS = {
    "mean": "shift of the mean, in standard deviations",
    "variance": "change of the logarithm of the variance",
    "wasserstein": "Wasserstein distance, in standard deviations",
    "gradient": "change of a layer's gradient by the step of those before it",
    "loss_range": "range of the loss along the step, of the loss",
    "gradient_range": "largest change of the gradient along the step",
}
_POSITIONS = 2048  # values of each channel that a distribution is compared by


class Grid(Settings):
    """What is measured, and when.

    Args:
        variants: The normalizations, ``none`` and ``batch`` among them.
        every: After how many steps each time.
        images: On how many training images, always the same ones.
        along: The multiples of the learning rate at which the loss along the gradient is measured.
    """

    variants: Variants
    every: Annotated[Whole, pydantic.Field(ge=1)]
    images: Annotated[Whole, pydantic.Field(ge=2)]
    along: Annotated[
        tuple[Annotated[Number, pydantic.Field(gt=0)], ...], pydantic.Field(min_length=1)
    ]


def runs(recipe: StudyRecipe, results: Results) -> list[Run]:
    """List every variant with every seed."""
    return [_run(variant, seed) for variant in recipe.grid.variants for seed in recipe.seeds]


def _run(variant: str, seed: int) -> Run:
    return Run.of(variant=variant, seed=seed)


def perform(run: Run, bench: "Bench") -> dict[str, Any]:
    """Train once, watched."""
    recipe = training_of(bench.recipe.training, run.settings["variant"], seed=run.settings["seed"])
    watcher = Watcher(bench, recipe)
    done = bench.train(recipe, watch=watcher)
    rows = watcher.rows[1:]  # the first one has none before it that it could be held against
    means = {key: float(np.mean([row[key] for row in rows])) if rows else None for key in _KEYS}
    return {**done.to_dict(), **means, "curve": [_rounded(row) for row in rows]}


def _rounded(row: dict[str, float]) -> dict[str, float]:
    """Keep as many digits as a plot shows."""
    return {key: float(f"{value:.5g}") for key, value in row.items()}


class Watcher:
    """Measures a model in training every so many steps.

    Args:
        bench: Where it is trained.
        recipe: By what.
    """

    def __init__(self, bench: "Bench", recipe: Any) -> None:
        import keras

        from training.studies.gradients import Gradients

        grid = bench.recipe.grid
        self.grid, self.rate, self.steps = grid, recipe.learning_rate, bench.recipe.steps
        split = bench.data.train.take(np.arange(grid.images))
        self.images = bench.data.preprocessing(split.images[:])
        self.labels = np.eye(len(bench.data.labels), dtype=np.float32)[split.labels]
        # A second model, so that nothing of the training is touched.
        self.twin = bench.subject.build(recipe)
        self.gradients = Gradients(self.twin)
        inputs = [
            layer.input for layer in self.twin.layers if isinstance(layer, keras.layers.Activation)
        ]
        self.inputs_of_activations = keras.Model(self.twin.input, inputs)
        self.rows: list[dict[str, float]] = []
        self._before: list[np.ndarray] | None = None
        self._weights: list[np.ndarray] = []

    def __call__(self, step: int, model: Any) -> None:
        """Measure, if that is due: the step of one and the next, and what has moved since."""
        if step == self.steps:
            return  # no step comes after it that could change a gradient
        if step % self.grid.every == 0:
            self._weights = arrays(model.trainable_variables)
            self._measure(step)
        elif step % self.grid.every == 1 and self.rows and self._weights:
            after = arrays(model.trainable_variables)
            self.rows[-1]["gradient"] = self._gradient_change(self._weights, after)

    def _measure(self, step: int) -> None:
        """Measure distributions and the loss along the step."""
        self._load(self._weights)
        activations = self._activations()
        row = {"step": step, **dict.fromkeys(_KEYS, 0.0), **self._along(self._weights)}
        if self._before is not None:
            row |= moved(self._before, activations)
        self._before = activations
        self.rows.append(row)

    def _activations(self) -> list[np.ndarray]:
        """Compute what each activation receives, in training mode: (values, channels) each."""
        found = self.inputs_of_activations(self.images, training=True)
        chance = np.random.default_rng(0)
        kept = []
        for one in arrays(found if isinstance(found, list) else [found]):
            flat = one.astype(np.float64).reshape(-1, one.shape[-1])
            chosen = chance.permutation(len(flat))[:_POSITIONS]
            kept.append(flat[np.sort(chosen)])
        return kept

    def _gradient_change(self, before: list[np.ndarray], after: list[np.ndarray]) -> float:
        """Measure how far each kernel's gradient changes when all before it have moved."""
        self._load(before)
        _, gradients = self.gradients(self.images, self.labels)
        kernels = [at for at, weight in enumerate(before) if weight.ndim > 1][1:]
        changes = []
        for at in kernels:
            self._load([*after[:at], *before[at:]])
            _, moved_gradients = self.gradients(self.images, self.labels)
            change = norm_of([moved_gradients[at] - gradients[at]])
            changes.append(change / (norm_of([gradients[at]]) + 1e-12))
        return float(np.mean(changes))

    def _along(self, weights: list[np.ndarray]) -> dict[str, float]:
        """Measure loss and gradient at several distances along the gradient."""
        loss, gradients = self.gradients(self.images, self.labels)
        losses, changes = [loss], []
        for factor in self.grid.along:
            self._load(
                [
                    weight - factor * self.rate * gradient
                    for weight, gradient in zip(weights, gradients, strict=True)
                ]
            )
            there, others = self.gradients(self.images, self.labels)
            losses.append(there)
            difference = [one - other for one, other in zip(others, gradients, strict=True)]
            changes.append(norm_of(difference) / (norm_of(gradients) + 1e-12))
        return {
            "loss_range": (max(losses) - min(losses)) / (loss + 1e-12),
            "gradient_range": max(changes),
        }

    def _load(self, weights: list[np.ndarray]) -> None:
        assign(self.twin.trainable_variables, weights)


def moved(before: list[np.ndarray], after: list[np.ndarray]) -> dict[str, float]:
    """Measure how far distributions have moved, channel by channel.

    Args:
        before: For each layer, (values, channels).
        after: The same later, with as many values.

    Returns:
        The means over all channels of all layers: of the shift of the mean and of the Wasserstein
        distance, both in standard deviations before, and of the change of the logarithm of the
        variance. Channels that do not vary are left out.
    """
    shifts, variances, distances = [], [], []
    for old, new in zip(before, after, strict=True):
        alive = (old.std(axis=0) > 1e-6) & (new.std(axis=0) > 1e-6)
        first, second = old[:, alive], new[:, alive]
        deviation = first.std(axis=0)
        shifts.append(np.abs(second.mean(axis=0) - first.mean(axis=0)) / deviation)
        variances.append(np.abs(np.log(second.var(axis=0) / first.var(axis=0))))
        # Of equally many values, the distance is that of the sorted ones.
        sorted_apart = np.abs(np.sort(first, axis=0) - np.sort(second, axis=0))
        distances.append(sorted_apart.mean(axis=0) / deviation)
    named = zip(_KEYS, (shifts, variances, distances), strict=False)
    return {
        key: float(np.concatenate(parts).mean()) if np.concatenate(parts).size else 0.0
        for key, parts in named
    }


def summary(recipe: StudyRecipe, results: Results) -> Summary:
    """Hold batch against none, seed by seed."""
    grid, seeds = recipe.grid, recipe.seeds
    found = {
        variant: [results[_run(variant, seed).id] for seed in seeds] for variant in grid.variants
    }
    measures: dict[str, list[float]] = {}
    for variant, some in found.items():
        if variant != "none":
            for key in _KEYS:
                measures[f"{variant.replace('-', '_')}_{key}_ratio"] = [
                    one[key] / other[key]
                    for one, other in zip(some, found["none"], strict=True)
                    if one[key] and other[key]  # a run that diverged has none of it
                ]
    header = ("mean over the training", *found)
    rows = [
        (
            _LABELS[key],
            *(told_number([one[key] for one in some if one[key]]) for some in found.values()),
        )
        for key in _KEYS
    ]
    rows.append(
        (
            "test accuracy",
            *(told_share([one["accuracy"] for one in some]) for some in found.values()),
        )
    )
    plots = [
        Plot(
            _LABELS[key],
            "step",
            {variant: _line(some, key) for variant, some in found.items()},
            log_y=key in ("loss_range", "gradient_range"),
        )
        for key in ("mean", "wasserstein", "gradient", "gradient_range")
    ]
    return Summary(
        measures=measures,
        tables=[Table("What moves, by normalization", header, rows)],
        plots=plots,
        notes=(
            "Distributions are those of the inputs of the activations on a fixed batch, in "
            f"training mode, compared every {grid.every} steps.",
        ),
    )


def _line(some: list[Any], key: str) -> list[tuple[float, float, float, float]]:
    """Collect the points of one line."""
    by_step: dict[float, list[float]] = {}
    for one in some:
        for row in one["curve"]:
            by_step.setdefault(row["step"], []).append(row[key])
    return [point(step, numbers) for step, numbers in sorted(by_step.items())]


def measures(grid: Grid) -> list[str]:
    """Name what each variant is held against none by."""
    return measures_of(grid.variants, "none", *(f"{{}}_{key}_ratio" for key in _KEYS))


STUDY = Study(Grid, runs, perform, summary, measures, needs=("none",))
