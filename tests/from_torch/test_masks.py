"""Masks: what constant ones pick is known, and picked by places; what others pick takes what is put in its place."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import trtnn
from tests.from_torch.models import images
from tests.helpers import assert_close
from trtnn.errors import ShapeError, UnsupportedError


class Picks(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("keep", torch.tensor([True, False, True, True]))
        self.odd = torch.tensor([False, True, False, True])

    def forward(self, x):
        below = torch.tril(torch.ones(4, 4, dtype=torch.bool), -1)
        pairs = x[:, below]
        others = x[:, ~torch.eye(4, dtype=torch.bool)].view(-1, 4, 3)
        return pairs, others, x[:, self.keep], x[..., self.odd], x[:, self.odd, 1], torch.masked_select(x[0], below)


def test_a_constant_mask_picks_places():
    model = Picks().eval()
    result = trtnn.from_torch(model, images(2, 4, 4), dynamic=trtnn.Dim("batch", 1, 2, 8))
    for line in (
        "pairs = x[:, self.below_places, self.below_places2]",
        "x[:, self.keep_places]",
        "x[..., self.odd_places]",
    ):
        assert line in result.source
    assert "self.below_places = Buffer(6, optional=True)" in result.source
    assert "self.keep_places = Buffer(3)" in result.source  # of a buffer that another checkpoint may have otherwise
    x = images(5, 4, 4) - 0.5
    for ours, theirs in zip(result.trace().run(x.numpy()), model(x), strict=True):
        assert_close(ours, theirs, 1e-6)


def below_three(x):
    return x[:, torch.arange(x.shape[1]) % 3 == 0]


def places(x):
    return x[:, (torch.arange(x.shape[1]) % 3 == 0).nonzero().squeeze(1)]


@pytest.mark.parametrize("function", [below_three, places])
def test_what_a_dynamic_length_decides_is_refused(function):
    """The places are right for one length alone."""
    shapes = {"x": (trtnn.Dim("batch", 1, 2, 8), trtnn.Dim("n", 4, 6, 20))}
    with pytest.raises(UnsupportedError) as caught:
        trtnn.from_torch(function, images(2, 6), dynamic=shapes)
    assert "in the model's own forward of a length comes what trtnn cannot compute: " in str(caught.value)
    converted = trtnn.from_torch(function, images(2, 6), dynamic=shapes, verify=False)
    with pytest.raises(ShapeError, match="whether n == 6 is known only when the network runs"):
        converted.trace()
    batch = trtnn.from_torch(function, images(2, 6), dynamic={"x": (trtnn.Dim("batch", 1, 2, 8), 6)})
    x = images(5, 6)
    assert_close(batch.trace().run(x.numpy()), function(x), 1e-6)


class Merged(nn.Module):
    """Features of an image in the places of some tokens, as vision-language models have them."""

    def __init__(self, kind="rows"):
        super().__init__()
        self.embed, self.project, self.kind = nn.Embedding(20, 4), nn.Linear(3, 4), kind

    def forward(self, ids, image):
        x = self.embed(ids)
        rows = self.project(image).view(-1, 4)
        mask = ids == 9
        if self.kind == "rows":
            x[mask] = rows
        elif self.kind == "one of each row":
            x[mask] = rows[:, :1]
        elif self.kind == "places":
            x[torch.where(mask)] = rows
        else:
            every = x > 0
            every[...] = mask.unsqueeze(-1)
            x[every] = rows.flatten()
        return x


@pytest.mark.parametrize("kind", ["rows", "one of each row", "places", "every element"])
def test_rows_are_put_where_a_mask_is_true(kind):
    torch.manual_seed(0)
    model = Merged(kind).eval()
    ids, others = torch.tensor([[1, 9, 9, 3], [9, 2, 3, 9]]), torch.tensor([[9, 9, 9, 3], [5, 2, 3, 9]])
    result = trtnn.from_torch(model, ids, images(2, 2, 3))
    assert ".masked_scatter(" in result.source
    network = result.trace()
    for tokens in (ids, others):
        image = images(2, 2, 3) * 3 - 1
        with torch.no_grad():
            assert_close(network.run(tokens.numpy(), image.numpy()), model(tokens, image), 1e-6)


def test_how_many_rows_there_are_may_not_be_one():
    """One row is for all places, and several are for one each."""
    ids, image = torch.tensor([[1, 9, 9, 3]]), images(1, 2, 3)
    shapes = {"ids": (1, 4), "image": (1, trtnn.Dim("rows", 1, 2, 4), 3)}
    model = trtnn.from_torch(Merged().eval(), ids, image, dynamic=shapes, verify=False)
    with pytest.raises(ShapeError, match="whether rows > 1 is known only when the network runs"):
        model.trace()
    one = torch.tensor([[1, 9, 3, 9]])
    network = trtnn.from_torch(model := Merged().eval(), one, images(1, 1, 3)).trace()
    with torch.no_grad():
        assert_close(network.run(ids.numpy(), images(1, 1, 3).numpy()), model(ids, images(1, 1, 3)), 1e-6)


class Placed(nn.Module):
    """What is put where a mask is true, by its places."""

    def forward(self, x):
        y = x.clone()
        y[torch.where(x.sum(-1) > 2)] = 0.0
        y[(x > 0.5).nonzero(as_tuple=True)] += 1
        (rows,) = torch.where(x[:, 0] < 0.3)
        y[rows] = -1.0
        return y


def test_places_of_a_mask_are_the_mask():
    result = trtnn.from_torch(Placed().eval(), images(6, 4))
    assert "nonzero" not in result.source
    for seed in range(3):
        x = torch.rand(6, 4, generator=torch.Generator().manual_seed(seed))
        assert_close(result.trace().run(x.numpy()), Placed()(x), 1e-6)


def counted(x):
    (rows,) = torch.where(x[:, 0] > 0.5)
    x = x.clone()
    x[rows] = 0
    return x * len(rows)


def returned(x):
    rows = torch.where(x[:, 0] > 0.5)
    y = x.clone()
    y[rows] = 0
    return y, rows[0]


def written_between(x):
    mask = x[:, 0] > 0.5
    rows = torch.where(mask)
    mask.logical_not_()
    y = x.clone()
    y[rows] = 0
    return y


def of_another_order(x):
    rows, columns = torch.where(x > 0.5)
    y = x.clone()
    y[columns, rows] = 0
    return y


@pytest.mark.parametrize("function", [counted, returned, written_between, of_another_order])
def test_places_that_are_used_otherwise_are_refused(function):
    with pytest.raises(UnsupportedError) as caught:
        trtnn.from_torch(function, images(4, 4))
    assert "torch.where of a mask: once, in the model's own forward" in str(caught.value)
