"""Biases that make up for rounding, and weights rounded so that outputs stay."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.quantization.networks import Block, detector, filled, images, quantize
from trtnn import functional as F
from trtnn.modules import LSTM, BatchNorm2d, Conv2d, Linear, Module, MultiheadAttention, ReLU, Sequential
from trtnn.parameter import Parameter
from trtnn.quantization.quantizing import forget

SHAPE = (1, 4, 16, 16)


def rms(values: np.ndarray) -> float:
    return float(np.sqrt((np.asarray(values, np.float64) ** 2).mean()))


def correlated(count: int, *shape: int, seed: int = 5) -> list[np.ndarray]:
    """Return inputs whose features go together, as those of a network do, and whose mean is not zero."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(0).standard_normal((3, shape[-1]))
    return [(rng.standard_normal((*shape[:-1], 3)) @ mixing + 0.7).astype(np.float32) for _ in range(count)]


@pytest.mark.parametrize("dtype", ["int8", "fp8"])
def test_adaptive_rounding_keeps_outputs_better_than_the_nearest_numbers(dtype):
    samples, others = correlated(8, 64, 48), correlated(1, 256, 48, seed=11)[0]

    def model() -> Sequential:
        made = filled(Sequential(Linear(48, 32)))
        made.inputs = {"input": (64, 48)}
        return made

    before = model()[0].weight.data
    nearest, adaptive = (quantize(model(), samples, dtype, adaptive_rounding=how) for how in (False, True))
    scale, largest = nearest[0].weight_scale.data[:, None], nearest[0].quant_max.item()
    np.testing.assert_array_equal(adaptive[0].weight_scale.data[:, None], scale)
    rounded = adaptive[0].weight.data / scale
    if largest == 127:
        np.testing.assert_allclose(rounded, np.round(rounded), atol=1e-3)
        assert np.abs(adaptive[0].weight.data - before).max() < scale.max() * 6
        naive = np.clip(np.round(before / scale), -128, 127) * scale
    else:
        steps = torch.from_numpy(before / scale).clamp(-448, 448).to(torch.float8_e4m3fn).float().numpy()
        naive = steps * scale
    lost = {name: rms(others @ (w - before).T) for name, w in (("naive", naive), ("adaptive", adaptive[0].weight.data))}
    assert lost["adaptive"] < lost["naive"] / 2
    again = quantize(model(), samples, dtype, adaptive_rounding=True)
    np.testing.assert_array_equal(again[0].weight.data, adaptive[0].weight.data)


def test_weights_with_a_batchnorm_behind_are_rounded_as_they_are_folded():
    model = filled(Sequential(Block(4, 8), Conv2d(8, 8, 3, 2, 1), ReLU(), Conv2d(8, 4, 1)))
    model.inputs = {"input": SHAPE}
    samples = images(4, *SHAPE)
    plain = [model.trace().run(x) for x in samples]
    quantize(model, samples, adaptive_rounding=True)
    norm = model[0].bn
    factor = norm.weight.data / np.sqrt(norm.running_var.data + norm.eps)
    steps = (
        model[0].conv.weight.data * factor[:, None, None, None] / model[0].conv.weight_scale.data[:, None, None, None]
    )
    np.testing.assert_allclose(steps, np.round(steps), atol=2e-3)
    errors = [rms(model.trace().run(x) - y) / rms(y) for x, y in zip(samples, plain, strict=True)]
    nearest = filled(Sequential(Block(4, 8), Conv2d(8, 8, 3, 2, 1), ReLU(), Conv2d(8, 4, 1)))
    nearest.inputs = {"input": SHAPE}
    quantize(nearest, samples)
    before = [rms(nearest.trace().run(x) - y) / rms(y) for x, y in zip(samples, plain, strict=True)]
    assert np.mean(errors) < np.mean(before) * 1.02


@pytest.mark.parametrize("dtype", ["int8", "fp8"])
def test_corrected_biases_bring_the_mean_of_each_channel_back(dtype):
    samples = [x + 0.5 for x in images(6, *SHAPE)]
    model, alone = detector(), ["stem"]
    skip = ["stem.bn"] if dtype == "int8" else []  # it rounds what is looked at
    true = np.stack([model.trace(outputs=["stem.bn"]).run(x)[1]["stem.bn"] for x in samples])

    def shift(**how) -> np.ndarray:
        quantised = quantize(detector(), samples, dtype, "max", modules=alone, skip=skip, **how)
        values = np.stack([quantised.trace(outputs=["stem.bn"]).run(x)[1]["stem.bn"] for x in samples])
        return np.abs((values - true).mean((0, 1, 3, 4)))

    plain, corrected = shift(correct_bias=False), shift(correct_bias=True)
    assert plain.max() > 1e-4
    assert corrected.max() < plain.max() / 50


