"""Results of the comparisons, one JSON file each, with the machine that they were measured on."""

import argparse
import concurrent.futures
import ctypes
import importlib.metadata
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from zoo.files import write_json
from zoo.hardware import processor

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("keras", "tensorflow", "numpy", "onnx", "onnxruntime", "tf2onnx")


def environment() -> dict[str, Any]:
    """What decides a measured time, besides the load."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": processor(),
        "threads": len(os.sched_getaffinity(0)),
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
    }


class Results:
    """Rows by name, written to the file one by one, so that a run can be stopped and taken up.

    Args:
        path: The JSON file; rows that it already has are kept.

    Raises:
        SystemExit: It was measured on another machine or with other versions.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.environment = environment()
        self.rows: dict[str, dict[str, Any]] = {}
        if not path.is_file():
            return
        stored = json.loads(path.read_text(encoding="utf-8"))
        changed = [
            key
            for key in self.environment
            if key != "date" and stored["environment"][key] != self.environment[key]
        ]
        if changed:
            raise SystemExit(
                f"{path} was measured with other {' and '.join(changed)}; rows of two machines do "
                "not belong in one table: remove the file or pass another with --out"
            )
        self.rows = stored["rows"]

    def add(self, name: str, row: dict[str, Any]) -> None:
        """Put a row in, or more values into a row, and write the file."""
        self.rows[name] = {**self.rows.get(name, {}), **row}
        write_json(self.path, {"environment": self.environment, "rows": self.rows})


def quartiles(ratios: list[float]) -> dict[str, float]:
    """Name the median of some ratios, and between which two the middle half of them lies."""
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    return {"ratio": float(middle), "ratio_low": float(low), "ratio_high": float(high)}


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a new process: memory is its own, and nothing is warm but the files."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        1, mp_context=context, initializer=_end_with_parent
    ) as pool:
        return pool.submit(function, *arguments).result()


def _end_with_parent() -> None:
    """Have Linux end this process with the one that started it (PR_SET_PDEATHSIG is 1).

    What measures on after its bench was killed would disturb the next one.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def fill_at_once(
    name: str, about: str | None, measure: Callable[[], dict[str, dict[str, Any]]]
) -> None:
    """Measure all rows of a results file, which take turns in one process, if there is no file.

    Args:
        name: The results' name; ``--out`` chooses another file.
        about: What ``--help`` says.
        measure: Makes all rows; a function of a module, for another process to find.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--out", type=Path, default=RESULTS / f"{name}.json")
    results = Results(parser.parse_args().out)
    if not results.rows:
        for row, values in alone(measure).items():
            results.add(row, values)
            print(row, values, flush=True)


def chosen(text: str | None, known: tuple[str, ...]) -> tuple[str, ...]:
    """Read a list of names separated by commas; all where none is given."""
    if text is None:
        return known
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"accepted are {', '.join(known)}; received {', '.join(unknown)}")
    return names


def fill(
    name: str,
    about: str | None,
    known: tuple[str, ...],
    measure: Callable[[str], dict[str, Any]],
    told: Callable[[dict[str, Any]], object] = lambda row: row,
) -> None:
    """Measure, each in a process of its own, the rows that a results file lacks.

    Args:
        name: The results' name; ``--out`` chooses another file.
        about: What ``--help`` says.
        known: The rows that there can be; ``--models`` chooses some.
        measure: Makes a row of its name; a function of a module, for another process to find.
        told: What is printed of a new row.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--models", help="names separated by commas; default: all")
    parser.add_argument("--out", type=Path, default=RESULTS / f"{name}.json")
    arguments = parser.parse_args()
    results = Results(arguments.out)
    for row in chosen(arguments.models, known):
        if row not in results.rows:
            results.add(row, alone(measure, row))
            print(f"{row}: {told(results.rows[row])}", flush=True)
