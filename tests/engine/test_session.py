"""Calls of engines without a GPU: what the session asks of TensorRT's runtime and of the device's memory."""

import gc
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import trtnn.engine.engine
import trtnn.engine.session
import trtnn.network
from tests.engine.driver import MADE
from tests.helpers import ONE_TARGET, assert_close, message_of, numbers, trace
from tests.standin import Context, CudaEngine, Memory, stand_in
from trtnn import Dim, Engine, Input
from trtnn.engine.calls import Call
from trtnn.engine.lane import Lane
from trtnn.errors import ArgumentError, EngineError, ShapeError
from trtnn.shapes.call import Shapes


@pytest.fixture
def log():
    """What the runtime and the memory are asked for, in order."""
    return []


@pytest.fixture
def engine_of(log, monkeypatch):
    """Return the engine of a network, which the GPU that is stood in for runs."""

    def make(network):
        stand_in(monkeypatch, network).log = log
        return network.build(**ONE_TARGET)

    return make


def ranged(batch, height):
    return Input((Dim("batch", *batch), 2, Dim("height", *height)))


SMALL, LARGE = ranged((1, 2, 4), (2, 4, 8)), ranged((1, 1, 1), (8, 16, 32))


@pytest.fixture
def dynamic(engine_of):
    return engine_of(trace(lambda x: x[:, :, 1:] * 2, [SMALL, LARGE]))


def expected(x):
    return torch.from_numpy(x[:, :, 1:] * 2)


def kinds(log, *wanted):
    found = [entry for entry in log if entry[0] in wanted]
    log.clear()
    return found


def test_several_shapes_of_one_engine(dynamic, log):
    for shape in ((1, 2, 4), (4, 2, 8), (2, 2, 3), (2, 2, 3)):
        x = numbers(*shape)
        assert_close(dynamic(x), expected(x))
    assert kinds(log, "profile", "shape") == [
        ("profile", 0), ("shape", (1, 2, 4)), ("shape", (4, 2, 8)), ("shape", (2, 2, 3)),
    ]  # fmt: skip


def test_each_profile_has_a_context(dynamic, log):
    for shape in ((1, 2, 4), (1, 2, 32), (1, 2, 4), (1, 2, 16)):
        x = numbers(*shape)
        assert_close(dynamic(x), expected(x))
    assert kinds(log, "profile", "run", "shape") == [
        ("profile", 0), ("shape", (1, 2, 4)), ("run", 0),
        ("profile", 1), ("shape", (1, 2, 32)), ("run", 1),
        ("run", 0),
        ("shape", (1, 2, 16)), ("run", 1),
    ]  # fmt: skip


def test_buffers_grow_and_are_kept(dynamic, log):
    for shape in ((2, 2, 4), (1, 2, 2), (4, 2, 8), (3, 2, 5), (4, 2, 7)):
        x = numbers(*shape)
        assert_close(dynamic(x), expected(x))
    assert kinds(log, "empty") == [("empty", (16,)), ("empty", (12,)), ("empty", (64,)), ("empty", (56,))]


def test_out(dynamic):
    x, out = numbers(2, 2, 6), np.zeros((2, 2, 5), np.float32)
    assert dynamic(x, out=out) is out
    assert_close(out, expected(x))
    message = message_of(ShapeError, dynamic, numbers(2, 2, 7), out=out)
    assert "out 'output' has the wrong shape\n  expected (2, 2, 6)\n  received (2, 2, 5)" in message


def test_outputs_are_not_written_over(engine_of):
    engine = engine_of(trace(lambda x: (x * 2, x + 1), (2, 3)))
    x, both = numbers(2, 3), np.zeros((3, 3), np.float32)
    names = [*engine.outputs]
    message = message_of(ArgumentError, engine, x, out=dict(zip(names, (both[:2], both[1:]), strict=True)))
    assert f"out {names[0]!r} and out {names[1]!r} have memory in common\n  each needs its own" in message
    by_turns = np.zeros((2, 6), np.float32)
    engine(x, out=dict(zip(names, (by_turns[:, ::2], by_turns[:, 1::2]), strict=True)))
    np.testing.assert_array_equal(by_turns[:, ::2], x * 2)
    np.testing.assert_array_equal(by_turns[:, 1::2], x + 1)


