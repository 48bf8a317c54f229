"""What would settle a comparison of lengths that their ranges leave open, for its message."""

from __future__ import annotations

import math
from collections.abc import Callable

from trtnn.shapes.symbolic import (
    decided,
    floor_divide,
    is_floor_by_number,
    length_of,
    sym_max,
    sym_min,
    terms_of_length,
)
from trtnn.shapes.terms import Axis, Terms, add, axes_in, cleaned, multiply

_MULTIPLES = (2, 4, 8, 16, 32, 64)  # that are tried for what would settle an equation
_HOLDS: dict[bool | None, str] = {True: "always holds", False: "never holds"}


def settled_by(difference: Terms, sign: str) -> list[str]:
    """Return a line for each dimension that says in which ranges of it a comparison with 0 is decided."""
    lines = []
    for axis in dict.fromkeys(axes_in(difference)):
        words = _multiple(difference, sign, axis) or _ends(difference, sign, axis)
        lines += [f"it {words}"] if words else []
    return lines


def _multiple(difference: Terms, sign: str, axis: Axis) -> str | None:
    """Return in words the first multiple of a dimension at which it is decided."""
    divisors = {dict(atom.second)[()] for monomial in difference for atom in monomial if is_floor_by_number(atom)}
    if sign in ("==", "!="):
        divisors.update(_MULTIPLES)
    for multiple in sorted(math.lcm(axis.multiple_of, divisor) for divisor in divisors):
        low, high = -(-axis.min // multiple) * multiple, axis.max // multiple * multiple
        if multiple > axis.multiple_of and low < high:
            answer = decided(_replaced(difference, axis, Axis(axis.name, low, low, high, multiple)), sign)
            if answer is not None:
                return f"{_HOLDS[answer]} where {axis.name} is a multiple of {multiple}"
    return None


def _ends(difference: Terms, sign: str, axis: Axis) -> str | None:
    """Return in words up to which length of a dimension, and from which on, it is decided; found by halving."""

    def answer(first: int, last: int) -> bool | None:
        low, high = (axis.min + place * axis.multiple_of for place in (first, last))
        return decided(_replaced(difference, axis, Axis(axis.name, low, low, high, axis.multiple_of)), sign)

    def furthest(decide: Callable[[int], bool | None]) -> int | None:
        if decide(0) is None:
            return None
        good, bad = 0, axis.count - 1
        while bad - good > 1:
            middle = (good + bad) // 2
            good, bad = (good, middle) if decide(middle) is None else (middle, bad)
        return good

    last = axis.count - 1
    up_to = furthest(lambda n: answer(0, n)) if last else None
    on_from = furthest(lambda n: answer(last - n, last)) if last else None
    words = []
    if up_to is not None:
        words.append(f"{_HOLDS[answer(0, up_to)]} for {axis.name} up to {axis.min + up_to * axis.multiple_of}")
    if on_from is not None:
        holds = _HOLDS[answer(last - on_from, last)]
        words.append(f"{holds} for {axis.name} from {axis.max - on_from * axis.multiple_of} on")
    return ", and ".join(words) or None


def _replaced(terms: Terms, axis: Axis, by: Axis) -> Terms:
    """Return terms in which a dimension has another range."""
    total: Terms = {}
    for monomial, factor in terms.items():
        part: Terms = {(): factor}
        for atom in monomial:
            if isinstance(atom, Axis):
                value: Terms = {(by,): by.multiple_of // axis.multiple_of} if atom == axis else {(atom,): 1}
            else:
                first, second = (_replaced(dict(inner), axis, by) for inner in atom[1:])
                if atom.kind == "//":
                    value = floor_divide(first, second)
                else:
                    pick = sym_min if atom.kind == "min" else sym_max
                    value = terms_of_length(pick(length_of(first), length_of(second)))
            part = multiply(part, value)
        total = add(total, part)
    return cleaned(total)
