"""Parts of a tensor, by slices and by tensors of indices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from trtnn.arrays import is_torch
from trtnn.dtypes import NARROW, bool_
from trtnn.errors import ArgumentError, DTypeError, ShapeError, UnsupportedError, named
from trtnn.graph.graph import Graph
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Indices, normalize_dim
from trtnn.ops._promotion import here, index_dtype
from trtnn.ops._sizes import shape_tensor
from trtnn.ops.arithmetic import add, mul
from trtnn.ops.comparison import lt, where
from trtnn.ops.shaping import movedim, reshape
from trtnn.parameter import Parameter
from trtnn.shapes.symbolic import Length, Size, bounds, ceil_divide, is_static, same_shape, sym_max, sym_min


def cut(
    input: Tensor, start: Sequence[Length], size: Sequence[Length], stride: Sequence[int], mode: str = "STRICT_BOUNDS"
) -> Tensor:
    """Return ``size`` elements along each dimension from ``start`` on, ``stride`` apart; 0 repeats one of them.

    Args:
        mode: TensorRT's name for what lies beyond the ends: ``"FILL"`` for zeros, ``"WRAP"``, ``"CLAMP"``,
            ``"REFLECT"``, or ``"STRICT_BOUNDS"`` for nothing.
    """
    places = (0,) * input.ndim  # what stands in for lengths that come as inputs
    set_inputs = {i: shape_tensor(input.graph, v) for i, v in ((1, start), (2, size)) if not is_static(v)}
    return input.graph.emit(
        "slice",
        input,
        tuple(start) if is_static(start) else places,
        tuple(size) if is_static(size) else places,
        tuple(stride),
        out_shape=size,
        set_inputs=set_inputs,
        mode=getattr(input.graph.trt.SampleMode, mode),
    )


def narrow(input: Tensor, dim: int, start: Length | Tensor, length: Length) -> Tensor:
    """Return ``length`` elements along ``dim`` from ``start`` on; a negative start counts from the end.

    Args:
        start: also a Tensor of one whole number; whether all elements lie within is then known only to the engine.

    Raises:
        ShapeError: they do not all lie within the dimension, or there are none.
    """
    axis = normalize_dim(dim, input.ndim)
    whole = input.shape[axis]
    if isinstance(start, Tensor):
        if start.shape or start.dtype.is_floating_point or start.dtype is bool_:
            raise ShapeError(f"narrow starts at one whole number, not at {start.dtype.name}{list(start.shape)}")
        if not isinstance(length, int):
            raise UnsupportedError(f"narrow by a length of {length} from a place that only the engine knows")
        if length < 1:
            raise ShapeError(f"narrow to {length} elements in {input.graph.where} leaves nothing")
        return take(input, add(from_front(start, whole, input.graph), np.arange(length)), axis)
    first = start + whole if start < 0 else start
    if not (first >= 0 and 1 <= length <= whole - first):
        raise ShapeError(
            f"{length} elements from {start} on do not lie within dimension {dim} in {input.graph.where}",
            f"the tensor's shape is {input.shape}",
        )
    return getitem(input, (slice(None),) * axis + (slice(first, first + length),))


def select(input: Tensor, dim: int, index: Length) -> Tensor:
    """Return what lies at ``index`` along ``dim``, without that dimension."""
    return getitem(input, (slice(None),) * normalize_dim(dim, input.ndim) + (index,))


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Return what lies at each index along ``dim``."""
    return tuple(select(input, dim, i) for i in range(input.shape[normalize_dim(dim, input.ndim)]))


def take(input: Tensor, indices: Indices, axis: int) -> Tensor:
    """Return what lies at indices from 0 on along an axis counted from the front, in the indices' shape.

    Raises:
        ShapeError: one in an array is out of range.
    """
    expect_within(indices, input.shape[axis], input.graph)
    indices = index_tensor(indices, input.graph)
    shape = (*input.shape[:axis], *indices.shape, *input.shape[axis + 1 :])
    return input.graph.emit("gather", input, indices, axis, out_shape=shape)


def checked_indices(index: Any, input: Tensor, axis: int) -> Tensor:
    """Return indices from 0 on along an axis as a Tensor; those in an array are checked.

    Raises:
        ShapeError: one in an array is out of range.
    """
    index = as_indices(index)
    expect_within(index, input.shape[axis], input.graph)
    return index_tensor(index, input.graph)


def index_tensor(index: Indices, graph: Graph) -> Tensor:
    """Return indices as a Tensor, those in an array as a constant of the type that indices have."""
    return index if isinstance(index, Tensor) else graph.constant(index, index_dtype(graph))


