"""What modules keep in attributes from call to call: tables are computed anew, and states are refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import trtnn
from tests.from_torch.models import images
from tests.helpers import assert_close
from trtnn.errors import ArgumentError, UnsupportedError
from trtnn.from_torch.transcript import _are_same

N = trtnn.Dim("n", 2, 6, 20)


class Rotary(nn.Module):
    """Angles of positions in a table that is made where the length is another."""

    def __init__(self, dim=4):
        super().__init__()
        self.register_buffer("inv_freq", 10.0 ** -torch.arange(0, dim).float(), persistent=False)
        self.length = self.cos = None

    def forward(self, x):
        if x.shape[1] != self.length:
            self.length = x.shape[1]
            self.cos = torch.outer(torch.arange(self.length).type_as(x), self.inv_freq).cos()
        return self.cos


class Rotated(nn.Module):
    def __init__(self):
        super().__init__()
        self.rotary = Rotary()

    def forward(self, x):
        return x * self.rotary(x)


class Grid(nn.Module):
    def __init__(self):
        super().__init__()
        self.grid = None

    def forward(self, x):
        if self.grid is None or self.grid.shape[0] != x.shape[1]:
            self.grid = torch.arange(x.shape[1])[:, None] * 0.5
        return x + self.grid


class Placeholder(nn.Module):
    """Its table is there before the first call, of another length, as timm's ConViT has it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.zeros(1, 1), persistent=False)

    def forward(self, x):
        if self.table is None or self.table.shape[0] != x.shape[1]:
            self.table = torch.arange(x.shape[1])[:, None] * 0.5
        return x + self.table


class ByLength(nn.Module):
    def __init__(self):
        super().__init__()
        self.tables = {}

    def forward(self, x):
        if x.shape[1] not in self.tables:
            self.tables[x.shape[1]] = (torch.arange(x.shape[1]).view(-1, 1) / x.shape[1],)
        return x - self.tables[x.shape[1]][0]


class Registers(nn.Module):
    def __init__(self):
        super().__init__()
        self.longest = 0

    def forward(self, x):
        if x.shape[1] > self.longest:
            self.longest = x.shape[1]
            self.register_buffer("steps", torch.arange(self.longest).view(-1, 1).float(), persistent=False)
        return x * self.steps[: x.shape[1]]


class KeepsWhatItReturns(Rotated):
    """Beside the table it keeps what is of the inputs, and reads it not again."""

    def forward(self, x):
        self.last = (super().forward(x),)
        return self.last[0]


@pytest.mark.parametrize("make", [Rotated, Grid, Placeholder, ByLength, Registers, KeepsWhatItReturns])
def test_a_table_is_computed_anew_of_dynamic_lengths(make):
    model = make().eval()
    result = trtnn.from_torch(model, images(2, 6, 4), dynamic={"x": (2, N, 4)})
    assert "F.arange" in result.source
    assert result.source.count("assert") == (make is Registers)  # x.shape[1] > 0
    network = result.trace()
    for n in (2, 6, 13):
        x = images(2, n, 4)
        assert_close(network.run(x.numpy()), make().eval()(x), 1e-6)
        assert_close(network.run(x.numpy()), model(x), 1e-6)  # it keeps no lengths of the recorded calls


class HooksItself(nn.Module):
    """It collects what its layer gives by a hook, which it registers at the first call, as transformers' models do."""

    def __init__(self):
        super().__init__()
        self.layer, self.is_hooked = nn.Linear(4, 4), False

    def forward(self, x):
        found = []
        if not self.is_hooked:
            self.layer.register_forward_hook(lambda module, args, output: module.collected.append(output))
            self.is_hooked = True
        self.layer.collected = found
        self.layer(x)
        self.layer.collected = None
        return sum(found)


def test_a_module_that_hooks_itself_at_the_first_call_is_left_with_one_hook():
    theirs, x = HooksItself().eval(), images(2, 6, 4)
    with torch.no_grad():
        expected = torch.nn.functional.linear(x, theirs.layer.weight, theirs.layer.bias)
        model = trtnn.from_torch(theirs, x)
        assert len(theirs.layer._forward_hooks) == 1
        assert torch.equal(theirs(x), expected)
    assert_close(model.trace().run(x.numpy()), expected, 1e-6)


class Extractor(nn.Module):
    """It returns what hooks keep of modules within Sequentials, some of which are called twice."""

    def __init__(self, inplace):
        super().__init__()
        block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(inplace), nn.Conv2d(4, 4, 1), nn.Tanh())
        self.back_bone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace), block)
        self.kept = []
        for module in self.back_bone[0], block[0], block[3]:
            module.register_forward_hook(lambda module, args, output: self.kept.append(output))
        block[2].register_forward_pre_hook(lambda module, args: self.kept.append(args[0]))

    def forward(self, x):
        self.kept = []
        y = self.back_bone(x), self.back_bone(x.flip(0) * 2)
        kept, self.kept = self.kept, []
        return [*kept, *y, sum(one.mean() for one in kept)]


