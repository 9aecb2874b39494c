"""Handlers of signals for a while, but for those that the process was told to ignore."""

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


@contextmanager
def handling(handlers: Mapping[signal.Signals, Any]) -> Iterator[None]:
    """Set handlers of signals, and those of before at the end.

    A signal that is ignored stays so: whoever started the process asked for that, as ``nohup`` and
    a shell's ``&`` do. Outside of the main thread, where no signal arrives, nothing is set.

    Args:
        handlers: What is called, by signal.

    Yields:
        Nothing.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
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
