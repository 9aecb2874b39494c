"""A request of the Open Inference Protocol with the answer that it should get.

Reference:
    https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from export import onnx_metadata, parity
from export.checks import Check
from export.errors import ExportError
from export.onnx_runtime import Session
from export.remote.tensors import from_json, to_json
from export.targets.layout import interface
from zoo.errors import InputError
from zoo.files import write_text

REQUEST_FILE = "sample_request.json"
RESPONSE_FILE = "sample_response.json"


def write(
    folder: Path, model_file: str, name: str, version: str, sample: Sequence[np.ndarray]
) -> None:
    """Write a request for one image, and what onnxruntime answers.

    Args:
        folder: The bundle.
        model_file: Where its ONNX file lies in it.
        name: What the server calls the model.
        version: The version that answers.
        sample: One array for each input.
    """
    proto = onnx_metadata.load(folder / model_file)
    inputs, outputs = interface(proto)
    names = [one.name for one in inputs]
    request = {
        "id": "sample",
        "inputs": [to_json(*one) for one in zip(names, sample, strict=True)],
        "outputs": [{"name": one.name} for one in outputs],
    }
    answers = zip([one.name for one in outputs], Session(proto).run(sample), strict=True)
    response = {
        "id": "sample",
        "model_name": name,
        "model_version": version,
        "outputs": [to_json(*one) for one in answers],
    }
    write_text(folder / REQUEST_FILE, json.dumps(request) + "\n")
    write_text(folder / RESPONSE_FILE, json.dumps(response) + "\n")


def read(path: Path) -> dict[str, np.ndarray]:
    """Read the tensors of a request's inputs or a response's outputs.

    Args:
        path: The file.

    Returns:
        Arrays by name.

    Raises:
        InputError: It is missing or of another form.
    """
    try:
        values = json.loads(path.read_bytes())
        tensors = values["outputs"] if "model_name" in values else values["inputs"]
        return {one["name"]: from_json(one) for one in tensors}
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(f"{path} is not of the Open Inference Protocol: {error}") from error


def check(folder: Path, model_file: str, tolerance: float) -> list[Check]:
    """Send the sample request to the file itself, and compare the answer with the expected one.

    Args:
        folder: The bundle.
        model_file: Where its ONNX file lies in it.
        tolerance: The error that is accepted, of the largest number of each output.

    Returns:
        The checks.
    """
    limit = "as expected"
    try:
        fed, wanted = read(folder / REQUEST_FILE), read(folder / RESPONSE_FILE)
        session = Session(onnx_metadata.load(folder / model_file))
        names = (sorted(fed), list(wanted))
        if names != (sorted(session.inputs), session.outputs):
            raise InputError(f"its tensors are {names}, the file's are others")
        values = session.run([fed[name] for name in session.inputs])
    except (InputError, ExportError) as error:
        return [Check("sample request", False, "not answered", limit, str(error))]
    exact = [array.astype(np.float64) for array in wanted.values()]
    found = parity.worst_error(values, exact)
    detail = "difference from the expected answer, of the largest output"
    return [Check("answer to the sample request", found <= tolerance, found, tolerance, detail)]
