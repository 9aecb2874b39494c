"""Measure what it costs to import the zoo, beside Keras, and to list what there is.

    python -m tests.bench.imports [--out FILE]

Each call is a process of its own, and the kinds take turns. What is told is the processor's time,
which depends little on what else the machine does.
"""

import os
import resource
import statistics
import subprocess
import sys
from typing import Any

from .records import fill_at_once

ROUNDS = 5
KERAS = "import keras; keras.layers"
CALLS = {
    "import keras": ("-c", KERAS),
    "import zoo": ("-c", "import zoo"),
    "import zoo and keras": ("-c", f"import zoo; {KERAS}"),
    "zoo list": ("-m", "zoo", "list"),
    "zoo list --pretrained": ("-m", "zoo", "list", "--pretrained"),
}


def seconds(call: tuple[str, ...]) -> float:
    """Run Python once and take the processor's time of the whole process, in all its threads."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *call], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure() -> dict[str, dict[str, Any]]:
    """Let all calls take turns; the first round fills the system's caches."""
    times: dict[str, list[float]] = {name: [] for name in CALLS}
    for number in range(ROUNDS + 1):
        for name, call in CALLS.items():
            taken = seconds(call)
            if number:
                times[name].append(taken)
    return {
        name: {
            "seconds": statistics.median(values),
            "least": min(values),
            "most": max(values),
            "load": os.getloadavg()[0],
        }
        for name, values in times.items()
    }


if __name__ == "__main__":
    fill_at_once("imports", __doc__, measure)
