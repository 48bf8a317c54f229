"""Calls of operations as hypothesis draws them: tensors, numbers, arguments, and how the operation is spelled."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from tests.helpers import FP16_TOLERANCE, TORCH
from trtnn import functional as F
from trtnn import get_backend
from trtnn.graph.tensor import Tensor

FLOAT = ("float32",)
FLOATS = ("float32", "float16")  # the second within the network: what goes in and out of one is float32
WHOLE = ("int32", "int64")
BOOL = ("bool",)
EXACT = FLOAT + WHOLE + BOOL  # without rounding that could tip a comparison
NUMBERS = FLOATS + WHOLE
KINDS = NUMBERS + BOOL
MATRICES = 5e-3  # the tolerance in fp16 of what adds up many products


@dataclass(frozen=True)
class Array:
    """A drawn tensor.

    Attributes:
        kind: its element type.
        low, high: the range of its elements; integers include both.
        distinct: no two elements are the same.
        weights: it is no input of the network; trtnn is given the NumPy array.
        unusual: numbers that stand among those of the range, at places and as many as the seed says.
    """

    kind: str
    shape: tuple[int, ...]
    seed: int = 0
    low: float = -3
    high: float = 3
    distinct: bool = False
    weights: bool = False
    unusual: tuple[float, ...] = ()

    def __repr__(self) -> str:
        unusual = f" with {list(self.unusual)}" if self.unusual else ""
        return f"{'weights ' if self.weights else ''}{self.kind}{list(self.shape)}#{self.seed}{unusual}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # hypothesis would show every attribute
        printer.text(repr(self))

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def numbers(self) -> np.ndarray:
        """Return it as it goes into a network; floating numbers are such that fp16 holds them exactly."""
        generator = np.random.default_rng((self.seed, *self.shape))
        count = int(np.prod(self.shape))
        if self.kind == "bool":
            values = generator.random(count) < 0.5
        elif self.distinct:
            whole = np.arange(count) - count // 2
            spread = np.linspace(self.low, self.high, count).astype(np.float16).astype(np.float32)
            values = generator.permutation(whole if self.kind in WHOLE else spread)
        elif self.kind in WHOLE:
            values = generator.integers(int(np.ceil(self.low)), int(self.high), count, endpoint=True)
        else:
            values = generator.uniform(self.low, self.high, count)
            values = values.astype(np.float16).astype(np.float32)
            if self.unusual:
                places = generator.random(count) < 0.4
                values[places] = generator.choice(np.float32(self.unusual), int(places.sum()))
        kind = "int32" if self.kind == "int64" and not get_backend().capabilities.int64 else self.kind
        return values.reshape(self.shape).astype("float32" if kind in FLOATS else kind)


def leaves(value: Any) -> Iterator[Any]:
    """Yield what lists, tuples and dicts hold, at any depth."""
    if isinstance(value, (list, tuple, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from leaves(item)
    else:
        yield value


@dataclass(frozen=True)
class Case:
    """One operation.

    Attributes:
        operands: what it is called with by position: strategies, or functions of the operands before that return one.
            Where the last draws a dict, it is of arguments.
        arguments: what it is called with by name: strategies, or functions of the operands that return one. What they
            draw as ``OMITTED`` is not given.
        function: of ``ops``, the operands and the arguments; None for the function and the method of the case's name.
        half: the tolerance in fp16.
        absolute: how far a result in fp16 may be off whatever its own size, if not as :func:`assert_close` has it.
        refuses: what trtnn refuses and torch does not: words of its message, and for which calls.
        exceeds: for which calls trtnn may have an answer where torch has none.
    """

    operands: tuple[Any, ...]
    arguments: Mapping[str, Any]
    function: Callable[..., Any] | None = None
    half: float = FP16_TOLERANCE
    absolute: float | None = None
    refuses: Mapping[str, Callable[[Call], bool]] = field(default_factory=dict)
    exceeds: Callable[[Call], bool] = lambda call: False


def case(*operands: Any, function: Any = None, half: Any = FP16_TOLERANCE, **arguments: Any) -> Case:
    """Return a :class:`Case`; the names of its attributes are its own, others are the operation's arguments."""
    own = {name: arguments.pop(name) for name in ("absolute", "refuses", "exceeds") if name in arguments}
    return Case(operands, arguments, function, half, **own)


