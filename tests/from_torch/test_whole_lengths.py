"""Whole numbers that Python makes of lengths: ``int``, ``round``, ``min`` and their like stay what they are."""

from __future__ import annotations

import builtins
import functools
import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import trtnn
from tests.from_torch.models import images
from tests.helpers import assert_close
from trtnn.errors import ArgumentError, ShapeError, UnsupportedError
from trtnn.from_torch.recording.builtin_calls import calling


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


def test_len_of_a_tensor():
    """The first length of each row is picked by an index made of ``len``, as authors pick the last word."""

    def function(x):
        rows = torch.arange(len(x))
        picked = x[rows, x.sum(-1).argmax(-1)]
        parts = [x[:, i] for i in range(len([*x.shape]) - 1)]
        return picked / len(x), parts[1][: len(x[0])], x * len(x.shape)

    shapes = (3, 4, 2), (1, 2, 2), (16, 9, 2)
    source = check(function, (trtnn.Dim("m", 1, 3, 16), trtnn.Dim("n", 2, 4, 9), 2), *shapes)
    assert "rows = F.arange(x.shape[0])" in source
    assert "picked / x.shape[0]" in source
    assert "x * 3" in source


def test_as_many_lines_as_a_tensor_has_rows_is_refused_with_the_line():
    def function(x):
        return torch.stack([x[i] * i for i in range(len(x))])

    with pytest.raises(UnsupportedError, match="does something else where lengths are others") as caught:
        trtnn.from_torch(function, images(4, 3), dynamic={"x": (N, 3)})
    assert "test_whole_lengths.py" in str(caught.value)


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


def test_what_python_computes_of_it():
    def function(x):
        half = int(x.shape[0] / 2)
        out = half + 1
        x = x.repeat(out * 2 - half, 7 - int(x.shape[1] / 4))
        return x.repeat(*[int((x.shape[0] - 4) / 2), 1])[: int(x.shape[0] * 0.75), None]

    source = check(function, (N, trtnn.Dim("m", 4, 5, 16)), (6, 5), (4, 4), (9, 16), (16, 11))
    assert "half = math.floor(x.shape[0] / 2)" in source
    assert "out = half + 1" in source
    assert "x.repeat(out * 2 - half, 7 - math.floor(x.shape[1] / 4))" in source


def test_what_is_below_zero_is_rounded_up():
    def function(x):
        return x.repeat(int((x.shape[0] - 20) / 2) + 9, 1)

    source = check(function, (N, 3), (6, 3), (5, 3), (16, 3))
    assert "x.repeat(math.trunc((x.shape[0] - 20) / 2) + 9, 1)" in source


def test_what_is_below_zero_as_the_smaller_of_two():
    def function(x):
        n = x.shape[0]
        return x.repeat(int(min(n, n - 20) / 2) + 9, int(max(n - 20, 2) / 2))

    source = check(function, (N, 3), (6, 3), (5, 3), (16, 3))
    assert "math.trunc(trtnn.sym_min(n, n - 20) / 2) + 9" in source
    assert "math.floor(trtnn.sym_max(n - 20, 2) / 2)" in source


def test_what_may_be_on_both_sides_of_zero_is_refused_with_the_line():
    def function(x):
        return F.pad(x, (int((x.shape[0] - 16) / 7), 9))

    with pytest.raises(ShapeError, match="whether n - 16 >= 0 is known only when the network runs") as caught:
        trtnn.from_torch(function, images(20, 3), dynamic={"x": (trtnn.Dim("n", 4, 20, 40), 3)})
    assert "return F.pad(x, (int((x.shape[0] - 16) / 7), 9))" in str(caught.value)


def test_functions_within_functions_and_methods():
    class Decorated(nn.Module):
        @property
        def twice(self):
            return lambda value: int(value / 2) * 2

        @torch.no_grad()
        def forward(self, x):
            lengths = [int(length / 2) for length in x.shape]
            return x.repeat(self.twice(x.shape[0]), lengths[1])

    source = check(Decorated(), (N, 3), (6, 3), (5, 3), (16, 3))
    assert "x.repeat(math.floor(x.shape[0] / 2) * 2, math.floor(x.shape[1] / 2))" in source


def test_the_type_int_stays_what_it_is():
    def function(x):
        half = int(x.shape[0] / 2)
        size = (half, 2) if isinstance(half, int) else half
        mask = torch.zeros(size, dtype=int)
        return x[:half] + mask.sum() + int("3") + int("11", 2) + int("f", base=16) + int() + float()  # noqa: UP018

    check(function, (N, 3), (6, 3), (5, 3), (16, 3))


