"""How long the whole way takes, from a model to a file with its verdict, beside Keras' own export.

    python -m tests.bench.whole_way [--models A,B] [--out FILE]

Fold, certificate, export with all checks of the file, and verdict, in a process of its own; and
``model.export(format="onnx")`` in another one. Both take turns. Run it on a machine that does
nothing else.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import export

from .exports import attempted
from .models import application, small
from .records import alone, fill, quartiles

# How long all of it shall take at most, in seconds.
AIMED = {"MobileNetV2": 20, "ResNet50": 60}
PARTS = ("fold", "certificate", "export", "verdict")
ROUNDS = 5


def measure(name: str) -> dict[str, Any]:
    """Let our way and Keras' export take turns, in the other order in every other round."""
    load = os.getloadavg()[0]
    rounds = []
    for number in range(ROUNDS):
        turns = {"ours": ours, "plain": plain}
        order = list(turns) if number % 2 else reversed(list(turns))
        rounds.append({side: alone(turns[side], name) for side in order})
    whole = [sum(one["ours"].values()) for one in rounds]
    parts = {part: float(np.median([one["ours"][part] for one in rounds])) for part in PARTS}
    return {
        "whole": float(np.median(whole)),
        "least": min(whole),
        "most": max(whole),
        "parts": parts,
        "plain": float(np.median([one["plain"] for one in rounds])),
        **quartiles([one["ours"]["export"] / one["plain"] for one in rounds]),
        "rounds": ROUNDS,
        "load": load,
    }


def ours(name: str) -> dict[str, float]:
    """Take a model the whole way; return the seconds of each part. One that fails ends the run."""
    model = application(name)
    seconds = {}

    def timed(part: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        made = call()
        seconds[part] = time.perf_counter() - start
        return made

    with tempfile.TemporaryDirectory() as folder:
        first = small("conv-BN")  # what TensorFlow makes on first use is not the export's
        export.to_onnx(export.fold(first), Path(folder, "first.onnx"))
        path = Path(folder, "ours.onnx")
        folded = timed("fold", lambda: export.fold(model))
        certificate = timed("certificate", lambda: export.certify(model, folded))
        timed("export", lambda: export.to_onnx(folded, path))
        verdict = timed("verdict", lambda: export.validate(folded, path))
    for found in (certificate, verdict):
        if not found.ok:
            raise SystemExit(f"{name}: {found.why()}")
    return seconds


def plain(name: str) -> float:
    """Export a model as Keras does; return the seconds."""
    return float(attempted(name)["seconds"])


def main() -> None:
    """Measure what the file lacks."""
    fill("whole_way", __doc__, tuple(AIMED), measure)


if __name__ == "__main__":
    main()