_OPERATORS = {
    "abs": "abs", "add": "add", "bitwise_and": "and_", "bitwise_not": "invert", "bitwise_or": "or_",
    "bitwise_xor": "xor", "div": "truediv", "eq": "eq", "floor_divide": "floordiv", "ge": "ge", "gt": "gt", "le": "le",
    "lt": "lt", "matmul": "matmul", "mul": "mul", "ne": "ne", "neg": "neg", "pow": "pow", "remainder": "mod",
    "sub": "sub",
}  # fmt: skip
_IN_PLACE = ("add", "sub", "mul", "div", "floor_divide", "remainder", "pow", "bitwise_and", "bitwise_or", "bitwise_xor")


@dataclass(frozen=True)
class Call:
    """An operation with all that it is given.

    Attributes:
        case: the row of the table.
        spelling: ``"{}"`` a function, ``".{}"`` a method, ``".{}_"`` the one in place, ``"operator {}"`` and
            ``"operator {} in place"``.
    """

    name: str
    spelling: str
    operands: tuple[Any, ...]
    arguments: Mapping[str, Any]
    case: Case

    def __repr__(self) -> str:
        given = [*map(repr, self.operands), *(f"{name}={value!r}" for name, value in self.arguments.items())]
        return f"{self.spelling.format(self.name)}({', '.join(given)})"

    _repr_pretty_ = Array._repr_pretty_

    @property
    def arrays(self) -> list[Array]:
        """The drawn tensors among what it is given."""
        return [value for value in leaves([self.operands, self.arguments]) if isinstance(value, Array)]

    @property
    def inputs(self) -> list[np.ndarray]:
        """Those of them that are inputs of the network."""
        return [array.numbers() for array in self.arrays if not array.weights]

    @property
    def is_half(self) -> bool:
        asked = any(value is torch.float16 for value in (*self.operands, *self.arguments.values()))
        return asked or any(array.kind == "float16" for array in self.arrays)

    @property
    def whole(self) -> bool:
        """Whether the first tensor is one of integers or bools."""
        return self.arrays[0].kind not in FLOATS

    def __call__(self, ops: Any, *tensors: Any) -> Any:
        """Call it on tensors that stand for :attr:`inputs`."""
        inputs = iter(tensors)

        def given(value: Any) -> Any:
            if isinstance(value, (list, tuple)):
                return type(value)(map(given, value))
            if isinstance(value, dict):
                return {name: given(item) for name, item in value.items()}
            if isinstance(value, np.ndarray):
                return torch.from_numpy(value.copy()) if ops is TORCH else value
            if not isinstance(value, Array):
                return value
            if value.weights:
                return torch.from_numpy(value.numbers()) if ops is TORCH else value.numbers()
            tensor = next(inputs)
            return tensor.half() if value.kind == "float16" else tensor

        operands, arguments = given(self.operands), given(self.arguments)
        result = self._spelled(ops)(*operands, **arguments)
        return tuple(result) if isinstance(result, tuple) else result  # of torch's named tuples as well

    def _spelled(self, ops: Any) -> Callable[..., Any]:
        if self.case.function:
            return lambda *args, **kwargs: self.case.function(ops, *args, **kwargs)
        if self.spelling == "{}":
            return getattr(ops, self.name)
        if self.spelling == ".{}":
            return lambda x, *args, **kwargs: getattr(x, self.name)(*args, **kwargs)
        if self.spelling == "operator {}":
            return getattr(operator, _OPERATORS[self.name])

        def in_place(x: Any, *args: Any, **kwargs: Any) -> Any:
            x = x.clone()
            if self.spelling == "operator {} in place":
                changed = getattr(operator, "i" + _OPERATORS[self.name].strip("_"))(x, *args)
            else:
                changed = getattr(x, f"{self.name}_")(*args, **kwargs)
            return [x, changed]

        return in_place


