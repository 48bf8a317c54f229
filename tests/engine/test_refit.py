"""New weights in a built engine: what TensorRT's Refitter is given, held against a trace of the new weights.

The Refitter and the engine are stand-ins, for TensorRT-RTX refits nothing without a GPU. Networks are real.
"""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import trtnn.build.build
import trtnn.engine.engine
import trtnn.engine.session
from tests.helpers import ONE_TARGET, load_random, message_of, needs_type
from tests.standin import CudaEngine, Graph, Memory
from trtnn import Dim, Engine, Input, get_backend
from trtnn.build.build import _build_plan
from trtnn.cli.sources import fill_empty, make_model
from trtnn.errors import ArgumentError, DTypeError, EngineError, StateDictError
from trtnn.modules import BatchNorm2d, Conv2d, Linear, Module, Sequential, SiLU


class Net(Module):
    def __init__(self):
        super().__init__()
        self.body = Sequential(Conv2d(3, 4, 3, bias=False), BatchNorm2d(4), SiLU(), Conv2d(4, 4, 1))
        self.head = Linear(4, 2)
        self.inputs = {"x": (1, 3, 8, 8)}

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


class Twin(torch.nn.Module):
    def __init__(self):
        super().__init__()
        nn = torch.nn
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.SiLU(), nn.Conv2d(4, 4, 1))
        self.head = nn.Linear(4, 2)


def state(seed: int) -> dict[str, np.ndarray]:
    torch.manual_seed(seed)
    return {name: tensor.numpy() for name, tensor in load_random(Twin(), seed).state_dict().items()}


def loaded(seed: int) -> Net:
    net = Net()
    net.load_state_dict(state(seed))
    return net


def copied(network) -> dict:
    return {key: array.copy() for key, array in network.refittable().arrays.items()}


class TensorRT:
    """Plans with their arrays beside them; a Refitter that takes what TensorRT's does."""

    def __init__(self, network):
        self.network, self.fixed, self.asks_for, self.refits_well = network, set(), [], True
        self.plans: dict[bytes, dict] = {}
        self.addresses: dict[int, np.ndarray] = {}  # of all engines' buffers
        self.engines: list[CudaEngine] = []
        self.given: list[tuple[str, str]] = []

    def __getattr__(self, name):
        return getattr(get_backend().trt, name)

    def Runtime(self, logger):
        return SimpleNamespace(deserialize_cuda_engine=self.deserialize)

    def deserialize(self, plan):
        engine = CudaEngine(self.network._shapes, self.network)
        engine.addresses = self.addresses
        engine.arrays = dict(self.plans.get(bytes(plan)) or copied(self.network))
        engine.serialize = lambda: self.serialize(engine)
        self.engines.append(engine)
        return engine

    def serialize(self, engine):
        plan = b"ftrt refitted %d" % len(self.plans)
        self.plans[plan] = dict(engine.arrays)
        return plan

    def Refitter(self, engine, logger):
        roles = get_backend().trt.WeightsRole.__members__
        pending = {}

        def pairs(keys):
            return [name for name, _ in keys], [roles[role] for _, role in keys]

        def set_weights(name, role, weights):
            old = engine.arrays[name, role.name]
            if old.size != weights.size or old.dtype != weights.dtype:
                return False
            pending[name, role.name] = weights.copy()
            self.given.append((name, role.name))
            return True

        def refit_cuda_engine():
            if self.refits_well:
                engine.arrays |= pending
            return self.refits_well

        return SimpleNamespace(
            get_all=lambda: pairs([key for key in engine.arrays if key not in self.fixed]),
            set_weights=set_weights,
            get_missing=lambda: pairs([key for key in self.asks_for if key not in pending]),
            refit_cuda_engine=refit_cuda_engine,
        )


@pytest.fixture
def tensorrt(monkeypatch):
    """Let engines be built with REFIT, and run, whatever the machine."""
    stand_in = TensorRT(loaded(0).trace())

    def build(graph, settings, *args):
        flag = graph.trt.BuilderFlag.REFIT
        assert settings.get_flag(flag)
        return b"ftrt as it was built"

    backend = copy.copy(get_backend())
    backend.trt = stand_in
    monkeypatch.setattr(trtnn.build.build, "_build_plan", build)
    monkeypatch.setattr(Engine, "check_runnable", lambda self: backend)
    for module in (trtnn.engine.engine, trtnn.engine.session):
        monkeypatch.setattr(module, "device_memory", lambda: Memory([], stand_in.addresses))
    monkeypatch.setattr(trtnn.engine.session, "CapturedGraph", Graph)
    return stand_in


def compiled(net, tensorrt, **options) -> Engine:
    tensorrt.network = net.trace(fp16=options.get("fp16", False), inputs=options.get("inputs"))
    return net.compile(refittable=True, **options, **ONE_TARGET)


def arrays_of(engine) -> dict:
    return engine._open().engine.arrays


