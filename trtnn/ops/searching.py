"""Where numbers lie among others: in ordered ones, in a set, in the bins of a histogram."""

from __future__ import annotations

import numpy as np

from trtnn.dtypes import float32, int32
from trtnn.errors import ArgumentError, DTypeError, ShapeError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Operand, expect_floating
from trtnn.ops._promotion import cast, expect_one_type, graph_of, index_dtype, promote, wide
from trtnn.ops.arithmetic import add, clamp, div, mul, sub
from trtnn.ops.comparison import eq, ge, gt, le, logical_and, logical_not, where
from trtnn.ops.gathering import gather
from trtnn.ops.ranks import count_leading
from trtnn.ops.reduction import amax, amin, any, sum
from trtnn.ops.shaping import flatten, reshape
from trtnn.ops.unary import floor
from trtnn.shapes.symbolic import same_shape


def searchsorted(
    sorted_sequence: Tensor,
    input: Tensor | bool | int | float,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """Return how many elements of an ordered sequence lie before each number, by bisection.

    Args:
        sorted_sequence: (n,), or (..., n), one sequence for each row of numbers.
        input: of any shape, or (..., m); or one number, for a vector.
        out_int32: whether the result is int32.
        right: whether equal elements lie before as well.
        side: ``"left"`` or ``"right"``, the same in words.
        sorter: the order of a sequence that is not ordered, as :func:`argsort` gives it.

    Raises:
        ShapeError: sequence, numbers and sorter do not fit together.
        DTypeError: numbers and sequence are of different types, or the sorter holds no indices.
        ArgumentError: another ``side``, or ``side="left"`` beside ``right``.
    """
    if side not in (None, "left", "right"):
        raise ArgumentError(f"searchsorted takes side 'left' or 'right', not {side!r}")
    if side == "left" and right:
        raise ArgumentError("searchsorted with side='left' and right=True", "they say the opposite")
    if not sorted_sequence.shape:
        raise ShapeError("searchsorted takes a sequence of at least one dimension")
    if not isinstance(input, Tensor):
        if sorted_sequence.ndim > 1:
            raise ShapeError(f"searchsorted of one number takes a vector, not {sorted_sequence.shape}")
        sorted_sequence, input = promote(sorted_sequence, input)
    expect_one_type("searchsorted", input, sorted_sequence)
    if sorted_sequence.ndim > 1 and not same_shape(sorted_sequence.shape[:-1], input.shape[:-1]):
        raise ShapeError(
            f"searchsorted in {input.graph.where}: shapes {sorted_sequence.shape} and {input.shape} do not fit",
            "but for the last dimension they are the same, or the sequence is a vector",
        )
    if sorter is not None:
        if sorter.dtype is not index_dtype(input.graph):
            raise DTypeError(f"searchsorted takes a sorter of indices, not of {sorter.dtype.name}")
        if not same_shape(sorter.shape, sorted_sequence.shape):
            raise ShapeError(f"searchsorted: a sorter of {sorter.shape} for a sequence of {sorted_sequence.shape}")
        sorted_sequence = gather(sorted_sequence, -1, sorter)
    beyond = gt if right or side == "right" else ge
    count = count_leading(sorted_sequence, input.shape, lambda elements: logical_not(beyond(elements, input)))
    return cast(count, int32) if out_int32 else count


def bucketize(
    input: Tensor | bool | int | float, boundaries: Tensor, *, out_int32: bool = False, right: bool = False
) -> Tensor:
    """Return the number of the interval between ordered boundaries that each element lies in.

    Args:
        boundaries: (n,).
        right: whether an element on a boundary lies behind it.

    Raises:
        ShapeError: the boundaries are no vector.
    """
    if boundaries.ndim != 1:
        raise ShapeError(f"bucketize takes a vector of boundaries, not of shape {boundaries.shape}")
    if isinstance(input, Tensor):
        input, boundaries = promote(input, boundaries)
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


def isin(elements: Operand, test_elements: Operand, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Return whether each element is among others, each compared with all.

    Args:
        assume_unique: changes nothing.
        invert: whether it is not among them instead.
    """
    graph = graph_of(elements, test_elements)
    elements, others = promote(elements, test_elements, graph=graph)
    inside = any(eq(reshape(elements, (-1, 1)), reshape(others, (1, -1))), 1)
    inside = reshape(inside, elements.shape)
    return logical_not(inside) if invert else inside


def histc(input: Tensor, bins: int = 100, min: int | float = 0, max: int | float = 0) -> Tensor:
    """Count the elements in each of ``bins`` intervals of one width from min to max.

    Each element is compared with each interval.

    Args:
        min, max: the ends, both included; what lies outside counts nowhere. Where they are the same, those of the data.

    Raises:
        ArgumentError: ``bins`` is below 1, or the range is not finite or runs backwards.
        DTypeError: the input holds no fractions.
    """
    expect_floating(input, "histc")
    if bins < 1:
        raise ArgumentError(f"histc takes bins from 1 on, not {bins}")
    if not (np.isfinite(min) and np.isfinite(max)) or min > max:
        raise ArgumentError(f"histc takes a finite range from min to max, not from {min} to {max}")
    values = wide(flatten(input))
    if min == max:
        low, high = amin(values), amax(values)
        alike = eq(low, high)
        low, high = where(alike, sub(low, 1.0), low), where(alike, add(high, 1.0), high)
    else:
        low, high = (input.graph.constant(np.float32(end), float32) for end in (min, max))
    place = floor(div(mul(sub(values, low), float(bins)), sub(high, low)))
    inside = logical_and(ge(values, low), le(values, high))
    place = where(inside, clamp(place, 0.0, float(bins - 1)), -1.0)
    counts = sum(cast(eq(reshape(place, (-1, 1)), np.arange(bins, dtype=np.float32)), float32), 0)
    return cast(counts, input.dtype)
