"""A real NVIDIA Triton on a bundle: the answers, the load, the abuse, and the end of it.

tritonclient needs other versions of packages than we do; it runs in the server's environment.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import export
import zoo
from export import parity
from export.serving import environment as environments
from export.serving import server as servers
from zoo import keras_files
from zoo.cli import run

from . import malformed
from .asking import REQUESTS, ask, end, onnx_answers, start, tolerance
from .processes import is_group, wait_for
from .served import LABELS, SHAPE, make_bundle

FREE = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
MALFORMED = 2400


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> list[Path]:
    """Two bundles of one model, with other weights."""
    folder = tmp_path_factory.mktemp("made")
    return [make_bundle(folder / str(seed), seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def served(made, installed, tmp_path_factory):
    """A server that loads on request, on a copy that a test may add a version to."""
    bundle = shutil.copytree(made[0], tmp_path_factory.mktemp("served") / "bundle")
    with export.serve(bundle, **FREE, threads=2, model_control="explicit") as server:
        yield server, bundle


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((64, *SHAPE)).astype(np.float32)


def shared_memory(pid: int) -> set[Path]:
    """The shared memory of all servers that a process started."""
    return set(Path("/dev/shm").glob(f"foldzoo_{pid}_*"))


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 7, 64])
def test_every_way_gives_onnxruntimes_answer_to_the_last_bit(served, images, tmp_path, batch):
    server, bundle = served
    answers = ask(server, tmp_path, images[:batch])
    classes = end(start(server, "classify", tmp_path, image=images[:batch]))
    logits, probabilities = onnx_answers(bundle, images[:batch])
    for way in ("binary", "json", "grpc"):
        assert (answers[f"{way}_logits"] == logits).all(), way
        assert (answers[f"{way}_probabilities"] == probabilities).all(), way
    order = np.argsort(-logits, axis=1)[:, :2]
    wanted = [[(index, LABELS[index]) for index in row] for row in order]
    for rows in classes.values():
        told = [[(int(one.split(":")[1]), one.split(":")[2]) for one in row] for row in rows]
        assert told == wanted


@pytest.mark.slow
def test_the_answers_are_keras_answers_within_the_verdicts_limit(served, made, images, tmp_path):
    server, _ = served
    model = keras_files.load(made[0].parent / "model.keras")
    limit = json.loads((made[0] / "manifest.json").read_text())["tolerances"]["verdict"]
    answers = ask(server, tmp_path, images)
    exact = parity.Reference.of(model, probabilities=True).compute_exact([images])
    values = [answers["binary_logits"], answers["binary_probabilities"]]
    assert parity.worst_error(values, exact) <= limit


@pytest.mark.slow
def test_the_config_is_one_by_tritons_own_description(made, installed):
    path = made[0] / "tiny.test" / "config.pbtxt"
    done = subprocess.run(
        [installed.python, REQUESTS, "config", path], capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout)
    assert told["name"] == "tiny.test"
    assert told["inputs"] == [["image", 11, [*SHAPE]]]  # 11 is TYPE_FP32
    assert told["again"] == path.read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("options", [["http"], ["grpc", "--grpc"]])
def test_the_client_that_comes_with_a_bundle_runs(served, options):
    server, bundle = served
    kind, *words = options
    command = [server.python, bundle / "client.py", "--url", getattr(server, kind), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("as expected: difference 0.0e+00")


@pytest.mark.slow
def test_the_client_tells_a_wrong_answer_and_no_server(served, tmp_path):
    server, bundle = served
    spoilt = shutil.copytree(bundle, tmp_path / "b")
    values = json.loads((spoilt / "sample_response.json").read_text())
    values["outputs"][0]["data"][0] += 1
    (spoilt / "sample_response.json").write_text(json.dumps(values))
    for address, code in ((server.http, 1), ("127.0.0.1:1", 2)):
        command = [server.python, spoilt / "client.py", "--url", address]
        assert subprocess.run(command, capture_output=True, check=False).returncode == code


@pytest.mark.slow
def test_predict_asks_the_server_as_it_asks_the_file(served, tmp_path, capsys):
    server, bundle = served
    image = tmp_path / "image.png"
    pixels = np.random.default_rng(0).integers(0, 256, (9, 13, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(image)
    path = f"/v2/models/{server.name}"
    http, grpc = f"http://{server.http}", f"grpc://{server.grpc}"
    found = []
    for what in (bundle / "tiny.test/1/model.onnx", http, http + path, grpc, grpc + path):
        assert run(["predict", str(what), str(image), "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert all(one == found[0] for one in found)
    for where in (http, grpc):
        assert run(["predict", f"{where}/v2/models/other", str(image)]) == 2
        told = capsys.readouterr().err
        assert re.search(r"no model other that is ready: .*; ready: tiny\.test\n$", told)
        assert len(told.splitlines()) == 1


@pytest.mark.slow
def test_of_many_mixed_requests_none_is_wrong_and_none_lost(served, images, tmp_path):
    server, bundle = served
    wanted = onnx_answers(bundle, images)[0]
    (tmp_path / "out.npz").touch()
    arrays = {"image": images, "expected_1": wanted, "tolerance": tolerance(wanted)}
    found = end(start(server, "flood", tmp_path, requests=2000, **arrays))
    assert found["sent"] == found["answered"] >= 2000
    assert (found["wrong"], found["lost"], found["errors"]) == (0, 0, [])
    assert np.ptp(wanted, axis=0).min() > 100 * arrays["tolerance"]  # else none could be wrong


@pytest.mark.slow
def test_a_new_version_takes_over_under_load(served, made, images, tmp_path):
    server, bundle = served
    older, newer = (onnx_answers(one, images)[0] for one in made)
    limit = tolerance(np.maximum(np.abs(older), np.abs(newer)))
    arrays = {"image": images, "expected_1": older, "expected_2": newer, "tolerance": limit}
    flood = start(server, "flood", tmp_path, requests=1000, **arrays)
    time.sleep(3)
    version = bundle / "tiny.test" / "2"
    shutil.copytree(made[1] / "tiny.test" / "1", bundle / "coming")
    (bundle / "coming").rename(version)
    server.load()
    time.sleep(1)
    (tmp_path / "out.npz").touch()
    found = end(flood)
    assert (found["wrong"], found["lost"], found["errors"]) == (0, 0, [])
    assert found["answered"] == found["sent"]
    assert set(found["versions"]) == {"1", "2"}
    shutil.rmtree(version)
    server.load()
    assert server.request("GET", f"/v2/models/{server.name}")[1]["versions"] == ["1"]


@pytest.mark.slow
def test_a_model_is_unloaded_and_loaded(served):
    server, _ = served
    server.unload()
    assert wait_for(lambda: server.request("GET", f"/v2/models/{server.name}/ready")[0] != 200)
    server.load()
    assert server.request("GET", f"/v2/models/{server.name}/ready")[0] == 200
    with pytest.raises(export.ExportError, match="cannot load other"):
        server.load("other")


@pytest.mark.slow
def test_malformed_requests_are_refused_and_the_server_goes_on(served, images, tmp_path):
    server, bundle = served
    found: dict[str, set] = {}
    sent = 0
    for kind, status in malformed.requests(server.http, server.name, [*SHAPE], MALFORMED):
        found.setdefault(kind, set()).add(status)
        sent += 1
    assert sent == MALFORMED
    taken = {kind: statuses for kind, statuses in found.items() if 200 in statuses}
    assert taken == {}
    told = end(start(server, "malformed", tmp_path, image=images, requests=120))
    assert told == {"sent": 120, "refused": 120}
    for _ in range(50):
        malformed.raw(server.grpc, os.urandom(300))
    assert server.running
    answers = ask(server, tmp_path, images)
    assert (answers["grpc_logits"] == onnx_answers(bundle, images)[0]).all()


def listening(pids: set[int]) -> set[str]:
    """The addresses that processes listen on, in the kernel's hexadecimal form."""
    inodes = set()
    for pid in pids:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            target = str(entry.readlink()) if entry.is_symlink() else ""
            inodes.add(target.removeprefix("socket:[").removesuffix("]"))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:  # 0A: it listens
                found.add(words[1].split(":")[0])
    return found