def test_tensors_on_the_gpu_that_overlap(monkeypatch):
    """As torch tells where they lie; these are on the CPU."""
    monkeypatch.setattr(trtnn.engine.calls, "check_tensor", lambda *_: None)
    whole = torch.zeros(5)
    spec, given = Input((3,)), SimpleNamespace(is_cuda=True, shape=(3,), dtype=torch.float32)
    shapes = Shapes({"x": spec}, {"a": spec, "b": spec}, ())
    message = message_of(ArgumentError, Call, shapes, (given,), {}, {"a": whole[:3], "b": whole[2:]})
    assert "out 'a' and out 'b' have memory in common" in message
    whole = torch.zeros(6)
    Call(shapes, (given,), {}, {"a": whole[:3], "b": whole[3:]})


def test_arrays_in_one_piece_travel_straight(dynamic, log):
    inputs = dynamic.pinned_inputs()
    assert {name: array.shape for name, array in inputs.items()} == {"x0": (4, 2, 8)}
    assert dynamic.pinned_inputs(profile=1)["x0"].shape == (1, 2, 32)
    log.clear()
    x = inputs["x0"]
    x[:] = numbers(*x.shape)
    for given in (x, x[:2], x.copy()):
        result = dynamic(given)
        assert_close(result, expected(given))
        again = np.zeros_like(result)
        assert dynamic(given, out=again) is again
        assert_close(again, expected(given))
        result[:] = 0
        assert dynamic(given, out=result) is result
        assert_close(result, expected(given))
    assert kinds(log, "fill", "read") == []
    apart = np.zeros((*result.shape[:2], 3, 2), np.float32)[..., 0]
    assert dynamic(x[:, :, ::2], out=apart) is apart  # others do not
    assert_close(apart, expected(x[:, :, ::2]))
    assert kinds(log, "fill", "read") == [("fill", (4, 2, 4)), ("read", (4, 2, 3))]
    message = message_of(ArgumentError, dynamic.pinned_inputs, 2)
    assert "no profile 2" in message
    assert "0 to 1" in message


def test_outside_the_profiles(dynamic, log):
    message = message_of(ShapeError, dynamic, numbers(2, 2, 16))
    assert "none of the 2 profiles\n  profile 0: height is 2 to 8; received 16\n  profile 1: batch is 1 to 1" in message
    assert not log  # nothing on the GPU was touched


def test_results_are_not_overwritten_by_the_next_call(dynamic):
    first = dynamic(numbers(2, 2, 4))
    kept = first.copy()
    dynamic(numbers(2, 2, 4, seed=1))
    np.testing.assert_array_equal(first, kept)


def test_streams_beside_the_callers_are_not_those_that_captures_forbid_others(dynamic, log, driver, monkeypatch):
    """TensorRT's own are ordered with the legacy default stream, which no thread could use while another captures."""
    monkeypatch.setattr(CudaEngine, "num_aux_streams", 2)
    monkeypatch.setattr(trtnn.engine.session, "Lane", Lane)
    x = numbers(1, 2, 4)
    assert_close(dynamic(x), expected(x))
    made = MADE["cuStreamCreate"][1]
    non_blocking = ("cuStreamCreate", 1)
    assert [entry for entry in log if entry[0] == "beside"] == [("beside", made, made)]
    assert [call for call in driver.calls if call[0] == "cuStreamCreate"] == [non_blocking] * 2
    assert "cuStreamDestroy_v2" not in driver.names()
    dynamic.close()
    gc.collect()
    assert driver.names().count("cuStreamDestroy_v2") == 2


