"""Recurrent modules: loops of any length, the state they start from, and how the CPU reference runs them."""

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

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
from trtnn import Dim, Input, Parameter, functional, modules
from trtnn.build.fingerprint import fingerprint
from trtnn.errors import ArgumentError, DTypeError, ShapeError, UnsupportedError
from trtnn.ops._looping import scan
from trtnn.ops.arithmetic import add, mul

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


@pytest.mark.parametrize("name", [*KINDS, "LSTMCell", "GRUCell", "RNNCell"])
@pytest.mark.parametrize("kind", ["tensor", "array", "torch", "parameter", "double"])
def test_a_state_may_be_anything_that_holds_numbers(name, kind):
    ours, theirs = twins(name, 3, 4)
    cell = name.endswith("Cell")
    arrays = [numbers(*(() if cell else (1,)), 2, 4, seed=seed) for seed in range(1 + name.startswith("LSTM"))]
    x = numbers(2, 3) if cell else numbers(5, 2, 3)

    def as_kind(array):
        parameter = Parameter(array.shape)
        parameter.data = array
        return {"array": array, "torch": torch.from_numpy(array), "double": array.astype(np.float64)}.get(
            kind, parameter
        )

    def state(given):
        return given[0] if len(given) == 1 else list(given)

    with torch.no_grad():
        expected = theirs(torch.from_numpy(x), state([torch.from_numpy(array) for array in arrays]))
    if kind == "tensor":
        result = run(lambda x, *given: ours(x, state(given)), x, *arrays)
    else:
        result = run(lambda x: ours(x, state([as_kind(array) for array in arrays])), x)
    assert_close(result, expected)


@pytest.mark.parametrize("name", [*KINDS, "GRUCell"])
def test_packed_sequences_of_torchs_are_refused(name):
    packed = pack_padded_sequence(torch.zeros(4, 2, 3), [4, 2])
    ours, _ = twins(name, 3, 4)
    message = message_of(UnsupportedError, trace, lambda x: ours(packed), (4, 2, 3))
    assert f"{name} of a packed sequence" in message
    assert "give it padded, (length, batch, input_size), or F.pack_padded_sequence of that and the lengths" in message


# -- sequences of several lengths -------------------------------------------------------------------------------------


def padded(ours, rnn, x, lengths, start=None, **options):
    """Run a module on packed sequences, by torch's functions or by those here; return all that it gives."""
    packed = rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    output, state = ours(packed, start)
    output, counts = rnn.pad_packed_sequence(output, padding_value=-2.0, **options)
    return output, state, counts


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("lengths", [(7, 2, 1, 5), (1, 7, 7, 3), (7, 7, 7, 7)])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("LSTM", {"bidirectional": True, "num_layers": 2}),
        ("LSTM", {"proj_size": 3, "bidirectional": True}),
        ("GRU", {"bidirectional": True, "batch_first": True}),
        ("RNN", {"num_layers": 2, "nonlinearity": "relu"}),
    ],
)
def test_each_sequence_ends_at_its_length(name, options, lengths):
    """Its last state is that of its last step, the other direction begins there, and padding is behind it."""
    ours, theirs = twins(name, 3, 4, **options)
    x, lengths = numbers(7, 4, 3), np.array(lengths)
    with torch.no_grad():
        expected = padded(theirs, torch.nn.utils.rnn, torch.from_numpy(x), torch.from_numpy(lengths))
    assert_close(run(lambda x, n: padded(ours, functional, x, n), x, lengths), expected)
    of_numbers = run(lambda x: padded(ours, functional, x, lengths.tolist()), x)
    assert_close(of_numbers, expected)


def test_packed_sequences_begin_with_the_state_that_is_given():
    ours, theirs = twins("GRU", 3, 4, bidirectional=True)
    x, h, lengths = numbers(5, 3, 3), numbers(2, 3, 4, seed=1), np.array([2, 5, 4])
    with torch.no_grad():
        expected = padded(theirs, torch.nn.utils.rnn, *map(torch.from_numpy, (x, lengths, h)))
    assert_close(run(lambda x, n, h: padded(ours, functional, x, n, h), x, lengths, h), expected)


