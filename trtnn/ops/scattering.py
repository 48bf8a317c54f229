"""Elements put into places that indices name, joined there by a sum, a product, a mean or an extreme."""

from __future__ import annotations

from typing import Any

from trtnn.dtypes import bool_, float32
from trtnn.errors import ArgumentError
from trtnn.graph.tensor import Tensor
from trtnn.ops import gathering
from trtnn.ops._arguments import Indices, expect_number, normalize_dim
from trtnn.ops._promotion import cast, filler, index_dtype, neutral, wide
from trtnn.ops.arithmetic import add, maximum, minimum, mul
from trtnn.ops.comparison import eq, logical_and, lt, where
from trtnn.ops.creation import numbers_below
from trtnn.ops.division import div, floor_divide
from trtnn.ops.indexing import as_indices, checked_indices
from trtnn.ops.padding import lengthened
from trtnn.ops.reduction import amax, amin, any, prod, sum
from trtnn.ops.shaping import along, reshape, unsqueeze
from trtnn.ops.tiling import expand
from trtnn.shapes.symbolic import Size, same, same_shape

_REDUCTIONS = ("sum", "prod", "mean", "amax", "amin")
_OF_SCATTER = {"add": "sum", "multiply": "prod"}


def scatter(
    input: Tensor,
    dim: int,
    index: Indices,
    src: Tensor | bool | int | float | None = None,
    *,
    value: bool | int | float | None = None,
    reduce: str | None = None,
) -> Tensor:
    """Return a copy of ``input`` with src at indices along ``dim``, as ``torch.scatter``.

    For dimension 0 of three, result[index[i][j][k]][j][k] = src[i][j][k].

    Where two indices are the same, one of the two elements wins; as in torch it is open which.

    Args:
        index: from 0 on, of as many dimensions as ``input`` and not longer in any other than ``dim``.
        src: a tensor of ``input``'s type, at least as long as ``index``, or a number.
        value: that number by name.
        reduce: ``"add"`` or ``"multiply"`` for what is there and all that comes to it, as :func:`scatter_reduce`.

    Raises:
        ArgumentError: none or both of ``src`` and ``value``, or another ``reduce``.
        ShapeError: the shapes do not fit together.
        DTypeError: ``src`` is of another type than ``input``.
    """
    source = value if src is None else src
    if source is None or (src is not None and value is not None):
        raise ArgumentError("scatter takes src or value, one of the two")
    if reduce is None:
        return gathering.scatter(input, dim, index, source)
    if reduce not in _OF_SCATTER:
        raise ArgumentError(f"scatter knows no reduce={reduce!r}", f"known: {', '.join(_OF_SCATTER)}")
    if not isinstance(source, Tensor):
        source = expand(filler(source, input, "scatter", computes=True), as_indices(index).shape)
    return _scattered(input, dim, index, source, _OF_SCATTER[reduce], True, "scatter")


