"""Quotients that are whole numbers, and what they leave.

TensorRT has no fmod: of floating numbers it is made of steps none of which rounds, see :func:`_reduced`. Of integers
its FLOOR_DIV has been seen to round the wrong way, see :func:`_of_integers`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from trtnn.dtypes import DType, bfloat16, float16, float32, int32, int64
from trtnn.errors import ArgumentError, DTypeError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Operand, expect_number
from trtnn.ops._promotion import align, cast, converted, graph_of, promote, wide
from trtnn.ops.arithmetic import add, elementwise, maximum, mul, sub, trunc
from trtnn.ops.arithmetic import div as quotient
from trtnn.ops.comparison import eq, gt, isinf, logical_and, logical_not, lt, ne, where
from trtnn.ops.unary import abs, floor, neg, round, sign

_LEAST = 2.0**-86  # the smallest divisor whose lower digits are normal numbers in every step
_BELOW = 1 - 2.0**-21  # estimates of quotients times this are too small, though the division may round by 2 ulp
_WHOLE = 2.0**24  # from here on every fp32 number is whole, and so is a quotient as it is


def div(input: Operand, other: Operand, *, rounding_mode: str | None = None) -> Tensor:
    """Return input / other, broadcast; integers become the floating type that the network computes in.

    Args:
        rounding_mode: None; ``"floor"``, towards minus infinity, or ``"trunc"``, towards zero: both keep integers.

    Raises:
        ArgumentError: another ``rounding_mode``.
        ShapeError: the shapes do not broadcast together.
    """
    if rounding_mode is None:
        return quotient(input, other)
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode != "trunc":
        raise ArgumentError(f"rounding_mode is None, 'floor' or 'trunc', not {rounding_mode!r}")
    a, b = _operands(input, other, "div")
    if not a.dtype.is_floating_point:
        whole, rest = _of_integers(a, b, other)
        return where(_apart(rest, a, b), add(whole, 1), whole)
    return trunc(cast(quotient(wide(a), wide(b)), a.dtype))  # torch cuts off what it has rounded


def _shifted(input: Operand, other: Operand, sign: str) -> tuple[Tensor, int, int]:
    """Return the operands of a shift, and how many bits the numbers of the first have.

    Raises:
        UnsupportedError: it is shifted by a Tensor.
        DTypeError: it holds no int32 or int64.
        ArgumentError: it is shifted by a number below 0.
    """
    graph = graph_of(input, other)
    why = "TensorRT has no bitwise arithmetic: a shift by a number is a product or a quotient"
    if not isinstance(other, (int, np.integer)):
        raise UnsupportedError(f"{sign} in {graph.where} by what is no number", why)
    (shifted,) = promote(input, graph=graph)
    if shifted.dtype not in (int32, int64):
        raise DTypeError(f"{sign} in {graph.where} takes int32 or int64, not {shifted.dtype.name}", why)
    if other < 0:
        raise ArgumentError(f"{sign} by {other}: a shift is from 0 on")
    return shifted, int(other), 64 if shifted.dtype is int64 else 32


def bitwise_right_shift(input: Operand, other: Operand) -> Tensor:
    """Return ``>>`` by a number: the largest whole number that is not above input / 2^other.

    Raises:
        UnsupportedError: it is shifted by a Tensor.
        DTypeError: the input holds no int32 or int64.
        ArgumentError: the number is negative.
    """
    shifted, by, bits = _shifted(input, other, ">>")
    if by < bits - 1:
        return floor_divide(shifted, 2**by)
    return where(lt(shifted, 0), sub(mul(shifted, 0), 1), mul(shifted, 0))


def bitwise_left_shift(input: Operand, other: Operand) -> Tensor:
    """Return ``<<`` by a number: input · 2^other, of which the upper bits are lost.

    Raises:
        UnsupportedError: it is shifted by a Tensor.
        DTypeError: the input holds no int32 or int64.
        ArgumentError: the number is negative.
    """
    shifted, by, bits = _shifted(input, other, "<<")
    return mul(shifted, 2**by if by < bits - 1 else -(2**by) if by == bits - 1 else 0)


def floor_divide(input: Operand, other: Operand) -> Tensor:
    """Return the largest whole number that is not above input / other, in the type of the two (``//``).

    It is that of the exact quotient below 2^24, and the quotient itself beyond, as fp32 holds it.
    """
    a, b = _operands(input, other, "floor_div")
    if not a.dtype.is_floating_point:
        return _of_integers(a, b, other)[0]
    # torch rounds a number to no half here, as it does for a remainder.
    x, y, divisor, holds = _carried(a, b, _divisor(other, float32))
    rough = quotient(x, y)
    if divisor is not None and (divisor == 0 or math.isnan(divisor)):
        return cast(rough, a.dtype)
    result = _exact_floor(x, y, rough, divisor, holds)
    never = isinf(x) if divisor else logical_and(isinf(x), ne(y, 0))
    return cast(where(never, math.nan, result), a.dtype)


def _exact_floor(x: Tensor, y: Tensor, rough: Tensor, divisor: float | None, holds: DType) -> Tensor:
    """Return the floor of x / y, of which ``rough`` may have been rounded up to a whole number."""
    direction = sign(y) if divisor is None else math.copysign(1.0, divisor)
    if divisor is not None and math.frexp(divisor)[0] in (0.5, -0.5):  # a power of two: nothing is rounded
        return floor(rough)
    if divisor is not None and math.isinf(divisor):
        return where(lt(mul(x, direction), 0), -1.0, mul(rough, 0.0))
    rest, counts = _reduced(x, _steps(divisor, y, holds, 25), counted=True)
    whole = functools.reduce(add, counts)
    exact = lt(abs(rough), _WHOLE)
    if divisor is None:
        infinite = isinf(y)
        rest, whole = where(infinite, x, rest), where(infinite, 0.0, whole)
        exact = logical_and(exact, eq(rest, rest))  # it is NaN where y is too small or too large for its parts
    whole = mul(whole, direction)
    below = lt(mul(rest, direction), 0)
    return where(exact, where(below, sub(whole, 1), whole), floor(rough))


def remainder(input: Operand, other: Operand) -> Tensor:
    """Return input - other · floor(input / other), broadcast (``%``): it has the sign of ``other``.

    Of floating numbers it is exact, as in torch, where |other| is above 2^-86, or fp16, and |input| below 2^127: for
    every quotient where other is a number or both are fp16, and for quotients up to 2^64 where it is an fp32 or bf16
    tensor below 2^115, beyond which the result is NaN. By 0 it is NaN, and so is that of infinity.

    Raises:
        UnsupportedError: other is a floating number below 2^-100.
    """
    a, b = _operands(input, other, "remainder")
    if not a.dtype.is_floating_point:
        return _of_integers(a, b, other)[1]
    x, y, divisor, holds = _carried(a, b, _divisor(other, b.dtype))
    rest = _rest(x, y, divisor, holds)
    positive = mul(rest, sign(y)) if divisor is None else rest if divisor > 0 else neg(rest)
    return cast(where(lt(positive, 0), add(rest, y), rest), a.dtype)


def fmod(input: Operand, other: Operand) -> Tensor:
    """Return input - other · trunc(input / other), broadcast: it has the sign of ``input``.

    It is exact where :func:`remainder` is, and raises the same errors.
    """
    a, b = _operands(input, other, "fmod")
    if not a.dtype.is_floating_point:
        _, rest = _of_integers(a, b, other)
        return where(_apart(rest, rest, a), sub(rest, b), rest)
    x, y, divisor, holds = _carried(a, b, _divisor(other, b.dtype))
    rest = _rest(abs(x), y, divisor and math.fabs(divisor), holds)
    rest = where(lt(rest, 0), add(rest, abs(y)), rest)
    return cast(mul(rest, sign(x)), a.dtype)


def _operands(input: Operand, other: Operand, what: str) -> list[Tensor]:
    a, b = align(input, other)
    expect_number(a, what)
    return [a, b]


# -- integers ----------------------------------------------------------------------------------------------------------


def _of_integers(a: Tensor, b: Tensor, divisor: Operand) -> tuple[Tensor, Tensor]:
    """Return the floor of a / b and what it leaves, with the sign of b.

    TensorRT 10.7 was reported to give -1 for 18542495 % 32: FLOOR_DIV had taken the quotient in fp32, rounded up. So
    what the quotient leaves is divided again, which such an error leaves within one of the right one, and is corrected.
    """
    number = int(converted(divisor, a.dtype)) if isinstance(divisor, (int, np.integer)) else None
    if number == 0:
        raise ArgumentError(f"a division of integers by 0 in {a.graph.where}")
    whole = elementwise("FLOOR_DIV", a, b)
    rest = sub(a, mul(whole, b))
    again = elementwise("FLOOR_DIV", rest, b)
    whole, rest = add(whole, again), sub(rest, mul(again, b))
    if number is not None:
        below, beyond = (lt(rest, 0), gt(rest, number - 1)) if number > 0 else (gt(rest, 0), lt(rest, number + 1))
    else:
        # without magnitudes: the least integer has none
        below, beyond = _apart(rest, rest, b), logical_not(where(lt(b, 0), gt(rest, b), lt(rest, b)))
    whole = where(below, sub(whole, 1), where(beyond, add(whole, 1), whole))
    rest = where(below, add(rest, b), where(beyond, sub(rest, b), rest))
    return whole, rest


def _apart(rest: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return whether there is a rest while one of two integers is negative and the other is not."""
    return logical_and(ne(rest, 0), ne(lt(a, 0), lt(b, 0)))


# -- floating numbers --------------------------------------------------------------------------------------------------


def _divisor(value: Operand, dtype: DType) -> float | None:
    """Return a divisor that is a number as the type of the operands holds it, or None for one that is a tensor."""
    if isinstance(value, np.ndarray) and not value.shape:
        value = value.item()
    if not isinstance(value, (bool, int, float, np.number)):
        return None
    if dtype is not bfloat16:
        with np.errstate(over="ignore"):
            return float((np.float16 if dtype is float16 else np.float32)(value))
    bits = np.float32(value).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + (bits >> np.uint64(16) & np.uint64(1))) & np.uint64(0xFFFF0000)
    return float(value) if math.isnan(value) else float(bits.astype(np.uint32).view(np.float32))


