"""Elements taken from, and put into, places that indices or a mask name."""

from __future__ import annotations

import math
from builtins import any as any_of
from collections.abc import Sequence
from typing import Any

import numpy as np

from trtnn.dtypes import bool_, int32
from trtnn.errors import ArgumentError, DTypeError, ShapeError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Indices, Operand, normalize_dim
from trtnn.ops._promotion import cast, filler, index_dtype
from trtnn.ops.arithmetic import add, clamp, sub
from trtnn.ops.comparison import eq, ge, logical_and, lt, where
from trtnn.ops.creation import as_tensor, numbers_below
from trtnn.ops.gathering import gather, index_add, of_its_type, scatter
from trtnn.ops.indexing import as_indices, cut, flat_index, from_front, getitem, index_tensor, span
from trtnn.ops.indexing import take as take_along_axis
from trtnn.ops.joining import cat
from trtnn.ops.reduction import any, cumsum
from trtnn.ops.shaping import along, flatten, reshape, unsqueeze
from trtnn.ops.tiling import expand
from trtnn.shapes.symbolic import Length, Size, broadcast, same, same_shape


def take(input: Tensor, index: Indices) -> Tensor:
    """Return what lies at each index of the flat tensor, in the indices' shape; below 0 they count from the end."""
    return getitem(flatten(input), as_indices(index))


def take_along_dim(input: Tensor, indices: Indices, dim: int | None = None) -> Tensor:
    """Return what indices pick along ``dim``, or of the flat tensors where None; as ``torch.take_along_dim``.

    This is :func:`gather`, with input and indices broadcast together in the other dimensions.

    Indices below 0 count from the end.

    Raises:
        ShapeError: the tensors are of different rank, or do not broadcast together.
    """
    indices = index_tensor(as_indices(indices), input.graph)
    if dim is None:
        return gather(flatten(input), 0, from_front(flatten(indices), math.prod(input.shape), input.graph))
    if input.ndim != indices.ndim:
        raise ShapeError(f"take_along_dim takes tensors of one rank, not of {input.shape} and {indices.shape}")
    axis = normalize_dim(dim, input.ndim)
    others = [(*t.shape[:axis], 1, *t.shape[axis + 1 :]) for t in (input, indices)]
    shape = broadcast(*others)
    if shape is None:
        raise ShapeError(f"take_along_dim: shapes {input.shape} and {indices.shape} do not broadcast together")
    source, at = (expand(t, (*shape[:axis], t.shape[axis], *shape[axis + 1 :])) for t in (input, indices))
    return gather(source, axis, from_front(at, input.shape[axis], input.graph))


def _vector(index: Any, what: str) -> Indices:
    index = as_indices(index)
    if len(index.shape) > 1:
        raise ShapeError(f"{what} takes a vector of indices, not one of shape {tuple(index.shape)}")
    return reshape(index, (-1,)) if isinstance(index, Tensor) else np.reshape(index, -1)


def index_fill(input: Tensor, dim: int, index: Indices, value: Operand) -> Tensor:
    """Return a copy of input with one number at each of the indices ``index`` along ``dim``.

    Args:
        index: a vector; below 0 it counts from the end.
    """
    if not input.shape:
        return reshape(index_fill(reshape(input, (1,)), dim, index, value), ())
    axis = normalize_dim(dim, input.ndim)
    length = input.shape[axis]
    places = from_front(_vector(index, "index_fill"), length, input.graph)
    if isinstance(places, Tensor) or isinstance(length, Size):
        chosen = any(eq(unsqueeze(index_tensor(places, input.graph), 1), numbers_below(length)), 0)
    else:
        chosen = input.graph.constant(np.isin(np.arange(length), places), bool_)
    return where(along(chosen, axis, input.ndim), filler(value, input, "index_fill"), input)


