"""Many small trainings: one model and one traced step serve all runs that only change numbers.

A run begins with weights that its seed alone decides, and with an optimizer as new; what ran before
leaves no trace in it.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from training import optimizer as optimizers
from training import precision, schedules
from training.batches import batches
from training.data import Split
from training.evaluation import Metrics, evaluate
from training.recipe import Recipe
from training.studies.recipe import StudyRecipe
from training.studies.subject import Subject
from training.studies.weights import arrays, assign

_OWN = ("learning_rate", "seed", "batch_size", "epochs", "schedule", "name", "notes")


@dataclass
class Trained:
    """How a run went.

    Args:
        losses: The loss of each step's batch, before the step.
        diverged: The step, counted from 1, whose loss was no number, or whose gradients were none
            in float16 at any scale; None where there was no such step.
        step_seconds: The median time of a step, without those that trace and compile.
        measured: What was measured, by the step after which it was.
    """

    losses: list[float] = field(default_factory=list)
    diverged: int | None = None
    step_seconds: float = 0.0
    measured: dict[int, Metrics] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """The last accuracy that was measured; 0 for a run that diverged."""
        if self.diverged is not None or not self.measured:
            return 0.0
        return self.measured[max(self.measured)].accuracy

    def to_dict(self) -> dict[str, Any]:
        """Return what most studies keep of a run."""
        last = self.measured[max(self.measured)] if self.measured else None
        return {
            "accuracy": self.accuracy,
            "loss": None if last is None or self.diverged is not None else last.loss,
            "diverged": self.diverged,
            "step_ms": round(1e3 * self.step_seconds, 3),
        }


class Bench:
    """Where the runs of a study are done.

    Args:
        recipe: The study's recipe.
        subject: Its data and models.
        tools: Functions of other packages that a study asks for, by name, such as ``fold``.
    """

    def __init__(
        self, recipe: StudyRecipe, subject: Subject, tools: dict[str, Callable[..., Any]]
    ) -> None:
        self.recipe, self.subject, self.tools = recipe, subject, tools
        self.data = subject.data
        self._key: Any = None
        self._model: Any = None
        self._weights: dict[int, list[np.ndarray]] = {}
        self._optimizer: list[np.ndarray] = []

    def model(self, run: Recipe) -> Any:
        """Return the model of a run, compiled, with the first weights of its seed.

        Args:
            run: The run's recipe.

        Returns:
            A keras.Model. The next call may return the same one with other weights.
        """
        key = run.model_dump(mode="json", exclude=set(_OWN))
        if key != self._key:
            self._compile(run)
            self._key = key
        if run.seed not in self._weights:
            keras.utils.set_random_seed(run.seed)
            self._weights[run.seed] = arrays(self.subject.build(run).variables)
        # The model's own variables hold the states of its random layers too.
        assign(self._model.variables[: len(self._weights[run.seed])], self._weights[run.seed])
        assign(self._model.optimizer.variables, self._optimizer)
        return self._model

    def train(
        self,
        run: Recipe,
        *,
        measure_at: tuple[int, ...] = (),
        begin: Callable[[Any], None] | None = None,
        watch: Callable[[int, Any], None] | None = None,
        stop: Callable[[Metrics], bool] | None = None,
        steps: int = 0,
        choosing: bool = False,
    ) -> Trained:
        """Train one model from new weights.

        Args:
            run: The run's recipe. Its schedule goes over all steps.
            measure_at: After which steps the accuracy is measured; also after the last one.
            begin: Is given the model before the first step, to change its weights.
            watch: Is given the number of steps done, from 0, and the model.
            stop: Is told of each measurement; True ends the run.
            steps: The number of steps; 0 for the recipe's.
            choosing: Whether it is measured on the images that are held out for choices, and not
                on the test images.

        Returns:
            How it went. A loss that is no number ends a run; that is a result, not an error.
        """
        steps = steps or self.recipe.steps
        model, rates = self.model(run), self._rates(run, steps)
        split = self.held_out if choosing else self.data.test
        if begin is not None:
            begin(model)
        done, times = Trained(), []
        for step, (images, labels) in enumerate(self.batches(run, steps), start=1):
            if watch is not None:
                watch(step - 1, model)
            self._inner().learning_rate = rates[step - 1]
            start = time.perf_counter()
            loss = float(model.train_on_batch(images, labels))
            times.append(time.perf_counter() - start)
            done.losses.append(loss)
            if not math.isfinite(loss) or self._overflows():
                done.diverged = step
                break
            if step in measure_at or step == steps:
                done.measured[step] = self.measure(model, split)
                if stop is not None and stop(done.measured[step]):
                    break
        if watch is not None and done.diverged is None:
            watch(len(done.losses), model)
        done.step_seconds = float(np.median(times[1:] or times))
        return done

    @property
    def held_out(self) -> Split:
        """The images that choices are made by."""
        assert self.subject.held_out is not None, "a study that chooses holds images out"
        return self.subject.held_out

    def measure(self, model: Any, split: Split) -> Metrics:
        """Measure a model as at inference; what is not finite counts as no answer.

        Args:
            model: A compiled keras.Model.
            split: The images.

        Returns:
            The measurements.
        """

        def logits(images: np.ndarray) -> np.ndarray:
            found = np.asarray(model.predict_on_batch(images), np.float64)
            return np.where(np.isfinite(found), np.clip(found, -1e6, 1e6), 0.0)

        return evaluate(logits, split, preprocessing=self.data.preprocessing)

    def batches(self, run: Recipe, steps: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Make so many batches of a run, epoch after epoch.

        Args:
            run: The run's recipe.
            steps: How many.

        Yields:
            Images, float32, and labels, float32, one-hot.
        """
        epoch = 0
        while steps > 0:
            for batch in batches(
                self.data.train,
                run,
                self.data.preprocessing,
                classes=len(self.data.labels),
                epoch=epoch,
            ):
                if steps == 0:
                    return
                steps -= 1
                yield batch
            epoch += 1

    def _compile(self, run: Recipe) -> None:
        """Build and compile the model of a run and of all that share its step."""
        keras.utils.clear_session(free_memory=False)
        chosen = precision.resolve(run.precision)
        keras.config.set_dtype_policy(chosen)
        self._model, self._weights = self.subject.build(run), {}
        # As a number, and not as a schedule, the rate is a variable that a run can set.
        made = optimizers.create(run, self._model, run.learning_rate, steps=self.recipe.steps)
        self._model.compile(
            optimizer=precision.scaled(made, chosen),
            loss=keras.losses.CategoricalCrossentropy(
                from_logits=True, label_smoothing=run.label_smoothing
            ),
            auto_scale_loss=False,
            jit_compile=precision.jit_compile(chosen),
        )
        self._model.optimizer.build(self._model.trainable_variables)
        self._optimizer = arrays(self._model.optimizer.variables)

    def _inner(self) -> Any:
        """Return the optimizer that holds the learning rate."""
        return getattr(self._model.optimizer, "inner_optimizer", self._model.optimizer)

    def _overflows(self) -> bool:
        """Say whether float16 has no scale left at which the gradients can be held."""
        scale = getattr(self._model.optimizer, "dynamic_scale", None)
        return scale is not None and float(scale) < 1

    def _rates(self, run: Recipe, steps: int) -> np.ndarray:
        """Compute the learning rate of each step: every schedule is a factor on the highest."""
        if run.schedule == "constant" and not run.warmup_epochs:
            return np.full(steps, run.learning_rate, np.float32)
        unit = schedules.create(run.replace(learning_rate=1.0), steps)
        shape = keras.ops.convert_to_numpy(
            keras.ops.stack([unit(step) for step in range(steps)])
            if run.schedule != "cosine"
            else unit(np.arange(steps))
        )
        return (run.learning_rate * np.asarray(shape, np.float64)).astype(np.float32)