@pytest.mark.slow
def test_it_listens_on_loopback_alone(served):
    server, _ = served
    loopback = {"0100007F", "0000000000000000FFFF00000100007F"}  # 127.0.0.1, also as IPv6
    assert listening({server.process.pid}) <= loopback
    assert "0100007F" in listening({server.process.pid})


@pytest.mark.slow
def test_a_killed_server_leaves_nothing_and_comes_back(made, installed, images, tmp_path):
    answers, others = [], shared_memory(os.getpid())
    for _ in range(2):
        with export.serve(made[0], **FREE, threads=1) as server:
            answers.append(ask(server, tmp_path, images))
            assert shared_memory(os.getpid()) > others
            server.process.kill()
            group = server.process.pid
            assert wait_for(lambda group=group: not is_group(group))
            assert wait_for(lambda: shared_memory(os.getpid()) == others)
            with pytest.raises(export.ExportError, match="ended by itself"):
                server.wait()
    for name, array in answers[0].items():
        assert (array == answers[1][name]).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("dynamic_batching {", "dynamic_batching {\n preferred_batch_size: 65"), "preferred"),
        (('name: "image"', 'name: "picture"'), "picture"),
        (("KIND_CPU", "KIND_GPU"), "GPU"),
        (("version_policy", "nonsense"), "failed to read text proto"),
    ],
)
def test_what_triton_refuses_is_told_in_one_line(made, installed, tmp_path, change, told):
    bundle = shutil.copytree(made[0], tmp_path / "b")
    path = bundle / "tiny.test" / "config.pbtxt"
    path.write_text(path.read_text().replace(*change))
    refused = pytest.raises(export.ExportError, match="the server did not start: ")
    with refused as raised, export.serve(bundle, **FREE):
        pass
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_command_ends_what_it_started(made, installed, number, code):
    ports = [word for name in ("http", "grpc", "metrics") for word in (f"--{name}-port", "0")]
    command = [sys.executable, "-m", "zoo", "serve", str(made[0]), *ports, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        text = b""
        while not text.endswith(b"}\n"):
            line = process.stdout.readline()
            assert line, process.stderr.read()
            text += line
        address = json.loads(text)["grpc"]
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
    assert process.returncode == code
    assert "the server was ended" in told.decode()
    assert shared_memory(process.pid) == set()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address.split(":"), timeout=5)