def test_packed_sequences_of_dynamic_lengths():
    ours, theirs = twins("LSTM", 3, 4, bidirectional=True)

    class Packs(modules.Module):
        def __init__(self):
            super().__init__()
            self.lstm = ours
            self.inputs = {"x": Input((LENGTH, BATCH, 3)), "n": Input((BATCH,), "int64")}

        def forward(self, x, n):
            return padded(self.lstm, functional, x, n)

    network = Packs().trace()
    for steps, lengths in ((4, (1, 4)), (9, (3, 9, 2)), (1, (1,))):
        x, n = numbers(steps, len(lengths), 3), np.array(lengths)
        with torch.no_grad():
            expected = padded(theirs, torch.nn.utils.rnn, torch.from_numpy(x), torch.from_numpy(n))
        assert_close(network.run(x, n), expected)
    for fp16 in (False, True):
        assert Packs().trace(fp16=fp16).build(**ONE_TARGET).plan.nbytes > 0


@pytest.mark.parametrize("total", [None, 5, 6, 9])
def test_how_many_steps_there_are(total):
    """Of lengths that Python knows as many as torch gives; of a Tensor as many as there were, or as are asked for."""
    ours, theirs = twins("GRU", 3, 4)
    x, lengths = numbers(6, 2, 3), [5, 2]
    with torch.no_grad():
        expected = padded(theirs, torch.nn.utils.rnn, torch.from_numpy(x), lengths, total_length=total)
    assert_close(run(lambda x: padded(ours, functional, x, lengths, total_length=total), x), expected)
    with torch.no_grad():
        expected = padded(theirs, torch.nn.utils.rnn, torch.from_numpy(x), lengths, total_length=total or 6)
    given = run(lambda x, n: padded(ours, functional, x, n, total_length=total), x, np.array(lengths))
    assert_close(given, expected)


def test_a_batch_that_is_first_and_other_ranks():
    x, n = numbers(2, 5, 3, 2), np.array([3, 5])

    def function(rnn, x, n):
        packed = rnn.pack_padded_sequence(x, n, batch_first=True, enforce_sorted=False)
        flat = rnn.pack_padded_sequence(x[:, :, 0, 0], n, batch_first=True, enforce_sorted=False)
        return rnn.pad_packed_sequence(packed), rnn.pad_packed_sequence(flat, batch_first=True)

    expected = function(torch.nn.utils.rnn, torch.from_numpy(x), torch.from_numpy(n))
    assert_close(run(lambda x, n: function(functional, x, n), x, n), expected)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: functional.pack_padded_sequence(x, [4, 5]), ArgumentError, "lengths from 1 to 4, not 5"),
        (lambda x: functional.pack_padded_sequence(x, [4, 0]), ArgumentError, "lengths from 1 to 4, not 0"),
        (lambda x: functional.pack_padded_sequence(x, [2, 4]), ArgumentError, "or enforce_sorted=False"),
        (lambda x: functional.pack_padded_sequence(x, [4]), ShapeError, "1 lengths for a batch of 2"),
        (lambda x: functional.pack_padded_sequence(x, np.array([4])), ShapeError, "takes (2,) lengths"),
        (lambda x: functional.pack_padded_sequence(x, x[0, :, 0]), DTypeError, "lengths that are integers"),
        (lambda x: functional.pack_padded_sequence(x[:, 0, 0], [4]), ShapeError, "takes (length, batch, ...)"),
        (functional.pad_packed_sequence, DTypeError, "takes a packed sequence as sequence"),
        (lambda x: functional.pad_packed_sequence(packed(x), total_length=2), ArgumentError, "total_length from 4 on"),
        (lambda x: packed(x).data, UnsupportedError, "data of a packed sequence"),
        (lambda x: [packed(x)], ArgumentError, "of packed sequences pad_packed_sequence(x)[0]"),
        (lambda x: twins("GRU", 5, 4)[0](packed(x)), ShapeError, "takes (length, batch, 5)"),
        (lambda x: twins("GRUCell", 3, 4)[0](packed(x)), UnsupportedError, "GRUCell of a packed sequence"),
    ],
)
def test_what_cannot_be_packed(call, error, words):
    assert words in message_of(error, trace, call, (4, 2, 3))


def packed(x):
    return functional.pack_padded_sequence(x, [4, 2])


