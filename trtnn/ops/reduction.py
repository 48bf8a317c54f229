"""Many elements to one: sums, extremes, statistics, running sums."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from trtnn.dtypes import bool_, float32, int32
from trtnn.errors import ArgumentError, UnsupportedError
from trtnn.ops.arguments import Operand, expect_floating, expect_number, normalize_dim, normalize_dims
from trtnn.ops.arithmetic import add, div, maximum, minimum, mul, pow, square, sub
from trtnn.ops.comparison import logical_not, ne, where
from trtnn.ops.padding import pad
from trtnn.ops.promotion import cast, floating, index_dtype, wide
from trtnn.ops.shaping import flatten, reshape, squeeze
from trtnn.ops.unary import abs, exp, log, sqrt
from trtnn.symbolic import Size, ranges
from trtnn.tensor import Tensor

Dims = int | Sequence[int] | None
MOST_OF_TOPK = 3840  # what TensorRT's layer gives at most


class Extremes(NamedTuple):
    """Values, and where along the dimension they were."""

    values: Tensor
    indices: Tensor


def _reduce(input: Tensor, kind: str, dim: Dims, keepdim: bool) -> Tensor:
    if not input.shape:
        normalize_dims(dim, 1)
        return input
    if input.dtype is bool_:  # TensorRT reduces none
        return cast(_reduce(cast(input, int32), kind, dim, keepdim), bool_)
    axes, mask = normalize_dims(dim, input.ndim), 0
    for axis in axes:
        mask |= 1 << axis
    shape = [1 if i in axes else length for i, length in enumerate(input.shape) if keepdim or i not in axes]
    operation = getattr(input.graph.trt.ReduceOperation, kind)
    return input.graph.emit("reduce", input, operation, mask, keepdim, out_shape=shape)


def _summable(input: Tensor, dtype: Any) -> Tensor:
    """Return what a sum of ``input`` adds up: integers and bools in the type of whole numbers, as in torch."""
    if dtype is not None:
        return cast(input, dtype)
    return input if input.dtype.is_floating_point else cast(input, index_dtype(input.graph))


def sum(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum along dimensions, all where None."""
    return _reduce(_summable(input, dtype), "SUM", dim, keepdim)


def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The product along a dimension, all where None."""
    return _reduce(_summable(input, dtype), "PROD", dim, keepdim)


def mean(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean along dimensions, all where None."""
    input = input if dtype is None else cast(input, dtype)
    expect_floating(input, "mean")
    return _reduce(input, "AVG", dim, keepdim)


