"""Numbers that know how they came about: lengths of tensors, and what Python computes with them.

A recorded call sees a tensor's lengths as ordinary ints. Were they only that, the source would hold 56 where its author
wrote ``x.shape[2] // 4``, and a comparison would leave no trace. So they are ints and floats that carry an expression.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

_SIGNS = {"add": "+", "sub": "-", "mul": "*", "floordiv": "//", "mod": "%", "truediv": "/", "pow": "**"}
_COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}


class Origin:
    """Where a number came from.

    Attributes:
        sign: an operator; ``"shape"`` of a tensor and a dimension; ``"item"``, the number that a tensor holds;
            ``"ceil"``, ``"floor"`` or ``"round"`` of a number; or ``"argument"``, one that a module was called with.
        operands: what it is of.
        watcher: what is told of comparisons, and of numbers that Python takes without a trace.
        outside: of an argument the number that the caller passed.
    """

    __slots__ = ("operands", "outside", "sign", "watcher")

    def __init__(self, sign: str, operands: tuple[Any, ...], watcher: Any, outside: Any = None) -> None:
        self.sign, self.operands, self.watcher, self.outside = sign, operands, watcher, outside


class Whole(int):
    """An int with its origin."""

    origin: Origin

    def __new__(cls, value: int, origin: Origin) -> Whole:
        self = int.__new__(cls, value)
        self.origin = origin
        return self

    def __reduce__(self) -> Any:
        return int, (int.__int__(self),)

    def __neg__(self) -> Whole:
        return Whole(-plain(self), Origin("neg", (self,), self.origin.watcher))

    def __pos__(self) -> Whole:
        return self

    def __bool__(self) -> bool:
        return self != 0

    def __float__(self) -> float:
        self.origin.watcher.escaped(self)
        return int.__float__(self)

    def __int__(self) -> int:
        self.origin.watcher.escaped(self, whole=self)
        return int.__int__(self)

    def __round__(self, ndigits: Any = None) -> int:
        if ndigits is None or ndigits >= 0:
            return self
        self.origin.watcher.escaped(self)
        return round(plain(self), ndigits)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    __floor__ = __ceil__ = __trunc__ = __pos__
    __hash__ = int.__hash__


class Real(float):
    """A float with its origin."""

    origin: Origin

    def __new__(cls, value: float, origin: Origin) -> Real:
        self = float.__new__(cls, value)
        self.origin = origin
        return self

    def __reduce__(self) -> Any:
        return float, (plain(self),)

    def __neg__(self) -> Real:
        return Real(-plain(self), Origin("neg", (self,), self.origin.watcher))

    def __bool__(self) -> bool:
        return self != 0.0

    def __float__(self) -> float:
        self.origin.watcher.escaped(self)
        return plain(self)

    def __int__(self) -> int:
        self.origin.watcher.escaped(self, whole=None if _may_be_negative(self) else self.__floor__())
        return float.__int__(self)

    def __round__(self, ndigits: Any = None) -> Any:
        self.origin.watcher.escaped(self)
        return round(plain(self), ndigits)

    def __floor__(self) -> Whole:
        return Whole(float.__floor__(self), Origin("floor", (self,), self.origin.watcher))

    def __ceil__(self) -> Whole:
        return Whole(float.__ceil__(self), Origin("ceil", (self,), self.origin.watcher))

    __hash__ = float.__hash__


def _may_be_negative(number: Any) -> bool:
    """Whether a number may be below zero where lengths are others; ``int`` rounds such a one up."""
    if not isinstance(number, (Whole, Real)):
        return number < 0
    sign, operands = number.origin.sign, number.origin.operands
    if sign in ("shape", "numel"):
        return False
    if sign == "item":
        return plain(number) < 0
    if sign == "argument":
        return _may_be_negative(number.origin.outside)
    return sign in ("neg", "-") or any(map(_may_be_negative, operands))


def plain(value: Any) -> Any:
    """Return a number without its origin, and anything else as it is."""
    if isinstance(value, Whole):
        return int.__add__(value, 0)
    return float.__add__(value, 0.0) if isinstance(value, Real) else value


def without_origins(value: Any) -> Any:
    """Return a structure whose numbers have no origins, as torch's own functions take it."""
    if isinstance(value, (Whole, Real)):
        return plain(value)
    if isinstance(value, slice):
        return slice(*map(without_origins, (value.start, value.stop, value.step)))
    if isinstance(value, (tuple, list)):
        if not any(isinstance(item, (Whole, Real, slice, tuple, list)) for item in value):
            return value
        items = [without_origins(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return {key: without_origins(item) for key, item in value.items()} if type(value) is dict else value


def with_origin(value: Any, sign: str, *operands: Any, watcher: Any) -> Any:
    """Return a number with its origin; what is no int and no float as it is."""
    if type(value) is int:
        return Whole(value, Origin(sign, operands, watcher))
    return Real(value, Origin(sign, operands, watcher)) if type(value) is float else value


def _arithmetic(name: str, sign: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    compute = getattr(operator, name)

    def forward(a: Any, b: Any) -> Any:
        if type(b) not in _NUMBERS:
            return NotImplemented
        return with_origin(compute(plain(a), plain(b)), sign, a, b, watcher=a.origin.watcher)

    def backward(a: Any, b: Any) -> Any:
        if type(b) not in _NUMBERS:
            return NotImplemented
        return with_origin(compute(plain(b), plain(a)), sign, b, a, watcher=a.origin.watcher)

    return forward, backward


def _comparison(name: str, sign: str) -> Callable[..., Any]:
    compute = getattr(operator, name)

    def compare(a: Any, b: Any) -> Any:
        if type(b) not in _NUMBERS:
            return NotImplemented
        outcome = compute(plain(a), plain(b))
        a.origin.watcher.compared(sign, a, b, outcome)
        return outcome

    return compare


def _escaping(name: str, compute: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that source has no counterpart of: Python gets a plain number, and the watcher is told."""

    def escape(a: Any, *others: Any) -> Any:
        a.origin.watcher.escaped(a)
        return compute(plain(a), *map(plain, others))

    escape.__name__ = name
    return escape


_NUMBERS = (int, float, bool, Whole, Real)
for _name in ("abs", "lshift", "rshift", "and", "or", "xor", "rlshift", "rrshift", "rand", "ror", "rxor", "invert"):
    setattr(Whole, f"__{_name}__", _escaping(_name, getattr(int, f"__{_name}__")))
Real.__abs__ = _escaping("abs", float.__abs__)  # type: ignore[method-assign]
for _kind in (Whole, Real):
    for _name, _sign in _SIGNS.items():
        _forward, _backward = _arithmetic(_name, _sign)
        setattr(_kind, f"__{_name}__", _forward)
        setattr(_kind, f"__r{_name}__", _backward)
    for _name, _sign in _COMPARISONS.items():
        setattr(_kind, f"__{_name}__", _comparison(_name, _sign))
