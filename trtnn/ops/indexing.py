"""Parts of a tensor."""

from __future__ import annotations

from typing import Any

import numpy as np

from trtnn.errors import ArgumentError, ShapeError, UnsupportedError
from trtnn.ops.arguments import normalize_dim
from trtnn.ops.shaping import reshape
from trtnn.tensor import Tensor


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
            span = range(*item.indices(length))
            if not span:
                raise ShapeError(f"the slice {item} leaves nothing of a dimension of {length}")
            shape.append(len(span))
        elif isinstance(item, (int, np.integer)) and not isinstance(item, bool):
            if not -length <= item < length:
                raise ShapeError(f"index {item} is out of range for a dimension of {length} in {input.graph.where}")
            span = range(int(item) % length, int(item) % length + 1)
        else:
            raise UnsupportedError(
                f"an index of type {type(item).__name__}", "known: integers, slices, Ellipsis and None"
            )
        start.append(span.start)
        size.append(len(span))
        stride.append(span.step)
    if tuple(size) != input.shape:
        input = input.graph.emit("slice", input, tuple(start), tuple(size), tuple(stride))
    return reshape(input, tuple(shape))