def assert_same(got, expected):
    assert got.keys() == expected.keys()
    for key, array in expected.items():
        assert got[key].dtype == array.dtype
        np.testing.assert_array_equal(got[key], array, err_msg=str(key))


@pytest.mark.parametrize("fp16", [False, pytest.param(True, marks=needs_type("float16"))])
@pytest.mark.parametrize("gives", ["state dict", "model", "torch's model"])
def test_all_weights(tensorrt, fp16, gives):
    engine = compiled(loaded(0), tensorrt, fp16=fp16)
    model = load_random(Twin(), 1) if gives == "torch's model" else loaded(1)
    engine.refit(state(1) if gives == "state dict" else model)
    assert_same(arrays_of(engine), copied(loaded(1).trace(fp16=fp16)))


def test_a_part_changes_what_depends_on_it_alone(tensorrt):
    engine = compiled(loaded(0), tensorrt)
    changed = engine.refit({"body.1.running_var": state(1)["body.1.running_var"]})  # folded into the convolution
    assert changed == ["body.0 KERNEL", "body.0 BIAS"]
    assert tensorrt.given == [("body.0", "KERNEL"), ("body.0", "BIAS")]
    net = loaded(0)
    net.load_state_dict({"body.1.running_var": state(1)["body.1.running_var"]}, strict=False)
    assert_same(arrays_of(engine), copied(net.trace()))
    tensorrt.given.clear()
    engine.refit({"body.3.bias": state(1)["body.3.bias"]})  # the part before stays
    net.load_state_dict({"body.3.bias": state(1)["body.3.bias"]}, strict=False)
    assert_same(arrays_of(engine), copied(net.trace()))
    assert tensorrt.given == [("body.3", "BIAS")]
    assert engine.refit({}) == []
    assert engine.refits == 2


@pytest.mark.parametrize("name", ["yolov5n", "yolov8n", "resnet18", "yolo11n-seg"])
@pytest.mark.parametrize("fp16", [False, pytest.param(True, marks=needs_type("float16"))])
def test_published_models(tensorrt, name, fp16):
    """Their weights are folded, joined, padded and transposed, and their heads have constants."""
    random = np.random.default_rng(0)
    model, other = (fill_empty(make_model(name)) for _ in range(2))
    inputs = dict.fromkeys(model.inputs, (1, 3, 64, 64))
    engine = compiled(model, tensorrt, fp16=fp16, inputs=inputs)
    new = {
        key: random.uniform(0.5, 1.5, array.shape).astype(array.dtype) if array.dtype.kind == "f" else array
        for key, array in model.state_dict().items()
    }
    changed = engine.refit(new)
    other.load_state_dict(new)
    fresh = other.trace(inputs, fp16=fp16)
    assert_same(arrays_of(engine), copied(fresh))
    stays = len(changed) < len(copied(fresh))
    assert stays is (name != "resnet18")  # which has no constants, as heads have


def test_the_model_s_and_the_caller_s_arrays_are_copied(tensorrt):
    net = loaded(0)
    engine = compiled(net, tensorrt)
    net.load_state_dict(state(2))  # the engine knows nothing of it
    bias = np.array(state(1)["body.3.bias"])
    engine.refit({"body.3.bias": bias})
    expected = loaded(0)
    expected.load_state_dict({"body.3.bias": bias.copy()}, strict=False)
    bias[:] = 7
    engine.refit({"head.bias": state(1)["head.bias"]})
    expected.load_state_dict({"head.bias": state(1)["head.bias"]}, strict=False)
    assert_same(arrays_of(engine), copied(expected.trace()))


def test_what_is_saved_has_the_new_weights_and_takes_others(tensorrt, tmp_path):
    engine = compiled(loaded(0), tensorrt)
    engine.refit(state(1))
    engine.save(tmp_path / "a.engine")
    again = Engine.load(tmp_path / "a.engine")
    again.check_plan()
    assert_same(arrays_of(again), copied(loaded(1).trace()))
    net = loaded(1)
    net.load_state_dict({"head.bias": state(2)["head.bias"]}, strict=False)
    tensorrt.given.clear()
    again.refit(net)
    assert len(tensorrt.given) == 1
    assert_same(arrays_of(again), copied(net.trace()))
    assert "does not know its model" in message_of(ArgumentError, again.refit, state(2))
    net = Sequential(Conv2d(3, 4, 3))
    net.load_state_dict({"0.weight": np.zeros((4, 3, 3, 3), "f"), "0.bias": np.zeros(4, "f")})
    net.forward = lambda x: Sequential.forward(net, x)
    message = message_of(EngineError, again.refit, net)
    assert "the network is another" in message
    assert "only in the engine: body.0 KERNEL" in message


