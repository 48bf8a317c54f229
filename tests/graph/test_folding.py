"""BatchNorm behind a convolution: folded into its weights, and what has to be right beside that."""

import gc
import re
import weakref
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as TF

import trtnn
from tests.helpers import (
    ONE_TARGET,
    assert_close,
    layers,
    load_random,
    message_of,
    needs_type,
    numbers,
    strongly_typed,
    trace,
)
from trtnn import Dim, Module, compare, float16, float32, modules
from trtnn import functional as F
from trtnn.build.fingerprint import fingerprint
from trtnn.errors import ArgumentError, BuildError, DTypeError, ShapeError, UnsupportedError
from trtnn.graph.definition import flat_array, read_layers
from trtnn.graph.graph import Graph, current_graph
from trtnn.modules import BatchNorm2d, Conv2d, Sequential
from trtnn.ops._looping import scan


def kinds(network):
    return [kind for kind, _ in read_layers(network.graph.definition, network.graph.trt)]


def convolutions(network):
    return sum(kind in ("CONVOLUTION", "DECONVOLUTION") for kind in kinds(network))


def pair(make, seed=0):
    """A model written for torch and for us, with the same random weights."""
    theirs = load_random(make(torch.nn), seed)
    ours = make(modules)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def of_torch(theirs, *arrays):
    with torch.no_grad():
        return theirs(*map(torch.from_numpy, arrays))


def statistics(channels, seed=0):
    mean, variance, gamma, beta = (numbers(channels, seed=seed + i) for i in range(4))
    return mean, abs(variance) + 0.1, gamma, beta


def relative(result, expected):
    return float(np.sqrt(np.square(result - expected).mean() / np.square(expected).mean()))


# -- what comes out ---------------------------------------------------------------------------------------------------

SIDES = {1: (9,), 2: (9, 8), 3: (5, 6, 7)}
CONVOLUTIONS = [
    ("Conv1d", 1, (4, 6, 3), {"padding": 1}, ["SHUFFLE", "CONVOLUTION", "SHUFFLE"]),
    ("Conv2d", 2, (4, 6, 3), {}, ["CONVOLUTION"]),
    ("Conv2d", 2, (4, 6, (3, 2)), {"groups": 2, "stride": 2, "padding": "valid"}, ["CONVOLUTION"]),
    ("Conv2d", 2, (4, 4, 3), {"groups": 4, "bias": False, "padding": "same", "dilation": 2}, ["CONVOLUTION"]),
    ("Conv2d", 2, (4, 6, 6), {"stride": 2, "padding": 3}, ["CONVOLUTION"]),
    ("Conv3d", 3, (4, 6, 3), {"groups": 2, "bias": False}, ["CONVOLUTION"]),
    ("ConvTranspose1d", 1, (4, 6, 3), {"groups": 2, "stride": 2}, ["SHUFFLE", "DECONVOLUTION", "SHUFFLE"]),
    ("ConvTranspose2d", 2, (4, 6, 3), {"stride": 2, "padding": 1, "output_padding": 1}, ["DECONVOLUTION"]),
    ("ConvTranspose2d", 2, (4, 6, (3, 2)), {"groups": 2, "bias": False}, ["DECONVOLUTION"]),
    ("ConvTranspose2d", 2, (4, 4, 2), {"groups": 4, "stride": 2, "dilation": 2}, ["DECONVOLUTION"]),
    ("ConvTranspose2d", 2, (4, 6, 2), {"output_padding": 1, "stride": 2}, ["DECONVOLUTION"]),
    ("ConvTranspose3d", 3, (4, 6, 2), {"groups": 2, "stride": 2}, ["DECONVOLUTION"]),
]


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(("name", "n", "arguments", "options", "expected"), CONVOLUTIONS)
def test_as_torch(name, n, arguments, options, expected, affine):
    def make(nn):
        norm = getattr(nn, f"BatchNorm{n}d")(arguments[1], eps=1e-3, affine=affine)
        return nn.Sequential(getattr(nn, name)(*arguments, **options), norm)

    ours, theirs = pair(make)
    x = numbers(2, 4, *SIDES[n])
    network = trace(ours, x)
    assert kinds(network) == expected
    assert_close(network.run(x), of_torch(theirs, x))


