"""What people write in models of their own: each idiom converts and computes what torch does, on inputs of its own."""

from __future__ import annotations

import copy
import functools
import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

import trtnn
from tests.from_torch.models import images
from tests.helpers import assert_close
from trtnn.errors import ArgumentError, UnsupportedError


def converted(model, *inputs, **options):
    """Return what a model becomes, once it computes what torch does on other numbers than the example's."""
    model = model.eval() if isinstance(model, nn.Module) else model
    result = trtnn.from_torch(model, *inputs, **options)
    others = [tensor * 0.7 + 0.1 if tensor.is_floating_point() else tensor.flip(0) for tensor in inputs]
    with torch.no_grad():
        expected = model(*(tensor.clone() for tensor in others))
    assert_close(result.trace().run(*(tensor.numpy() for tensor in others)), expected, 1e-5)
    return result


# -- weights that are computed ----------------------------------------------------------------------------------------


def with_old_norm(norm, module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return norm(module)


class Scaled:
    """A hook that puts a weight of its own in place, as StyleGAN's equalised learning rate does it."""

    def __call__(self, module, inputs):
        module.weight = module.weight_orig * math.sqrt(2 / module.weight_orig[0].numel())


def equalised(module):
    weight = module.weight
    del module._parameters["weight"]
    module.register_parameter("weight_orig", nn.Parameter(weight.detach()))
    module.weight = weight.detach()
    module.register_forward_pre_hook(Scaled())
    return module


@pytest.mark.parametrize(
    "norm",
    [
        lambda module: with_old_norm(nn.utils.weight_norm, module),
        lambda module: with_old_norm(lambda m: nn.utils.weight_norm(m, dim=None), module),
        lambda module: with_old_norm(nn.utils.spectral_norm, module),
        parametrizations.weight_norm,
        lambda module: parametrizations.weight_norm(module, dim=1),
        parametrizations.spectral_norm,
        equalised,
    ],
    ids=["old weight", "old weight, whole", "old spectral", "weight", "weight, inputs", "spectral", "equalised"],
)
def test_weights_that_a_norm_computes(norm):
    torch.manual_seed(0)
    model = nn.Sequential(norm(nn.Conv1d(3, 4, 3, padding=2)), nn.ReLU(), norm(nn.Conv1d(4, 5, 3, padding=2)))
    result = converted(model, images(2, 3, 7))
    assert set(result.state_dict()) == set(model.state_dict())
    assert result.source.count("(Module):") + result.source.count("(ModuleList):") <= 3  # one class for the two
    other = {name: tensor * 0.5 + 0.1 for name, tensor in model.state_dict().items()}
    model.load_state_dict(other)
    result.load_state_dict(other)
    x = images(2, 3, 7)
    assert_close(result.trace().run(x.numpy()), model(x).detach(), 1e-5)


def test_a_constant_of_a_module_with_two_names():
    class Inner(nn.Module):
        def forward(self, x):
            return x + torch.from_numpy(np.float32([[1, 2], [3, 4]]))

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = Inner()
            self.all = nn.Sequential(self.first, nn.Tanh())

        def forward(self, x):
            return self.all(x)

    converted(Outer(), images(2, 2))


def test_a_tensor_in_an_attribute_is_a_buffer_of_its_name():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.randn(1, 9, 4)

        def forward(self, x):
            return x + self.table[:, : x.shape[1]]

    length = {"x": (2, trtnn.Dim("length", 2, 5, 9), 4)}
    model = Positions()
    result = converted(model, images(2, 5, 4), dynamic=length)
    assert "x + self.table[:, : x.shape[1]]" in result.source
    assert_close(result.trace().run(images(2, 8, 4).numpy()), model(images(2, 8, 4)), 1e-6)


class Depthwise(nn.Module):
    def __init__(self, count):
        super().__init__()
        self.count = count
        self.weight = nn.Parameter(torch.randn(count, 1, 3))

    def forward(self, x):
        return F.conv1d(x[:, : self.count], self.weight.expand(self.count, 1, 3), groups=self.count)


def test_an_attribute_is_one_argument_whatever_it_is_passed_for():
    model = nn.Sequential(Depthwise(4), Depthwise(3), Depthwise(2))
    source = converted(model, images(2, 5, 9)).source
    assert "    def __init__(self, count):\n" in source
    assert "F.conv1d(x[:, : self.count], self.weight.expand(self.count, 1, 3), groups=self.count)" in source


class Names(nn.Module):
    """It has two names for each thing that it holds."""

    def __init__(self, twice=True):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4))
        self.register_buffer("shift", torch.randn(4))
        self.first = nn.Linear(4, 4)
        if twice:
            self.scale = self.weight
            self.register_buffer("offset", self.shift)
            self.second = self.first

    def forward(self, x):
        other = self.second if hasattr(self, "second") else self.first
        return other(self.first(x)) * self.weight + self.shift


