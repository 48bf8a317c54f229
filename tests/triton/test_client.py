"""A client to models of a server, held against the network itself; the server is tests/triton/stub.py."""

import contextlib
import json
import socket
import threading

import numpy as np
import pytest
from tritonclient.grpc import model_config_pb2

import trtnn.triton.client
from tests.helpers import message_of
from tests.triton.stub import Model, serve_grpc, serve_http
from trtnn import Detector
from trtnn.errors import ArgumentError, EngineError
from trtnn.examples.digits import PICTURE
from trtnn.triton import TritonModel
from trtnn.triton.client import read_address
from trtnn.vision import read_image


@pytest.fixture
def served(repository, network):
    model = Model(repository / "digits", network)
    yield model
    model.released.set()


@pytest.fixture(params=["http", "grpc"])
def url(request, served, monkeypatch):
    monkeypatch.setattr(trtnn.triton.client, "WAITS_S", (0.0, 0.0))
    if request.param == "http":
        server = serve_http(served)
        yield f"http://127.0.0.1:{server.server_address[1]}/digits"
        server.shutdown()
        server.server_close()
    else:
        server, port = serve_grpc(served)
        yield f"grpc://127.0.0.1:{port}/digits"
        served.released.set()
        server.stop(None).wait()


def test_a_detector_finds_what_the_network_here_finds(url, served, network):
    image = read_image(PICTURE)
    images = [image, image[:, ::-1], image[::2, ::2], image[:200], image]
    expected = Detector(network, confidence=0.3)(images)
    remote = TritonModel(url)
    detector = Detector(remote, confidence=0.3)
    assert (detector.batch, detector.size, detector.labels) == (4, [160, 160], [*"0123456789"])
    for found in (detector(images), list(detector.stream(images))):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one.boxes, other.boxes)
            np.testing.assert_array_equal(one.scores, other.scores)
            np.testing.assert_array_equal(one.classes, other.classes)
    assert sum(len(found) for found in expected) > 5
    assert served.batches == [4, 1, 4, 1]


def test_what_the_server_says_of_a_model(url, network):
    remote = TritonModel(url)
    assert str(remote.inputs["images"]) == "float32[batch, 3, 160, 160]"
    assert remote.outputs.keys() == network.outputs.keys()
    assert [(dims["batch"].min, dims["batch"].max) for dims in remote.profiles] == [(1, 4)]
    assert remote.metadata["pipeline"] == "yolov5"
    assert repr(remote) == f"TritonModel({url!r})"


def test_a_busy_server_is_asked_again(url, served):
    served.busy = 2
    assert TritonModel(url).metadata["task"] == "detect"


def test_a_server_that_stays_busy(url, served):
    served.busy = 100
    message = message_of(EngineError, TritonModel, url)
    assert "is busy, or digits is not ready: tried 3 times" in message
    assert "Server is busy" in message


def test_a_server_that_does_not_answer_in_time(url, served):
    remote = TritonModel(url)
    remote._timeout_s, remote._clients = 0.5, threading.local()  # another client, for this limit
    served.hangs.set()
    message = message_of(EngineError, remote.run_flat, np.zeros((1, 3, 160, 160), np.float32))
    assert f"no answer from the server at {remote.address.host} within 0.5 s" in message
    assert "tritonserver --model-repository" in message


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda outputs: {k: v[:, :7] for k, v in outputs.items()}, "received float32[1, 7, 15]"),
        (lambda outputs: {k: v.astype(np.float16) for k, v in outputs.items()}, "received float16[1, 1575, 15]"),
        (lambda outputs: {k: np.concatenate([v, v]) for k, v in outputs.items()}, "received float32[2, 1575, 15]"),
        (lambda outputs: {"other": outputs["output"]}, "did not send 'output'"),
    ],
)
def test_an_answer_of_another_shape(url, served, spoil, words):
    remote = TritonModel(url)
    served.spoil = spoil
    message = message_of(EngineError, remote.run_flat, np.zeros((1, 3, 160, 160), np.float32))
    assert words in message