@pytest.mark.parametrize("by", [2, 4, 5])
def test_rounded(by):
    def function(x):
        n = round(x.shape[0] / by)
        return x.repeat(n + 1, math.ceil(x.shape[0] / by)), x.repeat(math.floor(x.shape[0] / by) + 1, 1)

    source = check(function, (N, 3), *[(n, 3) for n in range(4, 17)])
    assert f"n = round(x.shape[0] / {by})" in source
    assert f"math.ceil(x.shape[0] / {by})" in source


def test_a_square_root_is_refused_with_the_line():
    def function(x):
        return x[: round(x.shape[0] ** 0.5)]

    with pytest.raises(ShapeError, match=r"round of n \*\* 0\.5 is no length that a network can compute") as caught:
        trtnn.from_torch(function, images(9, 3), dynamic={"x": (N, 3)})
    assert "return x[: round(x.shape[0] ** 0.5)]" in str(caught.value)


def test_floats_and_square_roots():
    def function(x):
        n = float(x.shape[0])
        return x / math.sqrt(x.shape[0]) + n / 2 - float("1.5"), x * float(x.shape[0] / 3) * math.sqrt(4)

    source = check(function, (N, 3), (6, 3), (4, 3), (13, 3))
    assert "n = x.shape[0] * 1.0" in source
    assert "x / x.shape[0] ** 0.5" in source


@pytest.mark.parametrize("call", ["log", "twice"])
def test_a_float_that_is_a_plain_number_is_refused_with_the_line_and_what_to_write(call):
    """Python multiplies a float by an int itself, where the float comes first."""
    made = {"log": math.log, "twice": lambda length: 2.0 * length}[call]

    def function(x):
        return x * made(x.shape[0])

    with pytest.raises(UnsupportedError, match="does something else where lengths are others") as caught:
        trtnn.from_torch(function, images(6, 3), dynamic={"x": (N, 3)})
    assert "return x * made(x.shape[0])" in str(caught.value)
    assert "write h * 0.5, which keeps the length" in str(caught.value)


