"""A model in its several formats, each loaded and run in a process for it.

Each number of threads has a process of its own, in which all formats take turns, since TensorFlow
takes that number at its start only; and each format has one for its memory.
"""

import concurrent.futures
import concurrent.futures.process
import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export.errors import ExportError
from export.latency import calls, runner, take_turns
from zoo.hardware import peak_memory

_MEGABYTE = 2**20


@dataclass(frozen=True)
class Candidate:
    """One format of one model, as a file.

    Args:
        model: The model's name.
        format: One of `FORMATS`, or ``onnx`` for a file that was given.
        path: The file.
        images: A file of images as it takes them.
    """

    model: str
    format: str
    path: Path
    images: Path

    @property
    def name(self) -> str:
        """How it is told from all others."""
        return f"{self.model}, {self.format}"


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of a module in a new process.

    Raises:
        ExportError: The process was ended from outside.
    """
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except concurrent.futures.process.BrokenProcessPool as error:
            raise ExportError(
                "a process that measures was ended from outside, perhaps for want of memory"
            ) from error


def turns(
    candidates: Sequence[Candidate],
    batches: Sequence[int],
    threads: int,
    rounds: int,
    seconds: float,
) -> dict[int, dict[str, list[list[float]]]]:
    """Let all take turns, batch size by batch size; in a process of its own."""
    found = {}
    for batch in batches:
        runners = {one.name: _runner(one, batch, threads) for one in candidates}
        found[batch] = take_turns(runners, rounds=rounds, seconds=seconds)
    return found


def peak(one: Candidate, batch: int, threads: int) -> float | None:
    """Load and run one format; return the process's largest memory in 2^20 bytes, on Linux."""
    calls(_runner(one, batch, threads), seconds=0)
    found = peak_memory()
    return None if found is None else found / _MEGABYTE


def _runner(one: Candidate, batch: int, threads: int) -> Callable[[], Any]:
    """Load one format and make a function that runs a batch."""
    images = np.load(one.images)[:batch]
    if one.path.suffix == ".keras":
        return _keras_runner(one.path, images, threads)
    if one.format == "openvino":
        return _openvino_runner(one.path, images, threads)
    return runner(one.path, [images], threads=threads)


def _keras_runner(path: Path, images: np.ndarray, threads: int) -> Callable[[], Any]:
    """Load a Keras model; of TensorFlow, with so many threads."""
    import keras

    from zoo import keras_files, xla

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if tf.config.threading.get_intra_op_parallelism_threads() != threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
    predict = xla.predictor(keras_files.load(path))
    return lambda: predict(images)


def _openvino_runner(path: Path, images: np.ndarray, threads: int) -> Callable[[], Any]:
    """Compile an ONNX file with OpenVINO, for the latency of a single call."""
    import openvino

    core = openvino.Core()
    options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(core.read_model(path), "CPU", options).create_infer_request()
    return lambda: request.infer([images])
