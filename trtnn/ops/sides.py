"""Tensors joined side by side, in rows, columns or depth, and cut apart in the same way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trtnn.errors import ArgumentError, ShapeError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Operand, normalize_dim
from trtnn.ops._inplace import repeating, viewing
from trtnn.ops._promotion import promote
from trtnn.ops.constants import numbers_of
from trtnn.ops.indexing import getitem
from trtnn.ops.joining import cat
from trtnn.ops.padding import pad
from trtnn.ops.shaping import reshape, unpacked
from trtnn.ops.tiling import expand
from trtnn.shapes.symbolic import Length, Size, broadcast, same_shape

# Each result is a view of its own tensor, as in torch.
_reshaped, _expanded = viewing(reshape), repeating(expand)


def _each(tensors: Sequence[Tensor | Sequence[Tensor]], ndim: int) -> Tensor | tuple[Tensor, ...]:
    alone = len(tensors) == 1 and isinstance(tensors[0], Tensor)
    reshaped = tuple(_at_least(tensor, ndim) for tensor in unpacked(tensors))
    return reshaped[0] if alone else reshaped


def _at_least(tensor: Tensor, ndim: int) -> Tensor:
    if tensor.ndim >= ndim:
        return tensor
    if ndim == 3 and tensor.ndim:
        return _reshaped(tensor, (*(1,) * (2 - tensor.ndim), *tensor.shape, 1))
    return _reshaped(tensor, (*(1,) * (ndim - tensor.ndim), *tensor.shape))


def atleast_1d(*tensors: Tensor | Sequence[Tensor]) -> Tensor | tuple[Tensor, ...]:
    """Return tensors of at least one dimension: a number becomes (1,)."""
    return _each(tensors, 1)


def atleast_2d(*tensors: Tensor | Sequence[Tensor]) -> Tensor | tuple[Tensor, ...]:
    """Return tensors of at least two dimensions: a vector becomes a row, (1, n)."""
    return _each(tensors, 2)


def atleast_3d(*tensors: Tensor | Sequence[Tensor]) -> Tensor | tuple[Tensor, ...]:
    """Return tensors of at least three dimensions: a vector becomes (1, n, 1), a matrix (n, m, 1)."""
    return _each(tensors, 3)


def _some(tensors: Sequence[Operand], what: str, ndim: int = 0) -> list[Tensor]:
    """Return tensors of one type and of at least so many dimensions, which count in what type they come to."""
    if not tensors:
        raise ArgumentError(f"{what} takes at least one tensor")
    lifted = [_at_least(tensor, ndim) if isinstance(tensor, Tensor) else tensor for tensor in tensors]
    return [_at_least(tensor, ndim) for tensor in promote(*lifted)]


def hstack(tensors: Sequence[Operand]) -> Tensor:
    """Join tensors side by side: along dimension 1, or 0 where they are vectors."""
    parts = _some(tensors, "hstack", 1)
    return cat(parts, 0 if parts[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Operand]) -> Tensor:
    """Join tensors one below the other: along dimension 0; vectors are rows."""
    return cat(_some(tensors, "vstack", 2), 0)


def dstack(tensors: Sequence[Operand]) -> Tensor:
    """Join tensors one behind the other: along dimension 2; see :func:`atleast_3d`."""
    return cat(_some(tensors, "dstack", 3), 2)


def column_stack(tensors: Sequence[Operand]) -> Tensor:
    """Join tensors side by side; vectors are columns."""
    columns = _some(tensors, "column_stack", 1)
    return hstack([reshape(tensor, (-1, 1)) if tensor.ndim < 2 else tensor for tensor in columns])


def block_diag(*tensors: Operand) -> Tensor:
    """Return the matrix that has matrices on its diagonal, and 0 elsewhere; numbers and vectors are rows.

    Raises:
        ShapeError: a tensor has more than two dimensions.
        ArgumentError: there is none.
    """
    blocks = [_at_least(tensor, 2) for tensor in _some(unpacked(tensors), "block_diag")]
    for tensor in blocks:
        if tensor.ndim != 2:
            raise ShapeError(f"block_diag takes matrices, not a tensor of shape {tensor.shape}")
    total, before, rows = sum(tensor.shape[1] for tensor in blocks), 0, []
    for tensor in blocks:
        width = tensor.shape[1]
        rows.append(pad(tensor, (before, total - before - width)))
        before += width
    return cat(rows, 0)


def broadcast_tensors(*tensors: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Expand tensors to the one shape that they broadcast to.

    Raises:
        ShapeError: they do not broadcast together.
    """
    every = unpacked(tensors)
    ndim = max((tensor.ndim for tensor in every), default=0)
    shape = broadcast(*((*(1,) * (ndim - tensor.ndim), *tensor.shape) for tensor in every)) if every else ()
    if shape is None:
        raise ShapeError(f"shapes {', '.join(str(tensor.shape) for tensor in every)} do not broadcast together")
    return tuple(tensor if same_shape(tensor.shape, shape) else _expanded(tensor, shape) for tensor in every)


