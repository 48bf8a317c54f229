"""The same elements in another shape or order."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from trtnn.errors import ArgumentError, ShapeError
from trtnn.ops.arguments import normalize_dim
from trtnn.ops.sizes import shape_tensor
from trtnn.symbolic import Length, Size, same, same_shape
from trtnn.tensor import Tensor


def reshape(input: Tensor, *shape: Length | Sequence[Length]) -> Tensor:
    """The same elements in another shape; one length may be -1, which takes what is left.

    Raises:
        ShapeError: the number of elements differs.
    """
    wanted = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], Sequence) else tuple(shape)
    graph, count = input.graph, math.prod(input.shape)
    is_open = [isinstance(length, (int, np.integer)) and length == -1 for length in wanted]
    known = math.prod(length for length, open_ in zip(wanted, is_open, strict=True) if not open_)
    resolved = tuple(
        count // max(known, 1) if open_ else length if isinstance(length, Size) else int(length)
        for length, open_ in zip(wanted, is_open, strict=True)
    )
    if sum(is_open) > 1 or any(length < 0 for length in resolved) or not same(math.prod(resolved), count):
        raise ShapeError(f"cannot reshape {input.shape}, {count} elements, to {wanted} in {graph.where}")
    if same_shape(resolved, input.shape):
        return input
    dims = _reshape_dims(input.shape, resolved)
    if dims.count(-1) <= 1:
        return graph.emit("shuffle", input, out_shape=resolved, reshape_dims=dims)
    return graph.emit("shuffle", input, out_shape=resolved, set_inputs={1: shape_tensor(graph, resolved)})


def _reshape_dims(before: Sequence[Length], after: Sequence[Length]) -> tuple[int, ...]:
    """Return a shape in TensorRT's words: 0 for the length that the input has there, -1 for others that are dynamic."""
    return tuple(
        length if isinstance(length, int) else 0 if i < len(before) and same(length, before[i]) else -1
        for i, length in enumerate(after)
    )


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Join the dimensions from ``start_dim`` to ``end_dim`` into one."""
    if not input.shape:
        return reshape(input, (1,))
    start, end = normalize_dim(start_dim, input.ndim), normalize_dim(end_dim, input.ndim)
    if start > end:
        raise ArgumentError(f"flatten from dimension {start_dim} to {end_dim}: the first lies behind the second")
    return reshape(input, (*input.shape[:start], -1, *input.shape[end + 1 :]))


def permute(input: Tensor, *dims: int | Sequence[int]) -> Tensor:
    """Reorder the dimensions: dimension i of the result is ``dims[i]`` of the input."""
    wanted = tuple(dims[0]) if len(dims) == 1 and isinstance(dims[0], Sequence) else tuple(dims)
    order = tuple(normalize_dim(dim, input.ndim) for dim in wanted)
    if sorted(order) != list(range(input.ndim)):
        raise ShapeError(f"permute takes each of {input.ndim} dimensions once, not {wanted}")
    if order == tuple(range(input.ndim)):
        return input
    shape = tuple(input.shape[dim] for dim in order)
    return input.graph.emit("shuffle", input, out_shape=shape, first_transpose=order)


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Swap two dimensions."""
    order = list(range(input.ndim))
    a, b = normalize_dim(dim0, input.ndim), normalize_dim(dim1, input.ndim)
    order[a], order[b] = order[b], order[a]
    return permute(input, order)


def with_ndim(input: Tensor, ndim: int) -> Tensor:
    return reshape(input, (1,) * (ndim - input.ndim) + input.shape)
