"""Elements repeated and turned around: slices that stand still, run backwards or wrap."""

from __future__ import annotations

from collections.abc import Sequence

from trtnn.errors import ArgumentError, ShapeError
from trtnn.ops.arguments import normalize_dim, normalize_dims
from trtnn.ops.shaping import flatten, reshape, unpacked, unsqueeze, with_ndim
from trtnn.tensor import Tensor


def expand(input: Tensor, *sizes: int | Sequence[int]) -> Tensor:
    """Repeat dimensions of length 1 to ``sizes``; -1 keeps a length, and further dimensions come in front.

    Raises:
        ShapeError: a dimension of another length would have to change, or sizes are fewer than dimensions.
    """
    wanted = unpacked(sizes)
    if len(wanted) < input.ndim:
        raise ShapeError(f"cannot expand {input.shape} to {wanted}, which has fewer dimensions")
    lengths = (1,) * (len(wanted) - input.ndim) + input.shape
    if wanted[: len(wanted) - input.ndim].count(-1):
        raise ShapeError(f"cannot expand {input.shape} to {wanted}: a new dimension needs a length")
    wanted = tuple(n if size == -1 else int(size) for n, size in zip(lengths, wanted, strict=True))
    if any(n not in (1, size) for n, size in zip(lengths, wanted, strict=True)) or 0 in wanted:
        raise ShapeError(f"cannot expand {input.shape} to {wanted} in {input.graph.where}")
    if wanted == lengths:
        return with_ndim(input, len(wanted))
    strides = tuple(0 if n == 1 else 1 for n in lengths)
    return input.graph.emit("slice", with_ndim(input, len(wanted)), (0,) * len(wanted), wanted, strides)


def _wrapped(input: Tensor, start: Sequence[int], size: Sequence[int]) -> Tensor:
    mode = input.graph.trt.SampleMode.WRAP
    return input.graph.emit("slice", input, tuple(start), tuple(size), (1,) * input.ndim, mode=mode)


def repeat(input: Tensor, *repeats: int | Sequence[int]) -> Tensor:
    """The whole tensor over again, so many times along each dimension; further dimensions come in front.

    Raises:
        ShapeError: there are fewer numbers than dimensions, or one is below 1.
    """
    times = unpacked(repeats)
    if len(times) < input.ndim or any(n < 1 for n in times):
        raise ShapeError(f"cannot repeat {input.shape} {times} times in {input.graph.where}")
    input = with_ndim(input, len(times))
    if all(n == 1 for n in times):
        return input
    return _wrapped(input, (0,) * input.ndim, [n * length for n, length in zip(times, input.shape, strict=True)])


def tile(input: Tensor, dims: Sequence[int]) -> Tensor:
    """:func:`repeat`, with 1 for the dimensions in front that ``dims`` does not name."""
    return repeat(input, (1,) * (input.ndim - len(dims)) + tuple(dims))


def repeat_interleave(input: Tensor, repeats: int, dim: int | None = None) -> Tensor:
    """Each element ``repeats`` times in a row along ``dim``, or of the flat tensor."""
    if not isinstance(repeats, int) or repeats < 1:
        raise ArgumentError(f"repeat_interleave takes a number of times from 1 on, not {repeats!r}")
    if dim is None:
        return repeat_interleave(flatten(input), repeats, 0)
    axis = normalize_dim(dim, input.ndim)
    before, length, after = input.shape[:axis], input.shape[axis], input.shape[axis + 1 :]
    several = expand(unsqueeze(input, axis + 1), (*before, length, repeats, *after))
    return reshape(several, (*before, length * repeats, *after))


def flip(input: Tensor, *dims: int | Sequence[int]) -> Tensor:
    """Turn dimensions around."""
    if not (axes := normalize_dims(unpacked(dims), input.ndim) if unpacked(dims) else ()):
        return input
    start = tuple(n - 1 if i in axes else 0 for i, n in enumerate(input.shape))
    stride = tuple(-1 if i in axes else 1 for i in range(input.ndim))
    return input.graph.emit("slice", input, start, input.shape, stride)


def roll(input: Tensor, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None) -> Tensor:
    """Shift elements towards the end; those that fall off come in at the start. Without ``dims`` the flat tensor."""
    if dims is None:
        return reshape(roll(flatten(input), shifts, 0), input.shape)
    shifts, dims = ((v,) if isinstance(v, int) else tuple(v) for v in (shifts, dims))
    if len(shifts) != len(dims):
        raise ArgumentError(f"roll takes a shift for each dimension, not {shifts} for {dims}")
    start = [0] * input.ndim
    for shift, dim in zip(shifts, dims, strict=True):
        axis = normalize_dim(dim, input.ndim)
        start[axis] = (start[axis] - shift) % input.shape[axis]
    return _wrapped(input, start, input.shape) if any(start) else input
