"""Lengths that are known only when a network runs: dimensions with a range, and arithmetic with them.

A :class:`Size` is a polynomial with integer coefficients in normal form, see :mod:`trtnn.shapes.terms`. Its unknowns
are dimensions divided by what they are multiples of (a height that is a multiple of 32 is 32·k, so that a convolution
of stride 2 halves it exactly), floors of quotients that do not come out even, and the smaller or larger of two lengths.
A polynomial that is constant is a plain int.
"""

from __future__ import annotations

import keyword
import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from trtnn.errors import ArgumentError, ShapeError
from trtnn.shapes import terms as polynomials
from trtnn.shapes.terms import Atom, Axis, Pair, Terms, add, axes_in, cleaned, interval, key, multiply, scale, subtract

LARGEST_POWER = 16  # that is multiplied out
_LONGEST = 2**63 - 1  # that TensorRT has a number for
_FLOATS = (float, np.floating)


class Size:
    """A symbolic int: what arithmetic with a :class:`Dim` gives.

    It takes ``+ - * // % **`` with ints and other Sizes; ``/``, and all of them with floats, give a
    :class:`~trtnn.shapes.floats.SymFloat`, which is a factor and no length. Comparisons are decided by the ranges of
    the dimensions, and raise a ShapeError where those leave it open; in place of ``min`` and ``max``, which compare,
    there are :func:`sym_min` and :func:`sym_max`. ``str`` gives Python's own notation, such as ``height//8 + 1``.
    """

    __slots__ = ("_terms",)
    __array_ufunc__ = None  # so that ``numpy_int * size`` comes to Size.__rmul__

    def __init__(self, terms: Terms) -> None:
        self._terms = terms

    def __str__(self) -> str:
        return _text(self._terms)

    __repr__ = __str__

    def __hash__(self) -> int:
        return hash(frozenset(self._terms.items()))

    def __add__(self, other: Any) -> Any:
        return _binary("+", add, self, other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return _binary("-", subtract, self, other)

    def __rsub__(self, other: Any) -> Any:
        return _binary("-", subtract, self, other, swapped=True)

    def __neg__(self) -> Length:
        return length_of(scale(self._terms, -1))

    def __pos__(self) -> Size:
        return self

    def __abs__(self) -> Length:
        return sym_max(self, -self)

    def __mul__(self, other: Any) -> Any:
        return _binary("*", multiply, self, other)

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        return _binary("//", floor_divide, self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return _binary("//", floor_divide, self, other, swapped=True)

    def __mod__(self, other: Any) -> Any:
        return _binary("%", _modulo, self, other)

    def __rmod__(self, other: Any) -> Any:
        return _binary("%", _modulo, self, other, swapped=True)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rshift__(self, other: int) -> Length:
        return self // 2**other

    def __lshift__(self, other: int) -> Length:
        return self * 2**other

    def __pow__(self, other: Any) -> Any:
        if isinstance(other, (int, np.integer)) and 0 <= other <= LARGEST_POWER:
            return math.prod([self] * int(other))
        return _as_float("**", self, other)

    def __rpow__(self, other: Any) -> Any:
        return _as_float("**", other, self)

    def __truediv__(self, other: Any) -> Any:
        return _as_float("/", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _as_float("/", other, self)

    def __floor__(self) -> Size:
        return self

    __ceil__ = __trunc__ = __floor__

    def __round__(self, ndigits: int | None = None) -> Size:
        return self

    def __eq__(self, other: object) -> Any:
        return _compare(self, other, "==")

    def __ne__(self, other: object) -> Any:
        return _compare(self, other, "!=")

    def __lt__(self, other: object) -> Any:
        return _compare(self, other, "<")

    def __le__(self, other: object) -> Any:
        return _compare(self, other, "<=")

    def __gt__(self, other: object) -> Any:
        return _compare(self, other, ">")

    def __ge__(self, other: object) -> Any:
        return _compare(self, other, ">=")

    def __bool__(self) -> bool:
        return self != 0

    def __index__(self) -> int:
        raise ShapeError(
            f"{self} is known only when the network runs, and Python asks for it now",
            f"{ranges([self])}",
            f"functional.arange({self}) counts up to it within the network",
        )

    __int__ = __index__

    def __float__(self) -> float:
        raise ShapeError(
            f"{self} is known only when the network runs, and Python asks for it now",
            f"{ranges([self])}",
            "as a factor it can stay what it is: x * h, x / h, x * h**0.5 in place of math.sqrt(h)",
        )

    @property
    def dims(self) -> tuple[Axis, ...]:
        """The dimensions in it, each with name, min, opt, max and multiple_of."""
        return tuple(dict.fromkeys(axes_in(self._terms)))


class Dim(Size):
    """A dimension whose length is known only when the network runs.

    Args:
        name: a Python name, such as ``"height"``. Dimensions of one name are of one length in every call.
        min, opt, max: the shortest, the one to be fastest at, and the longest.
        multiple_of: what every length is a multiple of, such as the largest stride of a network.

    Raises:
        ArgumentError: the name is no Python name, or the lengths are not in order, or not multiples.
    """

    __slots__ = ("max", "min", "multiple_of", "name", "opt")

    def __init__(self, name: str, min: int, opt: int, max: int, multiple_of: int = 1) -> None:
        if not _is_python_name(name):
            raise ArgumentError(f"the name of a dimension is a Python name such as 'height', not {name!r}")
        lengths = (min, opt, max, multiple_of)
        if not all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) and 0 < n <= _LONGEST for n in lengths):
            raise ArgumentError(f"the lengths of dimension {name!r} are positive ints, not {lengths}")
        if not min <= opt <= max:
            raise ArgumentError(f"dimension {name!r} takes min <= opt <= max, not {min}, {opt}, {max}")
        if any(n % multiple_of for n in (min, opt, max)):
            raise ArgumentError(f"dimension {name!r}: {min}, {opt} and {max} are not all multiples of {multiple_of}")
        axis = Axis(name, *map(int, lengths))
        super().__init__({(axis,): axis.multiple_of})
        self.name, self.min, self.opt, self.max, self.multiple_of = axis

    def describe(self) -> str:
        """Return its range in words: ``height is 320 to 1280, a multiple of 32``."""
        return ranges([self])

    def holds(self, length: int) -> bool:
        """Return whether a length is within the range."""
        return self.min <= length <= self.max and length % self.multiple_of == 0


def _is_python_name(name: Any) -> bool:
    """Return whether Python reads a name as that name: no keyword, and no letters that it takes for others (NFKC)."""
    is_name = isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name)
    return is_name and unicodedata.normalize("NFKC", name) == name


