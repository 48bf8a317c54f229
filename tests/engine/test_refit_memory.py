"""What refits leave behind: nothing but the two sessions that calls may run on."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
import torch

from tests.engine.refitted import loaded, stand_in_builds, state
from tests.helpers import ONE_TARGET, needs_type, trace
from tests.quantization.networks import detector, images, quantize
from trtnn import float32
from trtnn.engine.session import Session, Worker
from trtnn.graph.definition import flat_array, named_arrays, read_layers
from trtnn.graph.graph import Graph
from trtnn.reference.registry import function_of

IMAGES = np.zeros((1, 3, 8, 8), np.float32)
KERNEL = np.ones((2, 3, 1, 1), np.float32)


@pytest.fixture
def traces(monkeypatch):
    """Return of each graph that was traced its definition, which bindings may keep for ever, and what it was given."""
    found, finish = [], Graph.finish

    def finished(graph):
        finish(graph)
        found.append((graph.definition, [weakref.ref(array) for array in graph.weights.arrays]))

    monkeypatch.setattr(Graph, "finish", finished)
    return found


@pytest.fixture
def no_gc():
    """Let circles stay: what holds memory must not wait for the garbage collector."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def left(references):
    return sum(reference() is not None for reference in references)


def test_arrays_last_as_long_as_a_definition(no_gc):
    """Of a trace that others may have: TensorRT reads them when it builds."""
    network = loaded(0).trace()
    definition, trt = network.graph.definition, network.graph.trt
    before = {layer.name: copies(kind, layer) for kind, layer in read_layers(definition, trt)}
    del network
    for kind, layer in read_layers(definition, trt):
        for name, array in copies(kind, layer).items():
            np.testing.assert_array_equal(array, before[layer.name][name])


def test_what_was_read_of_a_layer_outlives_the_definition(no_gc, traces):
    """The reference's functions share a layer's memory: what they computed of freed memory was a wrong number."""
    network = loaded(0).trace()
    layers = list(read_layers(network.graph.definition, network.graph.trt))
    read = [array for kind, layer in layers for array in named_arrays(kind, layer).values()]
    functions = [function_of(kind, layer, None) for kind, layer in layers if kind == "CONVOLUTION"]
    before, x = [array.copy() for array in read], torch.ones(1, 3, 8, 8)
    expected = functions[0](x)
    arrays = traces.pop()[1]
    del network, layers
    assert left(arrays) == len(read) > 3
    for array, copied in zip(read, before, strict=True):
        np.testing.assert_array_equal(array, copied)
    del read, array
    assert 0 < left(arrays) <= 2 * len(functions)
    torch.testing.assert_close(functions[0](x), expected, rtol=0, atol=0)
    functions.clear()
    assert left(arrays) == 0


def test_what_nobody_lent_is_read_as_it_is():
    array = np.arange(3, dtype=np.float32)
    flat = flat_array(array)
    assert np.shares_memory(flat, array)
    np.testing.assert_array_equal(flat, array)


def copies(kind, layer):
    return {name: array.copy() for name, array in named_arrays(kind, layer).items()}


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "bool"])
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_what_tensorrt_is_given_is_the_array_itself(dtype, shape):
    weights = trace(lambda x: x + 1, (4,)).graph.weights
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    given = weights.lend(array)
    assert (given.dtype, given.shape, given.ctypes.data) == (array.dtype, array.shape, array.ctypes.data)
    assert given.flags.c_contiguous


def test_nothing_but_loans_is_given_to_tensorrt():
    """As arguments of what adds a layer, and as its attributes."""

    def forward(x):
        graph = x.graph
        bias = graph.array(np.ones(2, np.float32), float32)
        return graph.emit("convolution_nd", x, 2, (1, 1), graph.array(KERNEL, float32), graph.trt.Weights(), bias=bias)

    weights = trace(forward, (1, 3, 4, 4)).graph.weights
    assert len(weights.arrays) == 2
    assert {id(loan.array) for loan in weights._loans} == {id(array) for array in weights.arrays}


@pytest.mark.parametrize("rebuild", [False, True])
def test_arrays_of_a_trace_go_with_it_whoever_keeps_the_definition(monkeypatch, no_gc, traces, rebuild):
    """In TensorRT 8.6.0's bindings a network is never freed: 30 MB for each refit of a YOLOv5s."""
    made = stand_in_builds(monkeypatch)
    engine = loaded(0).compile(refittable=not rebuild, **ONE_TARGET)
    for seed in (1, 2, 1, 2):
        engine.refit(state(seed), rebuild=rebuild)
    assert len(traces) == 5
    assert all(len(arrays) > 3 for _, arrays in traces)
    if not rebuild:  # of the others the stand-in's plans are made
        assert [left(arrays) for _, arrays in traces[1:]] == [0] * 4
    made.networks.clear()
    engine.close()
    del engine
    gc.collect()  # engines of the stand-in are circles
    assert [left(arrays) for _, arrays in traces] == [0] * 5


@needs_type("float16")
def test_arrays_of_a_trace_that_placed_what_is_quantised_go_with_it(no_gc, traces):
    model = quantize(detector(), images(1, 1, 4, 16, 16))
    del traces[:]
    for fp32_modules in ((), ("pool",)):
        network = model.trace(fp16=True, fp32_modules=fp32_modules)
        *inner, own = [left(arrays) for _, arrays in traces]
        assert inner == [0] * (2 if fp32_modules else 1)
        assert own > 3
        del network, traces[:]


def test_sessions_and_their_contexts_go(monkeypatch, no_gc):
    """Under load, in graphs and without: of many refits there are two sessions, one of which ended calls may hold."""
    sessions, workers = weakref.WeakSet(), weakref.WeakSet()
    for kind, living in ((Session, sessions), (Worker, workers)):
        make = kind.__init__

        def made(self, *args, make=make, living=living):
            make(self, *args)
            living.add(self)

        monkeypatch.setattr(kind, "__init__", made)
    stand_in_builds(monkeypatch)
    engine = loaded(0).compile(refittable=True, **ONE_TARGET)
    turn, errors = threading.Barrier(5), []

    def call(place):
        try:
            run = engine.cuda_graph() if place % 2 else engine
            for _ in range(8):
                run(IMAGES)
                turn.wait(60)
                turn.wait(60)
        except BaseException as error:
            turn.abort()
            errors.append(error)

    threads = [threading.Thread(target=call, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    counts = []
    for seed in range(8):
        turn.wait(60)
        engine.refit(state(seed % 2 + 1))
        counts.append((len(sessions), len(workers)))
        turn.wait(60)
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert max(counts[1:]) == max(counts[1:3])
    assert max(sessions for sessions, _ in counts) == 2
    engine.close()
    assert [worker for worker in workers if worker._context is not None] == []
