"""Loading Keras without the lines that TensorFlow prints at its start."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from zoo.cli.interrupts import held

LEVEL = "TF_CPP_MIN_LOG_LEVEL"
SILENT = "3"


def load_keras() -> None:
    """Import Keras and its backend with stderr held back; show it after all if that fails.

    TensorFlow 2.21 prints its first lines before it reads TF_CPP_MIN_LOG_LEVEL. Where that
    variable asks for more than errors, as with ``--debug``, nothing is held back.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed meanwhile. Keras is then loaded nevertheless: an
            interrupt in the middle would leave half of it.
    """
    if "keras.src" in sys.modules:
        return
    quiet = os.environ.get(LEVEL) == SILENT
    with held(), _stderr_held_back() if quiet else nullcontext():
        import keras

        keras.backend.backend()  # an attribute is what loads a module that waits to be used


@contextmanager
def _stderr_held_back() -> Iterator[None]:
    """Keep what is written to stderr, also by C++ code, and show it only with an error."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as told:
        os.dup2(told.fileno(), 2)
        try:
            yield
        except Exception:
            told.seek(0)
            os.write(kept, told.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@contextmanager
def stdout_for_the_answer() -> Iterator[None]:
    """Send to stderr what is written to stdout meanwhile, also by C++ code.

    Gloo, by which processes on CPUs exchange arrays, tells on stdout of each connection.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
