"""What a training keeps: averaged weights, and BatchNorm statistics that belong to the weights.

The moving mean and variance of a BatchNorm follow the weights with a delay, and know nothing of an
average of them. Here both are taken anew, under exactly the weights that are kept.
"""

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from training import precision
from training.data import Data, Split
from training.evaluation import Metrics, evaluate
from training.group import Group
from training.recipe import Recipe
from zoo.errors import InputError
from zoo.preprocessing import Preprocessing

# How many images an average's statistics are taken over where the recipe does not say it.
STATISTICS_IMAGES = 8192

# Keeps the choice of images apart from the other uses of the seed in training.batches.
_CHOICE = 1000


class Averaging(keras.optimizers.Optimizer):
    """The part of an optimizer that averages the weights it moves.

    The average begins as the weights after the first update. Update t, counted from 1, makes it
    ``d * average + (1 - d) * weights`` with ``d = min(decay, (t - 1) / (t + 8))``: the decay grows
    into its value, so the random first weights are never in the average and those of the first
    updates are soon forgotten. Where an update is left out (gradient accumulation, a loss scale
    that was too high) the average stays as well.

    Args:
        *args: What the optimizer takes.
        average: The decay, in [0, 1); 0 for no average.
        **kwargs: What the optimizer takes.

    Reference:
        Polyak and Juditsky 1992, https://doi.org/10.1137/0330046. The growth is the one of
        https://www.tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage, begun one
        update later.
    """

    def __init__(self, *args: Any, average: float = 0.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.average = average
        self.averages: list[Any] = []

    def build(self, variables: list[Any]) -> None:
        """Make the optimizer's variables, the averages among them."""
        if self.built:
            return
        super().build(variables)
        if self.average:
            self.averages = self.add_optimizer_variables(variables, "average")
            for average, variable in zip(self.averages, variables, strict=True):
                # Unlike TensorFlow's, JAX's variables would share their memory.
                average.assign(keras.ops.copy(variable))

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Move the weights, and their average after them."""
        if not self.average:
            super().apply(grads, trainable_variables)
            return
        before = keras.ops.cast(self.iterations, "float32")
        super().apply(grads, trainable_variables)
        updates = keras.ops.cast(self.iterations, "float32")
        decay = keras.ops.minimum((updates - 1) / (updates + 8), self.average)
        share = keras.ops.where(updates > before, 1 - decay, 0.0)
        for average, variable in zip(self.averages, self._trainable_variables, strict=True):
            part = keras.ops.cast(share, variable.dtype)
            average.assign(average + part * (variable - average))

    def get_config(self) -> dict[str, Any]:
        """Return what `__init__` takes."""
        return {**super().get_config(), "average": self.average}


class Kept:
    """Makes the model that a training would leave if it ended now.

    Where the recipe asks for neither an average nor statistics, that is the model in training
    itself. Otherwise it is a second one, so that nothing of the training is touched.

    Args:
        model: The model in training, compiled, its optimizer built.
        recipe: The resolved recipe.
        build: Makes another model of the same architecture.
        train: The images that are learned from.
        preprocessing: What turns them into the model's input.
        group: The processes and devices that train together; each makes a second model by itself.

    Raises:
        InputError: The recipe asks for statistics over more images than there are.
    """

    def __init__(
        self,
        model: Any,
        recipe: Recipe,
        build: Callable[[], Any],
        train: Split,
        *,
        preprocessing: Preprocessing,
        group: Group,
    ) -> None:
        if recipe.statistics_images > len(train):
            raise InputError(
                "statistics_images: accepted is at most the number of training images, "
                f"{len(train)}; received {recipe.statistics_images}"
            )
        self._model, self._recipe, self._build = model, recipe, build
        self._train, self._preprocessing, self._group = train, preprocessing, group
        self._asked = bool(recipe.average or recipe.statistics_images)
        self._twin: Any = None
        self._statistics: Statistics | None = None

    def __call__(self) -> Any:
        """Return the model as it would be kept; a later call may change the same one."""
        if not self._asked:
            return self._model
        with self._group.alone():
            return self._renewed()

    def evaluate(
        self,
        model: Any,
        data: Data | Split,
        *,
        preprocessing: Preprocessing | None = None,
        views: int = 1,
    ) -> Metrics:
        """Measure a model that `__call__` returned.

        Args:
            model: The model.
            data: As in `training.evaluate`.
            preprocessing: As in `training.evaluate`.
            views: As in `training.evaluate`.

        Returns:
            The measurements.
        """
        if model is self._model:
            predict = self._group.predictor(model)
            return evaluate(predict, data, preprocessing=preprocessing, views=views)
        with self._group.alone():
            return evaluate(model, data, preprocessing=preprocessing, views=views)

    def _renewed(self) -> Any:
        """Give the second model the weights and statistics of this moment, and return it."""
        if self._twin is None:
            self._make_twin()
        optimizer = getattr(self._model.optimizer, "inner_optimizer", self._model.optimizer)
        averaged = dict(
            zip(map(id, self._model.trainable_variables), optimizer.averages, strict=False)
        )
        for ours, theirs in zip(self._model.weights, self._twin.weights, strict=True):
            # By way of numpy: they may lie on all devices and the second model on one, and JAX
            # frees the memory of weights that are trained, whoever shares it.
            theirs.assign(np.array(keras.ops.convert_to_numpy(averaged.get(id(ours), ours))))
        if self._statistics is not None:
            self._statistics.renew(self._batches())
        return self._twin

    def _make_twin(self) -> None:
        """Make the second model, and what measures its norms where it has some to measure."""
        jit_compile = precision.jit_compile(self._recipe.precision)
        self._twin = self._build()
        self._twin.compile(jit_compile=jit_compile)
        norms = [
            theirs
            for ours, theirs in zip(batch_norms(self._model), batch_norms(self._twin), strict=True)
            if ours.trainable  # a frozen one keeps its statistics
        ]
        if norms:
            self._statistics = Statistics(self._twin, norms, jit_compile=jit_compile)

    def _batches(self) -> Iterator[np.ndarray]:
        """Make the inputs that statistics are taken over, always of the same images."""
        wanted = self._recipe.statistics_images or STATISTICS_IMAGES
        return plain_batches(self._train, self._recipe, self._preprocessing, wanted)


class Statistics:
    """Takes the mean and variance of what each BatchNorm receives anew ("precise BN").

    Everything is computed as at inference, without dropout, but for the norms: each normalizes a
    batch by the batch's own mean and variance, as in training. What is stored is the mean and the
    variance of all images together: the mean of the batches' variances, plus the variance of
    their means. Batch renormalization gets the same, also for the statistics that it corrects by.

    Args:
        model: The model whose statistics are renewed.
        norms: Those of its keras.layers.BatchNormalization layers that are to be renewed.
        jit_compile: What Keras' ``compile`` is told of XLA.

    Reference:
        Wu and Johnson 2021, https://arxiv.org/abs/2105.07576, section 3.
    """

    def __init__(
        self, model: Any, norms: Sequence[Any], *, jit_compile: bool | str = "auto"
    ) -> None:
        self._norms = norms
        self._moments = Moments(model, norms)
        self._moments.compile(jit_compile=jit_compile)

    def renew(self, batches: Iterable[np.ndarray]) -> None:
        """Store the statistics over all batches under the model's weights as they are now.

        Args:
            batches: The model's inputs, (batch, height, width, channels); at least one batch.
        """
        counts, moments = [], []
        for batch in batches:
            counts.append(len(batch))
            moments.append(np.asarray(self._moments.predict_on_batch(batch), np.float64))
        means, variances = np.stack(moments, axis=1)
        mean = np.average(means, axis=0, weights=counts)
        variance = np.average(variances + (means - mean) ** 2, axis=0, weights=counts)
        ends = np.cumsum([norm.moving_mean.shape[0] for norm in self._norms])[:-1]
        for norm, its_mean, its_variance in zip(
            self._norms, np.split(mean, ends), np.split(variance, ends), strict=True
        ):
            _store(norm, its_mean, its_variance)


def batch_norms(model: Any) -> list[Any]:
    """List the keras.layers.BatchNormalization layers of a model, also of models inside it."""
    return [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]


def plain_batches(
    train: Split, recipe: Recipe, preprocessing: Preprocessing, wanted: int
) -> Iterator[np.ndarray]:
    """Make inputs of randomly chosen training images, not augmented and always the same ones.

    Args:
        train: The training images.
        recipe: Its batch size and seed are used.
        preprocessing: What turns the images into the model's input.
        wanted: How many images are chosen; all where there are not more.

    Yields:
        float32, (batch, height, width, channels); see `chosen_parts`.
    """
    for chosen in chosen_parts(len(train), wanted, recipe.batch_size, recipe.seed):
        yield preprocessing(train.images[chosen])


def chosen_parts(images: int, wanted: int, batch_size: int, seed: int) -> list[np.ndarray]:
    """Choose images at random and divide them into batches of nearly one size.

    A last batch of few images would be normalized by statistics that no training has seen.

    Args:
        images: How many there are.
        wanted: How many are chosen; all where there are not more.
        batch_size: The largest size of a batch.
        seed: What the choice follows from.

    Returns:
        The positions of each batch's images.
    """
    chance = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_CHOICE,)))
    chosen = chance.permutation(images)[:wanted]
    return np.array_split(chosen, math.ceil(len(chosen) / batch_size))


class Moments(keras.Model):
    """Computes the mean and variance of what each norm receives of a batch.

    Its output is float32, (2, channels of all norms): means and variances.
    """

    def __init__(self, model: Any, norms: Sequence[Any]) -> None:
        super().__init__(name="moments")  # the class' own is no name for TensorFlow
        self.measured = model
        self.norms = list(norms)

    def call(self, images: Any) -> Any:
        """Measure a batch of the model's inputs."""
        found: dict[int, tuple[Any, Any]] = {}
        with _measuring(self.norms, found):
            self.measured(images, training=False)
        pairs = [found[id(norm)] for norm in self.norms]
        return keras.ops.stack([keras.ops.concatenate(part) for part in zip(*pairs, strict=True)])


@contextmanager
def _measuring(norms: Sequence[Any], found: dict[int, tuple[Any, Any]]) -> Iterator[None]:
    """Have norms normalize by their batch and note its mean and variance, whatever the mode."""
    for norm in norms:
        # An attribute of the layer itself goes before its class' method. Keras' own way to set it
        # would look for weights in it.
        vars(norm)["call"] = functools.partial(_normalize, norm, found)
    try:
        yield
    finally:
        for norm in norms:
            del vars(norm)["call"]


def _normalize(
    norm: Any,
    found: dict[int, tuple[Any, Any]],
    inputs: Any,
    training: bool | None = None,
    mask: Any = None,
) -> Any:
    """Compute what a BatchNorm computes in training; it is asked to at inference."""
    if id(norm) in found:
        raise InputError(
            f"statistics_images and average: accepted are models that use each BatchNorm once; "
            f"received one that uses {norm.name} again"
        )
    x = keras.ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
    axes = [axis for axis in range(len(x.shape)) if axis != norm.axis % len(x.shape)]
    mean, variance = keras.ops.moments(x, axes=axes)
    found[id(norm)] = (mean, variance)
    outputs = keras.ops.batch_normalization(
        x,
        mean,
        variance,
        axis=norm.axis,
        offset=norm.beta,
        scale=norm.gamma,
        epsilon=norm.epsilon,
    )
    return keras.ops.cast(outputs, norm.compute_dtype)


def _store(norm: Any, mean: np.ndarray, variance: np.ndarray) -> None:
    """Give a BatchNorm its statistics, in every form in which it keeps them."""
    norm.moving_mean.assign(mean)
    norm.moving_variance.assign(variance)
    if norm.renorm:
        deviation = np.sqrt(variance + norm.epsilon)
        norm.moving_stddev.assign(deviation)
        norm.renorm_mean.assign(mean)
        norm.renorm_stddev.assign(deviation)
