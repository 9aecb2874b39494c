"""Classifying by a running server: it answers as its file does, and what it refuses is told."""

import contextlib
import http.server
import json
import socket
import threading

import keras
import numpy as np
import PIL.Image
import pytest

import export
import zoo
from export.prediction import classifier
from export.remote import address
from export.remote.transport import Config, Metadata, Transport
from zoo.cli import run

from .inference_server import TRITON, Served, serving, serving_grpc
from .served import LABELS, make_bundle

FILE = "tiny.test/1/model.onnx"
NAME = "tiny.test"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("made") / "1", 1)


@pytest.fixture(scope="module")
def with_pixels(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("made") / "1", 1, pixels=True)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 13, 3), np.uint8)
    path = tmp_path_factory.mktemp("images") / "image.png"
    PIL.Image.fromarray(pixels).save(path)
    return str(path)


@pytest.fixture
def server(bundle):
    with serving(Served(NAME, bundle / FILE)) as running:
        yield running


def predictions(capsys, *argv):
    """Run `zoo predict --json`; return the classes of each image."""
    capsys.readouterr()
    assert run(["predict", *argv, "--json"]) == 0
    return [one["predictions"] for one in json.loads(capsys.readouterr().out)["images"]]


def failure(capsys, *argv):
    """Run a command that must fail; return its one line."""
    capsys.readouterr()
    assert run([*argv]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = told.err.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize("extensions", [TRITON, ("model_configuration",)])
@pytest.mark.parametrize(
    "path", ["", "/", "/v2", f"/v2/models/{NAME}", f"/v2/models/{NAME}/versions/1/infer"]
)
def test_a_server_answers_as_its_file_does(capsys, bundle, image, path, extensions):
    wanted = predictions(capsys, str(bundle / FILE), image, image)
    assert {one["label"] for one in wanted[0]} == {*LABELS}
    with serving(Served(NAME, bundle / FILE), extensions=extensions) as server:
        assert predictions(capsys, server.address + path, image, image) == wanted


def test_the_table_is_that_of_the_file(capsys, server, bundle, image):
    capsys.readouterr()
    tables = []
    for what in (bundle / FILE, server.address):
        assert run(["predict", str(what), image]) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1]
    assert image in tables[0]


@pytest.mark.parametrize("raw", [True, False])
def test_grpc_answers_the_same(capsys, server, bundle, image, raw):
    wanted = predictions(capsys, str(bundle / FILE), image)
    with serving_grpc(server, raw=raw) as there:
        for path in ("", f"/v2/models/{NAME}"):
            assert predictions(capsys, there + path, image) == wanted


@pytest.mark.parametrize("described", ["card.json", "", "bundle"])
def test_a_card_or_a_bundle_tells_what_the_server_does_not(capsys, bundle, image, described):
    by = str(bundle.parent / described)
    wanted = predictions(capsys, str(bundle / FILE), image)
    with serving(Served(NAME, bundle / FILE), extensions=()) as server:
        assert "--card" in failure(capsys, "predict", server.address, image)
        assert predictions(capsys, server.address, image, "--card", by) == wanted
        assert f"/v2/models/{NAME}/config" not in server.asked


@pytest.mark.parametrize("what", ["model.keras", f"bundle/{FILE}"])
def test_a_card_goes_before_what_a_file_tells(capsys, bundle, tmp_path, image, what):
    card = zoo.Card.read(bundle.parent / "card.json")
    renamed = card.model_copy(update={"labels": ("x", "y", "z")})
    renamed.write(tmp_path / "card.json")
    (found,) = predictions(capsys, str(bundle.parent / what), image, "--card", str(tmp_path))
    assert {one["label"] for one in found} == {"x", "y", "z"}


def test_pixels_are_sent_as_they_are(capsys, with_pixels, image):
    wanted = predictions(capsys, str(with_pixels / FILE), image)
    with serving(Served(NAME, with_pixels / FILE)) as server:
        assert predictions(capsys, server.address, image) == wanted
        served = classifier(server.address)
        with pytest.raises(zoo.InputError, match="has its preprocessing inside"):
            served.logits(np.zeros((1, 4, 4, 3)))


def test_a_served_model_is_as_accurate_as_its_file(capsys, tmp_path):
    bundle = make_bundle(tmp_path / "1", 1, labels=tuple("0123456789"))
    found = []
    with serving(Served(NAME, bundle / FILE)) as server:
        for what in (str(bundle / FILE), server.address):
            assert run(["evaluate", what, "--data", "digits", "--json"]) == 0
            found.append(json.loads(capsys.readouterr().out))
    assert found[0] == found[1]
    assert found[0]["count"] == 359


