"""New weights in a built engine: what TensorRT's Refitter is given, held against a trace of the new weights.

The Refitter and the engine are stand-ins, for TensorRT-RTX refits nothing without a GPU. Networks are real.
"""

import copy
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

import trtnn.build.build
import trtnn.engine.engine
import trtnn.engine.session
from tests.engine.refitted import Twin, loaded, state
from tests.helpers import ONE_TARGET, load_random, message_of, needs_type
from tests.standin import CudaEngine, Graph, Memory
from trtnn import Dim, Engine, Input, get_backend
from trtnn.build.build import _build_plan
from trtnn.build.refitting import refittable
from trtnn.checkpoint.state_dict import StateDict
from trtnn.cli.sources import fill_empty, make_model
from trtnn.cuda import gpus
from trtnn.errors import ArgumentError, BackendError, BuildError, DTypeError, EngineError, StateDictError
from trtnn.models.yolov5 import YOLOv5
from trtnn.modules import Conv2d, Linear, Module, Sequential


def copied(network) -> dict:
    return {key: array.copy() for key, array in network.refittable().arrays.items()}


class Flags(set):
    """An ``ISerializationConfig``."""

    set_flag = set.add


class TensorRT:
    """Plans with their arrays beside them; a Refitter that takes what TensorRT's does."""

    def __init__(self, network):
        self.network, self.fixed, self.asks_for, self.refits_well = network, set(), [], True
        self.needs_flag = self.forgets = False  # whether what is serialised without INCLUDE_REFIT, or at all, is fixed
        self.plans: dict[bytes, dict] = {}
        self.addresses: dict[int, np.ndarray] = {}  # of all engines' buffers
        self.engines: list[CudaEngine] = []
        self.given: list[tuple[str, str]] = []
        self.marked: dict[tuple[str, str], str] = {}

    def __getattr__(self, name):
        return getattr(get_backend().trt, name)

    def Runtime(self, logger):
        return SimpleNamespace(deserialize_cuda_engine=self.deserialize)

    def deserialize(self, plan):
        engine = CudaEngine(self.network._shapes, self.network)
        engine.addresses = self.addresses
        engine.arrays = dict(self.plans.get(bytes(plan)) or copied(self.network))
        engine.refittable = b"fixed" not in bytes(plan)
        engine.serialize = lambda: self.serialize(engine, ())
        engine.serialize_with_config = lambda flags: self.serialize(engine, flags)
        engine.create_serialization_config = Flags
        self.engines.append(engine)
        return engine

    def serialize(self, engine, flags):
        include = getattr(getattr(self, "SerializationFlag", None), "INCLUDE_REFIT", None) in flags
        is_fixed = self.forgets or (self.needs_flag and not include)
        plan = b"ftrt refitted %d%s" % (len(self.plans), b" fixed" * is_fixed)
        self.plans[plan] = dict(engine.arrays)
        return plan

    def Refitter(self, engine, logger):
        assert engine.refittable
        roles = get_backend().trt.WeightsRole.__members__
        pending = {}
        named = {}  # where single arrays were marked
        for key, name in self.marked.items():
            named.setdefault(name, []).append(key)

        def pairs(keys):
            return [name for name, _ in keys], [roles[role] for _, role in keys]

        def set_weights(name, role, weights):
            old = engine.arrays[name, role.name]
            if old.size != weights.size or old.dtype != weights.dtype:
                return False
            pending[name, role.name] = weights.copy()
            self.given.append((name, role.name))
            return True

        def set_named_weights(name, weights):
            assert named
            return all(set_weights(layer, roles[role], weights) for layer, role in named[name])

        def refit_cuda_engine():
            if self.refits_well:
                engine.arrays |= pending
            return self.refits_well

        return SimpleNamespace(
            get_all=lambda: pairs([key for key in engine.arrays if key not in self.fixed]),
            set_weights=set_weights,
            get_missing=lambda: pairs([key for key in self.asks_for if key not in pending]),
            get_all_weights=lambda: [name for name, keys in named.items() if self.fixed.isdisjoint(keys)],
            set_named_weights=set_named_weights,
            get_missing_weights=lambda: [
                self.marked.get(key, " ".join(key)) for key in self.asks_for if key not in pending
            ],
            refit_cuda_engine=refit_cuda_engine,
        )


def marked_in(graph) -> dict[tuple[str, str], str]:
    """Return the arrays that TensorRT was told may change, with their names."""
    arrays = refittable(graph).arrays
    told = {key: graph.definition.are_weights_marked_refittable(" ".join(key)) for key in arrays}
    names = {arrays[key].ctypes.data: " ".join(key) for key, is_marked in told.items() if is_marked}
    return {key: names[array.ctypes.data] for key, array in arrays.items() if array.ctypes.data in names}


