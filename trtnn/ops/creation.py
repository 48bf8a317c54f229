"""Tensors made of numbers alone, and of lengths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np

from trtnn.arrays import is_torch
from trtnn.dtypes import DType, as_dtype, bool_, float32
from trtnn.errors import ArgumentError, DTypeError, ShapeError
from trtnn.graph.graph import Graph
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Number, Operand
from trtnn.ops._inplace import repeating
from trtnn.ops._promotion import (
    cast,
    converted,
    default_dtype,
    expect_held,
    here,
    index_dtype,
    promote,
    promoted_dtype,
)
from trtnn.ops._sizes import number_tensor, shape_tensor
from trtnn.ops.arithmetic import add, maximum, mul, sub
from trtnn.ops.comparison import eq, logical_or, lt, where
from trtnn.ops.division import div
from trtnn.ops.shaping import reshape, unpacked
from trtnn.ops.tiling import expand
from trtnn.ops.unary import floor
from trtnn.parameter import Parameter
from trtnn.shapes.floats import SymFloat
from trtnn.shapes.symbolic import Length, Size, bounds, ceil_divide, ranges

_EXACT = 1 << 24  # the whole numbers up to here are float32's as well


def _filled(graph: Graph, shape: Sequence[Length], value: Any, dtype: Any) -> Tensor:
    if not all(map(_is_length, shape)):
        raise ArgumentError(
            f"a shape holds ints and lengths such as x.shape[2] // 2, which // divides, not {tuple(shape)}"
        )
    for length in shape:
        if isinstance(length, Size) and bounds(length)[0] < 1 <= bounds(length)[1]:
            raise ShapeError(
                f"a tensor of shape {tuple(shape)} may hold nothing, which TensorRT has no tensors for",
                f"{length} goes down to {bounds(length)[0]}: {ranges([length])}",
                "to make another tensor longer by it, functional.pad takes it, and it may be 0",
            )
    if any(length < 1 for length in shape):
        raise ArgumentError(f"a tensor of shape {tuple(shape)} holds nothing", "TensorRT has no empty tensors here")
    if isinstance(value, (Size, SymFloat)):
        value = tensor(value)
    if isinstance(value, Tensor):
        if value.shape:
            raise ShapeError(f"a tensor is filled with one number, not with a tensor of shape {value.shape}")
        if dtype is None:  # that of a number of its kind, as torch has it
            example = False if value.dtype is bool_ else 0.0 if value.dtype.is_floating_point else 0
            dtype = default_dtype(example, graph)
        return expand(cast(value, dtype), tuple(shape))
    kind = default_dtype(value, graph) if dtype is None else as_dtype(dtype)
    expect_held(value, kind, "a tensor of one number", graph)
    return expand(graph.constant(converted(value, kind), kind), tuple(shape))


def typed_constant(values: np.ndarray, example: int | float, dtype: Any) -> Tensor:
    """Return an array as a constant of a type, or, where that is None, of the one that a number like it has."""
    graph = here()
    kind = default_dtype(example, graph) if dtype is None else as_dtype(dtype)
    return graph.constant(converted(values, kind), kind)


def of_array(array: Any, like: DType | None = None) -> Tensor:
    """Return what an array, a Parameter or a torch tensor holds as a constant.

    Args:
        like: the type of floating ones, or None for the one that the network computes in.
    """
    graph = here()
    held = graph.held(array)
    dtype = promoted_dtype(held, graph=graph)
    return graph.constant(held, like if like is not None and dtype.is_floating_point else dtype)


def tensor(data: Any, *, dtype: Any = None) -> Tensor:
    """Return numbers, a list of them or an array as a constant; floating ones in the type that the network computes in.

    A length such as ``x.shape[2]`` is a whole number, and ``x.shape[2] / 2`` a floating one, alone or in lists.
    A Tensor is copied.
    """
    graph = here()
    if isinstance(data, Tensor):
        return cast(graph.deferred.snapshot("tensor", data), data.dtype if dtype is None else dtype)
    if isinstance(data, Parameter) or is_torch(data):
        data = graph.held(data)
    if isinstance(data, (list, tuple, Size, SymFloat)):
        numbers = np.array(data, dtype=object)
        if any(isinstance(number, (Size, SymFloat)) for number in numbers.flat):
            return _of_lengths(graph, numbers, dtype)
    array = np.asarray(data)
    kind = promoted_dtype(array, graph=graph) if dtype is None else as_dtype(dtype)
    if array is not data and array.dtype.kind == "i" and array.size:  # numbers of Python's; an array's are cast
        for end in (array.min(), array.max()):
            expect_held(int(end), kind, "tensor", graph)
    return graph.constant(converted(array, kind), kind)


def _of_lengths(graph: Graph, numbers: np.ndarray, dtype: Any) -> Tensor:
    """Return numbers, some of which are known only when the network runs, as a Tensor of their array's shape."""
    flat = list(numbers.flat)
    is_whole = all(isinstance(number, (int, np.integer, Size)) for number in flat)
    kind = default_dtype(0 if is_whole else 0.0, graph) if dtype is None else as_dtype(dtype)
    if is_whole:
        vector = shape_tensor(graph, flat)
    else:
        parts = [number_tensor(graph, number) for number in flat]
        vector = graph.emit("concatenation", parts, out_shape=(len(parts),), axis=0) if len(parts) > 1 else parts[0]
    return reshape(cast(vector, kind), numbers.shape)


