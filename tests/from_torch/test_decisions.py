"""What numbers of the inputs decide: a way that is right for some numbers alone, and not for those of the network."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

import trtnn
from tests.from_torch import checks
from tests.from_torch.models import images
from tests.helpers import assert_close, message_of
from trtnn.errors import ArgumentError, UnsupportedError, VerificationError
from trtnn.from_torch.verify import other_masks


def is_traced() -> bool:
    return torch.compiler.is_compiling()


class Mean(nn.Module):
    """The mean of what a mask keeps, which is faster where it keeps all."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 6)

    def forward(self, x, mask):
        x = self.fc(x)
        if not is_traced() and mask.all():
            return x.mean(1)
        kept = mask.unsqueeze(-1).to(x.dtype)
        return (x * kept).sum(1) / kept.sum(1)


class Exported(Mean):
    def forward(self, x, mask):
        x = self.fc(x)
        if not torch.compiler.is_exporting() and bool((mask == 1).all()):
            return x.mean(1)
        return (x * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)


def masks(kind: str) -> torch.Tensor:
    mask = torch.ones(2, 4, dtype=torch.int64)
    if kind == "padded":
        mask[0, 2:] = 0
    return mask


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
@pytest.mark.parametrize("kind", ["ones", "padded"])
@pytest.mark.parametrize("module", [Mean, Exported])
def test_who_asks_whether_a_graph_is_made_gets_the_way_that_is_right_for_all(module, kind, dtype):
    """The network takes a mask with zeros, whichever the example had."""
    model = module().eval()
    result = trtnn.from_torch(model, images(2, 4, 6), masks(kind).to(dtype))
    assert "mask" in result.inputs
    x = images(2, 4, 6) * 3 - 1
    for zeros in ("ones", "padded"):
        assert_close(result.trace().run(x.numpy(), masks(zeros).to(dtype).numpy()), model(x, masks(zeros)), 1e-6)
    assert not torch.compiler.is_compiling()


class Unasked(Mean):
    def forward(self, x, mask):
        return x.mean(1) if mask.all() else (x * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)


def test_who_does_not_ask_is_refused():
    with pytest.raises(UnsupportedError) as caught:
        trtnn.from_torch(Unasked().eval(), images(2, 4, 6), masks("ones"))
    assert "torch.Tensor.__bool__: once, in the model's own forward" in str(caught.value)
    assert "return x.mean(1) if mask.all() else" in str(caught.value)
    assert "  where it is a faster way for some numbers: if not torch.compiler.is_compiling() and ..." in str(
        caught.value
    )


class Resized(nn.Module):
    """Positions of which an exported graph gets others for any length, beside a decision."""

    def __init__(self):
        super().__init__()
        self.mean = Mean()
        self.positions = nn.Parameter(torch.randn(1, 4, 6))

    def forward(self, x, mask):
        return self.mean(x + self.resized(x), mask)

    def resized(self, x):
        if not torch.compiler.is_exporting() and x.shape[1] == self.positions.shape[1]:
            return self.positions
        return nn.functional.interpolate(self.positions.transpose(1, 2), x.shape[1]).transpose(1, 2)


def test_who_asks_and_decides_nothing_by_numbers_is_not_told():
    model = Resized().eval()
    result = trtnn.from_torch(model, images(2, 4, 6), masks("ones"))
    assert "x + self.positions" in result.source
    assert "interpolate" not in result.source
    x = images(2, 4, 6)
    assert_close(result.trace().run(x.numpy(), masks("padded").numpy()), model(x, masks("padded")), 1e-6)