def test_channels_first_are_served_too(capsys, tmp_path, bundle, image):
    from zoo import keras_files

    model = keras_files.load(bundle / "folded.keras")
    card = zoo.Card.read(bundle.parent / "card.json")
    path = export.to_onnx(
        model, tmp_path / "m.onnx", layout="NCHW", preprocessing=card.preprocessing, labels=LABELS
    )
    with serving(Served(NAME, path)) as server:
        found = predictions(capsys, server.address, image)
    assert found == predictions(capsys, str(path), image)


def test_a_name_with_other_signs_is_asked_for_as_it_is(capsys, bundle, image):
    wanted = predictions(capsys, str(bundle / FILE), image)
    with serving(Served("a%20b", bundle / FILE)) as server:
        assert predictions(capsys, f"{server.address}/v2/models/a%20b", image) == wanted


def test_kserves_list_finds_the_only_model(capsys, bundle, image):
    wanted = predictions(capsys, str(bundle / FILE), image)
    with serving(Served(NAME, bundle / FILE), index="/v2/models") as server:
        assert predictions(capsys, server.address, image) == wanted


def test_several_models_or_none_need_a_name(capsys, bundle, image):
    two = Served("a", bundle / FILE), Served("b", bundle / FILE)
    with serving(*two) as server:
        assert "serves a, b" in failure(capsys, "predict", server.address, image)
        two[0].ready = two[1].ready = False
        assert "has no model ready" in failure(capsys, "predict", server.address, image)
    with serving(*two, index="") as server:
        line = failure(capsys, "predict", server.address, image)
        assert f"does not list its models: no /v2/models; name one: {server.address}" in line


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_a_model_that_is_not_there_or_not_ready_is_told(capsys, server, image, kind):
    with serving_grpc(server) as there:
        where = there if kind == "grpc" else server.address
        line = failure(capsys, "predict", f"{where}/v2/models/other", image)
        assert f"has no model other that is ready: no model 'other'; ready: {NAME}" in line
        server.models[NAME].ready = False
        line = failure(capsys, "predict", f"{where}/v2/models/{NAME}", image)
        assert f"has no model {NAME} that is ready: it is loading; ready: none" in line


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"inputs": []}, ["one input of images", "received no input"]),
        ({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}]}, ["text BYTES [-1]"]),
        (
            {"inputs": [{"name": "i", "datatype": "FP32", "shape": [-1, 4, 4, 3]}] * 2},
            ["i FP32 [-1, 4, 4, 3]; i FP32"],
        ),
        ({"outputs": []}, ["and an output"]),
        ({"inputs": 3}, ["the model's metadata is not of the protocol"]),
        ({"outputs": [{"name": "other", "datatype": "FP32", "shape": [-1]}]}, ["no output"]),
        (
            {"inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 8, 8, 3]}]},
            ["refused an image: unexpected shape (1, 4, 4, 3)"],
        ),
    ],
)
def test_a_model_that_takes_no_images_is_told(capsys, bundle, image, metadata, words):
    with serving(Served(NAME, bundle / FILE, metadata=metadata)) as server:
        line = failure(capsys, "predict", server.address, image)
    for word in words:
        assert word in line


def test_a_card_of_other_images_or_classes_is_told(capsys, bundle, server, tmp_path, image):
    card = zoo.Card.read(bundle.parent / "card.json")
    sized = card.preprocessing.replace(size=(8, 8))
    for name, update in {
        "size": {"preprocessing": sized, "input_shape": (8, 8, 3)},
        "labels": {"labels": ("ant", "bee"), "num_classes": 2},
    }.items():
        card.model_copy(update=update).write(tmp_path / f"{name}.json")
    for what in (server.address, str(bundle / FILE), str(bundle.parent / "model.keras")):
        line = failure(capsys, "predict", what, image, "--card", str(tmp_path / "size.json"))
        assert "takes images of (4, 4, 3)" in line
        assert "of a model that takes (8, 8, 3)" in line
        line = failure(capsys, "predict", what, image, "--card", str(tmp_path / "labels.json"))
        assert "has 3 classes; its labels are 2" in line
    line = failure(capsys, "predict", server.address, image, "--card", str(tmp_path))
    assert "there is no card" in line


