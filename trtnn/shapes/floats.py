"""SymFloats: numbers computed of symbolic lengths that are no lengths themselves, such as halves and roots."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

from trtnn.errors import ShapeError
from trtnn.shapes.symbolic import LARGEST_POWER, Length, Size, bounds, ranges, same, sym_min
from trtnn.shapes.terms import Axis

_EXACT_PARTS = 1024  # a float of as many parts of 1 is taken for the fraction that it is
Value = Any  # a Length, a float or a SymFloat


class SymFloat:
    """A symbolic float, as ``torch.SymFloat``: what ``/``, ``**`` and floats make of a Size.

    It is an operand, as in ``q * h**-0.5``, and takes ``+ - * / // % **`` with numbers. It is no length:
    ``math.floor``, ``math.ceil`` and ``round`` make one of a fraction such as ``h / 2``. Comparisons are decided by the
    ranges of the dimensions, and raise a ShapeError where those leave it open.

    Attributes:
        sign: the operation, one of ``+ - * / ** floor``.
        first, second: what it is of: Lengths, floats and SymFloats. Of two Lengths and ``/`` it is an exact fraction.
        is_faithful: of a fraction, whether Python's floats, which round after each operation, give it without rounding
            wherever it is a whole number of halves, quarters and so on: then ``floor`` of either is the same. Of
            ``h / 49 * 49`` they do not: they give 53.99999999999999 where h is 54.
    """

    __slots__ = ("first", "is_faithful", "second", "sign")
    __array_ufunc__ = None  # so that ``numpy_float * number`` comes to SymFloat.__rmul__

    def __init__(self, sign: str, first: Value, second: Value, is_faithful: bool = False) -> None:
        for name, value in (("sign", sign), ("first", first), ("second", second), ("is_faithful", is_faithful)):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a SymFloat does not change: {name}")

    def __str__(self) -> str:
        first, second = (
            str(v) if not isinstance(v, (Size, SymFloat)) or str(v).isidentifier() else f"({v})"
            for v in (self.first, self.second)
        )
        if self.sign == "floor":
            return f"floor({self.first})"
        return str(self.first) if (self.sign, second) == ("/", "1") else f"{first} {self.sign} {second}"

    __repr__ = __str__

    def __hash__(self) -> int:
        return hash((self.sign, self.first, self.second))

    def __add__(self, other: Any) -> Any:
        return combined("+", self, other)

    def __radd__(self, other: Any) -> Any:
        return combined("+", other, self)

    def __sub__(self, other: Any) -> Any:
        return combined("-", self, other)

    def __rsub__(self, other: Any) -> Any:
        return combined("-", other, self)

    def __mul__(self, other: Any) -> Any:
        return combined("*", self, other)

    def __rmul__(self, other: Any) -> Any:
        return combined("*", other, self)

    def __truediv__(self, other: Any) -> Any:
        return combined("/", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return combined("/", other, self)

    def __floordiv__(self, other: Any) -> Any:
        return combined("//", self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return combined("//", other, self)

    def __mod__(self, other: Any) -> Any:
        return combined("%", self, other)

    def __rmod__(self, other: Any) -> Any:
        return combined("%", other, self)

    def __pow__(self, other: Any) -> Any:
        return combined("**", self, other)

    def __rpow__(self, other: Any) -> Any:
        return combined("**", other, self)

    def __neg__(self) -> SymFloat:
        return combined("*", self, -1)

    def __pos__(self) -> SymFloat:
        return self

    def __eq__(self, other: object) -> Any:
        return _compared(self, other, "==")

    def __ne__(self, other: object) -> Any:
        return _compared(self, other, "!=")

    def __lt__(self, other: object) -> Any:
        return _compared(self, other, "<")

    def __le__(self, other: object) -> Any:
        return _compared(self, other, "<=")

    def __gt__(self, other: object) -> Any:
        return _compared(self, other, ">")

    def __ge__(self, other: object) -> Any:
        return _compared(self, other, ">=")

    def __bool__(self) -> bool:
        return self != 0

    def __floor__(self) -> Length:
        above, below = self._fraction("floor")
        return above // below

    def __ceil__(self) -> Length:
        above, below = self._fraction("ceil")
        return -(-above // below)

    def __trunc__(self) -> Length:
        return self.__floor__() if self >= 0 else self.__ceil__()

    def _fraction(self, what: str) -> tuple[Length, Length]:
        fraction = _fraction_of(self)
        if fraction and self.is_faithful:
            return fraction
        if fraction:
            raise ShapeError(
                f"{what} of {self}, which Python's floats may miss by a little, and then by one: they round on the way",
                ranges([self]),
                "compute whole numbers of lengths: h // 49 * 49 in place of int(h / 49 * 49)",
            )
        raise ShapeError(
            f"{what} of {self} is no length that a network can compute",
            ranges([self]),
            "of a fraction of lengths it is one, such as h / 2, and h * 0.5, which is the same",
        )

    def __int__(self) -> int:
        fraction = _fraction_of(self)
        raise ShapeError(
            f"int({self}) is known only when the network runs, and Python asks for it now",
            ranges([self]),
            f"divide with //: {fraction[0]} // {fraction[1]}" if fraction else "divide lengths with //",
        )

    def __float__(self) -> float:
        raise ShapeError(
            f"{self} is known only when the network runs, and Python asks for it now",
            ranges([self]),
            "as an operand it can stay what it is: x * h**0.5 in place of x * math.sqrt(h)",
        )

    def __index__(self) -> int:
        raise ShapeError(f"{self} is no whole number of elements", ranges([self]), "divide with //")

    def __round__(self, ndigits: int | None = None) -> Length:
        """Round a fraction of lengths to the nearest length, and one half way between two to the even one."""
        if ndigits is not None:
            raise ShapeError(f"round({self}, {ndigits}) is known only when the network runs", ranges([self]))
        above, below = self._fraction("round")
        twice = 2 * below
        nearest, rest = (2 * above + below) // twice, (2 * above + below) % twice  # half way rounded up, with no rest
        return nearest - (1 - sym_min(rest, 1)) * (nearest % 2)

    def __abs__(self) -> SymFloat:
        return self if self >= 0 else -self

    @property
    def dims(self) -> tuple[Axis, ...]:
        """The dimensions in it, each with name, min, opt, max and multiple_of."""
        return tuple(dict.fromkeys(axis for v in (self.first, self.second) for axis in getattr(v, "dims", ())))


def combined(sign: str, a: Any, b: Any) -> Any:
    """Return what an operation gives of numbers, one of which is a Size or a SymFloat; NotImplemented of others.

    Raises:
        ShapeError: division by what may be 0, or a power of what may be negative.
    """
    if not all(isinstance(value, (int, float, np.integer, np.floating, Size, SymFloat)) for value in (a, b)):
        return NotImplemented
    a, b = (value.item() if isinstance(value, np.generic) else value for value in (a, b))
    if sign == "//":
        return _floor(combined("/", a, b))
    if sign == "%":
        return a - b * combined("//", a, b)
    if sign == "/":
        _expect_divisor(a, b)
    first, second = _fraction_of(a), _fraction_of(b)
    exact = first and second and _exactly(sign, first, second)
    if exact:
        return _reduced(*exact, _stays_faithful(sign, a, b))
    if sign == "**":
        low, _ = _range(a)
        if low < 0 or (low == 0 and _range(b)[0] < 0):
            raise ShapeError(f"{a} ** {b}, a power of what may be {'0' if low == 0 else 'negative'}", ranges([a, b]))
    return SymFloat(sign, a, b)


def _fraction_of(value: Value) -> tuple[Length, Length] | None:
    """Return numerator and denominator, above 0, of an exact fraction of lengths; None of what is none."""
    if isinstance(value, (int, Size)):
        return value, 1
    if isinstance(value, SymFloat):
        lengths = isinstance(value.first, (int, Size)) and isinstance(value.second, (int, Size))
        return (value.first, value.second) if lengths and value.sign == "/" else None
    share = Fraction(value) if math.isfinite(value) else None
    return (share.numerator, share.denominator) if share is not None and share.denominator <= _EXACT_PARTS else None


def _exactly(sign: str, first: tuple[Length, Length], second: tuple[Length, Length]) -> tuple[Length, Length] | None:
    """Return the fraction that an operation gives of two, or None where it gives none."""
    (a, b), (c, d) = first, second
    if sign in ("+", "-"):
        c = c if sign == "+" else -c
        return (a + c, b) if same(b, d) else (a * d + c * b, b * d)
    if sign == "*":
        return a * c, b * d
    if sign == "/":
        return (a * d, b * c) if bounds(c)[0] > 0 else (-a * d, -b * c)
    if not isinstance(c, int) or d != 1 or abs(c) > LARGEST_POWER:
        return None
    if c >= 0:
        return math.prod([a] * c), math.prod([b] * c)
    _expect_divisor(1, a)
    return _exactly("/", (1, 1), (math.prod([a] * -c), math.prod([b] * -c)))


def _stays_faithful(sign: str, a: Value, b: Value) -> bool:
    """Return whether what an operation gives of two fractions is faithful, see :class:`SymFloat`.

    It is where of a result that is a binary number, a whole number of halves, quarters and so on, both operands are
    binary numbers too: these are what floats hold.
    """
    if sign in ("+", "-"):
        return (_is_binary(a) and _is_faithful(b)) or (_is_faithful(a) and _is_binary(b))
    if sign == "*":
        scaled = (_is_power_of_two(a) and _is_faithful(b)) or (_is_faithful(a) and _is_power_of_two(b))
        return scaled or (_is_binary(a) and _is_binary(b))
    if sign == "/":
        return _is_faithful(a) and _is_binary(b)
    return _is_binary(a)


def _is_faithful(value: Value) -> bool:
    return not isinstance(value, SymFloat) or value.is_faithful


def _is_binary(value: Value) -> bool:
    """Return whether a value is a binary number at all lengths."""
    return not isinstance(value, SymFloat) or (value.is_faithful and _is_power_of_two(value.second))


def _is_power_of_two(value: Value) -> bool:
    return isinstance(value, (int, float)) and abs(math.frexp(value)[0]) == 0.5


def _reduced(above: Length, below: Length, is_faithful: bool) -> SymFloat:
    if same(above % below, 0):
        above, below = above // below, 1
    return SymFloat("/", above, below, is_faithful)


def _floor(value: Value) -> SymFloat:
    fraction = _fraction_of(value) if _is_faithful(value) else None
    return SymFloat("/", fraction[0] // fraction[1], 1, True) if fraction else SymFloat("floor", value, 1)


def _expect_divisor(a: Value, b: Value) -> None:
    low, high = bounds(b) if isinstance(b, (int, Size)) else _range(b)
    if low == high == 0:
        raise ZeroDivisionError(f"{a} / {b}")
    if low <= 0 <= high:
        raise ShapeError(f"{a} / {b}, which may be 0", ranges([b]))


def _range(value: Value) -> tuple[float, float]:
    """Return a lower and an upper bound of a value, but for rounding."""
    if not isinstance(value, SymFloat):
        low, high = bounds(value) if isinstance(value, (int, Size)) else (value, value)
        return float(low), float(high)
    functions = {
        "+": lambda x, y: x + y,
        "-": lambda x, y: x - y,
        "*": lambda x, y: x * y,
        "/": lambda x, y: x / y,
        "**": lambda x, y: math.inf if x == 0 and y < 0 else x**y,
        "floor": lambda x, y: math.floor(x),
    }
    corners = [functions[value.sign](x, y) for x, y in product(_range(value.first), _range(value.second))]
    return min(corners), max(corners)


def _compared(a: SymFloat, b: object, sign: str) -> Any:
    if not isinstance(b, (int, float, np.integer, np.floating, Size, SymFloat)):
        return NotImplemented
    b = b.item() if isinstance(b, np.generic) else b
    decide = {
        "==": lambda x, y: x == y,
        "!=": lambda x, y: x != y,
        "<": lambda x, y: x < y,
        "<=": lambda x, y: x <= y,
        ">": lambda x, y: x > y,
        ">=": lambda x, y: x >= y,
    }[sign]
    first, second = _fraction_of(a), _fraction_of(b)
    if first and not second and isinstance(b, float) and math.isfinite(b):
        second = Fraction(b).as_integer_ratio()
    if first and second and a.is_faithful and _is_faithful(b):
        return decide(first[0] * second[1], second[0] * first[1])
    (low, high), (least, most) = _range(a), _range(b)
    if high < least or low > most:
        return decide(low, least if high < least else most)
    raise ShapeError(f"whether {a} {sign} {b} is known only when the network runs", ranges([a, b]))
