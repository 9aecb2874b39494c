"""What the processor is."""

import platform
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
