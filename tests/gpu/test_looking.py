"""Looking inside engines on a GPU: outputs of inner modules, profiles, comparisons, timings."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import trtnn
from tests.helpers import ENGINE_TOLERANCE, assert_close, load_random, message_of, numbers
from trtnn.engine.bench import bench_engine, milliseconds
from trtnn.engine.timing import OWN
from trtnn.errors import EngineError
from trtnn.modules import Conv2d, Module, ReLU, Sequential, Sigmoid

SHAPE = (2, 3, 32, 32)
PATHS = ["stem.0", "stem.1", "stem.2", "stem", "head"]


class Net(Module):
    def __init__(self) -> None:
        super().__init__()
        self.inputs = {"images": SHAPE}
        self.stem = Sequential(Conv2d(3, 16, 3, padding=1), ReLU(), Conv2d(16, 16, 3, padding=1))
        self.gate = Sigmoid()
        self.head = Conv2d(16, 4, 1)

    def forward(self, images):
        x = self.stem(images)
        return self.head(x * self.gate(x))


class Twin(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        nn = torch.nn
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1))
        self.gate = nn.Sigmoid()
        self.head = nn.Conv2d(16, 4, 1)

    def forward(self, images):
        x = self.stem(images)
        return self.head(x * self.gate(x))


@pytest.fixture(scope="module")
def twin():
    return load_random(Twin())


@pytest.fixture(scope="module")
def model(twin):
    net = Net()
    net.load_state_dict(twin.state_dict())
    return net


@pytest.fixture(scope="module")
def images():
    return numbers(*SHAPE)


@pytest.fixture(scope="module")
def network(model):
    return model.trace(outputs=["*"])


@pytest.fixture(scope="module")
def marked(network):
    return network.build(optimization_level=0)


@pytest.fixture(scope="module")
def plain(model):
    return model.compile(fp16=True, optimization_level=0)


@pytest.fixture(scope="module")
def seen(twin, images):
    """What torch's modules return."""
    found = {}
    for path in PATHS:
        twin.get_submodule(path).register_forward_hook(lambda m, i, o, path=path: found.update({path: o.detach()}))
    with torch.no_grad():
        twin(torch.from_numpy(images))
    return found


def test_inner_outputs_are_those_of_torchs_hooks(marked, seen, images):
    result, inner = marked(images)
    assert_close(result, seen["head"], ENGINE_TOLERANCE)
    assert_close({path: inner[path] for path in PATHS}, seen, ENGINE_TOLERANCE)
    result, inner = marked(torch.from_numpy(images).cuda())
    assert inner["stem"].is_cuda
    assert_close(inner["stem"].cpu().numpy(), seen["stem"], ENGINE_TOLERANCE)


def test_a_fp16_engine_gives_them_in_fp32(model, seen, images, tmp_path):
    engine = model.compile(fp16=True, outputs=["stem.*"], optimization_level=0)
    engine = trtnn.Engine.load(engine.save(tmp_path / "a.engine"))
    _, inner = engine(images)
    assert_close(inner, {path: seen[path] for path in ("stem.0", "stem.1", "stem.2")}, ENGINE_TOLERANCE)


def test_the_times_of_layers(plain, images):
    before = plain(images)
    for given in (images, torch.from_numpy(images).cuda()):
        timing = plain.timing(given, runs=5)
        print(timing)
        assert timing.runs == 5
        assert timing.layers
        assert all(row.milliseconds >= 0 for row in timing.layers)
        assert timing.milliseconds > 0
        assert sum(row.share for row in timing.layers) == pytest.approx(1)
        assert {"stem", "head"} <= {path.split(".")[0] for row in timing.layers for path in row.paths}
        assert sum(timing.by_module(1).values()) == pytest.approx(timing.milliseconds)
        known = {"", OWN, "stem", "gate", "head"}
        assert set(timing.by_module(1)) <= known, [row.name for row in timing.layers]
    np.testing.assert_array_equal(plain(images), before)


def test_the_layers_of_an_engine(plain, images):
    layers = plain.layers()
    print(*layers, sep="\n")
    assert all(layer.kind for layer in layers), "the engine was not built to tell"
    assert any(layer.precision for layer in layers)
    names = {layer.name for layer in layers}
    assert {row.name for row in plain.timing(images, runs=1).layers} <= names  # one name in both


def test_a_comparison_finds_no_difference(network, marked, images):
    found = trtnn.compare(network, images, engine=marked, tolerance=ENGINE_TOLERANCE)
    print(found)
    assert found.first is None
    assert [row.path for row in found.outputs] == ["stem.0", "stem.1", "stem.2", "stem", "gate", "head", ""]
    assert any(row.error > 0 for row in found.outputs)  # it is not the reference that ran twice
    found = trtnn.compare(network, torch.from_numpy(images).cuda(), engine=marked, tolerance=ENGINE_TOLERANCE)
    assert found.first is None


def test_a_comparison_finds_where_they_part(model, marked, images):
    """The engine of other weights in one module."""
    weight = model.stem[2].weight
    kept = weight.data
    weight.data = kept * 1.1
    try:
        other = model.trace(outputs=["*"])
    finally:
        weight.data = kept
    found = trtnn.compare(other, images, engine=marked)
    print(found)
    assert found.first.path == "stem.2"
    assert found.first.error == pytest.approx(0.07, rel=0.2)  # so it is between two references


def test_a_saved_engine_of_final_outputs(model, plain, images):
    found = trtnn.compare(model.trace(fp16=True), images, engine=plain, tolerance=ENGINE_TOLERANCE)
    assert [row.path for row in found.outputs] == [""]
    assert found.first is None


def test_a_bench(plain, images):
    found = bench_engine(plain, {"images": images}, rounds=3, runs=20)
    print(found)
    ways = ("execute", "engine(tensors)", "engine(arrays)")
    assert set(found.timings) == {*ways, "engine(pinned arrays)", *(f"graph {way}" for way in ways)}
    assert all(0 < timing.p50_ms <= timing.p90_ms <= timing.p99_ms for timing in found.timings.values())
    assert found.timings["engine(arrays)"].ms > found.timings["execute"].ms
    assert found.overhead_ms is not None


def test_a_call_is_timed_until_the_gpu_is_done():
    a = torch.randn(4096, 4096, device="cuda")
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    timed = milliseconds(lambda: a @ a, rounds=3, runs=20)
    start.record()
    for _ in range(20):
        a @ a
    end.record()
    end.synchronize()
    assert timed == pytest.approx(start.elapsed_time(end) / 20, rel=0.25)


def test_a_closed_engine_tells_nothing(model, images):
    with model.compile(optimization_level=0) as engine:
        engine(images)
    for call in (engine.layers, lambda: engine.bare(images), lambda: engine.timing(images)):
        assert "was closed" in message_of(EngineError, call)
