"""Reductions in pairs, without NaN, and of neighbours: differences and areas."""

from __future__ import annotations

from typing import Any, NamedTuple

from trtnn.dtypes import NARROW, DType, bool_
from trtnn.errors import ArgumentError, DTypeError, ShapeError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Dims, expect_floating, expect_number, normalize_dim
from trtnn.ops._promotion import cast, floating, promote, wide
from trtnn.ops.arithmetic import add, div, mul, sub
from trtnn.ops.comparison import isnan, logical_not, ne, where
from trtnn.ops.indexing import narrow
from trtnn.ops.joining import cat
from trtnn.ops.norms import norm
from trtnn.ops.reduction import amax, amin, cumsum, mean, std, sum, var
from trtnn.ops.shaping import along
from trtnn.ops.tiling import expand
from trtnn.shapes.symbolic import same


class MinMax(NamedTuple):
    """The smallest and the largest element."""

    min: Tensor
    max: Tensor


def var_mean(
    input: Tensor, dim: Dims = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> tuple[Tensor, Tensor]:
    """Return the variance and the mean along dimensions; see :func:`var`."""
    return _beside_mean(var, input, dim, unbiased, keepdim, correction)


def std_mean(
    input: Tensor, dim: Dims = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> tuple[Tensor, Tensor]:
    """Return the standard deviation and the mean along dimensions; see :func:`var`."""
    return _beside_mean(std, input, dim, unbiased, keepdim, correction)


def _beside_mean(
    spread: Any, input: Tensor, dim: Dims, unbiased: bool, keepdim: bool, correction: float | None
) -> tuple[Tensor, Tensor]:
    if isinstance(dim, bool):  # ``var_mean(x, False)``
        dim, unbiased = None, dim
    return spread(input, dim, unbiased, keepdim, correction=correction), mean(input, dim, keepdim)


def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> MinMax:
    """Return the smallest and the largest element along a dimension, or of all where ``dim`` is None."""
    return MinMax(amin(input, dim, keepdim), amax(input, dim, keepdim))


def _without_nan(input: Tensor) -> Tensor:
    return where(isnan(input), input.graph.constant(0, input.dtype), input) if input.dtype.is_floating_point else input


def nansum(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Return the sum along dimensions, or of all elements where ``dim`` is None, with 0 in place of NaN."""
    return sum(_without_nan(input), dim, keepdim, dtype=dtype)


def nanmean(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Return the mean along dimensions of what is not NaN, carried in fp32; NaN where nothing is left."""
    input = input if dtype is None else cast(input, dtype)
    expect_floating(input, "nanmean")
    values = wide(input)
    count = sum(cast(logical_not(isnan(values)), values.dtype), dim, keepdim)
    return cast(div(sum(_without_nan(values), dim, keepdim), count), input.dtype)


def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """Return the p-norm of input - other, broadcast; see :func:`norm`."""
    expect_floating(input, "dist")
    apart = sub(input, other)
    return cast(norm(wide(apart), p), apart.dtype)


def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """Return each element less the one before it along ``dim``, ``n`` times over.

    Of bools it is whether the two differ.

    Args:
        prepend, append: what is put before and after first, unless ``n`` is 0.

    Raises:
        ShapeError: nothing is left.
    """
    if not input.shape:
        raise ShapeError(f"diff in {input.graph.where} takes at least one dimension")
    if n < 0:
        raise ArgumentError(f"diff takes differences 0 times or more, not {n}")
    if n == 0:
        return input.graph.deferred.snapshot("diff", input)
    axis = normalize_dim(dim, input.ndim)
    parts = [part for part in (prepend, input, append) if part is not None]
    input = cat(parts, axis)
    for _ in range(n):
        length = input.shape[axis] - 1
        later, earlier = narrow(input, axis, 1, length), narrow(input, axis, 0, length)
        input = ne(later, earlier) if input.dtype is bool_ else sub(later, earlier)
    return input


def _area_dtype(y: Tensor, x: Tensor | None) -> DType:
    return floating(y).dtype if x is None else promote(y, x, floating=True)[0].dtype


def _areas(y: Tensor, x: Tensor | None, dx: float, dim: int, what: str) -> Tensor:
    """Return the area between each two neighbours along a dimension, carried in fp32."""
    if x is not None and dx != 1:
        raise ArgumentError(f"{what} takes x or dx, not both")
    expect_number(y, what)
    for tensor in (y,) if x is None else (y, x):
        if tensor.dtype in NARROW:
            got = tensor.dtype.name
            raise DTypeError(f"{what} in {y.graph.where} takes floating-point input, not {got}", "cast it first")
    axis = normalize_dim(dim, y.ndim)
    values = wide(floating(y))
    count = y.shape[axis] - 1
    heights = add(narrow(values, axis, 1, count), narrow(values, axis, 0, count))
    if x is None:
        return mul(heights, dx / 2)
    at = wide(floating(x))
    if at.ndim == 1:
        at = along(at, axis, y.ndim)
    return mul(mul(heights, diff(at, dim=axis - y.ndim)), 0.5)


def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float = 1, dim: int = -1) -> Tensor:
    """Return the area under values along a dimension, by straight lines between them, carried in fp32.

    Args:
        x: where the values lie: a vector, or as many as there are values.
        dx: how far apart they lie, where there is no ``x``.
    """
    dtype = _area_dtype(y, x)
    axis = normalize_dim(dim, y.ndim)
    if same(y.shape[axis], 1):
        return expand(y.graph.constant(0, dtype), (*y.shape[:axis], *y.shape[axis + 1 :]))
    return cast(sum(_areas(y, x, dx, dim, "trapezoid"), dim), dtype)


def cumulative_trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float = 1, dim: int = -1) -> Tensor:
    """Return the area under values up to each but the first; see :func:`trapezoid`."""
    return cast(cumsum(_areas(y, x, dx, dim, "cumulative_trapezoid"), dim), _area_dtype(y, x))
