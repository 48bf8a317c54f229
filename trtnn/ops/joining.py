"""Tensors joined and cut apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trtnn.errors import ArgumentError, ShapeError
from trtnn.ops.arguments import Operand, normalize_dim
from trtnn.ops.indexing import narrow
from trtnn.ops.promotion import promote
from trtnn.ops.shaping import unsqueeze
from trtnn.tensor import Tensor


def cat(tensors: Sequence[Operand], dim: int = 0) -> Tensor:
    """Join tensors along ``dim``; their other lengths are equal.

    Raises:
        ShapeError: they do not fit together.
    """
    if not tensors:
        raise ArgumentError("cat takes at least one tensor")
    tensors = promote(*tensors)
    first = tensors[0]
    axis = normalize_dim(dim, first.ndim)
    for tensor in tensors[1:]:
        others = [s[:axis] + s[axis + 1 :] for s in (first.shape, tensor.shape)]
        if tensor.ndim != first.ndim or others[0] != others[1]:
            raise ShapeError(
                f"cat in {first.graph.where}: shapes differ outside dimension {dim}",
                ", ".join(str(t.shape) for t in tensors),
            )
    if len(tensors) == 1:
        return first
    return first.graph.emit("concatenation", list(tensors), axis=axis)


def stack(tensors: Sequence[Operand], dim: int = 0) -> Tensor:
    """Join tensors of one shape along a new dimension."""
    return cat([unsqueeze(tensor, dim) for tensor in promote(*tensors)], dim)


def split(tensor: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Cut a tensor along ``dim`` into pieces of one size (the last may be smaller), or of the sizes given.

    Raises:
        ShapeError: the sizes do not add up to the length.
    """
    axis = normalize_dim(dim, tensor.ndim)
    length = tensor.shape[axis]
    if isinstance(split_size_or_sections, (int, np.integer)):
        if split_size_or_sections < 1:
            raise ArgumentError(f"split takes pieces of at least 1, not {split_size_or_sections}")
        size = split_size_or_sections
        sizes = [min(size, length - start) for start in range(0, length, size)]
    else:
        sizes = list(split_size_or_sections)
    if sum(sizes) != length:
        raise ShapeError(f"split sizes {sizes} add up to {sum(sizes)}, but dimension {dim} has {length}")
    pieces, start = [], 0
    for size in sizes:
        pieces.append(narrow(tensor, axis, start, size))
        start += size
    return tuple(pieces)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Cut a tensor along ``dim`` into at most ``chunks`` pieces of ceil(length / chunks)."""
    if chunks < 1:
        raise ArgumentError(f"chunk takes at least 1 piece, not {chunks}")
    return split(input, -(-input.shape[normalize_dim(dim, input.ndim)] // chunks), dim)
