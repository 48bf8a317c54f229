"""``int`` of a length: passed as it stands it is ``math.floor(h / 2)`` in the source; else the line is refused."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import trtnn
from tests.from_torch.models import images
from tests.helpers import assert_close
from trtnn.errors import ShapeError, UnsupportedError

_POSITIONS = "from 3.11 on bytecode tells where expressions stand"
pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason=_POSITIONS)


def partition(x, size):
    B, H, W, C = x.shape
    x = x.view(B, H // size, size, W // size, size, C)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, size, size, C)


def reverse(windows, size, H, W):
    B = int(windows.shape[0] / (H * W / size / size))
    x = windows.view(B, H // size, W // size, size, size, -1)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(B, H, W, -1)


class Windows(nn.Module):
    """Attention in windows, as of Swin transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 2
        self.qkv = nn.Linear(4, 12)

    def forward(self, x):
        _, H, W, _ = x.shape
        windows = partition(x, self.size)
        q, k, v = self.qkv(windows.flatten(1, 2)).chunk(3, -1)
        windows = F.scaled_dot_product_attention(q, k, v).view(windows.shape)
        return x + reverse(windows, self.size, H, W)


def check(model, dynamic, *shapes) -> str:
    """Convert a model for the first of some shapes, compare it with torch for all, and return its forward."""
    model = model.eval() if isinstance(model, nn.Module) else model
    converted = trtnn.from_torch(model, images(*shapes[0]), dynamic={"x": dynamic})
    network = converted.trace()
    for shape in shapes:
        x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            assert_close(network.run(x.numpy()), model(x), 1e-5)
    return converted.source[converted.source.rindex("    def forward") :]


H = trtnn.Dim("h", 2, 4, 12, multiple_of=2)
W = trtnn.Dim("w", 2, 6, 12, multiple_of=2)
N = trtnn.Dim("n", 4, 6, 16)


@pytest.mark.parametrize("batch", [1, 2, 3, trtnn.Dim("b", 1, 3, 5)], ids=str)
def test_windows_of_images_of_any_size(batch):
    """A batch of 2 is also the windows' size, which stands four times in the call."""
    b = batch if isinstance(batch, int) else 3
    shapes = [(b, 4, 6, 4), (b, 2, 2, 4), (b, 12, 10, 4)]
    if isinstance(batch, trtnn.Dim):
        shapes += [(1, 4, 4, 4), (2, 8, 6, 4), (5, 2, 12, 4)]
    source = check(Windows(), (batch, H, W, 4), *shapes)
    assert "B = math.floor(windows.shape[0] / (H * W / 2 / 2))" in source
    assert ".reshape(B, H, W, -1)" in source


def test_int_within_the_call():
    source = check(lambda x: x.reshape(int(x.shape[0]), -1, 1)[:, :1], (N, 3), (6, 3), (4, 3), (13, 3))
    assert "x.reshape(x.shape[0], -1, 1)" in source


def test_ends_of_slices_and_named_arguments():
    def function(x):
        half = int(x.shape[2] / 2)
        x = F.interpolate(x, size=(half, int(x.shape[3] * 0.5)), mode="nearest")
        return x[:, :, :half, 1:]

    source = check(function, (1, 3, N, trtnn.Dim("m", 4, 8, 16)), (1, 3, 6, 8), (1, 3, 4, 5), (1, 3, 9, 16))
    assert "half = math.floor(x.shape[2] / 2)" in source