def test_a_first_convolution_has_a_row_and_a_column_of_zeros_as_well():
    ours, theirs = pair(lambda nn: nn.Sequential(nn.Conv2d(3, 8, 6, 2, 2), nn.BatchNorm2d(8)))
    x = numbers(2, 3, 10, 8)
    network = trace(ours, x)
    (layer,) = layers(network, "CONVOLUTION")
    assert (kinds(network), tuple(layer.kernel_size_nd)) == (["CONVOLUTION"], (7, 7))
    assert_close(network.run(x), of_torch(theirs, x))


@needs_type("bfloat16")
@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d"])
def test_in_bfloat16_each_is_a_layer(name):
    """The kernel is an input there, not an array."""
    weight, bias, parameters, x = numbers(4, 4, 3, 3), numbers(4), statistics(4), numbers(1, 4, 5, 5)
    network = trace(lambda x: F.batch_norm(getattr(F, name)(x.bfloat16(), weight, bias), *parameters).float(), x)
    expected = of_torch(lambda x, w, b, *p: TF.batch_norm(getattr(TF, name)(x, w, b), *p), x, weight, bias, *parameters)
    assert relative(network.run(x), expected.numpy()) < 1e-2
    assert (convolutions(network), kinds(network).count("ELEMENTWISE")) == (1, 2)


def test_a_block_of_resnet_has_no_scale():
    def make(nn):
        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv1, self.bn1 = nn.Conv2d(4, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
                self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8)
                self.downsample = nn.Sequential(nn.Conv2d(4, 8, 1, 2, bias=False), nn.BatchNorm2d(8))
                self.relu = nn.ReLU()

            def forward(self, x):
                y = self.relu(self.bn1(self.conv1(x)))
                return self.relu(self.bn2(self.conv2(y)) + self.downsample(x))

        return Block()

    ours, theirs = pair(make)
    x = numbers(2, 4, 8, 8)
    network = trace(ours, x)
    assert kinds(network) == [*("CONVOLUTION", "ACTIVATION", "CONVOLUTION", "CONVOLUTION", "ELEMENTWISE", "ACTIVATION")]
    assert_close(network.run(x), of_torch(theirs, x))
    rows = {row.path: row for row in network.layers() if row.parameters}
    assert {path.partition("function.")[2]: row.parameters for path, row in rows.items()} == {
        "conv1": 8 * 4 * 9 + 8,
        "conv2": 8 * 8 * 9 + 8,
        "downsample.0": 8 * 4 + 8,
    }
    assert rows["function.conv1"].flops == 2 * (2 * 8 * 4 * 4) * (4 * 9)
    if strongly_typed.args[0] is False:
        assert network.build(**ONE_TARGET).plan.nbytes > 0
        assert trace(ours, x, fp16=True).build(**ONE_TARGET).plan.nbytes > 0


def test_weights_are_rounded_once():
    weight, bias = numbers(64, 3, 1, 1), numbers(64, seed=1)
    mean, variance, gamma, beta = statistics(64, 2)

    def forward(x):
        return F.batch_norm(F.conv2d(x, weight, bias), mean, variance, gamma, beta, eps=1e-4)

    for fp16, dtype in ((False, np.float32), (True, np.float16)):
        (layer,) = layers(trace(forward, (1, 3, 2, 2), fp16=fp16), "CONVOLUTION")
        scale = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + 1e-4)
        stored = np.float32 if not trtnn.get_backend().capabilities.strongly_typed else dtype
        kernel = (weight.reshape(64, 3) * scale[:, None]).ravel()
        np.testing.assert_allclose(flat_array(layer.kernel), kernel.astype(stored), rtol=2e-7)
        np.testing.assert_allclose(flat_array(layer.bias), ((bias - mean) * scale + beta).astype(stored), rtol=1e-6)


@pytest.mark.parametrize("stored", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 50, 9000])  # rows below, within and beyond NumPy's buffers
def test_weights_of_any_type_are_folded_in_fp32(stored, channels):
    weight = np.asfortranarray(numbers(3, channels, 1, 1).astype(stored))
    mean, variance, gamma, beta = (array.astype(stored) for array in statistics(3, 2))
    buffer = np.getbufsize()
    network = trace(lambda x: F.batch_norm(F.conv2d(x, weight), mean, variance, gamma, beta), (1, channels, 2, 2))
    assert np.getbufsize() == buffer
    (layer,) = layers(network, "CONVOLUTION")
    scale = gamma / np.sqrt(variance.astype(np.float64) + 1e-5)
    kernel = weight.astype(np.float32).reshape(3, channels) * scale[:, None]
    assert flat_array(layer.kernel).dtype == np.float32
    np.testing.assert_allclose(flat_array(layer.kernel), kernel.ravel(), rtol=2e-7)
    np.testing.assert_allclose(flat_array(layer.bias), beta - mean * scale, rtol=1e-6)


