"""Parts of a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trtnn.errors import ArgumentError, ShapeError, UnsupportedError
from trtnn.ops.arguments import normalize_dim
from trtnn.ops.shaping import reshape
from trtnn.ops.sizes import shape_tensor
from trtnn.symbolic import Length, Size, ceil_divide, is_static, same_shape
from trtnn.tensor import Tensor


def cut(input: Tensor, start: Sequence[Length], size: Sequence[Length], stride: Sequence[int]) -> Tensor:
    """Return ``size`` elements along each dimension from ``start`` on, ``stride`` apart; 0 repeats one of them."""
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
    )


def narrow(input: Tensor, dim: int, start: Length, length: Length) -> Tensor:
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


def getitem(input: Tensor, index: Any) -> Tensor:
    """``input[index]`` with integers, slices of a positive step, Ellipsis and None.

    Raises:
        ShapeError: more indices than dimensions, an integer out of range, or nothing left.
        UnsupportedError: an index of another kind.
    """
    items = list(index) if isinstance(index, tuple) else [index]
    if any(item is Ellipsis for item in items):
        at = next(i for i, item in enumerate(items) if item is Ellipsis)
        if any(item is Ellipsis for item in items[at + 1 :]):
            raise ArgumentError("an index holds at most one Ellipsis")
        used = sum(item is not None for item in items) - 1
        items[at : at + 1] = [slice(None)] * (input.ndim - used)
    used = sum(item is not None for item in items)
    if used > input.ndim:
        raise ShapeError(f"{used} indices for a tensor of shape {input.shape} in {input.graph.where}")
    items += [slice(None)] * (input.ndim - used)

    start, size, stride, shape = [], [], [], []
    for item in items:
        if item is None:
            shape.append(1)
            continue
        length = input.shape[len(start)]
        if isinstance(item, slice):
            if item.step is not None and item.step < 1:
                raise ArgumentError("a slice has a positive step, as in torch", f"received {item}")
            first, count = _span(item, length)
            step = item.step or 1
            shape.append(count)
        elif isinstance(item, (int, np.integer, Size)) and not isinstance(item, bool):
            if not -length <= item < length:
                raise ShapeError(f"index {item} is out of range for a dimension of {length} in {input.graph.where}")
            first, count, step = item if item >= 0 else item + length, 1, 1
        else:
            raise UnsupportedError(
                f"an index of type {type(item).__name__}", "known: integers, slices, Ellipsis and None"
            )
        start.append(first if isinstance(first, Size) else int(first))
        size.append(count)
        stride.append(step)
    if not same_shape(size, input.shape):
        input = cut(input, start, size, stride)
    return reshape(input, tuple(shape))


def _span(item: slice, length: Length) -> tuple[Length, Length]:
    """Return where a slice of a dimension begins, and how many elements it has.

    Raises:
        ShapeError: there are none, or the range of a dimension leaves it open whether the slice lies within.
    """
    if is_static((item.start, item.stop, length)):
        span = range(*item.indices(length))
        first, count = span.start, len(span)
    else:
        first, last = _position(item.start, 0, length), _position(item.stop, length, length)
        count = ceil_divide(last - first, item.step or 1)
    if not count >= 1:
        raise ShapeError(f"the slice {item} leaves nothing of a dimension of {length}")
    return first, count


def _position(value: Length | None, default: Length, length: Length) -> Length:
    """Return one end of a slice, counted from the front and no further than the dimension goes."""
    if value is None:
        return default
    place = value if value >= 0 else value + length
    return length if place > length else place if place >= 0 else 0
