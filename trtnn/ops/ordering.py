"""Elements in order along a dimension: the first few, all of them, and the one at a rank."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from trtnn.dtypes import DType, bool_, finfo, float32, iinfo
from trtnn.errors import ArgumentError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Operand, expect_number, normalize_dim
from trtnn.ops._promotion import cast, index_dtype, wide
from trtnn.ops.arithmetic import add, maximum, minimum
from trtnn.ops.comparison import ge, gt, isnan, logical_not, lt, where
from trtnn.ops.gathering import gather, scatter
from trtnn.ops.indexing import narrow
from trtnn.ops.joining import cat
from trtnn.ops.ranks import count_leading
from trtnn.ops.reduction import amax, amin, sum
from trtnn.ops.shaping import flatten, movedim, reshape, squeeze, unsqueeze
from trtnn.ops.tiling import expand
from trtnn.shapes.symbolic import Size, ranges

MOST_OF_TOPK = 3840  # what TensorRT's layer gives at most
_MOST_SORTED = 1 << 18
_INFINITY = 3.4e38  # the key of it, see _keys
_MOST_OF_SCORES = 65472.0  # the last number of fp16 but one, as TensorRT may fill up with the last


class Extremes(NamedTuple):
    """Values, and where along the dimension they were."""

    values: Tensor
    indices: Tensor


def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Extremes:
    """Return the ``k`` largest or smallest elements along a dimension, in order, with their indices.

    Of equal elements the first comes first. TensorRT's layer orders finite numbers alone: so in fp32 all beyond 3.4e38
    counts as infinity, and so does NaN, which :func:`sort` puts behind it. The values are the input's own.

    Indices are int64, or int32 where TensorRT has no int64 (8.6). TensorRT's layer gives 3840 elements; for more the
    whole dimension is sorted, see :func:`sort`.

    Args:
        sorted: torch may leave them in any order where this is false; here they are in order all the same.

    Raises:
        ArgumentError: ``k`` is longer than the dimension.
        UnsupportedError: ``k`` is known only when the network runs, or the dimension is too long for :func:`sort`.
    """
    expect_number(input, "topk")
    return ordered(input, k, dim, largest)


def leading(scores: Tensor, k: int) -> Tensor:
    """Return the indices of the ``k`` largest along the last of several dimensions, as :func:`topk` does, for scores.

    They are ordered in their own type: in fp16 TensorRT takes 0.6 of the time that it takes in fp32. What is beyond
    65472 counts as infinity, in fp32 too, so that either is the same network; so does NaN.
    """
    if k > MOST_OF_TOPK:
        return topk(scores, k).indices
    return _layer(_finite(scores, _MOST_OF_SCORES), k, scores.ndim - 1, True)[1]


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


def ordered(
    input: Tensor, k: int, dim: int, largest: bool, what: str | None = None, tells_nan: bool = False
) -> Extremes:
    """Return :func:`topk`, of bools as well; the values' layers are added when something reads them.

    Args:
        what: who asks, for messages; topk where None.
        tells_nan: whether NaN is larger than infinity.
    """
    graph, what = input.graph, what or f"topk of {k}"
    if isinstance(k, Size):
        raise UnsupportedError(f"{what} in {graph.where}", "a network fixes how many elements it gives", ranges([k]))
    axis = normalize_dim(dim, input.ndim or 1)
    length = input.shape[axis] if input.shape else 1
    if not 1 <= k <= length:
        raise ArgumentError(f"{what} along a dimension of {length} in {graph.where}")
    if not input.shape:
        return Extremes(graph.deferred.snapshot(what, input), graph.constant(0, index_dtype(graph)))
    is_bool = input.dtype is bool_
    numbers = cast(input, float32) if is_bool else input  # TensorRT orders no bools, and 8.6 no integers
    line, at = (numbers, axis) if input.ndim > 1 else (unsqueeze(numbers, 0), 1)  # nor a vector
    keys = line if is_bool else _keys(line, tells_nan or k > MOST_OF_TOPK)
    found = None
    if k > MOST_OF_TOPK:
        indices = _order_by_parts(keys, k, at, largest, what)
    else:
        found, indices = _layer(keys, k, at, largest)
    indices = indices if input.ndim > 1 else squeeze(indices, 0)
    source, places = (graph.deferred.snapshot(what, tensor) for tensor in (input, indices))

    def values() -> Tensor:
        if found is None or keys is not line:
            return gather(source, axis, places)
        return cast(found if input.ndim > 1 else squeeze(found, 0), source.dtype)

    return Extremes(graph.deferred.later(values, indices.shape, input.dtype, indices.value.constant), indices)


def _keys(input: Tensor, tells_nan: bool) -> Tensor:
    """Return finite numbers in the order of those of the input, by which TensorRT's layer orders it.

    The layer fills up with infinity, or -infinity for the largest, and gives -1 as the index of an element that equals
    it: seen with 8.6.0 on an H200. In fp32 there is room above the ends of fp16 and bf16.

    Args:
        tells_nan: whether NaN has a key of its own, above that of infinity, which takes two layers more. Else it has
            that of infinity, since the smaller of NaN and a number is the number; on a TensorRT where it is NaN, NaN.
    """
    if not input.dtype.is_floating_point:
        return input
    numbers = wide(input)
    keys = _finite(numbers, _INFINITY)
    if not tells_nan:
        return keys
    return where(isnan(numbers), input.graph.constant(np.float32(_last(float32, False)), float32, input.ndim), keys)


def _finite(numbers: Tensor, most: float) -> Tensor:
    """Return numbers from -most to most; of NaN it is most, where the smaller of NaN and a number is the number."""
    return maximum(minimum(numbers, most), -most)


def _layer(keys: Tensor, k: int, axis: int, largest: bool) -> tuple[Tensor, Tensor]:
    """Return the first keys along a dimension, at most 3840, and their indices, as TensorRT's layer gives them."""
    kind = keys.graph.trt.TopKOperation.MAX if largest else keys.graph.trt.TopKOperation.MIN
    shape = (*keys.shape[:axis], k, *keys.shape[axis + 1 :])
    values, indices = keys.graph.emit("topk", keys, kind, k, 1 << axis, out_shape=shape)
    return values, cast(indices, index_dtype(keys.graph))


