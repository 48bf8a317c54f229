"""Where networks are rounded: what the modules declare, and the places that follow."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import trtnn
from tests.helpers import ONE_TARGET, layers, message_of
from tests.quantization.networks import Block, detector, filled, images, quantize
from trtnn import Module, get_backend, modules
from trtnn import functional as F
from trtnn.errors import ArgumentError, BackendError
from trtnn.graph import placement
from trtnn.graph.definition import read_layers
from trtnn.graph.graph import Graph
from trtnn.models import create
from trtnn.modules import Conv2d, ConvTranspose2d, Linear, Sequential, SiLU
from trtnn.ops import convolution as ops_convolution


def readers(network) -> dict[str, list[str]]:
    """Return for each layer's name the types of the layers that give what it reads."""
    read = list(read_layers(network.graph.definition, network.graph.trt))
    maker = {layer.get_output(i).name: kind for kind, layer in read for i in range(layer.num_outputs)}
    return {
        layer.name: [maker.get(layer.get_input(i).name, "input") for i in range(layer.num_inputs)] for _, layer in read
    }


@pytest.mark.parametrize("fp16", [False, True])
def test_all_that_joins_reads_int8(fp16):
    model = quantize(detector(), images(2, 1, 4, 16, 16))
    reads = readers(model.trace(fp16=fp16))
    for name in ("first.conv", "second.conv", "join.conv", "head"):
        assert reads[name][:2] == ["DEQUANTIZE", "DEQUANTIZE"], name
    assert reads["/cat"] == ["DEQUANTIZE"] * 3 if "/cat" in reads else reads["/concatenation"] == ["DEQUANTIZE"] * 3
    assert reads["/elementwise"] == ["DEQUANTIZE"] * 2  # the sum, both sides
    assert reads["pool"][0] == reads["up"][0] == "DEQUANTIZE"
    assert reads["first.act"] == ["CONVOLUTION"], "nothing stands between a convolution and its activation"
    assert sorted(reads["first.act/elementwise"]) == ["ACTIVATION", "CONVOLUTION"]
    assert reads["stem.act"] == ["DEQUANTIZE"], "but of a first convolution, of 4 channels"
    assert sorted(reads["stem.act/elementwise"]) == ["ACTIVATION", "DEQUANTIZE"]


def test_what_is_joined_shares_a_scale():
    model = quantize(detector(), images(2, 1, 4, 16, 16))
    scale = model.join.conv.input_scale.item()
    assert model.first.conv.input_scale.item() == scale  # x goes into both
    assert model.head.input_scale.item() != scale
    assert model.second.act.output_scale.item() != scale  # a sum takes two scales


def test_spreading_over_what_passes_numbers_on_changes_none(monkeypatch):
    (x,) = images(1, 1, 4, 16, 16)
    model = quantize(detector(), [x])
    with monkeypatch.context() as patch:
        patch.setattr(placement, "_into_sums", lambda edges, placed: None)
        spread = model.trace().run(x)
        patch.setattr(placement, "_before_what_passes_on", lambda edges, placed: None)
        declared = model.trace().run(x)
    np.testing.assert_array_equal(spread, declared)
    count = len(layers(model.trace(), "QUANTIZE"))
    monkeypatch.setattr(placement, "spread", lambda edges, placed, into_sums: None)
    assert count > len(layers(model.trace(), "QUANTIZE"))


def test_a_sum_behind_a_bare_convolution_rounds_its_shortcut_alone():
    """TensorRT takes the sum and the activation into the convolution's kernel."""
    model = filled(create("resnet18"))
    model.inputs = {"images": (1, 3, 32, 32)}
    network = quantize(model, images(1, 1, 3, 32, 32)).trace()
    reads = readers(network)
    assert reads["layer1.0"] == ["CONVOLUTION", "DEQUANTIZE"]
    assert reads["layer2.0"] == ["CONVOLUTION", "DEQUANTIZE"]  # the downsampled one
    assert [n for n, _ in model.named_buffers() if n.endswith("output_scale")] == [
        f"layer{i}.0.downsample.1.output_scale" for i in (2, 3, 4)
    ]


