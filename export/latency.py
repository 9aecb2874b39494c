"""How long a model takes on this machine: alone, and taking turns with others."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.hardware import cores, processor

WARM_UP = 10
MOST_RUNS = 1000
PROVIDER = "CPUExecutionProvider"


@dataclass(frozen=True)
class Latency:
    """The time of one call, over many.

    Args:
        batch: The number of images in a call.
        median_ms: Half of the calls took no longer, in milliseconds.
        p95_ms: 95 % of the calls took no longer.
        runs: The number of calls.
        threads: The number of threads within an operation.
        provider: Onnxruntime's execution provider.
        processor: The machine's processor.
    """

    batch: int
    median_ms: float
    p95_ms: float
    runs: int
    threads: int
    provider: str
    processor: str


def measure(
    path: str | os.PathLike[str],
    inputs: Sequence[np.ndarray],
    *,
    seconds: float = 2.0,
    threads: int | None = None,
) -> Latency:
    """Run a file again and again, with onnxruntime's default optimisations, and take the times.

    Args:
        path: The ONNX file.
        inputs: One batch for each of its inputs, in its layout, (batch, ...).
        seconds: After how long to stop, at the earliest after three calls.
        threads: Within an operation; None for one for each core that this process may use.

    Returns:
        The median and the 95th percentile.

    Example:
        >>> measure("model.onnx", [images[:1]]).median_ms
    """
    threads = threads or cores()
    call = runner(path, inputs, threads=threads)
    for _ in range(WARM_UP):
        call()
    times = calls(call, seconds=seconds)
    return Latency(
        batch=len(inputs[0]),
        median_ms=float(np.median(times)),
        p95_ms=float(np.percentile(times, 95)),
        runs=len(times),
        threads=threads,
        provider=PROVIDER,
        processor=processor(),
    )


def runner(
    path: str | os.PathLike[str], inputs: Sequence[np.ndarray], *, threads: int
) -> Callable[[], Any]:
    """Load a file with onnxruntime's default optimisations, and make a function that runs it.

    Args:
        path: The ONNX file.
        inputs: One batch for each of its inputs.
        threads: Within an operation.

    Returns:
        A function that runs this batch.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=[PROVIDER])
    names = [value.name for value in session.get_inputs()]
    feed = dict(zip(names, inputs, strict=True))
    return lambda: session.run(None, feed)


def calls(call: Callable[[], Any], *, seconds: float, fewest: int = 3) -> list[float]:
    """Call a function for a while and take the times.

    Args:
        call: The function.
        seconds: After how long to stop.
        fewest: How many calls there are in any case.

    Returns:
        The time of each call in milliseconds; at most a thousand.
    """
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < fewest or (time.perf_counter() < end and len(times) < MOST_RUNS):
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
    return times


def take_turns(
    runners: Mapping[str, Callable[[], Any]],
    *,
    rounds: int,
    seconds: float,
    warm_up: int = 5,
) -> dict[str, list[list[float]]]:
    """Let functions take turns, so that what slows the machine down slows all of them.

    Args:
        runners: The functions by name. The order is turned round in every other round.
        rounds: How many turns each of them has.
        seconds: How long a turn is, at least three calls.
        warm_up: How many calls each has before the first round.

    Returns:
        The times of each one's calls, in milliseconds, round by round.
    """
    for call in runners.values():
        calls(call, seconds=0, fewest=warm_up)
    found: dict[str, list[list[float]]] = {name: [] for name in runners}
    for number in range(rounds):
        for name in runners if number % 2 else reversed(list(runners)):
            found[name].append(calls(runners[name], seconds=seconds))
    return found


def ratios(times: Sequence[Sequence[float]], first: Sequence[Sequence[float]]) -> np.ndarray:
    """Compare two that took turns: the ratio of their medians in each round, (rounds,)."""
    return np.array(
        [np.median(ours) / np.median(theirs) for ours, theirs in zip(times, first, strict=True)]
    )
