"""Mechanics: what the layer computes, against numpy in float64, and how its modes differ."""

import math
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pydantic

from training.studies.common import point, told_number, told_share, training_of
from training.studies.recipe import StudyRecipe
from training.studies.study import Plot, Results, Run, Study, Summary, Table
from training.studies.weights import arrays, norm_of
from zoo.norm import Norm
from zoo.settings import Number, Settings, Whole

if TYPE_CHECKING:
    from training.studies.trainer import Bench


Momenta = Annotated[
    tuple[Annotated[Number, pydantic.Field(gt=0, lt=1)], ...], pydantic.Field(min_length=1)
]

_SHAPE = (8, 5, 5, 4)  # of the random batches that the layer is given
_UPDATES = 20  # of the moving averages, until they are held against the reference
_STEP = 1e-5  # of the numerical gradients; float64 leaves about ten digits of them
_LAG_LEFT = 0.01  # the part of a jump that is left when the averages count as having followed


class Grid(Settings):
    """What the runs differ in.

    Args:
        momenta: The momenta of the moving averages, the measures' one last.
        statistics_images: Over how many training images the statistics are taken anew.
    """

    momenta: Momenta
    statistics_images: Annotated[Whole, pydantic.Field(ge=2)]


def runs(recipe: StudyRecipe, results: Results) -> list[Run]:
    """List a run of the layer alone and one of each momentum, with every seed."""
    layers = [_layer_run(seed) for seed in recipe.seeds]
    return layers + [
        _training_run(momentum, seed) for momentum in recipe.grid.momenta for seed in recipe.seeds
    ]


def _layer_run(seed: int) -> Run:
    return Run.of(what="layer", seed=seed)


def _training_run(momentum: float, seed: int) -> Run:
    return Run.of(what="training", momentum=momentum, seed=seed)


def perform(run: Run, bench: "Bench") -> dict[str, Any]:
    """Hold the layer against the reference, or train a network and measure it in three ways."""
    chosen = run.settings
    if chosen["what"] == "layer":
        return layer_errors(bench.recipe.training.norm, chosen["seed"])
    base = bench.recipe.training
    norm = base.norm.replace(kind="batch", momentum=chosen["momentum"])
    recipe = training_of(base, "batch", seed=chosen["seed"]).replace(norm=norm)
    kept: dict[str, float] = {}

    def at_the_end(step: int, model: Any) -> None:
        if step == bench.recipe.steps:
            kept.update(_precise(bench, recipe, model))

    done = bench.train(recipe, watch=at_the_end)
    return {**done.to_dict(), **kept}