def test_a_server_that_fails(url, served):
    remote = TritonModel(url)

    def fail(outputs):
        raise RuntimeError("CUDA is out of memory")

    served.spoil = fail
    message = message_of(EngineError, remote.run_flat, np.zeros((1, 3, 160, 160), np.float32))
    assert "could not run digits" in message
    assert "CUDA is out of memory" in message


def test_a_model_that_is_not_there(url):
    message = message_of(EngineError, TritonModel, url.replace("digits", "other"))
    assert "has no model 'other'" in message


def test_inputs_that_are_missing(url):
    remote = TritonModel(url)
    image = np.zeros((1, 3, 160, 160), np.float32)
    for given in ({}, {"pixels": image}, {"images": image, "more": image}):
        assert "digits takes images" in message_of(ArgumentError, remote.run_flat, **given)
    assert "digits takes images" in message_of(ArgumentError, remote.run_flat, image, image)


def test_names_of_many_classes(url, served):
    """ImageNet-21k's are a megabyte."""
    names = {index: f"class of number {index}, ä" for index in range(21841)}
    served.config.parameters["metadata"].string_value = repr({"task": "classify", "names": names})
    assert TritonModel(url).metadata == {"task": "classify", "names": names}


def test_a_type_that_numpy_lacks(url, served):
    served.config.output[0].data_type = model_config_pb2.TYPE_BF16
    assert "is no network of numbers that NumPy has: 'output' is of BF16" in message_of(EngineError, TritonModel, url)


class Raw:
    """A server that sends what it is told to, a piece at a time, and then closes the connection.

    Args:
        answers: to the requests, one each.
        pause_s: before each byte behind the header.
    """

    def __init__(self, answers: list[bytes], pause_s: float = 0.0) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.answers, self.pause_s, self.ended = answers, pause_s, threading.Event()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        for answer in self.answers:
            connection, _ = self.listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(1 << 16)
                head, separator, body = answer.partition(b"\r\n\r\n")
                connection.sendall(head + separator)
                for byte in body:
                    if self.pause_s and self.ended.wait(self.pause_s):
                        break
                    connection.sendall(bytes([byte]))

    def close(self) -> None:
        self.ended.set()
        self.thread.join()
        self.listener.close()


def as_http(body: bytes, length: int | None = None) -> bytes:
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (length or len(body)) + body


TENSOR = {"name": "x", "datatype": "FP32", "shape": [-1, 3, 8, 8]}
DESCRIBED = [
    as_http(json.dumps(d).encode()) for d in ({"max_batch_size": 4}, {"inputs": [TENSOR], "outputs": [TENSOR]})
]
BROKEN = [
    (as_http(b"<html>"), "Parse error"),
    (as_http(b'{"max_batch', 200), "Incomplete response"),
    (as_http(b"[]"), "it does not describe a model: AttributeError"),
    (as_http(b'{"max_batch_size": "x"}'), "it does not describe a model: ValueError"),
]


@pytest.mark.parametrize(("answer", "words"), BROKEN)
def test_what_answers_and_is_no_triton(answer, words):
    server = Raw([answer, DESCRIBED[1]] if answer.endswith((b"[]", b"}")) else [answer])
    try:
        message = message_of(EngineError, TritonModel, f"http://{server.host}/m")
    finally:
        server.close()
    assert f"what answers at {server.host} is no server of KServe's protocol, or broke off" in message
    assert words in message