def test_a_dynamic_engine_of_a_file(tensorrt, tmp_path):
    shapes = [
        Input((Dim("n", 1, 2, 4), 3, Dim("h", 8, 9, 16), 8)),
        Input((Dim("n", 8, 8, 9), 3, Dim("h", 8, 30, 32), 8)),
    ]
    engine = compiled(loaded(0), tensorrt, inputs={"x": shapes})
    engine.save(tmp_path / "a.engine")
    again = Engine.load(tmp_path / "a.engine")
    again.refit(loaded(1))
    assert_same(arrays_of(again), copied(loaded(1).trace({"x": shapes})))


def test_cuda_graphs_are_captured_again(tensorrt):
    engine = compiled(loaded(0), tensorrt)
    graphed, x = engine.cuda_graph(), np.zeros((1, 3, 8, 8), np.float32)
    graphed(x)
    first = engine._open()
    (worker,) = graphed._workers.values()
    graphed(x)
    assert list(graphed._workers.values()) == [worker]
    engine.refit(state(1))
    assert engine._open() is not first
    graphed(x)
    (other,) = graphed._workers.values()
    assert other is not worker
    assert tensorrt.engines[-1].runs > 0
    worker._enqueue(7)  # a call that had begun ends where it was


@pytest.mark.parametrize("kind", ["fixed", "asks for", "refuses"])
def test_all_or_nothing(tensorrt, kind):
    engine = compiled(loaded(0), tensorrt)
    before, plan, description = arrays_of(engine), engine.plan, dict(engine.description)
    kernel = ("body.3", "KERNEL")
    if kind == "fixed":
        tensorrt.fixed, words = {kernel}, "TensorRT built these into its kernels, so they cannot be exchanged"
    elif kind == "asks for":
        tensorrt.asks_for, words = [("nowhere", "BIAS")], "asks for weights that the network has not"
    else:
        tensorrt.refits_well, words = False, "could not refit this engine; it is as it was"
    message = message_of(EngineError, engine.refit, state(1))
    assert words in message
    assert ("body.3 KERNEL" in message) is (kind == "fixed")
    assert arrays_of(engine) is before
    assert (engine.plan, engine.description, engine.refits) == (plan, description, 0)
    tensorrt.fixed, tensorrt.asks_for, tensorrt.refits_well = set(), [], True
    engine.refit({"head.bias": state(1)["head.bias"]})  # nothing of what failed is left
    net = loaded(0)
    net.load_state_dict({"head.bias": state(1)["head.bias"]}, strict=False)
    assert_same(arrays_of(engine), copied(net.trace()))


def test_weights_that_are_asked_for_beside_those_that_changed(tensorrt):
    engine = compiled(loaded(0), tensorrt)
    tensorrt.asks_for = [("body.3", "BIAS"), ("body.3", "KERNEL")]
    engine.refit({"body.3.weight": state(1)["body.3.weight"]})
    assert tensorrt.given == [("body.3", "KERNEL"), ("body.3", "BIAS")]


def test_names_and_shapes_that_do_not_fit(tensorrt):
    engine = compiled(loaded(0), tensorrt)
    message = message_of(StateDictError, engine.refit, {"head.weight": np.zeros((3, 4), "f"), "tail": np.zeros(2, "f")})
    assert "does not fit Net: 0 missing, 1 unexpected, 1 of the wrong shape" in message
    assert "unexpected: tail" in message
    assert "wrong shape: head.weight: expected (2, 4), received (3, 4)" in message
    assert "refit takes a state dict or a model, not a int" in message_of(ArgumentError, engine.refit, 3)


@needs_type("float16")
def test_weights_that_overflow(tensorrt):
    engine = compiled(loaded(0), tensorrt, fp16=True)
    before = arrays_of(engine)
    message = message_of(DTypeError, engine.refit, {"body.3.weight": np.full((4, 4, 1, 1), 1e6, np.float32)})
    assert "weights of body.3 do not fit in float16" in message
    assert arrays_of(engine) is before


def test_an_engine_that_takes_none(tensorrt, monkeypatch):
    monkeypatch.setattr(trtnn.build.build, "_build_plan", _build_plan)
    engine = loaded(0).compile(**ONE_TARGET)
    message = message_of(EngineError, engine.refit, state(1))
    assert "was not built to take new weights\n  build it so: model.compile(..., refittable=True)" in message
    assert "refittable is True or False" in message_of(ArgumentError, loaded(0).compile, refittable=1)


def test_not_while_capturing(tensorrt, monkeypatch):
    engine = compiled(loaded(0), tensorrt)
    monkeypatch.setattr(trtnn.engine.engine, "is_capturing", lambda stream: stream == 7)
    assert "while this thread captures a CUDA graph" in message_of(EngineError, engine.refit, state(1))
    monkeypatch.undo()


def test_not_once_it_is_closed(tensorrt):
    engine = compiled(loaded(0), tensorrt)
    engine.refit(state(1))
    engine.close()
    assert "was closed" in message_of(EngineError, engine.refit, state(2))
