"""Lengths that are known only when a network runs: dimensions with a range, and arithmetic with them.

A :class:`Size` is a polynomial with integer coefficients in normal form. Its unknowns are dimensions divided by what
they are multiples of (a height that is a multiple of 32 is 32·k, so that a convolution of stride 2 halves it exactly),
and floors of quotients that do not come out even. What comes to a plain number is a plain int.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from trtnn.errors import ArgumentError, ShapeError


class _Axis(NamedTuple):
    """A dimension divided by its ``multiple_of``."""

    name: str
    min: int
    opt: int
    max: int
    multiple_of: int


class _Floor(NamedTuple):
    """The floor of a quotient; the divisor is positive."""

    dividend: tuple
    divisor: tuple


_TEXT_LIMIT = 1000  # of a length that is read: a file could hold one that takes forever
_WEIGHT_LIMIT = 2000
_DEGREE_LIMIT = 6  # of what is expanded for its bounds: to two terms for each factor
_Atom = _Axis | _Floor
_Terms = dict[tuple[_Atom, ...], int]  # coefficients by monomial; () is the constant


class Size:
    """A symbolic int: what arithmetic with a :class:`Dim` gives.

    It takes ``+ - * // %`` with ints and other Sizes. Comparisons are decided by the ranges of the dimensions, and
    raise a ShapeError where those leave it open. ``str`` gives Python's own notation, such as ``height//8 + 1``.
    """

    __slots__ = ("_terms",)
    __array_ufunc__ = None  # so that ``numpy_int * size`` comes to Size.__rmul__

    def __init__(self, terms: _Terms) -> None:
        self._terms = terms

    def __str__(self) -> str:
        return _text(self._terms)

    __repr__ = __str__

    def __hash__(self) -> int:
        return hash(frozenset(self._terms.items()))

    def __add__(self, other: Any) -> int | Size:
        return _binary(_add, self, other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> int | Size:
        return _binary(lambda a, b: _add(a, _scale(b, -1)), self, other)

    def __rsub__(self, other: Any) -> int | Size:
        return _binary(lambda a, b: _add(b, _scale(a, -1)), self, other)

    def __neg__(self) -> int | Size:
        return _number(_scale(self._terms, -1))

    def __mul__(self, other: Any) -> int | Size:
        return _binary(_multiply, self, other)

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> int | Size:
        return _binary(_floor_divide, self, other)

    def __rfloordiv__(self, other: Any) -> int | Size:
        return _binary(lambda a, b: _floor_divide(b, a), self, other)

    def __mod__(self, other: Any) -> int | Size:
        return _binary(_modulo, self, other)

    def __rmod__(self, other: Any) -> int | Size:
        return _binary(lambda a, b: _modulo(b, a), self, other)

    def __truediv__(self, other: Any) -> Any:
        if _terms_of(other) is None:
            return NotImplemented
        raise ShapeError(f"{self} / {other} is no whole number of elements", "divide with //")

    def __rtruediv__(self, other: Any) -> Any:
        if _terms_of(other) is None:
            return NotImplemented
        raise ShapeError(f"{other} / {self} is no whole number of elements", "divide with //")

    def __eq__(self, other: object) -> Any:
        return _compare(self, other, "==", lambda low, high: False if low > 0 or high < 0 else None)

    def __ne__(self, other: object) -> Any:
        return _compare(self, other, "!=", lambda low, high: True if low > 0 or high < 0 else None)

    def __lt__(self, other: object) -> Any:
        return _compare(self, other, "<", lambda low, high: True if high < 0 else False if low >= 0 else None)

    def __le__(self, other: object) -> Any:
        return _compare(self, other, "<=", lambda low, high: True if high <= 0 else False if low > 0 else None)

    def __gt__(self, other: object) -> Any:
        return _compare(self, other, ">", lambda low, high: True if low > 0 else False if high <= 0 else None)

    def __ge__(self, other: object) -> Any:
        return _compare(self, other, ">=", lambda low, high: True if low >= 0 else False if high < 0 else None)

    def __bool__(self) -> bool:
        return self != 0

    def __index__(self) -> int:
        raise ShapeError(
            f"{self} is known only when the network runs, and Python asks for it now",
            f"{ranges([self])}",
            f"functional.arange({self}) counts up to it within the network",
        )

    __int__ = __float__ = __index__

    @property
    def dims(self) -> tuple[_Axis, ...]:
        """The dimensions in it, each with name, min, opt, max and multiple_of."""
        return tuple(dict.fromkeys(_axes(self._terms)))


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
        if not isinstance(name, str) or not name.isidentifier():
            raise ArgumentError(f"the name of a dimension is a Python name such as 'height', not {name!r}")
        lengths = (min, opt, max, multiple_of)
        if not all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) and n > 0 for n in lengths):
            raise ArgumentError(f"the lengths of dimension {name!r} are positive ints, not {lengths}")
        if not min <= opt <= max:
            raise ArgumentError(f"dimension {name!r} takes min <= opt <= max, not {min}, {opt}, {max}")
        if any(n % multiple_of for n in (min, opt, max)):
            raise ArgumentError(f"dimension {name!r}: {min}, {opt} and {max} are not all multiples of {multiple_of}")
        axis = _Axis(name, *map(int, lengths))
        super().__init__({(axis,): axis.multiple_of})
        self.name, self.min, self.opt, self.max, self.multiple_of = axis

    def describe(self) -> str:
        """Return its range in words: ``height is 320 to 1280, a multiple of 32``."""
        return ranges([self])

    def holds(self, length: int) -> bool:
        """Whether a length is within the range."""
        return self.min <= length <= self.max and length % self.multiple_of == 0


Length = int | Size
_SYMBOLIC = frozenset((Size, Dim))


# -- what the rest asks of lengths ------------------------------------------------------------------------------------


def same(a: Length, b: Length) -> bool:
    """Whether two lengths are equal whatever the dimensions are, as far as their normal forms tell."""
    if type(a) is int and type(b) is int:
        return a == b
    return not _cleaned(_add(_terms_of(a), _scale(_terms_of(b), -1)))


def same_shape(a: Sequence[Length], b: Sequence[Length]) -> bool:
    """Whether two shapes are the same, length by length; see :func:`same`."""
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


def is_static(shape: Iterable[Length]) -> bool:
    """Whether no length is symbolic."""
    return _SYMBOLIC.isdisjoint(map(type, shape))


def bounds(length: Length) -> tuple[int, int]:
    """Return numbers that a length is never below and never above."""
    return (length, length) if isinstance(length, int) else _bounds(length._terms)


def evaluate(length: Length, values: Mapping[str, int]) -> int:
    """Return a length where the dimensions have these lengths, by name."""
    return _evaluate(length, lambda axis: values[axis.name])


def at_opt(length: Length) -> int:
    """Return a length where every dimension has the one that it is fastest at."""
    return _evaluate(length, lambda axis: axis.opt)


def ranges(lengths: Iterable[Length]) -> str:
    """Return in words the range of each dimension in some lengths."""
    found = dict.fromkeys(axis for length in lengths if isinstance(length, Size) for axis in length.dims)
    return ", and ".join(
        f"{axis.name} is {axis.min} to {axis.max}" + (f", a multiple of {axis.multiple_of}" * (axis.multiple_of > 1))
        for axis in found
    )


class Piece(NamedTuple):
    """One summand of a length: ``multiplier`` · the factors // ``divisor``, which comes out even."""

    multiplier: int
    factors: tuple[str | tuple[Length, Length], ...]  # the names of dimensions, and dividend and divisor of floors
    divisor: int