def test_an_answer_that_comes_in_small_pieces_is_late_as_a_whole():
    tensor = {**TENSOR, "shape": [1, 3, 8, 8], "data": [0.5] * 192}
    answer = as_http(json.dumps({"outputs": [tensor]}).encode())
    server = Raw([*DESCRIBED, answer])
    remote = TritonModel(f"http://{server.host}/m")
    image = np.zeros((1, 3, 8, 8), np.float32)
    np.testing.assert_array_equal(remote.run_flat(image)["x"], np.full_like(image, 0.5))
    server.close()
    server = Raw([*DESCRIBED, answer, answer])
    try:
        remote = TritonModel(f"http://{server.host}/m", timeout_s=0.6)
        server.pause_s = 0.2
        message = message_of(EngineError, remote.run_flat, image)
        server.pause_s = 0.0  # the next answer is another connection's
        np.testing.assert_array_equal(remote.run_flat(image)["x"], np.full_like(image, 0.5))
    finally:
        server.close()
    assert f"no answer from the server at {server.host} within 0.6 s" in message


@pytest.mark.parametrize("shape", [[1, 3], [3, 3]])
def test_an_answer_of_fewer_numbers_than_its_shape_has(shape):
    """In JSON, as servers of the protocol may send it."""
    tensor = {"name": "x", "datatype": "FP32", "shape": shape, "data": [0.5] * 6}
    server = Raw([*DESCRIBED, as_http(json.dumps({"outputs": [tensor]}).encode())])
    try:
        remote = TritonModel(f"http://{server.host}/m")
        message = message_of(EngineError, remote.run_flat, np.zeros((2, 3, 8, 8), np.float32))
    finally:
        server.close()
    assert "the server sent 'x' of m with another shape than it has numbers" in message


def test_an_answer_by_grpc_of_fewer_bytes_than_its_shape_has(served, network):
    server, port = serve_grpc(served)
    try:
        remote = TritonModel(f"grpc://127.0.0.1:{port}/digits")
        served.spoil = lambda outputs: {name: Short(array) for name, array in outputs.items()}
        message = message_of(EngineError, remote.run_flat, np.zeros((1, 3, 160, 160), np.float32))
    finally:
        server.stop(None).wait()
    assert "the server sent 'output' of digits with another shape than it has numbers" in message


class Short:
    """An array that loses a number on its way."""

    def __init__(self, array):
        self.array, self.dtype, self.shape = array, array.dtype, array.shape

    def tobytes(self):
        return self.array.tobytes()[: -self.dtype.itemsize]


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_host_that_is_none(scheme, monkeypatch):
    monkeypatch.setattr(trtnn.triton.client, "WAITS_S", ())
    message = message_of(EngineError, TritonModel, f"{scheme}://no.such.host.invalid:8000/m")
    assert "nobody answers at no.such.host.invalid:8000" in message


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_an_address_where_nobody_answers(scheme, monkeypatch):
    monkeypatch.setattr(trtnn.triton.client, "WAITS_S", ())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        message = message_of(EngineError, TritonModel, f"{scheme}://{host}/digits")
    assert f"nobody answers at {host}" in message
    assert "start it: tritonserver --model-repository=REPOSITORY, with digits in it" in message


def test_a_detector_s_own_model_is_not_taken_for_a_network(repository, network):
    server = serve_http(Model(repository / "digits-detector", network))
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/digits-detector"
        assert "'image' is of BYTES" in message_of(EngineError, TritonModel, url)
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://localhost/yolo", ("http", "localhost:8000", "yolo", "")),
        ("grpc://a.org:9/yolo/3", ("grpc", "a.org:9", "yolo", "3")),
        ("https://[::1]/yolo/", ("https", "[::1]:443", "yolo", "")),
        ("grpcs://h/yolo", ("grpcs", "h:443", "yolo", "")),
    ],
)
def test_addresses(url, parts):
    assert tuple(read_address(url)) == parts


@pytest.mark.parametrize(
    "url", ["yolo", "http://host", "http://host/", "ftp://host/yolo", "http://host:x/yolo", "http://h/a/b", "http:///a"]
)
def test_what_is_no_address(url):
    message = message_of(ArgumentError, read_address, url)
    assert f"{url!r} is no address of a Triton model" in message
    assert "http://localhost:8000/yolov5s" in message