class Products(Module):
    """Attention without projections."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = {"q": (2, 8, 16), "k": (2, 8, 16), "v": (2, 8, 16)}

    def forward(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v)


def test_products_of_attention_are_quantised():
    q, k, v = images(3, 2, 8, 16)
    plain = Products().trace().run(q, k, v)
    model = quantize(Products(), [(q, k, v)], method="max")
    assert model.product_scale.shape == (2, 2)
    np.testing.assert_allclose(model.product_scale.data[0, 1], np.abs(k).max() / 127, rtol=1e-6)
    network = model.trace()
    assert len(layers(network, "QUANTIZE")) == 5  # the keys twice: as they are, and behind the transposition
    result = network.run(q, k, v)
    assert 1e-4 < np.abs(result - plain).max() < 0.05


def test_sums_are_rounded_in_int8_and_not_in_fp8():
    for dtype, sides in (("int8", 2), ("fp8", 0)):
        network = quantize(detector(), images(2, 1, 4, 16, 16), dtype).trace()
        (total,) = (layer for layer in layers(network, "ELEMENTWISE") if layer.op.name == "SUM")
        reads = [total.get_input(i).name for i in range(2)]
        rounded = {layer.get_output(0).name for layer in layers(network, "DEQUANTIZE")}
        assert sum(name in rounded for name in reads) == sides


@pytest.mark.parametrize("dtype", ["int8", "fp8"])
@pytest.mark.parametrize("fp16", [False, True])
def test_what_is_quantised_builds(dtype, fp16):
    parts = [Block(4, 8), ConvTranspose2d(8, 4, 2, 2), SiLU(), Linear(32, 16), modules.MaxPool2d(2)]
    model = filled(Sequential(*parts))
    model.inputs = {"input": (2, 4, 16, 16)}
    samples = images(2, 2, 4, 16, 16)
    plain = model.trace().run(samples[0])
    network = quantize(model, samples, dtype).trace(fp16=fp16)
    error = np.abs(network.run(samples[0]) - plain).max() / np.abs(plain).max()
    assert 1e-4 < error < 0.15
    engine = network.build(**BUILDS[dtype])
    # Of 0.bn, which is folded, only what it returns is rounded: there is no kernel of it to ask for.
    assert engine.description["quantized"] == dict.fromkeys(["0.conv", "1", "3"], _name(dtype))
    assert ("0.bn" in network.graph.placement.modules) == (dtype == "int8")


def test_attention_with_its_projections():
    """Its forward has three layers of parts of one weight, and two products."""
    torch.manual_seed(0)
    twin = torch.nn.MultiheadAttention(16, 4, batch_first=True).eval()
    model = modules.MultiheadAttention(16, 4, batch_first=True)
    model.load_state_dict(twin.state_dict())
    model.inputs = {"query": (2, 6, 16), "key": (2, 8, 16), "value": (2, 8, 16)}
    q, k, v = images(1, 2, 6, 16)[0], *images(2, 2, 8, 16, seed=3)
    quantize(model, [(q, k, v * 3)], method="max")
    assert model.input_scale.shape == (3,)
    assert model.weight_scale.shape == (48,)
    for number, x in enumerate((q, k, v * 3)):
        assert model.input_scale.data[number] == pytest.approx(np.abs(x).max() / 127)
    expected_scales = twin.in_proj_weight.detach().abs().amax(1).numpy() / 127
    np.testing.assert_allclose(model.weight_scale.data, expected_scales, rtol=1e-6)
    network = model.trace()
    with torch.no_grad():
        expected, _ = twin(*map(torch.from_numpy, (q, k, v * 3)))
    result = network.run(q, k, v * 3)[0]
    error = np.abs(result - expected.numpy()).max() / np.abs(expected.numpy()).max()
    assert 1e-4 < error < 0.03
    reads = readers(network)
    assert sum(kinds[:2] == ["DEQUANTIZE", "DEQUANTIZE"] for kinds in reads.values()) == 6
    network.build(**ONE_TARGET)
    wrong = model.product_scale.data[:1]
    model.product_scale = trtnn.Buffer(1, 2, data=wrong)
    assert "has scales for 1 products of matrices, and runs 2" in message_of(ArgumentError, model.trace)
    model.input_scale = trtnn.Buffer((), data=np.float32(1))
    del model.product_scale
    assert "holds 1 scales for 3 layers" in message_of(ArgumentError, model.trace)


class Sums(Module):
    """Sums of what is in int8 and what an activation returned, which is one for both or two."""

    def __init__(self, acts) -> None:
        super().__init__()
        self.inputs = {"x": (1, 8, 6, 6)}
        self.acts, self.convs = modules.ModuleList(acts), modules.ModuleList(Conv2d(8, 8, 1) for _ in range(6))

    def forward(self, x):
        a, b, c, d, e, f = self.convs
        y = F.tanh(a(x))
        x = F.tanh(b(y) + self.acts[0](c(x)))  # y is in int8 for a convolution as well
        y = y + self.acts[-1](d(x))
        return f(F.tanh(e(F.tanh(y)) + y))


@pytest.mark.parametrize("count", [1, 2])
def test_a_module_that_is_called_twice_gets_no_scale_for_one_of_its_calls(count):
    model = quantize(filled(Sums([SiLU() for _ in range(count)])), images(1, 1, 8, 6, 6))
    found = [name for name, _ in model.named_buffers() if name.startswith("acts") and name.endswith("output_scale")]
    assert found == ([] if count == 1 else ["acts.1.output_scale"])


def test_what_a_module_returns_is_rounded_at_each_of_its_calls():
    x = np.array([0.3, 0.8, 1.1, 2.1], np.float32)
    model = filled(Sequential(modules.Identity()))
    model[0].output_scale, model[0].quant_max = (trtnn.Buffer((), data=np.float32(value)) for value in (0.5, 127))
    model.forward = lambda x: (model[0](x * 1.0) * 1.0, model[0](x * 2.0) * 1.0)
    first, second = model.trace({"x": x.shape}).run(x)
    np.testing.assert_array_equal(first, [0.5, 1.0, 1.0, 2.0])
    np.testing.assert_array_equal(second, [0.5, 1.5, 2.0, 4.0])


def test_a_layer_that_is_called_twice_has_one_scale_for_both():
    class Twice(Module):
        def __init__(self) -> None:
            super().__init__()
            self.inputs, self.shared = {"x": (2, 8)}, Linear(8, 8)

        def forward(self, x):
            return self.shared(F.relu(self.shared(x)) * 10)

    (x,) = images(1, 2, 8)
    model = filled(Twice())
    largest = np.abs(10 * np.maximum(x @ model.shared.weight.data.T + model.shared.bias.data, 0)).max()
    quantize(model, [x], method="max")
    assert model.shared.input_scale.item() == pytest.approx(max(largest, np.abs(x).max()) / 127, rel=1e-5)
    assert len(layers(model.trace(), "QUANTIZE")) >= 3


@pytest.mark.parametrize(("make", "shape"), [(lambda: Linear(8, 8), (2, 8)), (lambda: Block(8, 8), (2, 8, 4, 4))])
def test_a_layer_that_is_called_in_both_precisions_has_one_scale(make, shape):
    """Its weights in fp16 are other numbers than those in fp32."""

    class Twice(Module):
        def __init__(self) -> None:
            super().__init__()
            self.inputs, self.shared = {"x": shape}, make()

        def forward(self, x):
            return self.shared(x) + self.shared(x.float() * 2)

    (x,) = images(1, *shape)
    model = quantize(filled(Twice()), [x])
    expected, network = model.trace().run(x), model.trace(fp16=True)
    result = network.run(x)
    assert np.abs(result - expected).max() < 0.02 * np.abs(expected).max()
    network.build(**ONE_TARGET)


BUILDS = {"int8": ONE_TARGET, "fp8": {"targets": ("sm89",)} if ONE_TARGET else {}}


def _name(dtype: str) -> str:
    return {"int8": "int8", "fp8": "float8_e4m3fn"}[dtype]


@pytest.mark.skipif(not ONE_TARGET, reason="it builds for the GPU that is here")
def test_a_gpu_without_fp8_is_told_with_those_that_have_it():
    model = quantize(detector(), images(1, 1, 4, 16, 16), "fp8", modules=["head"])
    other = quantize(detector(), images(1, 1, 4, 16, 16), modules=["join"])
    state = model.state_dict()
    state.update((name, array) for name, array in other.state_dict().items() if name.startswith("join."))
    model.load_state_dict(state)
    message = message_of(BackendError, lambda: model.compile(fp16=True, targets=("sm86", "sm89")))
    assert message.startswith("sm86 has no fp8, and 1 module is quantised to it\n")  # the other is in int8
    assert 'targets=("sm89",), or --target sm89\n' in message


class Deep(Module):
    """Residual layers one behind another: more layers than Python's calls may be nested."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.inputs = {"x": (1, 2)}
        self.layers = modules.ModuleList(Linear(2, 2) for _ in range(count))

    def forward(self, x):
        for layer in self.layers:
            x = x + layer(x).sigmoid()
        return x


