"""Models that torch's quantisation prepared and that stay operations: they compute what torch does, or are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.ao import quantization
from torch.ao.quantization import quantize_fx
from torch.nn import functional as F

import trtnn
from tests.from_torch.models import images
from tests.helpers import assert_close
from trtnn.errors import UnsupportedError

# torch says of its own module that another package is to come.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

X = images(2, 3, 8, 8)
FAKE = quantization.QConfig(
    activation=quantization.default_fake_quant, weight=quantization.default_per_channel_weight_fake_quant
)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.quant, self.dequant = quantization.QuantStub(), quantization.DeQuantStub()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = self.relu(self.bn(self.conv(self.quant(x))))
        return self.dequant(self.fc(x.mean((2, 3))))


def _trained(model):
    """Return a prepared model after a few calls in training, in evaluation, with its observers off."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        model(torch.randn(4, 3, 8, 8, generator=generator))
    return model.eval().apply(quantization.disable_observer)


def _eager(qconfig, fused=()):
    torch.manual_seed(0)
    model = Net().train()
    model.qconfig = qconfig
    model = quantization.fuse_modules_qat(model, [list(fused)]) if fused else model
    return _trained(quantization.prepare_qat(model))


def _fx():
    torch.manual_seed(0)
    return _trained(
        quantize_fx.prepare_qat_fx(Net().train(), quantization.get_default_qat_qconfig_mapping("x86"), (X,))
    )


class ByHand(nn.Module):
    """Calls of the functions, and FakeQuantize modules in a forward of one's own."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 3, 3))
        self.weights = quantization.default_per_channel_weight_fake_quant()
        self.activations = quantization.FakeQuantize(quant_min=0, quant_max=255, dtype=torch.quint8)

    def forward(self, x):
        x = F.conv2d(self.activations(x), self.weights(self.weight), padding=1)
        return torch.fake_quantize_per_tensor_affine(x, 0.25, 2, -8, 7)


MODELS = {
    "eager": lambda: _eager(FAKE),
    "eager, fused observers": lambda: _eager(quantization.get_default_qat_qconfig("x86")),
    "eager, fused modules": lambda: _eager(FAKE, ("conv", "bn", "relu")),
    "fx": _fx,
    "by hand": lambda: _trained(ByHand().train()),
}


@pytest.mark.parametrize("name", MODELS)
def test_it_computes_what_torch_does(name):
    model = MODELS[name]()
    converted = trtnn.from_torch(model, X, dynamic=trtnn.Dim("batch", 1, 2, 8))
    other = images(5, 3, 8, 8) * 2
    with torch.no_grad():
        expected = model(other)
    assert len(torch.unique(expected)) < expected.numel()  # it is quantised
    assert_close(converted.trace().run(other.numpy()), expected, 1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_the_checkpoint_loads(name):
    """Scales and zero points are where torch has them: others that are loaded are what is computed with."""
    model = MODELS[name]()
    converted = trtnn.from_torch(model, X, verify=False)
    theirs = {key for key in model.state_dict() if not key.endswith("num_batches_tracked")}
    assert set(converted.state_dict()) == theirs
    for key, tensor in model.state_dict().items():
        if key.endswith(
            (".scale", ".min_val", ".max_val")
        ):  # fused ones compute scales of these whenever they are called
            tensor.mul_(1.5)
    with torch.no_grad():
        expected = model(X)
    converted.load_state_dict(model.state_dict())
    assert_close(converted.trace().run(X.numpy()), expected, 1e-5)


def test_the_source():
    source = trtnn.from_torch(MODELS["eager"](), X).source
    assert "return F.fake_quantize_per_channel_affine(X, self.scale, self.zero_point, 0, -128, 127)" in source
    assert "F.conv2d(input, self.weight_fake_quant(self.weight), self.bias, " in source
    assert "class FakeQuantizedBatchNorm2d(Module):" in source
    assert "constant" not in source


def test_it_builds():
    network = trtnn.from_torch(MODELS["eager, fused modules"](), X).trace(fp16=True)
    assert network.build(optimization_level=0).plan.nbytes > 0


def test_fake_quantisation_that_is_off():
    model = MODELS["eager, fused observers"]().apply(quantization.disable_fake_quant)
    converted = trtnn.from_torch(model, X)
    assert "fake_quantize_per" not in converted.source
    with torch.no_grad():
        assert_close(converted.trace().run(X.numpy()), model(X), 1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_observers_that_are_on(name):
    model = MODELS[name]().apply(quantization.enable_observer)
    scales = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with pytest.raises(UnsupportedError) as caught:
        trtnn.from_torch(model, X)
    said = str(caught.value)
    assert "FakeQuantize whose observer is on: " in said
    assert "an engine measures nothing: model.apply(torch.ao.quantization.disable_observer)" in said
    assert said.count("once") + said.count("times") == 1  # and nothing of what they do within
    model.load_state_dict(scales)
    trtnn.from_torch(model.apply(quantization.disable_observer), X)


def test_observers_of_a_calibration():
    model = Net().eval()
    model.qconfig = quantization.get_default_qconfig("x86")
    with pytest.raises(UnsupportedError) as caught:
        trtnn.from_torch(quantization.prepare(model).eval(), X)
    said = str(caught.value)
    assert "HistogramObserver: 4 times, in quant.activation_post_process, conv.activation_post_process" in said
    assert (
        "it measures for a calibration, and an engine stays as it is: convert the module that prepare was given" in said
    )
    assert f"{__file__}:" in said


def test_integers():
    def function(x):
        return torch.quantize_per_tensor(x, 0.1, 3, torch.qint8).dequantize()  # rounds x / scale + zero_point

    with pytest.raises(
        UnsupportedError, match=r"torch\.quantize_per_tensor \(convert the module as it is before"
    ) as caught:
        trtnn.from_torch(function, X)
    assert "return torch.quantize_per_tensor(x, 0.1, 3, torch.qint8).dequantize()" in str(caught.value)


def test_a_scale_that_the_input_decides():
    def function(x):
        scale = x.abs().amax(dim=(0, 2, 3)) / 127
        return torch.fake_quantize_per_channel_affine(x, scale, torch.zeros(3), 1, -127, 127)

    converted = trtnn.from_torch(function, X)
    other = images(2, 3, 8, 8).flip(0) * 3
    np.testing.assert_allclose(converted.trace().run(other.numpy()), function(other), rtol=1e-5, atol=1e-6)
