"""Ask a server of the Open Inference Protocol, such as NVIDIA Triton, for this bundle's model.

Nothing is needed but the package tritonclient[http,grpc], and the files beside this one:
    python client.py --url localhost:8000
    python client.py --url localhost:8001 --grpc
The sample request is sent, and the answer compared with the expected one: exit 0 where they agree,
1 where they do not, 2 where the server cannot be reached or refuses.
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
MANIFEST = json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))


def read(file: str, key: str) -> dict[str, np.ndarray]:
    """Read the tensors of the sample request or of its answer."""
    tensors = json.loads((HERE / file).read_text(encoding="utf-8"))[key]
    return {
        one["name"]: np.array(one["data"], triton_to_np_dtype(one["datatype"])).reshape(
            one["shape"]
        )
        for one in tensors
    }


def ask(url: str, inputs: dict[str, np.ndarray], *, grpc: bool = False) -> dict[str, np.ndarray]:
    """Send one batch.

    Args:
        url: The server's host and port.
        inputs: The arrays by the inputs' names; the first axis of each is the batch.
        grpc: Whether the port is that of gRPC.

    Returns:
        The arrays by the outputs' names.
    """
    library = tritonclient.grpc if grpc else tritonclient.http
    types = {one["name"]: one["datatype"] for one in MANIFEST["model"]["inputs"]}
    tensors = []
    for name, array in inputs.items():
        tensor = library.InferInput(name, list(array.shape), types[name])
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    client = library.InferenceServerClient(url)
    try:
        answer = client.infer(MANIFEST["model"]["name"], tensors)
    finally:
        client.close()
    return {one["name"]: answer.as_numpy(one["name"]) for one in MANIFEST["model"]["outputs"]}


def main() -> int:
    """Send the sample request and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="localhost:8000", help="host:port of the server")
    parser.add_argument("--grpc", action="store_true", help="the port is that of gRPC")
    options = parser.parse_args()
    expected = read("sample_response.json", "outputs")
    try:
        inputs = read("sample_request.json", "inputs")
        answer = ask(options.url, inputs, grpc=options.grpc)
    except (InferenceServerException, OSError) as error:
        print(f"{options.url}: {error}", file=sys.stderr)
        return 2
    limit = MANIFEST["tolerances"]["sample"]
    worst = max(
        float(np.abs(answer[name] - wanted).max() / (np.abs(wanted).max() or 1))
        for name, wanted in expected.items()
    )
    labels = MANIFEST["model"]["labels"]
    scores = answer[MANIFEST["model"]["outputs"][-1]["name"]][0]
    if labels:
        for index in np.argsort(-scores)[:5]:
            print(f"{scores[index]:10.4f}  {labels[index]}")
    good = worst <= limit
    print(f"{'as expected' if good else 'WRONG'}: difference {worst:.1e}, accepted {limit:.1e}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