class Wrong(Mean):
    """The way for graphs forgets the mask, or what it is divided by."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def forward(self, x, mask):
        if torch.compiler.is_compiling():
            return x.mean(1) if self.kind == "ones" else (x * mask.unsqueeze(-1)).sum(1) / mask.sum(1).max()
        if mask.all():
            return x.mean(1) if self.kind == "ones" else x.mean(1) * 2
        return (x * mask.unsqueeze(-1)).sum(1) / mask.sum(1).max()


@pytest.mark.parametrize("kind", ["ones", "padded"])
def test_a_way_for_graphs_that_means_something_else_is_told(kind):
    """It gives torch's numbers on the example and on a second input, which has no other decision."""
    model = Wrong(kind).eval()
    with pytest.raises(VerificationError) as caught:
        trtnn.from_torch(model, images(2, 4, 6), masks(kind))
    first, *details = str(caught.value).splitlines()
    assert first.startswith("on masks of other numbers torch itself gives something else where a graph is made of the")
    assert (
        "  torch.compiler.is_compiling() or is_exporting() decides it in forward, which else decides by numbers"
        in details
    )
    converted = trtnn.from_torch(model, images(2, 4, 6), masks(kind), verify=False)
    x = images(2, 4, 6)
    with torch.no_grad(), pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch.compiler, "is_compiling", lambda: True)
        expected = model(x, masks("padded"))
    assert_close(converted.trace().run(x.numpy(), masks("padded").numpy()), expected, 1e-6)


def test_other_masks():
    ones, padded, truths = masks("ones"), masks("padded"), torch.ones(3, dtype=torch.bool)
    ids, floats, one = torch.tensor([[5, 7, 0]]), torch.ones(4), torch.tensor(1)
    given = [ones, padded, truths, ids, floats, one, torch.zeros(2, dtype=torch.int64)]
    changed = other_masks(given)
    assert changed[0].tolist() == [[1, 1, 0, 0]] * 2
    assert changed[1].tolist() == [[1] * 4] * 2
    assert changed[2].tolist() == [True, True, False]
    for before, after in zip(given[3:], changed[3:], strict=True):
        assert torch.equal(before, after)
    assert ones.all()


class Noted:
    """An object that a module fills, and another reads."""

    def __init__(self, seen=None):
        self.seen = seen


class Noting(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 6)

    def forward(self, x, noted):
        noted.seen = self.fc(x).relu()
        return {"x": noted.seen * 2, "noted": noted, "none": None}, (noted, x + 1)


class Reading(nn.Module):
    def __init__(self):
        super().__init__()
        self.noting = Noting()

    def forward(self, x):
        result, (noted, y) = self.noting(x, Noted())
        return result["x"] + noted.seen.mean() + y


def test_an_object_that_modules_return_is_nothing_and_tensors_in_it_are_returned():
    model = Reading().eval()
    result = trtnn.from_torch(model, images(2, 6))
    x = images(2, 6) * 3 - 1
    assert_close(result.trace().run(x.numpy()), model(x), 1e-6)


class Batch:
    def __init__(self, tensor):
        self.parts = [tensor]


class Takes(Mean):
    def forward(self, x, batches):
        return x + batches["one"].parts[0]


def test_an_argument_that_is_an_object_with_tensors_is_refused():
    given = {"one": Batch(torch.rand(2, 6))}
    message = message_of(UnsupportedError, trtnn.from_torch, Takes().eval(), images(2, 6), given)
    assert "  argument 1 is a Batch: its tensors are no inputs, and would be constants" in message.splitlines()


class Checked(Mean):
    """Numbers that others would be an error for: of the inputs, and of the module."""

    def __init__(self, most=2.0):
        super().__init__()
        self.register_buffer("most", torch.tensor([most]))

    def forward(self, x):
        torch._check_tensor_all(x < 100)
        torch._check_tensor_all_with(ValueError, self.most > 1, lambda: "most is too little")
        return (x * self.most).relu()


def test_checks_of_what_is_known_later_are_left_out():
    model = Checked().eval()
    result = trtnn.from_torch(model, images(2, 6))
    assert "100" not in result.source
    x = images(2, 6) - 0.5
    assert_close(result.trace().run(x.numpy()), model(x), 1e-6)
    with pytest.raises(RuntimeError):
        model(x + 200)
    with pytest.raises(ArgumentError, match="torch's own forward raised ValueError: most is too little"):
        trtnn.from_torch(Checked(0.5).eval(), images(2, 6))