def test_without_a_batch_the_channels_are_others():
    weight, parameters, x = numbers(5, 5, 1, 1), statistics(5), numbers(5, 5, 5)

    def forward(of):
        return lambda x, *arrays: of.batch_norm(of.conv2d(x, arrays[0]), *arrays[1:])

    network = trace(lambda x: forward(F)(x, weight, *parameters), x)
    assert "SCALE" in kinds(network)
    assert_close(network.run(x), of_torch(forward(TF), x, weight, *parameters))


def test_over_a_dynamic_batch():
    ours, theirs = pair(lambda nn: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)))
    network = trace(ours, (Dim("batch", 1, 2, 4), 3, 6, 6))
    assert kinds(network) == ["CONVOLUTION"] * 2
    x = numbers(3, 3, 6, 6)
    assert_close(network.run(x), of_torch(theirs, x))


# -- what is used elsewhere as well -----------------------------------------------------------------------------------

USES = {  # what is returned, how many convolutions and how many scales that takes
    "before": (lambda o, x, conv, bn: (o.relu(y := conv(x)), bn(y)), 1, 1),
    "after": (lambda o, x, conv, bn: (bn(y := conv(x)), o.relu(y)), 2, 0),
    "twice after": (lambda o, x, conv, bn: (bn(y := conv(x)), o.relu(y), o.sigmoid(y)), 2, 0),
    "with it": (lambda o, x, conv, bn: bn(y := conv(x)) + y, 2, 0),
    "in a list": (lambda o, x, conv, bn: o.cat([bn(y := conv(x)), y], 1), 2, 0),
    "as an output": (lambda o, x, conv, bn: (bn(y := conv(x)), y), 2, 0),
    "as an output alone": (lambda o, x, conv, bn: (y := conv(x), bn(y))[0], 2, 0),
    "normalised twice": (lambda o, x, conv, bn: (bn(y := conv(x)), bn(y)), 2, 1),
    "normalised again": (lambda o, x, conv, bn: bn(bn(conv(x))), 1, 1),
    "by a convolution": (lambda o, x, conv, bn: conv(y := conv(x)) + bn(y), 2, 1),
    "by a convolution after": (lambda o, x, conv, bn: (bn(y := conv(x)), bn(conv(y))), 3, 0),
    "something between": (lambda o, x, conv, bn: (y := conv(x), o.relu(x), bn(y))[1:], 1, 1),
    "called twice": (lambda o, x, conv, bn: bn(conv(bn(conv(x)))), 2, 0),
    "none": (lambda o, x, conv, bn: bn(x) + conv(x), 1, 1),
}


@pytest.mark.parametrize("fp16", [False, pytest.param(True, marks=strongly_typed)])
@pytest.mark.parametrize("name", USES)
def test_what_the_convolution_gave_is_there_for_others(name, fp16):
    use, count, scales = USES[name]

    def make(nn):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv, self.bn = nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.BatchNorm2d(4)

            def forward(self, x):
                return use(torch if nn is torch.nn else F, x, self.conv, self.bn)

        return Net()

    ours, theirs = pair(make)
    x = numbers(2, 4, 5, 5)
    network = ours.trace({"x": x.shape}, fp16=fp16)
    bounds = (4e-3, 2e-2) if fp16 else (1e-6, 5e-6)  # of values up to 20
    assert_close(network.run(x), of_torch(theirs, x), *bounds)
    found = [kind for kind in kinds(network) if kind in ("CONVOLUTION", "SCALE")]
    expected = ["CONVOLUTION"] * count + ["SCALE"] * scales
    assert sorted(found) == (expected if name != "as an output alone" else ["CONVOLUTION"] * 2)
    paths = {row.path for row in network.layers() if row.kind == "CONVOLUTION"}
    assert paths == {"conv"}


def two(nn):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4), nn.SiLU())
            self.head = nn.Conv2d(4, 2, 1)

        def forward(self, x):
            return self.head(self.stem(x))

    return Net()


def hooked(theirs, x):
    seen = {}
    for path, module in theirs.named_modules():
        module.register_forward_hook(lambda m, i, o, path=path: seen.update({path: o.clone()}))
    of_torch(theirs, x)
    return {path: value for path, value in seen.items() if path}


