"""Angles and the sides of triangles."""

from __future__ import annotations

import math

from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Operand
from trtnn.ops._promotion import cast
from trtnn.ops.arithmetic import add, div, mul, sub
from trtnn.ops.carrying import carried, carried_floats
from trtnn.ops.comparison import eq, gt, isinf, logical_or, where
from trtnn.ops.signs import is_negative
from trtnn.ops.unary import abs, atan, neg, sin, sqrt


def _by_size(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return which of two magnitudes is the larger, y or not, that one, and the other; where either is NaN one is."""
    steep = gt(y, x)
    return steep, where(steep, y, x), where(steep, x, y)


def atan2(input: Operand, other: Operand) -> Tensor:
    """Return the angle of the point (other, input), from -π to π, broadcast, carried in fp32.

    In all four quadrants, on the axes, for signed zeros and for infinities, as C's: the arctangent of the smaller by
    the larger magnitude, mirrored to where the point lies.
    """
    (y, x), dtype = carried(input, other)
    steep, large, small = _by_size(abs(x), abs(y))
    slope = where(eq(large, small), 1.0, div(small, large))
    angle = atan(where(eq(large, 0), small, slope))
    angle = where(steep, sub(math.pi / 2, angle), angle)
    angle = where(is_negative(x), sub(math.pi, angle), angle)
    return cast(where(is_negative(y), neg(angle), angle), dtype)


def hypot(input: Operand, other: Operand) -> Tensor:
    """Return sqrt(input² + other²), broadcast, carried in fp32; squares of large numbers do not overflow."""
    (x, y), dtype = carried_floats("hypot", input, other)
    _, large, small = _by_size(abs(x), abs(y))
    ratio = where(eq(large, 0), small, div(small, large))
    result = mul(large, sqrt(add(mul(ratio, ratio), 1)))
    return cast(where(logical_or(isinf(x), isinf(y)), math.inf, result), dtype)


def sinc(input: Tensor) -> Tensor:
    """Return sin(πx) / (πx), and 1 at 0."""
    (x,), dtype = carried(input)
    angle = mul(x, math.pi)
    return cast(where(eq(x, 0), 1.0, div(sin(angle), angle)), dtype)


def deg2rad(input: Tensor) -> Tensor:
    """Return degrees as radians: x · π / 180."""
    (x,), dtype = carried(input)
    return cast(mul(x, math.pi / 180), dtype)


def rad2deg(input: Tensor) -> Tensor:
    """Return radians as degrees: x · 180 / π."""
    (x,), dtype = carried(input)
    return cast(mul(x, 180 / math.pi), dtype)
