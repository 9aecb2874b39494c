"""What several modules of tests start from."""

import pytest

import zoo
from export.serving import environment as environments


@pytest.fixture(scope="module")
def installed() -> environments.Environment:
    """The server's environment; made on first use, as `zoo serve` does it."""
    try:
        return environments.environment()
    except zoo.InputError as error:
        pytest.skip(f"{error}; `zoo serve BUNDLE` installs it where a package index is reached")
