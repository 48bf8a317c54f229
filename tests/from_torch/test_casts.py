"""Casts to float32 and back: they do nothing where a module is recorded, and decide what it computes in fp16."""

import copy
import re

import pytest
import torch
from torch import nn
from torch.nn import functional

import trtnn
from tests.from_torch.models import images
from tests.from_torch.test_from_torch import class_text
from tests.from_torch.test_idioms import converted
from tests.helpers import FP16_TOLERANCE, assert_close, load_random, strongly_typed


class ByMethods(nn.Module):
    """The norm of Llama, as most write it: squares of what is above 256 are infinite in fp16."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))

    def forward(self, x):
        input_dtype = x.dtype
        x = x.to(torch.float32)
        variance = x.pow(2).mean(-1, keepdim=True)
        x = x * torch.rsqrt(variance + 1e-6)
        return self.weight * x.to(input_dtype)


class ByFloat(ByMethods):
    def forward(self, x):
        return (x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + 1e-6)).type_as(x) * self.weight


class ByKeywords(ByMethods):
    def forward(self, x):
        wide = x.to(dtype=torch.float)
        return self.weight * (wide * (wide * wide).mean(-1, keepdim=True).rsqrt()).to(device=x.device, dtype=x.dtype)


class ByType(ByMethods):
    def forward(self, x):
        wide = x.type(torch.float32)
        return self.weight * (wide / (wide * wide).mean(-1, keepdim=True).sqrt()).to(x)


@strongly_typed
@pytest.mark.parametrize("norm", [ByMethods, ByFloat, ByKeywords, ByType])
def test_a_norm_computes_in_fp32_what_its_author_casts(norm):
    module = load_random(nn.Sequential(nn.Linear(8, 8), norm(), nn.Linear(8, 8)))
    x = 400 * images(2, 3, 8)
    with torch.no_grad():
        expected = copy.deepcopy(module).half()(x.half()).float()
        exact = module(x)
    model = trtnn.from_torch(module, x)
    assert_close(model.trace().run(x.numpy()), exact, 1e-5)
    network = model.trace(fp16=True)
    assert_close(network.run(x.numpy()), expected, 3 * FP16_TOLERANCE)
    assert_close(network.run(x.numpy()), exact, 3 * FP16_TOLERANCE)
    (product,) = re.findall(r"\n2 +matrix_multiply +(\w+)", str(network.summary()))
    assert product == "float16"  # cast back


def test_the_source_has_what_the_author_cast():
    source = converted(nn.Sequential(nn.Linear(8, 8), ByMethods()), images(2, 3, 8)).source
    assert class_text(source, "ByMethods").partition("(self, x):\n")[2] == (
        "        x2 = x.float()\n"
        "        variance = x2.pow(2).mean(-1, keepdim=True)\n"
        "        x2 = x2 * F.rsqrt(variance + 1e-06)\n"
        "        return self.weight * x2.type_as(x)"
    )


class Attention(nn.Module):
    def forward(self, q, k):
        scores = q @ k.mT
        weights = functional.softmax(scores, dim=-1, dtype=torch.float32).to(q.dtype)
        return weights @ k


@strongly_typed
def test_what_an_argument_makes_fp32_goes_back():
    model = trtnn.from_torch(Attention().eval(), images(2, 3, 8), images(2, 5, 8))
    assert "F.softmax(scores, dim=-1, dtype=trtnn.float32).type_as(q)" in model.source
    products = re.findall(r"matrix_multiply +(\w+)", str(model.trace(fp16=True).summary()))
    assert products == ["float16", "float16"]


class LayerNorm(nn.LayerNorm):
    """CLIP's."""

    def forward(self, x):
        kind = x.dtype
        return super().forward(x.type(torch.float32)).type(kind)


def test_a_norm_with_casts_around_it_is_torchs_own():
    source = converted(nn.Sequential(nn.Linear(8, 8), LayerNorm(8)), images(2, 8)).source
    assert "LayerNorm(8)" in source
    assert "float" not in source


def test_whose_type_it_is_cast_to():
    def function(x, y):
        kind = x.dtype
        x = (x * 2).to(y.dtype) + y.type_as(x).to(x.device) + (y / 3).to(x.dtype)
        return (x + 1).to(kind).to(x.device).to(torch.device("cpu"))

    source = converted(function, images(2, 8), images(2, 8)).source
    assert "x = (x * 2).type_as(y) + y.type_as(x) + (y / 3).type_as(x)\n" in source
    assert "return x + 1" in source


class Rotary(nn.Module):
    """Angles of places, in fp32, and their cosines in the type of the model."""

    def forward(self, x, places):
        return x @ (places[..., None].float() * 0.1).cos().expand_as(x).to(dtype=x.dtype).mT


@strongly_typed
def test_what_integers_come_to_is_of_the_type_that_it_is_cast_to():
    model = trtnn.from_torch(Rotary().eval(), images(2, 3, 8), torch.arange(6).reshape(2, 3))
    assert re.findall(r"matrix_multiply +(\w+)", str(model.trace(fp16=True).summary())) == ["float16"]


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_a_trace_has_float32_for_either():
    model = trtnn.from_torch(torch.jit.trace(ByMethods().eval(), images(2, 3, 8)), images(2, 3, 8))
    assert "float()" not in model.source


def test_a_cast_tensor_that_is_changed_in_place():
    def function(x):
        y = x.float()
        y += 1
        return y * 2

    x = images(2, 8)
    assert_close(trtnn.from_torch(function, x).trace().run(x.numpy()), (x + 1) * 2)
