"""Elements in order along a dimension: the first few, all of them, and the one at a rank."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from trtnn.dtypes import DType, bool_, iinfo, int32
from trtnn.errors import ArgumentError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Operand, expect_number, normalize_dim
from trtnn.ops._promotion import cast, index_dtype
from trtnn.ops.arithmetic import add, maximum, minimum, sub
from trtnn.ops.comparison import ge, isnan, logical_and, logical_not, logical_or, lt, where
from trtnn.ops.creation import full
from trtnn.ops.gathering import gather, scatter
from trtnn.ops.indexing import narrow
from trtnn.ops.joining import cat
from trtnn.ops.ranks import count_leading
from trtnn.ops.reduction import amax, amin, sum
from trtnn.ops.shaping import flatten, movedim, reshape, squeeze, unsqueeze
from trtnn.shapes.symbolic import Size, ranges

MOST_OF_TOPK = 3840  # what TensorRT's layer gives at most
_MOST_SORTED = 1 << 18


class Extremes(NamedTuple):
    """Values, and where along the dimension they were."""

    values: Tensor
    indices: Tensor


def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Extremes:
    """Return the ``k`` largest or smallest elements along a dimension, in order, with their indices.

    Of equal elements the first comes first. Indices are int64, or int32 where TensorRT has no int64 (8.6). TensorRT's
    layer gives 3840 elements; for more the whole dimension is sorted, see :func:`sort`.

    Args:
        sorted: torch may leave them in any order where this is false; here they are in order all the same.

    Raises:
        ArgumentError: ``k`` is longer than the dimension.
        UnsupportedError: ``k`` is known only when the network runs, or the dimension is too long for :func:`sort`.
    """
    expect_number(input, "topk")
    return ordered(input, k, dim, largest)


def static_length(input: Tensor, dim: int, what: str) -> int:
    """Return the length of a dimension that is ordered whole; 1 where there is none.

    Raises:
        UnsupportedError: it is known only when the network runs.
    """
    if not input.shape:
        normalize_dim(dim, 1)
        return 1
    length = input.shape[normalize_dim(dim, input.ndim)]
    if isinstance(length, Size):
        raise UnsupportedError(
            f"{what} along a dimension of {length} in {input.graph.where}",
            "a network fixes how many elements it orders",
            ranges([length]),
        )
    return length


def ordered(input: Tensor, k: int, dim: int, largest: bool, what: str | None = None) -> Extremes:
    """Return :func:`topk`, of bools as well.

    Args:
        what: who asks, for messages; topk where None.
    """
    what = what or f"topk of {k}"
    if not input.shape:
        normalize_dim(dim, 1)
        values, indices = ordered(reshape(input, (1,)), k, 0, largest, what)
        return Extremes(reshape(values, ()), reshape(indices, ()))
    if isinstance(k, Size):
        raise UnsupportedError(
            f"{what} in {input.graph.where}", "a network fixes how many elements it gives", ranges([k])
        )
    axis = normalize_dim(dim, input.ndim)
    if not 1 <= k <= input.shape[axis]:
        raise ArgumentError(f"{what} along a dimension of {input.shape[axis]} in {input.graph.where}")
    if input.dtype is bool_:  # TensorRT orders none
        values, indices = ordered(cast(input, int32), k, dim, largest, what)
        return Extremes(cast(values, bool_), indices)
    if input.ndim == 1:  # TensorRT's layer takes at least two dimensions
        row = ordered(reshape(input, (1, -1)), k, 1, largest, what)
        return Extremes(*(squeeze(tensor, 0) for tensor in row))
    if k > MOST_OF_TOPK:
        return _ordered_by_parts(input, k, axis, largest, what)
    kind = input.graph.trt.TopKOperation.MAX if largest else input.graph.trt.TopKOperation.MIN
    shape = (*input.shape[:axis], k, *input.shape[axis + 1 :])
    values, indices = input.graph.emit("topk", input, kind, k, 1 << axis, out_shape=shape)
    return Extremes(values, cast(indices, index_dtype(input.graph)))


def _ordered_by_parts(input: Tensor, k: int, axis: int, largest: bool, what: str) -> Extremes:
    """Sort a dimension of more than 3840 in parts, and put each element where all the parts together say.

    Its place is its rank in its own part, and how many elements of each other part come before it.
    """
    length = input.shape[axis]
    if isinstance(length, Size) or length > _MOST_SORTED:
        raise UnsupportedError(
            f"{what} along a dimension of {length} in {input.graph.where}",
            f"TensorRT orders at most {MOST_OF_TOPK}; by parts it is done up to {_MOST_SORTED}, of a known length",
        )
    line = movedim(input, axis, -1)
    before = line.shape[:-1]
    count = -(-length // MOST_OF_TOPK)
    each = -(-length // count)
    rest = count * each - length
    if rest:  # parts are of one length, for which the last is filled up with what comes last
        line = cat([line, full((*before, rest), _last(input.dtype, largest), dtype=input.dtype)], -1)
    parts = reshape(line, (*before, count, each))
    values, indices = ordered(parts, each, -1, largest)
    own = np.arange(count)[:, None, None]  # of which part a value is, beside all the parts
    counted = _before(unsqueeze(values, -3), unsqueeze(values, -2), own.transpose(1, 0, 2) < own, largest)
    places = add(sum(where(own.transpose(1, 0, 2) == own, 0, counted), -2), np.arange(each))
    starts = add(indices, own[..., 0] * each)
    if rest:
        if not largest and input.dtype.is_floating_point:
            places = sub(places, where(isnan(values), rest, 0))  # NaN is larger than infinity
        places = where(ge(starts, length), starts, places)
    places, starts = (reshape(tensor, (*before, -1)) for tensor in (places, starts))
    order = narrow(scatter(starts, -1, places, starts), -1, 0, k)
    return Extremes(*(movedim(tensor, -1, axis) for tensor in (gather(line, -1, order), order)))


def _last(dtype: DType, largest: bool) -> float:
    """Return a number that none of the type comes after in the order, but NaN."""
    if dtype.is_floating_point:
        return -math.inf if largest else math.inf
    return iinfo(dtype).min if largest else iinfo(dtype).max


def _before(parts: Tensor, values: Tensor, earlier: np.ndarray, largest: bool) -> Tensor:
    """Count how many elements of each ordered part come before each value: equal ones do in earlier parts.

    Args:
        parts: (..., 1, parts, n).
        values: (..., parts of values, 1, m).
        earlier: (parts of values, parts, 1), whether a part stands before that of the values.

    Returns:
        (..., parts of values, parts, m).
    """

    def precedes(a: Tensor, b: Tensor) -> Tensor:
        if largest:
            a, b = b, a
        less = lt(a, b)
        if not a.dtype.is_floating_point:
            return less
        return logical_or(less, logical_and(isnan(b), logical_not(isnan(a))))  # NaN is the largest

    shape = (*parts.shape[:-3], values.shape[-3], parts.shape[-2], values.shape[-1])

    def holds(elements: Tensor) -> Tensor:
        return where(earlier, logical_not(precedes(values, elements)), precedes(elements, values))

    return count_leading(parts, shape, holds)


def sort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool | None = None) -> Extremes:
    """Return all elements along a dimension in order, with their indices.

    TensorRT's layer orders 3840 elements. A longer dimension is sorted in parts of so many, and each element looks by
    bisection for how many of each other part come before it: about 12 rounds over n²/3840 elements. It is done up to
    262,144.

    Args:
        stable: whether equal elements stay in their order, which they do in any case.

    Raises:
        UnsupportedError: the length is known only when the network runs, or is longer than that.
    """
    return ordered(input, static_length(input, dim, "sort"), dim, descending, "sort")


def argsort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Tensor:
    """Return the indices that would sort a dimension; see :func:`sort`."""
    return sort(input, dim, descending).indices


def msort(input: Tensor) -> Tensor:
    """Return all elements along the first dimension in order, the smallest first."""
    return sort(input, 0).values


def _extreme_along(input: Tensor, dim: int, keepdim: bool, largest: bool) -> Extremes:
    extreme = ordered(input, 1, dim, largest)
    return extreme if keepdim else Extremes(*(squeeze(tensor, dim) for tensor in extreme))


def _place_of_extreme(input: Tensor, dim: int | None, keepdim: bool, largest: bool, what: str) -> Tensor:
    expect_number(input, what)
    if dim is not None:
        return _extreme_along(input, dim, keepdim, largest).indices
    place = _extreme_along(flatten(input), 0, False, largest).indices
    return reshape(place, (1,) * input.ndim) if keepdim else place


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Return the index of the largest element along a dimension, or in the flat tensor; the first of equal ones."""
    return _place_of_extreme(input, dim, keepdim, True, "argmax")


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Return the index of the smallest element along a dimension, or in the flat tensor; the first of equal ones."""
    return _place_of_extreme(input, dim, keepdim, False, "argmin")


def _second(dim: int | Operand | None, keepdim: bool, other: Operand | None, what: str) -> Operand | None:
    """Return the tensor that the input is compared with, by position or by name, or None.

    Raises:
        ArgumentError: there is a dimension or keepdim beside it.
    """
    second = dim if other is None and not isinstance(dim, int) else other
    if second is not None and (keepdim or second is not dim is not None):
        raise ArgumentError(f"{what} takes a dim, or another tensor, not both")
    return second


def _extreme(input: Tensor, dim: Any, keepdim: bool, largest: bool) -> Tensor | Extremes:
    if isinstance(dim, int):
        return _extreme_along(input, dim, keepdim, largest)
    return (amax if largest else amin)(input, None, keepdim)


def max(
    input: Tensor, dim: int | Operand | None = None, keepdim: bool = False, *, other: Operand | None = None
) -> Tensor | Extremes:
    """Return the largest element of all, or along ``dim`` with its index, or of two tensors each :func:`maximum`.

    Args:
        dim: a dimension; or the second tensor, as torch takes it in this place.
        other: the second tensor by name.

    Raises:
        ArgumentError: ``other`` beside ``dim`` or ``keepdim``.
    """
    second = _second(dim, keepdim, other, "max")
    return _extreme(input, dim, keepdim, True) if second is None else maximum(input, second)


def min(
    input: Tensor, dim: int | Operand | None = None, keepdim: bool = False, *, other: Operand | None = None
) -> Tensor | Extremes:
    """Return the smallest element of all, or along ``dim`` with its index, or of two tensors each :func:`minimum`.

    Args:
        dim: a dimension; or the second tensor, as torch takes it in this place.
        other: the second tensor by name.

    Raises:
        ArgumentError: ``other`` beside ``dim`` or ``keepdim``.
    """
    second = _second(dim, keepdim, other, "min")
    return _extreme(input, dim, keepdim, False) if second is None else minimum(input, second)
