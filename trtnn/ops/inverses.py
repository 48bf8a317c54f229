"""Determinants and inverses of small square matrices, by formulas of their elements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trtnn.errors import ShapeError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import expect_floating
from trtnn.ops._promotion import cast, wide
from trtnn.ops.arithmetic import div, mul, sub
from trtnn.ops.indexing import select, take
from trtnn.ops.joining import stack
from trtnn.ops.products import cross_along
from trtnn.ops.reduction import sum
from trtnn.ops.shaping import unsqueeze
from trtnn.ops.unary import neg
from trtnn.shapes.symbolic import Length, same

# Of four elements: all pairs; and for each element the other three, the pairs that each of these leaves, and its sign.
_PAIRS = np.array([(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)])
_OTHERS = np.array([(1, 2, 3), (0, 2, 3), (0, 1, 3), (0, 1, 2)])
_LEFT = np.array([(5, 4, 3), (5, 2, 1), (4, 2, 0), (3, 1, 0)])
_SIGNS = np.array([(1, -1, 1), (-1, 1, -1), (1, -1, 1), (-1, 1, -1)], np.float32)


def side_of(A: Tensor, what: str) -> Length:
    """Return the side of square matrices.

    Raises:
        ShapeError: they are not square.
        DTypeError: they hold no fractions.
    """
    expect_floating(A, what)
    if A.ndim < 2 or not same(A.shape[-1], A.shape[-2]):
        raise ShapeError(f"{what} in {A.graph.where} takes square matrices, not {A.shape}")
    return A.shape[-1]


def _rows(A: Tensor, what: str) -> list[Tensor]:
    side = side_of(A, what)
    if not isinstance(side, int) or side > 4:
        raise UnsupportedError(f"{what} of matrices of {side} by {side}", "there is a formula here up to 4 by 4")
    return [select(wide(A), -2, i) for i in range(side)]


def _minors(a: Tensor, b: Tensor) -> Tensor:
    """Return the determinants of each two columns of two rows of four, (..., 6)."""
    axis = a.ndim - 1
    (a0, b0), (a1, b1) = ([take(row, places, axis) for row in (a, b)] for places in _PAIRS.T)
    return sub(mul(a0, b1), mul(a1, b0))


def _beside(row: Tensor, minors: Tensor) -> Tensor:
    """Return what a row of four and the minors of two others leave for each column, (..., 4)."""
    axis = row.ndim - 1
    return sum(mul(mul(take(row, _OTHERS, axis), take(minors, _LEFT, axis)), _SIGNS), -1)


def _columns(rows: Sequence[Tensor]) -> list[Tensor]:
    """Return the columns of the adjugate: the first times the first row is the determinant."""
    if len(rows) == 2:
        (a, b), (c, d) = ([select(row, -1, i) for i in range(2)] for row in rows)
        return [stack([d, neg(c)], -1), stack([neg(b), a], -1)]
    if len(rows) == 3:
        return [cross_along(rows[i - 2], rows[i - 1], -1) for i in range(3)]
    first, last = _minors(rows[0], rows[1]), _minors(rows[2], rows[3])
    cofactors = [_beside(row, minors) for row, minors in zip(rows, (last, last, first, first), strict=True)]
    return [cofactors[1], neg(cofactors[0]), cofactors[3], neg(cofactors[2])]


def det(A: Tensor) -> Tensor:
    """Return the determinant of square matrices of up to 4 by 4, carried in fp32.

    Raises:
        UnsupportedError: they are larger.
    """
    rows = _rows(A, "det")
    result = select(rows[0], -1, 0) if len(rows) == 1 else sum(mul(rows[0], _columns(rows)[0]), -1)
    return cast(result, A.dtype)


def inv(A: Tensor) -> Tensor:
    """Return the inverse of square matrices of up to 4 by 4, carried in fp32.

    The inverse of a singular matrix holds infinities or NaN.

    Raises:
        UnsupportedError: they are larger.
    """
    rows = _rows(A, "inv")
    if len(rows) == 1:
        return cast(div(1.0, wide(A)), A.dtype)
    columns = _columns(rows)
    determinant = sum(mul(rows[0], columns[0]), -1)
    return cast(div(stack(columns, -1), unsqueeze(unsqueeze(determinant, -1), -1)), A.dtype)