def test_a_network_of_any_depth():
    (x,) = images(1, 1, 2)
    model = quantize(filled(Deep(60)), [x])
    expected = model.trace().run(x)
    frame, deep = sys._getframe(), 1
    while (frame := frame.f_back) is not None:
        deep += 1
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(deep + 100)  # of 300 layers behind one another
    try:
        result = model.trace().run(x)
    finally:
        sys.setrecursionlimit(limit)
    np.testing.assert_array_equal(result, expected)


def test_dynamic_shapes():
    model = detector()
    quantize(model, images(1, 1, 4, 16, 16))
    side = trtnn.Dim("side", 8, 16, 32, multiple_of=2)
    network = model.trace({"x": trtnn.Input((1, 4, side, side))})
    (x,) = images(1, 1, 4, 16, 16)
    fixed = model.trace()
    np.testing.assert_allclose(network.run(x), fixed.run(x), atol=1e-5)
    kinds = {"quantize", "dequantize", "convolution"}
    layers, others = ([row for row in made.layers() if row.kind in kinds] for made in (network, fixed))
    assert [(row.path, row.kind, row.flops) for row in layers] == [(row.path, row.kind, row.flops) for row in others]
    assert "int8[1, 4, side, side]" in network.summary()
    network.build(**ONE_TARGET)


