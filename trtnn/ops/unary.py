"""Functions of one number, element by element."""

from __future__ import annotations

import builtins
from collections.abc import Callable

from trtnn.dtypes import bool_, float32, uint8
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import expect_floating, expect_number
from trtnn.ops._promotion import cast, floating, wide

Function = Callable[[Tensor], Tensor]


def _named(function: Function, name: str, doc: str) -> Function:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


def _of_floats(name: str, kind: str, doc: str) -> Function:
    """Return a function whose result is floating; integers become the type that the network computes in."""

    def function(input: Tensor) -> Tensor:
        return input.graph.emit("unary", floating(input), getattr(input.graph.trt.UnaryOperation, kind))

    return _named(function, name, doc)


def _of_numbers(name: str, kind: str, of_integers: Function, doc: str) -> Function:
    """Return a function that keeps the type of its input; TensorRT 8.6 has layers for floating ones alone."""

    def function(input: Tensor) -> Tensor:
        expect_number(input, name)
        if not input.dtype.is_floating_point:
            return of_integers(input)
        return input.graph.emit("unary", input, getattr(input.graph.trt.UnaryOperation, kind))

    return _named(function, name, doc)


def _with_number(kind: str, number: int, input: Tensor) -> Tensor:
    graph = input.graph
    constant = graph.constant(number, input.dtype, input.ndim)
    return graph.emit("elementwise", constant, input, getattr(graph.trt.ElementWiseOperation, kind))


def _minus(input: Tensor) -> Tensor:
    return _with_number("SUB", 0, input)


def _magnitude(input: Tensor) -> Tensor:
    if input.dtype is uint8:
        return input
    return input.graph.emit("elementwise", input, _minus(input), input.graph.trt.ElementWiseOperation.MAX)


def _direction(input: Tensor) -> Tensor:
    return _with_number("MIN", 1, input if input.dtype is uint8 else _with_number("MAX", -1, input))


def _to_whole(name: str, kind: str, doc: str) -> Function:
    """Return a function that leaves integers as they are."""

    def function(input: Tensor) -> Tensor:
        expect_number(input, name)
        if not input.dtype.is_floating_point:
            return input
        return input.graph.emit("unary", input, getattr(input.graph.trt.UnaryOperation, kind))

    return _named(function, name, doc)


exp = _of_floats("exp", "EXP", "Return e to the power of x.")
log = _of_floats("log", "LOG", "Return the natural logarithm: -infinity of 0, NaN below.")
sqrt = _of_floats("sqrt", "SQRT", "Return the square root: NaN below 0.")
reciprocal = _of_floats("reciprocal", "RECIP", "Return 1 / x.")
sin = _of_floats("sin", "SIN", "Return the sine of radians.")
cos = _of_floats("cos", "COS", "Return the cosine of radians.")
tan = _of_floats("tan", "TAN", "Return the tangent of radians.")
sinh = _of_floats("sinh", "SINH", "Return the hyperbolic sine.")
cosh = _of_floats("cosh", "COSH", "Return the hyperbolic cosine.")
asin = _of_floats("asin", "ASIN", "Return the inverse sine, in radians.")
acos = _of_floats("acos", "ACOS", "Return the inverse cosine, in radians.")
atan = _of_floats("atan", "ATAN", "Return the inverse tangent, in radians.")
asinh = _of_floats("asinh", "ASINH", "Return the inverse hyperbolic sine.")
acosh = _of_floats("acosh", "ACOSH", "Return the inverse hyperbolic cosine.")
atanh = _of_floats("atanh", "ATANH", "Return the inverse hyperbolic tangent.")
erf = _of_floats("erf", "ERF", "Return the error function.")
abs = _of_numbers("abs", "ABS", _magnitude, "Return the magnitude, |x|.")
neg = _of_numbers("neg", "NEG", _minus, "Return -x.")
ceil = _to_whole("ceil", "CEIL", "Return the smallest whole number that is not below x; integers stay as they are.")
floor = _to_whole("floor", "FLOOR", "Return the largest whole number that is not above x; integers stay as they are.")


_nearest = _to_whole("round", "ROUND", "")


def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """Round to the nearest whole number, halves to the even one; with ``decimals`` to 10^-decimals.

    That is round(x · 10^decimals) / 10^decimals.

    Raises:
        DTypeError: ``decimals`` other than 0 of integers.
    """
    if decimals == 0:
        return _nearest(input)
    expect_floating(input, "round with decimals")
    values, operation = wide(input), input.graph.trt.ElementWiseOperation
    power = input.graph.constant(10.0 ** builtins.abs(decimals), float32, input.ndim)
    there, back = (operation.PROD, operation.DIV) if decimals > 0 else (operation.DIV, operation.PROD)
    scaled = _nearest(input.graph.emit("elementwise", values, power, there))
    return cast(input.graph.emit("elementwise", scaled, power, back), input.dtype)


_sign = _of_numbers("sign", "SIGN", _direction, "")


def sign(input: Tensor) -> Tensor:
    """Return -1, 0 or 1; bools stay as they are."""
    return input if input.dtype is bool_ else _sign(input)


def rsqrt(input: Tensor) -> Tensor:
    """Return 1 / sqrt(input)."""
    return reciprocal(sqrt(input))