def expect_within(index: Indices, length: Length, graph: Graph) -> None:
    """Check that the indices in an array are from 0 on and within a length, or the largest that it may be."""
    most = bounds(length)[1]
    for end in (index.min(), index.max()) if isinstance(index, np.ndarray) and index.size else ():
        if not 0 <= int(end) < most:
            raise ShapeError(f"index {end} is out of range for a dimension of {length} in {graph.where}")


def from_front(index: Indices, length: Length, graph: Graph) -> Indices:
    """Return indices counted from the front; those in an array are checked.

    Raises:
        ShapeError: one in an array is out of range.
    """
    if isinstance(index, Tensor):
        return where(lt(index, 0), add(index, length), index)
    for end in (index.min(), index.max()) if index.size else ():
        if not -length <= int(end) < length:
            raise ShapeError(f"index {end} is out of range for a dimension of {length} in {graph.where}")
    if isinstance(length, int):
        return index % length
    negative = index < 0
    return add(index_tensor(index, graph), mul(index_tensor(negative, graph), length)) if negative.any() else index


def index_select(input: Tensor, dim: int, index: Indices) -> Tensor:
    """Return what lies at each index along ``dim``; the indices are a vector and counted from the front."""
    if not input.shape:  # torch takes it for one of a dimension of 1
        normalize_dim(dim, 1)
        return reshape(index_select(reshape(input, (1,)), 0, index), ())
    axis = normalize_dim(dim, input.ndim)
    index = as_indices(index)
    return take(input, reshape(index, (1,)) if isinstance(index, Tensor) and not index.shape else index, axis)


def as_indices(value: Any) -> Indices:
    """Return what indexes as a Tensor or an array of integers.

    Raises:
        DTypeError, UnsupportedError: its elements are no integers.
    """
    if isinstance(value, Tensor):
        if value.dtype is bool_:
            raise UnsupportedError(
                "an index that is a bool Tensor", "how much it picks is known only when the engine runs", "use where"
            )
        if value.dtype.is_floating_point:
            raise DTypeError(f"an index of type {value.dtype.name}", "cast it to an integer type first")
        if value.dtype in NARROW:
            raise DTypeError(
                f"an index of type {value.dtype.name}", "torch takes bytes for a mask: cast it with .long()"
            )
        return value
    array = _as_array(value)
    if array.dtype.kind not in "iu":
        raise DTypeError(f"an index of type {array.dtype}", "known: integers, and bool arrays")
    return array


def _as_array(value: Any) -> np.ndarray:
    """Return an index of numbers that are known as an array."""
    if isinstance(value, Parameter) or is_torch(value):
        return here().held(value)
    return np.asarray(value)


def getitem(input: Tensor, index: Any) -> Tensor:
    """Return ``input[index]``.

    The index holds integers, slices of a positive step, Ellipsis, None, and lists, arrays and Tensors of integers.

    As in torch, integers pick first. What is left of lists, arrays and Tensors is broadcast together and picks
    elements; its dimensions stand where it stood, or in front where a slice stood in between. Bool arrays stand for the
    indices of their true elements.

    Raises:
        ShapeError: more indices than dimensions, one out of range, or nothing left.
        DTypeError, UnsupportedError: an index of another kind.
    """
    items = without_ellipsis(items_of(index), input)
    picks: list[tuple[int, Indices]] = []  # the dimension, once the rest has been applied
    start, size, stride, shape = [], [], [], []
    left = ""  # why nothing is
    for item in items:
        if item is None:
            shape.append(1)
            continue
        length = input.shape[len(start)]
        if isinstance(item, (int, Size)):
            if not -length <= item < length:
                raise ShapeError(f"index {item} is out of range for a dimension of {length} in {input.graph.where}")
            first, count, step = item if item >= 0 else item + length, 1, 1
        else:
            if not isinstance(item, slice):
                picks.append((len(shape), from_front(item, length, input.graph)))
            first, count, step = span(item if isinstance(item, slice) else slice(None), length)
            if isinstance(count, int) and count == 0:
                left = f"the slice {item} leaves nothing of a dimension of {length}"
            shape.append(count)
        start.append(first if isinstance(first, Size) else int(first))
        size.append(count)
        stride.append(step)
    if left and picks:
        raise ShapeError(left)
    if left:
        return input.graph.deferred.nothing(shape, input.dtype, left)
    if not same_shape(size, input.shape):
        input = cut(input, start, size, stride)
    input = reshape(input, tuple(shape))
    return _pick(input, *zip(*picks, strict=True)) if picks else input


