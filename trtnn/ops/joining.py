"""Tensors joined and cut apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trtnn.errors import ArgumentError, ShapeError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Operand, normalize_dim
from trtnn.ops._promotion import promote
from trtnn.ops.indexing import narrow
from trtnn.ops.shaping import unsqueeze
from trtnn.shapes.symbolic import Length, Size, ceil_divide, same, same_shape


def cat(tensors: Sequence[Operand], dim: int = 0) -> Tensor:
    """Join tensors along ``dim``; their other lengths are equal.

    Raises:
        ShapeError: they do not fit together.
    """
    if not tensors:
        raise ArgumentError("cat takes at least one tensor")
    present = [tensor for tensor in tensors if not is_nothing(tensor)]
    tensors = promote(*(present or tensors))
    first = tensors[0]
    axis = normalize_dim(dim, first.ndim)
    for tensor in tensors[1:]:
        others = [s[:axis] + s[axis + 1 :] for s in (first.shape, tensor.shape)]
        if tensor.ndim != first.ndim or not same_shape(*others):
            raise ShapeError(
                f"cat in {first.graph.where}: shapes differ outside dimension {dim}",
                ", ".join(str(t.shape) for t in tensors),
            )
    if len(tensors) == 1:
        return first
    total = sum(tensor.shape[axis] for tensor in tensors)
    shape = (*first.shape[:axis], total, *first.shape[axis + 1 :])
    return first.graph.emit("concatenation", list(tensors), out_shape=shape, axis=axis)


def is_nothing(value: Operand) -> bool:
    """Return whether an operand has no elements, as a slice may leave it."""
    return any(isinstance(length, int) and length == 0 for length in getattr(value, "shape", ()))


def stack(tensors: Sequence[Operand], dim: int = 0) -> Tensor:
    """Join tensors of one shape along a new dimension.

    Raises:
        ArgumentError: there is no tensor.
        ShapeError: their shapes differ.
    """
    if not tensors:
        raise ArgumentError("stack takes at least one tensor")
    return cat([unsqueeze(tensor, dim) for tensor in promote(*tensors)], dim)


def split(tensor: Tensor, split_size_or_sections: Length | Sequence[Length], dim: int = 0) -> tuple[Tensor, ...]:
    """Cut a tensor along ``dim`` into pieces of one size (the last may be smaller), or of the sizes given.

    Raises:
        ShapeError: the sizes do not add up to the length.
    """
    axis = normalize_dim(dim, tensor.ndim)
    length = tensor.shape[axis]
    if isinstance(split_size_or_sections, (int, np.integer, Size)):
        if split_size_or_sections < 1:
            raise ArgumentError(f"split takes pieces of at least 1, not {split_size_or_sections}")
        size = split_size_or_sections
        count = ceil_divide(length, size)
        if isinstance(count, Size):
            raise ShapeError(
                f"split of a length of {length} into pieces of {size} gives a number of them that is not known yet",
                "a network has one number of Tensors; split into pieces that are a fixed share of the length",
            )
        sizes = [size] * (count - 1) + [length - size * (count - 1)]
    else:
        sizes = list(split_size_or_sections)
    if not same(sum(sizes), length):
        raise ShapeError(f"split sizes {sizes} add up to {sum(sizes)}, but dimension {dim} has {length}")
    pieces, start = [], 0
    for size in sizes:
        pieces.append(narrow(tensor, axis, start, size))
        start += size
    return tuple(pieces)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Cut a tensor along ``dim`` into at most ``chunks`` pieces of ceil(length / chunks).

    Raises:
        ArgumentError: ``chunks`` is below 1.
    """
    if chunks < 1:
        raise ArgumentError(f"chunk takes at least 1 piece, not {chunks}")
    return split(input, ceil_divide(input.shape[normalize_dim(dim, input.ndim)], chunks), dim)
