"""Maxima of windows, where they were, and how they go back there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from trtnn.errors import ArgumentError, ShapeError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Indices, Sides, each_of, expect_floating, ntuple
from trtnn.ops._spatial import as_images, expect_sides
from trtnn.ops._windows import (
    adaptive_windows,
    dynamic_to_one,
    emit_pooling,
    kernel_within,
    output_sides,
    over_whole_sides,
    padding_after,
    regular_windows,
    window,
)
from trtnn.ops.creation import arange
from trtnn.ops.gathering import gather, scatter, taps_of
from trtnn.ops.indexing import take
from trtnn.ops.ordering import topk
from trtnn.ops.padding import pad
from trtnn.ops.reduction import amax
from trtnn.ops.shaping import flatten, reshape, squeeze
from trtnn.ops.tiling import expand
from trtnn.shapes.symbolic import Length, is_static, same, same_shape


def _max_pool(
    n: int,
    what: str,
    input: Tensor,
    kernel_size: Length | Sequence[Length],
    stride: Length | Sequence[Length] | None = None,
    padding: Sides = 0,
    dilation: Sides = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Return the maximum of each window, as ``torch.nn.functional.max_pool1d``, ``max_pool2d`` and ``max_pool3d``.

    Windows lie over one, two or three sides: the lengths L, (H, W) or (D, H, W) behind the channels. An argument for
    the sides is an int for all of them, or one for each.

    Args:
        input: (batch, channels, *sides), floating; the batch may be missing.
        kernel_size: elements of a window along each side; a dynamic length is that of the whole side, without
            ``dilation`` and ``return_indices``.
        stride: elements from one window to the next; kernel_size where None.
        padding: places at both ends of each side that never win, at most half of kernel_size.
        dilation: the distance of a window's elements. TensorRT's pooling has none: above 1 the elements of each window
            are gathered, along one side after the other.
        ceil_mode: whether a last window that lies only in part over the input counts too.
        return_indices: whether to return the indices as well, which are gathered like a dilation.

    Returns:
        (batch, channels, *sides), each side floor((length + 2·padding - dilation·(kernel_size - 1) - 1) / stride) + 1;
        with ``ceil_mode`` rounded up, less a window that would start beyond the input and its padding in front. With
        ``return_indices`` a pair, of these and of the index of each in the flattened sides; the first of equal ones.

    Raises:
        ShapeError: the input has another number of dimensions, or is smaller than a window.
        DTypeError: the input holds no fractions.
        ArgumentError: padding is more than half of kernel_size, or an argument is not an int for each side.
    """
    expect_sides(input, n, what)
    expect_floating(input, what)
    dilation = ntuple(dilation, n, "dilation")
    if max(dilation) == 1 and not return_indices:
        input, kernel_size, stride = over_whole_sides(n, what, input, kernel_size, stride, padding, amax)
    images, undo = as_images(input, n, what)
    kernel, stride, padding = window(n, kernel_size, stride, padding)
    kernel = kernel_within(images, kernel, stride, padding) if ceil_mode and max(dilation) == 1 else kernel
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    after, shape = padding_after(images, reach, stride, padding, ceil_mode, what)
    if max(dilation) == 1 and not return_indices:
        return undo(emit_pooling(images, images.graph.trt.PoolingType.MAX, kernel, shape, stride, padding, after))
    sides = list(zip(padding, after, strict=True))
    taps = [taps_of(*of_side) for of_side in zip(shape[2 : 2 + n], kernel, stride, dilation, strict=True)]
    if not return_indices:
        (values,) = _largest(_padded(images, sides, value=-math.inf), 2, taps)
        return undo(values)
    places = _padded(_places(images, 2), sides, "replicate")
    values, indices = _largest(_padded(images, sides, value=-math.inf), 2, taps, places)
    return undo(values), undo(indices)


def _padded(
    images: Tensor, sides: Sequence[tuple[int, int]], mode: str = "constant", value: float | None = None
) -> Tensor:
    rest = images.ndim - 2 - len(sides)
    return pad(images, [end for side in [*sides, *[(0, 0)] * rest][::-1] for end in side], mode, value)


def _places(input: Tensor, first: int) -> Tensor:
    """Return where in the dimensions from ``first`` on, flattened, each element is, in the input's shape."""
    lengths = input.shape[first:]
    return expand(reshape(arange(math.prod(lengths)), lengths), input.shape)


def _largest(
    input: Tensor, first: int, taps: Sequence[Indices | None], places: Tensor | None = None
) -> tuple[Tensor, ...]:
    """Return the largest element of each window, and what ``places`` holds there if they are asked for.

    Args:
        first: the dimension of the first side.
        taps: of each side the places of the elements of each window, (elements, windows); None for no windows.
        places: in the input's shape, if those of the largest elements are wanted.
    """
    for axis, of_side in reversed(list(enumerate(taps, first))):  # so that of equal ones the first of all wins
        if of_side is None:
            continue
        input = take(input, of_side, axis)
        if places is None:
            input = amax(input, axis)
            continue
        input, winner = topk(input, 1, axis)
        places = squeeze(gather(take(places, of_side, axis), axis, winner), axis)
        input = squeeze(input, axis)
    return (input,) if places is None else (input, places)


