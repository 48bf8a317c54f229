"""Signs."""

from __future__ import annotations

from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Operand
from trtnn.ops._promotion import align, cast, expect_one_type
from trtnn.ops.carrying import carried
from trtnn.ops.comparison import eq, gt, lt, where
from trtnn.ops.unary import abs, neg, reciprocal


def is_negative(input: Tensor) -> Tensor:
    """Return whether floating numbers have a minus sign, -0.0 as well; NaN has none.

    Of -0.0 it is 1 / x, -infinity, that shows it.
    """
    return lt(where(eq(input, 0), reciprocal(input), input), 0)


def signbit(input: Tensor) -> Tensor:
    """Return whether each element has a minus sign, -0.0 as well; that of NaN, which means nothing, is not seen."""
    return is_negative(input) if input.dtype.is_floating_point else lt(input, 0)


def copysign(input: Operand, other: Operand) -> Tensor:
    """Return the magnitude of input with the sign of other, broadcast; integers become floating."""
    (x, y), dtype = carried(input, other)
    size = abs(x)
    return cast(where(is_negative(y), neg(size), size), dtype)


def heaviside(input: Operand, values: Operand) -> Tensor:
    """Return 0 where input is below 0, 1 where it is above, and values where it is 0, broadcast.

    Raises:
        DTypeError: the two are of different types.
    """
    if isinstance(input, Tensor) and isinstance(values, Tensor):
        expect_one_type("heaviside", input, values)
    x, at_zero = align(input, values)
    return where(eq(x, 0), at_zero, cast(gt(x, 0), x.dtype))
