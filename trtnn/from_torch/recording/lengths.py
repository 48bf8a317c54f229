"""Numbers that know how they came about: lengths of tensors, and what Python computes with them.

A recorded call sees a tensor's lengths as ordinary ints. Were they only that, the source would hold 56 where its author
wrote ``x.shape[2] // 4``, and a comparison would leave no trace. So they are ints and floats that carry an expression.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterator
from typing import Any

import torch

_SIGNS = {"add": "+", "sub": "-", "mul": "*", "floordiv": "//", "mod": "%", "truediv": "/", "pow": "**"}
_SHIFTS = {"lshift": "<<", "rshift": ">>"}  # of whole numbers alone
_NEUTRAL = {"*": 1, "//": 1, "+": 0, "-": 0}  # what changes no whole number behind a sign, as einops computes with it
_COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}


class Origin:
    """Where a number came from.

    Attributes:
        sign: an operator; ``"shape"`` of a tensor and a dimension; ``"item"``, the number that a tensor holds; a
            function of numbers, such as ``"floor"`` or ``"min"``; or ``"argument"``, one that a module was called with.
        operands: what it is of.
        watcher: what is told of comparisons, and of numbers that Python takes without a trace.
        outside: of an argument the number that the caller passed.
    """

    __slots__ = ("operands", "outside", "sign", "watcher")

    def __init__(self, sign: str, operands: tuple[Any, ...], watcher: Any, outside: Any = None) -> None:
        self.sign, self.operands, self.watcher, self.outside = sign, operands, watcher, outside


class _Number:
    """What an int and a float with their origin have in common."""

    origin: Origin

    def __neg__(self) -> Any:
        return self._made("neg", -plain(self))

    def __abs__(self) -> Any:
        return self._made("abs", abs(plain(self)))

    def _made(self, sign: str, value: Any) -> Any:
        """Return a number that is made of this one."""
        return with_origin(value, sign, self, watcher=self.origin.watcher)

    def __float__(self) -> float:
        self.origin.watcher.escaped(self, by_type=True)
        return float(plain(self))

    def __int__(self) -> int:
        self.origin.watcher.escaped(self, by_type=True)
        return int(plain(self))

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other  # type: ignore[operator]

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __hash__(self) -> int:
        self.origin.watcher.hashed()
        return hash(plain(self))


class Whole(_Number, int):
    """An int with its origin."""

    def __new__(cls, value: int, origin: Origin) -> Whole:
        self = int.__new__(cls, value)
        self.origin = origin
        return self

    def __reduce__(self) -> Any:
        return int, (plain(self),)

    def __pos__(self) -> Whole:
        return self

    def __bool__(self) -> bool:
        return self != 0

    def __round__(self, ndigits: Any = None) -> int:
        if ndigits is None or ndigits >= 0:
            return self
        self.origin.watcher.escaped(self)
        return round(plain(self), ndigits)

    __floor__ = __ceil__ = __trunc__ = __pos__


class Real(_Number, float):
    """A float with its origin."""

    def __new__(cls, value: float, origin: Origin) -> Real:
        self = float.__new__(cls, value)
        self.origin = origin
        return self

    def __reduce__(self) -> Any:
        return float, (plain(self),)

    def __bool__(self) -> bool:
        return self != 0.0

    def __round__(self, ndigits: Any = None) -> Any:
        if ndigits is None:
            return self._made("round", round(plain(self)))
        self.origin.watcher.escaped(self)
        return round(plain(self), ndigits)

    def __floor__(self) -> Any:
        return self._made("floor", math.floor(plain(self)))

    def __ceil__(self) -> Any:
        return self._made("ceil", math.ceil(plain(self)))

    def __trunc__(self) -> Any:
        if not _may_be_negative(self):
            return self.__floor__()  # the same, and plainer
        return self._made("trunc", math.trunc(plain(self)))


def _may_be_negative(number: Any) -> bool:
    """Whether a number may be below zero where lengths are others; ``int`` rounds such a one up."""
    if not isinstance(number, (Whole, Real)):
        return isinstance(number, (int, float)) and number < 0
    sign, operands = number.origin.sign, number.origin.operands
    if sign in ("shape", "numel", "abs"):
        return False
    if sign == "max":
        return all(map(_may_be_negative, operands))
    if sign == "item":
        return plain(number) < 0
    if sign == "argument":
        return _may_be_negative(number.origin.outside)
    return sign in ("neg", "-") or any(map(_may_be_negative, operands))


def are_same(a: Any, b: Any) -> bool:
    """Whether two numbers are the length of one tensor in one dimension: what compares them decides nothing."""
    if not (isinstance(a, Whole) and isinstance(b, Whole) and a.origin.sign == b.origin.sign == "shape"):
        return False
    return all(map(operator.is_, map(plain, a.origin.operands), map(plain, b.origin.operands)))


def plain(value: Any) -> Any:
    """Return a number without its origin, and anything else as it is."""
    if isinstance(value, Whole):
        return int.__add__(value, 0)
    return float.__add__(value, 0.0) if isinstance(value, Real) else value


def lengths_in(value: Any) -> Iterator[Any]:
    """Yield the numbers with an origin in nested tuples, lists and dicts."""
    if isinstance(value, (Whole, Real)):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from lengths_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from lengths_in(item)


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


def truncated(*args: Any, **kwargs: Any) -> Any:
    """Return what ``int`` makes of a value: of a length a number that knows it."""
    is_of_length = len(args) == 1 and not kwargs and isinstance(args[0], (Whole, Real))
    return math.trunc(args[0]) if is_of_length else int(*args, **kwargs)


def as_float(*args: Any) -> Any:
    """Return what ``float`` makes of a value: of a length a number that knows it."""
    if len(args) == 1 and isinstance(args[0], (Whole, Real)):
        return args[0] * 1.0 if isinstance(args[0], Whole) else args[0]
    return float(*args)


def first_length(value: Any, /) -> int:
    """Return what ``len`` makes of a value: of a tensor the first of its lengths, which knows it."""
    return value.shape[0] if isinstance(value, torch.Tensor) and value.ndim else len(value)


def square_root(root: Callable[[Any], float]) -> Callable[[Any], Any]:
    """Return Python's ``math.sqrt``, which of a length gives a number that knows it."""

    def sqrt(value: Any, /) -> Any:
        if not isinstance(value, (Whole, Real)):
            return root(value)
        return with_origin(root(plain(value)), "**", value, 0.5, watcher=value.origin.watcher)

    return sqrt