@pytest.mark.slow
def test_a_killed_command_takes_the_server_with_it(made, installed):
    code = (
        "import os, signal, sys, export\n"
        f"with export.serve({str(made[0])!r}, **{FREE}) as server:\n"
        "    print(server.process.pid, os.getpid(), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    server, command = map(int, done.stdout.split())
    assert wait_for(lambda: not is_group(server))
    assert shared_memory(command) == set()


def test_a_port_in_use_is_told_before_anything_starts(made):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        refused = pytest.raises(zoo.InputError, match=f"http port {port} of .* is in use")
        with refused, export.serve(made[0], **{**FREE, "http_port": port}):
            pass


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"threads": 0}, "threads: accepted are 1 to 1024; received 0"),
        ({"timeout": 0.0}, "timeout: accepted are seconds above 0"),
        ({"timeout": float("nan")}, "timeout: accepted are seconds above 0"),
        ({"model_control": "magic"}, "accepted are none, explicit, poll; received 'magic'"),
        ({"http_port": 70_000}, "http port: accepted are 0 to 65535; received 70000"),
        ({"http_port": 18_100, "metrics_port": 18_100}, "ports: .* received 18100 more than once"),
    ],
)
def test_bad_options_are_refused(made, options, told):
    with (
        pytest.raises(zoo.InputError, match=told),
        export.serve(made[0], **{**FREE, **options}),
    ):
        pass


def test_a_bundle_for_no_server_is_refused(made, tmp_path):
    bundle = shutil.copytree(made[0], tmp_path / "b")
    path = bundle / "manifest.json"
    path.write_text(path.read_text().replace('"target": "triton"', '"target": "onnx"'))
    refused = pytest.raises(zoo.InputError, match="a bundle for onnx; accepted are those for tri")
    with refused, export.serve(bundle):
        pass
    with pytest.raises(zoo.InputError, match="does not exist"), export.serve(tmp_path / "no"):
        pass


def test_other_machines_and_pythons_are_told(made, monkeypatch):
    monkeypatch.setattr(environments.platform, "machine", lambda: "aarch64")
    with pytest.raises(zoo.InputError, match="received Linux on aarch64"):
        environments.environment()
    monkeypatch.undo()
    monkeypatch.setattr(environments, "PYTHONS", ("2.7",))
    with pytest.raises(zoo.InputError, match=r"accepted is Python 2\.7 .*is Python 3"):
        environments.environment()


@pytest.mark.slow
def test_no_index_is_told_in_one_line_and_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("FOLDZOO_CACHE", str(tmp_path))
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    with pytest.raises(zoo.InputError, match=r"no package index that has aiohappy.* can be"):
        environments.environment()
    assert [path.name for path in tmp_path.iterdir()] == ["serving.lock"]


@pytest.mark.slow
def test_a_changed_environment_is_not_used(installed, monkeypatch):
    """A byte of the server's files that is not as it was installed has it made anew."""
    key = json.loads((installed.folder / environments.MARKER).read_text())["key"]
    assert environments._is_whole(installed, key)
    assert not environments._is_whole(installed, "0" * 64)
    monkeypatch.setattr(environments, "sha256", lambda path: "0" * 64)
    assert not environments._is_whole(installed, key)


def test_the_log_tells_why_a_server_gave_up(tmp_path):
    log = tmp_path / "log"
    for text, why in (
        ("", "it wrote nothing"),
        ("I1 fine\n", "I1 fine"),
        ('I1 fine\nE1 1 a.cc:2] "address in use"\nerror: creating server\n', "address in use"),
        (
            "| m | 1 | UNAVAILABLE: Invalid: no  file |\nerror: creating server\n",
            "Invalid: no file",
        ),
    ):
        log.write_text(text)
        assert servers._why(log) == why