@pytest.mark.parametrize("dtype", ["int8", "fp8"])
def test_biases_are_corrected_on_what_layers_read_before_any_weights_were_rounded_adaptively(dtype):
    """What a layer in front loses of the mean its own bias makes up for, so that it is not corrected twice."""
    samples = correlated(6, 16, 24)
    model = filled(Sequential(Linear(24, 24), ReLU(), Linear(24, 8)))
    model.inputs = {"input": (16, 24)}
    before = {name: torch.from_numpy(array.copy()).double() for name, array in model.state_dict().items()}
    quantize(model, samples, dtype, adaptive_rounding=True, correct_bias=True)
    after = {name: torch.from_numpy(np.asarray(array)).double() for name, array in model.state_dict().items()}

    def rounded(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        steps = x / scale
        if dtype == "fp8":
            return steps.clamp(-448, 448).float().to(torch.float8_e4m3fn).double() * scale
        return steps.round().clamp(-128, 127) * scale

    x = torch.from_numpy(np.concatenate(samples)).double()
    for layer in ("0", "2"):
        weight, bias = before[f"{layer}.weight"], before[f"{layer}.bias"]
        assert not torch.equal(after[f"{layer}.weight"], weight)
        narrow = rounded(after[f"{layer}.weight"], after[f"{layer}.weight_scale"][:, None])
        shift = (rounded(x, after[f"{layer}.input_scale"]) @ narrow.T - x @ weight.T).mean(0)
        torch.testing.assert_close(after[f"{layer}.bias"], bias - shift, rtol=0, atol=2e-6)
        x = torch.relu(x @ weight.T + bias)


def test_what_fails_on_the_way_leaves_no_scales():
    model = detector()
    before = {name: array.copy() for name, array in model.state_dict().items()}
    with pytest.raises(Exception, match="sample 1"):
        quantize(model, [images(1, *SHAPE)[0], np.zeros((1, 4, 8, 8), np.float32)], correct_bias=True)
    assert list(before) == list(model.state_dict())
    quantize(model, images(1, *SHAPE))
    forget(model)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


class Own(Module):
    """A layer of one's own over rows of features, as many of which there are as of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = {"x": (2, 8, 8)}
        self.weight, self.bias = Parameter((8, 8)), Parameter((8,))

    def forward(self, x):
        return F.linear(x, self.weight, self.bias)


def test_the_bias_of_a_layer_of_ones_own_is_corrected_by_the_channels_of_what_it_gives():
    model, samples = filled(Own()), correlated(6, 2, 8, 8)
    true = np.mean([model.trace().run(x) for x in samples], axis=(0, 1, 2))
    quantize(model, samples, "fp8", adaptive_rounding=False, correct_bias=True)
    found = np.mean([model.trace().run(x) for x in samples], axis=(0, 1, 2))
    np.testing.assert_allclose(found, true, atol=1e-5)
    quantize(model := filled(Own()), samples, "fp8", adaptive_rounding=False, correct_bias=False)
    assert np.abs(np.mean([model.trace().run(x) for x in samples], axis=(0, 1, 2)) - true).max() > 1e-3


class Attending(Module):
    """Attention, whose projections are layers of several weights, or a recurrence, which is a loop."""

    def __init__(self, inner: Module) -> None:
        super().__init__()
        self.inputs, self.inner = {"x": (2, 6, 16)}, inner

    def forward(self, x):
        return self.inner(x)[0] if isinstance(self.inner, LSTM) else self.inner(x, x[..., :12], x[..., :10])[0]


@pytest.mark.parametrize(
    "make", [lambda: MultiheadAttention(16, 4, batch_first=True, kdim=12, vdim=10), lambda: LSTM(16, 8)]
)
@pytest.mark.parametrize("dtype", ["int8", "fp8"])
def test_modules_of_several_weights_and_loops_take_part(make, dtype):
    model, samples = filled(Attending(make())), images(3, 2, 6, 16)
    true = np.stack([model.trace().run(x) for x in samples])
    quantize(model, samples, dtype, correct_bias=True, adaptive_rounding=True)
    found = np.stack([model.trace().run(x) for x in samples])
    assert 0 < rms(found - true) / rms(true) < (0.03 if dtype == "int8" else 0.1)


def test_a_convolution_before_two_batchnorms_keeps_its_weights():
    class Twice(Module):
        def __init__(self):
            super().__init__()
            self.inputs = {"x": (1, 6, 8, 8)}
            self.conv, self.head = Conv2d(6, 6, 3, 1, 1), Conv2d(6, 5, 1)
            self.first, self.second = BatchNorm2d(6), BatchNorm2d(6)

        def forward(self, x):
            x = F.relu(self.first(self.conv(x)))
            return self.head(F.relu(self.second(self.conv(x))))

    model = filled(Twice())
    conv, head = model.conv.weight.data, model.head.weight.data
    (x,) = images(1, 1, 6, 8, 8)
    expected = model.trace().run(x)
    quantize(model, [x], adaptive_rounding=True, correct_bias=True)
    assert model.conv.weight_scale.shape == (12,)
    np.testing.assert_array_equal(model.conv.weight.data, conv)
    assert (model.head.weight.data != head).any()
    assert np.abs(model.trace().run(x) - expected).max() < 0.03 * np.abs(expected).max()


class Tied(Module):
    """Two layers of one weight and one bias, of which the second reads much larger numbers, and one of its own."""

    def __init__(self, is_tied):
        super().__init__()
        self.first, self.second, self.own = Linear(24, 24), Linear(24, 24), Linear(24, 5)
        if is_tied:
            self.second.weight, self.second.bias = self.first.weight, self.first.bias
        self.inputs = {"x": (32, 24)}

    def forward(self, x):
        return self.own(F.relu(self.second(F.relu(self.first(x)) * 30)))


@pytest.mark.parametrize("is_tied", [True, False])
def test_what_several_modules_hold_stays(is_tied):
    model = filled(Tied(is_tied))
    before = {name: array.copy() for name, array in model.state_dict().items()}
    quantize(model, correlated(8, 32, 24), adaptive_rounding=True, correct_bias=True)
    after = model.state_dict()
    changed = {name for name, array in before.items() if not np.array_equal(after[name], array)}
    assert changed == ({"own.weight", "own.bias"} if is_tied else set(before))
