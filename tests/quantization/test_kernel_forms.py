"""What is written once more for kernels of TensorRT 8.6: it is measured as what is written once."""

from __future__ import annotations

import numpy as np
import pytest

from tests.quantization.networks import filled, images, quantize
from trtnn import functional as F
from trtnn.graph.graph import Graph
from trtnn.modules import Conv2d, Module

SHAPE = (2, 3, 16, 16)


class Both(Module):
    """A first convolution, and one of 1×1 whose activation is read in floats too."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = {"x": SHAPE}
        self.first, self.points = Conv2d(3, 80, 3, 2, 1), Conv2d(80, 8, 1)
        self.second, self.other = Conv2d(8, 4, 3, padding=1), Conv2d(8, 4, 1)

    def forward(self, x):
        y = F.silu(self.points(F.silu(self.first(x))))
        return self.second(y), self.other(y)


@pytest.fixture(params=["strong", "weak"])
def are_weak(request, monkeypatch) -> bool:
    """Networks are written as for TensorRT since 10, and as for 8.6."""
    monkeypatch.setattr(Graph, "is_weakly_typed", request.param == "weak")
    return request.param == "weak"


def rms(values: np.ndarray) -> float:
    return float(np.sqrt((np.asarray(values, np.float64) ** 2).mean()))


def test_the_errors_of_modules_are_those_of_networks_without(are_weak):
    (x,) = images(1, *SHAPE)
    plain = filled(Both()).trace().run(x)

    def errors(*paths: str) -> list[float]:
        """Of the two outputs, where these modules keep their scales, by networks of their own."""
        model = quantize(filled(Both()), [x], skip=["other"])
        for path in {"first", "points", "second"}.difference(paths):
            for name in [*model.get_submodule(path)._buffers]:
                delattr(model.get_submodule(path), name)
        return [rms(one - true) / rms(true) for one, true in zip(model.trace().run(x), plain, strict=True)]

    network = quantize(filled(Both()), [x], skip=["other"]).trace()
    assert ("points" in network.graph.placement.again) == are_weak
    report = network.precision_report([x])
    for row in report.modules:
        assert row.error == pytest.approx(max(errors(row.path)), rel=1e-3), row.path
    assert [*report.errors.values()] == pytest.approx(errors("first", "points", "second"), rel=1e-3)
    assert {row.path for row in report.modules} == {"first", "points", "second"}


def test_a_page_says_what_each_is_asked_for(are_weak):
    (x,) = images(1, *SHAPE)
    rows = quantize(filled(Both()), [x], skip=["other"]).trace(fp16=True).facts().rows
    asked = {row.name: row.asked for row in rows if row.kind == "convolution"}
    points = {"points": "float16", "points/again": "int8"} if are_weak else {"points": "int8"}
    assert asked == {"first": "int8", **points, "second": "int8", "other": "float16"}


@pytest.mark.parametrize("how", [{"correct_bias": True}, {"adaptive_rounding": True}])
def test_weights_and_biases_are_made_better_alike(how, are_weak, monkeypatch):
    samples = images(3, *SHAPE)
    before = filled(Both())
    model = quantize(filled(Both()), samples, skip=["other"], **how)
    monkeypatch.setattr(Graph, "is_weakly_typed", False)
    expected = quantize(filled(Both()), samples, skip=["other"], **how)
    for name, parameter in model.named_parameters():
        np.testing.assert_array_equal(parameter.data, expected.get_parameter(name).data, err_msg=name)
    what = "bias" if "correct_bias" in how else "weight"
    for path in ("first", "points", "second"):
        name = f"{path}.{what}"
        assert np.abs(model.get_parameter(name).data - before.get_parameter(name).data).max() > 1e-5, name
