"""A training from recipe to folder: what `train` does, and what it leaves.

A run's folder holds ``model.keras``, ``card.json``, ``history.csv`` and ``recipe.toml``, the same
as a folder of ``saved_models``, and for people ``curves.png``, ``curves.html`` and TensorBoard's
logs. While it is under way there is a ``checkpoint.npz`` too: as long as that is there, the run is
not finished. An older model in the folder stays until the new one takes its place. Another training
in the same folder is refused as long as one is under way.
"""

import os
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training import checkpoint, curves, environment, precision
from training.batches import steps_per_epoch
from training.checkpoint import State
from training.data import Data, load_data
from training.distribution import Distribution, join
from training.errors import Interrupted
from training.evaluation import Metrics
from training.folders import RECIPE_FILE, Result, card_of, command, keep_recipe, look, read
from training.group import Group
from training.lock import holding
from training.progress import Progress, default
from training.recipe import Recipe
from training.records import recording
from zoo import history, onednn, xla
from zoo.cards import CARD_FILE, MODEL_FILE, Card
from zoo.errors import InputError
from zoo.files import sha256
from zoo.policies import policy
from zoo.registry import create_model

if TYPE_CHECKING:
    import keras

NO_FILE = "0" * 64  # the card's hash where no file was written


def train(
    recipe: str | os.PathLike[str] | Recipe,
    *,
    out: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    distribution: Distribution | None = None,
    **overrides: Any,
) -> Result:
    """Train a model by a recipe, and measure it once on the test split at the end.

    Args:
        recipe: A name from `training.list_recipes`, the path of a TOML file, or a Recipe.
        out: The run's folder; None to write nothing.
        data_dir: Where tensorflow-datasets keeps its prepared sets; None for its default.
        resume: Whether to go on from the checkpoint in ``out``. A run that is finished is
            returned as it is.
        overwrite: Whether a run that is in ``out``, or files of its names, may be replaced; never
            the file that ``recipe`` is.
        progress: What is shown; None for a live line on a terminal and plain lines elsewhere,
            both on standard error, of process 0 alone. ``training.Progress()`` shows nothing.
        distribution: The devices and processes to train on; None for one device. Each process
            calls this function, and returns the same model and history; process 0 writes.
        **overrides: Keys of the recipe to change, for example ``epochs=2``.

    Returns:
        The model, its card and its history.

    Raises:
        InputError: The recipe, the data or the folder cannot be used.
        DivergenceError: The loss became NaN or infinite.
        Interrupted: Ctrl-C, or a request to terminate; the checkpoint in ``out`` can be resumed.
        ProcessError: Another process of the training failed.
        LostProcessError: Another process of the training died.

    Example:
        >>> result = training.train("resnet20.digits", out="runs/digits")
        >>> result.card.metrics["test_accuracy"]
    """
    fast = onednn.prefer()
    from training.repeatable import make_repeatable

    chosen = Recipe.load(recipe, **overrides)
    if out is None and resume:
        raise InputError("resume: accepted only with out, the folder of the run; received none")
    folder = None if out is None else Path(out)
    if folder is not None and not resume:
        keep_recipe(recipe, folder)
    group = join(distribution, chosen.batch_size)
    group.check_recipe(chosen)
    repeatable = make_repeatable(chosen.seed)
    chosen = _resolved(chosen)
    with (
        group.together(),
        holding(folder) if folder is not None and group.is_first else nullcontext(),
    ):
        done = look(folder, chosen, group, resume=resume, overwrite=overwrite)
        if done is not None:
            return done
        again = command(folder, data_dir, distribution)
        return _train(
            chosen,
            folder,
            data_dir,
            progress,
            group=group,
            again=again,
            repeatable=repeatable,
            fast=fast,
            resume=resume,
        )


def finished(
    out: str | os.PathLike[str], recipe: str | os.PathLike[str] | Recipe, **overrides: Any
) -> Result | None:
    """Return a finished run of the same recipe, if the folder holds one.

    Args:
        out: The run's folder.
        recipe: As in `train`.
        **overrides: As in `train`.

    Returns:
        What `train` returned then, read from the folder; None where there is no such run, it is
        not finished, its recipe is another one on this machine, or its files do not belong
        together.

    Raises:
        InputError: The recipe cannot be used, or the history there is damaged.

    Example:
        >>> recipe = training.Recipe.load("resnet20.digits")
        >>> result = training.finished("runs/demo", recipe) or training.train(
        ...     recipe, out="runs/demo", overwrite=True)
    """
    folder = Path(out)
    card = card_of(folder)
    if card is None or checkpoint.exists(folder):
        return None
    if _resolved(Recipe.load(recipe, **overrides)).differences(card.recipe):
        return None
    return read(folder, card)


