"""Converters of one's own, and the comparison that catches a wrong one."""

from __future__ import annotations

import functools
import weakref

import pytest
import torch
from torch import nn

import trtnn
from tests.from_torch.models import images
from tests.helpers import assert_close
from trtnn.errors import ArgumentError, UnsupportedError, VerificationError
from trtnn.from_torch.convert import Conversion
from trtnn.from_torch.operations import converters
from trtnn.from_torch.verify import largest_difference, rounded_otherwise


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


def test_a_network_that_rounding_changes_much_is_not_called_wrong():
    """Rounding may change little once: torch in fp32 is near torch in fp64 here, but not where it rounds otherwise."""
    expected, asked = torch.tensor([1.0, 2.0, -4.0]), []

    def by(off):
        def exact(number):
            asked.append(number)
            return expected.double() + (off * 4 if number == 2 else 0)

        return lambda ours: largest_difference(ours, expected, "the example", exact)

    close, far = expected + 0.02, expected + 0.8  # 0.005 and 0.2 of the largest magnitude
    assert by(0.001)(close) == pytest.approx(0.005, rel=1e-4)
    assert asked == [0, 1, 2]  # no more than it takes
    with pytest.raises(VerificationError, match=r"differs from torch's by 2\.0e-01 .*\n  allowed is 1\.0e-02"):
        by(0.001)(far)
    with pytest.raises(VerificationError, match=r"in fp64 by 5\.0e-02 of its largest magnitude, so that nothing"):
        by(0.05)(far)
    with pytest.raises(VerificationError, match=r"by 5\.0e-03 .*\n  allowed is 1\.0e-03"):
        by(0)(close)


def test_a_module_that_does_not_run_in_fp64_is_told_of():
    class Mixed(nn.Module):
        def forward(self, x):
            return x @ torch.eye(3, dtype=torch.float32)

    conversion = Conversion(Mixed().eval(), (torch.ones(2, 3),), {})
    exact = functools.partial(conversion._call_exactly, [torch.ones(2, 3)])
    ours, theirs = torch.full((2, 3), 1.5), torch.ones(2, 3)
    with pytest.raises(
        VerificationError,
        match=r"on the example output differs from torch's by 5\.0e-01 .*\n.*"
        r"in fp64 torch's own forward raised RuntimeError: expected .*double != float\n  verify=False",
    ):
        largest_difference(ours, theirs, "the example", exact)
    assert largest_difference(theirs, theirs, "the example", exact) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("kind", ["module", "inference", "script"])
@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")
def test_all_numbers_of_a_module_are_moved_where_it_is_run_otherwise(dtype, kind):
    with torch.inference_mode(kind == "inference"):
        module = nn.Linear(4, 3).to(dtype).eval()
    module = torch.jit.script(module) if kind == "script" else module
    x = torch.randn(2, 4).to(dtype)
    before = [parameter.detach().clone() for parameter in module.parameters()]
    conversion = Conversion(module, (x,), {})
    runs = [conversion._call_exactly([x], number) for number in (0, 1, 1, 2)]
    assert all(run.dtype == torch.float64 for run in runs)
    torch.testing.assert_close(runs[0], x.double() @ before[0].double().T + before[1].double())
    largest = runs[0].abs().max() + 4
    assert 0 < (runs[0] - runs[1]).abs().max() < 20 * 2**-24 * largest
    assert torch.equal(runs[1], runs[2])
    assert not torch.equal(runs[1], runs[3])
    bias = conversion._call_exactly([torch.zeros_like(x)], 1)
    assert not torch.equal(bias[0], before[1].double())
    for parameter, kept in zip(module.parameters(), before, strict=True):
        assert torch.equal(parameter, kept)


def test_inputs_are_moved_where_a_module_is_run_otherwise():
    x = torch.full((2, 4), 0.3)
    conversion = Conversion(nn.ReLU().eval(), (x,), {})
    assert torch.equal(conversion._call_exactly([x], 0), x.double().relu())
    assert not torch.equal(conversion._call_exactly([x], 1), x.double().relu())


def test_numbers_are_moved_by_what_fp32_rounds_off():
    x = torch.linspace(-3, 5, 1000, dtype=torch.float64)
    moved = rounded_otherwise(x, torch.Generator().manual_seed(1))
    off = ((moved - x) / x).abs()
    assert 2**-25 < off.max() <= 2**-24
    assert off.mean() > 2**-26
    whole = torch.arange(4)
    assert rounded_otherwise(whole, torch.Generator()) is whole


def test_what_rounding_does_in_torch_as_well_is_allowed():
    theirs, exact = torch.tensor([1.0, 0.5]), torch.tensor([1.005, 0.5])
    assert largest_difference(torch.tensor([1.01, 0.5]), theirs, "x", lambda number: exact) == pytest.approx(
        0.005 / 1.005, rel=1e-3
    )
    with pytest.raises(VerificationError, match="differs"):
        largest_difference(torch.tensor([1.2, 0.5]), theirs, "x", lambda number: exact)
    with pytest.raises(VerificationError, match="so that nothing can be compared"):
        largest_difference(torch.tensor([1.2, 0.5]), theirs, "x", lambda number: torch.tensor([2.0, 0.5]))


def test_a_comparison_does_not_keep_what_was_recorded():
    """Of large images that is most memory, and the comparison calls the module again."""
    seen = []

    class Net(nn.Module):
        def forward(self, x):
            y = x * 2
            seen.append(weakref.ref(y))
            return y.relu() + 1

    conversion = Conversion(Net().eval(), (torch.rand(2, 3),), {})
    conversion.trial()
    assert seen[0]() is not None
    assert conversion.verify() == 0
    assert [ref() for ref in seen] == [None] * len(seen)


class Masked(nn.Module):
    def __init__(self, stable):
        super().__init__()
        self.stable = stable

    def forward(self, x):
        return torch.where(x < 2, float("-inf"), x).sort(dim=-1, stable=self.stable).indices


def test_indices_of_equal_elements_are_told_as_what_may_differ():
    x = torch.rand(4, 64)
    trtnn.from_torch(Masked(True).eval(), x)
    with pytest.raises(VerificationError) as raised:
        largest_difference(torch.tensor([0, 1, 2]), torch.tensor([0, 2, 1]), "the example")
    assert "indices of equal elements, such as -inf: torch's sort, argsort and topk give these in any order" in str(
        raised.value
    )
    with pytest.raises(VerificationError) as raised:
        largest_difference(torch.tensor([0.0, 1]), torch.tensor([0.0, 2]), "the example")
    assert "equal elements" not in str(raised.value)