@pytest.fixture
def tensorrt(monkeypatch):
    """Let engines be built with REFIT, and run, whatever the machine."""
    stand_in = TensorRT(loaded(0).trace())

    def build(graph, settings, config, *args):
        flags = graph.trt.BuilderFlag
        assert settings.get_flag(flags.REFIT) is (config.refittable is True)
        stand_in.marked = {}
        if config.refittable is not True:
            assert settings.get_flag(flags.REFIT_INDIVIDUAL)
            stand_in.marked = marked_in(graph)
        return b"ftrt as it was built"

    backend = copy.copy(get_backend())
    backend.trt = stand_in
    monkeypatch.setattr(trtnn.build.build, "_build_plan", build)
    monkeypatch.setattr(Engine, "check_runnable", lambda self: backend)
    for module in (trtnn.engine.engine, trtnn.engine.refits, trtnn.engine.session):
        monkeypatch.setattr(module, "device_memory", lambda: Memory([], stand_in.addresses))
    monkeypatch.setattr(trtnn.engine.session, "CapturedGraph", Graph)
    return stand_in


@pytest.mark.skipif(not ONE_TARGET or bool(gpus()), reason="TensorRT-RTX without a GPU refuses to build it")
@pytest.mark.parametrize("options", [ONE_TARGET, {}], ids=["one target", "several"])
def test_what_a_refittable_engine_takes_is_said_where_it_cannot_be_built(options):
    message = message_of(BuildError, loaded(0).compile, refittable=True, **options)
    assert "was seen to build refittable engines with a GPU alone, and for one target" in message
    assert "rebuild=True" in message


def compiled(net, tensorrt, **options) -> Engine:
    tensorrt.network = net.trace(fp16=options.get("fp16", False), inputs=options.get("inputs"))
    return net.compile(**{"refittable": True, **options, **ONE_TARGET})


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
    assert ("with the new weights: engine.refit(weights, rebuild=True)" in message) is (kind == "refuses")
    assert arrays_of(engine) is before
    assert (engine.plan, engine.description, engine.refits) == (plan, description, 0)
    tensorrt.fixed, tensorrt.asks_for, tensorrt.refits_well = set(), [], True
    engine.refit({"head.bias": state(1)["head.bias"]})  # nothing of what failed is left
    net = loaded(0)
    net.load_state_dict({"head.bias": state(1)["head.bias"]}, strict=False)
    assert_same(arrays_of(engine), copied(net.trace()))


def test_what_is_said_of_a_lock_stays_true(tensorrt):
    engine = compiled(loaded(0), tensorrt)
    engine.description["lock"] = {"digest": "ab", "tactics": 7, "new_weights": 0, "same_plan": True}
    engine.refit(state(1))
    assert engine.description["lock"] == {"digest": "ab", "tactics": 7}


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


@pytest.mark.parametrize("rebuild", [False, True])
def test_maps_keep_their_anchors(tensorrt, monkeypatch, rebuild):
    """A description says them, and what reads the maps holds them by then; no array of the network does."""
    model = YOLOv5("yolov5n", classes=1, head="raw")
    fill_empty(model)
    inputs = {"images": (1, 3, 32, 32)}
    engine = compiled(model, tensorrt, inputs=inputs)
    before = dict(engine.description)
    anchors = model.model[-1].anchors.numpy()
    for weights in ({"model.24.anchors": anchors * 2}, fill_empty(YOLOv5("yolov5n", classes=1, head="raw"))):
        if not isinstance(weights, dict):
            weights.model[-1].set_anchors([[[1, 2]] * 3] * 3)
        message = message_of(EngineError, lambda weights=weights: engine.refit(weights, rebuild=rebuild))
        assert "the anchors are others than those by which this engine's maps are read; nothing was changed" in message
        assert "[[[10.0, 13.0], " in message
        assert engine.description == before
        assert engine.refits == 0
    assert engine.refit({"model.24.anchors": anchors}, rebuild=rebuild) is not None
    assert engine.refits == (1 if rebuild else 0)


def test_an_engine_that_takes_none(tensorrt, monkeypatch):
    monkeypatch.setattr(trtnn.build.build, "_build_plan", _build_plan)
    engine = loaded(0).compile(**ONE_TARGET)
    message = message_of(EngineError, engine.refit, state(1))
    assert "was not built to take new weights\n  build it so: model.compile(..., refittable=True)" in message
    assert "or have it built again with them, while it runs: engine.refit(weights, rebuild=True)" in message
    for wrong in (1, "head", [3]):
        message = message_of(ArgumentError, loaded(0).compile, refittable=wrong)
        assert "refittable is True, False or a tuple of paths of modules" in message


