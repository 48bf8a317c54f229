"""Products, extremes and exponentials of all elements up to each.

TensorRT has a layer for running sums alone. Here each round joins every result with that of the round before which
ends 1, 2, 4, ... elements in front, so that n elements take log2(n) rounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from trtnn.dtypes import bool_, int32, uint8
from trtnn.errors import ArgumentError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import expect_floating, expect_number, normalize_dim
from trtnn.ops._promotion import cast, filler, index_dtype, neutral, wide
from trtnn.ops.arithmetic import mul
from trtnn.ops.comparison import ge, isnan, le, logical_and, logical_not, logical_or, where
from trtnn.ops.creation import numbers_below
from trtnn.ops.indexing import narrow
from trtnn.ops.joining import cat
from trtnn.ops.logarithms import logaddexp
from trtnn.ops.ordering import Extremes
from trtnn.ops.shaping import along, reshape
from trtnn.ops.tiling import expand
from trtnn.shapes.symbolic import bounds

Join = Callable[[Sequence[Tensor], Sequence[Tensor]], Sequence[Tensor]]


def running(parts: Sequence[Tensor], axis: int, nothing: Sequence[Any], join: Join) -> Sequence[Tensor]:
    """Return for each place along an axis what all elements up to it come to.

    Args:
        parts: the tensors that an element consists of, such as a value and its index.
        nothing: the neutral element, a number for each part, which stands before the first.
        join: gives the parts of two neighbouring stretches, the earlier one first.
    """
    length = parts[0].shape[axis]
    back = 1
    while back < bounds(length)[1]:
        earlier = [_moved_back(part, axis, back, value) for part, value in zip(parts, nothing, strict=True)]
        parts, back = join(earlier, parts), 2 * back
    return parts


def _moved_back(input: Tensor, axis: int, back: int, value: Any) -> Tensor:
    shape = (*input.shape[:axis], back, *input.shape[axis + 1 :])
    front = expand(filler(value, input, "a running result"), shape)
    return narrow(cat([front, input], axis), axis, 0, input.shape[axis])


def cumprod(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Return the product of all elements up to and with each one, along ``dim``, carried in fp32.

    See :mod:`trtnn.ops.running`.
    """
    if dtype is not None:
        input = cast(input, dtype)
    elif not input.dtype.is_floating_point:
        input = cast(input, index_dtype(input.graph))
    expect_number(input, "cumprod")
    if not input.shape:
        normalize_dim(dim, 1)
        return input
    kind = input.dtype
    axis = normalize_dim(dim, input.ndim)
    (products,) = running([wide(input)], axis, [1], lambda earlier, later: [mul(earlier[0], later[0])])
    return cast(products, kind)


def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """Return log of the sum of exp(x) of all elements up to and with each one, carried in fp32.

    Large numbers do not overflow.
    """
    expect_floating(input, "logcumsumexp")
    if not input.shape:
        normalize_dim(dim, 1)
        return input
    axis = normalize_dim(dim, input.ndim)
    (sums,) = running([wide(input)], axis, [-math.inf], lambda earlier, later: [logaddexp(earlier[0], later[0])])
    return cast(sums, input.dtype)


def cummax(input: Tensor, dim: int) -> Extremes:
    """Return the largest element up to and with each one, along ``dim``, and where it was: the last of equal ones.

    From the first NaN on it is NaN.
    """
    return _running_extreme(input, dim, True)


def cummin(input: Tensor, dim: int) -> Extremes:
    """Return the smallest element up to and with each one, along ``dim``, and where it was; see :func:`cummax`."""
    return _running_extreme(input, dim, False)


def _running_extreme(input: Tensor, dim: int, largest: bool) -> Extremes:
    if not input.shape:
        extremes = _running_extreme(reshape(input, (1,)), dim, largest)
        return Extremes(*(reshape(tensor, ()) for tensor in extremes))
    if input.dtype in (bool_, uint8):
        values, indices = _running_extreme(cast(input, int32), dim, largest)
        return Extremes(cast(values, input.dtype), indices)
    axis = normalize_dim(dim, input.ndim)
    length = input.shape[axis]
    if bounds(length)[1] >= 1 << 24:
        raise ArgumentError(f"a running extreme of {length} elements in {input.graph.where}", "up to 2**24 are known")
    kind = index_dtype(input.graph)
    line = numbers_below(length)
    line = cast(line, kind) if isinstance(line, Tensor) else input.graph.constant(line, kind)
    places = expand(along(line, axis, input.ndim), input.shape)

    def join(earlier: Sequence[Tensor], later: Sequence[Tensor]) -> Sequence[Tensor]:
        takes = (ge if largest else le)(later[0], earlier[0])
        if input.dtype.is_floating_point:
            takes = logical_or(isnan(later[0]), logical_and(takes, logical_not(isnan(earlier[0]))))
        return [where(takes, mine, theirs) for mine, theirs in zip(later, earlier, strict=True)]

    return Extremes(*running([input, places], axis, [neutral(input.dtype, largest), 0], join))
