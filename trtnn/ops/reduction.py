"""Many elements to one: sums, extremes, statistics, running sums."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from trtnn.dtypes import bool_, float32, int32, uint8
from trtnn.errors import ArgumentError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Dims, expect_floating, expect_number, normalize_dim, normalize_dims
from trtnn.ops._promotion import cast, floating, index_dtype, promote, wide
from trtnn.ops.arithmetic import add, div, mul, square, sub
from trtnn.ops.comparison import isinf, logical_not, ne, where
from trtnn.ops.padding import pad
from trtnn.ops.shaping import reshape
from trtnn.ops.unary import exp, log, sqrt
from trtnn.shapes.symbolic import Size


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
    """Return the sum along dimensions, or of all elements where ``dim`` is None.

    Args:
        keepdim: whether those dimensions stay, with length 1.
        dtype: the type that the elements are cast to first; without it integers and bools are summed as whole numbers.

    Raises:
        ShapeError: there is no such dimension, or one is named twice.
    """
    return _reduce(_summable(input, dtype), "SUM", dim, keepdim)


def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Return the product along a dimension, or of all elements where ``dim`` is None; see :func:`sum`."""
    return _reduce(_summable(input, dtype), "PROD", dim, keepdim)


def mean(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Return the mean along dimensions, or of all elements where ``dim`` is None.

    Args:
        keepdim: whether those dimensions stay, with length 1.
        dtype: the type that the elements are cast to first.

    Raises:
        DTypeError: the input holds no fractions.
        ShapeError: there is no such dimension, or one is named twice.
    """
    input = input if dtype is None else cast(input, dtype)
    expect_floating(input, "mean")
    return _reduce(input, "AVG", dim, keepdim)


def amax(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Return the largest element along dimensions, or of all where ``dim`` is None."""
    return _reduce(input, "MAX", dim, keepdim)


def amin(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Return the smallest element along dimensions, or of all where ``dim`` is None."""
    return _reduce(input, "MIN", dim, keepdim)


def any(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Return whether any element along dimensions is true; along all where ``dim`` is None.

    An empty ``dim``, ``()``, reduces none: the truth of each element.
    """
    truth = input if input.dtype is bool_ else ne(input, 0)
    result = truth if dim in ((), []) else _reduce(truth, "MAX", dim, keepdim)
    return cast(result, uint8) if input.dtype is uint8 else result  # bytes were torch's bools once


def all(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Return whether all elements along dimensions are true; see :func:`any`."""
    result = logical_not(any(logical_not(input), dim, keepdim))
    return cast(result, uint8) if input.dtype is uint8 else result


def count_nonzero(input: Tensor, dim: Dims = None) -> Tensor:
    """Return how many elements along dimensions are not 0."""
    return sum(ne(input, 0), dim)


def var(
    input: Tensor,
    dim: Dims | bool = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """Return the variance along dimensions: the sum of (x - mean)² / (count - correction), carried in fp32.

    Args:
        dim: all where None; or a bool, which stands for ``unbiased``, as in torch.
        unbiased: whether correction is 1 where it is not given, else 0.

    Raises:
        ArgumentError: no more elements than ``correction``; ``unbiased`` beside ``correction``, or beside a bool.
    """
    expect_floating(input, "var")
    if isinstance(dim, bool):
        if not unbiased or keepdim or correction is not None:
            raise ArgumentError(f"a variance with dim={dim}", "a bool stands for unbiased, and nothing beside it")
        dim, unbiased = None, dim
    if correction is not None and not unbiased:
        raise ArgumentError("a variance takes unbiased or correction, not both")
    values = wide(input)
    squares = square(sub(values, mean(values, dim, True)))
    lengths = input.shape or (1,)
    count = math.prod(lengths[axis] for axis in normalize_dims(dim, len(lengths)))
    less = int(unbiased) if correction is None else correction
    if not math.isfinite(less):
        raise ArgumentError(f"correction is a finite number, not {less}")
    if count <= math.floor(less):
        raise ArgumentError(f"the variance of {count} elements with correction {less} in {input.graph.where}")
    result = mean(squares, dim, keepdim)
    if isinstance(count, Size):
        (number,) = promote(count, graph=input.graph)
        number = cast(number, float32)
        result = div(mul(result, number), sub(number, float(less)))
    elif less:
        result = mul(result, count / (count - less))
    return cast(result, input.dtype)


def std(
    input: Tensor,
    dim: Dims | bool = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """Return the standard deviation along dimensions, the root of :func:`var`."""
    return cast(sqrt(var(wide(input), dim, unbiased, keepdim, correction=correction)), input.dtype)


def logsumexp(input: Tensor, dim: int | Sequence[int], keepdim: bool = False) -> Tensor:
    """Return log of the sum of exp(x) along dimensions, carried in fp32; exp of large numbers does not overflow."""
    input = floating(input)
    values = wide(input)
    largest = amax(values, dim, True)
    largest = where(isinf(largest), 0.0, largest)
    total = log(sum(exp(sub(values, largest)), dim, keepdim))
    return cast(add(total, reshape(largest, total.shape)), input.dtype)


def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Return the sum of all elements up to and with each one, along ``dim``.

    Raises:
        ShapeError: there is no such dimension.
    """
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
