"""What all tests share."""

import os
import signal
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's C++ start-up lines

# A job in a shell's background ignores Ctrl-C, and so would all that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take a file for the outcomes; see `tests.recording`."""
    parser.addoption("--record", type=Path, help="JSON file to which each outcome is written")


def pytest_configure(config: pytest.Config) -> None:
    """Write outcomes to that file, if there is one."""
    path = config.getoption("--record")
    if path is not None:
        from .recording import Record

        config.pluginmanager.register(Record(path))


REPOSITORY = Path(__file__).parent.parent
# Beside a checkout there may be prepared data; elsewhere the tests that need it are skipped.
TFDS = REPOSITORY.parent / "shared" / "data" / "tfds"


@pytest.fixture(scope="session")
def tfds_dir() -> Path:
    """A tensorflow-datasets data_dir with cifar10 and fashion_mnist prepared."""
    folder = Path(os.environ.get("TFDS_DATA_DIR", TFDS))
    if not (folder / "cifar10").is_dir():
        pytest.skip(f"no prepared cifar10 in {folder}; set TFDS_DATA_DIR to a folder that has it")
    return folder


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Give each test Keras' default policy, its own names and, each time, the same weights."""
    import keras

    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")
    keras.utils.clear_session(free_memory=False)
