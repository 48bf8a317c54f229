"""Diagonals: taken out, put in, and added up."""

from __future__ import annotations

from trtnn.errors import ShapeError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import expect_number, normalize_dim
from trtnn.ops._promotion import cast, filler
from trtnn.ops.arithmetic import add, mul
from trtnn.ops.comparison import logical_and, where
from trtnn.ops.creation import as_tensor, numbers_below, on_diagonal
from trtnn.ops.indexing import cut, take
from trtnn.ops.padding import pad
from trtnn.ops.reduction import sum
from trtnn.ops.shaping import flatten, movedim, reshape, unsqueeze
from trtnn.shapes.symbolic import Length, bounds, is_static, same, same_shape


def _span(rows: Length, columns: Length, offset: int, what: str) -> tuple[int, int, Length]:
    """Return where a diagonal begins, its row and its column, and how long it is.

    Raises:
        ShapeError: it lies outside the matrix.
    """
    first_row, first_column = max(-offset, 0), max(offset, 0)
    down, right = rows - first_row, columns - first_column
    length = right if bounds(down - right)[0] >= 0 else down if down <= right else right
    if not length >= 1:
        raise ShapeError(f"{what}: diagonal {offset} of a matrix of {rows} by {columns} holds nothing")
    return first_row, first_column, length


def _to_end(input: Tensor, dim1: int, dim2: int, what: str) -> tuple[Tensor, tuple[int, int]]:
    dims = normalize_dim(dim1, input.ndim), normalize_dim(dim2, input.ndim)
    if dims[0] == dims[1]:
        raise ShapeError(f"{what} takes two dimensions, not {dim1} and {dim2} of {input.ndim}")
    return movedim(input, dims, (-2, -1)), dims


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """Return the diagonal of two dimensions as a new last dimension.

    Args:
        offset: how far it lies above the main one; below it where negative.
    """
    matrix, _ = _to_end(input, dim1, dim2, "diagonal")
    rows, columns = matrix.shape[-2:]
    row, column, length = _span(rows, columns, offset, "diagonal")
    line = flatten(matrix, -2)
    if is_static((columns,)) and is_static((length,)):
        before = line.shape[:-1]
        start, stride = (*(0,) * len(before), row * columns + column), (*(1,) * len(before), columns + 1)
        return cut(line, start, (*before, length), stride)
    places = add(mul(as_tensor(numbers_below(length)), columns + 1), row * columns + column)
    return take(line, places, line.ndim - 1)


def _by_rows(line: Tensor, rows: Length, first: int, length: Length) -> Tensor:
    """Return what lies on a diagonal by its row, (..., rows, 1)."""
    return unsqueeze(pad(line, (first, rows - first - length)), -1)


def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Return square matrices in dimensions dim1 and dim2, with the last dimension on a diagonal and 0 elsewhere.

    Raises:
        ShapeError: the input has no dimension, or dim1 and dim2 are the same.
    """
    if not input.shape:
        raise ShapeError(f"diag_embed in {input.graph.where} takes at least one dimension")
    dims = normalize_dim(dim1, input.ndim + 1), normalize_dim(dim2, input.ndim + 1)
    if dims[0] == dims[1]:
        raise ShapeError(f"diag_embed puts a diagonal in two dimensions, not {dim1} and {dim2}")
    side = input.shape[-1] + abs(offset)
    on = on_diagonal(input.graph, side, side, offset)
    values = _by_rows(input, side, max(-offset, 0), input.shape[-1])
    return movedim(where(on, values, input.graph.constant(0, input.dtype)), (-2, -1), dims)


def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """Return a copy of input with src on a diagonal.

    Raises:
        ShapeError: src has another shape.
    """
    matrix, dims = _to_end(input, dim1, dim2, "diagonal_scatter")
    rows, columns = matrix.shape[-2:]
    row, _, length = _span(rows, columns, offset, "diagonal_scatter")
    expected = (*matrix.shape[:-2], length)
    if not same_shape(src.shape, expected):
        raise ShapeError(f"diagonal_scatter of shape {src.shape} into a diagonal of shape {expected}")
    values = _by_rows(cast(src, input.dtype), rows, row, length)
    return movedim(where(on_diagonal(input.graph, rows, columns, offset), values, matrix), (-2, -1), dims)


def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """Return the diagonal of a matrix, or the matrix that has a vector as its diagonal.

    Raises:
        ShapeError: the input is neither.
    """
    if input.ndim not in (1, 2):
        raise ShapeError(f"diag in {input.graph.where} takes a vector or a matrix, not {input.shape}")
    return diag_embed(input, diagonal) if input.ndim == 1 else _taken_out(input, diagonal)


_taken_out = diagonal  # by a name that no argument has


def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """Return the matrix that has all elements of the input as its diagonal."""
    return diag_embed(flatten(input), offset)


def fill_diagonal(input: Tensor, fill_value: bool | int | float, wrap: bool = False) -> Tensor:
    """Return a copy of input with one number on its main diagonal.

    More than two dimensions are of one length, and the diagonal is where all indices are equal.

    Raises:
        UnsupportedError: ``wrap`` of a matrix that is taller than wide.
    """
    if input.ndim < 2 or (input.ndim > 2 and not all(same(n, input.shape[0]) for n in input.shape)):
        raise ShapeError(f"fill_diagonal takes a matrix, or dimensions of one length, not {input.shape}")
    if wrap:
        raise UnsupportedError("fill_diagonal with wrap", "give the mask: where(mask, value, x)")
    rows, columns = input.shape[-2:]
    on = on_diagonal(input.graph, rows, columns, 0)
    for axis in range(input.ndim - 2):
        first = reshape(on_diagonal(input.graph, input.shape[axis], input.shape[-1], 0), _spread(input, axis))
        on = logical_and(on, first)
    return where(on, filler(fill_value, input, "fill_diagonal"), input)


def _spread(input: Tensor, axis: int) -> list[Length]:
    """Return the shape of a matrix over one axis and the last."""
    return [n if i in (axis, input.ndim - 1) else 1 for i, n in enumerate(input.shape)]


def trace(input: Tensor) -> Tensor:
    """Return the sum of a matrix's diagonal.

    Raises:
        ShapeError: the input is no matrix.
        DTypeError: it is bool.
    """
    if input.ndim != 2:
        raise ShapeError(f"trace in {input.graph.where} takes a matrix, not {input.shape}")
    expect_number(input, "trace")
    return sum(diagonal(input))
