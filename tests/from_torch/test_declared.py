"""Prepared models whose rounding modules can declare: plain source, scales beside the weights, torch's own numbers."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.ao import quantization
from torch.ao.nn.quantized import FloatFunctional
from torch.ao.quantization import quantize_fx
from torch.ao.quantization.backend_config import get_tensorrt_backend_config

import trtnn
from tests.from_torch.models import images
from tests.helpers import ONE_TARGET, layers

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*quant_min and quant_max.*")

X = images(2, 3, 8, 8)
FUSED = (["conv1", "bn1", "relu1"], ["conv2", "bn2"])


def fake(observer: type, scheme: torch.qscheme, least: int = -128, **how: object):
    how = {"quant_min": least, "quant_max": 127, "dtype": torch.qint8, **how}
    return quantization.FakeQuantize.with_args(observer=observer, qscheme=scheme, **how)


ACTIVATION = fake(quantization.MovingAverageMinMaxObserver, torch.per_tensor_symmetric)
WEIGHT = fake(quantization.MovingAveragePerChannelMinMaxObserver, torch.per_channel_symmetric, ch_axis=0)
PER_TENSOR = fake(quantization.MovingAverageMinMaxObserver, torch.per_tensor_symmetric)
NARROW = fake(quantization.PerChannelMinMaxObserver, torch.per_channel_symmetric, -127, ch_axis=0)
UNSIGNED = quantization.FakeQuantize.with_args(  # around 128
    observer=quantization.MovingAverageMinMaxObserver, dtype=torch.quint8, qscheme=torch.per_tensor_symmetric
)
AFFINE = fake(quantization.MovingAverageMinMaxObserver, torch.per_tensor_affine)
SYMMETRIC = quantization.QConfig(ACTIVATION, WEIGHT)
FUSED_ACTIVATION = quantization.FusedMovingAvgObsFakeQuantize.with_args(**ACTIVATION.p.keywords)
FUSED_WEIGHT = quantization.FusedMovingAvgObsFakeQuantize.with_args(**WEIGHT.p.keywords)


class Residual(nn.Module):
    """A residual block, a pool and a layer of products, with stubs as eager mode takes them."""

    def __init__(self):
        super().__init__()
        self.quant, self.dequant, self.add = quantization.QuantStub(), quantization.DeQuantStub(), FloatFunctional()
        self.conv1, self.bn1, self.relu1 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()
        self.conv2, self.bn2, self.relu2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()
        self.pool, self.fc = nn.MaxPool2d(2), nn.Linear(128, 5)

    def forward(self, x):
        x = self.relu1(self.bn1(self.conv1(self.quant(x))))
        x = self.relu2(self.sum(x, self.bn2(self.conv2(x))))
        return self.dequant(self.fc(self.pool(x).flatten(1)))

    def sum(self, x, y):
        return self.add.add(x, y)


class Plus(Residual):
    """The same for FX mode, which sees a sum."""

    def sum(self, x, y):
        return x + y


def trained(model: nn.Module) -> nn.Module:
    """Return a prepared model after a few calls in training, in evaluation, with its observers off."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        model(torch.randn(4, 3, 8, 8, generator=generator))
    return model.eval().apply(quantization.disable_observer)


def eager(config=SYMMETRIC, fused=FUSED, make=Residual) -> nn.Module:
    torch.manual_seed(0)
    model = make().train()
    model.qconfig = config
    model = quantization.fuse_modules_qat(model, list(map(list, fused))) if fused else model
    return trained(quantization.prepare_qat(model))


def fx(config=SYMMETRIC, make=Plus) -> nn.Module:
    torch.manual_seed(0)
    mapping = quantization.QConfigMapping().set_global(config)
    backend = get_tensorrt_backend_config()
    return trained(quantize_fx.prepare_qat_fx(make().train(), mapping, (X,), backend_config=backend))


