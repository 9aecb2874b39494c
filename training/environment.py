"""What a run was made with: versions of packages, and the commit where it is known."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path

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
