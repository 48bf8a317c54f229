"""Engine: its description, and what it says where it cannot run."""

import copy
import hashlib
import pickle
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import trtnn.engine.engine
from tests.engine.tiny import TinyNet, loaded_net
from tests.helpers import ONE_TARGET, message_of, strongly_typed
from tests.standin import CudaEngine
from trtnn import Dim, Engine, Input, get_backend
from trtnn.errors import ArgumentError, BackendError, DTypeError, EngineError, ShapeError, UnsupportedError
from trtnn.shapes.call import Shapes


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
        "plan_digest": hashlib.blake2b(engine.plan, digest_size=20).hexdigest(),
        "batch": 1,
        "channels": 3,
        "imgsz": [8, 8],
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
    half = loaded_net().compile(fp16=True, **ONE_TARGET)
    assert half.description["precision"] == "float16"
    assert half.inputs == engine.inputs
    assert half.outputs == engine.outputs


# -- running ----------------------------------------------------------------------------------------------------------

IMAGES = np.zeros((1, 3, 8, 8), np.float32)


@pytest.fixture
def gpus_are(monkeypatch):
    return lambda *names: monkeypatch.setattr(trtnn.engine.engine, "gpus", lambda: names)


def test_without_a_gpu(engine, gpus_are):
    gpus_are()
    message = message_of(EngineError, engine, IMAGES)
    assert "this engine, of tiny, cannot run here" in message
    assert f"it needs {get_backend()} and a GPU of {', '.join(engine.targets)}" in message
    assert "no GPU was found here" in message
    assert "without one, model.trace().run(...) and --reference compute on the CPU" in message


def test_on_another_gpu(engine, gpus_are):
    gpus_are("sm90")
    message = message_of(EngineError, engine, IMAGES)
    assert "and a GPU of sm86" in message
    assert "the GPU here is sm90: build it again for this one" in message


@pytest.mark.parametrize(
    ("built", "here", "warns"),
    [
        ("NVIDIA H100", "NVIDIA H200", ["this engine was built on NVIDIA H100, and this is NVIDIA H200"]),
        ("NVIDIA H100", "NVIDIA H100", []),
        (None, "NVIDIA H100", []),
    ],
)
def test_on_another_model_of_gpu(engine, gpus_are, monkeypatch, built, here, warns):
    """TensorRT runs it, and says itself that it may be slow or fail."""
    gpus_are(engine.targets[0])
    monkeypatch.setattr(trtnn.engine.engine, "gpu_name", lambda: here)
    monkeypatch.setattr(trtnn.engine.engine, "Session", lambda *_: "session")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert Engine(engine.plan, {**engine.description, "gpu": built})._open() == "session"
    assert [str(warning.message).partition(":")[0] for warning in caught] == warns


def test_of_another_version(engine, gpus_are):
    gpus_are("sm86")
    other = Engine(engine.plan, {**engine.description, "tensorrt": "1.0.0.1"})
    message = message_of(EngineError, other, IMAGES)
    assert f"it needs {get_backend().name} 1.0.0.1 and a GPU of" in message
    assert f"the version here is {get_backend().version}: build it again, or install the engine's version" in message
    assert "GPU here" not in message
    assert message.splitlines()[-1].endswith("==1.0.0.1")  # the command that installs it


@pytest.mark.parametrize("targets", [False, True])
def test_the_gpu_is_described_where_an_engine_is_tied_to_it(monkeypatch, targets):
    monkeypatch.setattr(trtnn.engine.file, "gpu_name", lambda: "NVIDIA H100")
    backend = SimpleNamespace(name="tensorrt", version="8.6.0", capabilities=SimpleNamespace(targets=targets))
    described = trtnn.engine.file.describe_plan(backend, ("sm90",), {}, {}, "output", b"plan")
    assert described.get("gpu") == (None if targets else "NVIDIA H100")