@pytest.mark.parametrize("fp16", [False, pytest.param(True, marks=strongly_typed)])
def test_outputs_of_inner_modules_are_torchs(fp16):
    ours, theirs = pair(two)
    x = numbers(1, 3, 6, 6)
    network = ours.trace({"x": x.shape}, fp16=fp16, outputs=["*"])
    _, inner = network.run(x)
    expected = hooked(theirs, x)
    assert inner.keys() == expected.keys() > {"stem.0", "stem.0.0", "stem.1"}
    assert_close({path: inner[path] for path in expected}, expected, 4e-3 if fp16 else 1e-6)
    more = network.run(x, outputs=["stem.0.0"])[1]
    np.testing.assert_allclose(more["stem.0.0"], expected["stem.0.0"], atol=4e-3)


def test_comparing_looks_at_both():
    ours, _ = pair(two)
    x = numbers(1, 3, 6, 6)
    network = ours.trace({"x": x.shape}, outputs=["*"])
    report = compare(network, x, engine=network.run)
    assert [row.path for row in report.outputs] == ["stem.0.0", "stem.0", "stem.1", "stem.2", "stem", "head", ""]
    assert report.first is None


def test_what_was_folded_away_cannot_be_asked_for_later():
    ours, _ = pair(two)
    x = numbers(1, 3, 6, 6)
    network = ours.trace({"x": x.shape})
    assert list(network.run(x, outputs=["*"])[1]) == ["stem.1", "stem.2", "stem", "head"]
    for path in ("stem.0.0", "stem.0", "stem.0*"):
        message = message_of(ArgumentError, network.run, x, outputs=[path])
        assert f"what {path!r} returned is not in this network" in message
        assert f"trace(outputs=[{path!r}])" in message


@pytest.mark.parametrize("kind", [list, tuple, lambda items: {"both": items}])
def test_what_was_folded_away_is_found_in_any_structure(kind):
    class Several(Module):
        def __init__(self):
            super().__init__()
            self.conv = Conv2d(3, 4, 1)

        def forward(self, x):
            return kind([x, self.conv(x)])

    class Net(Module):
        def __init__(self):
            super().__init__()
            self.several, self.bn = Several(), BatchNorm2d(4)

        def forward(self, x):
            result = self.several(x)
            return self.bn((result["both"] if isinstance(result, dict) else result)[1])

    net, x = Net(), numbers(1, 3, 2, 2)
    for name, parameter in net._state().items():
        parameter.data = numbers(*parameter.shape) if "var" not in name else np.ones(parameter.shape, np.float32)
    message = message_of(ArgumentError, net.trace({"x": x.shape}).run, x, outputs=["several"])
    assert "what 'several' returned is not in this network" in message


def test_a_layer_that_reads_it_late_comes_after_it():
    class Net(Module):
        def __init__(self):
            super().__init__()
            self.conv = Conv2d(3, 3, 1, bias=False)
            self.conv.load_state_dict({"weight": numbers(3, 3, 1, 1)})

        def forward(self, x):
            y = self.conv(x)
            z = F.batch_norm(y, *statistics(3))
            return x.graph.emit("elementwise", z, z, x.graph.trt.ElementWiseOperation.SUM, set_inputs={1: y})

    network = Net().trace({"x": (1, 3, 2, 2)})
    assert [(row.path, row.kind) for row in network.layers()] == [
        *(("conv", "CONVOLUTION"), ("conv", "CONVOLUTION"), ("", "ELEMENTWISE"))
    ]


@pytest.mark.parametrize(
    ("forward", "expected"),
    [
        (lambda x, conv: (conv(x), F.relu(x))[1], ["CONVOLUTION", "ACTIVATION"]),
        (lambda x, conv: (F.relu(x), conv(x))[0], ["ACTIVATION", "CONVOLUTION"]),
        (lambda x, conv: (conv(x), F.relu(conv(x)))[1], ["CONVOLUTION", "CONVOLUTION", "ACTIVATION"]),
        (lambda x, conv: (conv(x), F.relu(x))[0], ["CONVOLUTION", "ACTIVATION"]),
    ],
)
def test_layers_are_there_in_the_order_of_the_calls_whoever_reads_them(forward, expected):
    network = trace(lambda x: forward(x, lambda x: F.conv2d(x, numbers(2, 3, 1, 1))), (1, 3, 2, 2))
    assert kinds(network) == expected