Length = int | Size
_SYMBOLIC = frozenset((Size, Dim))


# -- what the rest asks of lengths ------------------------------------------------------------------------------------


def same(a: Length, b: Length) -> bool:
    """Return whether two lengths are equal whatever the dimensions are, as far as normal forms and ranges tell."""
    if type(a) is int and type(b) is int:
        return a == b
    difference = subtract(terms_of_length(a), terms_of_length(b))
    if not difference:
        return True
    low, high = interval(difference)
    if low > 0 or high < 0 or not any(isinstance(atom, Pair) for monomial in difference for atom in monomial):
        return False
    return polynomials.bounds(difference) == (0, 0)  # h - h//2 and (h + 1)//2 are the same in two forms


def same_shape(a: Sequence[Length], b: Sequence[Length]) -> bool:
    """Return whether two shapes are the same, length by length; see :func:`same`."""
    return len(a) == len(b) and all(map(same, a, b))


def broadcast(*shapes: Sequence[Length]) -> tuple[Length, ...] | None:
    """Return the shape that shapes of one rank broadcast to, or None where they do not whatever the dimensions are."""
    result = []
    for first, *others in zip(*shapes, strict=True):
        longest = first
        for length in others:
            if same(length, longest) or same(length, 1):
                continue
            if not same(longest, 1):
                return None
            longest = length
        result.append(longest)
    return tuple(result)


def ceil_divide(length: Length, by: Length) -> Length:
    """Return the smallest whole number that is no less than ``length / by``."""
    return length // by if same(length % by, 0) else (length + by - 1) // by


