"""Norms of vectors and of matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from trtnn.dtypes import as_dtype, float32, result_type
from trtnn.errors import ArgumentError, DTypeError, ShapeError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Dims, expect_floating, normalize_dim, normalize_dims
from trtnn.ops._promotion import cast, wide
from trtnn.ops.arithmetic import pow, square
from trtnn.ops.comparison import ne
from trtnn.ops.reduction import amax, amin, sum
from trtnn.ops.shaping import reshape
from trtnn.ops.unary import abs, sqrt
from trtnn.shapes.symbolic import same

_SINGULAR = ("nuc", 2, -2)


def _in_type(input: Tensor, dtype: Any, what: str) -> Tensor:
    """Return the input in the type that its norm is asked in.

    Raises:
        DTypeError: it holds no fractions, or the type is narrower, as in torch.
    """
    expect_floating(input, what)
    wanted = input.dtype if dtype is None else as_dtype(dtype)
    if not wanted.is_floating_point or result_type(input.dtype, wanted) is not wanted:
        raise DTypeError(f"{what} of {input.dtype.name} as {wanted.name}", "it takes no narrower type, as in torch")
    return cast(input, wanted)


def norm(
    input: Tensor, p: float | str = "fro", dim: Dims = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """Return the p-norm of vectors along dimensions, all where None: (sum of |x|^p)^(1/p), carried in fp32.

    Args:
        p: a number; ``"fro"``, which is 2; infinity for the largest magnitude, -infinity for the smallest, 0 for how
            many are not 0.
        dtype: the type that the input is taken in.

    Raises:
        UnsupportedError: ``p`` is another word.
        DTypeError: the input holds no fractions, or ``dtype`` is narrower than its type.
    """
    input = _in_type(input, dtype, "norm")
    values = wide(input)
    if p in ("fro", 2):
        result = sqrt(sum(square(values), dim, keepdim))
    elif p in (math.inf, -math.inf):
        result = (amax if p > 0 else amin)(abs(values), dim, keepdim)
    elif p == 0:
        result = sum(cast(ne(values, 0), float32), dim, keepdim)
    elif isinstance(p, (int, float)) and not math.isnan(p) and _is_of_one(values, dim):  # a power may be beyond floats
        result = amax(abs(values), dim, keepdim)
    elif isinstance(p, (int, float)):
        powers = sum(abs(values) if p == 1 else pow(abs(values), p), dim, keepdim)
        result = powers if p == 1 else pow(powers, 1 / p)
    else:
        raise UnsupportedError(f"norm with p={p!r}", "known: numbers, infinity and 'fro'")
    return cast(result, input.dtype)


def _is_of_one(values: Tensor, dim: Dims) -> bool:
    """Return whether each vector along dimensions has one element."""
    lengths = values.shape or (1,)
    return all(same(lengths[axis], 1) for axis in normalize_dims(dim, len(lengths)))


def vector_norm(x: Tensor, ord: float = 2, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Return (sum of |x|^ord)^(1/ord) along dimensions, or of all elements where None, carried in fp32.

    Args:
        ord: a number; infinity for the largest magnitude, -infinity for the smallest, 0 for how many are not 0.
    """
    if not isinstance(ord, (int, float)):
        raise ArgumentError(f"vector_norm takes a number as ord, not {ord!r}")
    return norm(_in_type(x, dtype, "vector_norm"), ord, dim, keepdim)


def matrix_norm(
    A: Tensor,
    ord: float | str = "fro",
    dim: Sequence[int] = (-2, -1),
    keepdim: bool = False,
    *,
    dtype: Any = None,
) -> Tensor:
    """Return the norm of matrices in two dimensions, carried in fp32.

    Args:
        ord: ``"fro"``, the root of the sum of squares; 1 and -1, the largest and the smallest sum of a column's
            magnitudes; infinity and -infinity, of a row's.

    Raises:
        UnsupportedError: ``"nuc"``, 2 or -2, which need singular values.
    """
    A = _in_type(A, dtype, "matrix_norm")
    if A.ndim < 2 or len(dim) != 2:
        raise ShapeError(f"matrix_norm takes matrices in two dimensions, not {tuple(dim)} of {A.shape}")
    row, column = (normalize_dim(d, A.ndim) for d in dim)
    if row == column:
        raise ShapeError(f"matrix_norm takes two different dimensions, not {tuple(dim)}")
    if ord == "fro":
        return norm(A, 2, (row, column), keepdim)
    if ord in _SINGULAR:
        raise UnsupportedError(
            f"matrix_norm with ord={ord!r}", "it needs singular values, of which TensorRT has no layer"
        )
    if ord not in (1, -1, math.inf, -math.inf):
        raise ArgumentError(f"matrix_norm knows no ord={ord!r}", "known: 'fro', 1, -1, infinity and -infinity")
    along, across = (row, column) if ord in (1, -1) else (column, row)
    sums = sum(abs(wide(A)), along, True)
    result = (amax if ord > 0 else amin)(sums, across, True)
    lengths = [n for i, n in enumerate(result.shape) if i not in (row, column)]
    return cast(result if keepdim else reshape(result, lengths), A.dtype)
