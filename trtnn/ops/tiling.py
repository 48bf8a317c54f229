"""Elements repeated and turned around: slices that stand still, run backwards or wrap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trtnn.errors import ArgumentError, ShapeError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import normalize_dim, normalize_dims
from trtnn.ops.constants import numbers_of
from trtnn.ops.indexing import cut, take
from trtnn.ops.shaping import flatten, is_open, reshape, unpacked, unsqueeze, with_ndim
from trtnn.shapes.symbolic import Length, Size, same, same_shape


def expand(input: Tensor, *sizes: Length | Sequence[Length]) -> Tensor:
    """Repeat dimensions of length 1 to ``sizes``; -1 keeps a length, and further dimensions come in front.

    Raises:
        ShapeError: a dimension of another length would have to change, or sizes are fewer than dimensions.
    """
    target = expanded(input, unpacked(sizes))
    whole = with_ndim(input, len(target))
    if same_shape(target, whole.shape):
        return whole
    strides = tuple(0 if same(n, 1) else 1 for n in whole.shape)
    return cut(whole, (0,) * len(target), target, strides)


def expanded(input: Tensor, wanted: Sequence[Length]) -> tuple[Length, ...]:
    """Return the shape that :func:`expand` gives.

    Raises:
        ShapeError: as of :func:`expand`.
    """
    new = len(wanted) - input.ndim
    if new < 0:
        raise ShapeError(f"cannot expand {input.shape} to {wanted}, which has fewer dimensions")
    lengths = (1,) * new + input.shape
    kept = [is_open(size) for size in wanted]
    if any(kept[:new]):
        raise ShapeError(f"cannot expand {input.shape} to {wanted}: a new dimension needs a length")
    target = tuple(n if keep else size for n, size, keep in zip(lengths, wanted, kept, strict=True))
    if not all(size >= 1 and (same(n, 1) or same(n, size)) for n, size in zip(lengths, target, strict=True)):
        raise ShapeError(f"cannot expand {input.shape} to {wanted} in {input.graph.where}")
    return target


def repeat(input: Tensor, *repeats: Length | Sequence[Length]) -> Tensor:
    """Repeat the whole tensor so many times along each dimension; further dimensions come in front.

    Raises:
        ShapeError: there are fewer numbers than dimensions, or one is below 1.
    """
    times = unpacked(repeats)
    if len(times) < input.ndim or any(n < 1 for n in times):
        raise ShapeError(f"cannot repeat {input.shape} {times} times in {input.graph.where}")
    input = with_ndim(input, len(times))
    if all(same(n, 1) for n in times):
        return input
    size = tuple(n * length for n, length in zip(times, input.shape, strict=True))
    return cut(input, (0,) * input.ndim, size, (1,) * input.ndim, "WRAP")


def tile(input: Tensor, dims: Sequence[Length]) -> Tensor:
    """Repeat the whole tensor as :func:`repeat`, once along the dimensions in front that ``dims`` does not name."""
    return repeat(input, (1,) * (input.ndim - len(dims)) + tuple(dims))


def repeat_interleave(
    input: Tensor, repeats: Any, dim: int | None = None, *, output_size: Length | None = None
) -> Tensor:
    """Repeat each element ``repeats`` times in a row along ``dim``, or of the flat tensor where None.

    Args:
        repeats: how many times, which may be a length, or an array of it for each place along the dimension.
        output_size: how long the result is along the dimension, for a check.

    Raises:
        ArgumentError: ``repeats`` does not fit the dimension, nothing is left, or ``output_size`` is another length.
        UnsupportedError: ``repeats`` is known only when the engine runs.
    """
    if dim is None:
        return repeat_interleave(flatten(input), repeats, 0, output_size=output_size)
    axis = normalize_dim(dim, max(1, input.ndim))
    if isinstance(repeats, Tensor):
        repeats = numbers_of(repeats, "repeat_interleave by the numbers")
    result = _repeated(input, repeats, axis)
    if output_size is not None and not same(result.shape[axis], output_size):
        raise ArgumentError(f"repeat_interleave to {result.shape[axis]} elements with output_size={output_size}")
    return result


def _repeated(input: Tensor, repeats: Any, axis: int) -> Tensor:
    if not isinstance(repeats, (int, np.integer, Size)):
        return _each_as_often(input, np.asarray(repeats), axis)
    times = repeats if isinstance(repeats, Size) else int(repeats)
    if times < 1:
        raise ArgumentError(f"repeat_interleave takes a number of times from 1 on, not {repeats!r}")
    if not input.shape:
        return expand(input, (times,))
    before, length, after = input.shape[:axis], input.shape[axis], input.shape[axis + 1 :]
    several = expand(unsqueeze(input, axis + 1), (*before, length, times, *after))
    return reshape(several, (*before, length * times, *after))


def _each_as_often(input: Tensor, repeats: np.ndarray, axis: int) -> Tensor:
    length = input.shape[axis] if input.shape else 1
    if repeats.dtype.kind not in "iu" or repeats.ndim > 1 or (repeats < 0).any() or not repeats.any():
        raise ArgumentError(f"repeat_interleave takes a number of times from 1 on, or a vector of them, not {repeats}")
    if repeats.size == 1:
        return _repeated(input, int(repeats.reshape(())), axis)
    if not same(repeats.size, length):
        raise ArgumentError(f"repeat_interleave got {repeats.size} numbers for a dimension of {length}")
    return take(input, np.repeat(np.arange(length), repeats), axis)


def flip(input: Tensor, *dims: int | Sequence[int]) -> Tensor:
    """Turn dimensions around."""
    if not (axes := normalize_dims(unpacked(dims), input.ndim) if unpacked(dims) else ()):
        return input
    start = tuple(n - 1 if i in axes else 0 for i, n in enumerate(input.shape))
    stride = tuple(-1 if i in axes else 1 for i in range(input.ndim))
    return cut(input, start, input.shape, stride)


def roll(input: Tensor, shifts: Length | Sequence[Length], dims: int | Sequence[int] | None = None) -> Tensor:
    """Shift elements towards the end; those that fall off come in at the start. Without ``dims`` the flat tensor.

    Raises:
        ArgumentError: there are more shifts than dimensions, or fewer.
    """
    if dims is None or (isinstance(dims, Sequence) and not dims):
        return reshape(roll(flatten(input), shifts, 0), input.shape)
    ways = tuple(shifts) if isinstance(shifts, Sequence) else (shifts,)
    axes = tuple(dims) if isinstance(dims, Sequence) else (dims,)
    if len(ways) != len(axes):
        raise ArgumentError(f"roll takes a shift for each dimension, not {ways} for {axes}")
    start: list[Length] = [0] * input.ndim
    for shift, dim in zip(ways, axes, strict=True):
        axis = normalize_dim(dim, input.ndim)
        start[axis] = (start[axis] - shift) % input.shape[axis]
    if all(same(place, 0) for place in start):
        return input
    return cut(input, start, input.shape, (1,) * input.ndim, "WRAP")
