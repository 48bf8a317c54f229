"""Parts of a tensor, by slices and by tensors of indices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from trtnn.dtypes import bool_
from trtnn.errors import ArgumentError, DTypeError, ShapeError, UnsupportedError
from trtnn.ops.arguments import normalize_dim
from trtnn.ops.arithmetic import add, mul
from trtnn.ops.comparison import lt, where
from trtnn.ops.promotion import index_dtype
from trtnn.ops.shaping import movedim, reshape
from trtnn.tensor import Tensor

Indices = Tensor | np.ndarray


def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """Return ``length`` elements along ``dim`` from ``start`` on; a negative start counts from the end.

    Raises:
        ShapeError: they do not all lie within the dimension, or there are none.
    """
    axis = normalize_dim(dim, input.ndim)
    whole = input.shape[axis]
    first = start + whole if start < 0 else start
    if not (first >= 0 and 1 <= length <= whole - first):
        raise ShapeError(
            f"{length} elements from {start} on do not lie within dimension {dim} in {input.graph.where}",
            f"the tensor's shape is {input.shape}",
        )
    return getitem(input, (slice(None),) * axis + (slice(first, first + length),))


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """Return what lies at ``index`` along ``dim``, without that dimension."""
    return getitem(input, (slice(None),) * normalize_dim(dim, input.ndim) + (index,))


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Return what lies at each index along ``dim``."""
    return tuple(select(input, dim, i) for i in range(input.shape[normalize_dim(dim, input.ndim)]))


def take(input: Tensor, indices: Indices, axis: int) -> Tensor:
    """Return what lies at indices from 0 on along an axis counted from the front, in the indices' shape."""
    graph = input.graph
    if not isinstance(indices, Tensor):
        indices = graph.constant(indices, index_dtype(graph))
    return graph.emit("gather", input, indices, axis)


def from_front(index: Indices, length: int, where_: str) -> Indices:
    """Return indices counted from the front; those in an array are checked.

    Raises:
        ShapeError: one in an array is out of range.
    """
    if isinstance(index, Tensor):
        return where(lt(index, 0), add(index, length), index)
    outside = index[(index < -length) | (index >= length)]
    if outside.size:
        raise ShapeError(f"index {outside[0]} is out of range for a dimension of {length} in {where_}")
    return index % length


def index_select(input: Tensor, dim: int, index: Indices) -> Tensor:
    """Return what lies at each index along ``dim``; the indices are a vector and counted from the front."""
    axis = normalize_dim(dim, input.ndim)
    return take(input, as_indices(index), axis)


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
        return value
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        raise DTypeError(f"an index of type {array.dtype}", "known: integers, and bool arrays")
    return array


def getitem(input: Tensor, index: Any) -> Tensor:
    """``input[index]``: integers, slices of a positive step, Ellipsis, None, and lists, arrays and Tensors of integers.

    As in torch, integers pick first. What is left of lists, arrays and Tensors is broadcast together and picks
    elements; its dimensions stand where it stood, or in front where a slice stood in between. Bool arrays stand for the
    indices of their true elements.

    Raises:
        ShapeError: more indices than dimensions, one out of range, or nothing left.
        DTypeError, UnsupportedError: an index of another kind.
    """
    items = _without_ellipsis(_items(index), input)
    picks: list[tuple[int, Indices]] = []  # the dimension, once the rest has been applied
    start, size, stride, shape = [], [], [], []
    for item in items:
        if item is None:
            shape.append(1)
            continue
        length = input.shape[len(start)]
        if isinstance(item, int):
            if not -length <= item < length:
                raise ShapeError(f"index {item} is out of range for a dimension of {length} in {input.graph.where}")
            span = range(item % length, item % length + 1)
        else:
            if not isinstance(item, slice):
                picks.append((len(shape), from_front(item, length, input.graph.where)))
            span = _span(item if isinstance(item, slice) else slice(None), length)
            shape.append(len(span))
        start.append(span.start)
        size.append(len(span))
        stride.append(span.step)
    if tuple(size) != input.shape:
        input = input.graph.emit("slice", input, tuple(start), tuple(size), tuple(stride))
    input = reshape(input, tuple(shape))
    return _pick(input, *zip(*picks, strict=True)) if picks else input


def _span(item: slice, length: int) -> range:
    if item.step is not None and item.step < 1:
        raise ArgumentError("a slice has a positive step, as in torch", f"received {item}")
    span = range(*item.indices(length))
    if not span:
        raise ShapeError(f"the slice {item} leaves nothing of a dimension of {length}")
    return span


def _items(index: Any) -> list[Any]:
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
        elif isinstance(item, (int, np.integer)):
            items.append(int(item))
        elif isinstance(item, (Tensor, np.ndarray, list, range)):
            array = item if isinstance(item, Tensor) else np.asarray(item)
            items.append(array if array.dtype == np.bool_ else as_indices(array))
        else:
            raise UnsupportedError(
                f"an index of type {type(item).__name__}",
                "known: integers, slices, Ellipsis, None, and lists, arrays and Tensors of integers",
            )
    return [int(item) if isinstance(item, np.ndarray) and not item.shape else item for item in items]


def _is_mask(item: Any) -> bool:
    return isinstance(item, np.ndarray) and item.dtype == np.bool_


def _without_ellipsis(items: list[Any], input: Tensor) -> list[Any]:
    """Return items that name every dimension, each one."""
    at = [i for i, item in enumerate(items) if item is Ellipsis]
    if len(at) > 1:
        raise ArgumentError("an index holds at most one Ellipsis")
    used = sum(item.ndim if _is_mask(item) else 1 for item in items if item is not None and item is not Ellipsis)
    if used > input.ndim:
        raise ShapeError(f"{used} indices for a tensor of shape {input.shape} in {input.graph.where}")
    place = at[0] if at else len(items)
    items[place : place + len(at)] = [slice(None)] * (input.ndim - used)
    named: list[Any] = []
    for item in items:
        if _is_mask(item):
            at_dim = sum(other is not None for other in named)
            lengths = input.shape[at_dim : at_dim + item.ndim]
            if item.shape != lengths or not item.any():
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
        indices = [_flat_index(indices, lengths)]
    return take(input, indices[0], at)


def _flat_index(indices: Sequence[Indices], lengths: Sequence[int]) -> Indices:
    """Return the indices of elements in several dimensions joined into one."""
    flat = indices[0]
    for index, length in zip(indices[1:], lengths[1:], strict=True):
        if isinstance(flat, Tensor) or isinstance(index, Tensor):
            flat = add(mul(flat, length) if isinstance(flat, Tensor) else flat * length, index)
        else:
            try:
                flat = flat * length + index
            except ValueError:
                raise ShapeError(
                    f"indices of shapes {flat.shape} and {index.shape} do not broadcast together"
                ) from None
    return flat