def test_looking_at_a_tensor_changes_nothing():
    def forward(x):
        y = F.conv2d(x, numbers(4, 3, 1, 1))
        assert repr(y) == "Tensor(shape=(1, 4, 2, 2), dtype=float32, postponed)"
        assert (y.ndim, y.size(1), y.numel()) == (4, 4, 16)
        y = F.batch_norm(y, *statistics(4))
        assert re.search(r"name='.+'", repr(y))
        return y

    assert kinds(trace(forward, (1, 3, 2, 2))) == ["CONVOLUTION"]


@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d"])
def test_what_changes_in_place_is_right(name):
    weight, parameters, x = numbers(4, 4, 1, 1), statistics(4), numbers(2, 4, 3, 3)

    def forward(of, change):
        def function(x, weight, *parameters):
            x = x * 1
            y = getattr(of, name)(x, weight)
            return change(x, y, lambda y: of.batch_norm(y, *parameters))

        return function

    changes = {
        "the convolution's output before": (lambda x, y, bn: (y.add_(1), bn(y)), 1),
        "its output after": (lambda x, y, bn: (bn(y), y.add_(1), y), 0),
        "its input, before it is read again": (lambda x, y, bn: (bn(y), x.add_(1), y), 0),
        "its input, by what was there": (lambda x, y, bn: (z := x * 2, bn(y), x.copy_(z), y), 1),
        "the result": (lambda x, y, bn: (bn(y).relu_(), x), 0),
        "its input, by itself": (lambda x, y, bn: (x.copy_(y), bn(x)), 0),
        "its input, by what was folded": (lambda x, y, bn: (x.copy_(bn(y)), y, x), 0),
    }
    for what, (change, scales) in changes.items():
        network = trace(lambda x, change=change: forward(F, change)(x, weight, *parameters), x)
        expected = of_torch(forward(TF, change), x, weight, *parameters)
        for ours, theirs in zip(network.run(x), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5, err_msg=what)
        assert kinds(network).count("SCALE") == scales, what


def test_a_postponed_layer_reads_no_view_that_is_outdated():
    def forward(x):
        x = x * 1
        view = x.view(1, 3, 2, 2)
        x.add_(1)
        F.conv2d(view, numbers(4, 3, 1, 1))
        raise AssertionError("it was told later")

    message = message_of(UnsupportedError, trace, forward, (3, 4))
    assert "convolution_nd in the model's own forward reads a tensor that shares memory" in message


def test_what_is_outdated_is_not_folded():
    def forward(x):
        y = F.conv2d(x, numbers(3, 3, 1, 1))
        view = y.copy()
        view.share_memory_of(y)
        view.overwrite(x)
        return F.batch_norm(y, *statistics(3))

    assert "shares memory" in message_of(UnsupportedError, trace, forward, (1, 3, 2, 2))


@strongly_typed
def test_what_a_module_in_fp32_gave_may_change_in_place():
    class Start(Module):
        def forward(self, x):
            self.__dict__["given"] = x * 3
            return self.given

    class Net(Module):
        def __init__(self):
            super().__init__()
            self.start = Start()

        def forward(self, x):
            y = self.start(x)
            self.start.given.add_(1)
            z = y.float()
            z.add_(2)
            return y.float(), z, y

    x = numbers(2, 3)
    network = Net().trace({"x": x.shape}, fp16=True, fp32_modules=("start",))
    assert_close(network.run(x), (x * 3, x * 3 + 2, x * 3), 2e-3)


@strongly_typed
def test_nothing_from_before_a_loop_is_within_it():
    """The convolution waits when the loop begins, and what the loop starts from waits to be rounded."""

    class Net(Module):
        def __init__(self):
            super().__init__()
            self.start, self.conv, self.bn = modules.ReLU(), Conv2d(3, 3, 1), BatchNorm2d(3)
            self.load_state_dict(theirs.state_dict())

        def forward(self, x, h):
            start = self.start(h)
            items = F.stack([h, h * 2])
            y = self.conv(x)
            sums, (last,) = scan(lambda item, state: (state[0] + item,), items, [start])
            return self.bn(y), sums, last

    theirs = load_random(torch.nn.ModuleDict({"conv": torch.nn.Conv2d(3, 3, 1), "bn": torch.nn.BatchNorm2d(3)}))
    x, h = numbers(1, 3, 5, 2), numbers(1, 4)
    network = Net().trace({"x": x.shape, "h": h.shape}, fp16=True, fp32_modules=("start",))
    found = kinds(network)
    within = found[found.index("TRIP_LIMIT") : found.index("LOOP_OUTPUT")]
    assert within == ["TRIP_LIMIT", "ITERATOR", "RECURRENCE", "ELEMENTWISE"]
    assert found.index("CONVOLUTION") < found.index("TRIP_LIMIT")
    first = h + np.maximum(h, 0)
    last = first + h * 2
    expected = of_torch(lambda x: theirs["bn"](theirs["conv"](x)), x), np.stack([first, last]), last
    assert_close(network.run(x, h), expected, 4e-3)


