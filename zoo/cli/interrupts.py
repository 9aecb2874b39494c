"""Ctrl-C and a request to terminate: both unwind, so that nothing is left half-written."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

INTERRUPTED = 130  # what shells tell of a process that Ctrl-C ended: 128 and the signal's number
TERMINATED = 143


class Terminated(KeyboardInterrupt):
    """A request to terminate, which unwinds as Ctrl-C does."""


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

    with _handling({signal.SIGTERM: unwind}):
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

    with _handling({signal.SIGINT: note, signal.SIGTERM: note}):
        yield
    if came:
        raise Terminated if came[0] == signal.SIGTERM else KeyboardInterrupt


@contextmanager
def _handling(handlers: dict[signal.Signals, Any]) -> Iterator[None]:
    """Set handlers of signals for a while, but for signals that the process was told to ignore."""
    before = {}
    if threading.current_thread() is threading.main_thread():  # they arrive nowhere else
        before = {
            number: signal.signal(number, handler)
            for number, handler in handlers.items()
            if signal.getsignal(number) not in (signal.SIG_IGN, None)
        }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
