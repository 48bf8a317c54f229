"""Quantised networks on a GPU: the engine's numbers are the reference's, and what was asked for in int8 is in int8."""

from __future__ import annotations

import json

import numpy as np
import pytest

import trtnn
from tests.from_torch import test_tensor_quantizers
from tests.quantization.networks import Rounded, filled, images, quantize
from trtnn import functional as F
from trtnn.engine.plan import deserialize
from trtnn.modules import Conv2d, ConvTranspose2d, Linear, MaxPool2d, Module, Sequential, SiLU, Upsample

OPTIONS = {"optimization_level": 1, "timing_cache": False, "progress": False}


@pytest.mark.parametrize("scale", [0.25, 0.1, 1 / 127, 3.1e-3])
def test_an_engine_rounds_to_int8_as_the_reference_does(scale):
    """Halves, the ends of the range, infinities and ordinary numbers, element by element."""
    steps = np.concatenate([np.arange(-140, 140, 0.5), images(1, 6000)[0] * 60, [np.inf, -np.inf, 1e9, -0.0]])
    x = (steps * scale).astype(np.float32).reshape(1, -1)
    network = Rounded(scale, 127, x.shape).trace()
    with network.build(**OPTIONS) as engine:
        result, expected = engine(x), network.run(x)
    assert np.abs(result - expected).max() <= scale * 1.0001, "more than one step"
    off = (np.abs(result - expected) > scale * 0.5).ravel()
    print(f"scale {scale}: {off.sum()} of {off.size} elements are a step off, at {steps[off][:8]}")
    assert off.mean() < 1e-3  # x / scale within an ulp of a half
    power_of_two = scale == 0.25
    assert not (power_of_two and off.any())


class Chain(Module):
    """Convolutions with SiLU, a residual sum, a concatenation, a pool and a resize, as detectors have them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = Conv2d(16, 32, 3, 1, 1), Conv2d(32, 32, 1), Conv2d(32, 32, 3, 1, 1)
        self.d, self.act = Conv2d(96, 32, 1), Sequential(SiLU())
        self.pool, self.up, self.e = MaxPool2d(2), Upsample(scale_factor=2), Conv2d(32, 16, 3, 1, 1)

    def forward(self, x):
        x = F.silu(self.a(x))
        y = self.act(self.c(F.silu(self.b(x)))) + x
        z = self.up(self.pool(y))
        return self.e(F.silu(self.d(F.cat([x, y, z], 1))))


NETWORKS = {
    "chain": (Chain, (2, 16, 32, 32)),
    "transposed": (lambda: Sequential(ConvTranspose2d(16, 32, 2, 2), SiLU(), Conv2d(32, 16, 1)), (1, 16, 16, 16)),
    "linear": (lambda: Sequential(Linear(64, 128), SiLU(), Linear(128, 32)), (8, 64)),
    "grouped": (lambda: Sequential(Conv2d(32, 32, 3, 1, 1, groups=32), SiLU(), Conv2d(32, 32, 1)), (1, 32, 16, 16)),
}


@pytest.mark.parametrize("fp16", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_an_engine_in_int8_gives_what_the_reference_does(name, fp16):
    make, shape = NETWORKS[name]
    model = filled(make())
    names = {"chain": "x"}
    model.inputs = {names.get(name, "input"): shape}
    (x,) = images(1, *shape)
    plain = model.trace().run(x)
    quantize(model, [x])
    network = model.trace(fp16=fp16)
    expected = network.run(x)
    with network.build(**OPTIONS) as engine:
        result = engine(x)
        built = engine.quantized_as()
        kinds = [(layer.name, layer.kind, layer.precision) for layer in engine.layers()]
    size = np.sqrt((expected**2).mean())
    error, of_rounding = (
        np.sqrt(((result - expected) ** 2).mean()) / size,
        np.sqrt(((plain - expected) ** 2).mean()) / size,
    )
    print(name, fp16, f"error {error:.1e} where int8 itself makes {of_rounding:.1e}")
    print(*kinds, sep="\n")
    if name == "chain" and fp16:
        assert set(built.values()) == {"int8"}, built
    assert error < of_rounding / 3  # a number beside a half may go the other way, and no more than a few do


@pytest.mark.parametrize("fp16", [False, True])
@pytest.mark.parametrize("name", test_tensor_quantizers.MODELS)
def test_an_engine_of_nvidias_quantisers_gives_what_the_reference_does(name, fp16):
    x = test_tensor_quantizers.X
    network = trtnn.from_torch(test_tensor_quantizers.MODELS[name](), x).trace(fp16=fp16)
    expected = network.run(x.numpy())
    with network.build(**OPTIONS) as engine:
        result = engine(x.numpy())
        print(name, fp16, engine.quantized_as())
    assert np.sqrt(((result - expected) ** 2).mean() / (expected**2).mean()) < 0.01


class Stem(Module):
    """YOLOv5's first convolutions."""

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.first, self.act = Conv2d(3, channels, 6, 2, 2), SiLU()
        self.second, self.last = Conv2d(channels, 64, 3, 2, 1), Conv2d(64, 32, 1)

    def forward(self, x):
        return self.last(F.silu(self.second(self.act(self.first(x)))))