def pieces(length: Length) -> list[Piece]:
    """Return what a length is the sum of, the constant last."""
    return [_piece(monomial, factor) for monomial, factor in _in_order(_terms_of(length))]


def parse(text: str, dims: Mapping[str, Length]) -> Length:
    """Return the length that ``str`` of it gave.

    Raises:
        ValueError: the text is none, or names a dimension that is not in ``dims``.
    """
    operations = {
        ast.Add: lambda a, b: a + b,
        ast.Sub: lambda a, b: a - b,
        ast.Mult: lambda a, b: a * b,
        ast.FloorDiv: lambda a, b: a // b,
        ast.Mod: lambda a, b: a % b,
    }

    def read(node: ast.expr) -> Length:
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return node.value
        if isinstance(node, ast.Name) and node.id in dims:
            return dims[node.id]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -read(node.operand)
        if isinstance(node, ast.BinOp) and type(node.op) in operations:
            left, right = read(node.left), read(node.right)
            if _weight(left) * _weight(right) > _WEIGHT_LIMIT:  # what they come to could be of any size
                raise ValueError("it is too complicated")
            return operations[type(node.op)](left, right)
        raise ValueError(f"{ast.unparse(node)!r} in the length {text!r}")

    try:
        if len(text) > _TEXT_LIMIT:
            raise ValueError(f"it has {len(text):,} characters, {_TEXT_LIMIT:,} are read")
        return read(ast.parse(text, mode="eval").body)
    except (SyntaxError, ZeroDivisionError, RecursionError, MemoryError) as error:  # of nesting Python raises the last
        raise ValueError(f"{text[:_TEXT_LIMIT]!r} is no length: {error or type(error).__name__}") from error


