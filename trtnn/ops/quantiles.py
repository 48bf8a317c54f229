"""Quantiles: what lies at a share of the way through the elements in order."""

from __future__ import annotations

import math

import numpy as np

from trtnn.dtypes import float32
from trtnn.errors import ArgumentError, ShapeError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Operand, expect_floating, normalize_dim
from trtnn.ops._promotion import cast, expect_one_type, wide
from trtnn.ops.arithmetic import clamp, maximum, mul, sub
from trtnn.ops.blending import lerp
from trtnn.ops.comparison import isnan, logical_not, lt, where
from trtnn.ops.constants import constant_array
from trtnn.ops.gathering import gather
from trtnn.ops.ordering import sort
from trtnn.ops.reduction import any, sum
from trtnn.ops.shaping import flatten, movedim, reshape, squeeze
from trtnn.ops.tiling import expand
from trtnn.ops.unary import ceil, floor, round
from trtnn.shapes.symbolic import Size

_INTERPOLATIONS = ("linear", "lower", "higher", "nearest", "midpoint")


def quantile(
    input: Tensor,
    q: Operand,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Tensor:
    """Return the element of rank q · (n - 1) of n elements in order, along a dimension or of all.

    It is NaN where one of the elements is.

    Args:
        q: from 0 to 1, or a vector of such, whose results come as a first dimension. Numbers that only
            the engine knows are clamped to that range.
        interpolation: where the rank lies between two elements: ``"linear"`` between them, ``"lower"``, ``"higher"``,
            ``"nearest"``, or ``"midpoint"``.
    """
    return _quantile(input, q, dim, keepdim, interpolation, False)


def nanquantile(
    input: Tensor,
    q: Operand,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Tensor:
    """Return :func:`quantile` of what is not NaN; NaN where nothing is left."""
    return _quantile(input, q, dim, keepdim, interpolation, True)


def _quantile(input: Tensor, q: Operand, dim: int | None, keepdim: bool, interpolation: str, skips_nan: bool) -> Tensor:
    what = "nanquantile" if skips_nan else "quantile"
    if interpolation not in _INTERPOLATIONS:
        raise ArgumentError(f"{what} knows no interpolation {interpolation!r}", f"known: {', '.join(_INTERPOLATIONS)}")
    expect_floating(input, what)
    shares, several = _shares(input, q, what)
    if dim is None:
        line, kept = flatten(input), (1,) * input.ndim
    elif not input.shape:
        normalize_dim(dim, 1)
        line, kept = reshape(input, (1,)), ()
    else:
        axis = normalize_dim(dim, input.ndim)
        line = movedim(input, axis, -1)
        kept = tuple(1 if i == axis else length for i, length in enumerate(input.shape))
    line = wide(line)
    unknown = isnan(line)
    ordered = sort(line).values  # NaN comes last
    if skips_nan:
        last = sub(sum(cast(logical_not(unknown), float32), -1, True), 1.0)
        nothing = lt(last, 0)
        ranks = mul(shares, maximum(last, 0.0))
    else:
        nothing = any(unknown, -1, True)
        length = line.shape[-1]
        ranks = mul(shares, float(length - 1) if not isinstance(length, Size) else length - 1)
    result = where(nothing, math.nan, _between(ordered, ranks, interpolation))
    result = cast(movedim(result, -1, 0), input.dtype)
    result = reshape(result, (result.shape[0], *kept)) if keepdim else result
    return result if several else squeeze(result, 0)


def _shares(input: Tensor, q: Operand, what: str) -> tuple[Tensor, bool]:
    """Return shares as a vector, and whether they are several."""
    if isinstance(q, Tensor):
        if q.ndim > 1:
            raise ShapeError(f"{what} takes q as a number or a vector, not of shape {q.shape}")
        expect_one_type(what, input, q)
        array = constant_array(q)
        if array is None:
            return reshape(clamp(wide(q), 0.0, 1.0), (-1,)), bool(q.ndim)
        q = array
    elif not isinstance(q, (int, float)):
        q = input.graph.held(q)
    numbers = np.asarray(q, np.float32)
    if numbers.ndim > 1 or not numbers.size:
        raise ShapeError(f"{what} takes q as a number or a vector, not of shape {numbers.shape}")
    if not ((numbers >= 0) & (numbers <= 1)).all():
        raise ArgumentError(f"{what} takes q from 0 to 1, not {q}")
    return input.graph.constant(numbers.reshape(-1), float32), bool(numbers.ndim)


def _between(ordered: Tensor, ranks: Tensor, interpolation: str) -> Tensor:
    """Return what lies at ranks along the last dimension; ranks are a vector, or (..., several)."""
    if interpolation == "lower":
        ranks = floor(ranks)
    elif interpolation == "higher":
        ranks = ceil(ranks)
    elif interpolation == "nearest":
        ranks = round(ranks)
    below = floor(ranks)
    lower = _at(ordered, below)
    if interpolation not in ("linear", "midpoint"):
        return lower
    upper = _at(ordered, ceil(ranks))
    share = sub(ranks, below) if interpolation == "linear" else ordered.graph.constant(np.float32(0.5), float32)
    return lerp(lower, upper, share)


def _at(ordered: Tensor, ranks: Tensor) -> Tensor:
    places = cast(ranks, "int32")
    return gather(ordered, -1, expand(places, (*ordered.shape[:-1], places.shape[-1])))
