"""Which targets can be made here."""

import importlib.util

import pytest

from export.targets import TARGETS


def lacks(target: str) -> list[str]:
    """The packages that a target needs and that are not installed."""
    return [name for name in TARGETS[target].packages if importlib.util.find_spec(name) is None]


def skip_without_packages(target: str) -> None:
    for name in lacks(target):
        pytest.skip(f"{name} is not installed; pip install 'foldzoo[{name}]' installs it")