class Broken(Mean):
    def forward(self, x, mask):
        if torch.compiler.is_compiling():
            return x @ x
        return x.mean(1) if mask.all() else x.sum(1)


def test_an_error_in_the_way_for_graphs_says_that_it_is_that():
    message = message_of(ArgumentError, trtnn.from_torch, Broken().eval(), images(2, 4, 6), masks("ones"))
    assert "return x @ x" in message
    assert "  forward decides by numbers, and was told that a graph is made of it, as torch.export tells" in message


class Gridded(nn.Module):
    """Patches of images in one row, with how many there are of each, as vision-language models take them."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 3)

    def forward(self, patches, grid):
        pairs = zip(self.split(patches, grid), grid.tolist(), strict=True)
        return torch.cat([part.reshape(h, w, 3).mean(0) for part, (h, w) in pairs])

    def split(self, patches, grid):
        return self.fc(patches).split(grid.prod(-1).tolist())


class OfOneGrid(nn.Module):
    def __init__(self, model, grid):
        super().__init__()
        self.model = model
        self.register_buffer("grid", grid)

    def forward(self, patches):
        return self.model(patches, self.grid)


def test_numbers_that_decide_about_lengths_are_no_input():
    """The refusal says what to do, and that is enough."""
    model, grid, patches = Gridded().eval(), torch.tensor([[2, 3], [4, 1]]), images(10, 6)
    with pytest.raises(UnsupportedError) as caught:
        trtnn.from_torch(model, patches, grid)
    assert "torch.Tensor.tolist: 2 times, in the model's own forward" in str(caught.value)
    assert "such as those of a grid: hold them as a buffer in a module around it" in str(caught.value)
    with pytest.warns(UserWarning, match="Python takes numbers of grid"):
        network = trtnn.from_torch(OfOneGrid(model, grid).eval(), patches).trace()
    x = images(10, 6) * 3 - 1
    with torch.no_grad():
        assert_close(network.run(x.numpy()), model(x, grid), 1e-6)


class Guarded(nn.Module):
    """A module that raises an error where numbers are none that it takes."""

    def __init__(self, check):
        super().__init__()
        self.fc, self.check = nn.Linear(6, 3), check

    def forward(self, x):
        with torch.no_grad():
            self.check(x, 2)
        return self.fc(x)


CHECKS = [
    checks.asserts,
    checks.asserts_a_number,
    checks.asserts_a_sum,
    checks.raises,
    checks.raises_at_once,
    checks.raises_else,
    checks.asserts_within,
    checks.checks,
    checks.checks_with_a_message,
    checks.checks_by_a_name_of_its_own,
    checks.asserts_by_torch,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_check_of_numbers_is_left_out(check):
    """A network raises no errors."""
    model = Guarded(check).eval()
    network = trtnn.from_torch(model, images(2, 6)).trace()
    x = images(2, 6) * 200  # beyond what is checked
    with torch.no_grad():
        assert_close(network.run(x.numpy()), model.fc(x), 1e-6)
    if check is not checks.raises_else:
        with pytest.raises((AssertionError, ValueError, RuntimeError)):
            model(x)


CAUGHT = [
    checks.caught,
    checks.caught_of_any,
    checks.caught_in_a_group,
    checks.kept,
    checks.does_before,
    checks.suppressed,
    checks.suppressed_on_a_device,
    checks.suppressed_or_not,
    checks.swallowed,
    checks.ends,
    checks.lacks,
    checks.has,
    checks.check_is_caught,
    checks.checks_another_ones,
    checks.asserts_and_is_caught,
    checks.checks_and_keeps,
]


@pytest.mark.parametrize("check", CAUGHT, ids=lambda check: check.__name__)
def test_an_error_that_is_caught_decides_something(check):
    class Copied(Guarded):
        def forward(self, x):
            return super().forward(x.clone())

    with pytest.raises(UnsupportedError) as refused:
        trtnn.from_torch(Copied(check).eval(), images(2, 6))
    assert re.search(r"torch.Tensor.(__bool__|item): (once|\d times), in the model's own forward", str(refused.value))
