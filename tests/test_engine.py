"""Engine: its description, its file, and what it says where it cannot run."""

import json
import os
import struct

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import trtnn.engine
from tests.helpers import ONE_TARGET, load_random, message_of, strongly_typed
from trtnn import Engine, Input, get_backend
from trtnn.errors import ArgumentError, BackendError, DTypeError, EngineError, ShapeError
from trtnn.modules import Conv2d


class Net(Conv2d):
    def __init__(self):
        super().__init__(3, 4, 3)
        self.inputs = {"images": (1, 3, 8, 8)}
        self.metadata = {"model": "tiny", "names": ["cat", "dog"], "task": "detect"}

    def forward(self, images):
        y = super().forward(images)
        return {"a": y, "b": [y.relu(), y.sigmoid()]}


@pytest.fixture(scope="module")
def engine():
    net = Net()
    net.load_state_dict(load_random(torch.nn.Conv2d(3, 4, 3)).state_dict())
    return net.compile(**ONE_TARGET)


@pytest.fixture
def saved(engine, tmp_path):
    return engine.save(tmp_path / "net.engine")


def test_it_describes_itself(engine):
    backend = get_backend()
    expected = {
        "model": "tiny",
        "names": ["cat", "dog"],
        "task": "detect",
        "backend": backend.name,
        "tensorrt": backend.version,
        "precision": "float32",
        "fp32_modules": [],
        "inputs": {"images": {"shape": [1, 3, 8, 8], "dtype": "float32"}},
        "structure": {"dict": {"a": "a", "b": {"list": ["b_0", "b_1"]}}},
        "plan_bytes": engine.plan.nbytes,
    }
    assert {key: engine.description[key] for key in expected} == expected
    assert engine.inputs == {"images": Input((1, 3, 8, 8))}
    assert engine.outputs == dict.fromkeys(["a", "b_0", "b_1"], Input((1, 4, 6, 6)))
    assert engine.targets == tuple(engine.description["targets"])
    text = repr(engine)
    assert text.startswith(f"Engine(tiny, float32, {backend}")
    assert "images float32[1, 3, 8, 8] -> a float32[1, 4, 6, 6]" in text


@strongly_typed
def test_it_describes_its_precision(engine):
    net = Net()
    net.load_state_dict(load_random(torch.nn.Conv2d(3, 4, 3)).state_dict())
    half = net.compile(fp16=True, **ONE_TARGET)
    assert half.description["precision"] == "float16"
    assert half.inputs == engine.inputs
    assert half.outputs == engine.outputs


# -- files ------------------------------------------------------------------------------------------------------------


def test_the_file_is_a_length_the_description_and_the_plan(engine, saved):
    data = saved.read_bytes()
    length = int.from_bytes(data[:4], "little")
    assert json.loads(data[4 : 4 + length]) == engine.description
    assert data[4 + length :] == bytes(engine.plan)


def test_saving_and_loading_changes_nothing(engine, saved, tmp_path):
    loaded = Engine.load(str(saved))
    assert loaded.description == engine.description
    assert loaded.inputs == engine.inputs
    assert loaded.outputs == engine.outputs
    assert bytes(loaded.plan) == bytes(engine.plan)
    assert repr(loaded) == repr(engine)
    again = loaded.save(str(tmp_path / "again.engine"))
    assert again.read_bytes() == saved.read_bytes()


def test_an_engine_may_be_saved_over_itself(saved):
    before = saved.read_bytes()
    loaded = Engine.load(saved)
    loaded.save(saved)
    assert saved.read_bytes() == before
    assert bytes(loaded.plan) == before[-loaded.plan.nbytes :]
    assert os.listdir(saved.parent) == [saved.name]  # nothing half-written stays behind


@pytest.mark.parametrize(
    ("path", "words"),
    [("missing/net.engine", "the folder"), (".", "it is a folder")],
)
def test_a_path_that_cannot_be_written(engine, tmp_path, path, words):
    message = message_of(ArgumentError, engine.save, tmp_path / path)
    assert f"cannot write {tmp_path / path}: {words}" in message
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_closed_to_us(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    message = message_of(ArgumentError, engine.save, tmp_path / "net.engine")
    assert f"no permission to write in {tmp_path}" in message


def test_a_file_that_is_not_there(tmp_path):
    message = message_of(EngineError, Engine.load, tmp_path / "net.engine")
    assert f"cannot read the engine file {tmp_path / 'net.engine'}" in message
    assert "No such file" in message
    assert "cannot read the engine file" in message_of(EngineError, Engine.load, tmp_path)


def with_length(data):
    return struct.pack("<i", len(data)) + data


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x01\x00", "a description of -1 bytes in a file of 2"),
        (struct.pack("<i", -5) + b"{}plan", "a description of -5 bytes"),
        (struct.pack("<i", 0) + b"plan", "a description of 0 bytes"),
        (struct.pack("<i", 10**9) + b"{}plan", "a description of 1000000000 bytes in a file of 10"),
        (with_length(b"no json") + b"plan", "JSONDecodeError"),
        (with_length(b"\xff\xfe\xfd") + b"plan", "is damaged"),
        (with_length(b"[]") + b"plan", "its description lacks backend, tensorrt, targets"),
        (with_length(b"{}") + b"plan", "lacks backend"),
        (with_length(b"3") + b"plan", "TypeError"),
        (with_length(b"[" * 100_000) + b"plan", "is damaged"),
        (with_length(b'{"description": "of another tool", "stride": 32}') + b"plan", "lacks backend"),
        (b"ftrt" + bytes(100), "is not an engine file of trtnn"),  # a bare plan of TensorRT
    ],
)
def test_files_of_another_kind(tmp_path, data, words):
    path = tmp_path / "net.engine"
    path.write_bytes(data)
    message = message_of(EngineError, Engine.load, path)
    assert f"{path} is not an engine file of trtnn, or is damaged" in message
    assert words in message