def _carried(a: Tensor, b: Tensor, divisor: float | None) -> tuple[Tensor, Tensor, float | None, DType]:
    """Return operands in fp32, the second as a number if it is one, and the type whose numbers they hold.

    That is fp32 where a half tensor was made of an fp32 one, which takes its place, and where networks are weakly
    typed: TensorRT may keep there in fp32 what was traced in fp16.
    """
    whole = [tensor.unrounded is not None for tensor in (a, *([b] if divisor is None else []))]
    holds = a.dtype if a.graph.backend.capabilities.strongly_typed and not any(whole) else float32
    as_tensor = divisor is None or math.isinf(divisor)  # infinity is not everywhere a constant
    return wide(a), wide(b) if as_tensor else a.graph.constant(divisor, float32, b.ndim), divisor, holds


def _rest(x: Tensor, y: Tensor, divisor: float | None, holds: DType) -> Tensor:
    """Return what lies between -|y| and |y| and differs from x by a multiple of y, in fp32."""
    largest = 16 if holds is float16 else 128
    if divisor is None:
        span = 40 if holds is float16 else 65
        rest, _ = _reduced(x, _steps(None, y, holds, span), limited=holds is not float16)
        return where(lt(abs(x), abs(y)), x, rest)
    size = math.fabs(divisor)
    if size == 0 or math.isnan(size):
        return mul(x, math.nan)
    if math.isinf(size):
        return where(isinf(x), math.nan, x)
    mantissa, exponent = math.frexp(size)
    if mantissa == 0.5 and 1 <= size <= _WHOLE:  # a power of two: no step rounds
        return sub(x, mul(floor(mul(x, 1 / divisor)), divisor))
    return _reduced(x, _steps(divisor, y, holds, largest - exponent + 1))[0]


