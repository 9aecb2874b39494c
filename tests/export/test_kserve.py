"""KServe's own server, an implementation of the Open Inference Protocol that is not Triton's.

It takes the same requests as Triton does in ``test_serving.py``, and answers the same.
"""

import json
import re
import subprocess

import numpy as np
import PIL.Image
import pytest

import zoo
from zoo.cli import run

from . import kserve_environment, malformed
from .asking import ask, end, onnx_answers, start, tolerance
from .served import SHAPE, make_bundle

pytestmark = pytest.mark.slow

NAME = "tiny.test"
MALFORMED = 500
# It cuts a request's bytes where they end, wherever they were told to end.
TAKEN = {"another number of bytes"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("made") / "1", 1)


@pytest.fixture(scope="module")
def server(bundle, tmp_path_factory):
    try:
        python = kserve_environment.environment()
    except zoo.InputError as error:
        listed = kserve_environment.HERE / "kserve_requirements.txt"
        pytest.skip(f"{error}; python -m pip install --no-deps -r {listed} is what was tried")
    path, log = bundle / NAME / "1" / "model.onnx", tmp_path_factory.mktemp("log") / "kserve"
    with kserve_environment.serving(python, path, NAME, log) as running:
        yield running


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).standard_normal((64, *SHAPE)).astype(np.float32)


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_every_way_gives_onnxruntimes_answer_to_the_last_bit(
    server, bundle, images, tmp_path, batch
):
    answers = ask(server, tmp_path, images[:batch])
    logits, probabilities = onnx_answers(bundle, images[:batch])
    for way in ("binary", "json", "grpc"):
        assert (answers[f"{way}_logits"] == logits).all(), way
        assert (answers[f"{way}_probabilities"] == probabilities).all(), way


def test_of_many_mixed_requests_none_is_wrong_and_none_lost(server, bundle, images, tmp_path):
    wanted = onnx_answers(bundle, images)[0]
    (tmp_path / "out.npz").touch()
    arrays = {"image": images, "expected_1": wanted, "tolerance": tolerance(wanted)}
    found = end(start(server, "flood", tmp_path, requests=500, **arrays))
    assert found["sent"] == found["answered"] >= 500
    assert (found["wrong"], found["lost"], found["errors"]) == (0, 0, [])


def test_malformed_requests_are_refused_and_the_server_goes_on(server, bundle, images, tmp_path):
    found: dict[str, set] = {}
    for kind, status in malformed.requests(server.http, server.name, [*SHAPE], MALFORMED):
        found.setdefault(kind, set()).add(status)
    assert {kind for kind, statuses in found.items() if 200 in statuses} == TAKEN
    told = end(start(server, "malformed", tmp_path, image=images, requests=60))
    assert told == {"sent": 60, "refused": 60}
    assert (ask(server, tmp_path, images)["grpc_logits"] == onnx_answers(bundle, images)[0]).all()


@pytest.mark.parametrize("options", [["http"], ["grpc", "--grpc"]])
def test_the_client_that_comes_with_a_bundle_runs(server, bundle, options):
    kind, *words = options
    command = [server.python, bundle / "client.py", "--url", getattr(server, kind), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("as expected: difference 0.0e+00")


def test_predict_asks_the_server_as_it_asks_the_file(server, bundle, tmp_path, capsys):
    image = tmp_path / "image.png"
    pixels = np.random.default_rng(0).integers(0, 256, (9, 13, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(image)
    http, grpc, path = f"http://{server.http}", f"grpc://{server.grpc}", f"/v2/models/{NAME}"
    found = []
    for what in (str(bundle / NAME / "1" / "model.onnx"), http, http + path, grpc + path):
        assert run(["predict", what, str(image), "--card", str(bundle), "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert all(one == found[0] for one in found)
    for what, word in {
        http: "accepted is --card",  # it tells no preprocessing
        grpc: "does not list its models",
        f"{http}/v2/models/other": f"no model other that is ready: .*; ready: {NAME}$",
        f"{grpc}/v2/models/other": "no model other that is ready",
    }.items():
        assert run(["predict", what, str(image)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert re.search(word, line), line