def _weight(length: Length) -> int:
    """Return how many monomials there are in a length and in its floors."""
    if isinstance(length, int):
        return 1
    return sum(
        1 + sum(_weight(Size(dict(part))) for atom in monomial if isinstance(atom, _Floor) for part in atom)
        for monomial in length._terms
    )


# -- terms ------------------------------------------------------------------------------------------------------------


def _terms_of(value: Any) -> _Terms | None:
    if isinstance(value, Size):
        return value._terms
    if isinstance(value, (int, np.integer)):
        return {(): int(value)}
    return None


def _cleaned(terms: _Terms) -> _Terms:
    return {monomial: factor for monomial, factor in terms.items() if factor}


def _number(terms: _Terms) -> Length:
    """Return terms as a Size, or as an int where there is no more in them."""
    terms = _cleaned(terms)
    return Size(terms) if any(terms) else terms.get((), 0)


def _binary(operation: Callable[[_Terms, _Terms], _Terms], a: Size, b: Any) -> Any:
    terms = _terms_of(b)
    return NotImplemented if terms is None else _number(operation(a._terms, terms))


def _add(a: _Terms, b: _Terms) -> _Terms:
    total = dict(a)
    for monomial, factor in b.items():
        total[monomial] = total.get(monomial, 0) + factor
    return total


def _scale(a: _Terms, by: int) -> _Terms:
    return {monomial: factor * by for monomial, factor in a.items()}


def _multiply(a: _Terms, b: _Terms) -> _Terms:
    total: _Terms = {}
    for (m, p), (n, q) in product(a.items(), b.items()):
        joined = tuple(sorted(m + n, key=repr))
        total[joined] = total.get(joined, 0) + p * q
    return total


def _modulo(a: _Terms, b: _Terms) -> _Terms:
    return _add(a, _scale(_multiply(b, _floor_divide(a, b)), -1))


def _key(terms: _Terms) -> tuple:
    return tuple(sorted(terms.items(), key=repr))