def as_tensor(data: Any, dtype: Any = None) -> Tensor:
    """Return a Tensor as it is, and anything else as :func:`tensor` makes it one."""
    if isinstance(data, Tensor):
        return data if dtype is None else cast(data, dtype)
    return tensor(data, dtype=dtype)


def new_tensor(input: Tensor, data: Any, *, dtype: Any = None) -> Tensor:
    """Return :func:`tensor` of ``data``, in the type of ``input`` where there is no ``dtype``."""
    return tensor(data, dtype=input.dtype if dtype is None else dtype)


def full(size: Sequence[Length], fill_value: Number | Tensor, *, dtype: Any = None) -> Tensor:
    """Return a tensor with one number in every place.

    Args:
        size: the lengths, ints and Sizes.
        fill_value: the number, which may be a length; its kind says the type where there is no ``dtype``.

    Raises:
        ShapeError: a length may be 0: TensorRT has no empty tensors here.
        ArgumentError: a length is below 1 or no length, or nothing is being traced.
    """
    return _filled(here(), size, fill_value, dtype)


def zeros(*size: Length | Sequence[Length], dtype: Any = None) -> Tensor:
    """Return a tensor of zeros, floating where there is no ``dtype``; see :func:`full`."""
    return _filled(here(), unpacked(size), 0.0, dtype)


def ones(*size: Length | Sequence[Length], dtype: Any = None) -> Tensor:
    """Return a tensor of ones, floating where there is no ``dtype``; see :func:`full`."""
    return _filled(here(), unpacked(size), 1.0, dtype)


def full_like(input: Tensor, fill_value: Number | Tensor, *, dtype: Any = None) -> Tensor:
    """Return a tensor with one number in every place, in the shape and type of ``input``."""
    return _filled(input.graph, input.shape, fill_value, dtype or input.dtype)


def zeros_like(input: Tensor, *, dtype: Any = None) -> Tensor:
    """Return a tensor of zeros, in the shape and type of ``input``."""
    return full_like(input, 0, dtype=dtype)


def ones_like(input: Tensor, *, dtype: Any = None) -> Tensor:
    """Return a tensor of ones, in the shape and type of ``input``."""
    return full_like(input, 1, dtype=dtype)


def new_full(input: Tensor, size: Sequence[Length], fill_value: Number | Tensor, *, dtype: Any = None) -> Tensor:
    """Return a tensor with one number in every place, in the type of ``input``; see :func:`full`."""
    return _filled(input.graph, size, fill_value, dtype or input.dtype)