def test_a_damaged_plan_is_told_before_tensorrt_is_asked(engine, gpus_are, monkeypatch):
    gpus_are(engine.targets[0])
    asked = []
    monkeypatch.setattr(trtnn.engine.engine, "Session", lambda *_: asked.append("TensorRT"))
    broken = bytearray(engine.plan)
    broken[-1] ^= 1
    message = message_of(EngineError, Engine(broken, engine.description), IMAGES)
    assert "the plan of this engine is damaged" in message
    assert f"expected the digest {engine.description['plan_digest']}" in message
    assert asked == []
    Engine(bytes(engine.plan), engine.description)._open()
    assert asked == ["TensorRT"]


def test_a_closed_engine_and_its_graph_say_so(engine, gpus_are, monkeypatch):
    gpus_are(engine.targets[0])
    worker = SimpleNamespace(run_arrays=lambda shapes, given, out: dict.fromkeys(engine.outputs, IMAGES))
    closed = []
    session = SimpleNamespace(
        worker=lambda profile: worker, capture=lambda shapes: worker, close=lambda: closed.append(True)
    )
    monkeypatch.setattr(trtnn.engine.engine, "Session", lambda *_: session)
    own = Engine(engine.plan, engine.description)
    graphed = own.cuda_graph()
    assert graphed(IMAGES).keys() == own(IMAGES).keys() == {"a", "b"}
    own.close()
    own.close()
    assert closed == [True]
    for call in (own, graphed):
        assert message_of(EngineError, call, IMAGES) == "this engine was closed\n  load it again"


# -- plans without a description of ours ------------------------------------------------------------------------------


@pytest.fixture
def on_a_gpu(gpus_are, monkeypatch):
    """Let TensorRT find these inputs and outputs in any plan, on a GPU."""

    def prepare(inputs, outputs):
        gpus_are("sm86")
        loaded, plan = [], CudaEngine(Shapes(inputs, outputs, ()))
        first, *others = inputs
        plan.names = [first, *outputs, *others]  # TensorRT may mix them
        monkeypatch.setattr(trtnn.engine.engine, "device_memory", lambda: None)
        monkeypatch.setattr(trtnn.engine.engine, "deserialize", lambda _, data: loaded.append(data) or (None, plan))
        return loaded

    return prepare


def test_a_bare_plan_tells_nothing_without_a_gpu(gpus_are):
    gpus_are()
    bare = Engine(b"ftrt....", {})
    assert repr(bare) == "Engine(a bare plan, 0.0 MB: not loaded yet)"
    assert bare.targets == ()
    for ask in (lambda: bare.inputs, lambda: bare.outputs, lambda: bare(IMAGES), lambda: bare.save("x.engine")):
        message = message_of(EngineError, ask)
        assert "this engine, of a network, cannot run here" in message
        assert "a plan without trtnn's description tells nothing until the TensorRT and the GPU" in message
        assert "no GPU was found here" in message


def test_a_bare_plan_without_tensorrt(monkeypatch):
    def fail():
        raise BackendError("no TensorRT is installed")

    monkeypatch.setattr(trtnn.engine.engine, "get_backend", fail)
    assert "no TensorRT is installed" in message_of(EngineError, lambda: Engine(b"ftrt", {}).inputs)


def test_a_bare_plan_is_described_by_tensorrt(on_a_gpu, tmp_path):
    loaded = on_a_gpu({"x": Input((2, 3)), "n": Input((1,), "int32")}, {"y": Input((2,), "float16")})
    bare = Engine(b"ftrt plan", {})
    assert loaded == []
    assert list(bare.inputs.items()) == [("x", Input((2, 3))), ("n", Input((1,), "int32"))]
    assert bare.outputs == {"y": Input((2,), "float16")}
    assert bytes(loaded[0]) == b"ftrt plan"
    assert len(loaded) == 1  # once for all
    assert bare.description["structure"] == "y"
    assert bare.targets == ("sm86",)
    assert f"Engine(network, {get_backend()} for sm86, 0.0 MB: x float32[2, 3], n int32[1] -> y float16[2])" == repr(
        bare
    )
    again = Engine.load(bare.save(tmp_path / "own.engine"))
    assert again.description == bare.description
    assert (again.inputs, again.outputs) == (bare.inputs, bare.outputs)