def test_an_empty_file(tmp_path):
    path = tmp_path / "net.engine"
    path.write_bytes(b"")
    assert "cannot read the engine file" in message_of(EngineError, Engine.load, path)


def test_truncated_files(engine, saved, tmp_path):
    data = saved.read_bytes()
    path = tmp_path / "short.engine"
    for length in (1, 3, 4, 50, len(data) - engine.plan.nbytes - 1, len(data) - engine.plan.nbytes, len(data) - 1):
        path.write_bytes(data[:length])
        assert "is not an engine file of trtnn, or is damaged" in message_of(EngineError, Engine.load, path)
    assert f"where {engine.plan.nbytes} were written" in message_of(EngineError, Engine.load, path)
    path.write_bytes(data + b"x")
    assert f"a plan of {engine.plan.nbytes + 1} bytes" in message_of(EngineError, Engine.load, path)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_descriptions_are_refused_or_harmless(saved, data):
    content = bytearray(saved.read_bytes())
    end = 4 + int.from_bytes(content[:4], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, end - 1))] = data.draw(st.integers(0, 255))
    path = saved.with_name("damaged.engine")
    path.write_bytes(content)
    try:
        loaded = Engine.load(path)
    except EngineError as error:
        refusal = str(error)
    else:
        refusal = None
        assert loaded.plan.nbytes == loaded.description["plan_bytes"]
        assert repr(loaded).startswith("Engine(")
    path.unlink()
    assert refusal is None or "damaged.engine is not an engine file of trtnn, or is damaged" in refusal


# -- running ----------------------------------------------------------------------------------------------------------

IMAGES = np.zeros((1, 3, 8, 8), np.float32)


@pytest.fixture
def gpus_are(monkeypatch):
    return lambda *names: monkeypatch.setattr(trtnn.engine, "gpus", lambda: names)


def test_without_a_gpu(engine, gpus_are):
    gpus_are()
    message = message_of(EngineError, engine, IMAGES)
    assert "this engine, of tiny, cannot run here" in message
    assert f"it needs {get_backend()} and a GPU of {', '.join(engine.targets)}" in message
    assert "no GPU was found here" in message
    assert "model.trace().run(...) computes on the CPU" in message


def test_on_another_gpu(engine, gpus_are):
    gpus_are("sm90")
    message = message_of(EngineError, engine, IMAGES)
    assert "and a GPU of sm86" in message
    assert "the GPU here is sm90: build it again for this one" in message


def test_of_another_version(engine, gpus_are):
    gpus_are("sm86")
    other = Engine(engine.plan, {**engine.description, "tensorrt": "1.0.0.1"})
    message = message_of(EngineError, other, IMAGES)
    assert f"it needs {get_backend().name} 1.0.0.1 and a GPU of" in message
    assert f"the version here is {get_backend().version}: build it again, or install the engine's version" in message
    assert "GPU here" not in message


def test_of_another_backend(engine, gpus_are):
    gpus_are()
    other = Engine(engine.plan, {**engine.description, "backend": "tensorrt", "tensorrt": "10.13.0"})
    if get_backend().name == "tensorrt":
        other.description["backend"] = "tensorrt_rtx"
    message = message_of(EngineError, other, IMAGES)
    assert f"it needs {other.description['backend']} 10.13.0" in message
    assert f"the TensorRT here is {get_backend()}; TRTNN_BACKEND chooses" in message
    assert "no GPU was found here" in message


def test_without_tensorrt(engine, monkeypatch):
    def fail():
        raise BackendError("no TensorRT is installed")

    monkeypatch.setattr(trtnn.engine, "get_backend", fail)
    message = message_of(EngineError, engine, IMAGES)
    assert "this engine cannot run here: no TensorRT" in message
    assert f"it needs {engine.description['backend']}" in message
    assert "pip install tensorrt" in message


def test_where_it_can_run(engine, gpus_are):
    gpus_are(engine.targets[0])
    assert engine.check_runnable() is get_backend()


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "words"),
    [
        ((), {}, ArgumentError, "missing input: images"),
        ((IMAGES, IMAGES), {}, ArgumentError, "2 inputs given, 1 expected"),
        ((), {"image": IMAGES}, ArgumentError, "no input is called 'image'"),
        ((IMAGES[0],), {}, ShapeError, "received (3, 8, 8)"),
        ((IMAGES.astype(np.uint8),), {}, DTypeError, "received uint8"),
        ((torch.zeros(1, 3, 8, 8, dtype=torch.float64),), {}, DTypeError, "images.to(torch.float32)"),
        (([[1.0]],), {}, DTypeError, "not list"),
    ],
)
def test_wrong_inputs(engine, gpus_are, monkeypatch, args, kwargs, error, words):
    gpus_are(engine.targets[0])
    monkeypatch.setattr(trtnn.engine, "Session", lambda *_: None)  # inputs are looked at before the GPU is
    assert words in message_of(error, engine, *args, **kwargs)
