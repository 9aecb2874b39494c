"""What a person sees while a training runs: a live line on a terminal, plain lines elsewhere."""

import sys
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


class Lines(Progress):
    """One plain line for each epoch.

    Args:
        stream: Where they go.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.epochs = 0

    def begin(self, *, name: str, epochs: int, steps: int, done: int) -> None:
        """Keep the number of epochs."""
        self.epochs = epochs

    def epoch(self, row: dict[str, float]) -> None:
        """Write the row."""
        self.note(f"epoch {row['epoch']}/{self.epochs}  {describe(row)}")

    def note(self, text: str) -> None:
        """Write the text."""
        print(text, file=self.stream, flush=True)


class Live(Lines):
    """A bar with the time left that lives on the last line of a terminal.

    Args:
        stream: The terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        super().__init__(stream)
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
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
        numbers = f"loss {loss:.4f}  accuracy {accuracy:.2%}  {images_per_second:.0f} images/s"
        self.bar.update(self.task, completed=step, numbers=numbers)

    def note(self, text: str) -> None:
        """Write the text above the bar."""
        self.bar.console.print(text, markup=False, highlight=False)

    def end(self) -> None:
        """Take the bar away."""
        self.bar.stop()


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
