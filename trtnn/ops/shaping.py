"""The same elements in another shape or order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from trtnn.errors import ArgumentError, ShapeError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import expect_parts, normalize_dim, normalize_dims
from trtnn.ops._sizes import shape_tensor
from trtnn.shapes.symbolic import Length, Size, same, same_shape

T = TypeVar("T")


def unpacked(values: Sequence[T | Sequence[T]]) -> tuple[T, ...]:
    """Return arguments that torch takes one by one or as one sequence."""
    every: Any = values[0] if len(values) == 1 and isinstance(values[0], Sequence) else values
    return tuple(every)


def is_open(length: Length) -> bool:
    """Return whether a length is -1: what is left, or what is there."""
    return isinstance(length, (int, np.integer)) and length == -1


def reshape(input: Tensor, *shape: Length | Sequence[Length]) -> Tensor:
    """Return the same elements in another shape; one length may be -1, which takes what is left.

    Raises:
        ShapeError: the number of elements differs.
    """
    wanted = unpacked(shape)
    graph, count = input.graph, math.prod(input.shape)
    others = math.prod(length for length in wanted if not is_open(length))
    resolved = tuple(
        count // max(others, 1) if is_open(length) else length if isinstance(length, Size) else int(length)
        for length in wanted
    )
    several = sum(map(is_open, wanted)) > 1
    if several or any(length < 0 for length in resolved) or not same(math.prod(resolved), count):
        raise ShapeError(f"cannot reshape {input.shape}, {count} elements, to {wanted} in {graph.where}")
    if same_shape(resolved, input.shape):
        return input
    dims = _reshape_dims(input.shape, resolved)
    if dims.count(-1) <= 1:
        return graph.emit("shuffle", input, out_shape=resolved, reshape_dims=dims)
    return graph.emit("shuffle", input, out_shape=resolved, set_inputs={1: shape_tensor(graph, resolved)})


def along(vector: Tensor, axis: int, ndim: int) -> Tensor:
    """Return a vector as a tensor of ``ndim`` dimensions that runs along an axis, and is 1 long in the others."""
    return reshape(vector, [-1 if i == axis else 1 for i in range(ndim)])


def _reshape_dims(before: Sequence[Length], after: Sequence[Length]) -> tuple[int, ...]:
    """Return a shape in TensorRT's words: 0 for the length that the input has there, -1 for others that are dynamic."""
    return tuple(
        length if isinstance(length, int) else 0 if i < len(before) and same(length, before[i]) else -1
        for i, length in enumerate(after)
    )


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Join the dimensions from ``start_dim`` to ``end_dim`` into one.

    Raises:
        ArgumentError: start_dim lies behind end_dim.
        ShapeError: there is no such dimension.
    """
    start, end = (normalize_dim(dim, max(1, input.ndim)) for dim in (start_dim, end_dim))
    if start > end:
        raise ArgumentError(f"flatten from dimension {start_dim} to {end_dim}: the first lies behind the second")
    if not input.shape:
        return reshape(input, (1,))
    return reshape(input, (*input.shape[:start], -1, *input.shape[end + 1 :]))


def permute(input: Tensor, *dims: int | Sequence[int]) -> Tensor:
    """Reorder the dimensions: dimension i of the result is ``dims[i]`` of the input.

    Raises:
        ShapeError: ``dims`` are not each of the dimensions once.
    """
    wanted = unpacked(dims)
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
    a, b = (normalize_dim(dim, max(1, input.ndim)) for dim in (dim0, dim1))
    if a == b:
        return input
    order[a], order[b] = order[b], order[a]
    return permute(input, order)


def with_ndim(input: Tensor, ndim: int) -> Tensor:
    return reshape(input, (1,) * (ndim - input.ndim) + input.shape) if input.ndim < ndim else input


def unflatten(input: Tensor, dim: int, sizes: Sequence[Length]) -> Tensor:
    """Cut one dimension into several; one of their lengths may be -1.

    Raises:
        ShapeError: the product of the sizes is not the length.
    """
    axis = normalize_dim(dim, input.ndim)
    if not sizes:
        raise ShapeError(f"unflatten of dimension {dim} takes at least one size")
    others = math.prod(size for size in sizes if not is_open(size))
    sizes = [input.shape[axis] // max(others, 1) if is_open(size) else size for size in sizes]
    if not same(math.prod(sizes), input.shape[axis]):
        raise ShapeError(f"cannot unflatten dimension {dim}, of {input.shape[axis]}, to {tuple(sizes)}")
    return reshape(input, (*input.shape[:axis], *sizes, *input.shape[axis + 1 :]))


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """Put a dimension of length 1 at ``dim``."""
    axis = normalize_dim(dim, input.ndim + 1)
    return reshape(input, (*input.shape[:axis], 1, *input.shape[axis:]))


def squeeze(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Drop the dimensions of length 1: all where None, or those at ``dim``, which stay where they are longer."""
    axes = () if dim in ((), []) else normalize_dims(dim, max(1, input.ndim))
    return reshape(input, tuple(n for i, n in enumerate(input.shape) if i not in axes or n != 1))


