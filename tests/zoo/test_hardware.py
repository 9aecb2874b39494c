"""What the processor is."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from zoo import hardware


@pytest.mark.parametrize(
    ("machine", "flags", "kind"),
    [
        ("x86_64", "fpu avx2 avx512_vnni", "x86-vnni"),
        ("x86_64", "fpu avx2 avx_vnni", "x86-vnni"),
        ("x86_64", "fpu avx2", "x86"),
        ("AMD64", None, "x86"),  # a system that does not tell
        ("aarch64", "fp asimd asimddp", "arm"),
        ("arm64", None, "arm"),
    ],
)
def test_the_kind_of_a_processor_is_told_by_its_flags(monkeypatch, machine, flags, kind):
    text = None if flags is None else f"processor: 0\nflags\t\t: {flags}\nbugs: avx_vnni\n"
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(Path, "is_file", lambda self: text is not None)
    monkeypatch.setattr(Path, "read_text", lambda self, **options: text)
    assert hardware.cpu_kind() == kind


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="tells nothing but on Linux")
def test_the_largest_memory_stays_when_it_is_given_back():
    # In a process of its own: this one may have had more.
    program = """
from zoo.hardware import peak_memory
before = peak_memory()
bytearray(b"1" * 2**28)  # of which each page is written
print(peak_memory() - before)
"""
    run = [sys.executable, "-c", program]
    grown = int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
    assert grown >= 2**28
