"""Where networks are weakly typed: what is traced is what a strongly typed network would be, and the build pins it.

TensorRT 8.6 does not run here, so a network of the TensorRT that does is traced as if it were weakly typed.
"""

import json
import math
from dataclasses import replace
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch

import trtnn.build.build
import trtnn.graph.infinity
from tests.helpers import (
    ONE_TARGET,
    Function,
    assert_close,
    layers,
    load_random,
    message_of,
    numbers,
    strongly_typed,
    trace,
)
from tests.quantization.networks import Rounded, filled
from trtnn import Dim, Input, Module, float16, float32, get_backend, modules
from trtnn import functional as F
from trtnn.build.build import BuildConfig, _make_settings
from trtnn.build.pinning import NO_PINS, PinnedLayer, Pins
from trtnn.errors import BuildError, DTypeError
from trtnn.graph.definition import flat_array, layer_tensors, read_layers
from trtnn.models.yolov5 import YOLOv5
from trtnn.modules import Conv2d, Linear, Sequential, SiLU
from trtnn.shapes.symbolic import at_opt


@pytest.fixture
def weak(monkeypatch):
    backend = get_backend()
    monkeypatch.setattr(backend, "capabilities", replace(backend.capabilities, strongly_typed=False, targets=False))


class Block(Module):
    """Two convolutions with a residual path; a name of its own for each part."""

    def __init__(self):
        super().__init__()
        self.inputs = {"x": (1, 4, 6, 6)}
        self.first = Sequential(Conv2d(4, 4, 3, padding=1), SiLU())
        self.second = Conv2d(4, 4, 1)
        self.norm = modules.BatchNorm2d(4)
        self.head = Linear(6, 3)
        load = {"weight": 0.3, "bias": 0.1, "running_mean": 0.1, "running_var": 0.5}
        for name, member in (*self.named_parameters(), *self.named_buffers()):
            member.data = abs(numbers(*member.shape, scale=load[name.rpartition(".")[2]])) + np.float32(1e-3)

    def forward(self, x):
        return self.head(self.norm(self.second(self.first(x)) + x)).softmax(1)


def small_yolov5():
    model = YOLOv5("yolov5n", classes=3)
    for name, member in (*model.named_parameters(), *model.named_buffers()):
        if "anchors" not in name:
            member.data = abs(numbers(*member.shape, scale=0.05))
    model.inputs = {"images": (1, 3, 64, 64)}
    return model


def of(function, *inputs):
    module = Function(function)
    module.inputs = {f"x{i}": value for i, value in enumerate(inputs)}
    return lambda: module


