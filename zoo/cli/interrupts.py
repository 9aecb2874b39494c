"""Ctrl-C and a request to terminate: both unwind, so that nothing is left half-written."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from zoo.signals import handling

INTERRUPTED = 130  # what shells tell of a process that Ctrl-C ended: 128 and the signal's number
TERMINATED = 143


class Terminated(KeyboardInterrupt):
    """A request to terminate, which unwinds as Ctrl-C does."""

    terminated = True


@contextmanager
def terminating() -> Iterator[None]:
    """Have SIGTERM unwind what is under way instead of ending the process on the spot.

    Yields:
        Nothing.

    Raises:
        Terminated: The signal came.
    """

    def unwind(number: int, frame: Any) -> None:
        raise Terminated

    with handling({signal.SIGTERM: unwind}):
        yield


@contextmanager
def held() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back until the end, where either is raised.

    For imports: code inside them may swallow an interrupt and leave a module half-made.

    Yields:
        Nothing.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed, or SIGTERM came (`Terminated`).
    """
    came: list[int] = []

    def note(number: int, frame: Any) -> None:
        came.append(number)

    with handling({signal.SIGINT: note, signal.SIGTERM: note}):
        yield
    if came:
        raise Terminated if came[0] == signal.SIGTERM else KeyboardInterrupt