def sym_min(a: Length, b: Length) -> Length:
    """Return the smaller of two lengths, as ``torch.sym_min``; ``min`` compares them, which ranges may leave open."""
    return _extreme("min", min, a, b)


def sym_max(a: Length, b: Length) -> Length:
    """Return the larger of two lengths, as ``torch.sym_max``; ``max`` compares them, which ranges may leave open."""
    return _extreme("max", max, a, b)


def is_static(shape: Iterable[Length]) -> bool:
    """Return whether no length is symbolic."""
    return _SYMBOLIC.isdisjoint(map(type, shape))


def bounds(length: Length) -> tuple[int, int]:
    """Return a lower and an upper bound of a length."""
    return (length, length) if isinstance(length, int) else polynomials.bounds(length._terms)


def evaluate(length: Length, values: Mapping[str, int]) -> int:
    """Return a length where the dimensions have these lengths, by name."""
    return length if isinstance(length, int) else polynomials.evaluate(length._terms, lambda axis: values[axis.name])


def at_opt(length: Length) -> int:
    """Return a length where every dimension has the one that it is fastest at."""
    return length if isinstance(length, int) else polynomials.evaluate(length._terms, lambda axis: axis.opt)


def ranges(lengths: Iterable[Any]) -> str:
    """Return in words the range of each dimension in some lengths, or in what is computed of them."""
    axes = dict.fromkeys(axis for length in lengths for axis in getattr(length, "dims", ()))
    return ", and ".join(
        f"{axis.name} is {axis.min} to {axis.max}" + (f", a multiple of {axis.multiple_of}" * (axis.multiple_of > 1))
        for axis in axes
    )


class Part(NamedTuple):
    """A function of two lengths: the floor of their quotient, or the smaller or larger one."""

    kind: str  # "//", "min" or "max"
    first: Length
    second: Length


class Piece(NamedTuple):
    """One summand of a length: ``multiplier`` · the factors // ``divisor``, a division without remainder."""

    multiplier: int
    factors: tuple[str | Part, ...]  # names of dimensions, and Parts
    divisor: int


def pieces(length: Length) -> list[Piece]:
    """Return the summands of a length, the constant last."""
    return [_piece(monomial, factor) for monomial, factor in _in_order(terms_of_length(length))]


# -- terms ------------------------------------------------------------------------------------------------------------


def _terms_of(value: Any) -> Terms | None:
    if isinstance(value, Size):
        return value._terms
    if isinstance(value, (int, np.integer)):
        return {(): int(value)}
    return None


def terms_of_length(value: Any) -> Terms:
    terms = _terms_of(value)
    if terms is None:
        raise ShapeError(f"{value} is no whole number of elements", "lengths are ints and Sizes; divide them with //")
    return terms


def length_of(terms: Terms) -> Length:
    """Return terms as a Size, or as an int where they are constant."""
    terms = cleaned(terms)
    return Size(terms) if any(terms) else terms.get((), 0)


def _binary(sign: str, operation: Callable[[Terms, Terms], Terms], a: Size, b: Any, swapped: bool = False) -> Any:
    terms = _terms_of(b)
    if terms is None:
        return _as_float(sign, *((b, a) if swapped else (a, b)))
    return length_of(operation(terms, a._terms) if swapped else operation(a._terms, terms))


def _as_float(sign: str, a: Any, b: Any) -> Any:
    """Return the SymFloat that an operation gives of lengths and floats."""
    from trtnn.shapes.floats import combined  # which is made of lengths itself

    if not all(isinstance(value, (Size, int, np.integer, *_FLOATS)) for value in (a, b)):
        return NotImplemented
    return combined(sign, a, b)


def _extreme(kind: str, pick: Callable[..., int], a: Length, b: Length) -> Length:
    first, second = terms_of_length(a), terms_of_length(b)
    if isinstance(length_of(first), int) and isinstance(length_of(second), int):
        return pick(length_of(first), length_of(second))
    low, high = polynomials.bounds(subtract(first, second))
    if low >= 0 or high <= 0:
        return length_of(first if (high <= 0) == (kind == "min") else second)
    return Size({(Pair(kind, *sorted((key(cleaned(first)), key(cleaned(second))), key=repr, reverse=True)),): 1})


