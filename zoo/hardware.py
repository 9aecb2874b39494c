"""What this machine computes on."""

import os
import platform
import re
from pathlib import Path


def cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_kind() -> str:
    """Tell how this processor multiplies 8-bit integers.

    Returns:
        ``arm``; ``x86-vnni``, which adds the products in 32 bits; or ``x86``, which adds pairs of
        them in 16 bits and saturates (also where the system does not tell).
    """
    if platform.machine().lower() in ("aarch64", "arm64"):
        return "arm"
    information = Path("/proc/cpuinfo")
    if information.is_file():
        text = information.read_text(encoding="utf-8", errors="replace")
        flags = set(text.partition("flags")[2].partition("\n")[0].split())
        if flags & {"avx512_vnni", "avx_vnni"}:
            return "x86-vnni"
    return "x86"


def processor() -> str:
    """Name the processor as the system does."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_memory() -> int | None:
    """Tell the largest memory of this process so far, in bytes; None where the system is no Linux.

    What getrusage tells of a process is at least what its parent had when it began.
    """
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    (found,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status.read_text(encoding="utf-8"), re.MULTILINE)
    return int(found) * 1024