CELLS = numbers(1, 4, 6, 6, seed=3)
DYNAMIC = (Dim("batch", 1, 2, 3), Dim("length", 3, 4, 6), 4)
CASES = {
    "all in fp16": (Block, {}),
    "modules in fp32": (Block, {"fp32_modules": ("first.0", "norm")}),
    "neighbours in fp32": (Block, {"fp32_modules": ("second", "norm", "head")}),
    "all in fp32": (Block, {"fp32_modules": ("*",)}),
    "YOLOv5, which casts its boxes": (small_yolov5, {}),
    "YOLOv5's head": (small_yolov5, {"fp32_modules": ("model.24",)}),
    "a cast, kept through copies": (
        of(lambda x: F.cat([x.float().view(4, 36)[1:3] * 2, x.view(4, 36)[:2].float()], 1).permute(1, 0), (1, 4, 6, 6)),
        {},
    ),
    "a cast and back": (of(lambda x: ((x * 2).float().sigmoid() + CELLS).half() * 3, (1, 4, 6, 6)), {}),
    "one value in both types": (of(lambda x: [x.relu(), x.float() * 2, (x.float() + 1).half() / 3], (2, 3)), {}),
    "integers that become floating": (of(lambda x: [x / 2, x.float() * 3, x.half() + 1], Input((4,), "int32")), {}),
    "two types meet": (of(lambda x, y: [x * y.float(), x.float() - y, -x], (2, 3), (2, 3)), {}),
    "weights beside a cast": (of(lambda x: F.linear(x.float(), CELLS[0, 0]) + CELLS[0, 1, 0], (2, 6)), {}),
    "floating to integers": (of(lambda x: [x.int() * 2, (x.float() * 2).int()], (2, 3)), {}),
    "norms, which are carried in fp32": (
        of(lambda x: [F.normalize(x), x.norm(dim=1), x.logsumexp(-1), x.var(1), F.rms_norm(x, (6,)) + 1], (2, 6)),
        {},
    ),
    "statistics of layers": (
        of(lambda x: [F.layer_norm(x, (6,), CELLS[0, 0, 0]), F.group_norm(x, 2), x.float().log_softmax(1)], (2, 4, 6)),
        {},
    ),
    "truths and choices": (
        of(lambda x: [F.where(x > 0, x, 0.5), (x > 0).float() * 2, (x > 1) | F.isinf(x), x.float() <= 1], (2, 6)),
        {},
    ),
    "indices": (
        of(lambda x: [*x.topk(2), x.argmax(1) * 2, x.gather(1, x.argmax(1, True)), x[[0, 1], [2, 3]]], (2, 6)),
        {},
    ),
    "products of two types": (
        of(lambda x: [x @ x.mT, x.float() @ x.mT, F.einsum("ij,kj->ik", x, x), F.softmax(x, 1) @ x.float().mT], (3, 6)),
        {},
    ),
    "made of numbers": (
        of(lambda x: [F.zeros_like(x) + x, F.arange(6) * x, F.arange(0.0, 3, 0.5) + x.float(), F.tril(x)], (2, 6)),
        {},
    ),
    "moved and padded": (
        of(lambda x: [F.pad(x, (1, 1), value=0.5), x.flip(1).float() + 1, F.stack([x, x]) * 2, x.cumsum(1)], (2, 6)),
        {},
    ),
    "attention": (of(lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True), (2, 4, 6)), {}),
    "carried in fp32": (
        of(lambda x: [x % 0.75, x // 0.7, F.fmod(x, x * 0.5), F.mish(x), F.gelu(x), x**7], (2, 6)),
        {},
    ),
    "lengths": (
        of(lambda x: [x[:, 1:] * F.arange(4), x.var(1), x.float() * x.shape[1], x.tril(), x * x.shape[0]], DYNAMIC),
        {},
    ),
    "an fp16 input": (of(lambda x: x * 2 + x.float() * 3, Input((2, 3), "float16")), {}),
}


def constant(number, dtype, shape, graph):
    """Infinity and NaN as strongly typed networks have them."""
    return graph.emit("constant", shape, np.full(shape, number, graph.stored_dtype(dtype).numpy), traced_as=dtype)


def traced(network):
    """The path, the kind and the floating type of every layer that computes, with what it was traced as."""
    graph = network.graph
    kinds = [kind for kind, _ in read_layers(graph.definition, graph.trt)]
    rows = zip(graph.layer_paths, kinds, graph.layer_dtypes, strict=True)
    return [row for row in rows if row[1] not in ("CAST", "IDENTITY")]


def stored(network):
    """The same with the type that the definition itself has: of a strongly typed network the truth."""
    graph, rows = network.graph, []
    for path, (kind, layer) in zip(graph.layer_paths, read_layers(graph.definition, graph.trt), strict=True):
        if kind not in ("CAST", "IDENTITY"):
            # What reads floating numbers computes in their type, be its answer a truth or an index.
            names = {tensor.dtype.name for tensor in layer_tensors(layer)} if kind != "SHAPE" else {}
            rows.append((path, kind, float16 if "HALF" in names else float32 if "FLOAT" in names else None))
    return rows


@strongly_typed
@pytest.mark.parametrize("name", CASES)
def test_what_is_traced_is_what_a_strongly_typed_network_is(name, monkeypatch, request):
    make, options = CASES[name]
    strong = make().trace(fp16=True, **options)
    assert traced(strong) == stored(strong)
    request.getfixturevalue("weak")
    monkeypatch.setattr(trtnn.graph.infinity, "computed", constant)
    network = make().trace(fp16=True, **options)
    assert traced(network) == stored(strong)
    assert {dtype for _, _, dtype in stored(network)} <= {float32, None}  # the definition itself is in fp32
    for layer in layers(network, "CAST"):
        assert {layer.get_input(0).dtype.name, layer.get_output(0).dtype.name} & {"INT32", "INT64", "BOOL"}
    assert network.inputs == strong.inputs
    assert network.outputs == strong.outputs
    assert network.graph.structure == strong.graph.structure


@pytest.mark.parametrize("name", CASES)
def test_the_reference_computes_as_declared(weak, name):
    make, options = CASES[name]
    half, full = make().trace(fp16=True, **options), make().trace()
    given = [
        (numbers(*map(at_opt, spec.shape), seed=i) * 10).astype(spec.dtype.numpy)
        for i, spec in enumerate(full.inputs.values())
    ]
    expected, result = full.run(*given), half.run(*given)
    if isinstance(expected, (list, tuple)):
        assert len(expected) == len(result)
    else:
        expected, result = [expected], [result]
    for one, other in zip(expected, result, strict=True):
        np.testing.assert_array_equal(one, other)


# -- what the build asks of TensorRT ----------------------------------------------------------------------------------


class FakeLayer:
    """A layer of a network, with what only weakly typed ones take."""

    def __init__(self, kind, layer):
        self.kind, self.name, self.num_groups = kind, layer.name, getattr(layer, "num_groups", 1)
        self.num_inputs, self.get_input = layer.num_inputs, layer.get_input
        self.num_outputs, self.get_output = layer.num_outputs, layer.get_output
        self.precision, self.output_types = None, {}
        if hasattr(layer, "loop"):
            self.loop = layer.loop

    def set_output_type(self, index, dtype):
        self.output_types[index] = dtype

    def reset_precision(self):
        self.precision = None

    def reset_output_type(self, index):
        self.output_types.pop(index, None)


def ask(network):
    """Make the build's settings for a network: what is pinned, the flags, and what was set on layers and inputs."""
    graph = network.graph
    definition = graph.definition
    fakes = dict(enumerate(FakeLayer(*entry) for entry in read_layers(definition, graph.trt)))
    inputs = {i: SimpleNamespace(dtype=definition.get_input(i).dtype) for i in range(definition.num_inputs)}
    flags = []
    settings = SimpleNamespace(set_flag=flags.append, profiling_verbosity=None)
    trt = SimpleNamespace(
        float32="fp32",
        float16="fp16",
        BuilderFlag=SimpleNamespace(FP16="FP16", INT8="INT8", OBEY_PRECISION_CONSTRAINTS="OBEY"),
        ProfilingVerbosity=SimpleNamespace(DETAILED="DETAILED"),
    )
    fake = SimpleNamespace(
        placement=graph.placement,
        plugins={},
        backend=SimpleNamespace(capabilities=graph.backend.capabilities, trt=trt),
        trt=trt,
        builder=SimpleNamespace(create_builder_config=lambda: settings),
        layer_dtypes=graph.layer_dtypes,
        layer_paths=graph.layer_paths,
        inputs=graph.inputs,
        profiles=(),
        definition=SimpleNamespace(get_input=inputs.__getitem__),
    )
    with mock.patch("trtnn.build.pinning.read_layers", return_value=[(fake.kind, fake) for fake in fakes.values()]):
        _, pins = _make_settings(fake, BuildConfig(), ())
    return SimpleNamespace(
        pins=pins, flags=flags, verbosity=settings.profiling_verbosity, layers=fakes, inputs=inputs, graph=fake
    )


MEASURED = ("ACTIVATION", "CONVOLUTION", "DECONVOLUTION", "ELEMENTWISE", "MATRIX_MULTIPLY", "POOLING")


def test_layers_are_pinned_with_their_outputs(weak):
    network = Block().trace(fp16=True, fp32_modules=("second", "head"))
    asked = ask(network)
    assert asked.flags == ["FP16", "OBEY"]
    assert asked.verbosity == "DETAILED"  # what the check after the build reads
    rows = [(layer.kind, layer.name, layer.precision) for layer in asked.layers.values()]
    assert rows == [
        ("CONVOLUTION", "first.0", "fp16"),
        ("ACTIVATION", "first.1", "fp16"),
        ("ELEMENTWISE", "first.1/elementwise", "fp16"),
        ("CONVOLUTION", "second", "fp32"),
        ("ELEMENTWISE", "/elementwise", None),  # it may be one kernel with the convolution
        ("SCALE", "norm", None),  # TensorRT has it in one type
        ("CONSTANT", "head", "fp32"),
        ("MATRIX_MULTIPLY", "head/matrix_multiply", "fp32"),
        ("CONSTANT", "head/constant", "fp32"),
        ("ELEMENTWISE", "head/elementwise", "fp32"),
        ("SOFTMAX", "/softmax", None),
    ]
    for layer in asked.layers.values():
        assert layer.output_types == ({0: layer.precision} if layer.precision else {})
    by_name = {layer.name: layer for layer in asked.layers.values()}
    assert [pin.name for pin in asked.pins.to_fp32] == [name for _, name, kind in rows if kind == "fp32"]
    assert all(pin.outputs == (by_name[pin.name].get_output(0).name,) for pin in asked.pins.to_fp32)


def test_what_layers_in_half_alone_read_may_be_copied_for_them(weak):
    def forward(x):
        wide = x.float()
        shared, left = wide * 2, wide * 3
        return (shared + 1) * 1.0, shared.half() * 2, left, left.half() + 1, (wide * 5).half().relu()

    asked = ask(trace(forward, (2, 3), fp16=True))
    (alone,) = (pin for pin in asked.pins.to_fp32 if pin.handed_on)
    (relu,) = (layer for layer in asked.layers.values() if layer.kind == "ACTIVATION")
    assert alone.handed_on == alone.outputs == (relu.get_input(0).name,)


def test_what_is_pinned_is_no_part_of_what_a_refit_compares(weak):
    network, other = (Block().trace(fp16=True) for _ in range(2))
    skeleton = network.refittable().skeleton
    for one in network, other:
        one.graph.is_pinned = ask(one).graph.is_pinned
        one.graph.definition.get_layer(0).name += "pinned"
    assert network.refittable().skeleton == skeleton
    assert "trace it again" in message_of(BuildError, other.refittable)


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        ((), {"conv": float16, "last": float16}),
        (("conv",), {"conv": float32, "last": float16}),
        (("conv", "bn"), {"conv": float32, "last": float16}),
        (("bn",), {"conv": float16, "bn": float32, "last": float16}),
        (("",), {"conv": float32, "last": float32}),
    ],
)
def test_a_norm_is_folded_as_where_networks_are_strongly_typed(weak, kept, expected):
    theirs = torch.nn.Sequential()
    net = Sequential()
    for name, arguments in {"conv": ("Conv2d", 3, 4, 3), "bn": ("BatchNorm2d", 4), "last": ("Conv2d", 4, 2, 1)}.items():
        theirs.add_module(name, getattr(torch.nn, arguments[0])(*arguments[1:]))
        setattr(net, name, getattr(modules, arguments[0])(*arguments[1:]))
    net.load_state_dict(load_random(theirs).state_dict())
    network, x = net.trace({"input": (1, 3, 5, 5)}, fp16=True, fp32_modules=kept), numbers(1, 3, 5, 5)
    assert dict(zip(network.graph.layer_paths, network.graph.layer_dtypes, strict=True)) == expected
    with torch.no_grad():
        assert_close(network.run(x), theirs(torch.from_numpy(x)))