def test_the_smaller_and_the_larger():
    def function(x):
        n, m = x.shape
        size = min(n, m)
        shortest = min(length // 2 for length in x.shape)
        return x[:size, :size].repeat(max([n, 7, m]), 1)[: abs(n - 10) + 1], x[: max(1, shortest)], x[: n >> 1]

    source = check(function, (N, trtnn.Dim("m", 4, 5, 16)), (6, 5), (4, 4), (9, 16), (16, 11), (10, 7))
    assert "size = trtnn.sym_min(n, m)" in source
    assert "trtnn.sym_max(trtnn.sym_max(n, 7), m)" in source
    assert "shortest = trtnn.sym_min(n // 2, m // 2)" in source
    assert "x3 = x[: n >> 1]" in source  # and not another shortest


def test_a_comparison_of_the_smaller_one():
    def function(x):
        return x * 2 if min(x.shape) > 3 else x

    assert "assert trtnn.sym_min(x.shape[0], x.shape[1]) > 3" in check(function, (N, N), (6, 6), (4, 4), (16, 16))
    with pytest.raises(ShapeError, match=r"min\(n, m\) > 3 is known only when the network runs"):
        trtnn.from_torch(function, images(6, 6), dynamic={"x": (N, trtnn.Dim("m", 2, 6, 16))}, verify=False).trace()


class WindowsOfAnyImage(nn.Module):
    """Shifted windows, which are no larger than the image, with the mask that is computed of its lengths."""

    def __init__(self, size: int = 4) -> None:
        super().__init__()
        self.size, self.shift = size, size // 2
        self.qkv = nn.Linear(4, 12)

    def mask(self, H, W, size):
        rows, columns = torch.arange(H), torch.arange(W)
        rows = (rows >= H - size).long() + (rows >= H - self.shift).long()
        columns = (columns >= W - size).long() + (columns >= W - self.shift).long()
        windows = partition((rows[:, None] * 3 + columns)[None, :, :, None].float(), size).flatten(1)
        return windows[:, None] == windows[:, :, None]

    def forward(self, x):
        B, H, W, C = x.shape
        size = min(self.size, H, W)
        padded = F.pad(x, (0, 0, 0, (size - W % size) % size, 0, (size - H % size) % size))
        _, Hp, Wp, _ = padded.shape
        windows = partition(torch.roll(padded, (-self.shift, -self.shift), (1, 2)), size)
        q, k, v = self.qkv(windows.flatten(1, 2)).chunk(3, -1)
        mask = self.mask(Hp, Wp, size).repeat(B, 1, 1)
        windows = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        padded = torch.roll(reverse(windows.view(-1, size, size, C), size, Hp, Wp), (self.shift, self.shift), (1, 2))
        return x + padded[:, :H, :W]


def test_shifted_windows_of_images_of_any_size():
    h, w = trtnn.Dim("h", 4, 8, 12), trtnn.Dim("w", 4, 10, 12)
    source = check(WindowsOfAnyImage(), (2, h, w, 4), (2, 8, 10, 4), (2, 4, 4, 4), (2, 12, 5, 4), (2, 7, 11, 4))
    assert "size = trtnn.sym_min(trtnn.sym_min(4, H), W)" in source


def test_what_stands_for_functions_of_python_is_taken_back():
    def held() -> dict[str, Any]:
        """Return Python's own functions, without the names that changed code looks up, which stay."""
        return {name: value for name, value in vars(builtins).items() if not name.endswith(("_a_length", "_a_tensor"))}

    before = held(), math.sqrt

    def function(x):
        if int(x.shape[0] / 2) == 5:
            raise KeyError("five")
        return x.repeat(int(x.shape[0] / 2), 1)

    code = function.__code__
    trtnn.from_torch(function, images(6, 3))
    with pytest.raises(ArgumentError, match="KeyError: 'five'"):
        trtnn.from_torch(function, images(10, 3))
    assert (held(), math.sqrt) == before
    assert function.__code__ is code


def test_only_calls_of_int_are_changed():
    def function(a, b):
        return int(a / 2), isinstance(a, int), [*map(int, b)], int("12", 16), max(int(a), int(b[0]))

    expected = function(7, (1.5,))
    builtins.int_of_tests = lambda *args: ("ours", int(*args))  # type: ignore[attr-defined]
    try:
        function.__code__ = calling({"int": "int_of_tests"}, function.__code__)
        assert function(7, (1.5,)) == (
            ("ours", 3), True, [1], ("ours", 18), max(("ours", 7), ("ours", 1)),
        )  # fmt: skip
    finally:
        del builtins.int_of_tests  # type: ignore[attr-defined]
    assert expected == (3, True, [1], 18, 7)


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


class Merged(nn.Module):
    """Layers that ask one cache for shapes of their own tensors, which are as long in the recorded call."""

    class Layer(nn.Module):
        def __init__(self, merged):
            super().__init__()
            self.qkv = nn.Linear(4, 12)
            self.merged = [merged]

        def forward(self, x):
            q, k, v = self.qkv(x).unflatten(-1, (3, 2, 2)).unbind(2)
            scores = torch.einsum("bihd,bjhd->bhij", q, k).softmax(-1)
            out = torch.einsum("bhij,bjhd->bihd", scores, v)
            return out.reshape(self.merged[0](out.shape))

    def __init__(self, merged):
        super().__init__()
        self.merged = [merged]
        self.layers = nn.ModuleList(self.Layer(merged) for _ in range(3))
        self.weight = nn.Parameter(torch.rand(2, 3, 2, 2))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x.mean(1, keepdim=True) + self.weight.reshape(self.merged[0](self.weight.shape)).sum(0)


def test_a_cache_by_shapes_gives_each_tensor_its_own_lengths():
    @functools.lru_cache(64)
    def merged(shape):  # what einops does: axes of a shape, and their products
        batch, n, heads, d = shape
        return [1 * batch, 1 * n, heads * d // 1]

    model = Merged(merged).eval()
    check(model, (trtnn.Dim("batch", 1, 2, 5), 3, 4), (2, 3, 4), (5, 3, 4), (1, 3, 4))
    source = trtnn.from_torch(model, images(2, 3, 4)).source
    assert "        return out.reshape([out.shape[0], out.shape[1], out.shape[2] * out.shape[3]])" in source
    assert "[self.weight.shape[0], self.weight.shape[1], self.weight.shape[2] * self.weight.shape[3]]" in source
    assert "Buffer" not in source


def test_what_changes_no_length_is_not_there():
    def function(x):
        n = (0 + (x.shape[1] * 1 + 0 - 0) // 1) * 2
        return x.new_ones(1 * n + x.shape[1] % 1) + x.shape[1] * 1.0

    source = trtnn.from_torch(function, images(2, 3)).source
    assert "x.new_ones(n) + x.shape[1] * 1.0" in source
    assert "n = x.shape[1] * 2\n" in source
