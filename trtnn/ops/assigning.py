"""``x[index] = value``: a Tensor with a part of it replaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trtnn.dtypes import bool_
from trtnn.errors import ShapeError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Indices, Operand
from trtnn.ops._inplace import overwrite
from trtnn.ops._promotion import cast, chosen, expect_held, index_dtype, promote
from trtnn.ops.comparison import where
from trtnn.ops.creation import numbers_below
from trtnn.ops.gathering import scatter
from trtnn.ops.indexing import from_front, index_tensor, is_mask, items_of, narrow, span, take, without_ellipsis
from trtnn.ops.joining import cat
from trtnn.ops.placing import index_put
from trtnn.ops.shaping import along, reshape, with_ndim
from trtnn.ops.tiling import expand
from trtnn.shapes.symbolic import Length, Size, broadcast, same, same_shape

Part = tuple[Length, Length] | Indices  # of a dimension: where it begins and how many elements it has, or its places


def setitem(input: Tensor, index: Any, value: Operand) -> None:
    """Set ``input[index] = value``, under every name that ``input`` has; see :mod:`trtnn.ops._inplace`.

    The index holds integers, slices, Ellipsis and None; or one list, array or Tensor of integers beside slices; or
    several lists, arrays, Tensors and integers of the first dimensions, which broadcast together; or it is a mask, and
    the value what fits each place: one number, or a vector where the mask is of all dimensions but the last.

    ``input[index] += value`` is what it is in torch, where the index makes a view or a copy.

    Raises:
        ShapeError: the value does not broadcast to what is replaced.
        UnsupportedError: an index of another kind.
    """
    input.take_back(index, value)
    overwrite(input, _replaced(input, index, value))


def _filling(value: Operand, input: Tensor) -> Tensor:
    """Return what replaces elements of a Tensor, in its type."""
    if input.dtype.is_floating_point:  # a fill; of a number that becomes a whole one the floating type says nothing
        value = chosen(value, input, 0, input.graph)
    expect_held(value, input.dtype, "an assignment", input.graph)
    (filling,) = promote(value, graph=input.graph)
    return cast(filling, input.dtype)


def _replaced(input: Tensor, index: Any, value: Operand) -> Tensor:
    filling = _filling(value, input)
    mask = _as_mask(input, index)
    if mask is not None:
        rest = input.shape[mask.ndim :]  # of each element that the mask picks
        extra = max(len(filling.shape) - len(rest), 0)
        if not all(same(n, 1) for n in filling.shape[:extra]):
            raise _refused(input, "a mask takes what fits each place; x.where(~mask, y) takes a y of the shape of x")
        filling = _broadcast(reshape(filling, filling.shape[extra:]), rest, input)
        return where(reshape(mask, (*mask.shape, *(1,) * len(rest))), filling, input)
    items = without_ellipsis(items_of(index), input)
    parts: list[Part] = []
    shape: list[Length] = []  # of input[index]
    lengths: list[Length] = []  # of what is replaced, in the dimensions of input
    for item in items:
        if item is None:
            shape.append(1)
            continue
        length = input.shape[len(parts)]
        if isinstance(item, (int, Size)):
            if not -length <= item < length:
                raise ShapeError(f"index {item} is out of range for a dimension of {length} in {input.graph.where}")
            parts.append((item if item >= 0 else item + length, 1))
            lengths.append(1)
        elif isinstance(item, slice):
            first, count, step = span(item, length)
            if isinstance(count, int) and count == 0:
                return input
            parts.append((first, count) if step == 1 else _strided(first, count, step, input))
            shape.append(count)
            lengths.append(count)
        else:
            parts.append(from_front(item, length, input.graph))
            shape += item.shape
            lengths += item.shape
    listed = [item for item in items if not (item is None or isinstance(item, slice))]
    if any(not isinstance(item, (int, Size)) for item in listed) and (len(listed) > 1 or listed[0].ndim != 1):
        return _put_at_several(input, items, filling)  # integers beside lists are lists
    return _put(input, parts, reshape(_broadcast(filling, shape, input), lengths))


def _strided(first: Length, count: Length, step: int, input: Tensor) -> Indices:
    places: Any = step * numbers_below(count)
    if isinstance(first, Size) and not isinstance(places, Tensor):  # so many, counted from the end of a dynamic length
        places = input.graph.constant(places, index_dtype(input.graph))
    return first + places


def _put_at_several(input: Tensor, items: Sequence[Any], filling: Tensor) -> Tensor:
    """Return the input with what lies at places of its first dimensions replaced; the others are whole."""
    count = next((i for i, item in enumerate(items) if item is None or isinstance(item, slice)), len(items))
    if not count or any(isinstance(item, Size) for item in items) or any(not _is_all(item) for item in items[count:]):
        raise _refused(
            input, "several lists, arrays and Tensors of integers are of the first dimensions, and others are whole"
        )
    places = [np.asarray(item) if isinstance(item, int) else item for item in items[:count]]
    ndim = max(index.ndim for index in places)
    shape = broadcast(*((*(1,) * (ndim - index.ndim), *index.shape) for index in places))
    if shape is None:
        shapes = " and ".join(str(tuple(index.shape)) for index in places)
        raise ShapeError(f"indices of shapes {shapes} do not broadcast together in {input.graph.where}")
    return index_put(input, places, _broadcast(filling, (*shape, *input.shape[count:]), input))


def _is_all(item: Any) -> bool:
    return isinstance(item, slice) and item == slice(None)


def _refused(input: Tensor, detail: str) -> UnsupportedError:
    return UnsupportedError(
        f"assignment into a Tensor in {input.graph.where}, by an index of this kind",
        detail,
        "a network has no memory to write to; build the result with cat, where or scatter",
    )


def _as_mask(input: Tensor, index: Any) -> Tensor | None:
    """Return an index that is one mask, of the first dimensions of the input, as a Tensor, or None."""
    (index,) = index if isinstance(index, tuple) and len(index) == 1 else (index,)
    if not (isinstance(index, Tensor) and index.dtype is bool_):
        if isinstance(index, (tuple, slice, type(None), type(Ellipsis), int, Size)):
            return None
        (item,) = items_of(index)
        if not is_mask(item):
            return None
        index = input.graph.constant(item, bool_)
    if not same_shape(index.shape, input.shape[: index.ndim]):
        raise ShapeError(f"a mask of shape {index.shape} does not fit {input.shape} in {input.graph.where}")
    return index


def _broadcast(value: Tensor, shape: Sequence[Length], input: Tensor) -> Tensor:
    if value.ndim > len(shape):  # torch drops dimensions of 1 in front
        spare = value.ndim - len(shape)
        if not all(same(n, 1) for n in value.shape[:spare]):
            raise ShapeError(f"a value of shape {value.shape} does not fit {tuple(shape)} in {input.graph.where}")
        value = reshape(value, value.shape[spare:])
    return expand(with_ndim(value, len(shape)), tuple(shape))


def _put(input: Tensor, parts: Sequence[Part], value: Tensor) -> Tensor:
    """Return the input with a part of each dimension replaced.

    Of a block it is what lies before it, it and what lies behind it, joined dimension by dimension.
    """
    for axis, (part, length) in enumerate(zip(parts, input.shape, strict=True)):
        before = [(0, n) for n in input.shape[:axis]]
        if not isinstance(part, tuple):
            rest = [*before, (0, part.shape[0]), *parts[axis + 1 :]]
            others = zip(parts[axis + 1 :], input.shape[axis + 1 :], strict=True)
            is_whole = all(_is_whole(other, n) for other, n in others)
            return _put_at(input, axis, part, value if is_whole else _put(take(input, part, axis), rest, value))
        if _is_whole(part, length):
            continue
        first, count = part
        inside = _put(narrow(input, axis, first, count), [*before, (0, count), *parts[axis + 1 :]], value)
        behind = length - first - count
        return cat(
            [
                *([narrow(input, axis, 0, first)] if first > 0 else []),
                inside,
                *([narrow(input, axis, first + count, behind)] if behind > 0 else []),
            ],
            axis,
        )
    return value


def _is_whole(part: Part, length: Length) -> bool:
    return isinstance(part, tuple) and same(part[0], 0) and same(part[1], length)


def _put_at(input: Tensor, axis: int, places: Any, value: Tensor) -> Tensor:
    """Return the input with what lies at places along an axis replaced; of equal places the last counts."""
    length = input.shape[axis]
    if isinstance(places, np.ndarray) and isinstance(length, int):
        source = np.arange(length)
        source[places] = length + np.arange(len(places))
        return take(cat([input, value], axis), source, axis)
    spread = along(index_tensor(places, input.graph), axis, input.ndim)
    return scatter(input, axis, expand(spread, value.shape), value)
