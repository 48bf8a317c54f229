"""First convolutions in int8: which are rounded before their activation, which are left, and by what numbers."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import trtnn
from tests.helpers import ONE_TARGET, layers
from tests.quantization.networks import Block, filled, images
from trtnn import functional as F
from trtnn import modules
from trtnn.accuracy.sites import Sites
from trtnn.modules import BatchNorm2d, Conv2d, Conv3d, Module, ReLU, Sequential, SiLU
from trtnn.quantization.choosing import Speed

SHAPE = (2, 3, 16, 16)


class Net(Module):
    """A first convolution, what ``between`` makes of it, and two more convolutions.

    Args:
        between: a function of (this module, what the first gives).
        first: the first convolution, of 8 outputs.
    """

    def __init__(self, between, first: Module | None = None) -> None:
        super().__init__()
        self.inputs, self.first, self.between = {"x": SHAPE}, first or Conv2d(3, 8, 3, 2, 1), between
        self.extra, self.second, self.last = Conv2d(8, 8, 1), Conv2d(8, 8, 3, 1, 1), Conv2d(8, 4, 1)

    def forward(self, x):
        return self.last(self.second(self.between(self, self.first(x))))


def sites(model: Module, **how) -> Sites:
    return Sites(filled(model).trace().graph, **how)


def silu(net: Net, x):
    return F.silu(x)


# by what comes behind a first convolution: whether it is left as it is, and whether it is rounded there
BEHIND = {
    "silu": (silu, False, True),
    "gelu": (lambda net, x: F.gelu(x), False, True),
    "hardswish": (lambda net, x: F.hardswish(x), False, True),
    "sigmoid": (lambda net, x: F.sigmoid(x), False, True),
    "relu": (lambda net, x: F.relu(x), False, False),
    "nothing": (lambda net, x: x, False, False),
    "pool": (lambda net, x: F.max_pool2d(x, 2), False, False),
    "relu of two": (lambda net, x: F.relu(x) + net.extra(x), False, False),
    "silu and relu": (lambda net, x: F.silu(x) + F.relu(x), True, False),
    "silu and a sum": (lambda net, x: F.silu(x) + x, True, False),
    "a sum with its tanh": (lambda net, x: x + F.tanh(x), True, False),
    "sigmoid and a scale": (lambda net, x: F.sigmoid(x) + x * 0.3, True, False),
    "silu and a convolution": (lambda net, x: F.silu(x) + net.extra(x), True, False),
    "a scale first": (lambda net, x: F.silu(x * 0.3), True, False),
    "its parts": (lambda net, x: F.maximum(x, 0) + F.minimum(x, 0) * 0.2, True, False),
}


@pytest.mark.parametrize("name", BEHIND)
def test_what_comes_behind_a_first_convolution_decides(name):
    between, is_left, is_rounded = BEHIND[name]
    found = sites(Net(between))
    assert ("first" in found.ends()) is is_left
    assert ("first" in found.outputs.values()) is is_rounded
    of_fp8 = sites(Net(between), int8=False)
    assert "first" in of_fp8.ends()
    assert not of_fp8.outputs


@pytest.mark.parametrize("channels", [1, 3, 4, 5, 12])
def test_up_to_4_channels_are_narrow(channels):
    model = Net(silu, Conv2d(channels, 8, 3, 2, 1))
    model.inputs = {"x": (1, channels, 16, 16)}
    found = sites(model)
    assert "first" not in found.ends(), "more channels have kernels of their own, with SiLU"
    assert ("first" in found.outputs.values()) is (channels <= 4)


def test_other_narrow_convolutions_are_left():
    """Of three channels each: behind another, in groups, and over volumes."""

    class Net3d(Module):
        def __init__(self) -> None:
            super().__init__()
            self.inputs, self.first = {"x": (1, 3, 4, 8, 8)}, Conv3d(3, 8, 3)
            self.second, self.last = Conv3d(8, 8, 1), Conv3d(8, 8, 1)

        def forward(self, x):
            return self.last(self.second(F.silu(self.first(x))))

    inner = Sequential(Conv2d(3, 3, 1), ReLU(), Conv2d(3, 8, 1), SiLU(), Conv2d(8, 8, 1), Conv2d(8, 8, 1))
    inner.inputs = {"input": SHAPE}
    assert sites(inner).ends() == ("2", "5")
    grouped = Net(silu, Conv2d(3, 8, 3, 2, 1))
    grouped.first = Conv2d(3, 9, 3, 1, 1, groups=3)
    grouped.second = Conv2d(9, 8, 1)
    for model in (grouped, Net3d()):
        found = sites(model)
        assert found.ends() == ("first", "last")
        assert not found.outputs


def test_what_prepares_images_may_come_before():
    class Prepared(Net):
        def forward(self, x):
            return super().forward(F.permute((x - 0.5) / 0.25, (0, 3, 1, 2)))

    model = Prepared(silu)
    model.inputs = {"x": (2, 16, 16, 3)}
    found = sites(model)
    assert (found.ends(), [*found.outputs.values()]) == (("last",), ["first"])


def test_pixels_put_into_channels_are_12():
    model = Net(silu, Conv2d(12, 8, 3, 1, 1))
    model.forward = lambda x: Net.forward(model, F.pixel_unshuffle(x, 2))
    found = sites(model)
    assert (found.ends(), found.outputs) == (("last",), {})


def test_one_convolution_for_two_images_is_left():
    """A module says once what it returns, and has two results here."""

    class Pair(Net):
        def forward(self, x):
            return super().forward(x) + super().forward(x * 2)

    assert "first" in sites(Pair(silu)).ends()


def test_what_the_network_returns_is_not_rounded():
    class Shown(Net):
        def forward(self, x):
            y = self.first(x)
            return y, self.last(self.second(F.silu(y)))

    found = sites(Shown(silu))
    assert "first" in found.ends()
    assert not found.outputs


def test_the_scale_is_of_the_innermost_module_that_returns_the_tensor():
    model = Sequential(Block(3, 8), Block(8, 8), Conv2d(8, 4, 1))
    model.inputs = {"input": SHAPE}
    assert [*sites(model).outputs.values()] == ["0.bn"]
    model = Net(silu, Sequential(Sequential(Conv2d(3, 8, 3, 2, 1))))
    assert [*sites(model).outputs.values()] == ["first.0.0"]


def test_it_can_be_skipped_and_goes_with_its_convolution():
    def state(**how) -> list[str]:
        model = filled(Sequential(Block(3, 8), Block(8, 8), Conv2d(8, 4, 1)))
        model.inputs = {"input": SHAPE}
        return [name for name in trtnn.quantize(model, images(1, *SHAPE), **how).state_dict() if "_scale" in name]

    assert "0.bn.output_scale" in state()
    assert "0.conv.input_scale" in state()
    apart = state(skip=["0.bn"])
    assert "0.bn.output_scale" not in apart
    assert "0.conv.input_scale" in apart
    assert not any(name.startswith("0.") for name in state(skip=["0.conv"]))


def blocks() -> Module:
    model = filled(Sequential(Block(3, 8), Block(8, 8), Block(8, 8), Conv2d(8, 4, 1)))
    model.inputs = {"input": SHAPE}
    return model


def rms(x) -> float:
    return float(np.sqrt(np.square(np.asarray(x, np.float64)).mean()))


def test_what_is_chosen_leaves_out_both_or_none():
    """In int8 and not rounded behind, TensorRT 8.6 takes more time for it than for the whole network's gain."""
    samples = images(4, *SHAPE)
    exact = np.stack([blocks().trace().run(x) for x in samples])
    report = trtnn.quantize(blocks(), samples).trace().precision_report(samples)
    alone = {row.path: row.error for row in report.modules}
    assert alone["0.bn"] > 1.5 * alone["0.conv"]
    seen = set()
    for tolerance in np.linspace(alone["0.conv"] / 2, report.errors["output"] * 1.01, 12):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "nothing is quantised")
            model = trtnn.quantize(blocks(), samples, modules="auto", tolerance=tolerance)
        error = rms(np.stack([model.trace().run(x) for x in samples]) - exact) / rms(exact)
        assert error <= tolerance * 1.001
        scales = {name for name in model.state_dict() if name.endswith(("input_scale", "output_scale"))}
        assert ("0.bn.output_scale" in scales) == ("0.conv.input_scale" in scales)
        seen.add(frozenset(scales))
        suggested = report.suggested_skip(tolerance)
        assert ("0.bn" in suggested) == ("0.conv" in suggested) == ("0.conv.input_scale" not in scales)
    assert len(seen) >= 3


