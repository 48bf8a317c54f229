"""A client to models of a server, held against the network itself; the server is tests/triton/stub.py."""

import socket
import threading

import numpy as np
import pytest

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