# -- with weights of one's own ----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("has_biases", [True, False])
@pytest.mark.parametrize("name", ["lstm", "gru", "rnn_tanh", "rnn_relu"])
def test_torchs_functions(name, has_biases):
    for options in (
        {"num_layers": 2, "bidirectional": True, "batch_first": True},
        *([{"proj_size": 2}] if name == "lstm" else []),
    ):
        kind = {"lstm": "LSTM", "gru": "GRU"}.get(name, "RNN")
        _, theirs = twins(kind, 3, 4, bias=has_biases, **options)
        weights = [weight.detach() for weight in theirs._flat_weights]
        layers_, both = options.get("num_layers", 1), options.get("bidirectional", False)
        first = options.get("batch_first", False)
        states = [numbers(layers_ * (1 + both), 2, n, seed=n) for n in (options.get("proj_size", 4), 4)]
        states = states if name == "lstm" else states[:1]
        x = numbers(2, 5, 3) if first else numbers(5, 2, 3)

        def function(space, x, *state, weights=weights, how=(has_biases, layers_, 0.5, False, both, first)):
            return getattr(space, name)(x, state if name == "lstm" else state[0], weights, *how)

        with torch.no_grad():
            expected = function(torch, *map(torch.from_numpy, (x, *states)))
        assert_close(run(lambda *inputs: function(functional, *inputs), x, *states), expected)


@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("name", ["lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"])
def test_torchs_functions_of_one_step(name, biases):
    kind = {"lstm_cell": "LSTMCell", "gru_cell": "GRUCell"}.get(name, "RNNCell")
    _, theirs = twins(kind, 3, 4)
    weights = [weight.detach() for weight in theirs.parameters()][: 4 if biases else 2]
    states = [numbers(2, 4, seed=seed) for seed in range(1 + (name == "lstm_cell"))]

    def function(space, x, *state):
        return getattr(space, name)(x, state if name == "lstm_cell" else state[0], *weights)

    arrays = (numbers(2, 3), *states)
    with torch.no_grad():
        expected = function(torch, *map(torch.from_numpy, arrays))
    assert_close(run(lambda *inputs: function(functional, *inputs), *arrays), expected)


@pytest.mark.parametrize(
    ("how", "count", "words"),
    [
        ((True, 1, 0.0, True, False, False), 4, "lstm with train=True"),
        ((True, 2, 0.0, False, False, False), 4, "lstm of 2 directions of layers takes 8 weights and a state of 2"),
    ],
)
def test_weights_that_do_not_fit(how, count, words):
    _, theirs = twins("LSTM", 3, 4)
    weights = [weight.detach() for weight in theirs._flat_weights][:count]
    h = numbers(1, 2, 4)
    assert words in message_of(
        ArgumentError, trace, lambda x, h: functional.lstm(x, (h, h), weights, *how), (5, 2, 3), h.shape
    )
    said = message_of(ArgumentError, trace, lambda x: functional.lstm_cell(x, (x,), *weights), (2, 3))
    assert "a state of 2, (h_0, c_0), not of 1" in said


@pytest.mark.parametrize("name", KINDS)
def test_arguments_by_position_and_where_parameters_are_made(name):
    more = ("relu",) if name == "RNN" else ()
    args = (3, 4, 2, *more, False, True, 0.0, True)
    options = {"device": "cpu", "dtype": torch.float32}
    if name == "LSTM":
        args, options = (*args, 2, "cpu", torch.float32), {}
    ours, theirs = twins(name, *args, **options)
    assert {n: p.shape for n, p in ours.named_parameters()} == {n: tuple(p.shape) for n, p in theirs.named_parameters()}
    assert repr(ours) == repr(theirs)
    assert ours.flatten_parameters() is None
    named = getattr(modules, name)(input_size=3, hidden_size=4, device="cuda", dtype=torch.float16)
    assert named.hidden_size == 4
    if name != "LSTM":
        assert "proj_size" in message_of(TypeError, getattr(modules, name), 3, 4, proj_size=2)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("args", "options", "words"),
    [
        ((0, 4), {}, "a positive int as input_size, not 0"),
        ((3, 4.0), {}, "an int as hidden_size, not 4.0"),
        ((3, 0), {}, "a positive int as hidden_size, not 0"),
        ((3, 4, 0), {}, "a positive int as num_layers, not 0"),
        ((3, 4), {"bias": 1}, "True or False as bias, not 1"),
        ((3, 4), {"batch_first": "False"}, "True or False as batch_first, not 'False'"),
        ((3, 4), {"dropout": 1.5}, "a probability from 0 to 1 as dropout, not 1.5"),
        ((3, 4), {"dropout": True}, "a probability from 0 to 1 as dropout, not True"),
    ],
)
def test_arguments_that_torch_refuses(name, args, options, words):
    assert f"{name} takes {words}" in message_of(ArgumentError, getattr(modules, name), *args, **options)
    with pytest.raises((TypeError, ValueError)):
        getattr(torch.nn, name)(*args, **options)


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