def test_not_while_capturing(tensorrt, monkeypatch):
    engine = compiled(loaded(0), tensorrt)
    monkeypatch.setattr(trtnn.engine.refits, "is_capturing", lambda stream: stream == 7)
    assert "while this thread captures a CUDA graph" in message_of(EngineError, engine.refit, state(1))
    monkeypatch.undo()


def test_not_once_it_is_closed(tensorrt):
    engine = compiled(loaded(0), tensorrt)
    engine.refit(state(1))
    engine.close()
    assert "was closed" in message_of(EngineError, engine.refit, state(2))


def with_include_refit(has_it):
    backend = Engine.check_runnable(None)
    backend.capabilities = dataclasses.replace(backend.capabilities, include_refit=has_it)


@pytest.mark.skipif(not hasattr(get_backend().trt, "SerializationFlag"), reason="TensorRT 8.6 has no flags for that")
def test_it_is_written_so_that_it_takes_others(tensorrt, tmp_path):
    """As TensorRT 10.14 and later do."""
    tensorrt.needs_flag = True
    with_include_refit(True)
    engine = compiled(loaded(0), tensorrt)
    engine.refit(state(1))
    assert b"fixed" not in bytes(engine.plan)
    engine.save(tmp_path / "a.engine")
    again = Engine.load(tmp_path / "a.engine")
    again.refit(loaded(2))
    assert_same(arrays_of(again), copied(loaded(2).trace()))


def test_where_it_is_written_so_that_it_takes_none_the_plan_before_does(tensorrt, tmp_path):
    """As TensorRT 10 before 10.14 does: that plan's weights are told from the new ones anew."""
    tensorrt.forgets = True
    with_include_refit(False)
    engine = compiled(loaded(0), tensorrt)
    engine.refit(state(1))
    assert engine.refit({"head.bias": state(2)["head.bias"]}) == ["head/constant CONSTANT"]
    net = loaded(1)
    net.load_state_dict({"head.bias": state(2)["head.bias"]}, strict=False)
    assert_same(arrays_of(engine), copied(net.trace()))
    engine.refit(state(0))  # back to what it was built with
    assert_same(arrays_of(engine), copied(loaded(0).trace()))
    assert engine.refits == 3
    engine.save(tmp_path / "a.engine")
    again = Engine.load(tmp_path / "a.engine")
    message = message_of(EngineError, again.refit, loaded(1))
    assert "wrote this engine, after new weights, so that it takes no others" in message
    assert "engine.refit(weights, rebuild=True)" in message


def test_a_tensor_that_a_file_left_out_is_not_taken_from_before(tensorrt):
    engine = compiled(loaded(0), tensorrt)
    arrays = {name: array for name, array in state(1).items() if name != "head.bias"}
    weights = StateDict(arrays, {"left_out": {"head.bias": "a string"}})
    assert "not taken: head.bias: a string" in message_of(StateDictError, engine.refit, weights)


def test_scales_of_a_state_dict_that_failed_are_not_left(tensorrt):
    engine = compiled(loaded(0), tensorrt)
    scales = {"body.3.input_scale": np.float32(0.1), "body.3.quant_max": np.float32(127)}
    scales["body.3.weight_scale"] = np.full(4, 0.1, np.float32)
    assert "the network is another" in message_of(EngineError, engine.refit, {**state(1), **scales})
    engine.refit(state(2))
    assert_same(arrays_of(engine), copied(loaded(2).trace()))


# -- a part of the weights may change ---------------------------------------------------------------------------------

individual = pytest.mark.skipif(
    not get_backend().capabilities.refit_individual, reason="TensorRT 8.6 lets all weights change or none"
)


BODY_0, BODY_3 = (["body.0 KERNEL", "body.0 BIAS"], ["body.3 KERNEL", "body.3 BIAS"])


class Shared(Module):
    """One Parameter in two layers, of which one is of another module."""

    def __init__(self):
        super().__init__()
        self.a, self.b = Linear(4, 4), Linear(4, 4)
        self.b.weight = self.a.weight
        self.inputs = {"x": (1, 4)}

    def forward(self, x):
        return self.b(self.a(x))