def test_two_names_of_one_thing():
    torch.manual_seed(0)
    model = nn.Sequential(Names(), Names(), Names(twice=False))
    result = converted(model, images(2, 4))
    assert "self.scale = Parameter" not in result.source
    assert "        self.scale = self.weight\n        self.offset = self.shift\n" in result.source
    assert set(result.state_dict()) == set(model.state_dict())
    other = {name: tensor * 0.5 + 0.1 for name, tensor in model.state_dict().items()}
    for i in range(2):
        for name, same in ("scale", "weight"), ("offset", "shift"):
            other[f"{i}.{name}"] = other[f"{i}.{same}"]
    model.load_state_dict(other)
    result.load_state_dict(other)
    x = images(3, 4)[:2]
    assert_close(result.trace().run(x.numpy()), model(x), 1e-5)


def test_a_constant_that_a_checkpoint_has_not_is_said_to_be_elsewhere():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)
            self.table = torch.randn(5, 4)

        def forward(self, x):
            return self.fc(x + self.table)

    namespace = {}
    exec(converted(Positions(), images(5, 4)).source, namespace)
    model = namespace["Positions"]()
    model.load_state_dict(Positions().state_dict())
    with pytest.raises(ArgumentError) as caught:
        model.trace()
    assert "a parameter of shape (5, 4) in the model's own forward is empty" in str(caught.value)
    assert "load the .safetensors that save_source wrote first, then other weights" in str(caught.value)


# -- numbers ----------------------------------------------------------------------------------------------------------


def test_numbers_of_numpy_and_numbers_that_formatters_write_otherwise(tmp_path):
    def function(x):
        x = x * (1 + np.log(7)) + np.float32(0.5) * np.int64(3)
        x = torch.where(x > 1, torch.full_like(x, float("nan")), x)
        return torch.cat([x.nan_to_num(float("nan"), 2.0), x.new_full((2, np.int64(3)), torch.finfo(x.dtype).min)])

    source = converted(function, images(4, 3)).source
    assert "-3.4028234663852886e38" in source
    assert "np." not in source


def test_an_argument_that_is_not_a_number():
    class Fills(nn.Module):
        def __init__(self, value):
            super().__init__()
            self.value = value

        def forward(self, x):
            return torch.where(x > 0, torch.full_like(x, self.value), x)

    converted(nn.Sequential(Fills(float("nan")), Fills(float("nan")), Fills(2.0)), images(3, 4))


def test_names_that_linters_refuse():
    def function(x):
        b, l, d = x.shape  # noqa: E741
        I = x.reshape(b, l * d)  # noqa: E741
        return I + I[:, :l].sum(1, keepdim=True)

    source = converted(function, images(2, 3, 4)).source
    assert "b, l_, d = x.shape" in source
    assert "I_ = " in source


def test_a_declaration_that_is_longer_than_a_line():
    sides = [trtnn.Dim(name, 16, 32, 128, multiple_of=16) for name in ("height_of_image", "width_of_image")]
    shape = (trtnn.Dim("batch", 1, 1, 2), 3, *sides)
    source = converted(nn.Conv2d(3, 4, 3), images(1, 3, 32, 32), dynamic={"input": shape}).source
    assert max(map(len, source.splitlines())) <= 120


# -- functions --------------------------------------------------------------------------------------------------------


def test_products_of_matrices():
    converted(lambda x, y: torch.mm(x, y) + x.mm(y) + torch.addmm(x[:, :2], x, y), images(3, 4), images(4, 2))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_mean_squared_errors(reduction):
    converted(lambda x, y: F.mse_loss(x, y, reduction=reduction), images(3, 4), images(3, 4) * 2)


