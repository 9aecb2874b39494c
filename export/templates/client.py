"""Ask a server of the Open Inference Protocol, such as NVIDIA Triton, for this bundle's model.

Nothing is needed but the package tritonclient[http,grpc], and the files beside this one:
    python client.py --url localhost:8000
    python client.py --url localhost:8001 --grpc
The sample request is sent, and the answer compared with the expected one: exit 0 where they agree,
1 where they do not, 2 where the server cannot be reached or refuses, or a file beside this one is
missing or damaged.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

HERE = Path(__file__).resolve().parent


def load(file: str) -> dict:
    """Read a file that lies beside this one."""
    return json.loads((HERE / file).read_text(encoding="utf-8"))


def read(file: str, key: str) -> dict[str, np.ndarray]:
    """Read the model's inputs from the sample request, or its outputs from the expected answer."""
    tensors = {
        one["name"]: np.array(one["data"], triton_to_np_dtype(one["datatype"])).reshape(
            one["shape"]
        )
        for one in load(file)[key]
    }
    return {one["name"]: tensors[one["name"]] for one in load("manifest.json")["model"][key]}


def ask(
    url: str, inputs: dict[str, np.ndarray], *, grpc: bool = False
) -> dict[str, np.ndarray | None]:
    """Send one batch.

    Args:
        url: The server's host and port.
        inputs: The arrays by the inputs' names; the first axis of each is the batch.
        grpc: Whether the port is that of gRPC.

    Returns:
        The arrays by the outputs' names; None for one that the server left out.
    """
    library = tritonclient.grpc if grpc else tritonclient.http
    model = load("manifest.json")["model"]
    types = {one["name"]: one["datatype"] for one in model["inputs"]}
    tensors = []
    for name, array in inputs.items():
        tensor = library.InferInput(name, list(array.shape), types[name])
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    client = library.InferenceServerClient(url)
    try:
        answer = client.infer(model["name"], tensors)
    finally:
        client.close()
    return {one["name"]: answer.as_numpy(one["name"]) for one in model["outputs"]}


def judge(
    answer: dict[str, np.ndarray | None], expected: dict[str, np.ndarray], limit: float
) -> tuple[bool, str]:
    """Compare an answer with the expected one, output by output.

    Args:
        answer: What the server answered.
        expected: What it should have.
        limit: The difference that is accepted, of the largest number of each output.

    Returns:
        Whether every output is there, of its shape and within the limit, and a line that says so.
    """
    good, worst = True, 0.0
    for name, wanted in expected.items():
        found = answer.get(name)
        if found is None:
            return False, f"the answer has no output {name}"
        if found.shape != wanted.shape:
            return False, f"{name} has the shape {found.shape}, expected {wanted.shape}"
        # In float64: what is unsigned has no negative differences.
        exact = wanted.astype(np.float64)
        largest = np.abs(exact).max(initial=0) or 1
        difference = float(np.abs(found - exact).max(initial=0) / largest)
        # Each by itself: the larger one of a number and of what is none is either.
        good = good and difference <= limit
        worst = float(np.maximum(worst, difference))
    return good, f"difference {worst:.1e}, accepted {limit:.1e}"


def show(scores: np.ndarray, labels: list[str]) -> None:
    """Print the first image's most probable classes."""
    for index in np.argsort(-scores[0])[:5]:
        print(f"{scores[0][index]:10.4f}  {labels[index]}")


def main() -> int:
    """Send the sample request and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="localhost:8000", help="host:port of the server")
    parser.add_argument("--grpc", action="store_true", help="the port is that of gRPC")
    options = parser.parse_args()
    try:
        manifest = load("manifest.json")
        model, limit = manifest["model"], float(manifest["tolerances"]["sample"])
        labels, last = list(model["labels"]), model["outputs"][-1]["name"]
        inputs = read("sample_request.json", "inputs")
        expected = read("sample_response.json", "outputs")
    except OSError as error:
        print(f"{error.filename} cannot be read: {error.strerror}", file=sys.stderr)
        return 2
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        print(f"a file in {HERE} is damaged: {error!r}", file=sys.stderr)
        return 2
    try:
        answer = ask(options.url, inputs, grpc=options.grpc)
    except (InferenceServerException, OSError) as error:
        print(f"{options.url}: {error}", file=sys.stderr)
        return 2
    scores = answer[last]
    if labels and scores is not None and scores.shape[1:] == (len(labels),):
        show(scores, labels)
    good, told = judge(answer, expected, limit)
    print(f"{'as expected' if good else 'WRONG'}: {told}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
