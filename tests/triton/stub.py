"""A server that stands in for Triton: KServe's protocol, version 2, by HTTP and by gRPC, around a network on the CPU.

https://github.com/kserve/open-inference-protocol
"""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc
from tritonclient.utils import np_to_triton_dtype, triton_to_np_dtype

import trtnn


class Model:
    """What both servers serve.

    Attributes:
        config: as Triton's own code reads it.
        busy: how many further requests are turned away.
        hangs: set while no request to infer is answered.
        spoil: what becomes of the outputs before they are sent.
        batches: of the requests that were answered.
    """

    def __init__(self, folder: Path, network: trtnn.Network) -> None:
        self.config = text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
        self.network = network
        self.busy = 0
        self.hangs = threading.Event()
        self.released = threading.Event()
        self.spoil: Any = dict
        self.batches: list[int] = []

    @property
    def metadata(self) -> dict[str, Any]:
        def tensors(those: Any) -> list[dict[str, Any]]:
            names = model_config_pb2.DataType.Name
            return [
                {
                    "name": tensor.name,
                    "datatype": names(tensor.data_type).removeprefix("TYPE_").replace("STRING", "BYTES"),
                    "shape": [-1, *tensor.dims],
                }
                for tensor in those
            ]

        return {
            "name": self.config.name,
            "versions": ["1"],
            "platform": "tensorrt_plan",
            "inputs": tensors(self.config.input),
            "outputs": tensors(self.config.output),
        }

    def infer(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if self.hangs.is_set():
            self.released.wait()
        self.batches.append(len(next(iter(inputs.values()))))
        return self.spoil(self.network.run_flat(**inputs))


def serve_http(model: Model) -> ThreadingHTTPServer:
    """Return a server that runs, at an address of its own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def answer(self, code: int, body: bytes, **headers: Any) -> None:
            self.send_response(code)
            for name, value in {"Content-Length": len(body), **headers}.items():
                self.send_header(name.replace("_", "-"), str(value))
            self.end_headers()
            self.wfile.write(body)

        def turned_away(self) -> bool:
            if not self.path.startswith(f"/v2/models/{model.config.name}"):
                self.answer(404, json.dumps({"error": "Request for unknown model: 'other' is not found"}).encode())
                return True
            if model.busy:
                model.busy -= 1
                self.answer(503, b'{"error": "Server is busy"}')
                return True
            return False

        def do_GET(self) -> None:
            if self.turned_away():
                return
            is_config = self.path.endswith("/config")
            said = json_format.MessageToDict(model.config, preserving_proto_field_name=True)
            self.answer(200, json.dumps(said if is_config else model.metadata).encode())

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            if self.turned_away():
                return
            head = int(self.headers["Inference-Header-Content-Length"])
            inputs = {}
            for tensor in json.loads(data[:head])["inputs"]:
                end = head + tensor["parameters"]["binary_data_size"]
                array = np.frombuffer(data[head:end], triton_to_np_dtype(tensor["datatype"]))
                inputs[tensor["name"]], head = array.reshape(tensor["shape"]), end
            try:
                outputs = model.infer(inputs)
            except Exception as error:
                self.answer(500, json.dumps({"error": str(error)}).encode())
                return
            described = [
                {
                    "name": name,
                    "datatype": np_to_triton_dtype(array.dtype),
                    "shape": list(array.shape),
                    "parameters": {"binary_data_size": array.nbytes},
                }
                for name, array in outputs.items()
            ]
            text = json.dumps({"model_name": model.config.name, "model_version": "1", "outputs": described}).encode()
            body = text + b"".join(array.tobytes() for array in outputs.values())
            self.answer(200, body, Inference_Header_Content_Length=len(text))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def serve_grpc(model: Model) -> tuple[grpc.Server, int]:
    """Return a server that runs, and its port."""

    class Service(service_pb2_grpc.GRPCInferenceServiceServicer):
        def check(self, name: str, context: grpc.ServicerContext) -> None:
            if name != model.config.name:
                context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{name}' is not found")
            if model.busy:
                model.busy -= 1
                context.abort(grpc.StatusCode.UNAVAILABLE, "Server is busy")

        def ModelConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
            self.check(request.name, context)
            return service_pb2.ModelConfigResponse(config=model.config)

        def ModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
            self.check(request.name, context)
            return json_format.ParseDict(model.metadata, service_pb2.ModelMetadataResponse())

        def ModelInfer(self, request: Any, context: grpc.ServicerContext) -> Any:
            self.check(request.model_name, context)
            inputs = {
                tensor.name: np.frombuffer(raw, triton_to_np_dtype(tensor.datatype)).reshape(tuple(tensor.shape))
                for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
            }
            response = service_pb2.ModelInferResponse(model_name=request.model_name, model_version="1")
            for name, array in model.infer(inputs).items():
                kind = np_to_triton_dtype(array.dtype)
                response.outputs.add(name=name, datatype=kind, shape=array.shape)
                response.raw_output_contents.append(array.tobytes())
            return response

    size = 64 << 20
    options = [("grpc.max_receive_message_length", size), ("grpc.max_send_message_length", size)]
    server = grpc.server(ThreadPoolExecutor(4), options=options)
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port