class _Run:
    """One training, from its first weights to its folder."""

    def __init__(
        self, recipe: Recipe, data: Data, folder: Path | None, group: Group, *, resume: bool
    ) -> None:
        import keras

        from training import fused_gelu, initial, schedules
        from training import optimizer as optimizers
        from training.averaging import Kept, plain_batches

        self.recipe, self.data, self.folder, self.group = recipe, data, folder, group
        self.written = folder if group.is_first else None
        self.train, self.held = data.held_out(recipe.holdout)
        per_epoch = steps_per_epoch(recipe, len(self.train))
        self.schedule = schedules.create(recipe, per_epoch)
        self.model = self._build()
        initial.freeze(self.model, recipe)
        # A run that goes on has its weights in its checkpoint, and needs no others any more.
        images = plain_batches(self.train, recipe, data.preprocessing, recipe.whiten)
        origin = [] if resume else initial.begin(self.model, recipe, data.labels, images)
        optimizer = precision.scaled(
            optimizers.create(recipe, self.model, self.schedule, steps=per_epoch * recipe.epochs),
            recipe.precision,
        )
        group.adapt(self.model)
        fused_gelu.use(self.model)
        # Keras would wrap a mixed_float16 model's optimizer as well; that it is wrapped is ours
        # to say. By itself Keras does not compile with XLA on CPUs, where it is seldom faster.
        self.model.compile(
            optimizer=optimizer,
            loss=keras.losses.CategoricalCrossentropy(
                from_logits=True, label_smoothing=recipe.label_smoothing
            ),
            metrics=["accuracy"],
            auto_scale_loss=False,
            jit_compile=group.jit_compile(recipe.precision),
        )
        optimizer.build(self.model.trainable_variables)
        self.kept = Kept(
            self.model,
            recipe,
            self._build,
            self.train,
            preprocessing=data.preprocessing,
            group=group,
        )
        plain, backend = recipe.model_dump(mode="json"), keras.backend.backend()
        self.state = State(plain, backend, origin=origin, data=data.digest())

    def complete(self, progress: Progress, *, resume: bool, again: str) -> Result:
        """Train, from the checkpoint where asked, and leave the finished run."""
        from training.loop import Loop

        if resume:
            self._resume()
        progress = recording(progress, self.written, self.recipe, self.state.history)
        loop = Loop(
            self.model,
            self.recipe,
            self.data,
            self.train,
            self.held,
            self.state,
            progress,
            self._save,
            self.schedule,
            self.kept,
            self.group,
        )
        if not resume:
            self._begin()
        progress.begin(
            name=self.recipe.name,
            epochs=self.recipe.epochs,
            steps=loop.steps,
            done=self.state.step,
        )
        progress.note(
            f"{self.recipe.name}: {precision.describe(self.recipe.precision)}, "
            f"{len(self.train)} images, "
            f"{self.recipe.epochs} epochs of {loop.steps_per_epoch} steps{self.group.describe()}"
        )
        for line in self.state.origin:
            progress.note(f"{self.recipe.name}: {line}")
        try:
            if loop.run():
                return self._end()
        except KeyboardInterrupt as error:
            terminated = loop.terminated or getattr(error, "terminated", False)
            raise self._interrupted(loop.steps, again, terminated) from error
        finally:
            progress.end()
        raise self._interrupted(loop.steps, again, loop.terminated)

    def _interrupted(self, steps: int, again: str, terminated: bool) -> Interrupted:
        step = self.state.step
        return Interrupted(
            self.folder, step=step, steps=steps, command=again, terminated=terminated
        )

    def _build(self) -> "keras.Model":
        with policy(self.recipe.precision):
            return create_model(
                self.recipe.arch,
                input_shape=self.data.train.images.shape[1:],
                num_classes=len(self.data.labels),
                norm=self.recipe.norm,
                dropout=self.recipe.dropout,
                stochastic_depth=self.recipe.stochastic_depth,
                width=self.recipe.width,
                padding=self.recipe.padding,
            )

    def _begin(self) -> None:
        """Leave what a run needs to be resumed, before the first step; see at once if one can."""
        self._save()
        with self.group.together():
            if self.written is not None:
                self.recipe.save(self.written / RECIPE_FILE)

    def _resume(self) -> None:
        assert self.folder is not None
        data = self.state.data
        self.state, arrays = checkpoint.read(self.folder)
        # An old checkpoint does not tell its data; it is taken for the same, and told from now on.
        if self.state.data not in ("", data):
            raise InputError(
                f"{self.folder}: the data is not what the run was begun with; accepted is "
                f"{self.recipe.dataset} with the same images and classes as then, or --overwrite "
                f"to begin anew; received {len(self.data.train)} training images of "
                f"{len(self.data.labels)} classes"
            )
        self.state.data = data
        checkpoint.restore(self.model, arrays)

    def _save(self) -> None:
        with self.group.together():
            if self.written is not None:
                checkpoint.save(self.written, self.model, self.state)
                history.write(self.written / history.HISTORY_FILE, self.state.history)

    def _end(self) -> Result:
        """Measure, write the finished run, and take the checkpoint away."""
        start = time.perf_counter()
        kept = self.kept()
        self.state.seconds += time.perf_counter() - start
        measured = self.kept.evaluate(kept, self.data)
        by_views = (
            self.kept.evaluate(kept, self.data, views=self.recipe.views)
            if self.recipe.views > 1
            else None
        )
        # A fresh model carries no optimizer, which would double the file.
        with self.group.alone():
            model = self._build()
            model.set_weights(kept.get_weights())
        digest = NO_FILE
        if self.written is not None:
            from zoo import keras_files

            digest = sha256(keras_files.save(model, self.written / MODEL_FILE))
        card = self._describe(measured, by_views, digest)
        if self.written is not None:
            card.write(self.written / CARD_FILE)
            curves.write(self.written, self.recipe, self.state.history, card)
            checkpoint.remove(self.written)
        return Result(model, card, self.state.history, self.folder)

    def _describe(self, measured: Metrics, by_views: Metrics | None, digest: str) -> Card:
        recipe, data = self.recipe, self.data
        metrics: dict[str, float | int] = {
            "test_accuracy": measured.accuracy,
            "test_accuracy_low": measured.interval[0],
            "test_accuracy_high": measured.interval[1],
            "test_loss": measured.loss,
            "test_images": measured.count,
            "train_images": len(self.train),
            "train_seconds": round(self.state.seconds, 2),
            "images_per_second": round(self.state.images_per_second, 1),
            "parameters": self.model.count_params(),
        }
        if by_views is not None:
            metrics["test_views"] = by_views.views
            metrics["test_views_accuracy"] = by_views.accuracy
            metrics["test_views_accuracy_low"], metrics["test_views_accuracy_high"] = (
                by_views.interval
            )
        if self.group.devices > 1:
            metrics["devices"] = self.group.devices
        if self.held is not None:
            metrics["val_accuracy"] = self.state.history[-1]["val_accuracy"]
        return Card(
            name=recipe.name,
            arch=recipe.arch,
            input_shape=data.train.images.shape[1:],
            num_classes=len(data.labels),
            norm=recipe.norm,
            dropout=recipe.dropout,
            stochastic_depth=recipe.stochastic_depth,
            width=recipe.width,
            padding=recipe.padding,
            preprocessing=data.preprocessing,
            labels=data.labels,
            dataset=recipe.dataset,
            precision=recipe.precision,
            metrics=metrics,
            recipe=recipe.model_dump(mode="json"),
            sha256=digest,
            versions=environment.versions(),
            hardware=environment.hardware(),
            commit=environment.commit(),
            notes=(*data.notes, *self.state.origin, *recipe.notes),
        )


def _train(
    recipe: Recipe,
    folder: Path | None,
    data_dir: str | os.PathLike[str] | None,
    progress: Progress | None,
    *,
    group: Group,
    again: str,
    repeatable: bool,
    fast: bool,
    resume: bool,
) -> Result:
    """Load the data and train, in a folder that was looked into."""
    if progress is None:
        progress = default() if group.is_first else Progress()
    progress.note(f"reading {recipe.dataset}")
    data = group.in_turn(
        lambda: load_data(
            recipe.dataset, data_dir, image_size=recipe.image_size, skip_corrupt=recipe.skip_corrupt
        )
    )
    group.check(data=data.digest())
    if not repeatable:
        progress.note("TensorFlow was in use before: another run may differ in its last bits")
    if not fast and xla.is_needed("bfloat16"):
        progress.note(
            "TensorFlow was imported before, without oneDNN: training is faster with "
            f"{onednn.VARIABLE}=1 in the environment"
        )
    with group.scope():
        run = _Run(recipe, data, folder, group, resume=resume)
        return run.complete(progress, resume=resume, again=again)


def _resolved(recipe: Recipe) -> Recipe:
    """Settle what a recipe leaves to the machine."""
    return Recipe.load(recipe, precision=precision.resolve(recipe.precision))