def test_a_backend_without_the_type_says_which_has_it(monkeypatch):
    model = quantize(detector(), images(1, 1, 4, 16, 16), "fp8")
    backend = get_backend()
    monkeypatch.setattr(backend, "capabilities", replace(backend.capabilities, fp8=False, int8=False))
    assert "TensorRT since 10.0 and TensorRT-RTX have it" in message_of(BackendError, model.trace)
    monkeypatch.setattr(backend, "capabilities", replace(backend.capabilities, fp8=True, int8=True))
    quantize(model, images(1, 1, 4, 16, 16), "int8")
    monkeypatch.setattr(backend, "capabilities", replace(backend.capabilities, int8=False))
    assert "has no int8" in message_of(BackendError, model.trace)


def test_a_module_is_not_in_int8_and_in_fp32():
    model = quantize(detector(), images(1, 1, 4, 16, 16))
    message = message_of(ArgumentError, lambda: model.trace(fp16=True, fp32_modules=("join",)))
    assert "the module join.conv is quantised, and fp32_modules keeps it in fp32" in message or "join.conv" in message


def test_fp32_modules_by_themselves_leave_alone_what_is_quantised():
    samples = images(1, 1, 4, 16, 16)
    model = quantize(detector(), samples, modules=["first", "second"])
    network = model.trace(fp16=True, fp32_modules="auto", samples=samples, tolerance=0.0)
    assert "join.conv" in network.graph.precision.fp32_modules
    assert {"first.conv", "first.bn", "first"}.isdisjoint(network.graph.precision.fp32_modules)
    assert readers(network)["first.conv"][:2] == ["DEQUANTIZE", "DEQUANTIZE"]


def test_fp32_modules_by_themselves_are_modules_that_run():
    """So that the choice may be asked for again, as a refit does."""
    samples = images(1, 1, 4, 16, 16)
    model = detector()
    model.join.spare = Conv2d(2, 2, 1)
    quantize(filled(model), samples, modules=["first", "second"])
    network = model.trace(fp16=True, fp32_modules="auto", samples=samples, tolerance=0.0)
    kept = network.graph.precision.fp32_modules
    assert "join.conv" in kept
    assert "join.spare" not in kept
    again = model.trace(fp16=True, fp32_modules=kept)
    np.testing.assert_array_equal(again.run(samples[0]), network.run(samples[0]))


def test_a_batchnorm_that_the_scales_count_in_is_not_kept_in_fp32():
    """Its factors would be missing from the weights, and the scales be those of others."""
    model = quantize(detector(), images(1, 1, 4, 16, 16), modules=["first"])
    message = message_of(ArgumentError, lambda: model.trace(fp16=True, fp32_modules=["first.bn"]))
    assert "first.bn is folded into first.conv, which is quantised, and fp32_modules keeps it in fp32" in message
    (x,) = images(1, 1, 4, 16, 16)
    expected = model.trace().run(x)
    result = model.trace(fp16=True, fp32_modules=["second.bn", "head"]).run(x)
    assert np.abs(result - expected).max() < 0.02 * np.abs(expected).max()