def test_joins_of_what_holds_nothing():
    """Llama's own mask has as many columns in front as there were tokens before, of which there are none here."""

    def function(x):
        length = x.shape[1]
        mask = torch.full((length, length), float("-inf")).triu(1)
        joined = torch.hstack([torch.zeros((length, 0)), mask])
        joined += 1.0
        rest = x[:, length:].flip(1)
        return torch.softmax(x @ x.mT + joined, -1), mask.exp(), torch.cat((x, rest), dim=1)

    dynamic = {"x": (trtnn.Dim("batch", 1, 2, 4), trtnn.Dim("length", 2, 5, 9), 3)}
    converted(function, images(2, 5, 3), dynamic=dynamic)


# -- containers -------------------------------------------------------------------------------------------------------


class Named(nn.ModuleList):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(4, 4)
        self.rest = nn.ModuleList([nn.Linear(4, 4), None, nn.Linear(4, 4)])

    def forward(self, x):
        x = self.stem(x)
        for layer in self.rest:
            x = x if layer is None else layer(x).relu()
        return x


def test_a_list_that_has_names_and_one_with_gaps():
    model = Named()
    result = converted(model, images(3, 4))
    assert set(result.state_dict()) == set(model.state_dict())
    assert "self.stem(x)" in result.source


def test_lists_of_lists_of_parameters():
    class Lists(nn.Module):
        def __init__(self):
            super().__init__()
            pairs = ([nn.Parameter(torch.randn(4)), nn.Parameter(torch.randn(4))] for _ in range(3))
            self.scales = nn.ParameterList([nn.ParameterList(pair) for pair in pairs])

        def forward(self, x):
            for scale, shift in self.scales:
                x = x * scale + shift
            return x

    model = Lists()
    assert set(converted(model, images(3, 4)).state_dict()) == set(model.state_dict())


# -- complex numbers --------------------------------------------------------------------------------------------------


class Rotary(nn.Module):
    """Positions as turns, which Llama's own code keeps as complex numbers in an attribute."""

    def __init__(self, is_buffer):
        super().__init__()
        angles = torch.outer(torch.arange(9).float(), 1 / 10.0 ** torch.arange(2))
        turns = torch.polar(torch.ones_like(angles), angles)
        if is_buffer:
            self.register_buffer("turns", turns, persistent=False)
        else:
            self.turns = turns
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        turned = torch.view_as_complex(self.linear(x).reshape(*x.shape[:-1], -1, 2)) * self.turns[: x.shape[1]].conj()
        return torch.view_as_real(turned).flatten(2)


@pytest.mark.parametrize("is_buffer", [True, False])
def test_complex_constants_are_held_as_their_parts(is_buffer):
    model = Rotary(is_buffer)
    result = converted(model, images(2, 5, 4))
    assert "self.turns = Buffer(9, 2, 2, optional=True)" in result.source
    assert "F.view_as_complex(self.turns)" in result.source
    result.load_state_dict(model.state_dict())
    length = {"x": (2, trtnn.Dim("length", 2, 5, 9), 4)}
    assert_close(
        converted(model, images(2, 5, 4), dynamic=length).trace().run(images(2, 8, 4).numpy()),
        model(images(2, 8, 4)).detach(),
        1e-5,
    )


# -- script functions -------------------------------------------------------------------------------------------------


