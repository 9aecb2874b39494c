"""How long a fold takes over chains of more and more layers.

python -m tests.bench.scaling [--out FILE]
"""

import argparse
import math
import os
import statistics
import sys
from pathlib import Path
from typing import Any

import export

from .applications import REPEATS, timed_fold
from .models import chain, small
from .records import RESULTS, Results, alone

ORDERS = ("conv-BN", "BN-ReLU-conv")
BLOCKS = (100, 200, 500, 1000)
# Keras follows a model's layers by recursion, and so by default builds none deeper than about 990.
DEEPEST = 10_000


def measure(order: str, blocks: int) -> dict[str, Any]:
    """Fold a chain three times."""
    sys.setrecursionlimit(DEEPEST)
    export.fold(small("conv-BN"))  # what TensorFlow makes on first use is not the fold's
    model = chain(order, blocks)
    times = [timed_fold(model) for _ in range(REPEATS)]
    return {
        "order": order,
        "blocks": blocks,
        "layers": len(model.layers),
        "kept": len(export.fold(model).report.kept),
        "fold_seconds": statistics.median(whole - building for whole, building in times),
        "build_seconds": statistics.median(building for _, building in times),
        "load": os.getloadavg()[0],
    }


def exponent(rows: list[dict[str, Any]], value: str) -> float:
    """The power of the number of layers with which a time grows, from the ends: 1 is linear."""
    first, last = rows[0], rows[-1]
    return math.log(last[value] / first[value]) / math.log(last["layers"] / first["layers"])


def main() -> None:
    """Measure what the file lacks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS / "scaling.json")
    results = Results(parser.parse_args().out)
    for order in ORDERS:
        for blocks in BLOCKS:
            name = f"{order}, {blocks} times"
            if name not in results.rows:
                results.add(name, alone(measure, order, blocks))
                print(name, results.rows[name], flush=True)


if __name__ == "__main__":
    main()