def test_what_was_folded_is_read_as_it_was(weak):
    """The convolution is in fp32, and its output is read in fp16, before and after, and in fp32."""
    weight, parameters, x = numbers(3, 3, 1, 1), [abs(numbers(3, seed=i)) + 0.1 for i in range(4)], numbers(1, 3, 2, 2)

    class Net(Module):
        def __init__(self):
            super().__init__()
            self.conv = Conv2d(3, 3, 1, bias=False)
            self.conv.load_state_dict({"weight": weight})

        def forward(self, x):
            y = self.conv(x)
            return F.batch_norm(y, *parameters), F.relu(y), y.float(), y

    network = Net().trace({"x": x.shape}, fp16=True, fp32_modules=["conv"])
    y = torch.nn.functional.conv2d(*map(torch.from_numpy, (x, weight)))
    normal = torch.nn.functional.batch_norm(y, *map(torch.from_numpy, parameters))
    assert_close(network.run(x), (normal, y.relu(), y, y))


def test_what_is_cast_in_forward_is_pinned(weak):
    """Boxes are decoded in fp32 because YOLOv5's forward says ``.float()``."""
    network = small_yolov5().trace(fp16=True)
    known = {
        layer.name: (type(layer), path) for layer, path in zip(layers(network), network.graph.layer_paths, strict=True)
    }
    pinned = [known[pin.name] for pin in ask(network).pins.to_fp32]
    assert {path for _, path in pinned} == {"model.24"}
    kinds = {"IConstantLayer", "IActivationLayer", "IElementWiseLayer", "IConcatenationLayer"}
    assert {kind.__name__ for kind, _ in pinned} == kinds
    assert sum(kind.__name__ == "IElementWiseLayer" for kind, _ in pinned) == 4


