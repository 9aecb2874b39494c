"""The one training loop: step by step with `train_on_batch`, on any Keras backend.

Unlike in `fit`, each step is in our hands: a loss that is no number stops the training at once, and
a Ctrl-C ends it between two steps, where a checkpoint is exact.
"""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from training.averaging import Kept
from training.batches import batches, check_augmentation, steps_per_epoch
from training.checkpoint import State
from training.data import Data, Split
from training.errors import DivergenceError
from training.group import Group
from training.prefetch import prefetched
from training.progress import Progress
from training.recipe import Recipe
from zoo.signals import handling


@dataclass
class Loop:
    """What the loop works on.

    Args:
        model: Compiled, its optimizer built.
        recipe: The resolved recipe.
        data: The data; its test split is not touched.
        train: The training images that are learned from.
        held: The images that are held out, or None.
        state: Where the training stands; changed as it goes.
        progress: What is told of each step and epoch.
        save: Writes a checkpoint.
        schedule: The learning rate of each step.
        kept: Makes and measures the model that would be kept if the training ended now.
        group: The processes and devices that train together.
    """

    model: Any
    recipe: Recipe
    data: Data
    train: Split
    held: Split | None
    state: State
    progress: Progress
    save: Callable[[], None]
    schedule: Callable[[int], Any]
    kept: Kept
    group: Group

    def __post_init__(self) -> None:
        self._epoch_began = (self.state.timed_images, self.state.timed_seconds)
        self.steps_per_epoch = steps_per_epoch(self.recipe, len(self.train))
        check_augmentation(self.recipe, self.train)
        self._first = True
        self._asked: list[int] = []

    @property
    def terminated(self) -> bool:
        """Whether this process was asked to terminate, and not by a Ctrl-C."""
        return self._asked[:1] == [signal.SIGTERM]

    @property
    def steps(self) -> int:
        """The number of steps of the whole training."""
        return self.steps_per_epoch * self.recipe.epochs

    def run(self) -> bool:
        """Train until the last epoch is done or someone asks one of the processes to stop.

        Returns:
            Whether the training is complete. A checkpoint was written either way.

        Raises:
            DivergenceError: The loss, or the scale of the loss, cannot be learned from any more.
        """
        with _asked_to_stop(self._asked):
            while self.state.step < self.steps:
                epoch, first = divmod(self.state.step, self.steps_per_epoch)
                for images, labels in prefetched(
                    batches,
                    self.train,
                    self.recipe,
                    self.data.preprocessing,
                    classes=len(self.data.labels),
                    epoch=epoch,
                    first=first,
                ):
                    if self.group.any(bool(self._asked)):
                        self.save()
                        return False
                    self._step(images, labels)
                self._end_epoch(epoch + 1)
        return True

    def _step(self, images: Any, labels: Any) -> None:
        """Train on one batch, of which each process takes its share."""
        start = time.perf_counter()
        result = self.group.step(self.model, images, labels)
        loss, accuracy = float(result["loss"]), float(result["accuracy"])
        took = time.perf_counter() - start
        state = self.state
        state.step += 1
        state.seconds += took
        state.images += len(images)
        state.loss += loss * len(images)
        state.correct += accuracy * len(images)
        if not self._first:
            state.timed_images += len(images)
            state.timed_seconds += took
        self._first = False
        if not math.isfinite(loss):
            raise DivergenceError(state.step, f"the loss is {loss}")
        scale = getattr(self.model.optimizer, "dynamic_scale", None)
        if scale is not None and float(scale.numpy()) < 1:
            raise DivergenceError(state.step, "the gradients overflow float16 at any loss scale")
        self.progress.step(
            step=state.step,
            loss=state.loss / state.images,
            accuracy=state.correct / state.images,
            images_per_second=self._images_per_second(),
        )

    def _images_per_second(self) -> float:
        """The rate of the current epoch, or 0 before anything was timed."""
        images, seconds = self._epoch_began
        passed = self.state.timed_seconds - seconds
        return (self.state.timed_images - images) / passed if passed else 0.0

    def _end_epoch(self, epoch: int) -> None:
        """Measure, add the row of the epoch, and write a checkpoint where it is due."""
        state = self.state
        start = time.perf_counter()
        row: dict[str, float] = {
            "epoch": epoch,
            "loss": state.loss / state.images,
            "accuracy": state.correct / state.images,
        }
        if self.held is not None:
            kept = self.kept()
            measured = self.kept.evaluate(kept, self.held, preprocessing=self.data.preprocessing)
            row |= {"val_loss": measured.loss, "val_accuracy": measured.accuracy}
        state.seconds += time.perf_counter() - start
        row["learning_rate"] = float(self.schedule(state.step - 1))
        row["images_per_second"] = round(self._images_per_second(), 1)
        row["seconds"] = round(state.seconds, 2)
        state.history.append(row)
        state.images, state.loss, state.correct = 0, 0.0, 0.0
        self._epoch_began = (state.timed_images, state.timed_seconds)
        if epoch % self.recipe.checkpoint_epochs == 0 or epoch == self.recipe.epochs:
            self.save()
        self.progress.epoch(row)


@contextmanager
def _asked_to_stop(asked: list[int]) -> Iterator[None]:
    """Note a Ctrl-C or SIGTERM instead of breaking off in the middle of a step.

    A second one breaks off at once, as usual.

    Args:
        asked: Gets the number of the first signal that comes.

    Yields:
        Nothing.
    """

    def note(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    with handling({signal.SIGINT: note, signal.SIGTERM: note}):
        yield