MODELS = {
    "eager": eager,
    "fx": fx,
    "weights of one scale": lambda: eager(quantization.QConfig(ACTIVATION, PER_TENSOR)),
    "weights from -127": lambda: eager(quantization.QConfig(ACTIVATION, NARROW), (), WithoutNorm),
    "around 128 of 0 to 255": lambda: eager(quantization.QConfig(UNSIGNED, WEIGHT)),
    "nothing fused": lambda: eager(fused=(), make=WithoutNorm),
    "fx, a mean": lambda: fx(make=Mean),
    "fx, a sum of no module": lambda: fx(make=Other),
    "fx, observers that are fused": lambda: fx(quantization.QConfig(FUSED_ACTIVATION, FUSED_WEIGHT), Smooth),
}


class WithoutNorm(Residual):
    def forward(self, x):
        x = self.relu1(self.conv1(self.quant(x)))
        x = self.relu2(self.sum(x, self.conv2(x)))
        return self.dequant(self.fc(self.pool(x).flatten(1)))


class Mean(nn.Module):
    """A mean, which gives other numbers than it is given: of 49 steps, none of them a half."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu, self.fc = nn.Conv2d(3, 8, 2), nn.ReLU(), nn.Linear(8, 5)

    def forward(self, x):
        return self.fc(self.relu(self.conv(x)).mean((2, 3)))


class Smooth(nn.Module):
    """Numbers of both signs alone: fused observers of torch.ao round others around another zero."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.fc = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3), nn.Linear(64, 5)

    def forward(self, x):
        return self.fc(self.conv2(self.conv1(x)).flatten(1))