@contextlib.contextmanager
def answering(content, status=200, **headers):
    """A server of HTTP that answers everything with the same bytes."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_words):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("content", [b"<html>", b"[]", b"{}", b'{"name": 3}', b"[" * 100_000])
def test_another_server_is_told(capsys, image, content):
    with answering(content) as there:
        line = failure(capsys, "predict", f"http://{there}", image)
        assert f"http://{there} is no server of the Open Inference Protocol (v2)" in line
        line = failure(capsys, "predict", f"grpc://{there}", image)
        assert there in line


def test_a_redirection_to_what_is_no_host_is_told(capsys, image):
    with answering(b"", 302, Location="http://a..b/") as there:
        assert "cannot be reached" in failure(capsys, "predict", f"http://{there}", image)


@pytest.mark.parametrize("answers", ["maps", "numbers"])
def test_a_file_that_gives_no_logits_is_told(capsys, tmp_path, image, answers):
    taken = keras.Input((4, 4, 3))
    given = keras.layers.Conv2D(5, 3, padding="same")(taken)
    if answers == "numbers":
        given = keras.ops.mean(given, (1, 2, 3))
    made = zoo.Preprocessing(size=(4, 4))
    path = export.to_onnx(keras.Model(taken, given), tmp_path / "m.onnx", preprocessing=made)
    line = failure(capsys, "predict", str(path), image)
    assert "accepted is a model whose first output is (batch, classes); received one that" in line


def test_nobody_there_is_told(capsys, image):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]  # nobody listens, and nobody else can
        for scheme in ("http", "grpc"):
            line = failure(capsys, "predict", f"{scheme}://127.0.0.1:{port}", image)
            assert f"{scheme}://127.0.0.1:{port} cannot be reached" in line


def test_one_that_hangs_up_or_says_nothing_is_told(capsys, image, monkeypatch):
    from export.remote import rest

    monkeypatch.setattr(rest, "TIMEOUT", 0.5)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        there = f"http://127.0.0.1:{holder.getsockname()[1]}"
        assert "cannot be reached: timed out" in failure(capsys, "predict", there, image)
        closer = threading.Thread(target=lambda: [holder.accept()[0].close() for _ in range(2)])
        closer.start()
        assert f"{there} cannot be reached" in failure(capsys, "predict", there, image)
        closer.join()


@pytest.mark.parametrize(
    "text",
    [
        "ftp://host/v2/models/x",
        "http://",
        "http://host:port",
        "http://host:99999",
        "grpc://host",
        "grpc://host:1/prefix/v2/models/x",
        "http://user@host",
        "http://host/?x=1",
        "http://[",
        "http://127..0.0.1:8000",
        "grpc://a..b:8001",
        f"http://{'a' * 64}",
        "http://127.0.0.1:1/é",
        "http://é",
    ],
)
def test_what_is_no_address_is_told(capsys, image, text):
    line = failure(capsys, "predict", text, image)
    assert "accepted is http(s)://HOST:PORT/v2/models/NAME or grpc://" in line
    assert f"received {text}" in line


@pytest.mark.parametrize(
    ("text", "server", "model", "version"),
    [
        ("https://host", "https://host", "", ""),
        ("http://host:1/gateway/v2/models/a/versions/7/", "http://host:1/gateway", "a", "7"),
        ("grpc://host:1/v2/models/a.b", "grpc://host:1", "a.b", ""),
        ("http://[::1]:8000/v2/models/", "http://[::1]:8000", "", ""),
    ],
)
def test_addresses(text, server, model, version):
    found = address.parse(text)
    assert (found.server, found.model, found.version) == (server, model, version)


class Answers(Transport):
    """A server that answers each batch with as many rows as it is told."""

    def __init__(self, shape):
        self.shape = shape
        self.batches = []

    def extensions(self):
        return ()

    def names(self):
        return ()

    def check_ready(self, model, version):
        pass

    def metadata(self, model, version):
        return Metadata((), ())

    def config(self, model, version):
        return Config()

    def infer(self, model, version, fed, array, output):
        self.batches.append(len(array))
        return np.zeros((len(array), *self.shape), np.float32)


def remote(transport, most=4):
    from export.remote import RemoteModel
    from export.remote.transport import Signature

    fed = Signature("image", "FP32", (-1, 4, 4, 3))
    return RemoteModel("there", transport, "m", "", fed, "logits", most, {})


def test_no_request_is_larger_than_the_server_takes():
    transport = Answers((3,))
    assert remote(transport).logits(np.zeros((10, 4, 4, 3))).shape == (10, 3)
    assert transport.batches == [4, 4, 2]


def test_an_answer_that_is_no_logits_is_told():
    with pytest.raises(zoo.InputError, match=r"accepted is an output of \(batch, classes\)"):
        remote(Answers((3, 2))).logits(np.zeros((2, 4, 4, 3)))


def test_a_damaged_parameter_is_told(capsys, server, image):
    server.models[NAME].parameters["foldzoo.labels"] = "[3]"
    line = failure(capsys, "predict", server.address, image)
    assert f"{server.address}: its metadata foldzoo.labels is damaged" in line
