"""Compare the speed of a training step in each precision, by each of the libraries that compute it.

    python -m tests.bench.precision [--out FILE]

All variants stay compiled, each in a process of its own; short runs of them take turns, so that
what slows the machine down slows all. Run it on a machine that does nothing else.
"""

import os
import statistics
from typing import Any

from training.precision import jit_compile
from zoo import onednn

from .records import fill_at_once, quartiles
from .steps import Runner, ours

# Each library, by whether the step is compiled with XLA and whether TensorFlow may use oneDNN.
LIBRARIES = {"TensorFlow's kernels": (False, "0"), "oneDNN": (False, "1"), "XLA": (True, "1")}
VARIANTS = {
    f"{precision}, {name}": (precision, *how)
    for precision in ("float32", "mixed_bfloat16")
    for name, how in LIBRARIES.items()
}
BASE = next(iter(VARIANTS))
ROUNDS = 9
RUN_SECONDS = 2.0


def measure() -> dict[str, dict[str, Any]]:
    """Take turns over all variants; each round gives one rate for each."""
    load = os.getloadavg()[0]
    runners = {
        name: ours({onednn.VARIABLE: allowed}, precision=precision, jit=jit)
        for name, (precision, jit, allowed) in VARIANTS.items()
    }
    Runner.ready(*runners.values())
    rounds = []
    for number in range(ROUNDS):
        order = list(runners) if number % 2 else list(reversed(runners))
        rounds.append({name: runners[name].rate(RUN_SECONDS) for name in order})
    for runner in runners.values():
        runner.close()
    return {
        name: {
            "images_per_second": statistics.median(one[name] for one in rounds),
            **quartiles([one[name] / one[BASE] for one in rounds]),
            "chosen": allowed == "1" and jit is (jit_compile(precision) is True),
            "rounds": ROUNDS,
            "load": load,
        }
        for name, (precision, jit, allowed) in VARIANTS.items()
    }


def main() -> None:
    """Measure, if the file does not exist."""
    fill_at_once("precision", __doc__, measure)


if __name__ == "__main__":
    main()