# -- precision --------------------------------------------------------------------------------------------------------


class Norm(Module):
    """conv and bn, then one more layer, so that each of the three may be in its own precision."""

    def __init__(self, factor=1.0, between=lambda x: x):
        super().__init__()
        self.conv, self.bn, self.last = Conv2d(3, 8, 3), BatchNorm2d(8), Conv2d(8, 2, 1)
        self.factor, self.between = factor, between
        self.inputs = {"x": (1, 3, 8, 8)}
        self.load_state_dict(
            load_random(
                torch.nn.ModuleDict(
                    {"conv": torch.nn.Conv2d(3, 8, 3), "bn": torch.nn.BatchNorm2d(8), "last": torch.nn.Conv2d(8, 2, 1)}
                )
            ).state_dict()
        )

    def forward(self, x):
        return self.last(self.bn(self.between(self.conv(x * self.factor))))


KEPT = [
    ((), ["CONVOLUTION", "CONVOLUTION"], [float16, float16]),
    (("conv",), ["CONVOLUTION", "CONVOLUTION"], [float32, float16]),
    (("conv", "bn"), ["CONVOLUTION", "CONVOLUTION"], [float32, float16]),
    (("bn",), ["CONVOLUTION", "SCALE", "CONVOLUTION"], [float16, float32, float16]),
    (("bn", "last"), ["CONVOLUTION", "SCALE", "CONVOLUTION"], [float16, float32, float32]),
    (("",), ["CONVOLUTION", "CONVOLUTION"], [float32, float32]),
]


@pytest.mark.parametrize(("kept", "expected", "dtypes"), KEPT)
def test_a_module_in_fp32_stays_there(kept, expected, dtypes):
    x, module = numbers(1, 3, 8, 8), Norm()
    network = module.trace(fp16=True, fp32_modules=kept)
    found = [(k, d) for k, d in zip(kinds(network), network.graph.layer_dtypes, strict=True) if k in expected]
    assert found == list(zip(expected, dtypes, strict=True))[: len(found)]
    exact = module.trace().run(x)
    assert relative(network.run(x), exact) < 2e-3


@strongly_typed
def test_fp16_is_no_further_off_than_with_a_layer_of_its_own():
    weight, parameters, x = numbers(16, 8, 3, 3, scale=0.1), statistics(16), numbers(2, 8, 9, 9)

    def apart(x):
        y = F.conv2d(x, weight)
        F.relu(y)
        return F.batch_norm(y, *parameters)

    def folded(x):
        return F.batch_norm(F.conv2d(x, weight), *parameters)

    exact = of_torch(lambda x, w, *p: TF.batch_norm(TF.conv2d(x, w), *p), x, weight, *parameters).numpy()
    assert "SCALE" in kinds(trace(apart, x, fp16=True))
    errors = [relative(trace(forward, x, fp16=True).run(x), exact) for forward in (folded, apart)]
    assert errors[0] < errors[1] < 1e-3


@strongly_typed
@pytest.mark.parametrize("kept", [(), ("conv",), ("bn",), ("conv", "bn"), ("last",), ("bn", "last"), ("",)])
def test_a_trial_is_what_the_traced_network_does(kept):
    module, x = Norm(), numbers(1, 3, 8, 8)
    exact = module.trace()
    report = exact.fp16_report([x])
    assert [row.path for row in report.layers if row.kind == "CONVOLUTION"] == ["conv", "last"]
    precision = report._precision
    trial = report._comparison.trial(precision.mixed(kept), lambda: None)
    half = module.trace(fp16=True, fp32_modules=tuple(precision.with_takers(kept)))
    assert trial.error == pytest.approx(relative(half.run(x), exact.run(x)), rel=1e-6)


