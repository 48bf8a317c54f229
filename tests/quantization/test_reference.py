"""Quantize and Dequantize on the reference, element by element against torch's fake quantisation and float8 casts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.quantization.networks import Rounded, filled, images
from trtnn.modules import Conv2d, ConvTranspose2d, Linear
from trtnn.parameter import Buffer

FP8 = torch.float8_e4m3fn


def buffer(value) -> Buffer:
    array = np.asarray(value, np.float32)
    return Buffer(array.shape, data=array)


def numbers(scale: float) -> np.ndarray:
    """Every half step, numbers beyond both ends, zeros of both signs, infinities, and ordinary numbers."""
    steps = np.concatenate([np.arange(-140, 140, 0.5), [1e9, -1e9, 0.0, -0.0, np.inf, -np.inf]])
    return np.concatenate([steps, images(1, 4000)[0] * 60]).astype(np.float32) * np.float32(scale)


@pytest.mark.parametrize("scale", [0.25, 2.0**-9, 1.0])
def test_int8_is_torchs_fake_quantisation(scale):
    x = numbers(scale)
    result = Rounded(scale, 127, x.shape).trace().run(x)
    expected = torch.fake_quantize_per_tensor_affine(torch.from_numpy(x), scale, 0, -128, 127)
    np.testing.assert_array_equal(result, expected.numpy())


@pytest.mark.parametrize("scale", [0.1, 1 / 127, 3.1e-3])
def test_int8_divides_where_torch_multiplies_by_the_inverse(scale):
    """TensorRT's definition is round(x / scale); torch's is round(x · (1 / scale)), which may differ beside a half."""
    x = numbers(scale)
    result = Rounded(scale, 127, x.shape).trace().run(x)
    single = np.float32(scale)
    expected = (np.clip(np.round(x / single), -128, 127) * single).astype(np.float32)
    np.testing.assert_array_equal(result, expected)
    of_torch = torch.fake_quantize_per_tensor_affine(torch.from_numpy(x), float(single), 0, -128, 127).numpy()
    differs = result != of_torch
    halves = np.abs(np.abs(np.where(np.isfinite(x), x, 0) / single) % 1 - 0.5) < 1e-4
    assert not (differs & ~halves & np.isfinite(x)).any()


@pytest.mark.parametrize("scale", [0.25, 0.1, 3.1e-3])
def test_fp8_is_torchs_cast_held_to_its_ends(scale):
    x = numbers(scale) * 8
    result = Rounded(scale, 448, x.shape).trace().run(x)
    single = torch.tensor(scale, dtype=torch.float32)
    expected = (torch.from_numpy(x) / single).clamp(-448, 448).to(FP8).float() * single
    np.testing.assert_array_equal(result, expected.numpy())
    assert np.abs(result).max() == np.float32(448) * np.float32(scale)


def test_nan_stays_nan_in_fp8_alone():
    x = np.array([np.nan, 1.0], np.float32)
    assert np.isnan(Rounded(0.5, 448, x.shape).trace().run(x)[0])
    np.testing.assert_array_equal(Rounded(0.5, 127, x.shape).trace().run(x), [0.0, 1.0])


def test_fp8_has_every_number_of_e4m3():
    every = torch.arange(256, dtype=torch.uint8).view(FP8).float()
    x = every[every.isfinite()].numpy()
    np.testing.assert_array_equal(Rounded(1.0, 448, x.shape).trace().run(x), x)


LAYERS = {
    "conv": (lambda: Conv2d(4, 6, 3, 1, 1), 0, (1, 4, 8, 8), torch.nn.Conv2d(4, 6, 3, 1, 1)),
    "grouped": (lambda: Conv2d(4, 8, 3, 1, 1, groups=4), 0, (1, 4, 8, 8), torch.nn.Conv2d(4, 8, 3, 1, 1, groups=4)),
    "transposed": (lambda: ConvTranspose2d(4, 6, 2, 2), 1, (1, 4, 8, 8), torch.nn.ConvTranspose2d(4, 6, 2, 2)),
    "linear": (lambda: Linear(16, 10), 0, (3, 16), torch.nn.Linear(16, 10)),
}


@pytest.mark.parametrize("largest", [127, 448])
@pytest.mark.parametrize("name", LAYERS)
def test_weights_are_rounded_by_channel(name, largest):
    make, axis, shape, twin = LAYERS[name]
    layer = filled(make())
    (x,) = images(1, *shape)
    weight, bias = torch.from_numpy(layer.weight.data), torch.from_numpy(layer.bias.data)
    rest = tuple(i for i in range(weight.ndim) if i != axis)
    scales = weight.abs().amax(rest) / largest
    layer.input_scale, layer.weight_scale, layer.quant_max = buffer(2**-5), buffer(scales.numpy()), buffer(largest)
    layer.inputs = {"input": shape}
    result = layer.trace().run(x)

    def rounded(value, scale):
        steps = value / scale
        return (steps.clamp(-448, 448).to(FP8).float() if largest == 448 else steps.round().clamp(-128, 127)) * scale

    along = scales.reshape([-1 if i == axis else 1 for i in range(weight.ndim)])
    with torch.no_grad():
        twin.weight.copy_(rounded(weight, along))
        twin.bias.copy_(bias)
        expected = twin(rounded(torch.from_numpy(x), 2**-5))
    np.testing.assert_allclose(result, expected.numpy(), rtol=1e-5, atol=1e-5)
    assert np.abs(result - _plain(make, x)).max() > 1e-4, "nothing was rounded"


def _plain(make, x):
    layer = filled(make())
    layer.inputs = {"input": x.shape}
    return layer.trace().run(x)