def test_an_output_of_the_network_is_rounded_where_its_module_says_so():
    model = filled(Sequential(Conv2d(4, 4, 1)))
    model.inputs = {"input": (1, 4, 4, 4)}
    (x,) = images(1, 1, 4, 4, 4)
    model[0].output_scale = trtnn.Buffer((), data=np.float32(0.25))
    model[0].quant_max = trtnn.Buffer((), data=np.float32(127))
    steps = model.trace().run(x) / 0.25
    np.testing.assert_array_equal(steps, np.round(steps))


class Forked(Module):
    """A convolution and an activation that one layer reads in int8, and others as they are."""

    def __init__(self, activation) -> None:
        super().__init__()
        self.inputs = {"x": (1, 8, 6, 6)}
        self.first, self.activation = Conv2d(8, 8, 3, padding=1), activation
        self.second, self.other = Conv2d(8, 8, 1), Conv2d(8, 4, 1)

    def forward(self, x):
        y = self.activation(self.first(x))
        return {"second": self.second(y), "other": self.other(y), "y": y}


class Mish(Module):
    def forward(self, x):
        return x * F.softplus(x).tanh()


AGAIN = {
    "SiLU": (SiLU, ["again", "again_2"]),
    "sigmoid": (modules.Sigmoid, ["again"]),
    "hardswish": (modules.Hardswish, None),
    "mish": (Mish, None),
    "ReLU": (modules.ReLU, []),
    "ReLU6": (modules.ReLU6, None),
    "none": (modules.Identity, []),
}


@pytest.mark.parametrize("name", AGAIN)
@pytest.mark.parametrize("fp16", [False, True])
def test_an_activation_that_is_read_in_floats_too_is_computed_again_for_what_is_rounded(name, fp16, monkeypatch):
    make, names = AGAIN[name]
    (x,) = images(1, 1, 8, 6, 6)
    model = quantize(filled(Forked(make())), [x], skip=["other"])
    network = model.trace(fp16=fp16)
    read = [layer for _, layer in read_layers(network.graph.definition, network.graph.trt)]
    maker = {layer.get_output(0).name: layer.name for layer in read}
    again = [layer.name for layer in read if "again" in layer.name]
    if names is not None:
        assert again == [f"activation/{end}" for end in names]
    read_by = {layer.name: maker.get(layer.get_input(0).name) for layer in read if layer.num_inputs}
    assert read_by["second/quantize"] == (again[-1] if again else read_by["other"])
    assert "again" not in read_by["other"]
    if name == "SiLU":
        product = next(layer for layer in read if layer.name == again[-1])
        assert {maker[product.get_input(i).name] for i in range(2)} == {again[0], "first"}, "nothing of the first time"
    has_cast = name == "mish" and fp16  # softplus is in fp32
    assert bool(again) == (name not in ("ReLU", "none") and not has_cast)
    results = network.run(x)
    monkeypatch.setattr(placement, "_again", lambda edges, placed: set())
    plain = model.trace(fp16=fp16)
    assert len(plain.graph.layer_paths) == len(read) - len(again)
    for result, expected in zip(results.values(), plain.run(x).values(), strict=True):
        np.testing.assert_array_equal(result, expected)


def again_of(forward, skip) -> list[str]:
    """Return what is computed again of a :class:`Forked` with another forward."""
    (x,) = images(1, 1, 8, 6, 6)
    made = type("Other", (Forked,), {"forward": forward})
    return [name for name in readers(quantize(filled(made(SiLU())), [x], skip=skip).trace()) if "again" in name]


