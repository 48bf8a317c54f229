"""What is no number or not finite: where it is, what comes in its place, and what counts as close."""

from __future__ import annotations

import math

from trtnn.dtypes import bool_, finfo
from trtnn.errors import ArgumentError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Operand
from trtnn.ops._promotion import align, expect_one_type, filler, floating, wide
from trtnn.ops.arithmetic import add, maximum, minimum, mul, sub
from trtnn.ops.comparison import eq, isfinite, isnan, le, logical_and, logical_or, ne, where
from trtnn.ops.tiling import expand
from trtnn.ops.unary import abs


def nan_to_num(
    input: Tensor, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """Put numbers in place of NaN and of infinities; integers stay as they are.

    Args:
        nan: what NaN becomes; 0 where None.
        posinf, neginf: what the infinities become; the largest and the least number of the type where None.
    """
    if not input.dtype.is_floating_point:
        return input.graph.deferred.snapshot("nan_to_num", input)
    most = finfo(input.dtype).max
    result = where(isnan(input), filler(0.0 if nan is None else nan, input, "nan_to_num"), input)
    for infinity, number, limit in ((math.inf, posinf, most), (-math.inf, neginf, -most)):
        value = filler(limit if number is None else number, input, "nan_to_num")
        result = where(eq(input, infinity), value, result)
    return result


def isposinf(input: Tensor) -> Tensor:
    """Return whether each element is infinity."""
    return eq(input, math.inf) if input.dtype.is_floating_point else ne(input, input)


def isneginf(input: Tensor) -> Tensor:
    """Return whether each element is -infinity."""
    return eq(input, -math.inf) if input.dtype.is_floating_point else ne(input, input)


def isreal(input: Tensor) -> Tensor:
    """Return True for every element: a Tensor holds no complex numbers."""
    return expand(input.graph.constant(True, bool_), input.shape)


def isclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Tensor:
    """Return whether |input - other| ≤ atol + rtol · |other|, broadcast, carried in fp32.

    Infinities are close where they are equal.

    Args:
        equal_nan: whether NaN is close to NaN.

    Raises:
        DTypeError: the two are of different types.
        ArgumentError: a tolerance is below 0.
    """
    expect_one_type("isclose", input, other)
    if not rtol >= 0 or not atol >= 0:
        raise ArgumentError(f"isclose takes tolerances from 0 on, not rtol={rtol} and atol={atol}")
    a, b = align(input, other)
    close = eq(a, b)
    if equal_nan:
        close = logical_or(close, logical_and(isnan(a), isnan(b)))
    if rtol == 0 and atol == 0:
        return close
    a, b = wide(floating(a)), wide(floating(b))
    apart = abs(sub(a, b))
    return logical_or(close, logical_and(isfinite(apart), le(apart, add(mul(abs(b), rtol), atol))))


def fmax(input: Operand, other: Operand) -> Tensor:
    """Return the larger of two, broadcast, and beside NaN the other one."""
    a, b = align(input, other)
    return where(isnan(a), b, where(isnan(b), a, maximum(a, b))) if a.dtype.is_floating_point else maximum(a, b)


def fmin(input: Operand, other: Operand) -> Tensor:
    """Return the smaller of two, broadcast, and beside NaN the other one."""
    a, b = align(input, other)
    return where(isnan(a), b, where(isnan(b), a, minimum(a, b))) if a.dtype.is_floating_point else minimum(a, b)
