"""Having TensorFlow compute with oneDNN on CPUs where by itself it would not.

TensorFlow carries oneDNN's convolutions, but uses them unasked only on x86 processors with AVX-512
and VNNI. On others its own take longer, above all in training: `python -m tests.bench.precision`
shows how much.
"""

import os
import sys

VARIABLE = "TF_ENABLE_ONEDNN_OPTS"


def prefer() -> bool:
    """Ask TensorFlow for oneDNN, unless the environment says already whether it is wanted.

    Returns:
        Whether the environment says so now. It does not where TensorFlow, which reads the variable
        once, when it is imported, was imported before.

    Example:
        >>> onednn.prefer()  # before the first import of keras
        True
    """
    if VARIABLE not in os.environ and "tensorflow" not in sys.modules:
        os.environ[VARIABLE] = "1"
    return VARIABLE in os.environ
