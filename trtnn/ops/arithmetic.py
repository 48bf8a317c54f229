"""Arithmetic of two numbers, element by element."""

from __future__ import annotations

from trtnn.errors import ArgumentError, ShapeError
from trtnn.ops.arguments import Operand, expect_floating
from trtnn.ops.promotion import align, promote
from trtnn.ops.unary import abs, floor, reciprocal, sign
from trtnn.symbolic import broadcast
from trtnn.tensor import Tensor


def check_broadcast(*tensors: Tensor) -> None:
    """Check that shapes of equal rank broadcast together.

    Raises:
        ShapeError: they do not.
    """
    if broadcast(*[tensor.shape for tensor in tensors]) is None:
        shapes = " and ".join(str(tensor.shape) for tensor in tensors)
        raise ShapeError(f"shapes {shapes} do not broadcast together in {tensors[0].graph.where}")


def _elementwise(kind: str, a: Operand, b: Operand) -> Tensor:
    a, b = align(a, b)
    check_broadcast(a, b)
    return a.graph.emit("elementwise", a, b, getattr(a.graph.trt.ElementWiseOperation, kind))


def add(input: Operand, other: Operand, *, alpha: int | float = 1) -> Tensor:
    """input + alpha · other, broadcast."""
    return _elementwise("SUM", input, other if alpha == 1 else mul(other, alpha))


def sub(input: Operand, other: Operand, *, alpha: int | float = 1) -> Tensor:
    """input - alpha · other, broadcast."""
    return _elementwise("SUB", input, other if alpha == 1 else mul(other, alpha))


def mul(input: Operand, other: Operand) -> Tensor:
    """input · other, broadcast."""
    return _elementwise("PROD", input, other)


def div(input: Operand, other: Operand, *, rounding_mode: str | None = None) -> Tensor:
    """input / other, broadcast; integers become the floating type that the network computes in.

    Args:
        rounding_mode: None; ``"floor"``, towards minus infinity, or ``"trunc"``, towards zero: both keep integers.
    """
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode == "trunc":
        a, b = promote(input, other)
        quotient = _elementwise("DIV", a, b)  # of integers towards zero
        return trunc(quotient)
    if rounding_mode is not None:
        raise ArgumentError(f"rounding_mode is None, 'floor' or 'trunc', not {rounding_mode!r}")
    return _elementwise("DIV", *promote(input, other, floating=True))


def trunc(input: Tensor) -> Tensor:
    """The whole number next to input on the side of zero."""
    return mul(sign(input), floor(abs(input))) if input.dtype.is_floating_point else input


def floor_divide(input: Operand, other: Operand) -> Tensor:
    """The largest whole number that is not above input / other, in the type of the two (``//``)."""
    return _elementwise("FLOOR_DIV", input, other)


def remainder(input: Operand, other: Operand) -> Tensor:
    """input - other · floor(input / other), which has the sign of ``other`` (``%``)."""
    return sub(input, mul(other, floor_divide(input, other)))


def fmod(input: Operand, other: Operand) -> Tensor:
    """input - other · trunc(input / other), which has the sign of ``input``."""
    return sub(input, mul(other, div(input, other, rounding_mode="trunc")))


def maximum(input: Operand, other: Operand) -> Tensor:
    """The larger of two, broadcast."""
    return _elementwise("MAX", input, other)


def minimum(input: Operand, other: Operand) -> Tensor:
    """The smaller of two, broadcast."""
    return _elementwise("MIN", input, other)


def clamp(input: Tensor, min: Operand | None = None, max: Operand | None = None) -> Tensor:
    """min(max(input, min), max); either bound may be None, not both."""
    if min is None and max is None:
        raise ArgumentError("clamp takes min, max or both")
    raised = input if min is None else maximum(input, min)
    return raised if max is None else minimum(raised, max)


def square(input: Tensor) -> Tensor:
    """input · input."""
    return mul(input, input)


def _whole_power(base: Tensor, exponent: int) -> Tensor:
    """The product of ``exponent`` times ``base``, by squares."""
    result = None
    while exponent:
        if exponent % 2:
            result = base if result is None else mul(result, base)
        exponent //= 2
        base = mul(base, base) if exponent else base
    return result


def pow(input: Operand, exponent: Operand) -> Tensor:
    """input to the power of exponent, broadcast.

    A whole number as exponent makes products: so it is right for negative input, and for integers.

    Raises:
        DTypeError: an integer to the power of another tensor, or below 1.
    """
    if isinstance(input, Tensor) and isinstance(exponent, (int, float)):
        whole = float(exponent).is_integer() and exponent != 0
        if whole and exponent > 0 and (input.dtype.is_floating_point or isinstance(exponent, int)):
            return _whole_power(input, int(exponent))
        if whole and input.dtype.is_floating_point:
            return reciprocal(_whole_power(input, int(-exponent)))
    a, b = promote(input, exponent)
    expect_floating(a, "pow")
    return _elementwise("POW", a, b)