class Spectra(nn.Module):
    """A magnitude and a phase for each place of a spectrum, as vocoders have them."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(6, 34)
        self.register_buffer("window", torch.hann_window(32))

    def forward(self, x):
        magnitude, phase = self.out(x).transpose(1, 2).chunk(2, dim=1)
        spectrum = magnitude.exp().clip(max=100.0) * (torch.cos(phase) + 1j * torch.sin(phase))
        turned = magnitude * torch.exp(1j * phase)
        return torch.istft(spectrum, 32, 8, 32, self.window), torch.view_as_real(turned)


def test_complex_numbers_of_python():
    result = converted(Spectra(), images(2, 9, 6))
    assert "F.sin(phase) * 1j" in result.source


def _snake(x: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    shape = x.shape
    x = x.reshape(shape[0], shape[1], -1)
    x = x + (alpha + 1e-9).reciprocal() * torch.sin(alpha * x).pow(2)
    return x.reshape(shape)


with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, of script functions
    snake = torch.jit.script(_snake)


def test_script_functions_are_the_python_that_they_were_written_in():
    class Snake(nn.Module):
        def __init__(self):
            super().__init__()
            self.alpha = nn.Parameter(torch.rand(1, 3, 1))

        def forward(self, x):
            return snake(x, self.alpha)

    call = torch.jit.ScriptFunction.__call__
    source = converted(Snake(), images(2, 3, 4)).source
    assert "(self.alpha + 1e-09).reciprocal() * F.sin(self.alpha * x" in source
    assert torch.jit.ScriptFunction.__call__ is call


# -- lengths and numbers that the example does not have ---------------------------------------------------------------


def test_two_lengths_of_one_name():
    rows = trtnn.Dim("rows", 1, 3, 8)
    with pytest.raises(trtnn.errors.ArgumentError, match=r"example of y has shape \(4, 2\), which .*\n  rows is 3 in"):
        trtnn.from_torch(lambda x, y: (x, y), images(3, 2), images(4, 2), dynamic=rows)


def test_a_module_that_takes_some_numbers_alone():
    class Strict(nn.Module):
        def __init__(self, most):
            super().__init__()
            self.most = most

        def forward(self, x):
            torch._assert_async(((x >= 0) & (x <= self.most)).all(), "give images in 0..1")
            return x.sqrt()

    trtnn.from_torch(Strict(1.0).eval(), torch.rand(2, 3, 8, 8))
    with pytest.raises(trtnn.errors.ArgumentError) as caught:
        trtnn.from_torch(Strict(0.4).eval(), torch.full((4, 3), 0.4))  # all equal, so that others are drawn anyhow
    assert "torch's own forward raised RuntimeError: give images in 0..1\n  with a second input" in str(caught.value)


def test_lengths_that_torch_itself_refuses():
    sizes = {"x": (trtnn.Dim("rows", 1, 3, 8), 4), "y": (4, trtnn.Dim("columns", 1, 3, 8))}
    with pytest.raises(trtnn.errors.ArgumentError, match=r"with other lengths that the shapes allow: x of \(4, 4\), y"):
        trtnn.from_torch(lambda x, y: (x @ y).view(3, 3), images(3, 4), images(4, 3), dynamic=sizes)


# -- masks ------------------------------------------------------------------------------------------------------------


def test_what_a_mask_picks_of_one_goes_to_the_same_places_of_another():
    def function(x, y):
        x, rows = x.clone(), y.sum(-1) > 0
        mask = x > y
        x[mask] = y[mask]
        x[rows] = (y * 2)[rows]
        return x, mask

    source = converted(function, images(3, 4, 2), images(3, 4, 2).flip(0)).source
    assert "x[...] = F.where(mask, y, x)" in source
    assert "x[...] = F.where(rows[..., None], y * 2, x)" in source


def test_what_is_computed_of_each_element_that_a_mask_picks():
    def function(x, y):
        linear, low, x = torch.zeros_like(y), y <= 0.04045, x.clone()
        linear[low] = y[low] / 12.92
        linear[~low] = ((y[~low] + 0.055) / 1.055) ** 2.4  # two masks that hold the same
        x[x < 0] *= -1
        x[x > 1] = x[x > 1].sqrt() + 1
        rows = y.sum(-1) > 0
        x[rows] = 2 - x[rows] * y[rows].clamp(max=0.5)
        x[rows] += 1
        picked = torch.exp(x[low])
        picked *= 2
        x[low] = picked
        y = y.clone()
        y[low] = picked
        return linear, x, y

    source = converted(function, images(3, 4), images(3, 4).flip(0)).source
    assert "x[...] = F.where(x < 0, x * -1, x)" in source


def _picked_and_averaged(x, y):
    x, mask = x.clone(), x > y
    x[mask] = y[mask] - y[mask].mean()
    return x


def _picked_by_another(x, y):
    x, mask = x.clone(), x > y
    x[mask] = y[mask] * y[y > x]
    return x


def _picked_by_what_has_changed(x, y):
    x = x.clone()
    picked = y[x > 0] * 2
    x[0] *= -1
    x[x > 0] = picked
    return x


def _changed_and_read(x, y):
    x, mask = x.clone(), x > y
    picked = y[mask]
    picked *= 2
    x[mask] = picked
    return x + picked.sum()


def _picked_and_read(x, y):
    picked = y[x > y]
    x = x.clone()
    x[x > y] = picked  # another mask, whatever it holds
    return x


def _written_between(x, y):
    x, y, mask = x.clone(), y.clone(), x > y
    picked = y[mask]
    y += 1
    x[mask] = picked
    return x


def _read_twice(x, y):
    x, mask = x.clone(), x > y
    picked = y[mask]
    x[mask] = picked
    return x + picked.sum()


ELSEWHERE = (
    _picked_and_read, _written_between, _read_twice, _picked_and_averaged, _picked_by_another,
    _picked_by_what_has_changed, _changed_and_read,
)  # fmt: skip


@pytest.mark.parametrize("function", ELSEWHERE)
def test_what_a_mask_picks_goes_elsewhere(function):
    with pytest.raises(
        trtnn.errors.UnsupportedError, match=r"__getitem__ of a mask: (once|2 times)|index that is a bool"
    ):
        trtnn.from_torch(function, images(3, 4), images(3, 4).flip(0))


# -- masks that float16 does not hold ---------------------------------------------------------------------------------

LEAST = torch.finfo(torch.float32).min


class Scores(nn.Module):
    """Attention that is masked in one of the ways in which people do it."""

    def __init__(self, way):
        super().__init__()
        self.query, self.way = nn.Linear(8, 8), way
        self.register_buffer("later", torch.ones(4, 4).triu(1).bool())
        self.register_buffer("causal", torch.full((4, 4), -1e9).triu(1))
        self.register_buffer("least", torch.tensor(-1e9))

    def forward(self, x, kept):
        scores = self.query(x) @ x.transpose(1, 2)
        return self.way(self, scores, kept[:, None]).softmax(-1) @ x


# Each with whether a number stands at the end of float16, of which a warning tells.
MASKS = {
    "masked_fill": (lambda self, w, kept: w.masked_fill(self.later, -1e9), True),
    "masked_fill of what is not kept": (lambda self, w, kept: w.masked_fill(kept == 0, LEAST), True),
    "where": (lambda self, w, kept: torch.where(self.later, -1e9, w), True),
    "a mask to add, filled": (lambda self, w, kept: w + (1 - kept).masked_fill((1 - kept).bool(), LEAST), True),
    "where of a tensor": (lambda self, w, kept: torch.where(self.later, torch.full([], LEAST), w), False),
    "where of a buffer": (lambda self, w, kept: torch.where(self.later, self.least, w), False),
    "a product": (lambda self, w, kept: w + (1 - kept) * -1e9, False),
    "a buffer to add": (lambda self, w, kept: w + self.causal, False),
}


@pytest.mark.parametrize("name", MASKS)
def test_masked_attention_in_fp16(name):
    way, warns = MASKS[name]
    torch.manual_seed(0)
    model, x = Scores(way).eval(), images(2, 4, 8)
    kept = torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, 0]])
    made = trtnn.from_torch(model, x, kept)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        network = made.trace(fp16=True)
    assert [str(one.message).startswith("float16 ends at 65504") for one in caught] == [True] * warns
    with torch.no_grad():
        assert_close(network.run(x.numpy(), kept.numpy()), model(x, kept), 3e-3)


# -- what calls return ------------------------------------------------------------------------------------------------


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 3, bidirectional=True, batch_first=True)

    def forward(self, x):
        encoded, (h, _c) = self.lstm(x)
        state = torch.tanh(h[-2] + h[-1])
        best = encoded.max(dim=1)[0]
        return best * 2 + best.abs(), state, (state * 3).sort(dim=-1)[1]


def test_names_of_what_is_unpacked_within_and_of_one_that_is_picked():
    source = converted(Encoder(), images(2, 5, 4)).source
    assert "encoded, states = self.lstm(x)\n        h, _ = states\n" in source
    assert "best = encoded.max(dim=1)[0]\n" in source
    assert "outputs" not in source


# -- constants of dynamic lengths -------------------------------------------------------------------------------------


def test_constants_that_are_changed_in_place_to_what_is_computed_of_them():
    """What is of dynamic lengths is written, and of that what is of none is held in a Buffer."""

    def function(x):
        t = torch.arange(x.shape[0], dtype=torch.float32)
        t //= 2
        t.copy_(3.0 ** (t / 8))
        d = torch.arange(8, dtype=torch.float32)
        d //= 2
        d.mul_(0.25)
        d.copy_(3.0**d)
        return (x.sum(1) + t / t[-1:])[:, None] / d

    result = trtnn.from_torch(function, images(6, 3), dynamic={"x": (trtnn.Dim("n", 2, 6, 20), 3)})
    assert "self.d = Buffer(8, optional=True)" in result.source
    network = result.trace()
    for length in (2, 5, 6, 20):
        x = torch.rand(length, 3)
        assert_close(network.run(x.numpy()), function(x), 1e-6)


def test_what_is_contiguous_with_a_batch_of_one_alone():
    """The source of both is the same, though torch copies in one call and in the other it does not."""

    class Taken(nn.Module):
        def forward(self, x):
            parts = x.transpose(0, 1).reshape(3, -1, 4), x * 2
            return self.first(parts)

        def first(self, outputs):
            hidden = outputs[1].transpose(0, 1).contiguous()
            return hidden.exp() + outputs[0].transpose(0, 1).contiguous().view(hidden.shape[1], 3, 4).transpose(0, 1)

    model = Taken().eval()
    result = trtnn.from_torch(model, images(1, 3, 4), dynamic={"x": (trtnn.Dim("batch", 1, 1, 5), 3, 4)})
    for batch in (1, 2, 5):
        x = torch.rand(batch, 3, 4)
        assert_close(result.trace().run(x.numpy()), model(x), 1e-6)


class Positions(nn.Module):
    """Positions that are resized to the size of the image, as of a vision transformer: trtnn cannot where it varies."""

    def __init__(self, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.positions, self.change = nn.Parameter(images(1, 3, 8, 8)), change

    def forward(self, x):
        size = x.shape[2] // 2, x.shape[3] // 2
        resized = F.interpolate(self.positions, size=size, mode="bicubic", antialias=True)
        return x[:, :, ::2, ::2] + self.change(resized)


def test_a_constant_of_lengths_that_are_not_dynamic_is_a_buffer():
    model = Positions(torch.special.i0).eval()  # which trtnn has not
    batch = trtnn.Dim("batch", 1, 2, 5)
    result = trtnn.from_torch(model, images(2, 3, 8, 12), dynamic={"x": (batch, 3, 8, 12)})
    assert "assert x.shape[2] // 2 == 4" in result.source
    assert "assert x.shape[3] // 2 == 6" in result.source
    for n in (1, 2, 5):
        x = torch.rand(n, 3, 8, 12)
        assert_close(result.trace().run(x.numpy()), model(x), 1e-6)


@pytest.mark.parametrize("verify", [True, False])
def test_a_constant_of_dynamic_lengths_that_trtnn_has_not_is_refused_with_the_line(verify):
    height = trtnn.Dim("h", 4, 8, 16, multiple_of=2)
    with pytest.raises(trtnn.TrtnnError, match="interpolate with antialias") as caught:
        trtnn.from_torch(
            Positions(lambda x: x).eval(), images(2, 3, 8, 12), dynamic={"x": (2, 3, height, 12)}, verify=verify
        )
    assert "test_idioms.py" in str(caught.value)
    assert 'mode="bicubic", antialias=True' in str(caught.value)


def test_a_constant_that_was_passed_may_be_of_dynamic_lengths():
    class Outer(nn.Module):
        class Inner(nn.Module):
            def forward(self, x, table):
                return x + F.interpolate(table, size=(2 * x.shape[0], 4), mode="bicubic", antialias=True)

        def __init__(self):
            super().__init__()
            self.inner = self.Inner()

        def forward(self, x):
            return self.inner(x, torch.arange(16.0).view(1, 1, 4, 4) / x.shape[0])

    converted(Outer(), images(2, 3, 4, 4))
    with pytest.raises(trtnn.TrtnnError, match="interpolate with antialias"):
        trtnn.from_torch(Outer().eval(), images(2, 3, 4, 4), dynamic=trtnn.Dim("batch", 1, 2, 4), verify=False).trace()


# -- types, copies and negative numbers -------------------------------------------------------------------------------


def test_type_is_a_cast_and_depends_on_its_input():
    """Torch takes types, names and classes of tensors; what it gives is no constant."""

    def function(x):
        picked = F.one_hot(x.argmax(1), 4).type(x.dtype)
        positive = (x > 0).type(torch.FloatTensor) + (x > 1).type("torch.FloatTensor") + (x > 2).type(x.type())
        return picked.mean(0), positive.type(torch.int32) * 2

    source = converted(function, images(3, 4)).source
    assert ".type(trtnn.float32)" in source
    assert "optional=True" not in source  # a Buffer of what was no constant


def test_a_deep_copy_is_a_clone():
    def function(x):
        y = copy.deepcopy(x)
        y += 1
        return x * y

    assert "y = x.clone()" in converted(function, images(3, 4)).source


def test_what_is_refused_in_pythons_own_library_is_placed_in_the_users_line():
    with pytest.raises(UnsupportedError, match=r"torch\.Tensor\.untyped_storage") as caught:
        trtnn.from_torch(lambda x: copy.copy(x) * 2, images(3, 4))  # here
    assert "# here" in str(caught.value)


class Chomp(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.n, self.one = n, 1

    def forward(self, x):
        return x[:, : -self.n] + x[:, self.one :][:, -1:]


def test_the_negative_of_an_attribute():
    source = converted(nn.Sequential(Chomp(2), Chomp(3)), images(3, 9)).source
    assert "x[:, : -self.n]" in source
    assert "[:, -1:]" in source
    assert "Chomp(2)" in source


def test_a_name_that_one_line_alone_reads_is_not_given():
    def function(x):
        q = x + 1
        k = x * 2
        q, k = (t.view(2, 2, -1) for t in (q, k))
        return q @ k

    source = converted(function, images(2, 4)).source
    assert "t = " not in source
    assert "        q = q.view(2, 2, -1)\n        k = k.view(2, 2, -1)\n" in source


def test_tiles():
    def function(x):
        return x.tile(2), x.tile(2, 1), x.tile((2, 1, 3)), x.tile(dims=(1, 2)), torch.tile(x, (2,))

    assert "x.tile(2, 1)" in converted(function, images(3, 4)).source


def test_tensors_that_new_makes():
    """Of lengths, of a size, and of numbers."""

    def function(x):
        return x.new(x.size(0), 3).fill_(2.0) + x.new([1, 2.5, 3]) + x.data.new(x.size()).zero_() + x.new((1,))

    source = converted(function, images(2, 3), dynamic=trtnn.Dim("batch", 1, 2, 8)).source
    assert "x.new_empty((x.shape[0], 3))" in source
    assert "x.new_tensor([1, 2.5, 3])" in source or "x.new_tensor([1.0, 2.5, 3.0])" in source


def test_a_density_looks_at_no_numbers():
    def function(x):
        normal = torch.distributions.Normal(x.mean(1, keepdim=True), x.exp())
        return normal.log_prob(x * 2), normal.entropy(), torch.distributions.Categorical(logits=x).probs

    before = torch.distributions.Distribution._validate_args
    model = trtnn.from_torch(function, images(2, 3))
    assert torch.distributions.Distribution._validate_args == before
    x = images(2, 3) - 0.5
    for ours, theirs in zip(model.trace().run(x.numpy()), function(x), strict=True):
        assert_close(ours, theirs, 1e-5)


# -- caches of functions ----------------------------------------------------------------------------------------------


def test_what_a_function_keeps_by_lengths_is_computed_anew():
    """What lay in the cache is of the user's own calls before, and of those that were recorded."""

    @functools.cache
    def grid(h, w):
        return torch.stack(torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")).float()

    @functools.cache
    def half(length):
        return length // 2

    def function(x):
        return x[..., : half(x.shape[-1])] + grid(*x.shape[-2:])[:, :, : half(x.shape[-1])].sum(0)

    function(images(2, 5, 6))
    dynamic = {"x": (2, trtnn.Dim("h", 2, 5, 9), trtnn.Dim("w", 2, 6, 9))}
    result = converted(function, images(2, 5, 6), dynamic=dynamic)
    assert "F.meshgrid" in result.source
    network = result.trace()
    for shape in ((2, 5, 6), (2, 2, 9), (2, 9, 3)):
        x = images(*shape)
        assert_close(network.run(x.numpy()), function(x), 1e-6)
    assert type(half(6)) is int  # and no length of a recorded call


def test_no_length_stays_in_a_cache_when_torch_fails():
    @functools.cache
    def half(length):
        return length // 2

    def function(x):
        return x.view(half(x.shape[0]), 5)

    with pytest.raises(ArgumentError, match="invalid for input of size 24"):
        trtnn.from_torch(function, images(6, 4))
    assert type(half(6)) is int


# -- changes in place -------------------------------------------------------------------------------------------------


def detached(x):
    x = x * 2
    other = x.detach()  # of the same memory
    other.clamp_(-1, 1)
    return x + 0, other + 0


def moved_nowhere(x):
    x = x * 2
    other = torch.movedim(x, 0, 0)
    other.pow_(2)
    return x + 0, other + 0


def a_copy_by_to(x):
    x = x * 2
    other = x.to(torch.float32, copy=True)
    other += 1
    more = x.to("cpu", torch.float32, False, True)
    more.mul_(3)
    return x + 0, other + 0, more + 0


def after_a_branch_by_length(x):
    y = x * 1
    y.clamp_(-1, 1)
    if x.shape[0] > 1:  # asserted between the change and what reads it
        x = x + 1
    return y + 0, x + 0


@pytest.mark.parametrize("function", [detached, moved_nowhere, a_copy_by_to, after_a_branch_by_length])
def test_who_else_sees_a_change_in_place(function):
    class Model(nn.Module):
        def forward(self, x):
            return function(x)

    converted(Model(), torch.randn(3, 4))


# -- complex numbers --------------------------------------------------------------------------------------------------


class Spectral(nn.Module):
    """The convolution of a Fourier neural operator: products of the lowest frequencies, the others 0."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(3, 3, 2, 3, 2))

    def forward(self, x):
        spectrum = torch.fft.rfft2(x)
        out = torch.zeros(x.shape[0], 3, x.size(-2), x.size(-1) // 2 + 1, dtype=torch.cfloat)
        weight = torch.view_as_complex(self.weight)
        out[:, :, :2, :3] = torch.einsum("bixy,ioxy->boxy", spectrum[:, :, :2, :3], weight)
        out[:, :, -2:, :3] += torch.einsum("bixy,ioxy->boxy", spectrum[:, :, -2:, :3], weight.conj())
        return torch.fft.irfft2(out, s=x.shape[-2:])


def test_parts_of_complex_numbers_are_set():
    torch.manual_seed(0)
    result = converted(Spectral(), images(2, 3, 6, 8))
    assert "dtype=trtnn.float32) + 0j\n" in result.source
    assert "        out[:, :, :2, :3] = F.einsum(" in result.source
    assert result.trace(fp16=True).run(np.zeros((2, 3, 6, 8), np.float32)).max() == 0


def test_complex_numbers_that_are_changed_under_another_name():
    """Momentum, as of Griffin and Lim's phases."""

    def function(x):
        before = torch.fft.rfft(x)
        angles = before
        before = before.mul_(0.5)
        return torch.view_as_real(angles - torch.nn.functional.pad(before[..., 1:], (1, 0))), torch.view_as_real(before)

    converted(function, images(2, 8))


def test_real_numbers_that_become_complex():
    def function(x):
        ones = torch.ones_like(x, dtype=torch.complex64)
        z = torch.cat(
            [x.to(torch.cfloat), x.cfloat() * 1j, torch.full((2, 1), 2.0, dtype=torch.cfloat) + ones[:, :1]], 1
        )
        return torch.view_as_real(z.to(torch.complex64) / (ones[:, :1] + z.abs()))

    converted(function, images(2, 4))


# -- constants that take many steps -----------------------------------------------------------------------------------


def one_after_the_other(x):
    table = torch.ones(3)
    for i in range(400):
        table = table * 0.99 + 0.01 * i
    return x + table


def of_its_own_rows(x):
    table = torch.zeros(50, 3)
    table[0] = 1.0
    for i in range(1, 50):
        table[i] = table[i - 1] * 0.9 + i
    return x[0] + table


def by_views_of_it(x):
    table = torch.zeros(3, 50)
    for i in range(50):
        column = table[:, i]
        column += i * 0.1
    return x @ table


@pytest.mark.parametrize("function", [one_after_the_other, of_its_own_rows, by_views_of_it])
def test_a_constant_of_many_steps_is_a_buffer(function):
    """Python's recursion is not as deep as a loop is long, and what is written in place is not looked into anew."""
    assert converted(function, images(2, 3)).source.count("Buffer(") == 1
