"""How a distribution is told, and what is refused of it."""

import keras
import numpy as np
import pytest

import training
from training import distribution
from training.group import Group
from zoo import InputError
from zoo.cli import run

from .processes import free_port, needs_jax


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"processes": 0}, r"processes: accepted is a number of at least 1 or 'auto'; received 0"),
        ({"processes": "many"}, r"processes: .*received 'many'"),
        ({"processes": None}, r"processes: .*received None"),
        ({"devices": 0}, r"devices: accepted is a number of at least 1 or 'all'; received 0"),
        ({"devices": True}, r"devices: .*received True"),
        ({"coordinator": "here"}, r"coordinator: accepted is host:port.*received 'here'"),
        ({"coordinator": "here:99999"}, r"coordinator: .*received 'here:99999'"),
        ({"processes": 2}, r"need a coordinator"),
        ({"processes": 2, "coordinator": "here:1"}, r"need a coordinator .*process_id None"),
        ({"processes": 2, "process_id": 1}, r"need a coordinator .*coordinator ''"),
        (
            {"processes": 2, "coordinator": "here:1", "process_id": 2},
            r"process_id: accepted is less than processes, that is 2; received 2",
        ),
        ({"process_id": 1}, r"process_id: accepted is less than processes, that is 1"),
        ({"timeout": 0.0}, r"timeout: .*greater than 0"),
        ({"nodes": 2}, r"Distribution has no key 'nodes'"),
    ],
)
def test_bad_values_are_told(values, message):
    with pytest.raises(InputError, match=message) as caught:
        training.Distribution(**values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["[::1]:1234", "host-1.example:80", "10.0.0.1:65535"])
def test_addresses_that_are_accepted(address):
    group = training.Distribution(processes=3, coordinator=address, process_id=2, devices=4)
    assert group.words() == (
        f"--processes 3 --coordinator {address} --process-id 2 --devices 4".split()
    )
    assert training.Distribution().words() == []


@pytest.fixture
def on_jax(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")


def of_two(**values):
    values = {"processes": 2, "coordinator": "localhost:1", "process_id": 1, **values}
    return training.Distribution(**values)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="the backend is jax here")
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"processes": 2}, r"several processes: .*set KERAS_BACKEND=jax; .*received tensorflow"),
        ({"processes": 1, "process_id": 0, "devices": 2}, r"devices: accepted is at most 1.*2"),
    ],
)
def test_other_backends_than_jax_have_one_process(recipe, silent, monkeypatch, values, message):
    monkeypatch.setattr("training.mirrored.devices", lambda: ["CPU:0"])
    with pytest.raises(InputError, match=message):
        training.train(recipe, distribution=of_two(**values), progress=silent)


def test_a_batch_that_cannot_be_divided_is_told_before_anyone_waits(recipe, silent, on_jax):
    with pytest.raises(InputError, match="multiple of 2 for 2 processes; received 255"):
        training.train(recipe, batch_size=255, distribution=of_two(), progress=silent)


@needs_jax
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"processes": "auto"}, (None, None, None, None)),
        ({"processes": "auto", "coordinator": "a:1"}, ("a:1", None, None, None)),
        (
            {"processes": 2, "coordinator": "a:1", "process_id": 0},
            ("a:1", 2, 0, "deactivate"),
        ),
    ],
)
def test_what_a_launcher_knows_is_left_to_jax(on_jax, monkeypatch, values, expected):
    import jax

    given = {}

    def stop(**options):
        given.update(options)
        raise RuntimeError("DEADLINE_EXCEEDED: Barrier timed out.\nand more")

    monkeypatch.setattr(jax.distributed, "initialize", stop)
    monkeypatch.setattr(jax.config, "update", lambda *values: None)
    with pytest.raises(InputError, match=r"within 300 s: .*\(DEADLINE_EXCEEDED: Barrier timed out"):
        distribution.join(training.Distribution(**values), 256)
    names = ("coordinator_address", "num_processes", "process_id", "cluster_detection_method")
    assert tuple(given[name] for name in names) == expected


@needs_jax
def test_a_coordinator_that_is_not_there_is_told(on_jax):
    address = f"localhost:{free_port()}"
    with pytest.raises(InputError, match=rf"did not answer at {address} within 0\.3 s \(.*start"):
        distribution.join(of_two(coordinator=address, timeout=0.3), 256)


def test_one_process_on_one_device_is_as_it_was():
    group = distribution.join(None, 255)
    batch = np.arange(255), np.arange(255)
    assert all(mine is not None and len(mine) == 255 for mine in group.share(*batch))
    assert group.is_first
    assert distribution.is_first()
    assert group.any(True)
    assert not group.any(False)
    assert group.describe() == ""
    model = object()
    assert group.predictor(model) is model


def test_the_shares_of_all_processes_are_the_batch():
    batch = np.arange(12)
    parts = [Group(None, 3, number).share(batch)[0] for number in range(3)]
    np.testing.assert_array_equal(np.concatenate(parts), batch)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--processes", "2"], "need a coordinator"),
        (["--processes", "2", "--coordinator", "x:1", "--process-id", "2"], "less than processes"),
        (["--processes", "-1"], "processes: accepted is a number of at least 1"),
        (["--devices", "1000"], "devices: accepted is at most"),
    ],
)
def test_the_command_line_tells_bad_values_in_one_line(capsys, tmp_path, words, message):
    assert run(["train", "resnet20.digits", "--out", str(tmp_path / "run"), *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "run").exists()


def test_the_environment_is_read(capsys, tmp_path, monkeypatch):
    for name, value in {"PROCESSES": "2", "COORDINATOR": "here:1", "PROCESS_ID": "7"}.items():
        monkeypatch.setenv(f"ZOO_{name}", value)
    assert run(["train", "resnet20.digits", "--out", str(tmp_path / "run")]) == 2
    assert "received 7" in capsys.readouterr().err
