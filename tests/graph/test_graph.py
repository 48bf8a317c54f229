"""What a trace writes: precision, paths, names, arrays, outputs; and what it refuses."""

import gc
import threading
import weakref
from collections import namedtuple

import numpy as np
import pytest
import torch

from tests.helpers import FP16_TOLERANCE, ONE_TARGET, assert_close, layers, message_of, numbers, strongly_typed, trace
from trtnn import Buffer, Input, Module, Parameter, float16, get_backend, modules
from trtnn import functional as F
from trtnn.errors import ArgumentError, DTypeError
from trtnn.graph.graph import current_graph
from trtnn.graph.precision import Precision
from trtnn.modules import Conv2d, Linear, ModuleList, ReLU, Sequential, SiLU

FLOATING = ("float32", "float16", "bfloat16")


def filled(module):
    """Give every parameter numbers."""
    for seed, (_, parameter) in enumerate(module.named_parameters()):
        parameter.data = numbers(*parameter.shape, seed=seed, scale=0.3)
    return module


class Scale(Module):
    """Multiply by one number."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


class Net(Module):
    """A stem, a body of three, a head."""

    def __init__(self):
        super().__init__()
        self.inputs = {"image": (1, 3, 8, 8)}
        self.stem = Sequential(Conv2d(3, 4, 3), SiLU())
        self.body = ModuleList(Sequential(Conv2d(4, 4, 3, padding=1), SiLU()) for _ in range(3))
        self.head = Conv2d(4, 2, 1)

    def forward(self, image):
        x = self.stem(image)
        for block in self.body:
            x = x + block(x)
        return self.head(x)


def computing(network):
    """The element type of every floating layer by its place, casts aside: (path, type) pairs."""
    return [
        (row.path, row.output.dtype.name)
        for row in network.layers()
        if row.kind not in ("CAST", "CONSTANT") and row.output.dtype.name in FLOATING
    ]


def casts(network):
    return [row.output.dtype.name for row in network.layers() if row.kind == "CAST"]


# -- precision --------------------------------------------------------------------------------------------------------


def test_fp32_is_fp32_throughout():
    network = filled(Net()).trace()
    assert {dtype for _, dtype in computing(network)} == {"float32"}
    assert not casts(network)


@strongly_typed
def test_fp16_is_fp16_from_entrance_to_exit():
    network = filled(Net()).trace(fp16=True)
    rows = network.layers()
    assert {dtype for _, dtype in computing(network)} == {"float16"}
    assert casts(network) == ["float16", "float32"]
    assert (rows[0].kind, rows[-1].kind) == ("CAST", "CAST")
    assert all(layer.kernel.dtype == np.float16 for layer in layers(network, "CONVOLUTION"))
    assert network.inputs == {"image": Input((1, 3, 8, 8))}
    assert network.outputs == {"output": Input((1, 2, 6, 6))}
    definition = network.graph.definition
    assert definition.get_input(0).dtype == get_backend().trt.float32
    assert definition.get_output(0).dtype == get_backend().trt.float32


@strongly_typed
@pytest.mark.parametrize("declared", ["float16", "float32"])
def test_inputs_stay_as_declared(declared):
    network = filled(Net()).trace({"image": Input((1, 3, 8, 8), declared)}, fp16=True)
    assert network.graph.definition.get_input(0).dtype.name == {"float16": "HALF", "float32": "FLOAT"}[declared]
    assert casts(network) == (["float16"] if declared == "float32" else []) + ["float32"]


def test_an_fp16_input_of_an_fp32_network():
    network = filled(Net()).trace({"image": Input((1, 3, 8, 8), "float16")})
    assert {dtype for _, dtype in computing(network)} == {"float32"}
    x = numbers(1, 3, 8, 8)
    assert_close(network.run(x.astype(np.float16)), filled(Net()).trace().run(x))


@strongly_typed
@pytest.mark.parametrize(
    ("patterns", "kept"),
    [
        (["head"], ["head"]),
        (["stem"], ["stem.0", "stem.1"]),
        (["stem.*"], ["stem.0", "stem.1"]),
        (["*.0"], ["stem.0", "body.0.0", "body.0.1", "body.1.0", "body.2.0"]),
        (["body.1"], ["body.1.0", "body.1.1"]),
        (["body"], [f"body.{i}.{j}" for i in range(3) for j in range(2)]),  # a list, which is never called itself
        (["body.[02].0", "head"], ["body.0.0", "body.2.0", "head"]),
        (["*"], ["", "stem.0", "stem.1", "head", *(f"body.{i}.{j}" for i in range(3) for j in range(2))]),
    ],
)
def test_fp32_modules_by_path_and_pattern(patterns, kept):
    network = filled(Net()).trace(fp16=True, fp32_modules=patterns)
    for path, dtype in computing(network):
        assert dtype == ("float32" if path in kept else "float16"), path
    assert {path for path, dtype in computing(network) if dtype == "float32"} == set(kept)
    kernels = {layer.name: layer.kernel.dtype for layer in layers(network, "CONVOLUTION")}
    assert all(dtype == ("float32" if name in kept else "float16") for name, dtype in kernels.items())
    assert network.build(**ONE_TARGET).description["fp32_modules"] == patterns
    x = numbers(1, 3, 8, 8)
    assert_close(network.run(x), filled(Net()).trace().run(x), FP16_TOLERANCE)


@strongly_typed
def test_neighbours_in_fp32_exchange_fp32():
    net = Sequential(Scale(1e5), Scale(1e-5), Scale(1.0))
    x = np.array([1, 1.0001, -3], np.float32)  # in fp16 the first product is infinite, and 1.0001 is 1
    network = net.trace({"input": (3,)}, fp16=True, fp32_modules=["0", "1", "2"])
    assert_close(network.run(x), torch.from_numpy(x), 1e-6)
    network = net.trace({"input": (3,)}, fp16=True, fp32_modules=["0", "1"])
    np.testing.assert_array_equal(network.run(x), [1, 1, -3])


@strongly_typed
def test_an_overflow_is_right_in_fp32_and_infinite_without():
    class Norm(Module):
        def forward(self, x):
            return (x * x) / 1000

    net = Sequential(Scale(1.0), Norm(), Scale(1.0))
    x = np.array([300, -2, 500], np.float32)
    expected = torch.from_numpy(x * x / 1000)
    assert_close(net.trace({"input": (3,)}, fp16=True, fp32_modules=["1"]).run(x), expected, FP16_TOLERANCE)
    assert np.isinf(net.trace({"input": (3,)}, fp16=True).run(x)).tolist() == [True, False, True]


@strongly_typed
def test_tensors_cross_the_border_in_any_structure():
    Pair = namedtuple("Pair", "first second")

    class Inner(Module):
        def forward(self, pair, scale=None, count=3):
            assert isinstance(pair, Pair)
            assert [t.dtype.name for t in (pair.first, pair.second[0], scale["by"])] == ["float32"] * 3
            return Pair(pair.first * scale["by"], {"more": [pair.second[0] * count, 7, None]})

    class Outer(Module):
        def __init__(self):
            super().__init__()
            self.inner = Inner()

        def forward(self, x, y):
            result = self.inner(Pair(x, [y]), scale={"by": y}, count=2)
            assert isinstance(result, Pair)
            assert result.second["more"][1:] == [7, None]
            assert result.first.dtype is float16
            return result.first + 0, result.second["more"][0] + 0

    network = Outer().trace({"x": (2,), "y": (2,)}, fp16=True, fp32_modules=["inner"])
    x, y = numbers(2, seed=1), numbers(2, seed=2)
    assert_close(network.run(x, y), (torch.from_numpy(x * y), torch.from_numpy(y * 2)), FP16_TOLERANCE)


@strongly_typed
def test_what_a_module_casts_itself_stays_so():
    class Head(Module):
        def forward(self, x):
            return x.float() * 1e5

    network = Head().trace({"x": (2,)}, fp16=True)
    np.testing.assert_allclose(network.run(np.array([1, 3], np.float32)), [1e5, 3e5])


def test_a_pattern_that_names_nothing_is_an_error():
    net = filled(Net())
    message = message_of(ArgumentError, net.trace, fp16=True, fp32_modules=["head", "boby.1"])
    assert "fp32_modules names no module: boby.1" in message
    assert "near: body.1" in message
    assert "names no module: model.*" in message_of(ArgumentError, net.compile, fp16=True, fp32_modules=["model.*"])


def test_a_module_in_fp32_that_is_never_called_is_an_error():
    """Whose weights the one that holds it may read by itself, in fp16."""

    class Reads(Module):
        def __init__(self):
            super().__init__()
            self.read, self.body = Linear(3, 3), Sequential(Linear(3, 3), ReLU())

        def forward(self, x):
            return self.body(F.linear(x, self.read.weight))

    net = filled(Reads())
    net.inputs = {"x": (2, 3)}
    for kept in (["read"], ["body", "re*"], ["*.1", "rea?"]):
        message = message_of(ArgumentError, net.trace, fp16=True, fp32_modules=kept)
        assert f"fp32_modules changes nothing: no module {kept[-1]!r} was called in this network" in message
        assert ("the model has one there, but no forward calls it" in message) == (kept == ["read"])
        assert "called were: body.0, body.1, body" in message
    for kept in (["*"], ["body"], ["body.*"], [""], ["body.[0]"]):
        assert net.trace(fp16=True, fp32_modules=kept).graph.precision.fp32_modules == tuple(kept)


def test_fp32_modules_without_fp16_is_an_error():
    assert "pass fp16=True" in message_of(ArgumentError, filled(Net()).trace, fp32_modules=["head"])


def test_fp32_modules_takes_no_lone_string():
    message = message_of(ArgumentError, filled(Net()).trace, fp16=True, fp32_modules="head")
    assert "takes a tuple of paths, not the string 'head'" in message


@strongly_typed
def test_weights_beyond_fp16_are_an_error():
    net = filled(Net())
    net.body[1][0].weight.data = np.full((4, 4, 3, 3), -1e6, np.float32)
    message = message_of(DTypeError, net.trace, fp16=True)
    assert "weights of body.1.0 do not fit in float16" in message
    assert "the largest is 1e+06, float16 ends at 65504" in message
    assert 'fp32_modules=("body.1.0",)' in message
    x = numbers(1, 3, 8, 8, scale=1e-3)
    result = net.trace(fp16=True, fp32_modules=["stem", "body", "head"]).run(x)
    assert_close(result, torch.from_numpy(net.trace().run(x)), 0.02)


@strongly_typed
def test_numbers_beyond_fp16_are_an_error():
    message = message_of(DTypeError, trace, lambda x: (x * 1e6).relu(), (2,), fp16=True)
    assert "numbers of the model's own forward do not fit in float16\n  the largest is 1e+06" in message
    assert "compute with them in fp32: x.float() before it" in message
    network = trace(lambda x: (x.float() * 1e6).relu(), (2,), fp16=True)
    np.testing.assert_array_equal(network.run(np.ones(2, np.float32)), np.full(2, 1e6, np.float32))
    infinite = np.array([np.inf, 1], np.float32)
    network = trace(lambda x: x * infinite, (2,), fp16=True)
    np.testing.assert_array_equal(network.run(np.ones(2, np.float32)), infinite)
    function = lambda x: (x * np.array([np.inf, 1e6])).relu()  # noqa: E731
    assert "do not fit" in message_of(DTypeError, trace, function, (2,), fp16=True)


# -- paths and names --------------------------------------------------------------------------------------------------


def test_layers_are_named_after_their_modules():
    network = filled(Net()).trace()
    names = [layer.name for layer in layers(network)]
    assert names[0] == "stem.0"
    assert names[1:3] == ["stem.1", "stem.1/elementwise"]
    assert names[-1] == "head"
    assert len(set(names)) == len(names)
    assert network.graph.layer_paths[:3] == ["stem.0", "stem.1", "stem.1"]


def test_a_module_called_twice_and_one_made_on_the_way():
    class Twice(Module):
        def __init__(self):
            super().__init__()
            self.act = modules.ReLU()

        def forward(self, x):
            return Sequential(modules.Sigmoid())(self.act(self.act(x) + 1))

    network = Twice().trace({"x": (2,)})
    assert [layer.name for layer in layers(network, "ACTIVATION")] == [
        "act",
        "act/activation",
        "Sequential.Sigmoid",
    ]


def test_a_module_made_on_the_way_must_hold_its_weights():
    message = message_of(ArgumentError, trace, lambda x: modules.BatchNorm2d(3)(x) + 0, (1, 3, 2, 2))
    assert "a parameter of shape (3,) in BatchNorm2d is empty" in message
    message = message_of(ArgumentError, trace, lambda x: Conv2d(3, 4, 1)(x) + 0, (1, 3, 2, 2))
    assert "a parameter of shape (4, 3, 1, 1) in Conv2d is empty" in message


# -- one graph at a time ----------------------------------------------------------------------------------------------


def test_the_graph_is_current_only_while_it_is_traced():
    seen = []
    network = trace(lambda x: seen.append(current_graph()) or x, (2,))
    assert seen == [network.graph]
    assert current_graph() is None

    def fail(x):
        raise RuntimeError("in forward")

    assert message_of(RuntimeError, trace, fail, (2,)) == "in forward"
    assert current_graph() is None


def test_a_trace_within_a_trace():
    def forward(x):
        inner = trace(lambda y: y * 2, (2,))
        return x + inner.run(np.array([1, 2], np.float32))

    np.testing.assert_array_equal(trace(forward, (2,)).run(np.zeros(2, np.float32)), [2, 4])


def test_tensors_of_another_trace():
    kept = []
    trace(lambda x: kept.append(x) or x, (2,))
    message = message_of(ArgumentError, trace, lambda x: x + kept[0], (2,))
    assert "was given a tensor of another trace" in message
    assert "forward returned trtnn.Tensor of another trace as output" in message_of(
        ArgumentError, trace, lambda x: kept[0], (2,)
    )


def test_threads_trace_apart():
    nets, results = [filled(Net()) for _ in range(4)], {}

    def work(index):
        network = nets[index].trace({"image": (index + 1, 3, 8, 8)}, fp16=index % 2 == 1)
        results[index] = network.summary(), network.run(numbers(index + 1, 3, 8, 8))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in range(4):
        network = nets[index].trace({"image": (index + 1, 3, 8, 8)}, fp16=index % 2 == 1)
        assert results[index][0] == network.summary()
        np.testing.assert_array_equal(results[index][1], network.run(numbers(index + 1, 3, 8, 8)))


# -- arrays -----------------------------------------------------------------------------------------------------------


def test_the_graph_keeps_its_arrays_alive():
    x = numbers(2, 3, 8, 8)

    def forward(x):
        for seed in range(20):
            x = F.conv2d(x, numbers(3, 3, 1, 1, seed=seed) * 0.5, numbers(3, seed=seed)) + np.full((1, 3, 1, 1), seed)
        return x

    network = trace(forward, x)
    expected = torch.from_numpy(x)
    for seed in range(20):
        weight, bias = numbers(3, 3, 1, 1, seed=seed) * 0.5, numbers(3, seed=seed)
        expected = torch.nn.functional.conv2d(expected, torch.from_numpy(weight), torch.from_numpy(bias)) + seed
    gc.collect()
    _overwritten = [np.full((3, 3, 1, 1), np.nan, np.float32) for _ in range(200)]
    assert_close(network.run(x), expected)
    assert network.build(**ONE_TARGET).plan.nbytes > 0


def test_a_network_outlives_its_model_and_goes_when_it_is_dropped():
    network = filled(Net()).trace()
    gc.collect()
    x = numbers(1, 3, 8, 8)
    assert_close(network.run(x), filled(Net()).trace().run(x))
    graph = weakref.ref(network.graph)
    del network
    assert graph() is None  # at once: no circle waits for the collector


@pytest.mark.parametrize("inner", [(), ("*",)])
def test_a_trace_leaves_no_circles(inner):
    """The arrays of a large network would stay until the collector comes, which it seldom does."""
    gc.collect()
    gc.disable()
    try:
        graph = weakref.ref(filled(Net()).trace(outputs=inner).graph)
        assert graph() is None
    finally:
        gc.enable()


def test_loading_again_leaves_a_traced_network_as_it_was():
    net = filled(Net())
    network, x = net.trace(), numbers(1, 3, 8, 8)
    before = network.run(x)
    net.load_state_dict({name: array * 2 for name, array in net.state_dict().items()})
    np.testing.assert_array_equal(network.run(x), before)
    assert not np.array_equal(net.trace().run(x), before)


@pytest.mark.parametrize("kind", ["float16", "float64", ">f4"])
def test_weights_of_any_type_and_layout(kind):
    class Times(Module):
        def __init__(self, array):
            super().__init__()
            self.weight = Parameter(*array.shape)
            self.weight.data = array

        def forward(self, x):
            return F.linear(x, self.weight)

    plain = numbers(5, 4)
    for array in (plain.astype(kind), np.asfortranarray(plain.astype(kind)), plain[:, ::-1].astype(kind)[:, ::-1]):
        network = Times(array).trace({"x": (2, 4)})
        x = numbers(2, 4, seed=3)
        assert_close(network.run(x), torch.from_numpy(x @ plain.T))


def test_arrays_of_no_dimensions():
    x = numbers(2, 3)
    assert_close(trace(lambda x: x * np.array(2.5) + np.float32(1), x).run(x), torch.from_numpy(x * 2.5 + 1))


# -- outputs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (3, "forward returned int as output"),
        (None, "forward returned NoneType as output"),
        (np.zeros(3), "forward returned numpy.ndarray as output"),
        ({"a": [1]}, "forward returned int as a_0"),
        ((), "forward returned nothing that could be an output"),
        ({}, "forward returned nothing"),
    ],
)
def test_outputs_that_are_none(result, words):
    assert words in message_of(ArgumentError, trace, lambda x: result, (2,))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int64, np.bool_])
@pytest.mark.parametrize("fp16", [False, True])
def test_parameters_that_are_returned_are_constants(dtype, fp16):
    held = Buffer(2, 3)
    held.data = np.array([[0, 1, 2], [0.1, 4, 5]]).astype(dtype)
    network = trace(lambda x: {"x": x, "held": held, "again": held}, (2,), fp16=fp16)
    result = network.run(np.zeros(2, np.float32))
    wanted = held.data.astype(np.float32) if held.data.dtype.kind == "f" else held.data
    np.testing.assert_array_equal(result["held"], wanted)
    np.testing.assert_array_equal(result["again"], wanted)
    assert result["held"].dtype == wanted.dtype


def test_keys_of_returned_dicts_are_strings():
    message = message_of(ArgumentError, trace, lambda x: {0: x}, (2,))
    assert "the keys of a returned dict are strings, not [0]" in message


def test_outputs_do_not_take_the_names_of_inputs():
    network = trace(lambda x: {"x0": x + 1, "y": x}, (2,))
    assert list(network.outputs) == ["x0_2", "y"]
    result = network.run(np.zeros(2, np.float32))
    assert list(result) == ["x0", "y"]
    np.testing.assert_array_equal(result["x0"], [1, 1])
    definition = network.graph.definition
    names = [definition.get_input(0).name, *(definition.get_output(i).name for i in range(2))]
    assert len(set(names)) == 3


@strongly_typed
def test_an_input_that_is_returned_keeps_its_digits():
    x = np.array([0.1, 1e6], np.float32)
    np.testing.assert_array_equal(trace(lambda x: (x, x.relu()), (2,), fp16=True).run(x)[0], x)


def test_precision_is_a_value():
    assert Precision(float16, ["a"]) == Precision(float16, ("a",))
    assert Precision(float16, ("a.*",)).keeps("a.b.c")
    assert not Precision(float16, ("a.*",)).keeps("a")
    assert Precision(float16, ("a",)).keeps("a.b.c")
    assert not Precision(float16, ("a",)).keeps("ab")
