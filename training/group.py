"""The processes and devices that train as one, and what they tell each other.

Whatever one process alone may fail at, such as reading data or writing a file, is done in
`Group.together`: the others are told and end too, instead of waiting for it for ever.
"""

import atexit
import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from training import precision as precisions
from training.errors import Interrupted, LostProcessError, ProcessError
from zoo.errors import InputError
from zoo.lazily import keras

if TYPE_CHECKING:
    from training.recipe import Recipe

Made = TypeVar("Made")

# What one process tells the others at once: a mark and a text, in so many bytes.
_LETTER_BYTES = 1024
_GOES_ON, _STOPS, _FAILED = "+", "s", "!"
# Gloo carries messages between CPUs, NCCL and RCCL between GPUs.
_BROKEN = re.compile(r"\b(Gloo|NCCL|RCCL|UNAVAILABLE|ABORTED|CANCELLED|DEADLINE_EXCEEDED)\b")
# Exit codes as the command line has them: of bad input, of Ctrl-C and of a request to terminate.
_LOST, _INTERRUPTED, _TERMINATED = 2, 130, 143
_REMEDIES = {
    "recipe": "start all processes with the same recipe and changes",
    "folder": "the folder must lie on a file system that all processes share",
    "data": "all processes must read the same data",
}


class Group:
    """The processes and devices that train as one; by itself one process on one device.

    Args:
        parallel: A keras.distribution.DataParallel over the devices of all processes, or None.
        processes: The number of processes.
        process_id: The number of this one.
    """

    def __init__(self, parallel: Any = None, processes: int = 1, process_id: int = 0) -> None:
        self.processes, self.process_id = processes, process_id
        self._parallel = parallel
        self._ended = False
        self._forward: tuple[Any, Callable[[np.ndarray], np.ndarray]] | None = None

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files and shows the progress."""
        return self.process_id == 0

    @property
    def devices(self) -> int:
        """The number of devices of all processes."""
        return 1 if self._parallel is None else int(self._parallel.num_model_replicas)

    def describe(self) -> str:
        """Name the processes and devices for the person who watches; empty for one device."""
        if self.devices == 1:
            return ""
        where = f" of {self.processes} processes" if self.processes > 1 else ""
        return f", on {self.devices} devices{where}"

    def scope(self) -> AbstractContextManager[None]:
        """Have what Keras makes meanwhile lie on all devices."""
        return nullcontext() if self._parallel is None else self._parallel.scope()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Have what Keras makes meanwhile lie in this process alone, on one device."""
        if self._parallel is None:
            yield
            return
        keras.distribution.set_distribution(None)
        try:
            yield
        finally:
            keras.distribution.set_distribution(self._parallel)

    def check_recipe(self, recipe: "Recipe") -> None:
        """Make sure that a training is computed as on one device.

        Args:
            recipe: What is to be trained.

        Raises:
            InputError: It is not.
        """

    def adapt(self, model: Any) -> None:
        """Have the layers of a model, not compiled yet, compute for the devices that there are.

        Args:
            model: A keras.Model, made in `scope`. It is changed in place, for as long as it lives.
        """
        from training import fused_norm

        fused_norm.use(model)

    def jit_compile(self, precision: str) -> bool | Literal["auto"]:
        """Say what Keras' ``compile`` is told of XLA.

        Args:
            precision: The model's dtype policy.

        Returns:
            See `training.precision.jit_compile`.
        """
        return precisions.jit_compile(precision)

    def step(self, model: Any, images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
        """Train on a global batch, of which each process and device takes its part.

        Args:
            model: Compiled, its optimizer built, made in `scope`.
            images: The batch, as every process has it.
            labels: Its classes.

        Returns:
            What ``train_on_batch`` tells of the whole batch.
        """
        told: dict[str, Any] = model.train_on_batch(*self.share(images, labels), return_dict=True)
        return told

    def share(self, *batch: np.ndarray) -> tuple[np.ndarray, ...]:
        """Take what this process feeds to the model of a global batch.

        Args:
            *batch: Arrays of one length, which ``processes`` divides.

        Returns:
            Of each the part of this process: the parts in the order of the processes are the
            whole.
        """
        count = len(batch[0]) // self.processes
        mine = slice(self.process_id * count, (self.process_id + 1) * count)
        return tuple(array[mine] for array in batch)

    def predictor(self, model: Any) -> Any:
        """Make what `training.evaluate` takes for a model that lies on all devices.

        Args:
            model: A keras.Model, made in `scope`.

        Returns:
            A function from a batch to the logits, which every process must call with the same
            batch; the model itself where there is one device.
        """
        if self.devices == 1:
            return model
        if self._forward is None or self._forward[0] is not model:
            self._forward = model, self._predict(model)
        return self._forward[1]

    def _predict(self, model: Any) -> Callable[[np.ndarray], np.ndarray]:
        import jax

        layout = self._parallel.get_data_layout((None,)).backend_layout
        everywhere = jax.sharding.NamedSharding(layout.mesh, jax.sharding.PartitionSpec())
        forward = jax.jit(
            lambda *given: model.stateless_call(*given, training=False)[0],
            out_shardings=everywhere,
        )

        def predict(batch: np.ndarray) -> np.ndarray:
            (mine,) = self.share(self.filled(batch))
            images = jax.make_array_from_process_local_data(layout, mine)
            state = (model.trainable_variables, model.non_trainable_variables)
            logits = forward(*([one.value for one in part] for part in state), images)
            return np.asarray(logits)[: len(batch)]

        return predict

    def filled(self, batch: np.ndarray) -> np.ndarray:
        """Repeat a batch's last image until all devices get as many as the next one."""
        missing = -len(batch) % self.devices
        return np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)])

    def any(self, asked: bool) -> bool:
        """Ask all processes at once whether one of them is asked to stop.

        Args:
            asked: Whether this one is.

        Returns:
            The same in all of them.

        Raises:
            ProcessError: Another process failed.
        """
        if self.processes == 1:
            return asked
        letters = self._exchange(_STOPS if asked else _GOES_ON)
        return any(letter.startswith(_STOPS) for letter in letters)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Do a part that all processes end together, or none: where one fails, all are told.

        An error that all processes raise is raised in each of them as it is.

        Yields:
            Nothing.

        Raises:
            ProcessError: Another process failed.
            LostProcessError: Another process cannot be reached any more.
        """
        if self.processes == 1:
            yield
            return
        try:
            yield
            self._exchange(_GOES_ON)
        except Exception as error:
            if self._ended:
                raise
            self._ended = True
            if _is_loss(error):
                _leave_at_once(_LOST)
                raise LostProcessError(error) from error
            with suppress(RuntimeError, ValueError):  # this error is the first and tells more
                self._exchange(_FAILED, str(error) or type(error).__name__)
            raise
        except KeyboardInterrupt as stop:
            if not isinstance(stop, Interrupted) or stop.__cause__ is not None:
                terminated = getattr(stop, "terminated", False)
                _leave_at_once(_TERMINATED if terminated else _INTERRUPTED)  # nobody knows of it
            raise

    def in_turn(self, make: Callable[[], Made]) -> Made:
        """Call a function in the first process, and then in the others: they find what it left.

        Args:
            make: What is called, once.

        Returns:
            What it returned.
        """
        for first in (True, False):
            with self.together():
                if self.is_first == first:
                    made = make()
        return made

    def check(self, **facts: str | bytes) -> None:
        """Make sure that something is the same in all processes.

        Args:
            **facts: What is compared: ``recipe``, ``folder`` or ``data``.

        Raises:
            InputError: It is not.
        """
        if self.processes == 1:
            return
        digests = [_digest(fact) for fact in facts.values()]
        letters = self._exchange(_GOES_ON, " ".join(digests))
        others = [letter[1:].split() for letter in letters]
        for number, told in enumerate(others):
            for name, here, there in zip(facts, others[0], told, strict=True):
                if here != there:
                    raise InputError(
                        f"{name}: what process {number} finds is not what process 0 finds; "
                        f"{_REMEDIES[name]}"
                    )

    def _exchange(self, mark: str, text: str = "") -> list[str]:
        """Send a letter to all processes and read those of all; each waits for the last one."""
        from jax.experimental import multihost_utils

        mine = np.zeros(_LETTER_BYTES, np.uint8)
        written = np.frombuffer(f"{mark}{text}".encode()[:_LETTER_BYTES], np.uint8)
        mine[: len(written)] = written
        read = multihost_utils.process_allgather(mine)
        letters = [bytes(row).rstrip(b"\0").decode(errors="ignore") for row in read]
        if mark != _FAILED:
            for number, letter in enumerate(letters):
                if letter.startswith(_FAILED):
                    self._ended = True
                    raise ProcessError(number, letter[1:])
        return letters


def _is_loss(error: Exception) -> bool:
    """Say whether an error of JAX', of whichever class, is a connection that broke."""
    if isinstance(error, InputError):
        return False
    return isinstance(error, RuntimeError | ValueError) and bool(_BROKEN.search(str(error)))


def _leave_at_once(code: int) -> None:
    """Let this process end without waiting for the others, when it comes to its end.

    JAX would have it wait for a minute, and then abort where they do not come: the dead ones, or
    those that wait for this one.
    """

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    atexit.register(leave)  # the last that is registered is called first


def _digest(fact: str | bytes) -> str:
    """Make a short text of which equal ones mean equal facts."""
    raw = fact.encode() if isinstance(fact, str) else fact
    return hashlib.sha256(raw).hexdigest()[:32]