def index_copy(input: Tensor, dim: int, index: Indices, source: Tensor) -> Tensor:
    """Return a copy of input with result[index[i]] = source[i] for dimension 0, as ``torch.index_copy``.

    Args:
        index: from 0 on, a vector.
        source: of input's type and shape, but as long as ``index`` along ``dim``.

    Raises:
        ShapeError, DTypeError: it is not.
    """
    if not input.shape:
        return reshape(index_copy(reshape(input, (1,)), dim, index, reshape(source, (1,))), ())
    axis = normalize_dim(dim, input.ndim)
    places = _vector(index, "index_copy")
    source = of_its_type(source, input, "index_copy")
    if not source.shape:
        source = reshape(source, (1,) * input.ndim)
    expected = (*input.shape[:axis], places.shape[0], *input.shape[axis + 1 :])
    if not same_shape(source.shape, expected):
        raise ShapeError(f"index_copy into {input.shape} takes a source of {expected}, not of {source.shape}")
    if isinstance(places, np.ndarray) and (places < 0).any():
        raise ShapeError(f"index_copy takes indices from 0 on, not {places.min()}")
    from_front(places, input.shape[axis], input.graph)
    return scatter(input, axis, expand(along(index_tensor(places, input.graph), axis, input.ndim), expected), source)


def index_put(input: Tensor, indices: Sequence[Indices], values: Tensor, accumulate: bool = False) -> Tensor:
    """Return a copy of input with ``result[indices] = values``, as ``torch.index_put``.

    Where two places are the same, one of the two values wins; as in torch it is open which.

    Args:
        indices: of the first dimensions, integers that broadcast together; or one bool tensor, a mask, beside values
            that are the same wherever it is true.
        values: broadcast to what ``input[indices]`` gives.
        accumulate: whether values are added to what is there, as :func:`index_add` does.

    Raises:
        ShapeError: the values do not fit.
        UnsupportedError: a mask beside values that differ from place to place.
    """
    listed = list(indices) if isinstance(indices, (list, tuple)) else [indices]
    if len(listed) == 1 and isinstance(listed[0], Tensor) and listed[0].dtype is bool_:
        return _put_by_mask(input, listed[0], values, accumulate)
    if any_of(index is None for index in listed):
        raise UnsupportedError(
            "index_put takes indices of the first dimensions, and no None for a whole one",
            "permute what is indexed to the front, and back behind it; x[:, rows] = values takes whole dimensions",
        )
    arrays = [index if isinstance(index, Tensor) else np.asarray(index) for index in listed]
    by_axis: list[Indices] = []
    for array in arrays:
        is_mask = isinstance(array, np.ndarray) and array.dtype == np.bool_
        by_axis += np.nonzero(array) if is_mask else [as_indices(array)]
    if any_of(isinstance(index, np.ndarray) and not index.size for index in by_axis):
        return input.graph.deferred.snapshot("index_put", input)
    if not by_axis or len(by_axis) > input.ndim:
        raise ArgumentError(f"index_put takes indices of 1 to {input.ndim} dimensions, not {len(by_axis)}")
    values = of_its_type(values, input, "index_put")
    lengths, rest = input.shape[: len(by_axis)], input.shape[len(by_axis) :]
    graph = input.graph
    places = [from_front(index, length, graph) for index, length in zip(by_axis, lengths, strict=True)]
    flat = index_tensor(flat_index(places, lengths, graph), graph)
    values = expand(values, (*flat.shape, *rest))
    count = math.prod(flat.shape)
    whole, values = reshape(input, (math.prod(lengths), *rest)), reshape(values, (count, *rest))
    where_to = reshape(flat, (count,))
    if accumulate:
        result = index_add(whole, 0, where_to, values)
    else:
        result = scatter(whole, 0, expand(along(where_to, 0, whole.ndim), values.shape), values)
    return reshape(result, input.shape)


def put(input: Tensor, index: Indices, source: Tensor, accumulate: bool = False) -> Tensor:
    """Return a copy of input with the elements of source at the places ``index`` of the flat tensor.

    See :func:`index_put`.
    """
    places = as_indices(index)
    places = flatten(places) if isinstance(places, Tensor) else places.reshape(-1)
    return reshape(index_put(flatten(input), (places,), flatten(source), accumulate), input.shape)


def _put_by_mask(input: Tensor, mask: Tensor, values: Tensor, accumulate: bool) -> Tensor:
    rest = input.shape[mask.ndim :]
    lengths = values.shape[max(0, values.ndim - len(rest)) :]
    if not same(math.prod(values.shape), math.prod(lengths)):
        raise UnsupportedError(
            f"index_put of values of shape {values.shape} where a mask is true",
            "how many places that is is known only when the engine runs",
            "where(mask, values, input) takes values of the shape of the input",
        )
    if not same_shape(mask.shape, input.shape[: mask.ndim]):
        raise ShapeError(f"index_put: a mask of shape {mask.shape} does not fit an input of {input.shape}")
    value = expand(reshape(values, lengths), rest)
    mask = reshape(mask, (*mask.shape, *(1,) * (input.ndim - mask.ndim)))
    return where(mask, add(input, value) if accumulate else cast(value, input.dtype), input)


