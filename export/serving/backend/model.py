"""A Triton backend, written in Python, that runs a version's ``model.onnx`` in onnxruntime.

Triton takes it for the backend named ``onnxruntime`` when it lies in a folder of that name, and so
serves a model repository that is written for its own one. It runs in Triton's Python, in a process
for each instance of a model, and imports nothing of this project.

Reference:
    https://github.com/triton-inference-server/backend/blob/main/docs/python_based_backends.md
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton

THREADS = "FOLDZOO_SERVING_THREADS"
MODEL_FILE = "model.onnx"


class TritonPythonModel:
    """One instance of one version of a model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the version's file.

        Args:
            args: What Triton tells: the config, the folder and the version.
        """
        config = json.loads(args["model_config"])
        self._inputs = [one["name"] for one in config["input"]]
        self._outputs = [one["name"] for one in config["output"]]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(_threads(config) or os.environ[THREADS])
        path = Path(args["model_repository"], args["model_version"], MODEL_FILE)
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer the requests that Triton put together; all of them as one batch.

        Triton has compared names, types and shapes with the config, and puts only requests of one
        shape together. What onnxruntime raises it tells the clients, and goes on.

        Args:
            requests: The requests.

        Returns:
            One response for each.
        """
        feeds = {
            name: [triton.get_input_tensor_by_name(one, name).as_numpy() for one in requests]
            for name in self._inputs
        }
        results = self._session.run(
            self._outputs,
            {
                name: arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
                for name, arrays in feeds.items()
            },
        )
        ends = np.cumsum([len(array) for array in feeds[self._inputs[0]]])[:-1]
        parts = zip(*(np.split(result, ends) for result in results), strict=True)
        return [self._response(*pair) for pair in zip(requests, parts, strict=True)]

    def _response(self, request: Any, arrays: Sequence[np.ndarray]) -> Any:
        """Give what was asked for."""
        wanted = request.requested_output_names()
        named = zip(self._outputs, arrays, strict=True)
        return triton.InferenceResponse(
            [triton.Tensor(name, array) for name, array in named if name in wanted]
        )


def _threads(config: dict[str, Any]) -> str:
    """Read how many threads an instance has, as Triton's own backend does; empty for all."""
    return config.get("parameters", {}).get("intra_op_thread_count", {}).get("string_value", "")