def test_what_is_no_faster_is_left_out_with_it(monkeypatch):
    """Behind an engine's times: the BatchNorm's kernel is slower in int8, and its convolution's is faster."""
    asked = []

    def speed(model):
        names = {name for name in model.state_dict() if name.endswith(("input_scale", "output_scale"))}
        asked.append(names)
        is_first = "0.bn.output_scale" in names
        times = {"0.conv": 0.5 if is_first else 1.0, "0.bn": 2.0 if is_first else 1.0, "1.conv": 1.0}
        times["1.conv"] = 0.5 if "1.conv.input_scale" in names else 1.0
        return Speed(sum(times.values()), times)

    monkeypatch.setattr(trtnn.quantization.quantizing, "engine_speed", speed)
    model = trtnn.quantize(blocks(), images(1, *SHAPE), modules="fastest", tolerance=1.0)
    assert any("0.conv.input_scale" in names for names in asked)
    for names in [*asked, model.state_dict()]:
        assert ("0.bn.output_scale" in names) == ("0.conv.input_scale" in names)
    assert "0.bn.output_scale" not in model.state_dict()
    assert "1.conv.input_scale" in model.state_dict()


# -- numbers ----------------------------------------------------------------------------------------------------------


def pair() -> tuple[Module, torch.nn.Module]:
    """Return a network of trtnn's, and torch's of the same weights."""
    model = filled(Sequential(Conv2d(3, 8, 3, 2, 1, bias=False), BatchNorm2d(8), SiLU(), Conv2d(8, 4, 1)))
    model.inputs = {"input": SHAPE}
    nn = torch.nn
    twin = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.SiLU(), nn.Conv2d(8, 4, 1)).eval()
    twin.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in model.state_dict().items()}, False)
    return model, twin


