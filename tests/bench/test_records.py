"""What all benches share."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

START = """
import sys
from tests.bench.records import alone
from tests.bench.test_records import wait

if __name__ == "__main__":
    alone(wait, sys.argv[1])
"""


def wait(path: str) -> None:
    """Write this process's number, and go on."""
    Path(path).write_text(str(os.getpid()))
    time.sleep(300)


def runs(number: str) -> bool:
    """Whether a process is there, and has not ended unnoticed."""
    try:
        told = Path("/proc", number, "stat").read_text()
    except OSError:
        return False
    return told.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow  # its processes import TensorFlow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parents")
def test_what_measures_ends_with_a_bench_that_is_killed(tmp_path):
    told = tmp_path / "number"
    script = tmp_path / "bench.py"
    script.write_text(START)
    root = str(Path(__file__).parents[2])
    words = [sys.executable, str(script), str(told)]
    until = time.monotonic() + 60
    with subprocess.Popen(words, env={**os.environ, "PYTHONPATH": root}) as bench:
        while not (told.is_file() and told.read_text()) and time.monotonic() < until:
            time.sleep(0.1)
        bench.kill()
        child = told.read_text()
    while runs(child) and time.monotonic() < until:
        time.sleep(0.1)
    assert not runs(child)
