"""KServe's own server around an ONNX file; run by a Python that has it, and not by pytest.

python kserve_server.py MODEL.onnx NAME: prints its two addresses in JSON, and serves until its end.
It listens on 127.0.0.1, where KServe's own starter would listen on every address; the protocol, by
HTTP and by gRPC, is KServe's.
"""

import asyncio
import json
import os
import socket
import sys

import grpc
import kserve
import onnxruntime
import uvicorn
from kserve.errors import InvalidInput
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc
from kserve.protocol.grpc.interceptors import ExceptionToStatusInterceptor
from kserve.protocol.grpc.servicer import InferenceServicer
from kserve.protocol.rest.server import RESTServer
from kserve.utils.utils import generate_uuid

HOST = "127.0.0.1"
MOST = 64  # images in a request, as Triton's config says
TYPES = {"tensor(float)": "FP32", "tensor(uint8)": "UINT8"}


class OnnxModel(kserve.Model):
    """An ONNX file with one input."""

    def __init__(self, name, path):
        super().__init__(name)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        self.session = onnxruntime.InferenceSession(path, options)
        self.ready = True

    def _described(self, values):
        return [
            {
                "name": one.name,
                "datatype": TYPES[one.type],
                "shape": [side if isinstance(side, int) else -1 for side in one.shape],
            }
            for one in values
        ]

    def get_input_types(self):
        return self._described(self.session.get_inputs())

    def get_output_types(self):
        return self._described(self.session.get_outputs())

    def predict(self, payload, headers=None, response_headers=None):
        (wanted,) = self.get_input_types()
        if [one.name for one in payload.inputs] != [wanted["name"]]:
            raise InvalidInput(f"accepted is the input {wanted['name']}")
        (fed,) = payload.inputs
        sides = zip(wanted["shape"], fed.shape, strict=False)
        fits = len(fed.shape) == len(wanted["shape"]) and all(a in (-1, b) for a, b in sides)
        if fed.datatype != wanted["datatype"] or not fits or not 1 <= fed.shape[0] <= MOST:
            raise InvalidInput(f"accepted is {wanted}; received {fed.datatype} {fed.shape}")
        arrays = self.session.run(None, {fed.name: fed.as_numpy()})
        outputs = []
        for one, array in zip(self.get_output_types(), arrays, strict=True):
            output = kserve.InferOutput(one["name"], [*array.shape], one["datatype"])
            output.set_data_from_numpy(array, binary_data=payload.use_binary_outputs)
            outputs.append(output)
        return kserve.InferResponse(
            response_id=payload.id or generate_uuid(),
            model_name=self.name,
            model_version="1",
            infer_outputs=outputs,
            requested_outputs=payload.request_outputs,
            use_binary_outputs=payload.use_binary_outputs,
        )


async def main(path, name):
    server = kserve.ModelServer(enable_latency_logging=False)
    server.register_model(OnnxModel(name, path))
    extension = server.model_repository_extension
    by_grpc = grpc.aio.server(interceptors=(ExceptionToStatusInterceptor(),))
    servicer = InferenceServicer(server.dataplane, extension)
    grpc_predict_v2_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, by_grpc)
    grpc_port = by_grpc.add_insecure_port(f"{HOST}:0")
    await by_grpc.start()
    rest = RESTServer("kserve.model_server:app", server.dataplane, extension, 0)
    rest.create_application()
    listener = socket.create_server((HOST, 0))
    http_port = listener.getsockname()[1]
    told = {"http": f"{HOST}:{http_port}", "grpc": f"{HOST}:{grpc_port}"}
    print(json.dumps(told), flush=True)  # what is sent from now on waits until it is taken
    # KServe tells each request's times on stdout, which nobody reads any more.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    await uvicorn.Server(rest.config).serve(sockets=[listener])


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