def test_a_loop_in_fp32_is_refused_beside_fp16(weak):
    model = Sequential({"first": Linear(3, 4), "rnn": modules.RNN(4, 5)})
    for name, member in model.named_parameters():
        member.data = numbers(*member.shape, seed=len(name))
    model.inputs = {"input": (6, 2, 3)}
    for options in ({"fp16": True}, {}, {"fp16": True, "fp32_modules": ("*",)}):
        ask(model.trace(**options))
    asked = ask(model.trace(fp16=True))
    measured = [layer for layer in asked.layers.values() if layer.kind in MEASURED]
    found = [(layer.kind, layer.name.partition("/")[0], layer.precision) for layer in measured]
    assert found == [
        *((kind, path, "fp16") for path in ("first", "rnn") for kind in ("MATRIX_MULTIPLY", "ELEMENTWISE")),
        *(
            (kind, "rnn", None) for kind in ("MATRIX_MULTIPLY", "ELEMENTWISE", "ELEMENTWISE", "ACTIVATION")
        ),  # in the loop
    ]
    message = message_of(BuildError, ask, model.trace(fp16=True, fp32_modules=("rnn",)))
    assert "does not keep a loop in fp32 beside layers in fp16: rnn" in message
    assert "model.rnn.compile" in message


def test_integers_are_not_pinned(weak):
    network = trace(lambda x: [(x.float() * 2).int() * 3, x * 2], (2, 3), fp16=True)
    asked = ask(network)
    kinds = {layer.name: kind for kind, layer in read_layers(network.graph.definition, network.graph.trt)}
    assert [kinds[pin.name] for pin in asked.pins.to_fp32] == ["CONSTANT", "ELEMENTWISE", "CAST"]
    assert [len(pin.outputs) for pin in asked.pins.to_fp32] == [1, 1, 0]  # the last gives integers
    cast = next(layer for layer in asked.layers.values() if layer.name == asked.pins.to_fp32[-1].name)
    assert cast.output_types == {}