def new_zeros(input: Tensor, *size: Length | Sequence[Length], dtype: Any = None) -> Tensor:
    """Return a tensor of zeros, in the type of ``input``; see :func:`full`."""
    return new_full(input, unpacked(size), 0, dtype=dtype)


def new_ones(input: Tensor, *size: Length | Sequence[Length], dtype: Any = None) -> Tensor:
    """Return a tensor of ones, in the type of ``input``; see :func:`full`."""
    return new_full(input, unpacked(size), 1, dtype=dtype)


def arange(
    start: float | Length, end: float | Length | None = None, step: float | Length = 1, *, dtype: Any = None
) -> Tensor:
    """Return start, start + step, ... up to before end, as ``torch.arange``; ``arange(end)`` begins at 0.

    Args:
        start, end, step: numbers, or ints and Sizes such as ``x.shape[2]``; a step that is a Size is above 0.
        dtype: the type of whole numbers where all are, else the floating type that the network computes in.

    Raises:
        ArgumentError: it is called outside a trace, or there is no number between start and end.
        DTypeError: fractions are to be whole, where torch takes another step.
    """
    graph = here()
    first, last = (0, start) if end is None else (start, end)
    whole = _is_length(first) and _is_length(last) and _is_length(step)
    kind = default_dtype(0 if whole else 0.0, graph) if dtype is None else as_dtype(dtype)
    if not (isinstance(first, Size) or isinstance(last, Size) or isinstance(step, Size)):
        fractions = not all(float(value).is_integer() for value in (first, last, step))
        if kind is bool_ or (fractions and not kind.is_floating_point):
            raise DTypeError(
                f"arange from {first} to {last} by {step} as {kind.name}", "give whole numbers, or cast it"
            )
        if not math.isfinite(float(last) - float(first)):
            raise ArgumentError(f"arange from {first} to {last} has no end")
        if math.isnan(step):
            raise ArgumentError("arange by NaN holds nothing")
        numbers = np.arange(first, last, step) if step else np.zeros(0)
        if not numbers.size:
            raise ArgumentError(f"arange from {first} to {last} by {step} holds nothing")
        return graph.constant(numbers, kind)
    down = isinstance(step, int) and step < 0
    if not (_is_length(first) and _is_length(last) and _is_length(step) and (down or step >= 1)):
        raise ArgumentError(
            f"arange from {first} to {last} by {step}", "beside a Size all are whole, and a step that is one is above 0"
        )
    count = ceil_divide(first - last, -step) if down else ceil_divide(last - first, step)
    if not count >= 1:
        raise ArgumentError(f"arange from {first} to {last} by {step} holds nothing")
    if bounds(count)[1] > _EXACT:
        raise ArgumentError(f"arange counts up to {_EXACT}, and {count} goes up to {bounds(count)[1]}")
    line = cast(_first_numbers(graph, count), kind)
    if not (isinstance(step, int) and step == 1):
        line = mul(line, step)
    return line if isinstance(first, int) and first == 0 else add(line, first)


def _is_length(value: Any) -> TypeGuard[Length]:
    return isinstance(value, (int, np.integer, Size))


def numbers_below(length: Length, dtype: Any = None) -> np.ndarray | Tensor:
    """Return 0, 1, ... up to before a length: an array where that is known while tracing, else a Tensor.

    Operators are the same on both, so what follows is written once, and makes layers only where it has to.
    """
    return arange(length, dtype=dtype) if isinstance(length, Size) else np.arange(length, dtype=dtype)


def _first_numbers(graph: Graph, count: Length) -> Tensor:
    """Return 0, 1, ... up to before ``count``, in float32, which every version of TensorRT fills with."""
    if not isinstance(count, Size):
        return graph.constant(np.arange(count), float32)
    return graph.emit(
        "fill",
        (1,),
        graph.trt.FillOperation.LINSPACE,
        out_shape=(count,),
        set_inputs={0: shape_tensor(graph, [count])},
        alpha=0.0,
        beta=1.0,
    )


