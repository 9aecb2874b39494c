"""How long an ONNX file takes in onnxruntime on this machine."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

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
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or cores()
    session = onnxruntime.InferenceSession(str(path), options, providers=[PROVIDER])
    names = [value.name for value in session.get_inputs()]
    feed = dict(zip(names, inputs, strict=True))
    for _ in range(WARM_UP):
        session.run(None, feed)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or (time.perf_counter() < end and len(times) < MOST_RUNS):
        start = time.perf_counter()
        session.run(None, feed)
        times.append(1000 * (time.perf_counter() - start))
    return Latency(
        batch=len(inputs[0]),
        median_ms=float(np.median(times)),
        p95_ms=float(np.percentile(times, 95)),
        runs=len(times),
        threads=options.intra_op_num_threads,
        provider=PROVIDER,
        processor=processor(),
    )