def _precise(bench: "Bench", recipe: Any, model: Any) -> dict[str, float]:
    """Measure a second model with the same weights and statistics taken anew."""
    from training.averaging import Statistics, batch_norms

    twin = bench.subject.build(recipe)
    twin.compile()
    twin.set_weights(model.get_weights())
    moving = arrays([norm.moving_variance for norm in batch_norms(twin)])
    count = min(bench.recipe.grid.statistics_images, len(bench.data.train))
    images = bench.data.preprocessing(bench.data.train.images[:count])
    Statistics(twin, batch_norms(twin)).renew(np.array_split(images, max(1, count // 128)))
    exact = arrays([norm.moving_variance for norm in batch_norms(twin)])
    off = np.concatenate([np.abs(np.log(a / b)) for a, b in zip(moving, exact, strict=True)])
    return {
        "precise_accuracy": bench.measure(twin, bench.data.test).accuracy,
        "variance_off": float(np.median(off)),
    }


def layer_errors(norm: Norm, seed: int) -> dict[str, float]:
    """Hold a BatchNormalization layer of Keras against numpy in float64.

    Args:
        norm: Its constants.
        seed: Of the batches, gamma and beta.

    Returns:
        Relative errors: of the output in training and at inference, of the moving statistics after
        20 updates (the variance also against an unbiased one), of the gradients for inputs, gamma
        and beta against numerical ones; the part of the inputs' gradient that comes by way of the
        batch statistics; and the updates that the moving mean takes to follow a jump to 1 %.
    """
    chance = np.random.default_rng(seed)
    channels = _SHAPE[-1]
    batches = chance.normal(3.0, 2.0, (_UPDATES, *_SHAPE)).astype(np.float32)
    gamma, beta = chance.uniform(0.5, 2, channels), chance.normal(size=channels)
    layer = norm.replace(kind="batch").layer(channels, name="norm")
    layer.build((None, *_SHAPE[1:]))
    layer.gamma.assign(gamma)
    layer.beta.assign(beta)
    outputs = _exact(*(layer(batch, training=True) for batch in batches))
    expected = reference(batches[-1], gamma, beta, norm.epsilon)
    mean, biased, unbiased = moving_statistics(batches, norm.momentum)
    stored_mean, stored_variance, inference = _exact(
        layer.moving_mean, layer.moving_variance, layer(batches[-1], training=False)
    )
    affine = gamma * (batches[-1] - mean) / np.sqrt(biased + norm.epsilon) + beta
    found, numerical, constant = _gradients(layer, batches[0], chance, norm.epsilon)
    return {
        "output_error": _apart(outputs[-1], expected),
        "inference_error": _apart(inference, affine),
        "modes_apart": _apart(inference, expected),
        "moving_mean_error": _apart(stored_mean, mean),
        "moving_variance_error": _apart(stored_variance, biased),
        "unbiased_apart": _apart(unbiased, biased),
        "gradient_error": max(
            _apart(one, other) for one, other in zip(found, numerical, strict=True)
        ),
        "through_statistics": norm_of([found[0] - constant]) / norm_of([constant]),
        "lag_steps": float(_lag(norm)),
        "lag_error": abs(_lag(norm) - math.ceil(math.log(_LAG_LEFT) / math.log(norm.momentum))),
    }


def reference(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, epsilon: float) -> np.ndarray:
    """Compute batch normalization over all axes but the last, in float64."""
    x = np.asarray(x, np.float64)
    axes = tuple(range(x.ndim - 1))
    centred = x - x.mean(axis=axes)
    return gamma * centred / np.sqrt((centred**2).mean(axis=axes) + epsilon) + beta


def moving_statistics(
    batches: np.ndarray, momentum: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the moving averages of a training in float64, begun at 0 and 1.

    Args:
        batches: (updates, batch, ..., channels).
        momentum: How much is kept at each update.

    Returns:
        The mean, the variance of the papers' biased estimate, and that of the unbiased one.
    """
    mean, biased, unbiased = 0.0, 1.0, 1.0
    for batch in np.asarray(batches, np.float64):
        flat = batch.reshape(-1, batch.shape[-1])
        mean = momentum * mean + (1 - momentum) * flat.mean(axis=0)
        biased = momentum * biased + (1 - momentum) * flat.var(axis=0)
        unbiased = momentum * unbiased + (1 - momentum) * flat.var(axis=0, ddof=1)
    return np.asarray(mean), np.asarray(biased), np.asarray(unbiased)


def _gradients(
    layer: Any, x: np.ndarray, chance: np.random.Generator, epsilon: float
) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Compute gradients of a random linear loss for inputs, gamma and beta.

    Returns:
        Those of Keras, the numerical ones, and for the inputs the gradient that it would be if
        the statistics of the batch were constants.
    """
    import keras

    from training.studies.gradients import Gradients, Shift

    weights = chance.normal(size=x.shape)
    inputs = keras.Input(batch_shape=x.shape)
    held = Shift(x.shape)
    model = keras.Model(inputs, layer(held(inputs)))
    gradients = Gradients(model, lambda wanted, outputs: keras.ops.sum(wanted * outputs))
    _, found = gradients(x, weights.astype(np.float32))
    order = [held.shift, layer.gamma, layer.beta]
    at = [next(i for i, v in enumerate(model.trainable_variables) if v is one) for one in order]
    points = [np.asarray(x, np.float64), *_exact(*order[1:])]

    def loss(values: list[np.ndarray]) -> float:
        return float((weights * reference(values[0], values[1], values[2], epsilon)).sum())

    numerical = [_numerical(loss, points, which) for which in range(3)]
    deviation = np.sqrt(points[0].var(axis=(0, 1, 2)) + epsilon)
    return [found[i] for i in at], numerical, weights * points[1] / deviation


def _numerical(loss: Any, points: list[np.ndarray], which: int) -> np.ndarray:
    """Compute a gradient by central differences."""
    gradient = np.zeros_like(points[which])
    for index in np.ndindex(gradient.shape):
        sides = []
        for sign in (1, -1):
            moved = [value.copy() for value in points]
            moved[which][index] += sign * _STEP
            sides.append(loss(moved))
        gradient[index] = (sides[0] - sides[1]) / (2 * _STEP)
    return gradient


def _lag(norm: Norm) -> int:
    """Count the updates that the moving mean takes to follow a jump of its input."""
    layer = norm.replace(kind="batch").layer(1, name="lag")
    batch = np.ones((2, 1), np.float32)
    for count in range(1, 10_000):
        layer(batch, training=True)
        # Float32 may end a last bit short of what is left of the jump.
        if 1 - _exact(layer.moving_mean)[0].item() <= _LAG_LEFT * (1 + 1e-5):
            return count
    return 10_000


def _exact(*variables: Any) -> list[np.ndarray]:
    """Copy variables or tensors to float64."""
    return [value.astype(np.float64) for value in arrays(variables)]


def _apart(some: np.ndarray, others: np.ndarray) -> float:
    """Return the largest difference, of the largest value of the others."""
    return float(np.abs(some - others).max() / np.abs(others).max())


def summary(recipe: StudyRecipe, results: Results) -> Summary:
    """Collect the errors, and the accuracies by how the statistics were taken."""
    layers = [results[_layer_run(seed).id] for seed in recipe.seeds]
    trained = {
        momentum: [results[_training_run(momentum, seed).id] for seed in recipe.seeds]
        for momentum in recipe.grid.momenta
    }
    measures = {key: [one[key] for one in layers] for key in layers[0]}
    gains = {
        momentum: [one.get("precise_accuracy", 0.0) - one["accuracy"] for one in some]
        for momentum, some in trained.items()
    }
    measures["precise_gain"] = gains[recipe.grid.momenta[-1]]
    errors = [(_LABELS[key], f"{max(measures[key]):.2g}") for key in _LABELS]
    header = ("momentum", "moving averages", "statistics taken anew", "gain", "variance off by")
    rows = [
        (
            f"{momentum:g}",
            told_share([one["accuracy"] for one in some]),
            told_share([one.get("precise_accuracy", 0.0) for one in some]),
            told_share(gains[momentum]),
            f"× {told_number([math.exp(one.get('variance_off', 0.0)) for one in some])}",
        )
        for momentum, some in trained.items()
    ]
    plot = Plot(
        "Accuracy by the momentum of the moving averages",
        "updates that an average lasts, 1 / (1 - momentum)",
        {
            name: [
                point(1 / (1 - momentum), [one.get(key, 0.0) for one in some])
                for momentum, some in trained.items()
            ]
            for name, key in (
                ("moving averages", "accuracy"),
                ("statistics taken anew", "precise_accuracy"),
            )
        },
        percent=True,
        log_x=True,
    )
    return Summary(
        measures=measures,
        tables=[
            Table("The layer against float64", ("what", "largest over the seeds"), errors),
            Table("Test accuracy of a trained network by its statistics", header, rows),
        ],
        plots=[plot],
    )


_LABELS = {
    "output_error": "relative error of the output in training mode",
    "inference_error": "relative error of the output in inference mode",
    "modes_apart": "how far inference is from training mode after 20 updates, relative",
    "moving_mean_error": "relative error of the moving mean after 20 updates",
    "moving_variance_error": "relative error of the moving variance, against biased variances",
    "unbiased_apart": "how far unbiased variances would be, relative",
    "gradient_error": "relative error of the gradients for inputs, gamma and beta",
    "through_statistics": "part of the inputs' gradient by way of the batch statistics",
    "lag_steps": "updates until a jump is followed to 1 %",
}


def measures(grid: Grid) -> list[str]:
    """Name the errors of the layer, and the gain of a trained network."""
    return [*_LABELS, "lag_error", "precise_gain"]


STUDY = Study(Grid, runs, perform, summary, measures)