def rounded(x: torch.Tensor, scale: float) -> torch.Tensor:
    return torch.fake_quantize_per_tensor_affine(x, float(scale), 0, -128, 127)


def test_the_range_is_of_both_signs_before_the_activation():
    model, twin = pair()
    samples = images(3, *SHAPE)
    trtnn.quantize(model, samples, method="max", skip=())
    with torch.no_grad():
        before = torch.stack([twin[:2](torch.from_numpy(x)) for x in samples])
    assert -before.min() > before.max(), "what is negative decides here"
    np.testing.assert_allclose(model[1].output_scale.item(), before.abs().max() / 127, rtol=1e-5)
    behind = torch.nn.functional.silu(before).abs().max()
    np.testing.assert_allclose(model[3].input_scale.item(), behind / 127, rtol=1e-5)


def test_the_reference_rounds_as_torch_does():
    model, twin = pair()
    (x,) = images(1, *SHAPE)
    trtnn.quantize(model, [x], skip=())
    scales = {name: buffer.data for name, buffer in model.named_buffers() if name.endswith("_scale")}
    with torch.no_grad():
        norm = twin[1]
        factor = norm.weight / (norm.running_var + norm.eps).sqrt()

        def kernel(weight: torch.Tensor, name: str) -> torch.Tensor:
            zeros = torch.zeros(len(weight), dtype=torch.int32)
            return torch.fake_quantize_per_channel_affine(weight, torch.tensor(scales[name]), zeros, 0, -128, 127)

        first = kernel(twin[0].weight * factor[:, None, None, None], "0.weight_scale")
        bias = norm.bias - norm.running_mean * factor
        y = torch.nn.functional.conv2d(rounded(torch.from_numpy(x), scales["0.input_scale"]), first, bias, 2, 1)
        y = torch.nn.functional.silu(rounded(y, scales["1.output_scale"]))
        without = torch.nn.functional.silu(twin[1](twin[0](torch.from_numpy(x))))
        last = kernel(twin[3].weight, "3.weight_scale")
        expected = torch.nn.functional.conv2d(rounded(y, scales["3.input_scale"]), last, twin[3].bias)
    result = model.trace().run(x)
    off = np.abs(result - expected.numpy())
    step = scales["3.input_scale"] * np.abs(last.numpy()).sum((1, 2, 3)).max()
    assert off.max() <= 1.01 * step, "more than a step"
    assert (off > 1e-5).mean() < 0.01, "a number beside a half may go the other way, and no more than a few do"
    assert (y - without).abs().max() > 0.3 * scales["1.output_scale"], "it is rounded at all"


