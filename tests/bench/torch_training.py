"""Compare the speed of a training step of ResNet-20 with PyTorch's.

    python -m tests.bench.torch_training [--torch-python PYTHON] [--out FILE]

The same network, batch and optimizer (SGD with Nesterov's momentum and L2) on both sides, the
images in memory. Ours is computed as `zoo train` computes it; PyTorch's in channels_last, in
bfloat16 by its autocast. Each side is a process of its own, and both take turns, so that what slows
the machine down slows both. PyTorch is the extra ``bench``; ``--torch-python`` names the
interpreter of another environment that has it. Run it on a machine that does nothing else.
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from .records import RESULTS, Results, quartiles
from .steps import Runner, ours

PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
THEIRS = Path(__file__).with_name("torch_resnet.py")
ROUNDS = 9
RUN_SECONDS = 2.0


def measure(precision: str, python: str) -> dict[str, Any]:
    """Take turns of both sides in one precision."""
    mine = ours(precision=PRECISIONS[precision])
    theirs = Runner([python, str(THEIRS), precision])
    load = os.getloadavg()[0]
    Runner.ready(mine, theirs)
    pairs = [(mine.rate(RUN_SECONDS), theirs.rate(RUN_SECONDS)) for _ in range(ROUNDS)]
    mine.close(), theirs.close()
    return {
        "ours": statistics.median(one for one, _ in pairs),
        "torch": statistics.median(other for _, other in pairs),
        **quartiles([one / other for one, other in pairs]),
        "ratio_least": min(one / other for one, other in pairs),
        "ratio_most": max(one / other for one, other in pairs),
        "rounds": ROUNDS,
        "torch_version": theirs.greeting,
        "load": load,
    }


def check(python: str) -> None:
    """Make sure that an interpreter has PyTorch.

    Raises:
        SystemExit: It has not.
    """
    try:
        found = subprocess.run([python, "-c", "import torch"], capture_output=True, check=False)
    except OSError as error:
        raise SystemExit(f"--torch-python: {python} cannot be run: {error.strerror}") from error
    if found.returncode:
        raise SystemExit(
            f"{python} has no PyTorch: pip install -c constraints.txt -e '.[bench]', or name the "
            "interpreter of another environment with --torch-python"
        )


def main() -> None:
    """Measure what the file lacks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch-python", default=sys.executable)
    parser.add_argument("--out", type=Path, default=RESULTS / "torch_training.json")
    arguments = parser.parse_args()
    results = Results(arguments.out)
    for precision in PRECISIONS:
        if precision not in results.rows:
            check(arguments.torch_python)
            results.add(precision, measure(precision, arguments.torch_python))
            print(precision, results.rows[precision], flush=True)


if __name__ == "__main__":
    main()
