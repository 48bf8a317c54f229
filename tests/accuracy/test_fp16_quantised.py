"""The fp16 report of quantised networks, whose roundings are elsewhere in fp16 and round what fp16 left."""

import numpy as np
import pytest

from tests.helpers import message_of, strongly_typed
from tests.quantization.networks import filled, images
from trtnn import functional as F
from trtnn import quantize
from trtnn.errors import ArgumentError
from trtnn.modules import Conv2d, Linear, Module, MultiheadAttention

pytestmark = strongly_typed


class Attends(Module):
    """Attention, whose scores are in fp32: its products read what was cast, which a rounding does not pass."""

    def __init__(self):
        super().__init__()
        self.inputs = {"x": (2, 5, 16)}
        self.attention = MultiheadAttention(16, 4, batch_first=True)
        self.middle, self.last = Linear(16, 16), Linear(16, 4)

    def forward(self, x):
        return self.last(F.gelu(self.middle(self.attention(x, x, x, need_weights=False)[0])))


class Halves(Module):
    """Gives only numbers that it was given, and what it makes of them."""

    def forward(self, x):
        return F.max_pool2d(F.cat([x, -x], 1), 2)


class Convolves(Module):
    """Convolutions, a sum, and between them a module that is not quantised and may stay in fp32."""

    def __init__(self):
        super().__init__()
        self.inputs = {"x": (2, 4, 8, 8)}
        self.first, self.second = Conv2d(4, 4, 3, padding=1), Conv2d(4, 4, 3, padding=1)
        self.halves, self.last = Halves(), Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        y = self.first(x)
        return self.last(self.halves(F.relu(self.second(y) + y)))


class Forks(Module):
    """An activation that is read as it is as well, and is computed again for what is rounded."""

    def __init__(self):
        super().__init__()
        self.inputs = {"x": (2, 4, 8, 8)}
        self.first, self.second, self.last = Conv2d(4, 4, 3, padding=1), Conv2d(4, 8, 1), Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        y = F.silu(self.first(x))
        return self.last(self.second(y)) * y.mean()


class WideMiddle(Module):
    """Passes on in fp32 what the next layer rounds, by its own doing."""

    def __init__(self):
        super().__init__()
        self.inputs = {"x": (2, 4, 8, 8)}
        self.first, self.last = Conv2d(4, 4, 3, padding=1), Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        wide = F.relu(self.first(x)).float()
        return self.last(F.cat([wide, wide], 1).to(x.dtype))


def rms(x):
    return np.sqrt(np.square(x.astype(np.float64)).mean())


@pytest.mark.parametrize(
    ("make", "kept"),
    [
        (Attends, ()),
        (Convolves, ()),
        (Convolves, ("halves",)),
        (Forks, ()),
        (WideMiddle, ()),
    ],
)
def test_it_reports_the_error_that_the_network_in_fp16_has(make, kept):
    model, samples = filled(make()), images(3, *make().inputs["x"])
    quantize(model, samples)
    exact, half = model.trace(), model.trace(fp16=True, fp32_modules=kept)
    report = exact.fp16_report(samples)
    results, truth = (np.stack([network.run(sample) for sample in samples]) for network in (half, exact))
    true = rms(results.astype(np.float64) - truth) / rms(truth)
    assert true > 1e-4
    trial = report._comparison.trial(report._precision.mixed(kept), lambda: None)
    assert trial.error == pytest.approx(true, rel=1e-6, abs=1e-9)
    if not kept:
        assert report.errors == {"output": pytest.approx(true, rel=1e-6, abs=1e-9)}
        assert {row.kind for row in report.layers}.isdisjoint({"QUANTIZE", "DEQUANTIZE"})
        assert {row.path for row in report.layers} >= {"last"}


class Sharp(Module):
    """Attention and a layer that are quantised, and between them a module that fp16 is too little for."""

    def __init__(self):
        super().__init__()
        self.inputs = {"x": (2, 4, 8, 8)}
        self.first, self.loses, self.last = Conv2d(4, 4, 3, padding=1), Loses(), Conv2d(4, 4, 1)

    def forward(self, x):
        return self.last(self.loses(self.first(x)))


class Loses(Module):
    def forward(self, x):
        return (x + 1000) - 1000


def test_what_is_quantised_is_not_suggested_for_fp32():
    model, samples = filled(Sharp()), images(3, 2, 4, 8, 8)
    quantize(model, samples, skip=())
    exact = model.trace()
    report = exact.fp16_report(samples)
    assert report.errors["output"] > 0.05
    kept = report.suggested_fp32_modules(0.05)
    assert kept == ("loses",)
    half = model.trace(fp16=True, fp32_modules=kept)
    results, truth = (np.stack([network.run(sample) for sample in samples]) for network in (half, exact))
    assert rms(results.astype(np.float64) - truth) / rms(truth) <= 0.05


def test_a_tolerance_that_asks_for_what_is_quantised_is_refused():
    model, samples = filled(Sharp()), images(3, 2, 4, 8, 8)
    quantize(model, samples, skip=())
    exact, half = model.trace(), model.trace(fp16=True, fp32_modules=("loses",))
    results, truth = (np.stack([network.run(sample) for sample in samples]) for network in (half, exact))
    least = rms(results.astype(np.float64) - truth) / rms(truth)
    message = message_of(ArgumentError, exact.fp16_report(samples).suggested_fp32_modules, 0.0)
    assert message.startswith("modules that are quantised, or hold such, cannot stay in fp32, and an output is ")
    assert f"{least:.3g} off with all others in fp32, and 0 was asked for" in message
    assert "the module first" in message or "first" in message.splitlines()[1]
    assert "loses" not in message
    assert "trtnn.quantize(..., skip=[...])" in message


def test_a_quantised_module_that_overflows_is_named():
    model = filled(Sharp())
    model.last.weight.data *= 3e4
    samples = images(3, 2, 4, 8, 8)
    quantize(model, samples, skip=())
    report = model.trace().fp16_report(samples)
    assert report.errors == {"output": np.inf}
    message = message_of(ArgumentError, report.suggested_fp32_modules)
    assert "cannot stay in fp32, and last overflows in fp16" in message