@pytest.mark.parametrize("way", ["close", "end of a thread", "warm up", "graph"])
def test_contexts_go_before_the_streams_that_they_were_given(dynamic, driver, monkeypatch, way):
    monkeypatch.setattr(CudaEngine, "num_aux_streams", 2)
    monkeypatch.setattr(trtnn.engine.session, "Lane", Lane)
    monkeypatch.setattr(Context, "__del__", lambda self: driver.calls.append(("context ends",)), raising=False)
    x = numbers(1, 2, 4)
    session, shapes = dynamic._open(), dynamic._shapes_of((x,), {})
    if way == "warm up":
        session.warm_up(shapes)
    elif way == "end of a thread":
        thread = threading.Thread(target=dynamic, args=(x,))
        thread.start()
        thread.join()
    elif way == "graph":
        session.capture(shapes).close()
    else:
        dynamic(x)
        dynamic.close()
    gc.collect()
    ends = [name for name in driver.names() if name in ("context ends", "cuStreamDestroy_v2")]
    assert ends == ["context ends", "cuStreamDestroy_v2", "cuStreamDestroy_v2"]


def test_threads_have_contexts_of_their_own(dynamic, log):
    x = numbers(1, 2, 4)
    dynamic(x)
    thread = threading.Thread(target=lambda: dynamic(x))
    thread.start()
    thread.join()
    assert kinds(log, "profile") == [("profile", 0), ("profile", 0)]


def test_streams_have_contexts_of_their_own(dynamic, log, monkeypatch):
    x = numbers(1, 2, 4)
    for stream in (7, 8, 7, 8):
        monkeypatch.setattr(Memory, "stream", stream)
        assert_close(dynamic(x), expected(x))
    assert kinds(log, "profile") == [("profile", 0), ("profile", 0)]


def test_a_static_engine_is_told_no_shapes(engine_of, log):
    engine = engine_of(trace(lambda x: x * 2, (2, 3)))
    x = numbers(2, 3)
    for _ in range(2):
        assert_close(engine(x), torch.from_numpy(x * 2))
    assert kinds(log, "profile", "shape", "empty") == [("empty", (6,)), ("empty", (6,))]
    assert "received (1, 3)" in message_of(ShapeError, engine, x[:1])


def test_an_input_is_not_written_over(engine_of, log):
    engine = engine_of(trace(lambda x: x * 2, (2, 3)))
    shapes = engine._shapes_of((numbers(2, 3),), {})
    worker, x, other = engine._open().worker(0), numbers(2, 3), np.zeros((2, 3), np.float32)
    assert worker.run_tensors(shapes, {"x0": x}, {"output": other})["output"] is other
    np.testing.assert_array_equal(other, x * 2)
    message = message_of(ArgumentError, worker.run_tensors, shapes, {"x0": x}, {"output": x})
    assert "out 'output' is the memory of an input\n  TensorRT may write before it has read" in message
    both = np.zeros((3, 3), np.float32)
    both[:2] = x
    message = message_of(ArgumentError, worker.run_tensors, shapes, {"x0": both[:2]}, {"output": both[1:]})
    assert "out 'output' is the memory of an input" in message
    kept = x.copy()
    log.clear()
    result = engine._open().capture(shapes).run_tensors(shapes, {"x0": x}, None)["output"]
    np.testing.assert_array_equal(result, x * 2)
    assert kinds(log, "empty") == [("empty", (6,)), ("empty", (6,)), ("empty", (2, 3))]  # told as such if there is none
    engine._open().capture(shapes).run_tensors(shapes, {"x0": x}, {"output": x})  # it copies in, and then out
    np.testing.assert_array_equal(x, kept * 2)


def test_a_cuda_graph_for_each_shape(dynamic, log):
    graphed = dynamic.cuda_graph()
    assert not log
    for shape in ((1, 2, 4), (4, 2, 8), (1, 2, 32), (1, 2, 4), (4, 2, 8)):
        x = numbers(*shape)
        assert_close(graphed(x), expected(x))
    assert kinds(log, "profile", "shape") == [
        ("profile", 0), ("shape", (1, 2, 4)), ("profile", 0), ("shape", (4, 2, 8)), ("profile", 1),
        ("shape", (1, 2, 32)),
    ]  # fmt: skip