@pytest.mark.parametrize("name", MODELS)
def test_modules_declare_what_torch_rounds(name):
    model = MODELS[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        converted = trtnn.from_torch(model, X, dynamic=trtnn.Dim("batch", 1, 2, 8))
    assert "fake" not in converted.source.lower()
    assert "scale" not in converted.source
    network = converted.trace()
    weighted = [m for m in model.modules() if hasattr(m, "weight_fake_quant")]
    state = converted.state_dict()
    assert sum(key.endswith(".weight_scale") for key in state) == len(weighted)
    other = images(5, 3, 8, 8) * 2  # beyond the ends
    with torch.no_grad():
        expected = model(other).numpy()
    result = network.run(other.numpy())
    # The last layer is rounded as well: a number is torch's, or where it lay on the edge of a step, one beside.
    step = float(np.diff(np.unique(expected)).min())
    assert np.abs(result - expected).max() <= step * 1.01
    assert (np.abs(result - expected) > step / 2).mean() < 0.05
    plain = model.apply(quantization.disable_fake_quant)
    with torch.no_grad():
        assert (np.abs(result - plain(other).numpy()) > step / 2).mean() > 0.1  # it does round


def test_a_state_dict_has_torchs_names_and_scales():
    model = eager()
    state, theirs = trtnn.from_torch(model, X).state_dict(), model.state_dict()
    weights = {name for name in state if name.rpartition(".")[2] not in trtnn.graph.quantization.BUFFERS}
    assert weights == {n for n in theirs if "fake_quant" not in n and "post_process" not in n and "batches" not in n}
    for path in ("conv1", "conv2", "fc"):
        np.testing.assert_allclose(state[f"{path}.weight_scale"], theirs[f"{path}.weight_fake_quant.scale"], rtol=1e-6)
        assert state[f"{path}.quant_max"] == 127
        assert state[f"{path}.output_scale"] == theirs[f"{path}.activation_post_process.scale"].item()
    assert state["conv1.input_scale"] == theirs["quant.activation_post_process.scale"].item()
    assert state["conv2.input_scale"] == theirs["conv1.activation_post_process.scale"].item()


def test_what_is_saved_is_quantised(tmp_path, monkeypatch):
    converted = trtnn.from_torch(eager(), X)
    trtnn.save_source(converted, tmp_path / "declared_net.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    from declared_net import Residual as Written  # type: ignore[import-not-found]

    other = Written()
    other.load_state_dict(trtnn.load(tmp_path / "declared_net.safetensors"))
    x = X.numpy()
    np.testing.assert_array_equal(other.trace().run(x), converted.trace().run(x))
    network = other.trace(fp16=True)
    assert len(layers(network, "QUANTIZE")) >= 6
    assert network.build(**{"optimization_level": 0, **ONE_TARGET}).plan.nbytes > 0


def test_the_prepared_model_stays_as_it_is():
    model = eager()
    before, hooks = repr(model), [len(m._forward_hooks) for m in model.modules()]
    with torch.no_grad():
        expected = model(X)
    trtnn.from_torch(model, X)
    assert (repr(model), [len(m._forward_hooks) for m in model.modules()]) == (before, hooks)
    with torch.no_grad():
        torch.testing.assert_close(model(X), expected, rtol=0, atol=0)


class Other(nn.Module):
    """A sum outside of any module, which a function reads that gives other numbers."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.fc = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 8, 1), nn.Linear(8, 5)

    def forward(self, x):
        return self.fc((self.conv1(x) + self.conv2(x)).mean((2, 3)))


class Beside(nn.Module):
    """What one rounds is read as it is as well."""

    def __init__(self):
        super().__init__()
        self.quant, self.conv = quantization.QuantStub(), nn.Conv2d(3, 3, 1)

    def forward(self, x):
        x = self.quant(x)
        return self.conv(x) + x.sin()


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.quant, self.conv = quantization.QuantStub(), nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.conv(self.conv(self.quant(x)))


class Unrounded(nn.Module):
    """A layer of rounded weights, and nothing rounds what it reads."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.conv(x)


STAYS = {
    "another zero": (
        lambda: eager(quantization.QConfig(AFFINE, WEIGHT)),
        "quant.activation_post_process rounds around ",
        "and TensorRT around 0, to -128 to 127",
    ),
    "other ends": (
        lambda: eager(
            quantization.QConfig(
                fake(quantization.MovingAverageMinMaxObserver, torch.per_tensor_symmetric, -127), WEIGHT
            )
        ),
        "rounds around 0, to -127 to 127",
    ),
    "a BatchNorm that is not fused": (
        lambda: eager(fused=()),
        "no scales of conv1 give torch's weights with what is folded into them; fuse a BatchNorm behind it first",
    ),
    "a tensor that is read without": (
        lambda: eager(fused=(), make=Beside),
        "what quant.activation_post_process rounds is the result of no module, and others than quantised layers",
    ),
    "called twice": (lambda: eager(fused=(), make=Twice), "conv.weight_fake_quant is called 2 times"),
    "a layer that reads what is not rounded": (
        lambda: eager(fused=(), make=Unrounded),
        "the weights of conv are rounded, and what it reads is not",
    ),
    "fused observers of 7 bits": (
        lambda: eager(quantization.get_default_qat_qconfig("x86")),
        "quant.activation_post_process rounds around",
    ),
}


@pytest.mark.parametrize("name", STAYS)
def test_what_cannot_be_declared_stays_in_forward_and_is_told(name):
    make, *said = STAYS[name]
    model = make()
    with pytest.warns(UserWarning, match="rounding stays in forward, and fp16 around it: ") as caught:
        converted = trtnn.from_torch(model, X)
    message = next(str(w.message) for w in caught if "stays in forward" in str(w.message))
    for part in said:
        assert part in message
    assert "fake_quantize_per" in converted.source
    assert not any(key.endswith(".quant_max") for key in converted.state_dict())
    other = images(2, 3, 8, 8) * 2
    with torch.no_grad():
        expected = model(other).numpy()
    assert np.abs(converted.trace().run(other.numpy()) - expected).max() <= 1e-5 * max(np.abs(expected).max(), 1)
