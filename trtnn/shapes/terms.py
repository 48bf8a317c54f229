"""Polynomials in symbolic lengths: their atoms, their arithmetic, and the bounds of their values.

Bounds are sought in three ways, and the tightest hold:

* by intervals, each factor between its least and its most, also counted from its least;
* by remainders: floor(n / d) is n/d - r/d, where r is one of 0 ... d - 1, and min(a, b) is a less what a has more;
  so that h - 8·floor(h / 8) is what it is, r;
* by all values, where its dimensions have few.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from itertools import product
from typing import Any, NamedTuple

import numpy as np


class Axis(NamedTuple):
    """A dimension divided by its ``multiple_of``."""

    name: str
    min: int
    opt: int
    max: int
    multiple_of: int

    @property
    def count(self) -> int:
        """How many lengths it can have."""
        return (self.max - self.min) // self.multiple_of + 1


class Pair(NamedTuple):
    """A function of two polynomials that is no polynomial: the floor of a quotient, or the smaller or larger one.

    The two are held as :func:`key` makes them. A divisor is positive.
    """

    kind: str  # "//", "min" or "max"; within this file also "%" and "above", for a remainder and for max(a - b, 0)
    first: tuple
    second: tuple


Atom = Axis | Pair
Terms = dict[tuple[Atom, ...], int]  # coefficients by monomial; () is the constant
AnyTerms = dict[tuple[Atom, ...], Any]  # with fractions among the coefficients

_DEGREE_LIMIT = 6  # of what is expanded for its bounds: to two terms for each factor
_TERMS_LIMIT = 64  # to which a monomial is expanded by what is left of its floors
_DEPTH_LIMIT = 6  # of floors within floors that are opened
_VALUES_LIMIT = 4096  # how many are tried, of the dimensions together
_WIDEST = 1 << 62  # what all values are computed in holds no more
_FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {"//": lambda a, b: a // b, "min": np.minimum, "max": np.maximum}


def key(terms: Terms) -> tuple:
    """Return terms as a tuple, which has a hash and an order; ``dict`` of it gives them back."""
    return tuple(sorted(terms.items(), key=repr))


def cleaned(terms: AnyTerms) -> AnyTerms:
    """Return terms without those of coefficient 0."""
    return {monomial: factor for monomial, factor in terms.items() if factor}


def add(a: AnyTerms, b: AnyTerms) -> AnyTerms:
    """Return a + b; coefficients of 0 may stay."""
    total = dict(a)
    for monomial, factor in b.items():
        total[monomial] = total.get(monomial, 0) + factor
    return total


def scale(a: AnyTerms, by: Any) -> AnyTerms:
    """Return a polynomial times a number."""
    return {monomial: factor * by for monomial, factor in a.items()}


def subtract(a: Terms, b: Terms) -> Terms:
    """Return a - b, without coefficients of 0."""
    return cleaned(add(a, scale(b, -1)))


def multiply(a: AnyTerms, b: AnyTerms) -> AnyTerms:
    """Return a · b; coefficients of 0 may stay."""
    total: AnyTerms = {}
    for (m, p), (n, q) in product(a.items(), b.items()):
        joined = tuple(sorted(m + n, key=repr)) if m and n else m or n
        total[joined] = total.get(joined, 0) + p * q
    return total


def axes_in(terms: Terms) -> Iterable[Axis]:
    """Yield the dimensions in a polynomial and in its floors, each as often as it stands there."""
    for monomial in terms:
        for atom in monomial:
            if isinstance(atom, Axis):
                yield atom
            else:
                yield from axes_in(dict(atom.first))
                yield from axes_in(dict(atom.second))


def evaluate(terms: Terms, value_of: Callable[[Axis], int]) -> int:
    """Return the value of a polynomial where each dimension has the length that ``value_of`` gives."""

    def value(atom: Atom) -> int:
        if isinstance(atom, Axis):
            return value_of(atom) // atom.multiple_of
        first, second = evaluate(dict(atom.first), value_of), evaluate(dict(atom.second), value_of)
        return first // second if atom.kind == "//" else (min if atom.kind == "min" else max)(first, second)

    return sum(factor * math.prod(map(value, monomial)) for monomial, factor in terms.items())


# -- bounds -----------------------------------------------------------------------------------------------------------


def bounds(terms: Terms) -> tuple[int, int]:
    """Return a lower and an upper bound of a polynomial."""
    if all(len(monomial) < 2 and (not monomial or isinstance(monomial[0], Axis)) for monomial in terms):
        return interval(terms)  # its monomials are independent
    return _tightest(frozenset(terms.items()))


@functools.lru_cache(maxsize=1 << 14)
def _tightest(items: frozenset) -> tuple[int, int]:
    terms = cleaned(dict(items))
    low, high = interval(terms)
    least = most = terms.pop((), 0)
    for part in _independent(terms):
        ends = _of_all_values(part) or _both(interval(part), _by_remainders(part))
        least, most = least + ends[0], most + ends[1]
    return _both((low, high), (least, most))


def _both(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    return max(a[0], b[0]), min(a[1], b[1])


def interval(terms: Mapping[tuple[Atom, ...], Any]) -> tuple[Any, Any]:
    """Return bounds by those of the atoms alone."""
    ends = {atom: _ends(atom) for monomial in terms for atom in monomial}  # once: they nest
    lowest = highest = 0
    for monomial, factor in terms.items():
        low = high = factor
        for atom in monomial:
            corners = [x * y for x, y in product((low, high), ends[atom])]
            low, high = min(corners), max(corners)
        lowest, highest = lowest + low, highest + high
    if len(terms) > 1 and 1 < max(map(len, terms)) <= _DEGREE_LIMIT:
        return _both((lowest, highest), _above_least(terms, ends))
    return lowest, highest


def _above_least(terms: Mapping[tuple[Atom, ...], Any], ends: Mapping[Atom, tuple[int, int]]) -> tuple[Any, Any]:
    """Return bounds by what each factor is above its least, where (h - 2)·(w - 2) has no negative terms."""
    above: Terms = {}
    for monomial, factor in terms.items():
        part: Terms = {(): factor}
        for atom in monomial:
            part = multiply(part, {(atom,): 1, (): ends[atom][0]})
        above = add(above, part)
    lowest = highest = above.pop((), 0)
    for monomial, factor in above.items():
        most = factor * math.prod(ends[atom][1] - ends[atom][0] for atom in monomial)
        lowest, highest = lowest + min(most, 0), highest + max(most, 0)
    return lowest, highest


def _ends(atom: Atom) -> tuple[int, int]:
    if isinstance(atom, Axis):
        return atom.min // atom.multiple_of, atom.max // atom.multiple_of
    if atom.kind == "%":
        return 0, dict(atom.second)[()] - 1
    if atom.kind == "above":
        low, high = bounds(subtract(dict(atom.first), dict(atom.second)))
        return max(low, 0), max(high, 0)
    first, second = bounds(dict(atom.first)), bounds(dict(atom.second))
    if atom.kind == "//":
        corners = [x // y for x, y in product(first, second)]
        return min(corners), max(corners)
    pick = min if atom.kind == "min" else max
    return pick(first[0], second[0]), pick(first[1], second[1])


def _by_remainders(terms: Terms) -> tuple[int, int]:
    if max(map(len, terms)) > _DEGREE_LIMIT:
        return interval(terms)
    low, high = interval(cleaned(_with_remainders(terms)))
    return math.ceil(low), math.floor(high)


def _with_remainders(terms: Terms, depth: int = _DEPTH_LIMIT) -> AnyTerms:
    """Return the same polynomial without floors by a number, and with one of the two for a min or a max."""

    def opened(atom: Atom) -> AnyTerms:
        if isinstance(atom, Axis) or not depth:
            return {(atom,): 1}
        first, second = dict(atom.first), dict(atom.second)
        if atom.kind == "//":
            if set(second) != {()}:
                return {(atom,): 1}
            left: Terms = {(Pair("%", atom.first, atom.second),): -1}
            return scale(add(_with_remainders(first, depth - 1), left), Fraction(1, second[()]))
        sign, ordered = (-1, (atom.first, atom.second)) if atom.kind == "min" else (1, (atom.second, atom.first))
        return add(_with_remainders(first, depth - 1), {(Pair("above", *ordered),): sign})

    total: AnyTerms = {}
    for monomial, factor in terms.items():
        part: AnyTerms = {(): factor}
        for atom in monomial:
            inner = opened(atom)
            part = multiply(part, inner if len(part) * len(inner) <= _TERMS_LIMIT else {(atom,): 1})
        total = add(total, part)
    return total


def _independent(terms: Terms) -> list[Terms]:
    """Return terms in parts that have no dimension in common."""
    parts: list[tuple[set[Axis], Terms]] = []
    for monomial, factor in terms.items():
        axes, part = set(axes_in({monomial: factor})), {monomial: factor}
        apart = []
        for other, held in parts:
            if axes.isdisjoint(other):
                apart.append((other, held))
            else:
                axes, part = axes | other, {**held, **part}
        parts = [*apart, (axes, part)]
    return [part for _, part in parts]


def _of_all_values(terms: Terms) -> tuple[int, int] | None:
    """Return the least and the most that terms ever come to, or None where there is too much to try."""
    axes = list(dict.fromkeys(axes_in(terms)))
    if math.prod(axis.count for axis in axes) > _VALUES_LIMIT or not _is_narrow(terms):
        return None
    values: dict[Atom, Any] = {}
    for i, axis in enumerate(axes):
        lengths = np.arange(axis.min // axis.multiple_of, axis.max // axis.multiple_of + 1, dtype=np.int64)
        values[axis] = lengths.reshape([-1 if at == i else 1 for at in range(len(axes))])

    def total(part: Terms) -> Any:
        result: Any = np.int64(0)
        for monomial, factor in part.items():
            value: Any = np.int64(factor)
            for atom in monomial:
                if isinstance(atom, Pair) and atom not in values:
                    values[atom] = _FUNCTIONS[atom.kind](total(dict(atom.first)), total(dict(atom.second)))
                value = value * values[atom]
            result = result + value
        return result

    lengths = total(terms)
    return int(lengths.min()), int(lengths.max())


def _is_narrow(terms: Terms) -> bool:
    """Return whether no number on the way to the value is too wide."""
    widest = 0
    for monomial, factor in terms.items():
        for atom in monomial:
            if isinstance(atom, Pair) and not (_is_narrow(dict(atom.first)) and _is_narrow(dict(atom.second))):
                return False
        ends = [_ends(atom) for atom in monomial]
        widest += abs(factor) * math.prod(max(1, abs(low), abs(high)) for low, high in ends)
    return widest < _WIDEST