@pytest.mark.parametrize(
    "activation",
    [lambda x: 1.0 - x, lambda x: 0.5 * x * x.tanh(), lambda x: x * (1.7 * x).sigmoid(), lambda x: x / (1 + x.abs())],
)
def test_what_is_computed_again_has_the_lengths_of_the_first(activation):
    """They stand in another argument than the first here, which is a number."""

    def forward(self, x):
        y = activation(self.first(x))
        return {"second": self.second(y), "other": self.other(y)}

    (x,) = images(1, 1, 8, 6, 6)
    model = quantize(filled(type("Other", (Forked,), {"forward": forward})(SiLU())), [x], skip=["other"])
    side = trtnn.Dim("side", 4, 6, 12)
    network = model.trace({"x": trtnn.Input((1, 8, side, side))})
    again = [index for index, name in enumerate(readers(network)) if "again" in name]
    shapes = [row.output.shape for row in network.layers()]
    assert again
    assert {shapes[index] for index in again} <= {(1, 8, side, side), (1, 1, 1, 1)}
    assert shapes[again[-1]] == (1, 8, side, side)
    assert "float32[1, 8, side, side]" in network.summary()
    fixed = model.trace().run(x)
    for result, expected in zip(network.run(x).values(), fixed.values(), strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


def test_an_activation_is_computed_again_where_the_network_returns_it():
    def forward(self, x):
        y = self.activation(self.first(x))
        return {"second": self.second(y), "y": y}

    assert again_of(forward, []) == ["activation/again", "activation/again_2"]


def test_an_activation_is_computed_once_otherwise():
    def both(self, x):
        y = self.activation(self.first(x))
        return self.second(y), self.other(y)

    def gated(self, x):
        y = self.first(x).sigmoid() * self.second(x)
        return self.second(y), self.other(y)

    assert again_of(both, ["other"])
    assert not again_of(both, []), "all that reads it is rounded"
    assert not again_of(both, ["second", "other"]), "nothing is"
    assert not again_of(both, ["first", "other"]), "the convolution is not in int8"
    assert not again_of(gated, ["other"]), "two convolutions are no one kernel"


class Points(Forked):
    """With a convolution of 1×1, or another."""

    def __init__(self, **options):
        super().__init__(SiLU())
        self.first = Conv2d(8, 8, **options)


@pytest.mark.parametrize("fp16", [False, True])
def test_a_convolution_of_points_is_computed_again_with_its_activation_where_types_are_weak(fp16, monkeypatch):
    (x,) = images(1, 1, 8, 6, 6)
    model = quantize(filled(Points(kernel_size=1)), [x], skip=["other"])
    side = trtnn.Dim("side", 4, 6, 12)
    once, dynamic = model.trace(fp16=fp16), {"x": trtnn.Input((1, 8, side, side))}
    monkeypatch.setattr(Graph, "is_weakly_typed", True)
    network = model.trace(fp16=fp16)
    reads = readers(network)
    assert reads["first"] == ["DEQUANTIZE"], "its kernel is of floats, which no int8 kernel is made of"
    assert reads["first/again"] == ["DEQUANTIZE", "DEQUANTIZE"]
    assert sorted(reads["activation/again_2"]) == ["ACTIVATION", "CONVOLUTION"]
    assert len(layers(network, "CONVOLUTION")) == len(layers(once, "CONVOLUTION")) + 1
    names = [layer.name for layer in layers(network)]
    again = {"first/again": "first", "activation/again": "activation", "activation/again_2": "activation/elementwise"}
    assert {names[twin]: names[first] for twin, first in network.graph.again.items()} == again
    expected = once.run(x)
    for results in (network.run(x), model.trace(dynamic, fp16=fp16).run(x)):
        for name, result in results.items():
            np.testing.assert_allclose(result, expected[name], rtol=1e-3 * fp16, atol=1e-3 * fp16, err_msg=name)
    network.build(**ONE_TARGET)


@pytest.mark.parametrize("options", [{"kernel_size": 3, "padding": 1}, {"kernel_size": 1, "groups": 2}])
def test_other_convolutions_are_computed_once(options, monkeypatch):
    (x,) = images(1, 1, 8, 6, 6)
    monkeypatch.setattr(Graph, "is_weakly_typed", True)
    names = readers(quantize(filled(Points(**options)), [x], skip=["other"]).trace())
    assert "first/again" not in names
    assert "activation/again" in names


def test_new_weights_are_cut_off_where_a_convolution_is_computed_again(monkeypatch):
    (x,) = images(1, 1, 8, 6, 6)
    model = quantize(filled(Points(kernel_size=1)), [x], skip=["other"])
    model.load_state_dict({"first.weight": model.first.weight.numpy()[::-1].copy()}, strict=False)
    with pytest.warns(UserWarning, match=r"first 1\.48 times"):
        expected = model.trace().run(x)
    monkeypatch.setattr(Graph, "is_weakly_typed", True)
    for name, result in model.trace().run(x).items():
        np.testing.assert_array_equal(result, expected[name])


@pytest.mark.parametrize("fp16", [False, True])
def test_what_is_wanted_of_a_layer_that_stands_twice_is_what_floats_are_read_of(fp16, monkeypatch):
    (x,) = images(1, 1, 8, 6, 6)
    model = quantize(filled(Points(kernel_size=1)), [x], skip=["other"])
    _, once = model.trace(fp16=fp16).run(x, outputs=["first", "activation"])
    monkeypatch.setattr(Graph, "is_weakly_typed", True)
    network = model.trace(fp16=fp16)
    _, wanted = network.run(x, outputs=["first", "activation"])
    graph, found = network.graph, {}
    for again, first in graph.again.items():
        found[graph.layer_paths[first]] = [
            graph.definition.get_layer(index).get_output(0).name for index in (first, again)
        ]
    names = [name for both in found.values() for name in both]
    values = network._interpreter({"x": torch.from_numpy(x)}, set(names))
    assert list(found) == ["first", "activation"]
    for path, (first, again) in found.items():
        np.testing.assert_array_equal(wanted[path], values[first].numpy(), err_msg=path)
        bound = {"rtol": 1e-3, "atol": 1e-3} if fp16 else {"rtol": 1e-5, "atol": 1e-6}
        np.testing.assert_allclose(values[again].numpy(), values[first].numpy(), err_msg=path, **bound)
        np.testing.assert_allclose(wanted[path], once[path], err_msg=path, **bound)


def test_a_large_convolution_is_computed_again_of_what_its_weights_are(monkeypatch):
    """Copies of large weights are made when the trace is done."""
    (x,) = images(1, 1, 8, 2, 2)
    made = Forked(SiLU())
    made.first, made.second, made.other = Conv2d(8, 4096, 1), Conv2d(4096, 4, 1), Conv2d(4096, 4, 1)
    made.inputs = {"x": x.shape}
    model = quantize(filled(made), [x], skip=["other"])
    expected = model.trace().run(x)
    monkeypatch.setattr(Graph, "is_weakly_typed", True)
    for name, result in model.trace().run(x).items():
        np.testing.assert_allclose(result, expected[name], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("channels", "options", "side"),
    [(80, {}, 7), (80, {"skip": ["second"], "dtype": "fp8"}, 6), (80, {"skip": ["first.conv"]}, 6), (16, {}, 7)],
)
def test_a_first_convolution_of_6_by_6_is_of_7_by_7_in_int8(channels, options, side, monkeypatch):
    """TensorRT 8.6 has an int8 kernel of first layers for it; in floats there is none for more than 64 channels."""
    first = Sequential()
    first.conv, first.bn = Conv2d(3, channels, 6, 2, 2, bias=False), modules.BatchNorm2d(channels)
    model = Sequential()
    model.first, model.activation, model.second = first, SiLU(), Conv2d(channels, 4, 1)
    (x,) = images(1, 2, 3, 16, 16)
    model.inputs = {"input": x.shape}
    network = trtnn.quantize(filled(model), [x], **({"skip": ["second"]} | options)).trace()
    convolution, _ = layers(network, "CONVOLUTION")
    assert tuple(convolution.kernel_size_nd) == (side, side)
    monkeypatch.setattr(ops_convolution, "_is_slow_stem", lambda *given: False)
    expected = model.trace().run(x)
    np.testing.assert_allclose(network.run(x), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("fp16", [False, True])
def test_what_is_computed_again_builds_with_dynamic_lengths(fp16):
    (x,) = images(1, 3, 8, 6, 6)
    model = quantize(filled(Forked(SiLU())), [x[:1]], skip=["other"])
    network = model.trace({"x": trtnn.Input((trtnn.Dim("batch", 1, 2, 4), 8, 6, 6))}, fp16=fp16)
    assert sum("again" in name for name in readers(network)) == 2
    fixed = model.trace({"x": (3, 8, 6, 6)}, fp16=fp16).run(x)
    for result, expected in zip(network.run(x).values(), fixed.values(), strict=True):
        np.testing.assert_array_equal(result, expected)
    network.build(**ONE_TARGET)
