"""``client.py`` of a bundle, with a stand-in for tritonclient that answers what it is told to."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import export

CLIENT = Path(export.__file__).parent / "templates" / "client.py"
# What it answers lies beside the package; an output that is not there is None, as with Triton.
STAND_IN = """
import json, pathlib
import numpy as np
ANSWER = json.loads((pathlib.Path(__file__).parent / "answer.json").read_text())
class InferInput:
    def __init__(self, name, shape, datatype): pass
    def set_data_from_numpy(self, array): assert array.dtype == np.uint8
class InferenceServerClient:
    def __init__(self, url): pass
    def infer(self, name, tensors): return self
    def as_numpy(self, name): return np.array(ANSWER[name], "f4") if name in ANSWER else None
    def close(self): pass
"""
UTILS = """
class InferenceServerException(Exception): pass
def triton_to_np_dtype(datatype): return {"FP32": "f4", "UINT8": "u1"}[datatype]
"""
EXPECTED = {"logits": [[1.0, 3.0]], "probabilities": [[0.25, 0.75]]}
NAN = float("nan")


def tensor(name, data, datatype="FP32"):
    return {"name": name, "data": data, "datatype": datatype, "shape": [1, 2]}


@pytest.fixture
def folder(tmp_path):
    """A bundle's files, as far as the client reads them."""
    files = {
        "manifest.json": {
            "model": {
                "name": "tiny",
                "inputs": [{"name": "image", "datatype": "UINT8"}],
                "outputs": [{"name": name} for name in EXPECTED],
                "labels": ["ant", "bee"],
            },
            "tolerances": {"sample": 1e-3},
        },
        "sample_request.json": {"inputs": [tensor("image", [0, 255], "UINT8")]},
        "sample_response.json": {"outputs": [tensor(*one) for one in EXPECTED.items()]},
    }
    package = tmp_path / "tritonclient"
    package.mkdir()
    for name, text in {"__init__": "", "http": STAND_IN, "grpc": STAND_IN, "utils": UTILS}.items():
        (package / f"{name}.py").write_text(text)
    for name, values in files.items():
        (tmp_path / name).write_text(json.dumps(values))
    shutil.copy(CLIENT, tmp_path)
    return tmp_path


def ask(folder, answer, *options):
    """Run the client; return its exit code and its last line, which is no traceback's."""
    (folder / "tritonclient" / "answer.json").write_text(json.dumps(answer))
    command = [sys.executable, "client.py", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, (done.stdout + done.stderr).splitlines()[-1]


@pytest.mark.parametrize("options", [[], ["--grpc"]])
def test_the_expected_answer_is_good(folder, options):
    assert ask(folder, EXPECTED, *options) == (
        0,
        "as expected: difference 0.0e+00, accepted 1.0e-03",
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"logits": [[1.1, 3.0]]}, "WRONG: difference 3.3e-02, accepted 1.0e-03"),
        ({"logits": [[NAN, 3.0]]}, "WRONG: difference nan, accepted 1.0e-03"),
        ({"probabilities": [[NAN, NAN]]}, "WRONG: difference nan, accepted 1.0e-03"),
        ({"probabilities": [[0.25, float("inf")]]}, "WRONG: difference inf, accepted 1.0e-03"),
        (
            {"logits": [[1.0], [3.0]]},
            "WRONG: logits has the shape (2, 1), expected (1, 2)",
        ),
        (
            {"probabilities": [[0.25, 0.75], [0.25, 0.75]]},
            "WRONG: probabilities has the shape (2, 2), expected (1, 2)",
        ),
        ({"probabilities": 0.75}, "WRONG: probabilities has the shape (), expected (1, 2)"),
        ({"probabilities": ...}, "WRONG: the answer has no output probabilities"),
        ({"logits": ...}, "WRONG: the answer has no output logits"),
    ],
)
def test_a_wrong_answer_is_told(folder, change, told):
    answer = {name: data for name, data in (EXPECTED | change).items() if data is not ...}
    assert ask(folder, answer) == (1, told)


@pytest.mark.parametrize("file", ["manifest.json", "sample_request.json", "sample_response.json"])
@pytest.mark.parametrize("content", [None, "", "[]", "{}", "{]"])
def test_a_missing_or_damaged_file_is_told(folder, file, content):
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(content)
    code, line = ask(folder, EXPECTED)
    assert code == 2
    assert f"{file} cannot be read" in line if content is None else "is damaged" in line


def test_an_expected_answer_that_lacks_an_output_is_damaged(folder):
    response = {"outputs": [tensor("logits", EXPECTED["logits"][0])]}
    (folder / "sample_response.json").write_text(json.dumps(response))
    code, line = ask(folder, EXPECTED)
    assert code == 2
    assert line.endswith("is damaged: KeyError('probabilities')")
