"""One small training and one bundle by the real commands, for all end-to-end tests."""

from pathlib import Path

import pytest

from zoo.cli import run

# One epoch at half the width: the weights are poor, and every file is a real one.
QUICK = ["--set", "epochs=1", "--set", "width=0.5"]


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """The folder that `zoo train` leaves."""
    folder = tmp_path_factory.mktemp("end_to_end") / "trained"
    assert run(["train", "resnet20.digits", *QUICK, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def bundled(trained, tmp_path_factory) -> Path:
    """The folder that `zoo export` leaves."""
    folder = tmp_path_factory.mktemp("end_to_end") / "bundle"
    model = str(trained / "model.keras")
    assert run(["export", model, "--data", "digits", "--out", str(folder)]) == 0
    return folder
