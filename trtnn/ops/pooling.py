"""Means of windows, and other sums of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from trtnn.errors import ArgumentError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Sides, each_of, expect_finite, expect_floating, ntuple
from trtnn.ops._promotion import cast, wide
from trtnn.ops._spatial import as_images, as_sides, expect_sides
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
from trtnn.ops.arithmetic import mul, pow
from trtnn.ops.matrix import matmul
from trtnn.ops.padding import pad
from trtnn.ops.reduction import mean, sum
from trtnn.ops.shaping import flatten, unflatten
from trtnn.shapes.symbolic import Length, same


def _avg_pool(
    n: int,
    what: str,
    input: Tensor,
    kernel_size: Length | Sequence[Length],
    stride: Length | Sequence[Length] | None = None,
    padding: Sides = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Return the mean of each window, as ``torch.nn.functional.avg_pool1d``, ``avg_pool2d`` and ``avg_pool3d``.

    Windows lie over one, two or three sides: the lengths L, (H, W) or (D, H, W) behind the channels. An argument for
    the sides is an int for all of them, or one for each.

    Args:
        input: (batch, channels, *sides), floating; the batch may be missing.
        kernel_size: elements of a window along each side; a dynamic length is that of the whole side.
        stride: elements from one window to the next; kernel_size where None.
        padding: zeros at both ends of each side, at most half of kernel_size.
        ceil_mode: whether a last window that lies only in part over the input counts too.
        count_include_pad: whether the padding counts as elements of a window; what ``ceil_mode`` adds at the end never
            does.
        divisor_override: what to divide the sum of a window by, in place of its number of elements.

    Returns:
        (batch, channels, *sides), each side floor((length + 2 · padding - kernel_size) / stride) + 1; with
        ``ceil_mode`` rounded up, less a window that would start beyond the input and its padding in front.

    Raises:
        ShapeError: the input has another number of dimensions, or is smaller than a window.
        DTypeError: the input holds no fractions.
        ArgumentError: padding is more than half of kernel_size, another argument is not an int for each side, or
            divisor_override is 0.
    """
    expect_sides(input, n, what)
    expect_floating(input, what)
    reduce = mean if divisor_override is None else sum
    input, kernel_size, stride = over_whole_sides(n, what, input, kernel_size, stride, padding, reduce)
    images, undo = as_images(input, n, what)
    kernel, stride, padding = window(n, kernel_size, stride, padding)
    kernel = kernel_within(images, kernel, stride, padding) if ceil_mode else kernel
    after, shape = padding_after(images, kernel, stride, padding, ceil_mode, what)
    if divisor_override == 0:
        raise ArgumentError("divisor_override is not 0")
    excludes = not count_include_pad and divisor_override is None
    beyond = any(a > p for a, p in zip(after, padding, strict=True))
    if count_include_pad and beyond and divisor_override is None:  # of TensorRT's padding either all counts or none
        images = pad(images, [end for p in as_sides(padding, 0)[::-1] for end in (p, p)])
        after = [max(0, a - p) for a, p in zip(after, padding, strict=True)]
        padding, excludes = (0,) * n, True
    kind = images.graph.trt.PoolingType.AVERAGE
    result = emit_pooling(images, kind, kernel, shape, stride, padding, after, average_count_excludes_padding=excludes)
    return undo(result if divisor_override is None else mul(result, math.prod(kernel) / divisor_override))


def _lp_pool(
    n: int,
    what: str,
    input: Tensor,
    norm_type: float,
    kernel_size: Sides,
    stride: Sides | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """Return (sum of x^p in each window)^(1/p), as torch's ``lp_pool1d``, ``lp_pool2d`` and ``lp_pool3d``.

    It is carried in fp32. As in torch the elements keep their signs, and the root of a negative sum is
    NaN. Shapes, arguments and errors are those of :func:`avg_pool2d`.

    Args:
        norm_type: p.
    """
    kernel = ntuple(kernel_size, n, "kernel_size")
    expect_finite(what, norm_type=norm_type)
    if norm_type == 0:
        raise ArgumentError(f"{what} takes a norm_type that is not 0, of which there is no root")
    powers = pow(wide(input), norm_type)
    total = mul(_avg_pool(n, what, powers, kernel, stride, 0, ceil_mode), math.prod(kernel))
    return cast(pow(total, 1 / norm_type), input.dtype)


def _adaptive_avg_pool(
    n: int, what: str, input: Tensor, output_size: Length | Sequence[Length | None] | None
) -> Tensor:
    """Return the means of a fixed number of windows, as torch's ``adaptive_avg_pool1d``, ``2d`` and ``3d``.

    Window i of ``size`` goes from floor(i · length / size) to ceil((i + 1) · length / size). Where all windows are
    alike this is a pooling, and else a product with a matrix for each side.

    Args:
        input: (batch, channels, *sides), floating; the batch may be missing.
        output_size: the number of windows along each side, or one number for all; None keeps a length.

    Returns:
        (batch, channels, *output_size).

    Raises:
        ShapeError: the input has another number of dimensions.
        DTypeError: the input holds no fractions.
        ArgumentError: output_size is not a number for each side.
        UnsupportedError: a dynamic length becomes another one than 1.
    """
    expect_sides(input, n, what)
    expect_floating(input, what)
    sizes = output_sides(n, output_size, input)
    if all(same(size, 1) for size in sizes):
        return mean(input, tuple(range(-n, 0)), True)
    input = dynamic_to_one(what, input, sizes, mean)
    if regular := regular_windows(input.shape[-n:], sizes):
        return _avg_pool(n, what, input, *regular)
    for axis, size in zip(range(-n, 0), sizes, strict=True):
        length = input.shape[axis]
        if same(length, size):
            continue
        start, end = adaptive_windows(length, size)
        place = np.arange(length)[:, None]
        weights = np.float32(((place >= start) & (place < end)) / (end - start))
        if axis == -1:
            input = matmul(input, weights)
        else:  # from the left, with all that lies behind as columns: nothing has to be moved
            after = input.shape[axis + 1 :]
            input = unflatten(matmul(weights.T, flatten(input, axis + 1)), -1, after)
    return input


SIDES = (1, 2, 3)
avg_pool1d, avg_pool2d, avg_pool3d = each_of(SIDES, _avg_pool, "avg_pool{}d")
lp_pool1d, lp_pool2d, lp_pool3d = each_of(SIDES, _lp_pool, "lp_pool{}d")
adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = each_of(
    SIDES, _adaptive_avg_pool, "adaptive_avg_pool{}d"
)