def movedim(input: Tensor, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """Move dimensions to other places; the rest keep their order.

    Raises:
        ShapeError: there are more of one than of the other, or one of them is named twice.
    """
    sources, places = ([dims] if isinstance(dims, int) else list(dims) for dims in (source, destination))
    ndim = max(1, input.ndim)
    moved = {normalize_dim(to, ndim): normalize_dim(at, ndim) for at, to in zip(sources, places, strict=False)}
    if len(sources) != len(places) or len(moved) < len(places) or len({*moved.values()}) < len(places):
        raise ShapeError(f"movedim from {source} to {destination} takes as many of both, each of them once")
    if not input.shape:
        return input
    rest = iter([i for i in range(input.ndim) if i not in moved.values()])
    return permute(input, [moved[i] if i in moved else next(rest) for i in range(input.ndim)])


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """Move channels to pixels: (..., C·r², H, W) to (..., C, H·r, W·r) (https://arxiv.org/abs/1609.05158).

    Raises:
        ShapeError: r² does not divide the channels.
    """
    r = upscale_factor
    expect_parts(r, "upscale_factor")
    if input.ndim < 3 or input.shape[-3] % (r * r):
        raise ShapeError(f"pixel_shuffle by {r} in {input.graph.where} takes (..., C·{r * r}, H, W), not {input.shape}")
    *batch, channels, height, width = input.shape
    parts = reshape(input, (*batch, channels // (r * r), r, r, height, width))
    order = [*range(len(batch)), *(len(batch) + i for i in (0, 3, 1, 4, 2))]
    return reshape(permute(parts, order), (*batch, channels // (r * r), height * r, width * r))


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """Move pixels to channels, which undoes :func:`pixel_shuffle`: (..., C, H·r, W·r) to (..., C·r², H, W).

    Raises:
        ShapeError: r does not divide the height and the width.
    """
    r = downscale_factor
    expect_parts(r, "downscale_factor")
    if input.ndim < 3 or input.shape[-2] % r or input.shape[-1] % r:
        raise ShapeError(
            f"pixel_unshuffle by {r} in {input.graph.where} takes (..., C, H·{r}, W·{r}), not {input.shape}"
        )
    *batch, channels, height, width = input.shape
    parts = reshape(input, (*batch, channels, height // r, r, width // r, r))
    order = [*range(len(batch)), *(len(batch) + i for i in (0, 2, 4, 1, 3))]
    return reshape(permute(parts, order), (*batch, channels * r * r, height // r, width // r))


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Interleave ``groups`` groups of channels (https://arxiv.org/abs/1707.01083).

    Raises:
        ShapeError: the channels do not divide into so many groups.
    """
    expect_parts(groups, "groups")
    if input.ndim < 3 or input.shape[1] % groups:
        raise ShapeError(f"channel_shuffle by {groups} in {input.graph.where} got an input of shape {input.shape}")
    batch, channels, *lengths = input.shape
    return reshape(transpose(reshape(input, (batch, groups, channels // groups, *lengths)), 1, 2), input.shape)