def _max_unpool(
    n: int,
    what: str,
    input: Tensor,
    indices: Tensor,
    kernel_size: Sides,
    stride: Sides | None = None,
    padding: Sides = 0,
    output_size: Sequence[Length] | None = None,
) -> Tensor:
    """Put each element back where a pooling with ``return_indices`` took it from, with zeros around.

    As ``torch.nn.functional.max_unpool1d``, ``max_unpool2d`` and ``max_unpool3d``.

    Args:
        input: (batch, channels, *sides), the batch may be missing.
        indices: in the flattened sides of the result, in the input's shape, as ``return_indices`` gives them.
        kernel_size, stride, padding: those of the pooling.
        output_size: the sides that the pooling was given, also with (batch, channels) in front; where None each is
            (length - 1) · stride - 2 · padding + kernel_size.

    Returns:
        (batch, channels, *output_size).

    Raises:
        ShapeError: the indices have another shape, or the input another number of dimensions.
        ArgumentError: output_size is a stride or more away from where it would be None.
    """
    expect_sides(input, n, what)
    if not same_shape(indices.shape, input.shape):
        raise ShapeError(f"{what} of shape {input.shape} got indices of shape {indices.shape}")
    kernel, stride, padding = window(n, kernel_size, stride, padding)
    sizes = [(x - 1) * s - 2 * p + k for x, s, p, k in zip(input.shape[-n:], stride, padding, kernel, strict=True)]
    if output_size is not None:
        wanted = list(output_size)[-n:]
        near = [abs(w - size) < s for w, size, s in zip(wanted, sizes, stride, strict=True)]
        if len(output_size) not in (n, n + 2) or not all(near):
            raise ArgumentError(
                f"{what} to {tuple(output_size)}", f"lengths are less than {stride} from {tuple(sizes)}"
            )
        sizes = wanted
    before = input.shape[:-n]
    nothing = expand(input.graph.constant(0, input.dtype, len(before) + 1), (*before, math.prod(sizes)))
    flat = scatter(nothing, -1, reshape(indices, (*before, -1)), reshape(input, (*before, -1)))
    return reshape(flat, (*before, *sizes))


def _adaptive_max_pool(
    n: int,
    what: str,
    input: Tensor,
    output_size: Length | Sequence[Length | None] | None,
    return_indices: bool = False,
) -> Any:
    """Return the maxima of a fixed number of windows, as torch's ``adaptive_max_pool1d``, ``2d`` and ``3d``.

    The windows are those of :func:`adaptive_avg_pool2d`. Where all are alike this is a pooling, and else the elements
    of each window are gathered, along one side after the other.

    Args:
        input: (batch, channels, *sides), floating; the batch may be missing.
        output_size: the number of windows along each side, or one number for all; None keeps a length.
        return_indices: whether to return the indices as well, as :func:`max_pool2d` does.

    Returns:
        (batch, channels, *output_size), or a pair of such.

    Raises:
        ShapeError: the input has another number of dimensions.
        DTypeError: the input holds no fractions.
        ArgumentError: output_size is not a number for each side.
        UnsupportedError: a dynamic length becomes another one than 1; with ``return_indices``, one of several.
    """
    expect_sides(input, n, what)
    expect_floating(input, what)
    sizes = output_sides(n, output_size, input)
    if all(same(size, 1) for size in sizes):
        if not return_indices:
            return amax(input, tuple(range(-n, 0)), True)
        shape = (*input.shape[:-n], *sizes)
        largest = topk(flatten(input, -n), 1)
        return reshape(largest.values, shape), reshape(largest.indices, shape)
    if not return_indices:
        input = dynamic_to_one(what, input, sizes, amax)
    elif not all(same(size, n) or is_static((size, n)) for size, n in zip(sizes, input.shape[-n:], strict=True)):
        raise UnsupportedError(
            f"{what} with return_indices to {tuple(sizes)} in {input.graph.where}",
            "its windows would depend on a dynamic length",
            "sizes that are all 1, and None, which keeps a length, do not",
        )
    if regular := regular_windows(input.shape[-n:], sizes):
        return _max_pool(n, what, input, *regular, return_indices=return_indices)
    taps = [_taps(length, size) for length, size in zip(input.shape[-n:], sizes, strict=True)]
    if not return_indices:
        (values,) = _largest(input, input.ndim - n, taps)
        return values
    values, indices = _largest(input, input.ndim - n, taps, _places(input, input.ndim - n))
    return values, indices


def _taps(length: Length, size: Length) -> np.ndarray | None:
    """Return the places of the elements of ``size`` windows, (elements, windows); short ones have their last again."""
    if same(length, size):
        return None
    start, end = adaptive_windows(length, size)
    return np.minimum(start + np.arange(max(end - start))[:, None], end - 1)


SIDES = (1, 2, 3)
max_pool1d, max_pool2d, max_pool3d = each_of(SIDES, _max_pool, "max_pool{}d")
max_unpool1d, max_unpool2d, max_unpool3d = each_of(SIDES, _max_unpool, "max_unpool{}d")
adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = each_of(
    SIDES, _adaptive_max_pool, "adaptive_max_pool{}d"
)
