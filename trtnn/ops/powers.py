"""Powers, fractions, and what the error function leaves to 1."""

from __future__ import annotations

from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Operand, expect_floating
from trtnn.ops._promotion import cast
from trtnn.ops.arithmetic import add, mul, pow, sub, trunc
from trtnn.ops.carrying import carried
from trtnn.ops.comparison import lt, where
from trtnn.ops.unary import abs, exp, reciprocal

# log(erfc(x) / t) + x² as a polynomial of 2t - 1, where t = 1 / (1 + x / 2); fitted to 5e-8, the constant first.
_ERFC = (
    -0.671794059, 0.672642741, 0.0473413892, -0.0468830521, -0.00985150712, 0.00872972764, 0.00169208204,
    -0.00204846118, -0.000111879751, 0.000283066824,
)  # fmt: skip


def ldexp(input: Operand, other: Operand) -> Tensor:
    """Return input · 2^other, broadcast, carried in fp32; integers become floating."""
    (x, exponent), dtype = carried(input, other)
    return cast(mul(x, pow(2.0, exponent)), dtype)


def frac(input: Tensor) -> Tensor:
    """Return input - trunc(input), which has the sign of input."""
    expect_floating(input, "frac")
    return sub(input, trunc(input))


def erfc(input: Tensor) -> Tensor:
    """Return 1 - erf(x), carried in fp32, with six digits where it comes near 0 as well."""
    (x,), dtype = carried(input)
    size = abs(x)
    t = reciprocal(add(mul(size, 0.5), 1))
    at = sub(mul(t, 2), 1)
    total = mul(at, _ERFC[-1])
    for coefficient in _ERFC[-2:0:-1]:
        total = mul(add(total, coefficient), at)
    exponent = sub(add(total, _ERFC[0]), mul(size, size))
    tail = mul(t, exp(exponent))
    return cast(where(lt(x, 0), sub(2.0, tail), tail), dtype)