def clipped(*between: Module) -> Module:
    return filled(Sequential(Conv2d(3, 8, 3, 1, 1), modules.ReLU6(), *between, Conv2d(8, 4, 1), Conv2d(4, 4, 1)))


@pytest.mark.parametrize("method", ["max", "mse", "percentile"])
@pytest.mark.parametrize("between", [(), (modules.MaxPool2d(2),)])
def test_rounding_before_a_clip_costs_nothing(between, method):
    """By the scale of what the clip gives, which is at most 6, wherever else the convolution goes."""
    (x,) = images(1, *SHAPE)
    x *= 8
    results = []
    for is_rounded in (True, False):
        model = clipped(*between)
        model.inputs = {"input": SHAPE}
        trtnn.quantize(model, [x], method=method, skip=())
        assert model[0].output_scale.item() == model[2 + len(between)].input_scale.item() <= 6.001 / 127
        if not is_rounded:
            del model[0].output_scale
        results.append(model.trace().run(x))
    np.testing.assert_array_equal(*results)


def test_before_other_activations_the_scale_is_its_own():
    """They give another number for each that they are given, so that a scale of theirs would cut some off."""
    model = clipped()
    model.inputs = {"input": SHAPE}
    model[1] = modules.LeakyReLU(0.2)
    model[0].bias.data -= 3
    (x,) = images(1, *SHAPE)
    before = model.trace(outputs=["0"]).run(x)[1]["0"]
    assert -before.min() > 1.2 * before.max(), "what is negative decides here"
    trtnn.quantize(model, [x], method="max", skip=())
    assert model[0].output_scale.item() == pytest.approx(-before.min() / 127, rel=1e-5)


def test_before_a_clip_that_nothing_in_int8_reads_the_scale_is_its_own():
    model = clipped()
    model.inputs = {"input": SHAPE}
    (x,) = images(1, *SHAPE)
    trtnn.quantize(model, [x], method="max", skip=["2"])
    largest = np.abs(model.trace(outputs=["0"]).run(x)[1]["0"]).max()
    assert model[0].output_scale.item() == pytest.approx(largest / 127, rel=0.02)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pt"])
def test_files_repr_and_summary_have_it(tmp_path, suffix):
    model, _ = pair()
    (x,) = images(1, *SHAPE)
    trtnn.quantize(model, [x], skip=())
    trtnn.save(model.state_dict(), tmp_path / f"a{suffix}")
    other, _ = pair()
    other.load_state_dict(trtnn.load(tmp_path / f"a{suffix}"))
    np.testing.assert_array_equal(other[1].output_scale.data, model[1].output_scale.data)
    np.testing.assert_array_equal(other.trace().run(x), model.trace().run(x))
    assert f"int8, output_scale={model[1].output_scale.item():.4g}" in repr(other[1])
    assert "quantised to int8: 0, 1, 3" in other.trace().summary()


def test_written_source_has_it(tmp_path, monkeypatch):
    _, twin = pair()
    (x,) = images(1, *SHAPE)
    converted = trtnn.from_torch(twin, torch.from_numpy(x))
    assert [*Sites(converted.trace().graph).outputs.values()], "a converted model has first convolutions as well"
    trtnn.quantize(converted, [x], skip=())
    trtnn.save_source(converted, tmp_path / "first_net.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    import first_net  # type: ignore[import-not-found]

    other = getattr(first_net, type(converted).__name__)()
    other.load_state_dict(trtnn.load(tmp_path / "first_net.safetensors"))
    held = [name for name in other.state_dict() if name.endswith("output_scale")]
    assert held == [name for name in converted.state_dict() if name.endswith("output_scale")]
    assert len(held) == 1
    np.testing.assert_array_equal(other.trace().run(x), converted.trace().run(x))


@pytest.mark.parametrize("fp16", [False, True])
def test_it_builds(fp16):
    model, _ = pair()
    trtnn.quantize(model, images(1, *SHAPE), skip=())
    network = model.trace(fp16=fp16)
    assert len(layers(network, "QUANTIZE")) == 5  # two inputs, two kernels, and before SiLU once for both that read it
    engine = network.build(**ONE_TARGET)
    assert engine.description["quantized"] == dict.fromkeys(("0", "3"), "int8")  # 1 is folded
