"""Exported programs: their graphs are ATen's, and what comes of them is torch.nn's again where that can be told."""

from __future__ import annotations

import pytest
import torch

import trtnn
from tests.from_torch.models import OPERATIONS, Operation, images, make
from tests.helpers import assert_close
from trtnn.errors import UnsupportedError

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*:FutureWarning")  # of torch's own export

# Of the others torch exports no dataclasses and no names that are not Python's; ATen has an LSTM in one piece, and
# takes parts of tensors that are written to in other ways.
NAMES = ("residual", "transformer", "dense", "encoder", "tied", "shared", "passes", "wrapped", "names")


@pytest.mark.parametrize("name", NAMES)
def test_it_computes_what_torch_does(name):
    model, args, kwargs = make(name)
    converted = trtnn.from_torch(torch.export.export(model, args, kwargs), *args, **kwargs)
    with torch.no_grad():
        expected = model(*args, **kwargs)
    assert_close(converted.trace().run(*(tensor.numpy() for tensor in args)), expected, 1e-5)
    theirs = {key for key in model.state_dict() if not key.endswith("num_batches_tracked")}
    assert {key for key, member in converted._state().items() if not member.optional} <= theirs


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_that_aten_has_otherwise(name):
    x, model = images(2, 3, 7, 6), Operation(name)
    network = trtnn.from_torch(torch.export.export(model.eval(), (x,)), x).trace()
    other = torch.randn(2, 3, 7, 6, generator=torch.Generator().manual_seed(3))
    assert_close(network.run(other.numpy()), model(other), 1e-5)


class Pools(torch.nn.Module):
    """One pool, which keeps the rows of what it is called with."""

    def __init__(self):
        super().__init__()
        self.pool = torch.nn.AdaptiveAvgPool2d((None, 1))

    def forward(self, x):
        return self.pool(x), self.pool(x[:, :, 1:])


def test_a_pool_of_several_sizes():
    x = images(2, 3, 4, 5)
    model = Pools().eval()
    network = trtnn.from_torch(torch.export.export(model, (x,)), x, verify=False).trace()
    assert_close(network.run(x.numpy()), model(x), 1e-5)


def test_windows_that_aten_does_not_say():
    def unpooled(x):
        y, places = torch.nn.functional.max_pool2d(x, 2, return_indices=True)
        return torch.nn.functional.max_unpool2d(y, places, 2)

    class Unpools(torch.nn.Module):
        def forward(self, x):
            return unpooled(x)

    x = images(1, 2, 4, 4)
    with pytest.raises(UnsupportedError, match="max_unpool of a graph, which does not hold its windows"):
        trtnn.from_torch(torch.export.export(Unpools().eval(), (x,)), x, verify=False)


def test_modules_are_torch_nns_again():
    model, args, _ = make("residual")
    source = trtnn.from_torch(torch.export.export(model, args), *args).source
    assert "self.stem = Conv2d(3, 8, 3, stride=2, padding=1)" in source
    assert "self.relu = ReLU(inplace=True)" in source
    assert "self.layer1 = Sequential(*(Block(8) for _ in range(3)))" in source
    assert "class Block(Module):" in source


class Picks(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("order", torch.tensor([2, 0, 1]))

    def forward(self, x, places):
        rows = torch.arange(x.shape[0])
        return x[:, self.order], x[rows, places], x[:, :, places], x[self.order, :, self.order + 1]


def test_places_that_are_picked():
    model = Picks().eval()
    args = torch.rand(3, 4, 5), torch.tensor([3, 0, 1])
    converted = trtnn.from_torch(torch.export.export(model, args), *args)
    assert "[:, self.order]" in converted.source
    x, places = torch.rand(3, 4, 5), torch.tensor([1, 2, 0])
    for ours, theirs in zip(converted.trace().run(x.numpy(), places.numpy()), model(x, places), strict=True):
        assert_close(ours, theirs, 1e-6)
