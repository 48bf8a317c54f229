"""The checks of arguments that operations share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from trtnn.dtypes import bool_
from trtnn.errors import ArgumentError, DTypeError, ShapeError, is_number
from trtnn.graph.tensor import Tensor
from trtnn.parameter import Parameter
from trtnn.shapes.floats import SymFloat
from trtnn.shapes.symbolic import Length, Size, ranges, same

P = ParamSpec("P")
Result = TypeVar("Result")

Array = Parameter | np.ndarray
Number = int | float | Size | SymFloat
Operand = Tensor | Array | Number | np.integer | np.floating | np.bool_
Indices = Tensor | np.ndarray
Dims = int | Sequence[int] | None
Sides = int | Sequence[int]
_LARGEST = float(np.finfo(np.float32).max)


def _is_int(value: Any) -> bool:
    """Whether a value is an int, and no truth, which torch refuses as one as well."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def ints(value: Length | Sequence[Length], n: int, what: str, of_one: bool = True) -> tuple[int, ...]:
    """Return ``value`` as ``n`` ints, a lone int for all.

    Args:
        value: what is given.
        n: how many it stands for.
        what: what it is, for messages.
        of_one: whether one in a sequence is for all as well, as torch has it of most.

    Raises:
        ArgumentError: it is neither an int nor ``n`` of them.
    """
    if type(value) is tuple and len(value) == n and set(map(type, value)) == {int}:  # as modules hold them
        return value
    values = tuple(value) if isinstance(value, Sequence) else (value,) * n
    if len(values) == 1 and of_one:
        values *= n
    if len(values) != n or not all(map(_is_int, values)):
        count = {1: "an int", 2: "an int or two", 3: "an int or three"}.get(n, f"an int or {n}")
        details = ["divide lengths with //"] if any(isinstance(v, SymFloat) for v in values) else []
        if lengths := [v for v in values if isinstance(v, Size)]:
            details.append(f"an engine is built for one: {ranges(lengths)}")
        raise ArgumentError(f"{what} takes {count}, not {value!r}", *details)
    return tuple(int(v) for v in values)


def expect_parts(count: Length, what: str) -> None:
    """Check that something is cut into a whole number of parts, from 1 on, or into as many as a length says.

    Raises:
        ArgumentError: it is not.
    """
    if not isinstance(count, Size) and (not _is_int(count) or count < 1):
        raise ArgumentError(f"{what} is an int from 1 on, not {count!r}")


def expect_probability(p: Any, what: str, name: str = "p") -> None:
    """Check a probability of dropping an element.

    Raises:
        ArgumentError: it is no number from 0 to 1.
    """
    if not is_number(p) or not 0 <= p <= 1:
        raise ArgumentError(f"{what} takes a probability from 0 to 1 as {name}, not {p!r}")


def expect_finite(what: str, **numbers: Any) -> None:
    """Check numbers that a layer holds: where one is not finite TensorRT keeps its own default in place of it.

    Raises:
        ArgumentError: one is infinite in fp32, or NaN.
    """
    for name, value in numbers.items():
        if is_number(value) and not -_LARGEST <= value <= _LARGEST:
            raise ArgumentError(f"{what} takes a finite number as {name}, not {value}")


def is_always(factor: Number, number: int) -> bool:
    """Return whether a factor is a number; one that is computed of lengths counts as none, also where they are such."""
    return not isinstance(factor, (Size, SymFloat)) and factor == number


def ntuple(value: Length | Sequence[Length], n: int, what: str, of_one: bool = True) -> tuple[int, ...]:
    """Return what a window has on each of ``n`` sides, such as its stride, as :func:`ints`.

    Raises:
        ArgumentError: as there, or one is negative, or 0 where it is no padding.
    """
    sides, least = ints(value, n, what, of_one), 0 if what.endswith("padding") else 1
    if min(sides) < least:
        raise ArgumentError(f"{what} is at least {least}, not {value}")
    return sides


def each_of(
    sides: Sequence[int], core: Callable[Concatenate[int, str, P], Result], name: str
) -> Iterator[Callable[P, Result]]:
    """Return ``core`` for 1, 2 or 3 sides as functions of their own: ``name`` with the number in it, and its docstring.

    ``core`` takes the number first, and the name of the function as ``what``.
    """
    signature = inspect.signature(core)
    shown = signature.replace(parameters=list(signature.parameters.values())[2:])

    def of(n: int, title: str) -> Callable[P, Result]:
        @functools.wraps(core)
        def function(*args: P.args, **kwargs: P.kwargs) -> Result:
            return core(n, title, *args, **kwargs)

        function.__name__ = function.__qualname__ = title
        vars(function)["__signature__"] = shown
        return function

    return (of(n, name.format(n)) for n in sides)


def count_windows(length: Length, kernel: int, stride: int, padding: int, dilation: int = 1) -> Length:
    """Return how many windows fit a length: floor((length + padding - dilation·(kernel - 1) - 1) / stride) + 1."""
    return (length + padding - dilation * (kernel - 1) - 1) // stride + 1


def normalize_dim(dim: int, ndim: int) -> int:
    """Return a dimension counted from the front.

    Raises:
        ShapeError: there is no such dimension.
        ArgumentError: it is no int; a bool torch takes for another argument, or for none.
    """
    if isinstance(dim, (bool, float, str)):
        raise ArgumentError(f"a dimension is an int, not {dim!r}")
    if not -ndim <= dim < ndim:
        raise ShapeError(f"dimension {dim} is out of range", f"the tensor has {ndim}: from {-ndim} to {ndim - 1}")
    return int(dim) % ndim


def normalize_dims(dim: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """Return dimensions counted from the front, in order; all of them for None or an empty sequence.

    Raises:
        ShapeError: there is no such dimension, or one is named twice.
    """
    if dim is None or (isinstance(dim, Sequence) and not dim):
        return tuple(range(ndim))
    named = tuple(dim) if isinstance(dim, Sequence) else (dim,)
    dims = {normalize_dim(d, ndim) for d in named}
    if len(dims) < len(named):
        raise ShapeError(f"dimensions {named} name one of {ndim} twice")
    return tuple(sorted(dims))


def expect_ndim(input: Tensor, allowed: Sequence[int], what: str, form: str) -> None:
    if input.ndim not in allowed:
        raise ShapeError(
            f"{what} in {input.graph.where} takes {form}", f"received {input.dtype.name}{list(input.shape)}"
        )


def expect_channels(input: Tensor, channels: int, what: str, axis: int = 1) -> None:
    if not same(input.shape[axis], channels):
        raise ShapeError(
            f"{what} in {input.graph.where} got the wrong number of channels",
            f"expected {channels}, as its weights have",
            f"received {input.shape[axis]}, in an input of shape {input.shape}",
        )


def expect_floating(input: Tensor, what: str) -> None:
    if not input.dtype.is_floating_point:
        raise DTypeError(f"{what} in {input.graph.where} takes floating-point input, not {input.dtype.name}")


def expect_number(input: Tensor, what: str) -> None:
    if input.dtype is bool_:
        raise DTypeError(f"{what} of a bool tensor in {input.graph.where}", "cast it to a number first")


def shape_of_weights(value: Any, ndim: int, what: str) -> tuple[int, ...]:
    if len(value.shape) != ndim:
        raise ShapeError(f"{what} has {ndim} dimensions", f"received one of shape {tuple(value.shape)}")
    return tuple(value.shape)