def spellings(name: str) -> list[str]:
    """Return how torch and trtnn spell an operation."""
    return [
        *(["{}"] if name in F.__all__ and hasattr(TORCH, name) else []),
        *(
            spelling
            for spelling in (".{}", ".{}_")
            if all(hasattr(kind, spelling[1:].format(name)) for kind in (torch.Tensor, Tensor))
        ),
        *(["operator {}"] if name in _OPERATORS else []),
        *(["operator {} in place"] if name in _IN_PLACE else []),
    ]


class Together(tuple):
    """Operands that one strategy draws; a dict at the end is of arguments."""


class _Omitted:
    def __repr__(self) -> str:
        return "OMITTED"


OMITTED = _Omitted()


def maybe(strategy: Any) -> Any:
    """An argument that is left out at times."""
    if isinstance(strategy, st.SearchStrategy):
        return st.just(OMITTED) | strategy
    return lambda *operands: st.just(OMITTED) | strategy(*operands)


def _among(value: Any, unusual: tuple[float, ...]) -> Any:
    """Return what is drawn, with unusual numbers in its tensors."""
    if isinstance(value, (list, tuple)):
        return type(value)(_among(item, unusual) for item in value)
    if isinstance(value, dict):
        return {key: _among(item, unusual) for key, item in value.items()}
    floating = isinstance(value, Array) and value.kind in FLOATS and not value.distinct and not value.weights
    return replace(value, unusual=unusual) if floating else value


@st.composite
def calls(draw: st.DrawFn, name: str, case: Case, unusual: tuple[float, ...] = ()) -> Call:
    """Draw a call of the operation of a row of the table; of its tensors of fp32, some have ``unusual`` numbers."""
    operands: list[Any] = []
    for given in case.operands:
        drawn = draw(given if isinstance(given, st.SearchStrategy) else given(*operands))
        operands += drawn if isinstance(drawn, Together) else [drawn]
    together = operands.pop() if isinstance(operands[-1], dict) else {}
    arguments = together | {
        key: draw(given if isinstance(given, st.SearchStrategy) else given(*operands))
        for key, given in case.arguments.items()
    }
    arguments = {key: value for key, value in arguments.items() if value is not OMITTED}
    if unusual and draw(st.booleans()):
        some = draw(st.lists(st.sampled_from(unusual), min_size=1, unique_by=str))
        operands, arguments = (_among(value, tuple(some)) for value in (operands, arguments))
    name = name.partition(":")[0]
    spelling = "{}"
    if not case.function:
        known = ["{}"] if "inplace" in arguments else spellings(name)
        if arguments:
            known = [spelling for spelling in known if "operator {}" not in spelling]
        if not isinstance(operands[0], (Array, list)):  # functions take a number on the right alone
            known = ["operator {}"]
        spelling = draw(st.sampled_from(known))
    return Call(name, spelling, tuple(operands), arguments, case)


# -- what is drawn -----------------------------------------------------------------------------------------------------


def mostly(usual: Any, rare: Any) -> Any:
    """One strategy, and one time in ten another: what torch refuses."""
    return st.sampled_from([usual] * 9 + [rare]).flatmap(lambda strategy: strategy)


def shapes(*ndims: int, least: int = 1, most: int = 4) -> Any:
    """Shapes of so many dimensions; the simplest, which hypothesis tries first, are of the first number, and 2 long."""
    lengths = st.sampled_from(sorted(range(least, most + 1), key=lambda n: (n != 2, n == 1, n)))
    return st.sampled_from(ndims).flatmap(lambda n: st.tuples(*[lengths] * n))


