"""How a training ends early, each told in one line."""

from pathlib import Path

from zoo.errors import InputError


class DivergenceError(InputError):
    """The loss, or the scale of the loss, is no longer a number that can be learned from.

    Args:
        step: The step at which it happened, counted from 1 over the whole training.
        what: What was seen there.
    """

    def __init__(self, step: int, what: str) -> None:
        super().__init__(
            f"training stopped at step {step}: {what}; try a lower learning_rate, a longer "
            "warmup_epochs, or precision=float32 (or mixed_bfloat16)"
        )
        self.step = step


class ProcessError(InputError):
    """Another process of the same training cannot go on.

    Args:
        process_id: Which one.
        what: What it told.
    """

    def __init__(self, process_id: int, what: str) -> None:
        super().__init__(f"process {process_id} of this training ended: {what}")
        self.process_id = process_id


class LostProcessError(InputError):
    """Another process of the same training cannot be reached any more.

    Args:
        error: What the connection to it broke with.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(
            "another process of this training cannot be reached, so it may have died "
            f"({' '.join(str(error).split())}); start all processes again with --resume"
        )


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or a request to terminate ended the training; what was reached can be resumed.

    A KeyboardInterrupt, so that code that knows nothing of it treats it as one.

    Args:
        folder: The run's folder with its checkpoint, or None where nothing is written.
        step: The number of steps that were done.
        steps: The number of steps of the whole training.
        command: What goes on with it, for a shell; empty where nothing is written.
        terminated: Whether it was a request to terminate.
    """

    def __init__(
        self, folder: Path | None, *, step: int, steps: int, command: str, terminated: bool = False
    ) -> None:
        kept = f"go on with: {command}" if command else "without a folder nothing was kept"
        what = "terminated" if terminated else "interrupted"
        super().__init__(f"{what} after step {step} of {steps}; {kept}")
        self.folder = folder
        self.step = step
        self.steps = steps
        self.command = command
        self.terminated = terminated
