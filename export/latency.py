"""How long an ONNX file takes in onnxruntime on this machine."""

import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

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
    options.intra_op_num_threads = threads or _cores()
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


def _cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """Name the processor as the system does."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