class _Step(NamedTuple):
    """One multiple of the divisor by a power of two.

    Attributes:
        multiple: the power of two.
        most: what the whole number that it takes off stays below.
        inverse: what x is multiplied by for the quotient; for a tensor as divisor, before it is divided by ``divisor``.
        high, low: the upper and the lower digits of the divisor; a number is that multiple, a tensor the divisor.
    """

    multiple: float
    most: float
    inverse: float
    divisor: Tensor | None
    high: Operand
    low: Operand | None


def _steps(divisor: float | None, y: Tensor, holds: DType, span: int) -> Sequence[_Step]:
    """Return the steps that take off quotients up to 2^span.

    Each takes off a whole number q of 10 to 16 bits, such that q times the upper digits of the divisor, q times the
    lower ones, and both differences are fp32 numbers: the divisor has 24 bits, in two parts of 12 or 14, or so few that
    it needs no parts.
    """
    if divisor is None:
        bits = {float16: 11, bfloat16: 8}.get(holds, 24)
        taken = 10 if bits == 24 else min(16, 24 - bits)
    else:
        size = math.fabs(divisor)
        if size < 2.0**-100:
            raise UnsupportedError(f"a remainder of a division by {divisor}", "its lower digits are no normal numbers")
        whole = int(math.frexp(size)[0] * 2**24)
        bits = 24 - ((whole & -whole).bit_length() - 1)
        taken = min(16, 24 - bits) if bits <= 12 else 11
        span = min(span, 129 - math.frexp(size)[1])  # beyond which there are no numbers
    powers = [*range(max(0, span - taken + 1), 0, -taken), 0]
    multiples, most = [2.0**power for power in powers], 2.0 ** (taken - 1) + 2
    if divisor is not None:
        high = size if bits <= 12 else math.ldexp(whole >> 12 << 12, math.frexp(size)[1] - 24)
        low = size - high
        return [
            _Step(m, most, float(np.float32(_BELOW / (size * m))), None, high * m, low * m or None) for m in multiples
        ]
    y = abs(y)
    if bits == 24:
        y, (high, low) = _parts(y)
    else:
        high, low = y, None
    return [_Step(m, most, _BELOW / m, y, high, low) for m in multiples]


