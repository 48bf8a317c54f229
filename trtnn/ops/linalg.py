"""The functions of ``torch.linalg``, as ``trtnn.functional.linalg``: norms, products, small inverses, triangles.

What takes a decomposition (singular values, eigenvalues, LU, QR) is not here: TensorRT has no layer for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trtnn.errors import ArgumentError, ShapeError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.ops import diagonals
from trtnn.ops._arguments import Dims
from trtnn.ops._inplace import viewing
from trtnn.ops._promotion import cast, promote, wide
from trtnn.ops.arithmetic import mul, whole_power
from trtnn.ops.creation import eye
from trtnn.ops.inverses import det, inv, side_of
from trtnn.ops.matrix import matmul as _matmul
from trtnn.ops.missing import explain
from trtnn.ops.norms import matrix_norm, vector_norm
from trtnn.ops.products import cross_along
from trtnn.ops.reduction import sum
from trtnn.ops.triangular import solve_triangular

_diagonal = viewing(diagonals.diagonal)

__all__ = [
    "cross",
    "det",
    "diagonal",
    "inv",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "multi_dot",
    "norm",
    "solve_triangular",
    "vecdot",
    "vector_norm",
]


def norm(
    A: Tensor,
    ord: float | str | None = None,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
) -> Tensor:
    """Return the :func:`vector_norm` along one dimension, or the :func:`matrix_norm` of two.

    Without ``ord`` it is the vector norm of all elements in ``dim``.

    Raises:
        ShapeError: ``ord`` beside another number of dimensions than one or two.
    """
    if isinstance(dim, Sequence) and len(dim) not in (1, 2):
        raise ShapeError(f"norm with ord={ord!r} goes along one dimension or two, not {tuple(dim)}")
    if ord is None:
        return vector_norm(A, 2, dim, keepdim, dtype=dtype)
    if dim is None:
        if A.ndim not in (1, 2):
            raise ShapeError(f"norm with ord={ord!r} and no dim takes a vector or a matrix, not {A.shape}")
        dim = 0 if A.ndim == 1 else (0, 1)
    axes = dim if isinstance(dim, Sequence) else (dim,)
    if len(axes) == 1 and not isinstance(ord, str):
        return vector_norm(A, ord, axes[0], keepdim, dtype=dtype)
    return matrix_norm(A, ord, axes, keepdim, dtype=dtype)


def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """Return the cross product of vectors of 3 along a dimension, broadcast."""
    return cross_along(input, other, dim)


def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """Return the sum of products along a dimension, broadcast, carried in fp32."""
    a, b = promote(x, y)
    return cast(sum(mul(wide(a), wide(b)), dim), a.dtype)


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Return the diagonal of two dimensions as a new last dimension."""
    return _diagonal(A, offset, dim1, dim2)


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """Return the product of matrices (``@``)."""
    return _matmul(input, other)


def multi_dot(tensors: Sequence[Tensor]) -> Tensor:
    """Return the product of several matrices; the first and the last may be vectors.

    It goes from the left, or where the last is a vector from the right.

    Raises:
        ArgumentError: there are fewer than two tensors.
        ShapeError: they are no matrices, or do not fit together.
    """
    if len(tensors) < 2:
        raise ArgumentError(f"multi_dot takes at least two tensors, not {len(tensors)}")
    for i, tensor in enumerate(tensors):
        if tensor.ndim != 2 and not (tensor.ndim == 1 and i in (0, len(tensors) - 1)):
            raise ShapeError(f"multi_dot takes matrices, and vectors at the ends, not a tensor of shape {tensor.shape}")
    if tensors[-1].ndim == 1:
        product = tensors[-1]
        for tensor in reversed(tensors[:-1]):
            product = _matmul(tensor, product)
        return product
    product = tensors[0]
    for tensor in tensors[1:]:
        product = _matmul(product, tensor)
    return product


def matrix_power(A: Tensor, n: int) -> Tensor:
    """Return the product of ``n`` times a square matrix; of 0 the identity, below 0 the power of its inverse.

    Raises:
        ShapeError: the matrices are not square.
        UnsupportedError: the identity of a dynamic side, or the inverse of more than 4 by 4.
    """
    side = side_of(A, "matrix_power")
    if n < 0:
        return matrix_power(inv(A), -n)
    if n == 0:
        if not isinstance(side, int):
            raise UnsupportedError(f"matrix_power of 0 and a side of {side}", "the identity is made of a known length")
        return eye(side, dtype=A.dtype).expand(A.shape)
    return whole_power(A, n, _matmul)


def __getattr__(name: str) -> Any:
    """Say of a function of torch.linalg that is not here why, and what to use instead."""
    raise AttributeError(explain("trtnn.functional.linalg", name, __all__, "linalg."))
