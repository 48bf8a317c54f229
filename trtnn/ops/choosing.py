"""Combinations of the elements of vectors, and the indices of matrices' places."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from trtnn.errors import ArgumentError, ShapeError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.ops._promotion import cast, expect_one_type, index_dtype
from trtnn.ops.creation import meshgrid, tensor
from trtnn.ops.division import floor_divide, remainder
from trtnn.ops.indexing import take
from trtnn.ops.joining import stack
from trtnn.ops.shaping import flatten, unpacked
from trtnn.shapes.symbolic import is_static


def _expect_vector(vector: Tensor, what: str) -> None:
    if vector.ndim != 1:
        raise ShapeError(f"{what} takes vectors, not a tensor of shape {vector.shape}")


def cartesian_prod(*tensors: Tensor) -> Tensor:
    """Return every combination of one element of each vector, a row each; of a single vector, that vector.

    Raises:
        ArgumentError: there is no vector.
        ShapeError: one of the tensors is no vector.
        DTypeError: they are of different types.
    """
    vectors = unpacked(tensors)
    if not vectors:
        raise ArgumentError("cartesian_prod takes at least one vector")
    for vector in vectors:
        _expect_vector(vector, "cartesian_prod")
    expect_one_type("cartesian_prod", *vectors)
    if len(vectors) == 1:
        return vectors[0].view_of_all()
    return stack([flatten(grid) for grid in meshgrid(*vectors)], 1)


def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """Return every choice of r elements of a vector, in their order, a row each.

    Args:
        with_replacement: whether an element may be chosen again.

    Raises:
        ArgumentError: there is none.
    """
    _expect_vector(input, "combinations")
    if not is_static(input.shape):
        raise UnsupportedError(
            f"combinations of a length of {input.shape[0]}", "how many there are is not known while tracing"
        )
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = list(choose(range(input.shape[0]), r)) if r > 0 else []
    if not rows:
        raise ArgumentError(f"combinations of {r} of {input.shape[0]} elements: it holds nothing")
    return take(input, np.array(rows), 0)


def _indices(places: np.ndarray, dtype: Any, what: str) -> Tensor:
    rows = np.array(np.nonzero(places))
    if not rows.size:
        raise ArgumentError(f"{what} of a matrix of {places.shape} holds nothing")
    return tensor(rows, dtype=dtype)


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None) -> Tensor:
    """Return the row and the column of each place of a matrix that is not above a diagonal, (2, count)."""
    return _indices(np.tri(row, col, offset, dtype=bool), dtype, "tril_indices")


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None) -> Tensor:
    """Return the row and the column of each place of a matrix that is not below a diagonal, (2, count)."""
    return _indices(~np.tri(row, col, offset - 1, dtype=bool), dtype, "triu_indices")


def unravel_index(indices: Tensor, shape: int | Sequence[int]) -> tuple[Tensor, ...]:
    """Return the index in each dimension of a shape for indices of the flat tensor."""
    indices = cast(indices, index_dtype(indices.graph))
    lengths = (shape,) if isinstance(shape, int) else tuple(shape)
    places: list[Tensor] = []
    for length in reversed(lengths):
        places.append(remainder(indices, length))
        indices = floor_divide(indices, length)
    return tuple(reversed(places))
