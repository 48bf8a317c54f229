"""Every operation against torch's: drawn shapes, arguments and element types.

A case is a function that means the same in torch and in trtnn; ``ops`` stands for ``torch`` and ``torch.nn.functional``
on one side and for ``trtnn.functional`` on the other. Each runs on drawn inputs on the reference in fp32, once in fp16,
and builds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers import FP16_TOLERANCE, FP32_TOLERANCE, ONE_TARGET, TORCH, assert_close, layers, message_of, trace
from trtnn import functional as F
from trtnn import get_backend
from trtnn.errors import ArgumentError, BuildError, DTypeError, ShapeError, TrtnnError, UnsupportedError


@dataclass(frozen=True)
class Draw:
    """How one input is drawn.

    Attributes:
        kind: its element type.
        low, high: its range; integers include both.
        distinct: no two elements are the same.
    """

    kind: str = "float32"
    low: float = -3
    high: float = 3
    distinct: bool = False

    def array(self, shape: Sequence[int], seed: int) -> np.ndarray:
        generator = np.random.default_rng((seed, *shape))
        if self.kind == "bool":
            return generator.random(shape) < 0.5
        count = int(np.prod(shape))
        if self.distinct:
            values = generator.permutation(np.linspace(self.low, self.high, count))
        elif self.kind.startswith("int"):
            values = generator.integers(int(self.low), int(self.high), count, endpoint=True)
        else:
            values = generator.uniform(self.low, self.high, count)
        values = values.reshape(shape)
        if self.kind == "int64" and not get_backend().capabilities.int64:
            return values.astype(np.int32)
        return values.astype(np.float16).astype(np.float32) if self.kind == "float32" else values.astype(self.kind)


ANY, POSITIVE, UNIT = Draw(), Draw(low=0.25, high=4), Draw(low=-0.9, high=0.9)
APART = Draw(distinct=True)
INTEGERS = Draw("int32", -5, 5)
LONGS = Draw("int64", -5, 5)
BOOLS = Draw("bool")


@dataclass(frozen=True)
class Case:
    """One operation.

    Attributes:
        function: of ``ops`` and the inputs.
        draws: how each input is drawn, or of what several kinds, one after another.
        ndims: how many dimensions an input has: all of these are tried.
        half: the tolerance in fp16; None where fp16 means another answer (an index, a truth, a whole number).
        alike: all inputs have one shape; else the further ones have lengths of 1 here and there, to broadcast.
    """

    function: Callable[..., Any]
    draws: tuple[Draw, ...] = (ANY,)
    ndims: tuple[int, ...] = (1, 3)
    half: float | None = FP16_TOLERANCE
    alike: bool = False


def _unary(name: str, draw: Draw = ANY, **how: Any) -> Case:
    return Case(lambda ops, x: getattr(ops, name)(x), (draw,), (0, 1, 3), **how)


def _method(name: str, *args: Any, draw: Draw = ANY, ndims: tuple[int, ...] = (3,), **how: Any) -> Case:
    return Case(lambda ops, x: getattr(x, name)(*args), (draw,), ndims, **how)


CASES: dict[str, Case] = {
    **{name: _unary(name) for name in ("exp", "sin", "cos", "sinh", "cosh", "atan", "asinh", "erf", "abs", "neg")},
    **{name: _unary(name, POSITIVE) for name in ("log", "sqrt", "rsqrt", "reciprocal")},
    **{name: _unary(name, UNIT) for name in ("asin", "acos", "atanh", "tan")},
    "acosh": _unary("acosh", Draw(low=1.5, high=4)),
    **{name: _unary(name) for name in ("ceil", "floor", "round", "sign", "trunc", "square")},
    "whole numbers of integers": Case(
        lambda ops, x: [ops.ceil(x), ops.floor(x), ops.round(x), ops.trunc(x), ops.sign(x), abs(x)], (INTEGERS,)
    ),
    "functions of integers": Case(lambda ops, x: [ops.exp(x), ops.sin(x), ops.sqrt(x * x)], (INTEGERS,)),
    "rounding of halves": Case(lambda ops, x: ops.round(x / 2), (INTEGERS,)),
    # two operands, with broadcasting
    "comparison": Case(
        lambda ops, x, y: [x == y, x != y, x < y, x <= y, x > y, x >= y, x > 0.5, x >= 1, ops.eq(x, 1)],
        (Draw("int32", -2, 2), Draw("int32", -2, 2)),
    ),
    "comparison of kinds": Case(lambda ops, x, y: [x == y, x < y, x >= y], (Draw("int32", -2, 2), UNIT), half=None),
    "comparison of floats": Case(
        lambda ops, x, y: [x <= y, x != y, ops.ge(x, x), ops.eq(x, x)], (ANY, ANY), alike=True
    ),
    "comparison of bools": Case(lambda ops, x, y: [x == y, x != y, x < y, x >= y], (BOOLS, BOOLS)),
    "logic": Case(
        lambda ops, x, y: [x & y, x | y, x ^ y, ~x, x & True, ops.logical_and(x, y), ops.logical_xor(x, y)],
        (BOOLS, BOOLS),
    ),
    "logic of numbers": Case(
        lambda ops, x, y: [ops.logical_and(x, y), ops.logical_or(x, y), ops.logical_not(x)],
        (Draw("int32", 0, 1), Draw("int32", 0, 1)),
    ),
    "not a number": Case(
        lambda ops, x: [
            ops.isnan(x / x),
            ops.isinf(1 / x),
            ops.isfinite(1 / x),
            x / x >= 1,
            1 / x >= 0,
            x / x != 1,
            x / x <= 1,
        ],
        (Draw("int32", -1, 1),),
    ),
    "whole division": Case(
        lambda ops, x, y: [
            x // y,
            x % y,
            x // 2,
            -7 // y,
            x % -3,
            ops.div(x, y, rounding_mode="trunc"),
            ops.fmod(x, y),
            ops.div(x, y, rounding_mode="floor"),
            ops.floor_divide(x, y),
            ops.remainder(x, y),
        ],
        (INTEGERS, Draw("int32", 1, 5)),
    ),
    "whole division of floats": Case(
        lambda ops, x, y: [x // y, x % y, ops.fmod(x, y), ops.div(x, -y, rounding_mode="trunc"), x % -y],
        (Draw(low=-7.75, high=7.75), POSITIVE),
        half=None,
    ),
    "extremes of two": Case(
        lambda ops, x, y: [ops.maximum(x, y), ops.minimum(x, y), ops.max(x, y), ops.min(y, x)], (ANY, ANY)
    ),
    "clamp": Case(
        lambda ops, x, y: [
            x.clamp(-1, 1),
            x.clamp(min=0),
            ops.clamp(x, max=0.5),
            x.clip(0, 1),
            x.clamp(y, y + 1),
            x.clamp(max=y),
        ],
        (ANY, ANY),
    ),
    "clamp of integers": Case(lambda ops, x: [x.clamp(-1, 2), x.clamp(min=0)], (INTEGERS,)),
    "scaled sums": Case(lambda ops, x, y: [ops.add(x, y, alpha=2), ops.sub(x, y, alpha=0.5)], (ANY, ANY)),
    "powers": Case(lambda ops, x: [x**2, x**3, x**5, x**-2, x**1, ops.pow(x, 4.0), (x * x) ** 0.5], (POSITIVE,)),
    "powers of negative numbers": Case(lambda ops, x: [x**3, x**2, x**7], (UNIT,)),
    "powers of integers": Case(lambda ops, x: [x**3, x**2, x**1, x**2.0], (INTEGERS,), half=None),
    "where": Case(
        lambda ops, c, x, y: [
            ops.where(c, x, y),
            ops.where(c, x, 0.0),
            ops.where(c, 1.0, y),
            x.where(c, y),
            ops.where(c, 1, 2),
            x.masked_fill(c, -1.5),
            ops.where(c, 1.0, 0.0),
            ops.where(c, True, False),
        ],
        (BOOLS, ANY, ANY),
    ),
    "promotion of scalars": Case(
        lambda ops, x, y: [x + y.sum(), y * x.sum(), x.sum() + y, x[0, 0] + y, (x > 0) + 1, (x > 0) * 0.5],
        (INTEGERS, ANY),
        (2,),
        half=1e-2,
    ),
    "promotion of whole scalars": Case(lambda ops, x, y: [x + y.sum(), y.sum() * x, x.sum() + y], (INTEGERS, LONGS)),
    # reductions
    **{
        name: Case(
            lambda ops, x, name=name: [
                getattr(ops, name)(x),
                getattr(ops, name)(x, 0),
                getattr(ops, name)(x, -1, True),
                *([getattr(x, name)(dim=(0, -1))] if x.ndim > 1 and name != "prod" else []),
            ],
            (APART,),
            half=5e-3,
        )
        for name in ("sum", "mean", "prod", "amax", "amin", "var", "std")
    },
    "logsumexp": Case(
        lambda ops, x: [x.logsumexp(0), ops.logsumexp(x * 30, -1, True), (x * 40).logsumexp((0, 1))], ndims=(3,)
    ),
    "variance": Case(
        lambda ops, x: [
            x.var(unbiased=False),
            ops.var(x, dim=1, correction=0),
            x.std(1, correction=1),
            x.var((0, 2), keepdim=True),
            ops.std(x * 60, 1),
        ],
        (APART,),
        (3,),
        half=5e-3,
    ),
    "norms": Case(
        lambda ops, x: [
            x.norm(),
            x.norm(1),
            (x * 100).norm(dim=0),
            x.norm(dim=1),
            x.norm(float("inf"), 1),
            x.norm(3, -1, True),
            x.norm(0, 0),
            x.norm(float("-inf"), 0),
            ops.normalize(x, dim=0),
            ops.normalize(x, 1.0, -1),
            ops.normalize(x * 300, dim=1),
        ],
        ndims=(2, 3),
    ),
    "reductions of integers": Case(
        lambda ops, x: [x.sum(), x.sum(0), x.prod(-1), x.amax(0), x.amin(-1), x.max(), x.min(), x.any(), x.all(0)],
        (INTEGERS,),
        half=None,
    ),
    "reductions of bools": Case(
        lambda ops, x: [x.sum(), x.sum(0, keepdim=True), x.any(), x.any(-1), x.all(), x.all(0, True)], (BOOLS,)
    ),
    "reductions to a type": Case(
        lambda ops, x: [x.sum(dtype=torch.float32), x.float().mean(0), ops.count_nonzero(x), ops.count_nonzero(x, 0)],
        (INTEGERS,),
    ),
    "extremes": Case(
        lambda ops, x: [
            x.max(),
            x.min(),
            tuple(x.max(0)),
            tuple(ops.min(x, -1, True)),
            x.max(0).values,
            x.min(0)[1],
            x.argmax(),
            x.argmin(0),
            ops.argmax(x, -1, True),
            x.argmin(keepdim=True),
        ],
        (APART,),
    ),
    "topk": Case(
        lambda ops, x: [
            tuple(x.topk(2, 0)),
            tuple(ops.topk(x, 1, largest=False)),
            tuple(x.sort()),
            tuple(x.sort(0, True)),
            x.argsort(-1),
            ops.argsort(x, 0, descending=True),
        ],
        (APART,),
    ),
    "topk of integers": Case(lambda ops, x: [x.topk(2, 0).values, x.sort(-1).values], (INTEGERS,)),
    "cumsum": Case(lambda ops, x: [x.cumsum(0), ops.cumsum(x, -1)], half=5e-3),
    "cumsum of integers": Case(lambda ops, x: [x.cumsum(0), x.cumsum(-1)], (INTEGERS,)),
    # shapes
    "squeeze": Case(
        lambda ops, x: [
            x.unsqueeze(0),
            x.unsqueeze(-1),
            x[:1].squeeze(),
            x[:1].squeeze(0),
            x.squeeze(0),
            x.unsqueeze(1).squeeze((0, 1)),
        ],
    ),
    "expand": Case(
        lambda ops, x: [
            x.expand(2, *x.shape),
            x[:1].expand(3, *x.shape[1:]),
            x[:1].expand(2, -1, *x.shape[1:]),
            x[:1].expand_as(x),
        ]
    ),
    "repeat": Case(
        lambda ops, x: [
            x.repeat(*range(1, x.ndim + 1)),
            x.repeat(2, *[1] * x.ndim),
            x.repeat_interleave(2),
            x.repeat_interleave(3, -1),
            ops.tile(x, (2,)),
            ops.repeat_interleave(x, 2, 0),
        ]
    ),
    "flip": Case(lambda ops, x: [x.flip(0), x.flip((0, -1)) if x.ndim > 1 else x.flip(-1), ops.flip(x, [-1])]),
    "roll": Case(lambda ops, x: [x.roll(1), x.roll(-2, 0), ops.roll(x, 5, -1), x.roll((1, 2), (0, -1))]),
    "movedim": Case(
        lambda ops, x: [x.movedim(0, -1), ops.movedim(x, (0, 2), (1, 0)), x.swapaxes(0, 1), x.mT], ndims=(3,)
    ),
    "transposed": Case(lambda ops, x: [x.t(), x.T, x.mT], ndims=(2,)),
    "unflatten": Case(
        lambda ops, x: [x.repeat(2, 1).unflatten(0, (2, -1)), x.reshape_as(x.t()), x.view_as(x)], ndims=(2,)
    ),
    "stack and unbind": Case(
        lambda ops, x: [ops.stack([x, x * 2]), ops.stack((x, x), -1), *x.unbind(), *ops.unbind(x, -1), x.select(0, -1)]
    ),
    "pixels": Case(
        lambda ops, x: [
            ops.pixel_shuffle(x.repeat(1, 4, 1, 1), 2),
            ops.pixel_unshuffle(x.repeat(1, 1, 2, 4), 2),
            ops.channel_shuffle(x.repeat(1, 6, 1, 1), 3),
            ops.pixel_shuffle(x[0].repeat(9, 1, 1), 3),
        ],
        ndims=(4,),
    ),
    # indexing
    "index by lists": Case(
        lambda ops, x: [
            x[[0, -1]],
            x[:, [0, 1, -2]],
            x[[0, 1], [1, 0]],
            x[0, :, [0, 1]],
            x[:, [0, 1], [1, 0]],
            x[[1, 0], :, [0, 1]],
            x[..., [0]],
            x[None, [1]],
            x[[0, 1], None, [0, 1]],
            x[np.array([[0, 1], [1, 0]])],
            x[[[0], [1]], [0, 1]],
            x[np.array([1, 0]), 0],
            x[:, 0, [1, 1]],
            x[[0, 1], 0, [1, 0]],
            x[1:, [0, 1], ::2],
        ],
        ndims=(3,),
    ),
    "index by lists around slices": Case(
        lambda ops, x: [
            x[:, [0, 1], :, [1, 0]],
            x[:, :, [0, 1], [1, 0]],
            x[:, [[0], [1]], 0, [0, 1]],
            x[0, [1], :, [0]],
        ],
        ndims=(4,),
    ),
    "index by bools": Case(
        lambda ops, x: [x[:2][[True, False]], x[:, :2][:, [False, True]], x[:2, :2][np.eye(2) > 0]], ndims=(3,)
    ),
    "index by tensors": Case(
        lambda ops, x, i: [
            x[i],
            x[:, i],
            x[i, i],
            x[i, :, i],
            x[0, i],
            x[i[0]],
            x[:, i[0, :, :1], [0, 1]],
            x[i, [1]],
            x[i.max()],
        ],
        (ANY, Draw("int64", -2, 1)),
        (3,),
        alike=True,
    ),
    "gather": Case(
        lambda ops, x, i: [ops.gather(x, 0, i), x.gather(-1, i), x.gather(1, i[:1, :, :1]), x.index_select(1, i[0, 0])],
        (ANY, Draw("int64", 0, 1)),
        (3,),
        alike=True,
    ),
    "scatter": Case(
        lambda ops, x: [
            ops.scatter(x, 0, (x[:1] > 0).long(), 0.5),
            x.scatter(-1, (x[..., :1] > 0).long(), x[..., 1:] * 2),
        ],
        (APART,),
        (3,),
    ),
    "one_hot": Case(lambda ops, i: ops.one_hot(i, 4), (Draw("int64", 0, 3),), (0, 1, 2)),
    "triangles": Case(lambda ops, x: [x.tril(), ops.tril(x, 1), x.triu(-1), ops.triu(x)], ndims=(2, 3)),
    "windows": Case(lambda ops, x: [x.unfold(0, 2, 1), x.unfold(-1, 2, 2), x.unfold(1, 1, 2)], ndims=(3,)),
    "unfold": Case(
        lambda ops, x: [
            ops.unfold(x, 2),
            ops.unfold(x, (1, 2), padding=1, stride=2),
            ops.unfold(x, 2, dilation=2, padding=1),
        ],
        ndims=(4,),
    ),
    "fold": Case(
        lambda ops, x: [
            ops.fold(ops.unfold(x, 2, 1, 1, 1), x.shape[2:], 2, 1, 1, 1),
            ops.fold(ops.unfold(x, 2, 2, 1, 2), x.shape[2:], 2, 2, 1, 2),
        ],
        ndims=(4,),
    ),
    # padding
    "pad": Case(
        lambda ops, x: [
            ops.pad(x, (1, 2)),
            ops.pad(x, (0, 1, 2, 0)),
            ops.pad(x, (1, 0), value=-1.5),
            ops.pad(x, (-1, 1)),
            ops.pad(x, (0, 2, -1, 0, 1, 1), value=2.0),
            ops.pad(x, (1, 1, 0, 0, 1, 0), "constant", float("-inf")).exp(),
        ],
        ndims=(3,),
    ),
    "pad by modes": Case(
        lambda ops, x: [
            ops.pad(x, (1, 1, 1, 0), "reflect"),
            ops.pad(x, (2, 3, 4, 0), "replicate"),
            ops.pad(x, (1, 2, 2, 1), "circular"),
            ops.pad(x[0], (1, 1), "reflect"),
        ],
        ndims=(4,),
    ),
    "pad of integers": Case(lambda ops, x: [ops.pad(x, (1, 2)), ops.pad(x, (1, 0), value=7)], (INTEGERS,)),
    # products
    "matmul": Case(
        lambda ops, x: [
            x @ x.mT,
            x.mT @ x,
            x[0] @ x.mT,
            x @ x[0, 0],
            x[0, 0] @ x[0].t(),
            x[0, 0] @ x[0, 0],
            ops.bmm(x, x.mT),
            ops.mm(x[0], x[0].T),
            ops.mv(x[0], x[0, 0]),
            ops.dot(x[0, 0], x[0, 0]),
            ops.outer(x[0, 0], x[0, 0]),
            ops.addmm(x[0] @ x[0].t(), x[0], x[0].t(), beta=0.5, alpha=2),
            x[None] @ x.mT,
        ],
        ndims=(3,),
        half=5e-3,
    ),
    "einsum": Case(
        lambda ops, x: [
            ops.einsum("bij,bkj->bik", x, x),
            ops.einsum("bij->bji", x),
            ops.einsum("bij->", x),
            ops.einsum("ij, kj", x[0], x[0]),
            ops.einsum("...ij,...kj->...ik", x, x[:1]),
            ops.einsum("i,j->ij", x[0, 0], x[0, 0]),
            ops.einsum("Bij,Bij->B", x, x),
            ops.einsum("ij,kj,lj->ikl", x[0], x[0], x[0]),
            ops.einsum("...i,...i", x, x),
            ops.einsum("bij,j->bi", x, x[0, 0]),
        ],
        ndims=(3,),
        half=5e-3,
    ),
    # attention, activations with arguments, normalisation
    "attention": Case(
        lambda ops, x: [
            ops.scaled_dot_product_attention(x, x, x),
            ops.scaled_dot_product_attention(x, x, x, is_causal=True),
            ops.scaled_dot_product_attention(x, x[:, :1], x[:, :1], scale=0.3),
            ops.scaled_dot_product_attention(x, x, x, x @ x.mT),
            ops.scaled_dot_product_attention(x, x, x, x @ x.mT <= 99),
            ops.scaled_dot_product_attention(x, x, x, x @ x.mT > 9999),
            ops.scaled_dot_product_attention(x, x, x, ops.where(x @ x.mT > 0, 0.0, float("-inf"))),
            ops.scaled_dot_product_attention(x, x, x, ops.where((x @ x.mT) > 9999, 0.0, float("-inf"))),
        ],
        ndims=(3,),
    ),
    "distances": Case(
        lambda ops, x, y: [
            ops.cosine_similarity(x, y, dim=0),
            ops.cosine_similarity(x, y, -1),
            ops.pairwise_distance(x, y),
            ops.pairwise_distance(x, y, 1.0, keepdim=True),
        ],
        (POSITIVE, ANY),
        (2,),
        alike=True,
    ),
    "log_softmax": Case(
        lambda ops, x: [ops.log_softmax(x * 9, 0), x.log_softmax(-1), ops.softmin(x, -1), ops.softmax(x, 0)]
    ),
    # creation
    "creation": Case(
        lambda ops, x: [
            x + ops.zeros(3, 1),
            x * ops.ones((2, 1)),
            ops.full((2, 3), 1.5),
            ops.full((2,), 7),
            ops.full((1,), True),
            ops.zeros_like(x),
            ops.ones_like(x),
            ops.full_like(x, 2.5),
            x.new_zeros(2, 3),
            x.new_ones((4,)),
            x.new_full((2,), 3),
            ops.arange(5),
            ops.arange(1, 7, 2),
            ops.arange(0.0, 1.0, 0.25),
            ops.linspace(-1, 1, 5),
            ops.eye(3),
            ops.tensor([[1.5, 2], [3, 4]]),
            ops.tensor([1, 2]),
            ops.tensor(True),
            ops.tensor([1, 2], dtype=torch.float32) * x.clone()[:1],
            ops.eye(2, 3),
            *ops.meshgrid(ops.arange(3), ops.arange(4), indexing="ij"),
            *ops.meshgrid(ops.arange(3), ops.arange(4), indexing="xy"),
            ops.zeros(2, dtype=torch.int32),
            ops.arange(3, dtype=torch.float32),
        ],
        ndims=(1,),
    ),
    "affine_grid": Case(
        lambda ops, x: (
            [
                ops.affine_grid(x[:, :1, :1].expand(-1, 2, 3), (x.shape[0], 3, 4, 5), align_corners=aligned)
                for aligned in (True, False)
            ]
            + [ops.affine_grid(x[:, :1, :1].expand(-1, 3, 4), (x.shape[0], 3, 2, 4, 5), align_corners=False)]
        ),
        ndims=(3,),
    ),
    "grid_sample": Case(
        lambda ops, x, grid: [
            ops.grid_sample(x, grid[:, :1, :, :2].repeat(1, 3, 1, 1), mode, padding, aligned)
            for mode in ("bilinear", "nearest", "bicubic")
            for padding in ("zeros", "border", "reflection")
            for aligned in (True, False)
        ],
        (ANY, Draw(low=-1.6, high=1.6)),
        (4,),
        half=None,
        alike=True,
    ),
    "grid_sample of volumes": Case(
        lambda ops, x, grid: [
            ops.grid_sample(x[:, None], grid[:, :1, :1, :1, None].expand(-1, 2, 3, 2, 3), mode, padding, aligned)
            for mode in ("bilinear", "nearest")
            for padding in ("zeros", "border", "reflection")
            for aligned in (True, False)
        ],
        (ANY, Draw(low=-1.6, high=1.6)),
        (4,),
        half=None,
        alike=True,
    ),
    "casts": Case(
        lambda ops, x: [x.to(torch.int32), x.int().float(), (x > 0).float(), x.bool(), x.type_as(x > 0), x.to(x > 0)],
        half=None,
    ),
}


def _arrays(case: Case, data: Any) -> list[np.ndarray]:
    """Draw inputs that broadcast together."""
    ndim = data.draw(st.sampled_from(case.ndims))
    shape = data.draw(st.lists(st.integers(2, 4), min_size=ndim, max_size=ndim))
    seed = data.draw(st.integers(0, 999))
    arrays = [case.draws[0].array(shape, seed)]
    for i, draw in enumerate(case.draws[1:], 1):
        lengths = shape if case.alike else [data.draw(st.sampled_from((n, 1))) for n in shape]
        arrays.append(draw.array(lengths, seed + i))
    return arrays


# What TensorRT 8.6 refuses, which has no int64 either, with an error of its own: its layers take less than torch's do.
REFUSED_BY_8 = {
    "grid_sample of volumes": "input.getDimensions().nbDims == 4",
    "topk of integers": "only activation types allowed",
}


def _check(case: Case, arrays: Sequence[np.ndarray], tolerance: float, **options: Any) -> Any:
    expected = case.function(TORCH, *map(torch.from_numpy, arrays))
    network = trace(lambda *tensors: case.function(F, *tensors), *arrays, **options)
    assert_close(network.run(*arrays), expected, tolerance)
    return network


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
@settings(deadline=None, max_examples=8, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_as_torch(name: str, data: Any) -> None:
    case = CASES[name]
    arrays = _arrays(case, data)
    if name in REFUSED_BY_8 and not get_backend().capabilities.int64:
        assert REFUSED_BY_8[name] in message_of(BuildError, _check, case, arrays, FP32_TOLERANCE)
        return
    _check(case, arrays, FP32_TOLERANCE)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_in_half_precision_and_built(name: str) -> None:
    case = CASES[name]
    lengths = [4, 3, 2, 5][: max(case.ndims)]
    arrays = [draw.array(lengths, seed) for seed, draw in enumerate(case.draws)]
    if name in REFUSED_BY_8 and not get_backend().capabilities.int64:
        return  # test_as_torch reads the message
    _check(case, arrays, FP32_TOLERANCE).build(**ONE_TARGET)
    if case.half is not None:
        _check(case, arrays, case.half, fp16=True).build(**ONE_TARGET)


# -- what TensorRT 8.6 lacks ------------------------------------------------------------------------------------------


def _lacking(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    backend = get_backend()
    monkeypatch.setattr(backend, "capabilities", replace(backend.capabilities, **dict.fromkeys(names, False)))


@pytest.mark.parametrize("kind", ["bool", "float32"])
@pytest.mark.parametrize("blind", [True, False])
def test_masks_of_attention_that_are_arrays(kind: str, blind: bool) -> None:
    x, mask = ANY.array((2, 3, 4), 1), np.tri(3, dtype=bool)
    mask[1] &= not blind
    mask = mask if kind == "bool" else np.where(mask, 0, -np.inf).astype(kind)
    expected = torch.nn.functional.scaled_dot_product_attention(*[torch.from_numpy(x)] * 3, torch.from_numpy(mask))
    network = trace(lambda x: F.scaled_dot_product_attention(x, x, x, mask), x)
    assert_close(network.run(x), expected)
    # A row that may go nowhere costs a choice, where there is one; another chooses the scores of bools.
    assert len(layers(network, "SELECT")) == blind + (kind == "bool")


def test_einsum_gives_the_layer_lengths_that_agree() -> None:
    network = trace(lambda x, y: F.einsum("ij,jk->ik", x, y), (2, 1), (3, 4))
    (layer,) = layers(network, "EINSUM")
    assert [tuple(layer.get_input(i).shape) for i in range(2)] == [(2,), (3, 4)]


@pytest.mark.parametrize("name", ["cumsum", "cumsum of integers"])
def test_running_sums_without_a_layer_for_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _lacking(monkeypatch, "cumulative")
    for length in (1, 2, 3, 8, 13):
        network = _check(CASES[name], [CASES[name].draws[0].array((2, length), 1)], FP32_TOLERANCE)
        assert layers(network, "CUMULATIVE") == []


def test_not_a_number_without_a_layer_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _lacking(monkeypatch, "isnan")
    case = CASES["not a number"]
    _check(case, [case.draws[0].array((2, 3), 1)], FP32_TOLERANCE)


def test_indices_without_int64(monkeypatch: pytest.MonkeyPatch) -> None:
    _lacking(monkeypatch, "int64")
    x = APART.array((3, 4), 1)

    def function(ops: Any, x: Any) -> list[Any]:
        return [x.argmax(0), x.topk(2).indices, ops.arange(3), (x > 0).sum(), (x > 0) + 1, ops.one_hot(x.argmax(1), 4)]

    expected = [value.int() for value in function(TORCH, torch.from_numpy(x))]
    assert_close(trace(lambda x: function(F, x), x).run(x), expected)
    indices = np.array([1, 0])
    assert_close(trace(lambda x: x[indices], x).run(x), x[indices])


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (lambda x: F.topk(x, 5), ArgumentError, "topk of 5 along a dimension of 4"),
        (lambda x: F.topk(F.zeros(1, 4000), 3841), UnsupportedError, "at most 3840"),
        (lambda x: x.var(dim=0, correction=3), ArgumentError, "the variance of 3 elements with correction 3"),
        (lambda x: x.int().mean(), DTypeError, "mean"),
        (lambda x: x.sum((0, 0)), ShapeError, "name one of 2 twice"),
        (lambda x: x.norm("nuc"), UnsupportedError, "p='nuc'"),
        (lambda x: x.int() & 1, DTypeError, "& takes bool tensors"),
        (lambda x: F.where(x, x, x), DTypeError, "takes a bool condition"),
        (lambda x: F.where(x > 0, x, x[:2]), ShapeError, "do not broadcast together"),
        (F.clamp, ArgumentError, "min, max or both"),
        (lambda x: F.div(x, x, rounding_mode="up"), ArgumentError, "'up'"),
        (lambda x: x @ x, ShapeError, "shapes (3, 4) and (3, 4) do not fit"),
        (lambda x: x.sum() @ x, ShapeError, "at least one dimension"),
        (lambda x: F.mm(x, x[0]), ShapeError, "mm takes tensors of 2 and 2 dimensions"),
        (lambda x: F.bmm(F.zeros(2, 3, 4), F.zeros(1, 4, 3)), ShapeError, "two batches of one size"),
        (lambda x: F.einsum("ii->i", x), UnsupportedError, "a dimension twice"),
        (lambda x: F.einsum("ij,jk->ik", x), ArgumentError, "names 2 operands, not 1"),
        (lambda x: F.einsum("ijk->i", x), ArgumentError, "'ijk' does not fit"),
        (lambda x: F.einsum("ij->k", x), ArgumentError, "no operand has k"),
        (lambda x: F.einsum("ij,ik->jk", x, x[:2]), ShapeError, "a letter is 3 and 2 long"),
        (lambda x: x.expand(3, 5), ShapeError, "cannot expand (3, 4) to (3, 5)"),
        (lambda x: x.expand(-1, 3, 4), ShapeError, "a new dimension needs a length"),
        (lambda x: x.expand(4), ShapeError, "fewer dimensions"),
        (lambda x: x.repeat(2), ShapeError, "cannot repeat (3, 4)"),
        (lambda x: x.roll((1, 2), 0), ArgumentError, "a shift for each dimension"),
        (lambda x: x.repeat_interleave(0), ArgumentError, "not 0"),
        (lambda x: x.unflatten(0, (2, 2)), ShapeError, "cannot unflatten dimension 0, of 3"),
        (lambda x: F.pad(x, (1,)), ArgumentError, "pad takes pairs"),
        (lambda x: F.pad(x, (1, 1), "wrap"), ArgumentError, "no padding mode 'wrap'"),
        (lambda x: F.pad(x, (1, 1), "reflect", 2.0), ArgumentError, "takes no value"),
        (lambda x: F.pad(x, (4, 0), "reflect"), ShapeError, "at most 3"),
        (lambda x: F.pad(x, (5, 0), "circular"), ShapeError, "at most 4"),
        (lambda x: F.one_hot(x.argmax(0)), UnsupportedError, "give num_classes"),
        (lambda x: x.gather(0, x.argmax(0)), ShapeError, "gather"),
        (lambda x: x.scatter(0, x.int() * 0, x.int()), DTypeError, "scatter of int32 into float32"),
        (lambda x: F.arange(3, 3), ArgumentError, "holds nothing"),
        (lambda x: F.zeros(0, 2), ArgumentError, "holds nothing"),
        (lambda x: F.grid_sample(x, x), ShapeError, "(batch, H, W, 2)"),
        (
            lambda x: F.grid_sample(x[None, None, None], x[None, None, None, :, :3], "bicubic"),
            ArgumentError,
            "not volumes",
        ),
        (lambda x: F.grid_sample(x, x, "cubic"), ArgumentError, "knows no 'cubic'"),
        (lambda x: F.affine_grid(x, (1, 1, 2, 2)), ShapeError, "theta (3, 4)"),
        (lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.5), UnsupportedError, "dropout 0.5"),
        (lambda x: F.scaled_dot_product_attention(x, x, x, x, is_causal=True), ArgumentError, "not both"),
        (lambda x: F.embedding(x, np.ones((3, 4))), DTypeError, "an index of type float32"),
        (lambda x: F.batch_norm(x, None, None), UnsupportedError, "without stored statistics"),
    ],
)
def test_errors(function: Any, error: type[Exception], words: str) -> None:
    assert words in message_of(error, trace, function, (3, 4))


def test_nothing_is_made_outside_a_trace() -> None:
    assert "made outside a trace" in message_of(TrtnnError, F.zeros, 2)