@strongly_typed
def test_a_forward_that_goes_to_fp32_between_the_two_can_be_measured():
    """There is a layer more in fp16 than in fp32, where nothing keeps the two apart."""
    module, x = Norm(between=lambda x: x.float()), numbers(1, 3, 8, 8)
    exact, half = module.trace(), module.trace(fp16=True)
    assert ("SCALE" in kinds(exact), "SCALE" in kinds(half)) == (False, True)
    report = exact.fp16_report([x])
    assert {row.path for row in report.layers} == {"", "conv"}
    assert report.errors["output"] == pytest.approx(relative(half.run(x), exact.run(x)), rel=0.5)


@strongly_typed
def test_what_overflows_between_the_two_comes_out_right():
    """What the convolution gives is beyond fp16, and what the BatchNorm makes of it is not."""
    module, x = Norm(factor=60.0), numbers(1, 3, 8, 8)
    state = module.state_dict()
    module.load_state_dict({**state, "conv.weight": state["conv.weight"] * 2000, "bn.running_var": np.full(8, 1e10)})
    exact = module.trace().run(x)
    assert abs(module.trace(outputs=["conv"]).run(x)[1]["conv"]).max() > 65504
    assert relative(module.trace(fp16=True).run(x), exact) < 1e-2
    auto = module.trace(fp16=True, fp32_modules="auto", samples=[x])
    assert relative(auto.run(x), exact) < 1e-2


@strongly_typed
def test_auto_keeps_a_convolution_with_the_norm_behind_it():
    module, x = Norm(), numbers(1, 3, 8, 8)
    report = module.trace().fp16_report([x])
    assert report._precision.with_takers(["bn"]) == {"bn", "conv"}
    assert report._precision.with_takers(["last"]) == {"last"}
    kept = report.suggested_fp32_modules(0.0)
    assert relative(module.trace(fp16=True, fp32_modules=kept).run(x), module.trace().run(x)) == 0


@strongly_typed
def test_auto_keeps_the_convolution_of_a_norm_in_a_composite_that_overflows():
    class Tail(Module):
        def __init__(self):
            super().__init__()
            self.bn = BatchNorm2d(8)

        def forward(self, x):
            return self.bn(x) * 6e4 * 6e4 * 1e-5

    net = modules.Sequential(Conv2d(3, 8, 3), Tail())
    state = Norm().state_dict()
    state = {
        name.replace("bn", "1.bn").replace("conv", "0"): array for name, array in state.items() if "last" not in name
    }
    net.load_state_dict(state)
    net.inputs, x = {"input": (1, 3, 8, 8)}, numbers(1, 3, 8, 8)
    auto = net.trace(fp16=True, fp32_modules="auto", samples=[x])
    assert auto.graph.precision.fp32_modules == ("0", "1")
    assert "SCALE" not in kinds(auto)
    assert relative(auto.run(x), net.trace().run(x)) < 1e-3


@strongly_typed
def test_what_a_module_in_fp32_gave_to_another_can_be_asked_for():
    net = modules.Sequential(modules.ReLU(), modules.Sigmoid())
    network, x = net.trace({"input": (1, 3)}, fp16=True, fp32_modules=["0", "1"]), numbers(1, 3)
    assert_close(network.run(x, outputs=["0"])[1]["0"].astype(np.float32), torch.from_numpy(x).relu())


def test_folded_weights_beyond_fp16_are_an_error_with_a_way_out():
    module = Norm()
    state = module.state_dict()
    module.load_state_dict({**state, "bn.running_var": np.full(8, 1e-30), "bn.weight": np.full(8, 1e3)})
    module.bn.eps = 1e-12
    message = message_of(DTypeError, module.trace, fp16=True)
    assert "weights of conv do not fit in float16" in message
    assert 'fp32_modules=("conv",)' in message
    network = module.trace(fp16=True, fp32_modules=("conv",))
    assert kinds(network).count("SCALE") == 0


# -- beside it --------------------------------------------------------------------------------------------------------


def test_the_fingerprint_sees_what_was_folded():
    def of(**changed):
        module = Norm()
        module.load_state_dict({**module.state_dict(), **changed})
        graph = module.trace().graph
        return fingerprint(graph.definition, graph.trt)

    assert of() == of()
    assert len({of(), of(**{"bn.weight": np.ones(8)}), of(**{"bn.running_mean": np.ones(8)})}) == 3