@pytest.mark.parametrize("inplace", [False, True])
def test_hooks_within_sequentials(inplace):
    """In place an activation changes what a hook has kept, in torch as here."""
    torch.manual_seed(0)
    model = Extractor(inplace).eval()
    result = trtnn.from_torch(model, images(2, 3, 6, 6), dynamic=trtnn.Dim("batch", 1, 2, 4))
    assert "class BackBone(Sequential):" in result.source
    assert "class BackBone2(Sequential):" in result.source  # the one within
    assert set(result.state_dict()) == set(model.state_dict())
    network = result.trace()
    for n in (1, 3):
        x = torch.randn(n, 3, 6, 6)
        assert_close(network.run(x.numpy()), [*model(x)], 1e-5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5).add_(0.1)
    result.load_state_dict(model.state_dict())
    assert_close(result.trace().run(x.numpy()), [*model(x)], 1e-5)


def test_no_length_of_a_recorded_call_stays_in_an_attribute():
    class Keeps(nn.Module):
        def forward(self, x):
            self.length, self.size, self.lengths = x.shape[1], x.shape[1:], {x.shape[0]: [x.shape[1]]}
            return x * 2

    model = Keeps().eval()
    model(images(2, 6, 4))
    trtnn.from_torch(model, images(2, 6, 4))
    assert type(model.length) is int
    assert type(model.size) is torch.Size
    assert [*map(type, model.size)] == [int, int]
    assert [(type(key), type(lengths[0])) for key, lengths in model.lengths.items()] == [(int, int)]


def test_a_table_of_calls_before_is_named():
    model = Rotated().eval()
    model(images(2, 6, 4))
    with pytest.raises(UnsupportedError) as caught:
        trtnn.from_torch(model, images(2, 6, 4), dynamic={"x": (2, N, 4)})
    said = str(caught.value)
    assert "calls before have left rotary.length, rotary.cos: convert the module before its first call" in said


def test_what_the_first_call_alone_does_is_not_what_the_module_does():
    class Warms(nn.Module):
        def __init__(self):
            super().__init__()
            self.is_warm, self.scale = False, nn.Parameter(torch.tensor(3.0))

        def forward(self, x):
            if self.is_warm:
                return x * self.scale
            self.is_warm = True
            return x + 1

    model = Warms().eval()
    network = trtnn.from_torch(model, images(2, 3), verify=False).trace()
    x = images(2, 3) - 0.5
    assert_close(network.run(x.numpy()), x * 3, 1e-6)


def test_what_the_first_input_decided_stays():
    class Normalises(nn.Module):
        def __init__(self):
            super().__init__()
            self.mean = None

        def forward(self, x):
            if self.mean is None:
                self.mean = x.mean()
            return x - self.mean

    model = Normalises().eval()
    example = images(2, 3)
    network = trtnn.from_torch(model, example, verify=False).trace()
    x = example * 2 + 1
    assert_close(network.run(x.numpy()), x - example.mean(), 1e-6)


def test_a_length_that_the_first_call_decided_is_refused_where_it_is_dynamic():
    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = None

        def forward(self, x):
            if self.first is None:
                self.first = x.shape[1]
            return x * self.first

    with pytest.raises(UnsupportedError, match="something else where lengths are others"):
        trtnn.from_torch(Keeps().eval(), images(2, 6, 4), dynamic={"x": (2, N, 4)})


def test_a_module_that_is_made_in_the_first_call_is_made_once():
    made = []

    class Makes(nn.Module):
        def __init__(self):
            super().__init__()
            self.is_made = False

        def forward(self, x):
            if not self.is_made:
                self.linear, self.is_made = nn.Linear(x.shape[1], 2).eval(), True
                made.append(self.linear)
            return self.linear(x)

    model = Makes().eval()
    converted = trtnn.from_torch(model, images(2, 4), verify=False)
    assert made == [model.linear]
    x = images(2, 4) - 0.5
    assert_close(converted.trace().run(x.numpy()), model(x).detach(), 1e-6)


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_a_lazy_module_is_to_be_called_first():
    model = nn.Sequential(nn.LazyLinear(2)).eval()
    with pytest.raises(ArgumentError, match=r"Sequential's 0.weight, 0.bias have no shape yet\n.*call it once"):
        trtnn.from_torch(model, images(2, 4))
    model(images(2, 4))
    trtnn.from_torch(model, images(2, 4))


def test_a_state_in_a_tuple_is_refused():
    class Remembers(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.hidden = nn.LSTM(4, 4, batch_first=True), (torch.zeros(1, 2, 4), torch.zeros(1, 2, 4))

        def forward(self, x):
            y, self.hidden = self.lstm(x, self.hidden)
            return y

    with pytest.raises(UnsupportedError, match=r"changes itself in forward.*\n.*hidden\[0\] was a tensor and is a"):
        trtnn.from_torch(Remembers().eval(), images(2, 5, 4), verify=False)


@pytest.mark.parametrize(
    ("once", "again"),
    [
        (lambda x: (x, x + 1), lambda x: (x,)),
        (lambda x: x, lambda x: (x, x)),
        (lambda x: x > 0, lambda x: x),
        (lambda x: x, lambda x: x[:1]),
    ],
)
def test_calls_that_return_something_else_are_not_the_same(once, again):
    """What a module keeps is computed anew only where a call without it returns the same."""
    x = images(2, 3)
    assert _are_same(once(x), once(x.clone()))
    assert not _are_same(once(x), again(x))
    assert not _are_same(again(x), once(x))