def amax(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The largest element along dimensions, all where None."""
    return _reduce(input, "MAX", dim, keepdim)


def amin(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The smallest element along dimensions, all where None."""
    return _reduce(input, "MIN", dim, keepdim)


def any(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether an element along dimensions is true, all where None; along none of them, ``()``, each by itself."""
    truth = input if input.dtype is bool_ else ne(input, 0)
    return truth if dim in ((), []) else _reduce(truth, "MAX", dim, keepdim)


def all(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether every element along dimensions is true, as :func:`any`."""
    return logical_not(any(logical_not(input), dim, keepdim))


def count_nonzero(input: Tensor, dim: Dims = None) -> Tensor:
    """How many elements along dimensions are not 0."""
    return sum(ne(input, 0), dim)


def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Extremes:
    """The ``k`` largest or smallest elements along a dimension, in order, with their indices.

    Of equal elements the first comes first. Indices are int64, or int32 where TensorRT has no int64 (8.6).

    Raises:
        ArgumentError: ``k`` is longer than the dimension.
        UnsupportedError: ``k`` is more than 3840, or known only when the network runs.
    """
    expect_number(input, "topk")
    return _ordered(input, k, dim, largest)


def _ordered(input: Tensor, k: int, dim: int, largest: bool) -> Extremes:
    if not input.shape:
        normalize_dim(dim, 1)
        values, indices = _ordered(reshape(input, (1,)), k, 0, largest)
        return Extremes(reshape(values, ()), reshape(indices, ()))
    if isinstance(k, Size):
        raise UnsupportedError(
            f"topk of {k} in {input.graph.where}", "a network fixes how many elements it gives", ranges([k])
        )
    axis = normalize_dim(dim, input.ndim)
    if not 1 <= k <= input.shape[axis]:
        raise ArgumentError(f"topk of {k} along a dimension of {input.shape[axis]} in {input.graph.where}")
    if k > MOST_OF_TOPK:
        raise UnsupportedError(f"topk of {k}", f"TensorRT gives at most {MOST_OF_TOPK}")
    if input.dtype is bool_:  # TensorRT orders none
        values, indices = _ordered(cast(input, int32), k, dim, largest)
        return Extremes(cast(values, bool_), indices)
    if input.ndim == 1:  # TensorRT's layer takes at least two dimensions
        found = _ordered(reshape(input, (1, -1)), k, 1, largest)
        return Extremes(*(squeeze(tensor, 0) for tensor in found))
    kind = input.graph.trt.TopKOperation.MAX if largest else input.graph.trt.TopKOperation.MIN
    shape = (*input.shape[:axis], k, *input.shape[axis + 1 :])
    values, indices = input.graph.emit("topk", input, kind, k, 1 << axis, out_shape=shape)
    return Extremes(values, cast(indices, index_dtype(input.graph)))


def sort(input: Tensor, dim: int = -1, descending: bool = False) -> Extremes:
    """All elements along a dimension in order, with their indices; see :func:`topk` for how many."""
    count = input.shape[normalize_dim(dim, input.ndim)] if input.shape else 1
    return _ordered(input, count, dim, descending)


def argsort(input: Tensor, dim: int = -1, descending: bool = False) -> Tensor:
    """The indices that would sort a dimension; see :func:`topk` for how many."""
    return sort(input, dim, descending).indices


def _extreme_along(input: Tensor, dim: int, keepdim: bool, largest: bool) -> Extremes:
    found = _ordered(input, 1, dim, largest)
    return found if keepdim else Extremes(*(squeeze(tensor, dim) for tensor in found))


def _place_of_extreme(input: Tensor, dim: int | None, keepdim: bool, largest: bool, what: str) -> Tensor:
    expect_number(input, what)
    if dim is not None:
        return _extreme_along(input, dim, keepdim, largest).indices
    found = _extreme_along(flatten(input), 0, False, largest).indices
    return reshape(found, (1,) * input.ndim) if keepdim else found


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the largest element is along a dimension, or in the flat tensor; the first of equal ones."""
    return _place_of_extreme(input, dim, keepdim, True, "argmax")


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the smallest element is along a dimension, or in the flat tensor; the first of equal ones."""
    return _place_of_extreme(input, dim, keepdim, False, "argmin")


def max(input: Tensor, dim: int | Operand | None = None, keepdim: bool = False) -> Tensor | Extremes:
    """The largest element; along a dimension with its index; or, of two tensors, :func:`maximum`."""
    if dim is None:
        return amax(input, None, keepdim)
    return _extreme_along(input, dim, keepdim, True) if isinstance(dim, int) else maximum(input, dim)


def min(input: Tensor, dim: int | Operand | None = None, keepdim: bool = False) -> Tensor | Extremes:
    """The smallest element; along a dimension with its index; or, of two tensors, :func:`minimum`."""
    if dim is None:
        return amin(input, None, keepdim)
    return _extreme_along(input, dim, keepdim, False) if isinstance(dim, int) else minimum(input, dim)


def var(
    input: Tensor, dim: Dims = None, unbiased: bool = True, keepdim: bool = False, *, correction: int | None = None
) -> Tensor:
    """The variance along dimensions: the sum of (x - mean)² / (count - correction), carried in fp32.

    Args:
        unbiased: whether correction is 1 where it is not given, else 0.
    """
    expect_floating(input, "var")
    values = wide(input)
    squares = square(sub(values, mean(values, dim, True)))
    lengths = input.shape or (1,)
    count = math.prod(lengths[axis] for axis in normalize_dims(dim, len(lengths)))
    less = int(unbiased) if correction is None else correction
    if count <= less:
        raise ArgumentError(f"the variance of {count} elements with correction {less} in {input.graph.where}")
    result = mean(squares, dim, keepdim)
    if isinstance(count, Size):
        result = div(mul(result, count), count - less)
    elif less:
        result = mul(result, count / (count - less))
    return cast(result, input.dtype)


def std(
    input: Tensor, dim: Dims = None, unbiased: bool = True, keepdim: bool = False, *, correction: int | None = None
) -> Tensor:
    """The standard deviation along dimensions, the root of :func:`var`."""
    return cast(sqrt(var(wide(input), dim, unbiased, keepdim, correction=correction)), input.dtype)


def norm(input: Tensor, p: float | str = "fro", dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The p-norm of vectors along dimensions, all where None: (sum of |x|^p)^(1/p), carried in fp32.

    Args:
        p: a number; ``"fro"``, which is 2; infinity for the largest magnitude, -infinity for the smallest, 0 for how
            many are not 0.
    """
    expect_floating(input, "norm")
    values = wide(input)
    if p in ("fro", 2):
        result = sqrt(sum(square(values), dim, keepdim))
    elif p in (math.inf, -math.inf):
        result = (amax if p > 0 else amin)(abs(values), dim, keepdim)
    elif p == 0:
        result = sum(cast(ne(values, 0), float32), dim, keepdim)
    elif isinstance(p, (int, float)):
        powers = sum(abs(values) if p == 1 else pow(abs(values), p), dim, keepdim)
        result = powers if p == 1 else pow(powers, 1 / p)
    else:
        raise UnsupportedError(f"norm with p={p!r}", "known: numbers, infinity and 'fro'")
    return cast(result, input.dtype)


def logsumexp(input: Tensor, dim: int | Sequence[int], keepdim: bool = False) -> Tensor:
    """log of the sum of exp(x) along dimensions, carried in fp32; exp of large numbers does not overflow."""
    input = floating(input)
    values = wide(input)
    largest = amax(values, dim, True)
    largest = where(ne(abs(largest), math.inf), largest, 0.0)
    total = log(sum(exp(sub(values, largest)), dim, keepdim))
    return cast(add(total, reshape(largest, total.shape)), input.dtype)


def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """The sum of all elements up to each, along a dimension."""
    input = _summable(input, dtype)
    if not input.shape:
        normalize_dim(dim, 1)
        return input
    expect_number(input, "cumsum")
    graph, axis = input.graph, normalize_dim(dim, input.ndim)
    if graph.backend.capabilities.cumulative:
        at = graph.constant(np.int32(axis), int32)
        total = graph.trt.CumulativeOperation.SUM
        return graph.emit("cumulative", input, at, total, False, False, out_shape=input.shape)
    # Each round adds the sums that end so far in front: 1, 2, 4, ... elements back.
    length, back = input.shape[axis], 1
    while back < length:
        sides = [0, 0] * (input.ndim - 1 - axis) + [back, -back]
        input, back = add(input, pad(input, sides)), 2 * back
    return input