def _modulo(a: Terms, b: Terms) -> Terms:
    return add(a, scale(multiply(b, floor_divide(a, b)), -1))


def floor_divide(a: Terms, b: Terms) -> Terms:
    """Return the floor of a quotient.

    Raises:
        ZeroDivisionError, ShapeError: the divisor is 0, or is a length that may be 0 or less.
    """
    divisor = length_of(b)
    if isinstance(divisor, Size):
        return _divide_by_size(a, b)
    if divisor == 0:
        raise ZeroDivisionError(f"{_text(a)} // 0")
    if divisor < 0:
        return floor_divide(scale(a, -1), {(): -divisor})
    low, high = polynomials.bounds(a)
    if divisor > 1 and low // divisor == high // divisor:
        return {(): low // divisor}
    even = {monomial: factor // divisor for monomial, factor in a.items()}
    rest = {monomial: factor % divisor for monomial, factor in a.items() if factor % divisor}
    if not any(rest):  # what is left of the constant is less than the divisor
        return even
    return add(even, _floor(rest, divisor))


def _floor(rest: Terms, divisor: int) -> Terms:
    """Return the floor of terms, none of which comes out even."""
    common = math.gcd(divisor, *(factor for monomial, factor in rest.items() if monomial))
    rest, divisor = cleaned({monomial: factor // common for monomial, factor in rest.items()}), divisor // common
    low, high = polynomials.bounds(rest)
    if low // divisor == high // divisor:
        return {(): low // divisor}
    if 2 * max(rest.values()) > divisor and 2 * max(rest.items(), key=_order)[1] > divisor:
        # floor(7·h / 8) = h - floor((h + 7) / 8): of two forms the one with less in front
        return scale(floor_divide(add(scale(rest, -1), {(): divisor - 1}), {(): divisor}), -1)
    (monomial, factor), *others = sorted(rest.items(), key=lambda item: not item[0])
    if not others or [m for m, _ in others] == [()]:
        inner = monomial[0]
        if factor == len(monomial) == 1 and is_floor_by_number(inner):
            # floor((floor(n / d) + c) / divisor) = floor((n + d·c) / (d·divisor))
            d = dict(inner.second)[()]
            return floor_divide(add(dict(inner.first), {(): d * rest.get((), 0)}), {(): d * divisor})
    return {(Pair("//", key(rest), key({(): divisor})),): 1}


def is_floor_by_number(atom: Atom) -> TypeGuard[Pair]:
    return isinstance(atom, Pair) and atom.kind == "//" and not any(dict(atom.second))


def _divide_by_size(a: Terms, b: Terms) -> Terms:
    if polynomials.bounds(b)[0] <= 0:
        raise ShapeError(f"division by {_text(b)}, which is not always positive", ranges([Size(b)]))
    exact = _divide_exactly(a, b)
    if exact is not None:
        return exact
    quotient: Terms = {(Pair("//", key(cleaned(a)), key(b)),): 1}
    least, most = polynomials.bounds(quotient)
    return {(): least} if least == most else quotient


def _divide_exactly(a: Terms, b: Terms) -> Terms | None:
    """Return the quotient of two polynomials, or None where it does not come out even."""
    lead, lead_factor = max(b.items(), key=_order)
    quotient: Terms = {}
    rest = cleaned(a)
    while rest:
        monomial, factor = max(rest.items(), key=_order)
        left = list(monomial)
        for atom in lead:
            if atom not in left:
                return None
            left.remove(atom)
        if factor % lead_factor:
            return None
        term = {tuple(left): factor // lead_factor}
        quotient = add(quotient, term)
        rest = subtract(rest, multiply(term, b))
    return quotient


def _order(item: tuple[tuple[Atom, ...], int]) -> tuple[int, list[str]]:
    """Return what orders monomials by degree, then by name: products keep that order, as polynomial division needs."""
    return len(item[0]), list(map(repr, item[0]))


# -- comparisons ------------------------------------------------------------------------------------------------------

# Of each sign, what holds of a difference that is never below the first number and never above the second, or None.
_ANSWERS: dict[str, Callable[[int, int], bool | None]] = {
    "==": lambda low, high: False if low > 0 or high < 0 else True if low == high else None,
    "!=": lambda low, high: True if low > 0 or high < 0 else False if low == high else None,
    "<": lambda low, high: True if high < 0 else False if low >= 0 else None,
    "<=": lambda low, high: True if high <= 0 else False if low > 0 else None,
    ">": lambda low, high: True if low > 0 else False if high <= 0 else None,
    ">=": lambda low, high: True if low >= 0 else False if high < 0 else None,
}


def _compare(a: Size, other: object, sign: str) -> Any:
    terms = _terms_of(other)
    if terms is None:
        return NotImplemented
    difference = subtract(a._terms, terms)
    answer = decided(difference, sign)
    if answer is None:
        from trtnn.shapes.settling import settled_by  # which computes with Sizes itself

        raise ShapeError(
            f"whether {a} {sign} {other} is known only when the network runs",
            ranges([a, other]),
            *(settled_by(difference, sign) or ["another range or multiple_of may settle it"]),
            *(["for the smaller or larger of two lengths: trtnn.sym_min, trtnn.sym_max"] if sign in "<>" else []),
        )
    return answer


def decided(difference: Terms, sign: str) -> bool | None:
    """Return whether a difference compares so with 0, such as ``"<"``; None where the ranges leave it open."""
    if not difference:
        return sign in ("==", "<=", ">=")
    decide = _ANSWERS[sign]
    answer = decide(*interval(difference))
    if answer is None:
        answer = decide(*polynomials.bounds(difference))
    if answer is None and sign in ("==", "!="):
        step = math.gcd(*(factor for monomial, factor in difference.items() if monomial))
        if difference.get((), 0) % step:  # never 0: what varies does so in steps that pass it by
            answer = sign == "!="
    return answer


# -- text -------------------------------------------------------------------------------------------------------------


def _in_order(terms: Terms) -> list[tuple[tuple[Atom, ...], int]]:
    return sorted(terms.items(), key=lambda item: (-len(item[0]), item[1] < 0, repr(item[0])))


def _piece(monomial: tuple[Atom, ...], factor: int) -> Piece:
    axes = [atom for atom in monomial if isinstance(atom, Axis)]
    share = Fraction(factor, math.prod(axis.multiple_of for axis in axes))
    parts = [
        Part(atom.kind, length_of(dict(atom.first)), length_of(dict(atom.second)))
        for atom in monomial
        if isinstance(atom, Pair)
    ]
    return Piece(share.numerator, (*(axis.name for axis in axes), *parts), share.denominator)


def _text(terms: Terms) -> str:
    text = ""
    for monomial, factor in _in_order(terms):
        multiplier, factors, divisor = _piece(monomial, abs(factor))
        floors = [not isinstance(part, str) and part.kind == "//" for part in factors]
        words = [part if isinstance(part, str) else _part_text(part) for part in factors]
        if len(words) > 1 or multiplier > 1 or divisor > 1 or factor < 0:
            words = [f"({word})" if floor else word for word, floor in zip(words, floors, strict=True)]
        if multiplier > 1 or not words:
            words.insert(0, str(multiplier))
        shown = "*".join(words) + (f"//{divisor}" if divisor > 1 else "")
        sign = "-" if factor < 0 else "+"
        text = f"{text} {sign} {shown}" if text else f"-{shown}" if factor < 0 else shown
    return text or "0"


def _part_text(part: Part) -> str:
    kind, first, second = part
    if kind != "//":
        return f"{kind}({first}, {second})"
    if isinstance(second, int):  # in whole dimensions: (height + 32)//64, not (height//32 + 1)//2
        whole = math.lcm(*(piece.divisor for piece in pieces(first)))
        first, second = first * whole, second * whole
    above, below = str(first), str(second)
    return f"{above if above.isidentifier() else f'({above})'}//{below if below.isalnum() else f'({below})'}"