def linspace(start: Number | Tensor, end: Number | Tensor, steps: Length, *, dtype: Any = None) -> Tensor:
    """Return ``steps`` numbers from start to end, both included, at equal distances.

    As whole numbers they begin and end at the whole parts of the two, and what lies between is cut off, as in torch.

    Args:
        start, end: numbers, which may be lengths.
        steps: how many; a Size such as ``x.shape[2]`` is of floating numbers alone.

    Raises:
        ArgumentError: there are no steps.
        DTypeError: they are whole numbers, of which it is known only when the network runs how many there are.
    """
    if steps < 1:
        raise ArgumentError(f"linspace takes steps from 1 on, not {steps}", "TensorRT has no empty tensors here")
    kind = default_dtype(0.0, here()) if dtype is None else as_dtype(dtype)
    if isinstance(steps, Size):
        return _as_many_as(steps, start, end, kind)
    at = np.arange(steps)
    late = at >= steps // 2  # from there on torch counts back from the end
    if isinstance(start, (Tensor, Size, SymFloat)) or isinstance(end, (Tensor, Size, SymFloat)):
        return _between(start, end, at, late, kind)
    if not kind.is_floating_point:
        if not (math.isfinite(start) and math.isfinite(end)):
            raise ArgumentError(f"linspace from {start} to {end} as {kind.name}", "its ends are whole numbers then")
        start, end = int(start), int(end)
    step = (end - start) / max(steps - 1, 1)
    numbers = np.where(late & (steps > 1), end - step * at[::-1], start + step * at)
    return here().constant(converted(numbers, kind), kind)


def _as_many_as(steps: Size, start: Operand, end: Operand, kind: DType) -> Tensor:
    """Return :func:`linspace` of as many numbers as a length says when the network runs."""
    if not kind.is_floating_point:
        raise DTypeError(f"linspace of {steps} numbers as {kind.name}", "give the floating ones, and round those")
    first, last = (cast(tensor, float32) for tensor in promote(start, end, graph=here()))
    count = cast(shape_tensor(first.graph, [steps]), float32)
    at = _first_numbers(first.graph, steps)
    behind = sub(sub(count, 1.0), at)  # how many follow
    step = div(sub(last, first), maximum(sub(count, 1.0), 1.0))
    early = logical_or(lt(at, floor(mul(count, 0.5))), eq(count, 1.0))  # later torch counts back from the end
    return cast(where(early, add(first, mul(step, at)), sub(last, mul(step, behind))), kind)


def _between(start: Operand, end: Operand, at: np.ndarray, late: np.ndarray, kind: DType) -> Tensor:
    ends = promote(start, end, graph=here())
    if any(tensor.shape for tensor in ends):
        raise ShapeError(f"linspace goes from a number to a number, not {ends[0].shape} to {ends[1].shape}")
    steps = max(len(at) - 1, 1)
    if not kind.is_floating_point:
        first, last = (cast(cast(tensor, kind), index_dtype(tensor.graph)) for tensor in ends)
        between = div(add(mul(first, steps - at), mul(last, at)), steps, rounding_mode="trunc")
        return cast(between if len(at) > 1 else reshape(first, (1,)), kind)
    first, last = (cast(tensor, float32) for tensor in ends)
    if len(at) == 1:
        return reshape(cast(first, kind), (1,))
    step = div(sub(last, first), steps)
    return cast(where(late, sub(last, mul(step, np.float32(at[::-1]))), add(first, mul(step, np.float32(at)))), kind)