def span(item: slice, length: Length) -> tuple[Length, Length, int]:
    """Return where a slice of a dimension begins, how many elements it has, and its step.

    Raises:
        ArgumentError: the step is below 1.
        ShapeError: there are none, or the range of a dimension leaves it open whether the slice lies within.
    """
    step = 1 if item.step is None else item.step
    if step < 1:
        raise ArgumentError("a slice has a positive step, as in torch", f"received {item}")
    if is_static((item.start, item.stop, length)):
        taken = range(*item.indices(length))
        first, count = taken.start, len(taken)
    else:
        first, last = _position(item.start, 0, length), _position(item.stop, length, length)
        count = ceil_divide(last - first, step)
    if not count >= 1 and not (count == 0 and is_static((length, first))):
        raise ShapeError(f"the slice {item} leaves nothing of a dimension of {length}")
    return first, count, step


def _position(value: Length | None, default: Length, length: Length) -> Length:
    """Return one end of a slice, counted from the front and no further than the dimension goes."""
    if value is None:
        return default
    return sym_max(0, sym_min(length, value if value >= 0 else value + length))


def items_of(index: Any) -> list[Any]:
    """Return an index as a list of ints, slices, None, Ellipsis, arrays of integers or bools, and Tensors."""
    if isinstance(index, list) and any(isinstance(item, (list, tuple, slice)) for item in index):
        raise UnsupportedError(
            "a list of lists as an index", "torch changes what it means", "give an array, or a tuple"
        )
    items: list[Any] = []
    for item in index if isinstance(index, tuple) else (index,):
        if item is None or item is Ellipsis or isinstance(item, slice):
            items.append(item)
        elif isinstance(item, bool):
            raise UnsupportedError("an index of type bool", "known: integers, slices, Ellipsis, None, arrays, Tensors")
        elif isinstance(item, (int, np.integer, Size)):
            items.append(item if isinstance(item, Size) else int(item))
        elif isinstance(item, list) and any(isinstance(place, Size) for place in item):
            items.append(shape_tensor(here(), item))
        elif isinstance(item, (Tensor, np.ndarray, np.bool_, list, range, Parameter)) or is_torch(item):
            array = item if isinstance(item, Tensor) else _as_array(item)
            items.append(array if is_mask(array) else as_indices(array))
        else:
            raise UnsupportedError(
                f"an index of type {named(item)}",
                "known: integers, slices, Ellipsis, None, and lists, arrays and Tensors of integers",
            )
    return [int(item) if isinstance(item, np.ndarray) and not item.shape else item for item in items]


def is_mask(item: Any) -> bool:
    return isinstance(item, np.ndarray) and item.dtype == np.bool_


def without_ellipsis(items: list[Any], input: Tensor) -> list[Any]:
    """Return items that name every dimension, each one."""
    at = [i for i, item in enumerate(items) if item is Ellipsis]
    if len(at) > 1:
        raise ArgumentError("an index holds at most one Ellipsis")
    used = sum(item.ndim if is_mask(item) else 1 for item in items if item is not None and item is not Ellipsis)
    if used > input.ndim:
        raise ShapeError(f"{used} indices for a tensor of shape {input.shape} in {input.graph.where}")
    place = at[0] if at else len(items)
    items[place : place + len(at)] = [slice(None)] * (input.ndim - used)
    named: list[Any] = []
    for item in items:
        if is_mask(item):
            at_dim = sum(other is not None for other in named)
            lengths = input.shape[at_dim : at_dim + item.ndim]
            if not same_shape(item.shape, lengths) or not item.any():
                raise ShapeError(
                    f"a bool index of shape {item.shape}, {item.sum()} of it true, does not fit dimensions {lengths}"
                )
            named += np.nonzero(item)
        else:
            named.append(item)
    return named


def _pick(input: Tensor, dims: Sequence[int], indices: Sequence[Indices]) -> Tensor:
    """Pick elements by indices from 0 on along several dimensions, broadcast together."""
    at = dims[0] if list(dims) == list(range(dims[0], dims[0] + len(dims))) else 0
    if len(dims) > 1:
        input = movedim(input, tuple(dims), tuple(range(at, at + len(dims))))
        lengths = input.shape[at : at + len(dims)]
        input = reshape(input, (*input.shape[:at], math.prod(lengths), *input.shape[at + len(dims) :]))
        indices = [flat_index(indices, lengths, input.graph)]
    return take(input, indices[0], at)


def flat_index(indices: Sequence[Indices], lengths: Sequence[Length], graph: Graph) -> Indices:
    """Return the indices of elements in several dimensions joined into one."""
    flat = indices[0]
    for index, length in zip(indices[1:], lengths[1:], strict=True):
        if isinstance(flat, Tensor) or isinstance(length, Size):
            flat = add(mul(index_tensor(flat, graph), length), index)
        elif isinstance(index, Tensor):
            flat = add(flat * length, index)
        else:
            try:
                flat = flat * length + index
            except ValueError:
                raise ShapeError(
                    f"indices of shapes {flat.shape} and {index.shape} do not broadcast together"
                ) from None
    return flat
