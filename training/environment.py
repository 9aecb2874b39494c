"""What a run was made with: packages, hardware, and the commit where it is known."""

import importlib.metadata
import platform
import subprocess
from collections import Counter
from pathlib import Path

from zoo.hardware import cores, processor

_PACKAGES = ("foldzoo", "keras", "tensorflow", "jax", "numpy", "tensorflow-datasets")


def versions() -> dict[str, str]:
    """List Python's version and those of the installed packages that matter to a result."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> str:
    """Name what Keras computes on here.

    Returns:
        The accelerators, for example ``2 × NVIDIA H100``; where there is none the processor and
        the number of threads that this process may use.
    """
    found = Counter(_accelerators())
    if found:
        return ", ".join(name if n == 1 else f"{n} × {name}" for name, n in found.items())
    threads = cores()
    return f"{processor()}, {threads} thread{'s' if threads > 1 else ''}"


def _accelerators() -> list[str]:
    """Name the devices of Keras' backend that are no processors."""
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        devices = tf.config.list_physical_devices("GPU")
        details = map(tf.config.experimental.get_device_details, devices)
        return [found.get("device_name", "GPU") for found in details]
    if backend == "jax":
        import jax

        return [device.device_kind for device in jax.devices() if device.platform != "cpu"]
    return []


def commit() -> str | None:
    """Name the commit of this project's checkout.

    Returns:
        Its hash, with ``-dirty`` where tracked files differ from it; None where the code does
        not lie in a checkout of its own, or git is not there.
    """
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(
            [*command, "--exclude=*"], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
