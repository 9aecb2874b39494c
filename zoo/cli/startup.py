"""Loading Keras without the lines that TensorFlow prints at its start."""

import os
import sys
import tempfile

LEVEL = "TF_CPP_MIN_LOG_LEVEL"
SILENT = "3"


def load_keras() -> None:
    """Import Keras and its backend with stderr held back; show it after all if that fails.

    TensorFlow 2.21 prints its first lines before it reads TF_CPP_MIN_LOG_LEVEL. Where that
    variable asks for more than errors, as with ``--debug``, nothing is held back.
    """
    if "keras.src" in sys.modules or os.environ.get(LEVEL) != SILENT:
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            import keras

            keras.backend.backend()  # an attribute is what loads a module that waits to be used
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
