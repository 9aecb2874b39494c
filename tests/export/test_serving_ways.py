"""A real NVIDIA Triton with several instances of a model, and on bundles in any place."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest

import export
import zoo
from export.serving import server as servers

from .asking import ask, onnx_answers
from .served import SHAPE, make_bundle

FREE = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("made") / "one", seed=1)


def threads(server) -> list[int]:
    """How many threads each process has that runs our backend: one process for each instance."""
    listed = ["pgrep", "--pgroup", str(server.process.pid), "--full", "triton_python_backend_stub"]
    found = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
    return [len(list(Path("/proc", number, "task").iterdir())) for number in found]


@pytest.mark.slow
def test_several_instances_of_one_thread_give_the_same_answers(installed, bundle, tmp_path):
    images = np.random.default_rng(0).standard_normal((64, *SHAPE)).astype(np.float32)
    several = make_bundle(tmp_path / "made", seed=1, instances=2)
    logits, _ = onnx_answers(several, images)
    with export.serve(several, **FREE, threads=8) as server:
        for _ in range(4):  # each instance has its turn
            answers = ask(server, tmp_path, images)
            assert (answers["binary_logits"] == logits).all()
        ours = threads(server)
    with export.serve(bundle, **FREE, threads=8) as server:
        (alone,) = threads(server)
    # The config's one thread goes before --threads: an instance lacks the other seven.
    assert ours == [alone - 7] * 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["my bundle", "Übung", "$(touch ran); 'it' \"is\""])
def test_a_bundle_is_served_wherever_it_lies(bundle, installed, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    place = shutil.copytree(bundle, tmp_path / name)
    with export.serve(place, **FREE) as server:
        assert server.request("GET", f"/v2/models/{server.name}/ready")[0] == 200
    assert [path.name for path in tmp_path.iterdir()] == [name]  # and nothing was run


def test_a_place_for_links_with_spaces_is_refused(tmp_path, monkeypatch):
    place = tmp_path / "my files"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    with pytest.raises(zoo.InputError, match="set TMPDIR"), servers._plain(tmp_path / "my bundle"):
        pass
    with servers._plain(tmp_path / "bundle") as same:
        assert same == tmp_path / "bundle"
