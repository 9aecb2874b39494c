"""The end of a server's process, whatever stands in for the server: what is killed, and when."""

import os
import signal
import types
from pathlib import Path

import pytest

from export.serving import server as servers

from .processes import is_group, wait_for


@pytest.mark.parametrize("seconds", [0, 60])
def test_the_group_is_killed_once_and_at_once(tmp_path, monkeypatch, seconds):
    """Later its number may be another's; with 0 seconds it ends by itself, and leaves a child."""
    killed, killpg = [], os.killpg
    shared = Path("/dev/shm", f"foldzoo_{os.getpid()}_test")
    found = types.SimpleNamespace(variables={})
    command = ["sh", "-c", f"sleep 60 & touch {shared}; exec sleep {seconds}"]
    with monkeypatch.context() as watched:
        watched.setattr(os, "killpg", lambda *given: (killed.append(given), killpg(*given)))
        with servers._process(found, command, tmp_path / "log", 1, shared.name) as process:
            if not seconds:
                assert wait_for(lambda: killed)
            assert wait_for(shared.exists if seconds else lambda: not shared.exists())
    assert killed == [(process.pid, signal.SIGKILL)]
    assert wait_for(lambda: not is_group(process.pid))
    assert not shared.exists()