def _parts(y: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return a positive divisor, or 0 where it is too small, and it in two parts: 12 bits, not above it, and 14 bits.

    The sum with 4096 times itself rounds the lower digits off. The maximum keeps the product apart from the difference
    that follows, which a GPU would else compute as one.
    """
    y = where(lt(y, _LEAST), 0.0, y)
    lower = mul(y, 1 - 2.0**-11)
    rounded = maximum(mul(lower, 4097.0), 0.0)
    high = sub(rounded, sub(rounded, lower))
    return y, (high, sub(y, high))


def _reduced(
    x: Tensor, steps: Sequence[_Step], counted: bool = False, limited: bool = False
) -> tuple[Tensor, list[Tensor]]:
    """Return what is left of x, at most about half of a divisor, when multiples of that are taken off, and how many.

    Every product and difference is exact by the number of its bits, so that nothing changes where a GPU makes one
    operation of two; and quotients are never too large, so that a difference of numbers that are near is one too.

    Args:
        counted: whether to return how many multiples each step took off; else that list is empty.
        limited: x may be larger than the steps are for; it gives NaN.
    """
    counts: list[Tensor] = []
    for step in steps:
        estimate = mul(x, step.inverse)
        if step.divisor is not None:
            estimate = quotient(estimate, step.divisor)
        count = round(estimate)
        if limited:
            count, limited = where(lt(abs(count), step.most), count, math.nan), False
        scaled = count if step.multiple == 1 or not (counted or step.divisor is not None) else mul(count, step.multiple)
        if counted:
            counts.append(scaled)
        factor = count if step.divisor is None else scaled
        x = sub(x, mul(factor, step.high))
        if step.low is not None:
            x = sub(x, mul(factor, step.low))
    return x, counts
