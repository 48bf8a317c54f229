"""Systems of equations with a triangular matrix."""

from __future__ import annotations

import numpy as np

from trtnn.errors import ShapeError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.ops._promotion import cast, expect_one_type, wide
from trtnn.ops.arithmetic import div
from trtnn.ops.creation import new_ones
from trtnn.ops.diagonals import diagonal
from trtnn.ops.indexing import narrow, select, take
from trtnn.ops.inverses import side_of
from trtnn.ops.joining import cat
from trtnn.ops.matrix import matmul
from trtnn.ops.padding import pad
from trtnn.ops.shaping import reshape, transpose, unsqueeze
from trtnn.ops.unary import neg
from trtnn.shapes.symbolic import same


def solve_triangular(A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Tensor:
    """Return X of ``A @ X = B``, of square matrices A that are triangular, carried in fp32.

    It is the inverse of A times B. The inverse is put together of those of blocks along the diagonal, of two at a time:
    of ``[[a, 0], [c, b]]`` it is ``[[a⁻¹, 0], [-b⁻¹ c a⁻¹, b⁻¹]]``. So it takes as many steps as the side has bits.

    Args:
        A: (..., n, n), of which the other triangle is not read.
        B: (..., n, k); batches broadcast.
        upper: whether the upper triangle of A is meant, and not the lower.
        left: whether A stands left of X; else it is ``X @ A = B``, with B of (..., k, n).
        unitriangular: whether the diagonal of A is taken for ones, and not read.

    Raises:
        ShapeError: A is not square, or B has another side.
        UnsupportedError: the side of A is dynamic.
    """
    side = side_of(A, "solve_triangular")
    if not isinstance(side, int):
        raise UnsupportedError(f"solve_triangular of a side of {side}", "how many steps it takes is of a known length")
    expect_one_type("solve_triangular", A, B)
    if side == 0:
        return B
    axis = -2 if left else -1
    if B.ndim < 2 or not same(B.shape[axis], side):
        raise ShapeError(f"solve_triangular in {A.graph.where} of A of {A.shape} takes no B of {B.shape}")
    matrix, other = wide(A), wide(B)
    if not unitriangular:  # of the diagonal times the rest, or the rest times it, which has ones
        line = diagonal(matrix, 0, -2, -1)
        lines = unsqueeze(line, -1 if left else -2)
        matrix, other = div(matrix, lines), div(other, lines)
    inverse = _lower_inverse(transpose(matrix, -2, -1) if upper else matrix, side)
    inverse = transpose(inverse, -2, -1) if upper else inverse
    return cast(matmul(inverse, other) if left else matmul(other, inverse), A.dtype)


def _lower_inverse(matrix: Tensor, side: int) -> Tensor:
    """Return the inverses of lower triangular matrices with ones in their diagonals; nothing else of them is read."""
    batch, whole = matrix.shape[:-2], 1 << max(side - 1, 0).bit_length()
    matrix = pad(matrix, (0, whole - side, 0, whole - side))
    flat = reshape(matrix, (*batch, whole * whole))
    places = np.arange(whole * whole).reshape(whole, whole)
    inverses, block = new_ones(matrix, (*batch, whole, 1, 1)), 1
    while block < whole:
        corners = [places[at + block : at + 2 * block, at : at + block] for at in range(0, whole, 2 * block)]
        corner = take(flat, np.stack(corners), flat.ndim - 1)
        pairs = reshape(inverses, (*batch, len(corners), 2, block, block))
        first, last = select(pairs, -3, 0), select(pairs, -3, 1)
        corner = neg(matmul(matmul(last, corner), first))
        inverses, block = cat([pad(first, (0, block)), cat([corner, last], -1)], -2), 2 * block
    inverse = reshape(inverses, (*batch, whole, whole))
    return narrow(narrow(inverse, inverse.ndim - 1, 0, side), inverse.ndim - 2, 0, side)