def tensor_split(
    input: Tensor, indices_or_sections: Length | Sequence[Length] | np.ndarray | Tensor, dim: int = 0
) -> tuple[Tensor, ...]:
    """Cut a tensor along ``dim`` into so many parts, of which the first may be longer by one, or before the indices.

    Raises:
        ShapeError: a part would be empty, or how long each is is not known yet.
    """
    if not input.shape:
        raise ShapeError(f"tensor_split in {input.graph.where} takes at least one dimension")
    axis = normalize_dim(dim, input.ndim)
    length = input.shape[axis]
    if isinstance(indices_or_sections, Tensor):
        indices_or_sections = numbers_of(indices_or_sections, "tensor_split by the numbers").tolist()
    if isinstance(indices_or_sections, (int, np.integer, Size)):
        count = indices_or_sections
        if isinstance(count, Size) or count < 1:
            raise ArgumentError(f"tensor_split into {count} parts", "a network has one number of Tensors, from 1 on")
        size, longer = length // count, length % count
        if isinstance(longer, Size):
            raise ShapeError(
                f"tensor_split of a length of {length} into {count} parts: how many of them are longer is not known",
                f"a dimension with multiple_of={count} divides into equal ones",
            )
        ends, end = [], 0
        for i in range(count):
            end = end + size + (1 if i < longer else 0)
            ends.append(end)
        ends = ends[:-1]
    else:
        ends = [place if isinstance(place, Size) else int(place) for place in indices_or_sections]
    starts = [0, *ends]
    before = (slice(None),) * axis
    return tuple(getitem(input, (*before, slice(*part))) for part in zip(starts, [*ends, None], strict=True))


def _split_evenly(
    input: Tensor, what: str, axis: int, least: int, indices_or_sections: int | Sequence[int]
) -> tuple[Tensor, ...]:
    if input.ndim < least:
        raise ShapeError(f"{what} in {input.graph.where} takes at least {least} dimensions, not {input.shape}")
    count = indices_or_sections
    if isinstance(count, int) and (count < 1 or input.shape[axis] % count):
        raise ShapeError(f"{what} cuts a length of {input.shape[axis]} into equal parts, not into {count}")
    return tensor_split(input, count, axis)


def hsplit(input: Tensor, indices_or_sections: int | Sequence[int]) -> tuple[Tensor, ...]:
    """Cut a tensor along dimension 1, a vector along 0, into so many equal parts, or before the indices."""
    return _split_evenly(input, "hsplit", 0 if input.ndim == 1 else 1, 1, indices_or_sections)


def vsplit(input: Tensor, indices_or_sections: int | Sequence[int]) -> tuple[Tensor, ...]:
    """Cut a tensor along dimension 0 into so many equal parts, or before the indices."""
    return _split_evenly(input, "vsplit", 0, 2, indices_or_sections)


def dsplit(input: Tensor, indices_or_sections: int | Sequence[int]) -> tuple[Tensor, ...]:
    """Cut a tensor along dimension 2 into so many equal parts, or before the indices."""
    return _split_evenly(input, "dsplit", 2, 3, indices_or_sections)
