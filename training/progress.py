"""What a person sees while a training runs: a live line on a terminal, plain lines elsewhere."""

import itertools
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO


class Progress:
    """What the training loop tells; this one shows nothing. Subclass it to show something."""

    def begin(self, *, name: str, epochs: int, steps: int, done: int) -> None:
        """Begin: so many steps in so many epochs, some done already where it was resumed."""

    def step(self, *, step: int, loss: float, accuracy: float, images_per_second: float) -> None:
        """End a step; loss and accuracy are the means over the epoch so far."""

    def epoch(self, row: dict[str, float]) -> None:
        """End an epoch, with its row of the history."""

    def note(self, text: str) -> None:
        """Tell something that is not a number."""

    def end(self) -> None:
        """End, however it ended."""


class Together(Progress):
    """Several of them, told the same in the order in which they are passed.

    Args:
        *parts: Whom to tell.
    """

    def __init__(self, *parts: Progress) -> None:
        self.parts = parts

    def begin(self, *, name: str, epochs: int, steps: int, done: int) -> None:
        """Begin all of them."""
        for part in self.parts:
            part.begin(name=name, epochs=epochs, steps=steps, done=done)

    def step(self, *, step: int, loss: float, accuracy: float, images_per_second: float) -> None:
        """Tell all of them."""
        for part in self.parts:
            part.step(step=step, loss=loss, accuracy=accuracy, images_per_second=images_per_second)

    def epoch(self, row: dict[str, float]) -> None:
        """Tell all of them."""
        for part in self.parts:
            part.epoch(row)

    def note(self, text: str) -> None:
        """Tell all of them."""
        for part in self.parts:
            part.note(text)

    def end(self) -> None:
        """End all of them, the last one first."""
        for part in reversed(self.parts):
            part.end()


class Pace:
    """How long the steps of this process take, and so how long the others will.

    Its first step also traces and compiles; it is left out.

    Args:
        clock: Tells the time, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.steps = 0
        self._first: tuple[int, float] | None = None
        self._last = (0, 0.0)

    def begin(self, steps: int) -> None:
        """Begin a training of so many steps."""
        self.steps, self._first = steps, None

    def step(self, step: int) -> None:
        """Note that a step is done."""
        self._last = (step, self.clock())
        self._first = self._first or self._last

    @property
    def left(self) -> float | None:
        """The time left, in seconds; None before two steps are done."""
        if self._first is None or self._last[0] == self._first[0]:
            return None
        steps, seconds = (now - then for now, then in zip(self._last, self._first, strict=True))
        return seconds / steps * (self.steps - self._last[0])


class Lines(Progress):
    """One plain line for each epoch.

    Args:
        stream: Where they go.
        clock: Tells the time, in seconds.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self.stream = stream
        self.epochs = 0
        self.pace = Pace(clock)

    def begin(self, *, name: str, epochs: int, steps: int, done: int) -> None:
        """Keep how much there is to do."""
        self.epochs = epochs
        self.pace.begin(steps)

    def step(self, *, step: int, loss: float, accuracy: float, images_per_second: float) -> None:
        """Note the time."""
        self.pace.step(step)

    def epoch(self, row: dict[str, float]) -> None:
        """Write the row."""
        text = f"epoch {row['epoch']}/{self.epochs}  {describe(row)}  {duration(row['seconds'])}"
        if row["epoch"] == self.epochs:
            text += " in all"
        elif self.pace.left is not None:
            text += f" so far, about {duration(self.pace.left)} left"
        else:
            text += " so far"
        self.note(text)

    def note(self, text: str) -> None:
        """Write the text."""
        print(text, file=self.stream, flush=True)


class Live(Lines):
    """A bar with the time left that lives on the last line of a terminal.

    Args:
        stream: The terminal.
        clock: Tells the time, in seconds.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar
        from rich.table import Column

        super().__init__(stream, clock)
        # On a narrow terminal the bar and the name give way, not the numbers.
        whole, giving = Column(no_wrap=True), Column(overflow="ellipsis")
        self.bar = Bar(
            TextColumn("{task.description}", table_column=giving),
            BarColumn(bar_width=None, table_column=Column(max_width=24)),
            TextColumn("{task.percentage:>3.0f} %", table_column=whole),
            TextColumn("{task.fields[numbers]}", table_column=whole),
            console=Console(file=stream),
            transient=True,
        )
        self.task: Any = None

    def begin(self, *, name: str, epochs: int, steps: int, done: int) -> None:
        """Show the bar."""
        super().begin(name=name, epochs=epochs, steps=steps, done=done)
        self.bar.start()
        self.task = self.bar.add_task(name, total=steps, completed=done, numbers="starting")

    def step(self, *, step: int, loss: float, accuracy: float, images_per_second: float) -> None:
        """Move the bar."""
        super().step(step=step, loss=loss, accuracy=accuracy, images_per_second=images_per_second)
        numbers = f"loss {loss:.4f}  accuracy {accuracy:.2%}  {images_per_second:.0f} images/s"
        if self.pace.left is not None:
            numbers += f"  {duration(self.pace.left)} left"
        self.bar.update(self.task, completed=step, numbers=numbers)

    def note(self, text: str) -> None:
        """Write the text above the bar."""
        self.bar.console.print(text, markup=False, highlight=False)

    def end(self) -> None:
        """Take the bar away."""
        self.bar.stop()


def duration(seconds: float) -> str:
    """Write a time in the units that a person thinks in.

    Args:
        seconds: 0 or more.

    Returns:
        The two largest units that it has: ``45 s``, ``3 min 20 s``, ``2 h 5 min``, ``1 d 4 h``.
    """
    whole = round(seconds)
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    for (large, many), (small, few) in itertools.pairwise(units):
        if whole >= many:
            first, rest = divmod(whole, many)
            second = rest // few
            return f"{first} {large} {second} {small}" if second else f"{first} {large}"
    return f"{whole} s"


def describe(row: dict[str, float]) -> str:
    """Put a row of the history into words."""
    text = f"loss {row['loss']:.4f}  accuracy {row['accuracy']:.2%}"
    if "val_accuracy" in row:
        text += f"  val_loss {row['val_loss']:.4f}  val_accuracy {row['val_accuracy']:.2%}"
    return f"{text}  {row['images_per_second']:.0f} images/s"


def default(stream: TextIO | None = None) -> Progress:
    """Make the progress that suits a stream.

    Args:
        stream: Where it goes; None for standard error.

    Returns:
        `Live` on a terminal, `Lines` elsewhere.
    """
    stream = stream or sys.stderr
    return Live(stream) if stream.isatty() else Lines(stream)