def extreme(name: str, pick: Callable[..., Any]) -> Callable[..., Any]:
    """Return Python's ``min`` or ``max``, which of lengths gives a number that knows them.

    Args:
        name: ``"min"`` or ``"max"``.
        pick: Python's own function, which compares.
    """

    def of_two(a: Any, b: Any) -> Any:
        lengths = next((number for number in (a, b) if isinstance(number, Whole)), None)
        value = pick(plain(a), plain(b))
        return value if lengths is None else with_origin(value, name, a, b, watcher=lengths.origin.watcher)

    @functools.wraps(pick)
    def call(*args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and isinstance(args[0], Iterator):
            args = (tuple(args[0]),)
        items = args[0] if len(args) == 1 and isinstance(args[0], (tuple, list)) else args
        whole = any(isinstance(item, Whole) for item in items) and all(type(item) in (int, Whole) for item in items)
        return functools.reduce(of_two, items) if whole and not kwargs else pick(*args, **kwargs)

    return call


def _arithmetic(name: str, sign: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    compute = getattr(operator, name)

    def forward(a: Any, b: Any) -> Any:
        if type(b) not in _NUMBERS:
            return NotImplemented
        if type(b) is int and isinstance(a, Whole) and _NEUTRAL.get(sign) == b:
            return a
        if type(b) is int and isinstance(a, Whole) and sign == "%" and b == 1:
            return 0
        return with_origin(compute(plain(a), plain(b)), sign, a, b, watcher=a.origin.watcher)

    def backward(a: Any, b: Any) -> Any:
        if type(b) not in _NUMBERS:
            return NotImplemented
        if type(b) is int and isinstance(a, Whole) and sign in "*+" and _NEUTRAL[sign] == b:
            return a
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
for _name in ("and", "or", "xor", "rand", "ror", "rxor", "invert"):
    setattr(Whole, f"__{_name}__", _escaping(_name, getattr(int, f"__{_name}__")))
for _kind, _name in ((Whole, "bit_length"), (Real, "is_integer"), (Real, "as_integer_ratio")):
    setattr(_kind, _name, _escaping(_name, getattr(_kind.__base__, _name)))
for _kind in (Whole, Real):
    for _name, _sign in (_SIGNS if _kind is Real else _SIGNS | _SHIFTS).items():
        _forward, _backward = _arithmetic(_name, _sign)
        setattr(_kind, f"__{_name}__", _forward)
        setattr(_kind, f"__r{_name}__", _backward)
    for _name, _sign in _COMPARISONS.items():
        setattr(_kind, f"__{_name}__", _comparison(_name, _sign))
