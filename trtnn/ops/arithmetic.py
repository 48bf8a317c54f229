"""Arithmetic, element by element."""

from __future__ import annotations

from trtnn.dtypes import bool_
from trtnn.errors import DTypeError, ShapeError
from trtnn.ops.arguments import Operand, expect_floating
from trtnn.ops.promotion import promote
from trtnn.symbolic import broadcast
from trtnn.tensor import Tensor


def _elementwise(kind: str, a: Operand, b: Operand) -> Tensor:
    a, b = promote(a, b, ndim=max(getattr(operand, "ndim", 0) for operand in (a, b)))
    if broadcast(a.shape, b.shape) is None:
        raise ShapeError(f"shapes {a.shape} and {b.shape} do not broadcast together in {a.graph.where}")
    return a.graph.emit("elementwise", a, b, getattr(a.graph.trt.ElementWiseOperation, kind))


def add(input: Operand, other: Operand) -> Tensor:
    """input + other, broadcast."""
    return _elementwise("SUM", input, other)


def sub(input: Operand, other: Operand) -> Tensor:
    """input - other, broadcast."""
    return _elementwise("SUB", input, other)


def mul(input: Operand, other: Operand) -> Tensor:
    """input · other, broadcast."""
    return _elementwise("PROD", input, other)


def div(input: Operand, other: Operand) -> Tensor:
    """input / other, broadcast; integers become the floating type that the network computes in."""
    return _elementwise("DIV", *promote(input, other, floating=True))


def pow(input: Operand, exponent: Operand) -> Tensor:
    """input to the power of exponent, broadcast; a square is one product, and so right for negative input as well."""
    if isinstance(input, Tensor) and isinstance(exponent, (int, float)) and exponent == 2:
        return mul(input, input)
    a, b = promote(input, exponent)
    expect_floating(a, "pow")
    return _elementwise("POW", a, b)


def neg(input: Tensor) -> Tensor:
    """-input."""
    if input.dtype is bool_:
        raise DTypeError("negation of a bool tensor", "torch refuses it as well")
    return input.graph.emit("unary", input, input.graph.trt.UnaryOperation.NEG)


def exp(input: Tensor) -> Tensor:
    """e to the power of input."""
    expect_floating(input, "exp")
    return input.graph.emit("unary", input, input.graph.trt.UnaryOperation.EXP)
