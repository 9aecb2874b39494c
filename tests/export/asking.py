"""Requests to a running server, sent by a program in the server's own environment."""

import json
import subprocess
from pathlib import Path

import numpy as np

from export import onnx_metadata, parity
from export.onnx_runtime import Session

REQUESTS = Path(__file__).parent / "serving_requests.py"


def onnx_answers(bundle: Path, images: np.ndarray) -> list[np.ndarray]:
    """What onnxruntime makes of one batch."""
    return Session(onnx_metadata.load(bundle / "tiny.test" / "1" / "model.onnx")).run([images])


def start(server, command: str, folder: Path, **arrays) -> "subprocess.Popen[str]":
    """Start a program of requests in the server's environment."""
    facts = {"http": server.http, "grpc": server.grpc, "model": server.name}
    (folder / "server.json").write_text(json.dumps(facts))
    np.savez(folder / "in.npz", **arrays)
    words = [command, folder / "server.json", folder / "in.npz", folder / "out.npz"]
    return subprocess.Popen(
        [str(server.python), str(REQUESTS), *map(str, words)], stdout=subprocess.PIPE, text=True
    )


def end(process: "subprocess.Popen[str]") -> dict:
    """Wait for a program, and read what it found."""
    told, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return json.loads(told)


def ask(server, folder: Path, image: np.ndarray) -> dict[str, np.ndarray]:
    """Send one batch in every way: the arrays by way and output."""
    end(start(server, "each", folder, image=image))
    with np.load(folder / "out.npz") as arrays:
        return dict(arrays)


def tolerance(wanted: np.ndarray) -> float:
    """Batches of another size are summed in another order: a few units in the last place."""
    return float(np.abs(wanted).max() * parity.FLOOR)