def test_another_tools_plan_keeps_its_description(on_a_gpu):
    on_a_gpu({"images": Input((1, 3, 64, 64))}, {"b": Input((4,)), "a": Input((5,))})
    engine = Engine(b"ftrt", {"description": "Ultralytics best model", "stride": 32, "names": {"0": "cat"}})
    assert repr(engine) == "Engine(Ultralytics best model, 0.0 MB: not loaded yet)"
    assert engine.outputs == {"b": Input((4,)), "a": Input((5,))}
    assert engine.description["structure"] == {"tuple": ["a", "b"]}
    assert engine.description["names"] == {"0": "cat"}
    assert engine.description["tensorrt"] == get_backend().version


def test_a_bare_plan_of_dynamic_shapes(on_a_gpu):
    on_a_gpu({"x": Input((Dim("batch", 1, 2, 4), 3))}, {"y": Input((2,), "float16")})
    message = message_of(EngineError, lambda: Engine(b"ftrt", {}).inputs)
    assert "'x' of this plan has the shape (-1, 3), which is known only when it runs" in message


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

    monkeypatch.setattr(trtnn.engine.engine, "get_backend", fail)
    message = message_of(EngineError, engine, IMAGES)
    assert "this engine cannot run here: no TensorRT" in message
    assert f"it needs {engine.description['backend']}" in message
    assert "pip install tensorrt" in message
    assert message.endswith(f"=={get_backend().version}")


def test_words_of_a_file_do_nothing_to_a_terminal(engine, gpus_are):
    gpus_are()
    odd = {"model": "\x1b[2Jmodel\x07", "precision": "\x9b0m"}
    message = message_of(EngineError, Engine(engine.plan, engine.description | odd).check_runnable)
    shown = repr(Engine(engine.plan, engine.description | odd)) + repr(Engine(b"ftrt", {"description": "\x1b[2J"}))
    for text in (message.replace("\n", ""), shown):
        assert text.isprintable()
        assert "\\x1b[2J" in text


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
    monkeypatch.setattr(trtnn.engine.engine, "Session", lambda *_: None)  # inputs are looked at before the GPU is
    assert words in message_of(error, engine, *args, **kwargs)


class OnGpu:
    """A torch tensor on a GPU, as far as it is looked at before TensorRT is."""

    is_cuda = True

    def __init__(self, shape=IMAGES.shape, dtype=torch.float32, index=0, contiguous=True):
        self.shape, self.dtype, self.contiguous = torch.Size(shape), dtype, contiguous
        self.device = torch.device("cuda", index)

    def is_contiguous(self):
        return self.contiguous

    def stride(self):
        return (192, 1, 24, 3)


OnGpu.__module__ = "torch"
READ_ONLY = np.zeros((1, 4, 6, 6), np.float32)
READ_ONLY.flags.writeable = False


def three(**changes):
    """What is to be written into, by the names of the outputs."""
    return {name: np.zeros((1, 4, 6, 6), np.float32) for name in ("a", "b_0", "b_1")} | changes


def on_gpu(**changes):
    return {name: OnGpu((1, 4, 6, 6)) for name in ("a", "b_0", "b_1")} | changes


ELSEWHERE = torch.zeros(1, 3, 8, 8, device="meta")
SPARSE = torch.zeros(1, 3, 8, 8).to_sparse()
ARRAY_LIKE = SimpleNamespace(shape=IMAGES.shape, dtype=IMAGES.dtype)


