"""Requests by tritonclient; run by the server's own Python, which has it, and not by pytest.

python serving_requests.py COMMAND SERVER.json [IN.npz OUT.npz]: SERVER.json has ``http``, ``grpc``
and ``model``. What is found is printed as JSON.
"""

import json
import random
import sys
import threading
import time
from pathlib import Path

import numpy as np
import tritonclient.grpc
import tritonclient.http
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import InferenceServerException

WORKERS = 16
MOST = 8  # images in a request
LIBRARIES = {"http": tritonclient.http, "grpc": tritonclient.grpc}


def client(server: dict, kind: str):
    return LIBRARIES[kind].InferenceServerClient(server[kind])


def given(kind: str, image: np.ndarray, **options):
    tensor = LIBRARIES[kind].InferInput("image", list(image.shape), "FP32")
    tensor.set_data_from_numpy(image, **options)
    return [tensor]


def each(server: dict, arrays, out: str) -> dict:
    """Send one batch in every way."""
    image, library, name = arrays["image"], tritonclient.http, server["model"]
    http, grpc = client(server, "http"), client(server, "grpc")
    outputs = [
        library.InferRequestedOutput(one, binary_data=False) for one in ("logits", "probabilities")
    ]
    plain = given("http", image, binary_data=False)
    headers = {"Content-Type": "application/json"}  # without it, KServe takes nothing for JSON
    answers = {
        "binary": http.infer(name, given("http", image)),
        "json": http.infer(name, plain, outputs=outputs, headers=headers),
        "grpc": grpc.infer(name, given("grpc", image)),
    }
    found = {
        f"{way}_{output}": answer.as_numpy(output)
        for way, answer in answers.items()
        for output in ("logits", "probabilities")
    }
    np.savez(out, **found)
    return {}


def classify(server: dict, arrays, out: str) -> dict:
    """Ask for the two best classes of each image, by Triton's extension."""
    classes = {}
    for kind, library in LIBRARIES.items():
        asked = [library.InferRequestedOutput("logits", class_count=2)]
        images = given(kind, arrays["image"])
        answer = client(server, kind).infer(server["model"], images, outputs=asked)
        told = answer.as_numpy("logits")
        classes[kind] = [[text.decode() for text in row] for row in told]
    return classes


def flood(server: dict, arrays, out: str) -> dict:
    """Send mixed batches from many threads until enough were sent and the file OUT is there."""
    least, pool = int(arrays["requests"]), arrays["image"]
    counts = {"sent": 0, "answered": 0, "wrong": 0, "lost": 0}
    versions: dict = {}
    errors: list = []
    lock = threading.Lock()

    def work(seed: int) -> None:
        chance, kind = random.Random(seed), ("http", "grpc")[seed % 2]
        mine = client(server, kind)
        while True:
            with lock:
                if counts["sent"] >= least and Path(out).exists():
                    return
                counts["sent"] += 1
            rows = [chance.randrange(len(pool)) for _ in range(chance.randint(1, MOST))]
            try:
                answer = mine.infer(server["model"], given(kind, pool[rows]))
            except (InferenceServerException, OSError) as error:
                with lock:
                    counts["lost"] += 1
                    errors.append(str(error))
                continue
            told = answer.get_response()
            version = told["model_version"] if kind == "http" else told.model_version
            wanted = arrays[f"expected_{version}"][rows]
            logits = answer.as_numpy("logits")
            right = logits.shape == wanted.shape and np.abs(logits - wanted).max() <= float(
                arrays["tolerance"]
            )
            with lock:
                counts["answered"] += 1
                counts["wrong"] += not right
                versions[version] = versions.get(version, 0) + 1

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(WORKERS)]
    start = time.monotonic()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    seconds = round(time.monotonic() - start, 1)
    return {**counts, "versions": versions, "errors": errors[:3], "seconds": seconds}


def malformed(server: dict, arrays, out: str) -> dict:
    """Send by gRPC what the model does not take; count what was refused."""
    grpc, counts = client(server, "grpc"), {"sent": 0, "refused": 0}
    shape = list(arrays["image"].shape[1:])
    for index in range(int(arrays["requests"])):
        name, dtype, batch = [("picture", "FP32", 1), ("image", "FP64", 1), ("image", "FP32", 65)][
            index % 3
        ]
        size = [*shape[:-1], 7] if index % 4 == 3 else shape
        kind = np.float64 if dtype == "FP64" else np.float32
        tensor = tritonclient.grpc.InferInput(name, [batch, *size], dtype)
        tensor.set_data_from_numpy(np.zeros((batch, *size), kind))
        counts["sent"] += 1
        try:
            grpc.infer(server["model"], [tensor])
        except InferenceServerException:
            counts["refused"] += 1
    return counts


def config(path: str) -> dict:
    """Read a config by Triton's own description of the format."""
    message = text_format.Parse(Path(path).read_text("utf-8"), model_config_pb2.ModelConfig())
    return {
        "name": message.name,
        "inputs": [[one.name, one.data_type, list(one.dims)] for one in message.input],
        "again": text_format.MessageToString(message, use_short_repeated_primitives=True),
    }


if __name__ == "__main__":
    command, first, *rest = sys.argv[1:]
    if command == "config":
        found = config(first)
    else:
        known = json.loads(Path(first).read_text("utf-8"))
        arrays, out = np.load(rest[0]), rest[1]
        commands = {"each": each, "classify": classify, "flood": flood, "malformed": malformed}
        found = commands[command](known, arrays, out)
    print(json.dumps(found))