@st.composite
def arrays(draw: st.DrawFn, kinds: Sequence[str] = KINDS, shape: Any = (2, 1, 3, 0), **how: Any) -> Array:
    """Tensors.

    Args:
        shape: a strategy for it, or how many dimensions there may be.
        **how: attributes of the :class:`Array`.
    """
    kind = draw(st.sampled_from(kinds))
    shape = draw(shape if isinstance(shape, st.SearchStrategy) else shapes(*shape))
    return Array(kind, tuple(shape), draw(st.integers(0, 99)), **how)


def exactly(*shape: int, kinds: Sequence[str] = FLOATS, **how: Any) -> Any:
    """Tensors of one shape."""
    return arrays(kinds, st.just(shape), **how)


def weights(*shape: int, **how: Any) -> Any:
    """Arrays of float32 that are weights."""
    return exactly(*shape, kinds=FLOAT, weights=True, **how)


@st.composite
def broadcasting(draw: st.DrawFn, shape: Sequence[int]) -> tuple[int, ...]:
    """Shapes that broadcast with another, and rarely ones that do not."""
    kept = draw(st.integers(0, len(shape)))
    lengths = [
        n if n == 1 else draw(mostly(st.sampled_from([n, 1]), st.just(n + 1))) for n in shape[len(shape) - kept :]
    ]
    more = draw(shapes(0, 1)) if kept == len(shape) and len(shape) < 3 else ()
    return (*more, *lengths)


def other(kinds: Sequence[str] = KINDS, numbers: Any = None, **how: Any) -> Callable[..., Any]:
    """An operand beside others: a tensor that broadcasts with the first of them, or a number."""

    def strategy(*operands: Any) -> Any:
        first = next((value for value in operands if isinstance(value, Array)), None)
        tensors = arrays(kinds, broadcasting(first.shape) if first else (0, 1, 2, 3), **how)
        return tensors | numbers if first and numbers is not None else tensors

    return strategy


BOOLS = st.booleans()
KEEPDIM = maybe(BOOLS)
SCALARS = st.integers(-4, 4) | st.sampled_from([0.5, -1.5, 2.0, 0.0]) | st.booleans()
FACTORS = st.integers(1, 4) | st.sampled_from([0.5, -1.5, 2.0, -2]) | st.just(True)  # none is 0
POSITIVE, COMPARED = {"low": 0.25, "high": 4}, {"low": -2, "high": 2}
_LONG = [torch.int64] * get_backend().capabilities.int64
DTYPES = st.sampled_from([torch.float32, torch.int32, *_LONG, torch.bool, torch.float16])


def dim(x: Array, *_: Any) -> Any:
    """A dimension of a tensor; 0 and -1 of one that has none."""
    n = max(1, x.ndim)
    return mostly(st.integers(-n, n - 1), st.sampled_from([n, -n - 1]))


def dims(x: Array) -> Any:
    """Several dimensions of a tensor, none, or one, or None for all; rarely one of them twice."""
    n = max(1, x.ndim)
    several = st.lists(st.integers(0, n - 1), min_size=1, max_size=n, unique=True)
    signed = several.flatmap(lambda found: st.tuples(*(st.sampled_from([at, at - n]) for at in found)))
    return mostly(st.just(()) | signed | dim(x) | st.none(), st.just((0, -n)))


def each(n: int, values: Any) -> Any:
    """A number for all sides, or one for each."""
    return values | st.tuples(*[values] * n)


def windows(n: int) -> dict[str, Any]:
    """How windows are laid over ``n`` sides."""
    return {
        "kernel_size": each(n, st.integers(1, 3)),
        "stride": maybe(each(n, st.integers(1, 3))),
        "padding": maybe(each(n, st.integers(0, 1))),
    }