@individual
@pytest.mark.parametrize("fp16", [False, pytest.param(True, marks=needs_type("float16"))])
@pytest.mark.parametrize(
    ("modules", "of", "marked"),
    [
        (("head",), ("head",), ["head CONSTANT", "head/constant CONSTANT"]),
        (("body.3", "hea?"), ("body.3", "head"), [*BODY_3, "head CONSTANT", "head/constant CONSTANT"]),
        (("body.1",), ("body.1",), BODY_0),  # which is folded into that convolution
        (("body",), ("body",), [*BODY_0, *BODY_3]),
    ],
    ids=str,
)
def test_the_weights_of_some_modules_alone(tensorrt, tmp_path, modules, of, marked, fp16):
    engine = compiled(loaded(0), tensorrt, refittable=modules, fp16=fp16)
    assert list(tensorrt.marked.values()) == marked
    told = {name: array for name, array in state(1).items() if name.startswith(of)}
    changed = engine.refit(told)
    assert set(changed) <= set(marked)
    assert set(map(" ".join, tensorrt.given)) == set(changed)
    net = loaded(0)
    net.load_state_dict(told, strict=False)
    assert_same(arrays_of(engine), copied(net.trace(fp16=fp16)))
    before, plan = arrays_of(engine), engine.plan
    message = message_of(EngineError, engine.refit, {**state(2)})
    assert f"this engine takes new weights of {', '.join(modules)} alone; nothing was changed" in message
    assert "others changed: " in message
    assert "refittable=(...)" in message
    assert "engine.refit(weights, rebuild=True)" in message
    assert (arrays_of(engine) is before, engine.plan is plan) == (True, True)
    engine.save(tmp_path / "a.engine")
    again = Engine.load(tmp_path / "a.engine")
    assert again.description["refittable"]["modules"] == list(modules)
    assert again.refit(net) == []


@individual
def test_an_array_of_two_layers_has_one_name(tensorrt):
    net, arrays = Shared(), {"a.weight": np.eye(4, dtype="f"), "a.bias": np.ones(4, "f"), "b.bias": np.ones(4, "f")}
    net.load_state_dict(arrays)
    engine = compiled(net, tensorrt, refittable=["a"])
    name = tensorrt.marked["a", "CONSTANT"]
    assert tensorrt.marked["b", "CONSTANT"] == name
    assert ("b/constant", "CONSTANT") not in tensorrt.marked
    engine.refit({"a.weight": np.full((4, 4), 2, "f")})
    net.load_state_dict({"a.weight": np.full((4, 4), 2, "f")}, strict=False)
    assert_same(arrays_of(engine), copied(net.trace()))
    assert "others changed: b/constant CONSTANT" in message_of(EngineError, engine.refit, {"b.bias": np.zeros(4, "f")})


@individual
def test_what_is_fused_with_them_is_asked_for_by_name(tensorrt):
    engine = compiled(loaded(0), tensorrt, refittable=["body.3"])
    tensorrt.asks_for = [("body.3", "BIAS")]
    engine.refit({"body.3.weight": state(1)["body.3.weight"]})
    assert tensorrt.given == [("body.3", "KERNEL"), ("body.3", "BIAS")]
    tensorrt.asks_for = [("nowhere", "BIAS")]
    message = message_of(EngineError, engine.refit, {"body.3.weight": state(2)["body.3.weight"]})
    assert "TensorRT asks for weights that the network has not; the engine is as it was\n  nowhere BIAS" in message
    tensorrt.asks_for, tensorrt.fixed = [], {("body.3", "KERNEL")}
    message = message_of(EngineError, engine.refit, {"body.3.weight": state(2)["body.3.weight"]})
    assert "TensorRT built these into its kernels, so they cannot be exchanged" in message


@individual
def test_marks_do_not_outlast_the_build(tensorrt):
    network = loaded(0).trace()
    tensorrt.network = network
    network.build(refittable=["body.3"], **ONE_TARGET)
    assert set(tensorrt.marked) == {("body.3", "KERNEL"), ("body.3", "BIAS")}
    assert marked_in(network.graph) == {}
    network.build(refittable=["head"], **ONE_TARGET)
    assert set(tensorrt.marked) == {("head", "CONSTANT"), ("head/constant", "CONSTANT")}


@individual
def test_modules_without_weights(tensorrt):
    message = message_of(ArgumentError, compiled, loaded(0), tensorrt, refittable=["head", "body.2", "tail*"])
    assert "refittable names no module with weights of its own: 'body.2', 'tail*'" in message


def test_where_all_weights_may_change_or_none(tensorrt, monkeypatch):
    capabilities = dataclasses.replace(get_backend().capabilities, refit_individual=False)
    monkeypatch.setattr(get_backend(), "capabilities", capabilities)
    message = message_of(BackendError, loaded(0).compile, refittable=["head"], **ONE_TARGET)
    assert f"{get_backend()} lets all weights of an engine change, or none" in message
    assert "refittable=True" in message
    assert "engine.refit(weights, rebuild=True)" in message