@pytest.mark.parametrize(
    ("given", "out", "error", "lines"),
    [
        (
            ELSEWHERE,
            None,
            ArgumentError,
            ["input 'images' is no NumPy array, and no", "a Tensor on meta", "Tensor.cpu()"],
        ),
        (SPARSE, None, ArgumentError, ["input 'images' is no NumPy array, and no", "Tensor.to_dense()"]),
        (ARRAY_LIKE, None, ArgumentError, ["no torch tensor that can be read as one", "received a SimpleNamespace on"]),
        (OnGpu(index=1), None, ArgumentError, ["on another GPU than the engine", "on cuda:1", '.to("cuda:0")']),
        (OnGpu(contiguous=False), None, ArgumentError, ["not contiguous", "strides (192, 1, 24, 3)", ".contiguous()"]),
        (OnGpu(dtype=torch.half), None, DTypeError, ["expected float32", "float16", "images.to(torch.float32)"]),
        (
            IMAGES,
            IMAGES,
            ArgumentError,
            ["out is a ndarray, and there are 3 outputs", "the outputs are a, b_0, b_1: give a"],
        ),
        (IMAGES, {}, ArgumentError, ["out holds nothing", "the outputs are a, b_0, b_1"]),
        (IMAGES, {"a": IMAGES}, ArgumentError, ["out holds a", "the outputs are a, b_0, b_1"]),
        (
            IMAGES,
            dict.fromkeys(three(), IMAGES),
            ArgumentError,
            ["one array for several outputs", "each needs its own"],
        ),
        (IMAGES, three(b_0=READ_ONLY), ArgumentError, ["out 'b_0' is read-only", "an array that can be written"]),
        (IMAGES, three(b_1=IMAGES), ShapeError, ["out 'b_1' has the wrong shape", "expected (1, 4, 6, 6)"]),
        (
            IMAGES,
            three(a=np.zeros((1, 4, 6, 6))),
            DTypeError,
            ["out 'a' has the wrong type", "received float64", "give one of float32 to write into"],
        ),
        (IMAGES, on_gpu(), ArgumentError, ["out 'a' lies on the GPU, the first input on the host"]),
        (
            OnGpu(),
            three(),
            ArgumentError,
            ["out 'a' is not on the GPU, as", "an array on the host", "give a tensor on"],
        ),
        (OnGpu(), on_gpu(b_0=OnGpu(index=1)), ArgumentError, ["out 'b_0' is on another GPU", "to write into"]),
        (
            OnGpu(),
            on_gpu(b_1=OnGpu((1, 4, 6, 6), contiguous=False)),
            ArgumentError,
            ["out 'b_1' is not contiguous", "give a contiguous tensor to write into"],
        ),
    ],
)
def test_what_cannot_be_read_or_written(engine, gpus_are, monkeypatch, given, out, error, lines):
    gpus_are(engine.targets[0])
    monkeypatch.setattr(trtnn.engine.engine, "Session", lambda *_: None)  # all of it is looked at before the GPU is
    message = message_of(error, engine, given, out=out)
    assert [line for line in lines if line not in message] == [], message


def test_arrays_and_tensors_do_not_mix(gpus_are, monkeypatch):
    class Add(TinyNet):
        def forward(self, images, more):
            return images + more

    net = Add()
    net.load_state_dict({name: np.zeros(p.shape, np.float32) for name, p in net.named_parameters()})
    engine = net.compile({"images": IMAGES.shape, "more": IMAGES.shape}, **ONE_TARGET)
    gpus_are(engine.targets[0])
    monkeypatch.setattr(trtnn.engine.engine, "Session", lambda *_: None)
    message = message_of(ArgumentError, engine, OnGpu(), IMAGES)
    assert "input 'more' is not on the GPU, as the first input is\n  received an array on the host" in message
    assert 'move it with torch.from_numpy(more).to("cuda:0")' in message
    message = message_of(ArgumentError, engine, OnGpu(), torch.zeros(IMAGES.shape))
    assert 'received a Tensor on the host\n  move it with more.to("cuda:0")' in message
    message = message_of(ArgumentError, engine, IMAGES, OnGpu())
    assert "input 'more' lies on the GPU, the first input on the host" in message


@pytest.mark.parametrize("copy_it", [copy.copy, copy.deepcopy, pickle.dumps])
def test_an_engine_is_not_copied(engine, copy_it):
    message = message_of(UnsupportedError, copy_it, engine)
    assert "each process loads its own: engine.save(path) and trtnn.Engine.load(path)" in message