@pytest.mark.parametrize("fp16", [False, True])
def test_only_the_folded_weights_are_kept(fp16):
    kept = []

    def forward(x):
        weight, bias = numbers(4, 3, 1, 1) * 2, numbers(4) * 2
        parameters = [array * 1 for array in statistics(4)]
        kept.extend(map(weakref.ref, (weight, bias, *parameters)))
        return F.relu(F.batch_norm(F.conv2d(x, weight, bias), *parameters))

    network = trace(forward, (1, 3, 2, 2), fp16=fp16)
    gc.collect()
    assert [reference() for reference in kept] == [None] * 6
    assert sum(array.size for array in network.graph.weights.arrays) == 4 * 3 + 4


@strongly_typed
def test_weights_are_not_kept_beside_their_fp16():
    kept = []

    def forward(x):
        weight, offset = numbers(4, 3, 1, 1) * 2, numbers(4, 1, 1) * 2
        kept.extend(map(weakref.ref, (weight, offset)))
        z = F.conv2d(x, weight)
        y = F.relu(z)
        del weight
        gc.collect()
        assert kept[0]() is None  # while the trace goes on
        return y + offset

    network = trace(forward, (1, 3, 2, 2), fp16=True)
    gc.collect()
    assert kept[1]() is None
    assert sum(array.nbytes for array in network.graph.weights.arrays) == 2 * (4 * 3 + 4)


def test_a_network_goes_when_it_is_dropped():
    module = Norm()
    network = module.trace()
    gc.collect()
    gc.disable()
    try:
        graph = weakref.ref(network.graph)
        del network
        assert graph() is None  # at once: no circle waits for the collector
    finally:
        gc.enable()


def test_a_kernel_larger_than_its_input_is_told_where_it_was_called():
    def forward(x):
        F.conv2d(x, numbers(4, 3, 9, 9))
        raise AssertionError("it was told later")

    with pytest.raises((BuildError, ShapeError)):
        trace(forward, (1, 3, 4, 4))


def test_what_tensorrt_refuses_later_is_told_where_it_was_called():
    class Inner(Module):
        def forward(self, x):
            return current_graph().deferred.postpone(
                partial(x.graph.emit, "activation", x, "no type"), x.shape, x.dtype
            )

    class Net(Module):
        def __init__(self):
            super().__init__()
            self.inner = Inner()

        def forward(self, x):
            y = self.inner(x)
            return F.relu(y)

    message = message_of(BuildError, Net().trace, {"x": (1, 3)})
    assert "in inner" in message
    assert f"called at {__file__}:{Inner.forward.__code__.co_firstlineno + 1}" in message


def test_a_channel_too_many_is_an_error():
    def forward(x):
        return F.batch_norm(F.conv2d(x, numbers(4, 3, 1, 1)), *statistics(5))

    assert "expected 5" in message_of(ShapeError, trace, forward, (1, 3, 4, 4))


@pytest.mark.parametrize("count", [1, 3])
def test_folded_weights_beyond_fp16_are_an_error_that_names_the_module(count):
    """They are multiplied when the trace ends, several at once."""
    model = Sequential(*(Sequential(Conv2d(2, 2, 1), BatchNorm2d(2)) for _ in range(count)))
    model.inputs = {"input": (1, 2, 3, 3)}
    load = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
    for name, member in (*model.named_parameters(), *model.named_buffers()):
        member.data = np.full(member.shape, load[name.rpartition(".")[2]], np.float32)
    last = model[count - 1]
    last[1].weight.data = np.full(2, 1e5, np.float32)
    model.trace()
    model.trace(fp16=True, fp32_modules=(f"{count - 1}.*",))
    message = message_of(DTypeError, model.trace, fp16=True)
    assert f"weights of {count - 1}.0 do not fit in float16\n  the largest is 99999" in message
    assert f'fp32_modules=("{count - 1}.0",)' in message


def test_tensorrt_reads_folded_weights_when_it_builds(monkeypatch):
    """They are filled after the layers were added: the plan is that of weights which were there before."""
    model, _ = pair(
        lambda nn: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))
    )
    scaled = Graph.scaled

    def plan():
        return bytes(model.trace({"input": (1, 3, 9, 9)}).build(**ONE_TARGET).plan)

    def at_once(graph, *given):
        product = scaled(graph, *given)
        graph.weights._unfilled.pop()()
        return product

    late = plan()
    monkeypatch.setattr(Graph, "scaled", at_once)
    assert plan() == late
    monkeypatch.setattr(Graph, "scaled", lambda graph, data, *given: at_once(graph, data * 2, *given))
    assert plan() != late