def scatter_reduce(
    input: Tensor, dim: int, index: Indices, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """Return a copy of ``input`` in which each place holds the sum, product, ... of the src elements of its index.

    It costs as much as :func:`scatter_add`, and is carried in fp32; sums and products of half numbers are rounded once.

    Args:
        index: from 0 on, of as many dimensions as ``input`` and not longer in any other than ``dim``.
        src: of ``input``'s type, and at least as long as ``index``.
        reduce: ``"sum"``, ``"prod"``, ``"mean"``, ``"amax"`` or ``"amin"``; of whole numbers the mean is rounded down.
        include_self: whether what was there is one of them; where nothing comes, it stays in any case.
    """
    _expect_reduction(reduce, _REDUCTIONS, "scatter_reduce")
    if reduce == "mean":
        expect_number(input, "scatter_reduce by the mean")
    return _scattered(input, dim, index, src, reduce, include_self, "scatter_reduce")


def index_reduce(
    input: Tensor, dim: int, index: Indices, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """Return a copy of ``input`` in which each slice holds the product, mean, ... of the source slices of its index.

    See :func:`scatter_reduce`.

    Args:
        index: from 0 on, a vector.
        source: of ``input``'s type and shape, but as long as ``index`` along ``dim``.
        reduce: ``"prod"``, ``"mean"``, ``"amax"`` or ``"amin"``.
    """
    _expect_reduction(reduce, _REDUCTIONS[1:], "index_reduce")
    if not input.shape:
        vectors = (reshape(tensor, (-1,)) for tensor in (input, source))
        result = index_reduce(next(vectors), dim, index, next(vectors), reduce, include_self=include_self)
        return reshape(result, ())
    axis = normalize_dim(dim, input.ndim)
    index = checked_indices(index, input, axis)
    index = index if index.shape else reshape(index, (-1,))
    gathering.expect_slices(input, axis, index, source, "index_reduce")
    spread = expand(along(index, axis, input.ndim), source.shape)
    return _scattered(input, axis, spread, source, reduce, include_self, "index_reduce")


def _expect_reduction(reduce: str, reductions: tuple[str, ...], what: str) -> None:
    if reduce not in reductions:
        raise ArgumentError(f"{what} knows no reduce={reduce!r}", f"known: {', '.join(reductions)}")


def _scattered(
    input: Tensor, dim: int, index: Indices, src: Tensor, reduce: str, include_self: bool, what: str
) -> Tensor:
    if not input.shape:
        at = reshape(checked_indices(index, reshape(input, (1,)), 0), (-1,))
        vectors = (reshape(tensor, (-1,)) for tensor in (input, src))
        return reshape(_scattered(next(vectors), dim, at, next(vectors), reduce, include_self, what), ())
    axis = normalize_dim(dim, input.ndim)
    index = checked_indices(index, input, axis)
    src = gathering.of_its_type(src, input, what)
    if input.dtype is bool_:
        kind = index_dtype(input.graph)
        result = _scattered(cast(input, kind), axis, index, cast(src, kind), reduce, include_self, what)
        return cast(result, bool_)
    there = gathering.reached(input, index, axis, what)
    values = wide(gathering.reached(src, index, None, what))
    places = numbers_below(input.shape[axis]).reshape(-1, *(1,) * (input.ndim - axis))
    meets = eq(unsqueeze(index, axis), places)
    values = unsqueeze(values, axis)
    combined = _combined(wide(there), meets, values, axis + 1, reduce, include_self)
    result = cast(where(any(meets, axis + 1), combined, wide(there)), input.dtype)
    return result if same_shape(result.shape, input.shape) else _put_over(input, result)


def _combined(there: Tensor, meets: Tensor, values: Tensor, axis: int, reduce: str, include_self: bool) -> Tensor:
    """Return what comes to each place, (..., places, ...), of values of which each meets one of them."""
    if reduce in ("amax", "amin"):
        largest = reduce == "amax"
        joined = (amax if largest else amin)(where(meets, values, neutral(there.dtype, largest)), axis)
        return (maximum if largest else minimum)(joined, there) if include_self else joined
    if reduce == "prod":
        joined = prod(where(meets, values, 1), axis)
        return mul(cast(joined, there.dtype), there) if include_self else cast(joined, there.dtype)
    total = cast(sum(where(meets, values, 0), axis), there.dtype)
    total = add(total, there) if include_self else total
    if reduce == "sum":
        return total
    count = sum(cast(meets, float32 if there.dtype.is_floating_point else index_dtype(there.graph)), axis)
    count = add(count, 1) if include_self else maximum(count, 1)
    return div(total, count) if there.dtype.is_floating_point else cast(floor_divide(total, count), there.dtype)


def _put_over(input: Tensor, part: Tensor) -> Tensor:
    """Return a tensor with its first elements along each dimension replaced."""
    mask: Any = None
    for axis, (n, m) in enumerate(zip(input.shape, part.shape, strict=True)):
        if not same(n, m):
            line = numbers_below(n, "float32")
            if isinstance(m, Size) and not isinstance(line, Tensor):
                line = input.graph.constant(line, float32)
            near = lt(line, m) if isinstance(line, Tensor) else input.graph.constant(line < m, bool_)
            near = along(near, axis, input.ndim)
            mask = near if mask is None else logical_and(mask, near)
    return where(mask, lengthened(part, input.shape), input)