def _floor_divide(a: _Terms, b: _Terms) -> _Terms:
    divisor = _number(b)
    if isinstance(divisor, Size):
        return _divide_by_size(a, b)
    if divisor == 0:
        raise ZeroDivisionError(f"{_text(a)} // 0")
    if divisor < 0:
        return _floor_divide(_scale(a, -1), {(): -divisor})
    low, high = _bounds(a)
    if divisor > 1 and low // divisor == high // divisor:
        return {(): low // divisor}
    even = {monomial: factor // divisor for monomial, factor in a.items()}
    rest = {monomial: factor % divisor for monomial, factor in a.items() if factor % divisor}
    if not any(rest):  # what is left of the constant is less than the divisor
        return even
    return _add(even, _floor(rest, divisor))


def _floor(rest: _Terms, divisor: int) -> _Terms:
    """Return the floor of terms, none of which comes out even."""
    common = math.gcd(divisor, *(factor for monomial, factor in rest.items() if monomial))
    rest, divisor = _cleaned({monomial: factor // common for monomial, factor in rest.items()}), divisor // common
    low, high = _bounds(rest)
    if low // divisor == high // divisor:
        return {(): low // divisor}
    (monomial, factor), *others = sorted(rest.items(), key=lambda item: not item[0])
    if not others or [m for m, _ in others] == [()]:
        inner = monomial[0]
        if factor == len(monomial) == 1 and isinstance(inner, _Floor) and not any(dict(inner.divisor)):
            # floor((floor(n / d) + c) / divisor) = floor((n + d·c) / (d·divisor))
            d = dict(inner.divisor)[()]
            return _floor_divide(_add(dict(inner.dividend), {(): d * rest.get((), 0)}), {(): d * divisor})
    return {(_Floor(_key(rest), _key({(): divisor})),): 1}


def _divide_by_size(a: _Terms, b: _Terms) -> _Terms:
    if _bounds(b)[0] <= 0:
        raise ShapeError(f"division by {_text(b)}, which is not always positive", ranges([Size(b)]))
    exact = _divide_exactly(a, b)
    if exact is not None:
        return exact
    atom = _Floor(_key(_cleaned(a)), _key(b))
    least, most = _atom_bounds(atom)
    return {(): least} if least == most else {(atom,): 1}


def _divide_exactly(a: _Terms, b: _Terms) -> _Terms | None:
    """Return the quotient of two polynomials, or None where it does not come out even."""
    lead, lead_factor = max(b.items(), key=_order)
    quotient: _Terms = {}
    rest = _cleaned(a)
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
        quotient = _add(quotient, term)
        rest = _cleaned(_add(rest, _scale(_multiply(term, b), -1)))
    return quotient


def _order(item: tuple[tuple[_Atom, ...], int]) -> tuple[int, list[str]]:
    """By degree, then by name: an order that products keep, as the division of polynomials needs."""
    return len(item[0]), list(map(repr, item[0]))


def _bounds(terms: _Terms) -> tuple[int, int]:
    ends = {atom: _atom_bounds(atom) for monomial in terms for atom in monomial}  # once: they nest
    lowest = highest = 0
    for monomial, factor in terms.items():
        low = high = factor
        for atom in monomial:
            corners = [x * y for x, y in product((low, high), ends[atom])]
            low, high = min(corners), max(corners)
        lowest, highest = lowest + low, highest + high
    if len(terms) > 1 and 1 < max(map(len, terms)) <= _DEGREE_LIMIT:
        low, high = _bounds_above_least(terms, ends)
        lowest, highest = max(lowest, low), min(highest, high)
    return lowest, highest


def _bounds_above_least(terms: _Terms, ends: Mapping[_Atom, tuple[int, int]]) -> tuple[int, int]:
    """Return bounds by what each factor is above its least, where (h - 2)·(w - 2) has no negative terms."""
    above: _Terms = {}
    for monomial, factor in terms.items():
        part: _Terms = {(): factor}
        for atom in monomial:
            part = _multiply(part, {(atom,): 1, (): ends[atom][0]})
        above = _add(above, part)
    lowest = highest = above.pop((), 0)
    for monomial, factor in above.items():
        most = factor * math.prod(ends[atom][1] - ends[atom][0] for atom in monomial)
        lowest, highest = lowest + min(most, 0), highest + max(most, 0)
    return lowest, highest


def _atom_bounds(atom: _Atom) -> tuple[int, int]:
    if isinstance(atom, _Axis):
        return atom.min // atom.multiple_of, atom.max // atom.multiple_of
    corners = [x // y for x, y in product(_bounds(dict(atom.dividend)), _bounds(dict(atom.divisor)))]
    return min(corners), max(corners)


def _axes(terms: _Terms) -> Iterable[_Axis]:
    for monomial in terms:
        for atom in monomial:
            if isinstance(atom, _Axis):
                yield atom
            else:
                yield from _axes(dict(atom.dividend))
                yield from _axes(dict(atom.divisor))


def _evaluate(length: Length, value_of: Callable[[_Axis], int]) -> int:
    def value(atom: _Atom) -> int:
        if isinstance(atom, _Axis):
            return value_of(atom) // atom.multiple_of
        return total(dict(atom.dividend)) // total(dict(atom.divisor))

    def total(terms: _Terms) -> int:
        return sum(factor * math.prod(map(value, monomial)) for monomial, factor in terms.items())

    return length if isinstance(length, int) else total(length._terms)


def _compare(a: Size, other: object, sign: str, decide: Callable[[int, int], bool | None]) -> Any:
    terms = _terms_of(other)
    if terms is None:
        return NotImplemented
    difference = _cleaned(_add(a._terms, _scale(terms, -1)))
    if not difference:
        return sign in ("==", "<=", ">=")
    answer = decide(*_bounds(difference))
    if answer is None and sign in ("==", "!="):
        step = math.gcd(*(factor for monomial, factor in difference.items() if monomial))
        if difference.get((), 0) % step:  # never 0: what varies does so in steps that pass it by
            answer = sign == "!="
    if answer is None:
        raise ShapeError(
            f"whether {a} {sign} {other} is known only when the network runs",
            ranges([a, other] if isinstance(other, Size) else [a]),
            "another range or multiple_of may settle it",
        )
    return answer


# -- text -------------------------------------------------------------------------------------------------------------


def _in_order(terms: _Terms) -> list[tuple[tuple[_Atom, ...], int]]:
    return sorted(terms.items(), key=lambda item: (-len(item[0]), item[1] < 0, repr(item[0])))


def _piece(monomial: tuple[_Atom, ...], factor: int) -> Piece:
    axes = [atom for atom in monomial if isinstance(atom, _Axis)]
    share = Fraction(factor, math.prod(axis.multiple_of for axis in axes))
    floors = [
        (_number(dict(atom.dividend)), _number(dict(atom.divisor))) for atom in monomial if isinstance(atom, _Floor)
    ]
    return Piece(share.numerator, (*(axis.name for axis in axes), *floors), share.denominator)


def _text(terms: _Terms) -> str:
    text = ""
    for monomial, factor in _in_order(terms):
        multiplier, factors, divisor = _piece(monomial, abs(factor))
        words = [name if isinstance(name, str) else _floor_text(*name) for name in factors]
        if len(words) > 1 or multiplier > 1 or divisor > 1 or factor < 0:
            words = [word if word.isidentifier() else f"({word})" for word in words]
        if multiplier > 1 or not words:
            words.insert(0, str(multiplier))
        shown = "*".join(words) + (f"//{divisor}" if divisor > 1 else "")
        sign = "-" if factor < 0 else "+"
        text = f"{text} {sign} {shown}" if text else f"-{shown}" if factor < 0 else shown
    return text or "0"


def _floor_text(dividend: Length, divisor: Length) -> str:
    if isinstance(divisor, int):  # in whole dimensions: (height + 32)//64, not (height//32 + 1)//2
        scale = math.lcm(*(piece.divisor for piece in pieces(dividend)))
        dividend, divisor = dividend * scale, divisor * scale
    above, below = str(dividend), str(divisor)
    return f"{above if above.isidentifier() else f'({above})'}//{below if below.isalnum() else f'({below})'}"
