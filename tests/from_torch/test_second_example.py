"""The second input that a conversion is compared on, and inputs of which not all numbers go everywhere."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import trtnn
from tests.helpers import assert_close
from trtnn.errors import VerificationError
from trtnn.from_torch.verify import largest_difference, second_example


class Categories(nn.Module):
    """Each column has a table of its own length."""

    def __init__(self):
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(count, 3) for count in (100, 5, 2))
        self.fc = nn.Linear(11, 2)

    def forward(self, columns, x):
        rows = [table(columns[:, i]) for i, table in enumerate(self.tables)]
        return self.fc(torch.cat([*rows, x], 1)) + x.mean()


@pytest.mark.parametrize("dynamic", [None, trtnn.Dim("batch", 1, 4, 9)])
def test_columns_of_places_in_tables_of_other_lengths(dynamic):
    """What is drawn of all numbers goes beyond the shorter tables: the second input has the example's rows."""
    torch.manual_seed(0)
    model = Categories().eval()
    columns = torch.tensor([[99, 4, 1], [7, 0, 0], [50, 3, 1], [12, 1, 0]])
    result = trtnn.from_torch(model, columns, torch.rand(4, 2), dynamic=dynamic)
    network = result.trace()
    others = torch.tensor([[3, 2, 1], [98, 4, 0], [0, 0, 1], [64, 1, 1]])
    x = torch.rand(4, 2)
    assert_close(network.run(others.numpy(), x.numpy()), model(others, x), 1e-5)


class Times(nn.Module):
    """Marks of time come as floats, beside a series, and are places in tables."""

    def __init__(self):
        super().__init__()
        self.hour, self.weekday = nn.Embedding(24, 3), nn.Embedding(7, 3)
        self.fc = nn.Linear(2, 3)

    def forward(self, x, marks):
        marks = marks.long()
        return self.fc(x) + self.hour(marks[:, :, 0]) + self.weekday(marks[:, :, 1])


@pytest.mark.parametrize("dynamic", [None, trtnn.Dim("batch", 1, 1, 4)])
def test_columns_of_floats_that_are_places(dynamic):
    torch.manual_seed(0)
    model = Times().eval()
    marks = torch.tensor([[[23.0, 0.0], [0.0, 6.0], [13.0, 3.0]]])
    network = trtnn.from_torch(model, torch.rand(1, 3, 2), marks, dynamic=dynamic).trace()
    x, others = torch.rand(1, 3, 2), torch.tensor([[[7.0, 5.0], [22.0, 1.0], [1.0, 6.0]]])
    assert_close(network.run(x.numpy(), others.numpy()), model(x, others), 1e-5)


def test_rows_of_a_second_example():
    columns, mask = torch.arange(12).view(4, 3), torch.tensor([True, False])
    again = second_example([columns, mask], [(4, 3), (2,)], by_rows="whole numbers")
    assert torch.equal(again[0], columns.flip(0))
    assert torch.equal(again[1], mask.flip(0))
    assert torch.equal(second_example([columns[None]], [(1, 4, 3)], by_rows="whole numbers")[0], columns.flip(0)[None])
    assert torch.equal(second_example([columns.float()], [(4, 3)], by_rows="whole numbers")[0], columns.flip(0).float())
    assert not torch.equal(second_example([columns / 5], [(4, 3)], by_rows="whole numbers")[0], columns.flip(0) / 5)
    assert torch.equal(second_example([columns / 5], [(4, 3)], by_rows="all")[0], columns.flip(0) / 5)
    longer = second_example([columns], [(trtnn.Dim("n", 1, 4, 9), 3)], by_rows="whole numbers")[0]
    assert torch.equal(longer, columns[[3, 2, 1, 0, 3]])


class Patches(nn.Module):
    """Patches of an image, with their row and column in front, as Pix2Struct takes them."""

    def __init__(self):
        super().__init__()
        self.row, self.column, self.fc = nn.Embedding(5, 3), nn.Embedding(3, 3), nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(x[..., 2:]) + self.row(x[..., 0].long()) + self.column(x[..., 1].long())


@pytest.mark.parametrize("dynamic", [None, trtnn.Dim("batch", 1, 1, 4)])
def test_places_beside_other_numbers_in_one_tensor(dynamic):
    """What is drawn of them is no place in either table: the second input has the example's rows."""
    torch.manual_seed(0)
    model = Patches().eval()
    places = torch.tensor([[[4.0, 2.0], [0.0, 1.0], [3.0, 0.0]]])
    x = torch.cat([places, torch.randn(1, 3, 4) * 9], -1)
    network = trtnn.from_torch(model, x, dynamic=dynamic).trace()
    others = torch.cat([places[:, [1, 0, 1]], torch.randn(1, 3, 4)], -1)
    with torch.no_grad():
        assert_close(network.run(others.numpy()), model(others), 1e-5)


class Tokens(nn.Module):
    """A table of tokens, and their numbers: beyond what float32 tells from one another."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(9, 16)

    def forward(self, ids):
        x = self.embed(ids)
        return x.float().relu().to(x.dtype), ids + 2**25 + 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_that_come_of_whole_numbers(dtype):
    """NumPy has no bfloat16: the network is run on torch's tensors."""
    torch.manual_seed(0)
    model = Tokens().to(dtype).eval()
    ids = torch.tensor([[1, 3, 8]])
    network = trtnn.from_torch(model, ids).trace()
    others = torch.tensor([[0, 8, 2]])
    embedded, numbers = network.run(others)
    with torch.no_grad():
        expected = model(others)
    assert torch.equal(embedded.float(), expected[0].float())
    assert torch.equal(numbers.long(), expected[1])


def test_whole_numbers_are_compared_as_they_are():
    with pytest.raises(VerificationError, match="output differs from torch's by"):
        largest_difference(torch.tensor([2**25 + 1]), torch.tensor([2**25]), "the example")
    assert largest_difference(torch.tensor([2**25 + 1]), torch.tensor([2**25 + 1]), "the example") == 0
