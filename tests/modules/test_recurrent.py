"""Recurrent modules: loops of any length, the state they start from, and how the CPU reference runs them."""

import numpy as np
import pytest
import torch

from tests.helpers import (
    BATCH,
    ONE_TARGET,
    assert_close,
    check_dynamic,
    layers,
    load_random,
    message_of,
    numbers,
    run,
    trace,
)
from trtnn import Dim, Input, functional, modules
from trtnn.errors import ArgumentError, ShapeError, UnsupportedError
from trtnn.fingerprint import fingerprint
from trtnn.ops.arithmetic import add, mul
from trtnn.ops.looping import scan

LENGTH = Dim("length", 1, 4, 50)
KINDS = ("LSTM", "GRU", "RNN")


def twins(name, *args, **options):
    theirs = load_random(getattr(torch.nn, name)(*args, **options))
    ours = getattr(modules, name)(*args, **options)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize("name", KINDS)
def test_layers_do_not_grow_with_the_length(name):
    ours, theirs = twins(name, 3, 4, bidirectional=True)
    short, long = (trace(ours, (length, 2, 3)) for length in (2, 1000))
    assert len(layers(long)) == len(layers(short)) < 100
    x = numbers(1000, 2, 3)
    with torch.no_grad():
        assert_close(long.run(x), theirs(torch.from_numpy(x)))
    assert long.build(**ONE_TARGET).plan.nbytes > 0


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_dynamic_length_and_batch(name, batch_first):
    ours, theirs = twins(name, 3, 4, num_layers=2, bidirectional=True, batch_first=batch_first)
    shapes = [(LENGTH, BATCH, 3), (1, 2, 3), (2, 1, 3), (7, 3, 3), (50, 4, 3)]
    spec, *sizes = [(b, n, c) for n, b, c in shapes] if batch_first else shapes
    check_dynamic(lambda x: ours(x)[0], lambda x: theirs(x)[0], spec, sizes, fp16_tolerance=5e-3)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("proj_size", [0, 2])
def test_an_lstm_starts_from_the_state_it_is_given(batched, proj_size):
    ours, theirs = twins("LSTM", 3, 4, num_layers=2, bidirectional=True, proj_size=proj_size)
    batch = (2,) if batched else ()
    arrays = numbers(5, *batch, 3), numbers(4, *batch, proj_size or 4, seed=1), numbers(4, *batch, 4, seed=2)
    x, h, c = map(torch.from_numpy, arrays)
    with torch.no_grad():
        expected = theirs(x, (h, c))
    assert_close(run(lambda x, h, c: ours(x, (h, c)), *arrays), expected)


def test_a_scan_of_a_step_of_ones_own():
    def step(element, state):
        total, _ = state
        return add(total, element), total

    def function(x):
        forward, last = scan(step, x, (mul(x[0], 0), mul(x[0], 0)))
        backward, _ = scan(step, x, (mul(x[0], 0), mul(x[0], 0)), reverse=True)
        return forward, backward, last

    x = numbers(5, 3)
    forward, backward, (total, before) = run(function, x)
    np.testing.assert_allclose(forward, x.cumsum(0), atol=1e-5)
    np.testing.assert_allclose(backward, x[::-1].cumsum(0)[::-1], atol=1e-5)
    np.testing.assert_allclose(total, x.sum(0), atol=1e-5)
    np.testing.assert_allclose(before, x[:-1].sum(0), atol=1e-5)


def test_flops_are_those_of_all_trips():
    ours, _ = twins("GRU", 3, 4)
    shown = sum(row.flops for row in trace(ours, (7, 2, 3)).layers())
    assert shown == 7 * 2 * 2 * 12 * (3 + 4)
    assert "trip_limit" in trace(ours, (7, 2, 3)).summary()


def test_loops_have_a_fingerprint():
    def digest(**options):
        network = trace(twins("LSTM", 3, 4, **options)[0], (5, 2, 3))
        return fingerprint(network.graph.definition, network.graph.trt)

    assert digest() == digest()
    assert len({digest(), digest(bidirectional=True), digest(num_layers=2)}) == 3


def test_the_fp16_report_sees_an_overflow_in_a_loop():
    """It comes in the third trip alone: 1e4 · 2^3 is beyond fp16."""

    def function(x):
        return scan(lambda element, state: (mul(add(element, state[0]), 2.0),), x, (mul(x[0], 0),))[0]

    x = np.zeros((4, 2), np.float32)
    x[0] = 1e4
    report = trace(function, x).fp16_report([x])
    assert {row.kind for row in report.layers if row.overflow} >= {"ELEMENTWISE", "LOOP_OUTPUT"}
    x[0] = 1e3
    report = trace(function, x).fp16_report([x])
    assert not any(row.overflow for row in report.layers)
    assert report.errors["output"] == 0


def test_what_is_not_finite_in_fp32_already_is_no_overflow():
    def function(x):
        return scan(lambda element, state: (add(element, 1),), x, (x[0],))[0]

    x = np.array([[1, 2], [np.inf, np.inf], [3, np.inf]], np.float32)
    report = trace(function, x).fp16_report([x])
    assert not any(row.overflow for row in report.layers)
    assert report.errors["output"] == 0


def test_a_loop_that_gives_another_length_is_refused():
    def function(x):
        five = functional.tensor(5)
        result, _ = scan(lambda element, state: (add(element, state[0]),), x, (mul(x[0], 0),))
        return result, five

    network = trace(function, (4, 2))
    (output,) = (layer for layer in layers(network, "LOOP_OUTPUT") if layer.kind.name == "CONCATENATE")
    output.set_input(1, layers(network, "CONSTANT")[0].get_output(0))
    message = message_of(UnsupportedError, network.run, numbers(4, 2))
    assert "a loop of 4 trips gives an output of length 5" in message


@pytest.mark.parametrize(
    ("name", "shapes", "error", "words"),
    [
        ("LSTM", [(5, 2, 3), (1, 2, 4)], ArgumentError, "LSTM takes a state of 2, not of 1"),
        ("GRU", [(5, 2, 3), (1, 1, 4)], ShapeError, "received (1, 1, 4)"),
        ("GRU", [(5, 2, 3), (2, 2, 4)], ShapeError, "expected (1, 2, 4)"),
        ("GRUCell", [(2, 3), (1, 4)], ShapeError, "GRUCell got a state of the wrong shape"),
        ("LSTMCell", [(2, 3), (2, 4)], ArgumentError, "(h_0, c_0)"),
        ("RNN", [(5, 2, 4)], ShapeError, "(length, batch, 3)"),
    ],
)
def test_errors(name, shapes, error, words):
    ours, _ = twins(name, 3, 4)
    assert words in message_of(error, trace, ours, *map(Input, shapes))