def test_what_launches_a_graph_keeps_its_buffers(dynamic):
    launch = dynamic.cuda_graph().bare(numbers(1, 2, 4))
    gc.collect()
    assert len(dynamic._open()._workers) == 1
    launch()
    del launch
    gc.collect()
    assert not dynamic._open()._workers


def test_what_tensorrt_refuses(dynamic, monkeypatch):
    monkeypatch.setattr(Context, "set_input_shape", lambda *_: False)
    message = message_of(EngineError, dynamic, numbers(1, 2, 4))
    assert "TensorRT did not take the shape (1, 2, 4) of input 'x0'" in message
    monkeypatch.undo()


def test_a_refused_profile(dynamic, monkeypatch):
    monkeypatch.setattr(Context, "set_optimization_profile_async", lambda *_: False)
    assert "could not use profile 0" in message_of(EngineError, dynamic, numbers(1, 2, 4))


def test_closing(dynamic):
    dynamic(numbers(1, 2, 4))
    dynamic.close()
    gc.collect()
    assert "was closed" in message_of(EngineError, dynamic, numbers(1, 2, 4))


# -- a description that contradicts the plan --------------------------------------------------------------------------


def otherwise(engine, **changes):
    """The same plan with another description, as a file of before, or one that was forged, may have."""
    return Engine(engine.plan, {**engine.description, **changes})


@pytest.fixture
def twofold(engine_of):
    """Two inputs, of one static length among dynamic ones, and two outputs."""
    shapes = {"x": [SMALL, LARGE], "n": [Input((3,), "int32")]}
    return engine_of(trace_of(lambda x, n: {"double": x * 2, "sum": n + 1}, shapes))


def trace_of(forward, shapes):
    return trtnn.network.trace(forward, shapes)


def float32(*shape):
    return {"shape": list(shape), "dtype": "float32"}


X, N = float32("batch", 2, "height"), {"shape": [3], "dtype": "int32"}
DOUBLE = float32("batch", 2, "height")


def dims(batch, height):
    return {
        name: dict(zip(("min", "opt", "max"), d, strict=True)) for name, d in (("batch", batch), ("height", height))
    }


FIRST, SECOND = dims((1, 2, 4), (2, 4, 8)), dims((1, 1, 1), (8, 16, 32))
MIN_OPT_MAX = "[(1, 2, 2), (2, 2, 4), (4, 2, 8)]"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"inputs": {"y": X, "n": N}}, "its inputs are y, n; in the plan x, n"),
        ({"inputs": {"x": X}}, "its inputs are x; in the plan x, n"),
        ({"outputs": {"double": DOUBLE}}, "its outputs are double; in the plan double, sum"),
        ({"outputs": {"sum": N, "double": DOUBLE, "more": N}}, "its outputs are sum, double, more; in the plan double"),
        ({"inputs": {"x": {**X, "dtype": "float16"}, "n": N}}, "input 'x' is float16; in the plan FLOAT"),
        ({"inputs": {"x": X, "n": float32(3)}}, "input 'n' is float32; in the plan INT32"),
        ({"outputs": {"double": {**DOUBLE, "dtype": "int8"}, "sum": N}}, "output 'double' is int8; in the plan FLOAT"),
        ({"inputs": {"x": X, "n": {**N, "shape": [4]}}}, "input 'n' has the shape [4]; in the plan [3]"),
        ({"inputs": {"x": X, "n": {**N, "shape": [3, 1]}}}, "input 'n' has the shape [3, 1]; in the plan [3]"),
        ({"inputs": {"x": X, "n": {**N, "shape": ["height"]}}}, "input 'n' has the shape [height]; in the plan [3]"),
        (
            {"inputs": {"x": float32("batch", "height", 2), "n": N}},
            "input 'x' has the shape [batch, height, 2]; in the plan [-1, 2, -1]",
        ),
        (
            {"outputs": {"double": DOUBLE, "sum": {**N, "shape": [1]}}},
            "output 'sum' has the shape [1]; in the plan [3]",
        ),
        (
            {"outputs": {"double": float32("batch", 1, "height"), "sum": N}},
            "output 'double' has the shape [batch, 1, height]; in the plan [-1, 2, -1]",
        ),
        (
            {"outputs": {"double": float32("batch", 2), "sum": N}},
            "output 'double' has the shape [batch, 2]; in the plan [-1, 2, -1]",
        ),
        ({"profiles": [FIRST]}, "it has 1 profiles; in the plan 2"),
        ({"profiles": [FIRST, SECOND, SECOND]}, "it has 3 profiles; in the plan 2"),
        (
            {"profiles": [dims((1, 2, 5), (2, 4, 8)), SECOND]},
            "input 'x' goes in profile 0 by [(1, 2, 2), (2, 2, 4), (5, 2, 8)] (min, opt, max); "
            f"in the plan {MIN_OPT_MAX}",
        ),
        ({"profiles": [SECOND, FIRST]}, f"input 'x' goes in profile 1 by {MIN_OPT_MAX} (min, opt, max); in the plan ["),
        ({"profiles": [FIRST, dims((1, 1, 1), (8, 17, 32))]}, "input 'x' goes in profile 1 by "),
        ({"profiles": [FIRST, dims((1, 1, 1), (7, 16, 32))]}, "input 'x' goes in profile 1 by "),
    ],
)
def test_a_contradiction_is_told_with_both_before_a_buffer_is_made(twofold, log, changes, line):
    structure = {"structure": {"tuple": list(changes["outputs"])}} if "outputs" in changes else {}
    other = otherwise(twofold, **changes, **structure)
    message = message_of(EngineError, other._open)
    assert message.startswith("what the file of this engine says is not what TensorRT finds in the plan\n  ")
    assert line in message
    assert not log
    assert twofold._open()  # and with its own it opens