def _order_by_parts(keys: Tensor, k: int, axis: int, largest: bool, what: str) -> Tensor:
    """Sort a dimension of more than 3840 in parts, and return where each of the first k of all the parts stood.

    The place of an element is its rank in its own part, and how many elements of each other part come before it.

    Args:
        keys: none of them NaN.
    """
    length = keys.shape[axis]
    if isinstance(length, Size) or length > _MOST_SORTED:
        raise UnsupportedError(
            f"{what} along a dimension of {length} in {keys.graph.where}",
            f"TensorRT orders at most {MOST_OF_TOPK}; by parts it is done up to {_MOST_SORTED}, of a known length",
        )
    line = movedim(keys, axis, -1)
    before = line.shape[:-1]
    count = -(-length // MOST_OF_TOPK)
    each = -(-length // count)
    rest = count * each - length
    if rest:  # parts are of one length, for which the last is filled up with what comes last
        end = keys.graph.constant(_last(keys.dtype, largest), keys.dtype, line.ndim)
        line = cat([line, expand(end, (*before, rest))], -1)
    values, indices = _layer(reshape(line, (*before, count, each)), each, line.ndim, largest)
    own = np.arange(count)[:, None, None]  # of which part a value is, beside all the parts
    counted = _before(unsqueeze(values, -3), unsqueeze(values, -2), own.transpose(1, 0, 2) < own, largest)
    places = add(sum(where(own.transpose(1, 0, 2) == own, 0, counted), -2), np.arange(each))
    starts = add(indices, own[..., 0] * each)
    if rest:
        places = where(ge(starts, length), starts, places)
    places, starts = (reshape(tensor, (*before, -1)) for tensor in (places, starts))
    return movedim(narrow(scatter(starts, -1, places, starts), -1, 0, k), -1, axis)


def _last(dtype: DType, largest: bool) -> float:
    """Return a finite number that none of the type comes after in the order."""
    ends = finfo(dtype) if dtype.is_floating_point else iinfo(dtype)
    return ends.min if largest else ends.max


def _before(parts: Tensor, values: Tensor, earlier: np.ndarray, largest: bool) -> Tensor:
    """Count how many elements of each ordered part come before each value: equal ones do in earlier parts.

    Args:
        parts: (..., 1, parts, n).
        values: (..., parts of values, 1, m).
        earlier: (parts of values, parts, 1), whether a part stands before that of the values.

    Returns:
        (..., parts of values, parts, m).
    """

    precedes = gt if largest else lt
    shape = (*parts.shape[:-3], values.shape[-3], parts.shape[-2], values.shape[-1])

    def holds(elements: Tensor) -> Tensor:
        return where(earlier, logical_not(precedes(values, elements)), precedes(elements, values))

    return count_leading(parts, shape, holds)


def sort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool | None = None) -> Extremes:
    """Return all elements along a dimension in order, with their indices; NaN is the largest.

    Of equal elements the first comes first. In fp32 all beyond 3.4e38 counts as infinity, see :func:`topk`.

    TensorRT's layer orders 3840 elements. A longer dimension is sorted in parts of so many, and each element looks by
    bisection for how many of each other part come before it: about 12 rounds over n²/3840 elements. It is done up to
    262,144.

    Args:
        stable: whether equal elements stay in their order, which they do in any case.

    Raises:
        UnsupportedError: the length is known only when the network runs, or is longer than that.
    """
    return ordered(input, static_length(input, dim, "sort"), dim, descending, "sort", True)


def argsort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Tensor:
    """Return the indices that would sort a dimension; see :func:`sort`."""
    return sort(input, dim, descending).indices


def msort(input: Tensor) -> Tensor:
    """Return all elements along the first dimension in order, the smallest first."""
    return sort(input, 0).values


def _extreme_along(input: Tensor, dim: int, keepdim: bool, largest: bool) -> Extremes:
    extreme = ordered(input, 1, dim, largest)
    if keepdim:
        return extreme
    indices = squeeze(extreme.indices, dim)
    later = input.graph.deferred.later(lambda: squeeze(extreme.values, dim), indices.shape, input.dtype)
    return Extremes(later, indices)


def _place_of_extreme(input: Tensor, dim: int | None, keepdim: bool, largest: bool, what: str) -> Tensor:
    expect_number(input, what)
    if dim is not None:
        place = ordered(input, 1, dim, largest).indices
        return place if keepdim else squeeze(place, dim)
    place = ordered(flatten(input), 1, 0, largest).indices
    return reshape(place, (1,) * input.ndim if keepdim else ())


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