def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """Return a copy of input whose elements under a true mask are those of source, in order.

    Each place counts the true ones before it, so that it costs a running sum over all elements. What an engine would
    take from beyond the source, where torch raises an error, is its last element.

    Raises:
        DTypeError: source is of another type, or the mask no bool tensor.
    """
    if mask.dtype is not bool_:
        raise DTypeError(f"masked_scatter takes a bool mask, not {mask.dtype.name}")
    source = of_its_type(source, input, "masked_scatter")
    ndim = max(input.ndim, mask.ndim)
    shapes = [(*(1,) * (ndim - t.ndim), *t.shape) for t in (input, mask)]
    shape = broadcast(*shapes)
    if shape is None:
        raise ShapeError(f"masked_scatter: shapes {input.shape} and {mask.shape} do not broadcast together")
    input, mask = expand(input, shape), expand(mask, shape)
    before = sub(cumsum(cast(flatten(mask), index_dtype(input.graph)), 0), 1)
    places = clamp(before, 0, math.prod(source.shape) - 1)
    taken = take_along_axis(flatten(source), places, 0)
    return where(mask, reshape(taken, shape), input)


def select_scatter(input: Tensor, src: Tensor, dim: int, index: Length) -> Tensor:
    """Return a copy of input with src at ``index`` along ``dim``, a dimension that src does not have.

    Raises:
        ShapeError: src has another shape than what lies there, or nothing lies there.
    """
    axis = normalize_dim(dim, input.ndim)
    length = input.shape[axis]
    if not -length <= index < length:
        raise ShapeError(f"index {index} is out of range for a dimension of {length} in {input.graph.where}")
    expected = (*input.shape[:axis], *input.shape[axis + 1 :])
    if not same_shape(src.shape, expected):
        raise ShapeError(f"select_scatter into {input.shape} takes a src of {expected}, not of {src.shape}")
    place = index if index >= 0 else index + length
    return slice_scatter(input, unsqueeze(src, axis), axis, place, place + 1)


def slice_scatter(
    input: Tensor,
    src: Tensor,
    dim: int = 0,
    start: Length | None = None,
    end: Length | None = None,
    step: Length = 1,
) -> Tensor:
    """Return a copy of input with src in place of the slice ``start:end:step`` along ``dim``.

    Raises:
        ShapeError: src has another shape than the slice.
    """
    axis = normalize_dim(dim, input.ndim)
    length = input.shape[axis]
    first, count, step = span(slice(start, end, step), length)
    expected = (*input.shape[:axis], count, *input.shape[axis + 1 :])
    if not same_shape(src.shape, expected):
        raise ShapeError(f"slice_scatter into {input.shape} takes a src of {expected}, not of {src.shape}")
    src = cast(src, input.dtype)
    if isinstance(first, Size) or isinstance(count, Size) or isinstance(length, Size):
        return _slice_replaced(input, src, axis, first, count, step)
    order = np.arange(length)
    order[first : first + count * step : step] = length + np.arange(count)
    return take_along_axis(cat([input, src], axis), order, axis)


def _slice_replaced(input: Tensor, src: Tensor, axis: int, first: Length, count: Length, step: Length) -> Tensor:
    """Return :func:`slice_scatter` where a length is dynamic: src is padded to the input and chosen by a mask.

    Raises:
        UnsupportedError: elements apart from one another.
    """
    if not same(step, 1) and not same(count, 1):
        raise UnsupportedError(
            f"slice_scatter with a step of {step} into a length of {input.shape[axis]}", "give a step of 1"
        )
    length = input.shape[axis]
    places = as_tensor(numbers_below(length))
    inside = logical_and(ge(places, first), lt(places, first + count))
    start = tuple(-first if i == axis else 0 for i in range(input.ndim))
    values = cast(src, int32) if src.dtype is bool_ else src  # TensorRT 8.6 puts nothing around bools
    laid = cast(cut(values, start, input.shape, (1,) * input.ndim, "FILL"), input.dtype)
    return where(along(inside, axis, input.ndim), laid, input)
