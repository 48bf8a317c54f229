"""One element of a dimension in order: at a rank, in the middle, or the one that is there most often."""

from __future__ import annotations

import math

from trtnn.dtypes import bool_, float32
from trtnn.errors import ArgumentError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import expect_number, normalize_dim
from trtnn.ops._promotion import cast, index_dtype
from trtnn.ops.arithmetic import add, maximum, sub
from trtnn.ops.comparison import eq, isnan, logical_not, where
from trtnn.ops.division import floor_divide
from trtnn.ops.gathering import gather
from trtnn.ops.indexing import narrow
from trtnn.ops.ordering import Extremes, argmax, max, ordered, sort, static_length
from trtnn.ops.reduction import any, sum
from trtnn.ops.shaping import flatten, movedim, reshape, squeeze, unsqueeze


def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Extremes:
    """Return the ``k``-th smallest element along a dimension, counted from 1, with its index.

    Raises:
        ArgumentError: there is no ``k``-th element.
        DTypeError: the input is bool.
    """
    if input.shape:
        expect_number(input, "kthvalue")
    length = input.shape[normalize_dim(dim, input.ndim)] if input.shape else 1
    if not 1 <= k <= length:
        raise ArgumentError(f"kthvalue of {k} along a dimension of {length} in {input.graph.where}")
    return _at_rank(input, k, dim, keepdim, f"kthvalue of {k}")


def _at_rank(input: Tensor, k: int, dim: int, keepdim: bool, what: str) -> Extremes:
    """Return the ``k``-th smallest element, by the shorter way from the two ends."""
    if not input.shape:
        return ordered(input, 1, dim, False, what)
    axis = normalize_dim(dim, input.ndim)
    length = input.shape[axis]
    from_top = isinstance(length, int) and length - k + 1 < k
    count = length - k + 1 if from_top else k
    index = narrow(ordered(input, count, axis, from_top, what).indices, axis, count - 1, 1)
    element = Extremes(gather(input, axis, index), index)
    return element if keepdim else Extremes(*(squeeze(tensor, axis) for tensor in element))


def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor | Extremes:
    """Return the middle one of the elements in order, of two the lower; along a dimension with its index.

    NaN where there is one, as in torch.
    """
    if dim is None:
        expect_number(input, "median")
        return _median(flatten(input), 0, False).values
    return _median(input, dim, keepdim)


def _median(input: Tensor, dim: int, keepdim: bool) -> Extremes:
    expect_number(input, "median")
    length = static_length(input, dim, "median")
    values, indices = _at_rank(input, (length + 1) // 2, dim, keepdim, "median")
    if not input.dtype.is_floating_point or not input.shape:
        return Extremes(values, indices)
    unknown = isnan(input)
    has_any = any(unknown, dim, keepdim)
    first = argmax(cast(unknown, float32), dim, keepdim)
    return Extremes(where(has_any, math.nan, values), where(has_any, first, indices))


def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor | Extremes:
    """Return the :func:`median` of what is not NaN; NaN where nothing is left."""
    if dim is None:
        expect_number(input, "nanmedian")
        return _nanmedian(flatten(input), 0, False).values
    return _nanmedian(input, dim, keepdim)


def _nanmedian(input: Tensor, dim: int, keepdim: bool) -> Extremes:
    if not input.dtype.is_floating_point or not input.shape:
        return _median(input, dim, keepdim)
    static_length(input, dim, "nanmedian")
    axis = normalize_dim(dim, input.ndim)
    unknown = isnan(input)
    indices = sort(input, axis).indices  # NaN comes last
    left = sum(cast(logical_not(unknown), index_dtype(input.graph)), axis, True)
    middle = maximum(floor_divide(sub(left, 1), 2), 0)
    index = gather(indices, axis, middle)
    result = Extremes(gather(input, axis, index), index)
    return result if keepdim else Extremes(*(squeeze(tensor, axis) for tensor in result))


def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> Extremes:
    """Return the most frequent element along a dimension, of several the smallest, and where it comes last.

    Each is compared with all: n elements take n² comparisons.
    """
    if not input.shape:
        normalize_dim(dim, 1)
        most = mode(reshape(input, (1,)), 0)
        return Extremes(*(reshape(tensor, ()) for tensor in most))
    if input.dtype is bool_:
        values, indices = mode(cast(input, float32), dim, keepdim)  # TensorRT 8.6 orders no integers
        return Extremes(cast(values, bool_), indices)
    static_length(input, dim, "mode")
    axis = normalize_dim(dim, input.ndim)
    values, indices = (movedim(tensor, axis, -1) for tensor in sort(input, axis))
    alike = eq(unsqueeze(values, -1), unsqueeze(values, -2))
    counts, first = max(sum(cast(alike, float32), -1), -1, True)
    last = sub(add(first, cast(counts, first.dtype)), 1)
    most = (movedim(gather(tensor, -1, last), -1, axis) for tensor in (values, indices))
    return Extremes(*(tensor if keepdim else squeeze(tensor, axis) for tensor in most))