@pytest.mark.parametrize("options", [{}, {"fp16": True, "fp32_modules": ("*",)}])
def test_a_network_in_fp32_asks_for_nothing(weak, options):
    asked = ask(Block().trace(**options))
    assert (asked.pins.to_fp32, asked.flags) == ([], [])
    assert all(layer.precision is None for layer in asked.layers.values())


def test_a_network_wholly_in_fp16_is_not_measured_in_fp32(weak):
    weight = numbers(4, 1, 1, 1)
    for groups in (1, 2):
        conv = ask(trace(lambda x, n=groups: F.conv2d(x, weight[: 4 // n], groups=n) * 2, (1, groups, 2, 2), fp16=True))
        found = {layer.kind: layer.precision for layer in conv.layers.values()}
        assert found["CONVOLUTION"] == ("fp16" if groups == 1 else None)
    asked = ask(trace(lambda x: [(x.relu() + x).softmax(1), x > 0, x * 2], (2, 3), fp16=True))
    assert (asked.pins.to_fp32, asked.flags) == ([], ["FP16", "OBEY"])
    rows = [(layer.kind, layer.precision, layer.output_types) for layer in asked.layers.values()]
    pinned = [row for row in rows if row[1]]
    assert pinned == [
        ("ACTIVATION", "fp16", {0: "fp16"}),
        ("ELEMENTWISE", "fp16", {0: "fp16"}),
        ("ELEMENTWISE", "fp16", {}),  # an output of the network, which is fp32
    ]
    assert ("ELEMENTWISE", None, {}) in rows  # gives bools


def test_what_is_no_part_of_a_kernel_in_fp32_is_pinned(weak):
    """Left free, TensorRT 8.6 was seen to take products behind a softmax and behind GELU, and sums, to fp32."""
    weight = numbers(4, 4, 1, 1)
    plain = weight[:, :, 0, 0]

    def forward(x):
        attended = F.scaled_dot_product_attention(x, x, x)
        summed = x + attended @ plain
        inner = F.gelu(F.layer_norm(summed, (4,)) @ plain) @ plain
        pooled = F.max_pool2d((summed + inner).unsqueeze(0).softmax(1).float().softmax(1).half(), 1)
        convolved = F.conv2d(F.mish(inner.transpose(0, 1)).unsqueeze(0).transpose(1, 3), weight)
        return F.conv2d(convolved, weight).float() * 2, pooled

    asked = ask(trace(forward, (4, 5, 4), fp16=True))
    kinds = ("MATRIX_MULTIPLY", "CONVOLUTION", "POOLING", "ELEMENTWISE")
    rows = [(layer.kind, layer.precision) for layer in asked.layers.values() if layer.kind in kinds]
    products = [precision for kind, precision in rows if kind == "MATRIX_MULTIPLY"]
    # Scores; weights and values; before the sum; what GELU reads, which may be one kernel; behind GELU.
    assert products == ["fp32", "fp16", "fp16", None, "fp16"]
    assert [precision for kind, precision in rows if kind == "CONVOLUTION"] == ["fp16", None]
    assert [precision for kind, precision in rows if kind == "POOLING"] == ["fp16"]
    sums = [layer for layer in asked.layers.values() if layer.kind == "ELEMENTWISE" and layer.precision == "fp16"]
    assert len(sums) == 2


class Rounds(Module):
    """A convolution, whose result is rounded for the next; and behind that what goes into one kernel, and what not."""

    def __init__(self):
        super().__init__()
        self.inputs = {"x": (1, 4, 6, 6)}
        self.first, self.rounded = Conv2d(4, 4, 3), Rounded(0.5, 127, (1, 4, 4, 4)).inner
        self.second, self.act, self.pool, self.last = Conv2d(4, 4, 1), SiLU(), modules.MaxPool2d(2), Conv2d(4, 4, 1)

    def forward(self, x):
        return self.last(self.pool(self.act(self.second(self.rounded(self.first(x))))))


def test_what_a_quantize_reads_is_pinned_and_what_reads_a_dequantize_is_free(weak):
    """Left free, TensorRT 8.6 was seen to take a first convolution to fp32 in front of a Quantize."""
    asked = ask(filled(Rounds()).trace(fp16=True))
    pinned = {pin.layer.name.partition("/")[0] for pin in asked.pins.to_fp16}
    assert pinned == {"first", "last"}  # the pool reads what the kernel gives


@pytest.fixture
def failing(weak, monkeypatch):
    """A block whose builds give what ``plans`` holds, and log ``lines``; ``built`` has each layer's precision."""
    network = Block().trace(fp16=True, fp32_modules=("head",))
    made = SimpleNamespace(asked=ask(network), built=[], plans=[], lines=[])
    backend = get_backend()

    def build_serialized_network(definition, settings):
        made.built.append({layer.name: layer.precision for layer in made.asked.layers.values()})
        line = made.lines.pop(0) if made.lines else f"why build {len(made.built)} failed"
        backend.logger.log(backend.trt.ILogger.Severity.ERROR, line)
        return made.plans.pop(0)

    made.asked.graph.backend = backend
    made.asked.graph.builder = SimpleNamespace(build_serialized_network=build_serialized_network)
    monkeypatch.setattr(backend, "capabilities", replace(backend.capabilities, progress=False))
    made.arguments = (made.asked.graph, None, BuildConfig(timing_cache=False), "a block", False)
    return made


def test_where_no_kernel_is_in_fp16_a_build_goes_on_without_those_pins(failing):
    build, asked = trtnn.build.build._build_plan, failing.asked
    failing.plans = [b"plan"]
    assert build(*failing.arguments, asked.pins) == b"plan"
    failing.plans = [None, b"plan"]
    assert build(*failing.arguments, asked.pins) == b"plan"
    first, again, last = failing.built
    assert first == again
    assert {"fp32", "fp16"} < {*first.values()}
    assert last == {name: precision if precision == "fp32" else None for name, precision in first.items()}
    assert all(set(layer.output_types.values()) <= {"fp32"} for layer in asked.layers.values())


def in_fp16(built):
    return {name for name, precision in built.items() if precision == "fp16"}


def test_what_tensorrt_names_as_without_a_kernel_is_released_alone(failing):
    names = [pin.layer.name for pin in failing.asked.pins.to_fp16]
    assert len(names) > 3
    failing.lines = [
        f"10: Could not find any implementation for node {names[0]}.",
        f"10: [optimizer.cpp::computeCosts::3873] Error Code 10: Internal Error (Could not find any implementation for "
        f"node {names[1]}.)",
        "10: Could not find any implementation for node {ForeignNode[other...others]}.",
    ]
    failing.plans = [None, None, None, b"plan"]
    assert trtnn.build.build._build_plan(*failing.arguments, failing.asked.pins) == b"plan"
    assert [in_fp16(built) for built in failing.built] == [{*names}, {*names[1:]}, {*names[2:]}, set()]


def test_pointwise_layers_without_a_kernel_of_a_convolution_are_kept_apart_from_it(failing):
    """They compute in fp32, from fp16 to fp16, and the convolution stays in fp16, until TensorRT names it again."""
    names = [pin.layer.name for pin in failing.asked.pins.to_fp16]
    conv, sigmoid, product = "first.0", "first.1", "first.1/elementwise"
    assert {conv, sigmoid, product} < {*names}
    node = f"10: Could not find any implementation for node {conv} + PWN(PWN({sigmoid}), {product})."
    failing.lines, failing.plans = [node], [None, b"plan"]
    build = trtnn.build.build._build_plan
    assert build(*failing.arguments, failing.asked.pins) == b"plan"
    assert failing.asked.pins.apart == {sigmoid, product}
    assert in_fp16(failing.built[1]) == {*names} - {sigmoid, product}
    types = {layer.name: layer.output_types[0] for layer in failing.asked.layers.values() if 0 in layer.output_types}
    assert [failing.built[1][name] for name in (conv, sigmoid, product)] == ["fp16", "fp32", "fp32"]
    assert [types[name] for name in (conv, sigmoid, product)] == ["fp16", "fp32", "fp16"]

    failing.lines, failing.plans = [node], [None, b"plan"]
    assert build(*failing.arguments, failing.asked.pins) == b"plan"
    assert [failing.built[-1][name] for name in (conv, sigmoid, product)] == [None, None, None]
    assert in_fp16(failing.built[-1]) == {*names} - {conv, sigmoid, product}


def test_a_build_begun_anew_asks_for_what_was_released_again(weak):
    """As where a timing cache was to blame."""
    asked = ask(Block().trace(fp16=True, fp32_modules=("norm",)))

    def types():
        return [(layer.precision, dict(layer.output_types)) for layer in asked.layers.values()]

    before, count = types(), len(asked.pins.to_fp16)
    asked.pins.release_fp16(asked.graph.trt, ())
    assert types() != before
    fakes = [(fake.kind, fake) for fake in asked.layers.values()]
    with mock.patch("trtnn.build.pinning.read_layers", return_value=fakes):
        _, again = _make_settings(asked.graph, BuildConfig(), ())
    assert types() == before
    assert len(again.to_fp16) == count > 0


def test_a_node_that_more_lines_than_one_name_is_one_node(failing):
    """TensorRT 8.6 says it once, and again as an internal error."""
    pins, node = failing.asked.pins, "implementation for node first.0 + PWN(PWN(first.1), first.1/elementwise)"
    before = [*pins.to_fp16]
    said = [f"10: Could not find any {node}.", f"10: Error Code 10: Internal Error (Could not find any {node}.)"]
    pins.release_fp16(failing.asked.graph.trt, said)
    assert (pins.to_fp16, pins.apart) == (before, {"first.1", "first.1/elementwise"})


def test_builds_that_fail_over_single_layers_come_to_an_end(failing, monkeypatch):
    monkeypatch.setattr(trtnn.build.build, "_MOST_RELEASED_ALONE", 2)
    names = [pin.layer.name for pin in failing.asked.pins.to_fp16]
    failing.lines = [f"10: Could not find any implementation for node {name}." for name in names[:3]]
    failing.plans = [None, None, None, b"plan"]
    assert len(names) > 4
    assert trtnn.build.build._build_plan(*failing.arguments, failing.asked.pins) == b"plan"
    counts = [[*built.values()].count("fp16") for built in failing.built]
    assert counts == [len(names), len(names) - 1, len(names) - 2, 0]


def test_a_build_that_fails_without_pins_says_why(failing):
    for plans, pins in (([None], NO_PINS), ([None, None], failing.asked.pins)):
        failing.plans = plans
        lines = message_of(BuildError, trtnn.build.build._build_plan, *failing.arguments, pins).splitlines()
        assert lines[0].endswith("could not build a block")
        assert lines[1:] == [
            f"  why build {len(failing.built)} failed"
        ]  # the first tells of pins that nobody asked for
        assert not plans


def test_half_in_forward_of_an_fp32_network(weak):
    """The flag would let the builder take all of it to fp16: what was not asked for is pinned."""
    asked = ask(trace(lambda x: (x * 2).half().sigmoid().float() + 1, (2, 3)))
    assert asked.flags == ["FP16", "OBEY"]
    assert len(asked.pins.to_fp32) == 4
    assert [layer.precision for layer in asked.layers.values()] == ["fp32", "fp32", None, "fp32", "fp32"]


@pytest.mark.parametrize("fp16", [False, True])
def test_an_fp16_input_is_set_when_the_network_is_written(weak, fp16):
    shape = Input((1, 4, 6, 6), "float16")
    network = Block().trace({"x": shape}, fp16=fp16)
    assert network.graph.definition.get_input(0).dtype.name == "FLOAT"  # so that every layer is in one type
    assert layers(network, "CAST") == []
    asked = ask(network)
    assert asked.inputs[0].dtype == "fp16"
    assert asked.flags == ["FP16", "OBEY"]
    assert len(asked.pins.to_fp32) == (0 if fp16 else len(asked.layers))
    x = numbers(1, 4, 6, 6)
    assert_close(network.run(x.astype(np.float16)), torch.from_numpy(Block().trace().run(x)))


def test_weights_beyond_fp16_are_an_error_as_well(weak):
    """TensorRT would clamp them, with a warning."""
    net = Conv2d(1, 1, 1)
    net.load_state_dict(load_random(torch.nn.Conv2d(1, 1, 1)).state_dict())
    net.weight.data = net.weight.data * np.float32(1e7)
    net.inputs = {"input": (1, 1, 2, 2)}
    assert "do not fit in float16" in message_of(DTypeError, net.trace, fp16=True)
    kept = net.trace(fp16=True, fp32_modules=("*",))
    assert layers(kept, "CONVOLUTION")[0].kernel.dtype == np.float32


def test_weights_keep_their_digits(weak):
    """The definition is in fp32: the builder rounds them where it computes in fp16."""
    x = np.ones(3, np.float32)
    np.testing.assert_array_equal(trace(lambda x: x * np.float32(0.1), x, fp16=True).run(x), np.full(3, 0.1, "f4"))


@pytest.mark.parametrize("kind", ["FP32", "FP16"])
def test_what_was_built_is_looked_at(monkeypatch, kind):
    network = trace(lambda x: x.float() * 2, (2,), fp16=True)
    pin = PinnedLayer("elementwise", ("elementwise:0",))
    outputs = [{"Name": "elementwise:0", "Format/Datatype": f"Row major linear {kind} format"}]
    inspector = SimpleNamespace(
        get_layer_information=lambda index, format: json.dumps({"Name": "elementwise", "Outputs": outputs})
    )
    engine = SimpleNamespace(num_layers=1, create_engine_inspector=lambda: inspector)
    monkeypatch.setattr(trtnn.build.build, "_make_settings", lambda *args: (None, Pins([pin], [])))
    monkeypatch.setattr(trtnn.build.build, "_build_plan", lambda *args: np.zeros(8, np.uint8))
    monkeypatch.setattr(trtnn.build.build, "deserialize", lambda backend, plan: (None, engine))
    if kind == "FP32":
        assert network.build(**ONE_TARGET).plan.nbytes == 8
    else:
        message = message_of(BuildError, network.build, **ONE_TARGET)
        assert "elementwise gives elementwise:0 as: Row major linear FP16 format" in message


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("kind", [float, lambda value: np.full((1, 1), value, np.float32), torch.tensor])
def test_a_number_that_is_not_finite_is_computed(weak, value, kind):
    x = np.float32([[-2, 0.5], [np.inf, 3e38]])

    def function(ops, x, number):
        return [
            ops.where(x > 0, number, x),
            x.masked_fill(x > 1, value),
            (x == number).float(),
            (x < number).float(),
            x + number,
            ops.full((1, 1), value) - x,
        ]

    network = trace(lambda x: [*function(F, x, kind(value)), F.isfinite(x)], x)
    given = torch.from_numpy(x)
    expected = [*function(torch, given, torch.as_tensor(kind(value))), given.isfinite()]
    for result, theirs in zip(network.run(x), expected, strict=True):
        np.testing.assert_array_equal(result, theirs)
    constants = [layer.weights for layer in layers(network, "CONSTANT")]
    assert all(np.isfinite(flat_array(array)).all() for array in constants)
    assert len(layers(network, "SELECT")) == 2


def test_infinity_is_no_dimension_of_that_name(weak):
    network = trace(lambda x: F.where(x > 0, math.inf, x) * x.shape[0], Input((Dim("inf", 1, 2, 4), 2), float32))
    other = trace(lambda x: F.where(x * x.shape[0] > 0, math.inf, x), Input((Dim("inf", 1, 2, 4), 2), float32))
    x = np.float32([[-2, 0.5], [3, -1], [1, 0]])
    np.testing.assert_array_equal(network.run(x), np.where(x > 0, np.inf, x) * 3)
    np.testing.assert_array_equal(other.run(x), np.where(x > 0, np.inf, x))