def eye(n: Length, m: Length | None = None, *, dtype: Any = None) -> Tensor:
    """Return an n by m matrix of 1 on the diagonal and 0 elsewhere; m is n where None.

    Raises:
        ArgumentError: there are no rows or no columns.
    """
    for side in (n, m):
        if isinstance(side, bool) or not isinstance(side, (int, np.integer, Size, type(None))):
            raise ArgumentError(f"eye takes ints, not {side!r}")
    if n < 1 or (m is not None and m < 1):
        raise ArgumentError(f"eye of {n if m is None else (n, m)} holds nothing", "TensorRT has no empty tensors here")
    if not (isinstance(n, Size) or isinstance(m, Size)):
        return typed_constant(np.eye(n, m), 0.0, dtype)
    kind = default_dtype(0.0, here()) if dtype is None else as_dtype(dtype)
    return cast(on_diagonal(here(), n, n if m is None else m), kind)


def meshgrid(*tensors: Tensor | Sequence[Tensor], indexing: str | None = None) -> tuple[Tensor, ...]:
    """Expand vectors to grids: dimension i of each runs along vector i.

    Args:
        indexing: ``"ij"``, which None stands for, or ``"xy"``, which swaps the first two dimensions.

    Raises:
        ArgumentError: another ``indexing``.
    """
    if indexing not in (None, "ij", "xy"):
        raise ArgumentError(f"indexing is 'ij' or 'xy', not {indexing!r}")
    vectors = unpacked(tensors)
    order = list(range(len(vectors)))
    if indexing == "xy":
        order[:2] = order[:2][::-1]
    lengths = [vectors[i].numel() for i in order]
    return tuple(_grid(vector, [-1 if at == i else 1 for at in order], lengths) for i, vector in enumerate(vectors))


@repeating
def _grid(vector: Tensor, shape: Sequence[int], lengths: Sequence[Length]) -> Tensor:
    return expand(reshape(vector, shape), lengths)


def on_diagonal(graph: Graph, rows: Length, columns: Length, offset: int = 0) -> Tensor:
    """Return which places of a matrix lie on a diagonal, as bools, (rows, columns)."""
    at = numbers_below(columns, "float32") == numbers_below(rows, "float32")[:, None] + offset
    return at if isinstance(at, Tensor) else graph.constant(at, bool_)


def lower_triangle(rows: Length, columns: Length, diagonal: Length = 0) -> Tensor:
    """Return which places of a matrix are not above a diagonal, as bools, (rows, columns)."""
    downwards = numbers_below(rows, "float32")[:, None]
    if isinstance(diagonal, Size) and not isinstance(downwards, Tensor):
        downwards = here().constant(downwards, float32)
    lower = numbers_below(columns, "float32") <= downwards + diagonal
    return lower if isinstance(lower, Tensor) else here().constant(lower, bool_)


def _triangle(input: Tensor, diagonal: Length, what: str) -> tuple[Tensor, Tensor]:
    """Return which places of the last two dimensions are not above a diagonal, and a zero.

    Raises:
        ShapeError: there are fewer dimensions.
    """
    if input.ndim < 2:
        raise ShapeError(f"{what} in {input.graph.where} takes (..., rows, columns), not {input.shape}")
    rows, columns = input.shape[-2:]
    return lower_triangle(rows, columns, diagonal), input.graph.constant(0, input.dtype)


def tril(input: Tensor, diagonal: Length = 0) -> Tensor:
    """Return the lower triangle of the last two dimensions, up to a diagonal, and 0 above.

    Args:
        diagonal: 0 for the main one, above it where positive.

    Raises:
        ShapeError: there are fewer than two dimensions.
    """
    lower, zero = _triangle(input, diagonal, "tril")
    return where(lower, input, zero)


def triu(input: Tensor, diagonal: Length = 0) -> Tensor:
    """Return the upper triangle of the last two dimensions, from a diagonal on, and 0 below.

    Args:
        diagonal: 0 for the main one, above it where positive.

    Raises:
        ShapeError: there are fewer than two dimensions.
    """
    below, zero = _triangle(input, diagonal - 1, "triu")
    return where(below, zero, input)
