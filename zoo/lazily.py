"""Keras, imported by the first use of it: `import zoo` and lists need none."""

import importlib
from typing import Any


class Lazily:
    """Stand for a module until something of it is asked for.

    It is no module of `sys.modules`, unlike that of `importlib.util.LazyLoader`: TensorFlow looks
    for Keras while it is imported itself, which would load Keras upon half of TensorFlow.

    Args:
        name: The module's name.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)


keras = Lazily("keras")
