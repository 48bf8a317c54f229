"""Exponentials and logarithms of other bases, and those that keep their digits near 0; carried in fp32."""

from __future__ import annotations

import math

from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Operand
from trtnn.ops._promotion import cast
from trtnn.ops.activation import tanh
from trtnn.ops.arithmetic import add, clamp, div, maximum, minimum, mul, pow, sub
from trtnn.ops.carrying import carried, carried_floats
from trtnn.ops.comparison import eq, isinf, isnan, le, logical_and, lt, where
from trtnn.ops.unary import abs, exp, log, neg, round

_NEAR = 0.25  # where the logarithm of 1 + x is summed up as a series


def expm1(input: Tensor) -> Tensor:
    """Return exp(x) - 1 with all its digits near 0: tanh(x / 2) · (exp(x) + 1)."""
    (x,), dtype = carried(input)
    return cast(mul(tanh(mul(x, 0.5)), add(exp(x), 1)), dtype)


def log1p(input: Tensor) -> Tensor:
    """Return log(1 + x) with all its digits near 0.

    It is 2 · atanh(s) with s = x / (2 + x), and of the series s + s³/3 + s⁵/5 + ... four terms do where |x| < 1/4.
    """
    (x,), dtype = carried(input)
    return cast(_log1p(x), dtype)


def _log1p(x: Tensor) -> Tensor:
    s = div(x, add(x, 2))
    squared = mul(s, s)
    series = add(mul(squared, 2 / 7), 2 / 5)
    series = add(mul(squared, series), 2 / 3)
    series = mul(s, add(mul(squared, series), 2))
    return where(lt(abs(x), _NEAR), series, log(add(x, 1)))


def log2(input: Tensor) -> Tensor:
    """Return the logarithm to base 2; that of a power of 2 is a whole number."""
    (x,), dtype = carried(input)
    return cast(_to_base(x, 2), dtype)


def log10(input: Tensor) -> Tensor:
    """Return the logarithm to base 10; that of a power of 10 is a whole number."""
    (x,), dtype = carried(input)
    return cast(_to_base(x, 10), dtype)


def _to_base(x: Tensor, base: int) -> Tensor:
    """Return log(x) / log(base), and a whole number where that is one but for rounding, so that its floor is."""
    result = mul(log(x), 1 / math.log(base))
    whole = round(result)
    return where(le(abs(sub(result, whole)), mul(abs(whole), 2.0**-22)), whole, result)


def exp2(input: Tensor) -> Tensor:
    """Return 2 to the power of x."""
    (x,), dtype = carried(input)
    return cast(pow(2.0, x), dtype)


def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """Return log(x / (1 - x)), the inverse of sigmoid.

    Args:
        eps: x is clamped to eps ... 1 - eps; None leaves it as it is, and what lies outside 0 ... 1 gives NaN.
    """
    (x,), dtype = carried(input)
    if eps is not None:
        x = clamp(x, eps, 1 - eps) if eps <= 0.5 else where(lt(x, eps), eps, minimum(x, 1 - eps))  # as torch compares
    return cast(log(div(x, sub(1.0, x))), dtype)


def xlogy(input: Operand, other: Operand) -> Tensor:
    """Return input · log(other), broadcast; 0 where input is 0, and NaN where other is."""
    (x, y), dtype = carried(input, other)
    result = where(eq(x, 0), 0.0, mul(x, log(y)))
    return cast(where(isnan(y), y, result), dtype)


def logaddexp(input: Operand, other: Operand) -> Tensor:
    """Return log(exp(input) + exp(other)), broadcast, without overflow."""
    (x, y), dtype = carried_floats("logaddexp", input, other)
    return cast(_added(x, y, _log1p(exp(neg(abs(sub(x, y)))))), dtype)


def logaddexp2(input: Operand, other: Operand) -> Tensor:
    """Return log2(2^input + 2^other), broadcast, without overflow."""
    (x, y), dtype = carried_floats("logaddexp2", input, other)
    rest = _log1p(pow(2.0, neg(abs(sub(x, y)))))
    return cast(_added(x, y, mul(rest, 1 / math.log(2))), dtype)


def _added(x: Tensor, y: Tensor, rest: Tensor) -> Tensor:
    """Return the larger of two and the rest; of two infinities that are the same, that one."""
    infinite = logical_and(eq(x, y), isinf(x))
    return where(infinite, x, add(maximum(x, y), rest))