def test_what_a_function_returns_and_a_module_is_passed():
    def whole(value):
        return int(value)

    class Pad(nn.Module):
        def forward(self, x, left, right):
            return F.pad(x, (left, right))

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.pad = Pad()

        def forward(self, x):
            left = whole(x.shape[1] / 2)
            return self.pad(x, left, right=int(x.shape[0] / 2)) * 2

    source = check(Both(), (N, trtnn.Dim("m", 4, 5, 16)), (6, 5), (4, 4), (9, 16))
    assert "left = math.floor(x.shape[1] / 2)" in source
    assert "self.pad(x, left, math.floor(x.shape[0] / 2))" in source


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.repeat(int(x.shape[0] / 2) * 2, 1),  # Python computes with the number
        lambda x: x.repeat(7 - int(x.shape[0] / 2), 1),
        lambda x: x.repeat(*[int(x.shape[0] / 2), 1]),  # where it goes is not told
        lambda x: x.repeat(int((x.shape[0] - 20) / 2) + 9, 1),  # int rounds up what is below zero
        lambda x: F.pad(x, (int((x.shape[0] - 16) / 7), 9)),
    ],
    ids=["doubled", "subtracted", "starred", "shifted", "negative"],
)
def test_what_is_no_length_as_it_stands_is_refused_with_the_line(function):
    with pytest.raises(UnsupportedError, match="does something else where lengths are others") as caught:
        trtnn.from_torch(function, images(6, 3), dynamic={"x": (N, 3)})
    assert "a length is taken as a plain number: " in str(caught.value)
    assert "int(" in str(caught.value)


def test_what_is_below_zero_for_other_lengths_stays_a_number():
    """``int`` rounds such a one up: for the example, where it is 0, nothing tells."""

    def function(x):
        return F.pad(x, (int((x.shape[0] - 16) / 7), 9))

    n = trtnn.Dim("n", 4, 20, 40)
    source = trtnn.from_torch(function, images(20, 3), dynamic={"x": (n, 3)}, verify=False).source
    assert "floor" not in source


def test_a_floor_that_no_network_computes_is_refused_with_the_line():
    with pytest.raises(ShapeError, match=r"floor of n \* 0\.7 is no length that a network can compute") as caught:
        trtnn.from_torch(lambda x: x[: int(x.shape[0] * 0.7)], images(6, 3), dynamic={"x": (N, 3)})
    assert "test_whole_lengths.py" in str(caught.value)


def test_a_number_that_happens_to_be_the_same():
    """3 is half of the length and a literal: what a structure holds is not told, and other lengths show it."""

    def function(x):
        half = int(x.shape[0] / 2)
        return x.view(x.shape[0], 3)[:half].sum() + torch.zeros(3, half).sum(1)

    check(function, (N, 3), (6, 3), (4, 3), (9, 3))


# -- lengths that are tensors -----------------------------------------------------------------------------------------


class Causal(nn.Module):
    """A convolution whose padding is computed of buffers and of the length, as of audio codecs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 3, 5, 2)
        self.register_buffer("stride", torch.tensor(2), persistent=False)
        self.register_buffer("padding", torch.tensor(3), persistent=False)

    def forward(self, x):
        frames = torch.ceil((x.shape[-1] - 5 + self.padding) / self.stride + 1).to(torch.int64) - 1
        extra = frames * self.stride + 5 - self.padding - x.shape[-1]
        return self.conv(F.pad(x, (self.padding, extra))).unflatten(1, (self.padding, -1))


@pytest.mark.parametrize("length", [8, 9, 12, 31])
def test_lengths_that_are_constant_tensors(length):
    check(Causal(), (1, 3, length), (1, 3, length))


def test_a_constant_tensor_that_stays_a_tensor():
    check(lambda x: x * torch.tensor(3).expand(3).view(1, 3).repeat(6, 1), (6, 3), (6, 3))


def test_a_tensor_of_dynamic_lengths_is_refused_with_the_line():
    n = trtnn.Dim("n", 4, 8, 40)
    with pytest.raises(UnsupportedError, match="does something else where lengths are others") as caught:
        trtnn.from_torch(Causal().eval(), images(1, 3, 8), dynamic={"x": (1, 3, n)})
    assert "return self.conv(F.pad(x, (self.padding, extra)))" in str(caught.value)


def test_a_length_that_depends_on_the_input_is_refused_with_the_line():
    with pytest.raises(trtnn.TrtnnError) as caught:
        trtnn.from_torch(lambda x: F.pad(x, (0, x.abs().max().long())), images(6, 3))  # here
    assert "# here" in str(caught.value)
