"""Several devices of one host, and several hosts, that train one model as one.

Data parallelism by `keras.distribution.DataParallel` on JAX: every device holds the whole model and
computes its part of each batch. JAX compiles the step for the batch as a whole, so losses, metrics,
gradients and the statistics of BatchNorm are those of the global batch, wherever its parts lie.
On TensorFlow it is the devices of one process, see `training.mirrored`.
"""

import math
import re
import socket
import time
from collections import Counter
from typing import Annotated, Any, Literal

import numpy as np
import pydantic

from training.group import Group
from zoo.errors import InputError
from zoo.lazily import keras
from zoo.settings import Number, Settings, Whole

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\s]+):(\d{1,5})")
# How long a process may be silent before the others give it up, and how long one that ends waits
# for the others to end too.
_HEARTBEAT_SECONDS = 60
_SHUTDOWN_SECONDS = 60
_PAUSE_SECONDS = 0.2


class Distribution(Settings):
    """On which devices of which processes a training runs; several processes need JAX.

    Args:
        processes: How many processes train together, 1 or more; ``auto`` for what the launcher
            says (Slurm, Open MPI, Kubernetes, Cloud TPU), which then also tells the two below.
        coordinator: ``host:port`` of the process 0, where the others find it.
        process_id: The number of this process, from 0. Process 0 writes and speaks.
        devices: How many of its devices each process uses, 1 or more, or ``all``. None is one for
            a process alone, and all where there are several processes.
        timeout: For how many seconds a process waits for the others at the start.

    Raises:
        InputError: A value is not accepted, or they do not fit together.

    Example:
        >>> training.train(recipe, distribution=training.Distribution(devices="all"))
    """

    processes: Whole | Literal["auto"] = 1
    coordinator: str = ""
    process_id: Annotated[Whole, pydantic.Field(ge=0)] | None = None
    devices: Whole | Literal["all"] | None = None
    timeout: Annotated[Number, pydantic.Field(gt=0)] = 300.0

    @pydantic.field_validator("processes", "devices", mode="before")
    @classmethod
    def _count(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        word = "auto" if info.field_name == "processes" else "all"
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= 1
        unset = value is None and info.field_name == "devices"
        if not (whole or unset or value == word):
            raise ValueError(f"accepted is a number of at least 1 or {word!r}; received {value!r}")
        return value

    @pydantic.field_validator("coordinator")
    @classmethod
    def _address(cls, value: str) -> str:
        found = _ADDRESS.fullmatch(value)
        if value and (found is None or not 1 <= int(found[2]) <= 65535):
            raise ValueError(
                f"accepted is host:port, for example 10.0.0.1:1234; received {value!r}"
            )
        return value

    @pydantic.model_validator(mode="after")
    def _complete(self) -> "Distribution":
        if self.processes == "auto":
            return self
        if self.process_id is not None and self.process_id >= self.processes:
            raise ValueError(
                f"process_id: accepted is less than processes, that is {self.processes}; "
                f"received {self.process_id}"
            )
        if self.processes > 1 and (not self.coordinator or self.process_id is None):
            raise ValueError(
                "several processes need a coordinator (host:port of process 0) and a process_id "
                "each, or processes 'auto' under a launcher; received "
                f"coordinator {self.coordinator!r} and process_id {self.process_id}"
            )
        return self

    def words(self) -> list[str]:
        """Write it as options of ``zoo train``."""
        options = {
            "--processes": None if self.processes == 1 else self.processes,
            "--coordinator": self.coordinator or None,
            "--process-id": self.process_id,
            "--devices": self.devices,
        }
        given = ((option, value) for option, value in options.items() if value is not None)
        return [word for option, value in given for word in (option, str(value))]


def join(distribution: Distribution | None, batch_size: int) -> Group:
    """Find the other processes and the devices of a training.

    Args:
        distribution: What was asked for; None for one process on one device.
        batch_size: The number of images in a step, over all devices.

    Returns:
        The group.

    Raises:
        InputError: The backend has no such thing, the batch cannot be divided, there are fewer
            devices, or not all processes came in time.
    """
    wanted = distribution or Distribution()
    if wanted.processes == 1 and wanted.devices in (None, 1):
        return Group()
    backend = keras.backend.backend()
    if backend == "tensorflow" and wanted.processes == 1:
        return _mirrored(wanted.devices, batch_size)
    if backend != "jax":
        what = "several devices" if wanted.processes == 1 else "several processes"
        raise InputError(
            f"{what}: accepted is the Keras backend jax (set KERAS_BACKEND=jax; install it with "
            f"the extra jax); received {backend}"
        )
    if wanted.processes != "auto":
        _check_divisible(batch_size, wanted.processes, 1)
    if wanted.processes != 1:
        _connect(wanted)
    return _group(wanted, batch_size)


def _mirrored(wanted: int | Literal["all"] | None, batch_size: int) -> Group:
    """Choose the devices of TensorFlow."""
    from training.mirrored import Mirrored, devices

    names = devices()
    count = _at_most(len(names), wanted if isinstance(wanted, int) else len(names))
    _check_divisible(batch_size, 1, count)
    return Mirrored(names[:count]) if count > 1 else Group()


def _at_most(there: int, wanted: int) -> int:
    """Make sure that there are so many devices; return how many are wanted."""
    if wanted > there:
        raise InputError(
            f"devices: accepted is at most {there}, which is what a process sees; received {wanted}"
        )
    return wanted


def is_first() -> bool:
    """Say whether this process is the one of its training that writes and speaks."""
    if keras.backend.backend() != "jax":
        return True
    import jax

    return not jax.distributed.is_initialized() or jax.process_index() == 0


def _connect(wanted: Distribution) -> None:
    """Start or find the service by which JAX' processes know of each other."""
    import jax

    if jax.distributed.is_initialized():  # by an earlier training in this process
        return
    # The loop notes signals itself; JAX' service for that would take SIGTERM away from it.
    jax.config.update("jax_enable_preemption_service", False)
    auto = wanted.processes == "auto"
    if wanted.process_id and wanted.coordinator:
        _reach(wanted.coordinator, wanted.timeout)
    try:
        jax.distributed.initialize(
            coordinator_address=wanted.coordinator or None,
            num_processes=None if auto else wanted.processes,
            process_id=wanted.process_id,
            cluster_detection_method=None if auto else "deactivate",
            initialization_timeout=math.ceil(wanted.timeout),
            heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
        )
    except ValueError as error:  # no launcher, or one that does not tell everything
        raise InputError(
            "processes: 'auto' is accepted under Slurm, Open MPI, Kubernetes and Cloud TPU; "
            f"received none that JAX knows ({error}); pass the number of processes, the "
            "coordinator and the process_id"
        ) from error
    except RuntimeError as error:
        if "must be called before" in str(error):
            raise InputError(
                "several processes: JAX was in use in this process before; begin the training "
                "before anything else is computed"
            ) from error
        raise InputError(
            f"the processes did not find each other within {wanted.timeout:g} s: start all of "
            f"them, with one coordinator and different process_ids ({_first_line(error)})"
        ) from error


def _reach(coordinator: str, seconds: float) -> None:
    """Wait until process 0 answers: JAX itself would end this process with a C++ error."""
    host, _, port = coordinator.rpartition(":")
    end = time.monotonic() + seconds
    while True:
        try:
            left = max(end - time.monotonic(), _PAUSE_SECONDS)
            socket.create_connection((host.strip("[]"), int(port)), timeout=left).close()
            return
        except OSError as error:
            if time.monotonic() >= end:
                raise InputError(
                    f"coordinator: process 0 did not answer at {coordinator} within "
                    f"{seconds:g} s ({error}); start it, or pass its address"
                ) from error
        time.sleep(_PAUSE_SECONDS)


def _group(wanted: Distribution, batch_size: int) -> Group:
    """Choose the devices of each process."""
    import jax

    processes = jax.process_count()
    if wanted.processes not in ("auto", processes) or wanted.process_id not in (
        None,
        jax.process_index(),
    ):
        raise InputError(
            f"accepted is what this process was started as, {jax.process_index()} of {processes}; "
            f"received {wanted.process_id} of {wanted.processes}"
        )
    # Of one process they must lie side by side, as the parts of its slice of the batch do.
    every = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    counts = Counter(device.process_index for device in every)
    fewest = min(counts.values())
    if isinstance(wanted.devices, int):
        count = wanted.devices
    else:
        count = 1 if wanted.devices is None and processes == 1 else fewest
    _at_most(fewest, count)
    _check_divisible(batch_size, processes, count)
    if processes * count == 1:
        return Group()
    chosen: list[str] = []
    for process in sorted(counts):
        own = [device for device in every if device.process_index == process]
        chosen += [f"{device.platform}:{device.id}" for device in own[:count]]
    parallel = keras.distribution.DataParallel(devices=chosen, auto_shard_dataset=False)
    return Group(parallel, processes, jax.process_index())


def _check_divisible(batch_size: int, processes: int, devices: int) -> None:
    """Make sure that each device gets as many images as the next one."""
    if batch_size % (processes * devices):
        each = f" with {devices} devices each" if devices > 1 else ""
        raise InputError(
            f"batch_size: accepted is a multiple of {processes * devices} for {processes} "
            f"process{'es' if processes > 1 else ''}{each}; received {batch_size}"
        )


def _first_line(error: Exception) -> str:
    """Return the first line of an error's text."""
    return str(error).partition("\n")[0]
