"""The lock on a run's folder: it ends with its process, and leaves nothing."""

import signal
import subprocess
import sys

import pytest

from training.lock import FILE, holding
from zoo import InputError

HOLD = """
import sys, time
sys.modules["tensorflow"] = None
from pathlib import Path
from training.lock import holding
with holding(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_process_locks_nobody_out(tmp_path):
    folder = tmp_path / "run"
    other = subprocess.Popen([sys.executable, "-c", HOLD, folder], stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"held\n"
    with pytest.raises(InputError, match=f"in process {other.pid}; wait"), holding(folder):
        pass
    other.kill()
    assert other.wait() == -signal.SIGKILL
    assert (folder / FILE).is_file()  # what a kill leaves holds nothing
    with holding(folder):
        pass
    assert not (folder / FILE).exists()


def test_a_folder_made_for_nothing_is_taken_away_and_a_full_one_stays(tmp_path):
    for kept in ("", "a/b/file"):
        with holding(tmp_path / "a" / "b"):
            if kept:
                (tmp_path / kept).write_text("mine")
        assert [path.name for path in tmp_path.rglob("*")] == (["a", "b", "file"] if kept else [])


def test_a_lock_file_that_is_taken_away_meanwhile_is_made_anew(tmp_path, monkeypatch):
    from training import lock

    real, opened = lock._lock, []

    def lose_the_file_once(handle):
        real(handle)
        opened.append(handle)
        if len(opened) == 1:
            (tmp_path / FILE).unlink()

    monkeypatch.setattr(lock, "_lock", lose_the_file_once)
    with holding(tmp_path):
        assert len(opened) == 2
        with pytest.raises(InputError, match="under way"), holding(tmp_path):
            pass
