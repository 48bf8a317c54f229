"""Converters of one's own, and the comparison that catches a wrong one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import trtnn
from tests.from_torch.models import images
from tests.helpers import assert_close
from trtnn.errors import ArgumentError, UnsupportedError, VerificationError
from trtnn.from_torch.operations import converters
from trtnn.from_torch.verify import largest_difference


@pytest.fixture(autouse=True)
def _registry(monkeypatch):
    monkeypatch.setattr(converters, "_REGISTERED", dict(converters._REGISTERED))


@torch.library.custom_op("trtnn_tests::blend", mutates_args=())
def blend(x: torch.Tensor, y: torch.Tensor, share: float = 0.5, sizes: list[int] | None = None) -> torch.Tensor:
    return torch.lerp(x, y, share)


class Blends(nn.Module):
    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.rand(4))

    def forward(self, x):
        return torch.ops.trtnn_tests.blend(x, self.bias * x.shape[0], 0.25) + 1


class Odd(nn.Module):
    """A layer of someone else's."""

    def __init__(self, width):
        super().__init__()
        self.width = width
        self.weight = nn.Parameter(torch.rand(width, width))
        self.bias = nn.Parameter(torch.rand(width))

    def forward(self, x):
        return torch.ops.trtnn_tests.blend(x @ self.weight.t() + self.bias, torch.zeros(()), 0.0)


class Odds(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(Odd(4), nn.ReLU(), Odd(4))

    def forward(self, x):
        return self.layers(x)


def test_a_custom_operator():
    model = Blends().eval()
    with pytest.raises(UnsupportedError, match=r"torch\.ops\.trtnn_tests\.blend: once, in the model's own forward"):
        trtnn.from_torch(model, images(3, 4))

    @trtnn.from_torch.converter(torch.ops.trtnn_tests.blend)
    def _(x, y, share=0.5, sizes=None):
        assert share == 0.25
        assert sizes is None
        return f"F.lerp({x}, {y}, {share})"

    converted = trtnn.from_torch(model, images(3, 4))
    assert "return F.lerp(x, self.bias * x.shape[0], 0.25) + 1" in converted.source
    with torch.no_grad():
        assert_close(converted.trace().run(images(3, 4).numpy()), model(images(3, 4)))


def test_a_class_of_modules():
    trtnn.from_torch.converter(Odd)(lambda module: f"Linear({module.width}, {module.width})")
    model = Odds().eval()
    converted = trtnn.from_torch(model, images(3, 4))
    assert "self.layers = Sequential(Linear(4, 4), ReLU(), Linear(4, 4))" in converted.source
    assert set(converted.state_dict()) == set(model.state_dict())


def test_what_is_wrong_with_a_converter():
    with pytest.raises(ArgumentError, match=r"of a function or of a class of modules, not 'blend'"):
        trtnn.from_torch.converter("blend")
    for result, said in (
        (3, "returned 3\n  it returns source"),
        ("x +", "returned 'x \\+'"),
        ("a if b else c", "kind"),
    ):
        trtnn.from_torch.converter(torch.ops.trtnn_tests.blend)(lambda x, y, share, result=result: result)
        with pytest.raises(ArgumentError, match=said):
            trtnn.from_torch(Blends().eval(), images(3, 4))


def test_one_that_computes_something_else_is_caught():
    trtnn.from_torch.converter(torch.ops.trtnn_tests.blend)(lambda x, y, share: f"F.lerp({x}, {y}, {share + 0.1})")
    with pytest.raises(VerificationError, match=r"on the example output differs from torch's by .* of its largest"):
        trtnn.from_torch(Blends().eval(), images(3, 4))
    trtnn.from_torch(Blends().eval(), images(3, 4), verify=False)


def test_one_that_is_right_for_the_example_alone_is_caught():
    trtnn.from_torch.converter(torch.ops.trtnn_tests.blend)(
        lambda x, y, share: f"{x} * {float(images(1, 1))} / {float(images(1, 1))} + 0.25 * ({y} - 1.0)"
    )

    class Ones(nn.Module):
        def forward(self, x):
            return torch.ops.trtnn_tests.blend(x, x, 0.25)

    with pytest.raises(VerificationError, match="on a second input"):
        trtnn.from_torch(Ones().eval(), torch.ones(2, 2))


def test_differences_are_of_each_outputs_magnitude():
    small, large = torch.tensor([1e-3, 0.0]), torch.tensor([1e3, 1.0])
    assert largest_difference((small, large), (small, large), "x") == 0
    with pytest.raises(VerificationError, match=r"on x \[0\] differs from torch's by 1\.0e-02"):
        largest_difference((small + 1e-5, large), (small, large), "x")
    with pytest.raises(VerificationError, match=r"on x output has shape \(1,\), and torch's \(2,\)"):
        largest_difference(small[:1], small, "x")
    with pytest.raises(VerificationError, match="there are 2 outputs, and 1 of torch"):
        largest_difference((small, small), small, "x")
    with pytest.raises(VerificationError, match="differs"):
        largest_difference(torch.tensor([1, 2]), torch.tensor([1, 3]), "x")
    with pytest.raises(VerificationError, match="differs"):
        largest_difference(torch.tensor([float("nan"), 2]), torch.tensor([1.0, 2]), "x")


def test_what_rounding_does_in_torch_as_well_is_allowed():
    theirs, exact = torch.tensor([1.0, 0.5]), torch.tensor([1.005, 0.5])
    assert largest_difference(torch.tensor([1.01, 0.5]), theirs, "x", lambda: exact) == pytest.approx(
        0.005 / 1.005, rel=1e-3
    )
    with pytest.raises(VerificationError, match="differs"):
        largest_difference(torch.tensor([1.2, 0.5]), theirs, "x", lambda: exact)
    with pytest.raises(VerificationError, match="so that nothing can be compared"):
        largest_difference(torch.tensor([1.2, 0.5]), theirs, "x", lambda: torch.tensor([2.0, 0.5]))