@pytest.mark.parametrize("shape", [float32("batch", 2, "height - 1"), float32("batch", 2, "2*height//2 + 0*batch + 1")])
@pytest.mark.parametrize("captured", [False, True])
def test_an_output_of_another_length_is_told_before_its_buffer_is_made(dynamic, log, shape, captured):
    """TensorRT tells it once it knows the inputs' shapes."""
    right = shape["shape"][2] == "height - 1"  # of x[:, :, 1:]
    other = otherwise(dynamic, outputs={"output": shape}, structure="output")
    call, x = other.cuda_graph() if captured else other, numbers(2, 2, 4)
    if right:
        assert_close(call(x), expected(x))
        return
    message = message_of(EngineError, call, x)
    assert "output 'output' has the shape (2, 2, 5); in the plan (2, 2, 3)" in message
    assert "where inputs have x0 (2, 2, 4)" in message
    assert message_of(EngineError, call, x) == message  # each time
    assert kinds(log, "empty", "run", "pinned") == []


def test_what_an_output_comes_to_is_asked_once_for_each_shape(dynamic, monkeypatch):
    """A call whose shapes are known costs nothing more."""
    asked, original = [], Context.get_tensor_shape
    monkeypatch.setattr(Context, "get_tensor_shape", lambda self, name: asked.append(name) or original(self, name))
    for shape in ((1, 2, 4), (2, 2, 4), (1, 2, 4), (2, 2, 4), (2, 2, 4)):
        dynamic(numbers(*shape))
    assert asked == ["output"] * 2


def test_a_dimension_of_one_length_may_be_static_in_the_plan(engine_of, monkeypatch):
    engine = engine_of(trace(lambda x: x[:, :, 1:] * 2, ranged((2, 2, 2), (2, 4, 8))))
    monkeypatch.setattr(CudaEngine, "get_tensor_shape", lambda self, name: (2, 2, -1))
    x = numbers(2, 2, 4)
    assert_close(engine(x), expected(x))


def test_what_was_taken_of_an_engine_is_told_that_it_was_closed(engine_of):
    engine, x = engine_of(trace(lambda x: x * 2, (2, 3))), numbers(2, 3)
    launches = [engine.bare(x), engine.cuda_graph().bare(x)]
    engine.close()
    for launch in launches:
        assert message_of(EngineError, launch) == "this engine was closed\n  load it again"