def first_kernels(engine) -> list[tuple[str, str]]:
    """Return what the kernels of the first convolution read and give."""
    layers = [layer for layer in engine.layers() if "first" in layer.paths and "Convolution" in layer.kind]
    return [(layer.reads, layer.precision) for layer in layers]


@pytest.mark.parametrize("channels", [32, 80])
def test_a_first_convolution_is_in_int8_up_to_its_activation(channels):
    """TensorRT 8.6 has no first layer's int8 kernel of it, SiLU and a Quantize, and took one for 32 channels."""
    shape = (2, 3, 128, 128)
    model, (x,) = filled(Stem(channels)), images(1, *shape)
    model.inputs = {"x": shape}
    plain = model.trace().run(x)
    trtnn.quantize(model, [x])
    assert {name for name, _ in model.named_buffers() if name.endswith("output_scale")} == {"first.output_scale"}
    network = model.trace(fp16=True)
    with network.build(**OPTIONS) as engine:
        kernels, result, built = first_kernels(engine), engine(x), engine.quantized_as()
    expected = network.run(x)
    of_rounding = np.sqrt(((plain - expected) ** 2).mean())
    assert np.sqrt(((result - expected) ** 2).mean()) < of_rounding / 3
    assert built == {"first": "int8", "second": "int8"}
    assert kernels == [("int8", "int8")], kernels


def tactics_of(engine, path: str) -> list[str]:
    """Return the names of the kernels that TensorRT chose for a module's convolutions."""
    trt = trtnn.get_backend().trt
    _, raw = deserialize(trtnn.get_backend(), engine.plan)
    text = raw.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    names = [layer.name for layer in engine.layers() if path in layer.paths and "Convolution" in layer.kind]
    return [layer["TacticName"] for layer in json.loads(text, strict=False)["Layers"] if layer["Name"] in names]


def test_a_first_convolution_of_many_channels_has_a_kernel_of_first_layers():
    """As a whole it has none in TensorRT 8.6, and took 0.50 ms in place of 0.09 with the copy of what it reads."""
    shape = (8, 3, 640, 640)
    model, (x,) = filled(Stem(80)), images(1, *shape)
    model.inputs = {"x": shape}
    network = trtnn.quantize(model, [x]).trace(fp16=True)
    with network.build(**OPTIONS) as engine:
        tactics = tactics_of(engine, "first")
        np.testing.assert_allclose(engine(x), expected := network.run(x), atol=2e-2 * np.abs(expected).max())
    assert all("first_layer" in tactic for tactic in tactics), tactics


def test_a_first_convolution_that_is_skipped_stays_in_fp16_in_front_of_a_quantize():
    """TensorRT 8.6 has no fp16 kernel of it and SiLU, and built it in fp32, at three times the time."""
    shape = (2, 3, 128, 128)
    model, (x,) = filled(Stem()), images(1, *shape)
    model.inputs = {"x": shape}
    network = quantize(model, [x], skip=["first"]).trace(fp16=True)
    with network.build(**OPTIONS) as engine:
        kernels, result = first_kernels(engine), engine(x)
    expected = network.run(x)
    np.testing.assert_allclose(result, expected, rtol=2e-2, atol=2e-2 * np.abs(expected).max())
    assert [gives for _, gives in kernels] == ["float16"], kernels


class Forked(Module):
    def __init__(self, kernel_size: int = 3) -> None:
        super().__init__()
        self.first = Conv2d(64, 64, kernel_size, padding="same")
        self.second, self.other = Conv2d(64, 64, 3, 1, 1), Conv2d(64, 64, 1)

    def forward(self, x):
        y = F.silu(self.first(x))
        return self.second(y), self.other(y)


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_an_activation_that_is_read_in_fp16_too_is_one_kernel_with_its_rounding(kernel_size):
    shape = (2, 64, 80, 80)
    model, (x,) = filled(Forked(kernel_size)), images(1, *shape)
    model.inputs = {"x": shape}
    network = quantize(model, [x], skip=["other"]).trace(fp16=True)
    with network.build(**OPTIONS) as engine:
        names, results = [layer.name for layer in engine.layers()], engine(x)
    assert not [name for name in names if name == "second/quantize"], names
    for result, expected in zip(results, network.run(x), strict=True):
        np.testing.assert_allclose(result, expected, rtol=2e-2, atol=2e-2 * np.abs(expected).max())
