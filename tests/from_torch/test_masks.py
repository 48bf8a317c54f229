"""Masks that are constants: what they pick is known, and the source picks it by places."""

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
