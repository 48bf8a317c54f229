"""Pooling."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from trtnn.errors import ArgumentError, ShapeError, UnsupportedError
from trtnn.ops.arguments import each_of, expect_floating, ntuple
from trtnn.ops.arithmetic import mul, pow
from trtnn.ops.indexing import take
from trtnn.ops.matrix import matmul
from trtnn.ops.padding import pad
from trtnn.ops.promotion import cast, wide
from trtnn.ops.reduction import amax, mean
from trtnn.ops.shaping import transpose
from trtnn.ops.spatial import as_images, as_sides, expect_sides
from trtnn.symbolic import Length, Size, ceil_divide, is_static, same
from trtnn.tensor import Tensor

Sides = int | Sequence[int]


def _padding_after(
    images: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], ceil_mode: bool, what: str
) -> tuple[tuple[int, ...], tuple[Length, ...]]:
    """Return the padding at the end that the last window needs, and the shape of the result.

    With that padding TensorRT, which rounds down, counts as many windows as torch does.

    Raises:
        ArgumentError: padding is more than half of the window.
        ShapeError: no window fits.
        UnsupportedError: with ``ceil_mode``, the padding depends on a dynamic length.
    """
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise ArgumentError("padding is at most half of kernel_size", f"received {padding} for {kernel}")
    after, counts = [], []
    for length, k, s, p in zip(images.shape[2:], kernel, stride, padding, strict=False):
        room = length + 2 * p - k
        windows = (ceil_divide(room, s) if ceil_mode else room // s) + 1
        needed = (windows - 1) * s + k - length - p
        if ceil_mode and isinstance(needed, Size):
            raise UnsupportedError(
                f"{what} with ceil_mode over a length of {length}",
                "the padding at its end would depend on the length",
                f"a dimension that is a multiple_of {s} may settle it",
            )
        if ceil_mode and (windows - 1) * s >= length + p:
            windows, needed = windows - 1, needed - s
        if windows < 1:
            raise ShapeError(
                f"{what} in {images.graph.where}: the window {kernel} is larger than its input",
                f"received an input of shape {images.shape[: 2 + len(kernel)]}, padding {padding}",
            )
        after.append(p if isinstance(needed, Size) else max(0, needed))
        counts.append(windows)
    return tuple(after), (*images.shape[:2], *as_sides(counts, 1))


def _emit(
    images: Tensor,
    kind: Any,
    kernel: Sequence[int],
    shape: Sequence[Length],
    stride: Sequence[int],
    padding: Sequence[int],
    after: Sequence[int],
    **attributes: bool,
) -> Tensor:
    """Add the layer; lengths are those of one, two or three sides."""
    return images.graph.emit(
        "pooling_nd",
        images,
        kind,
        as_sides(kernel, 1),
        out_shape=shape,
        stride_nd=as_sides(stride, 1),
        pre_padding=as_sides(padding, 0),
        post_padding=as_sides(after, 0),
        **attributes,
    )


def _max_pool(
    n: int,
    what: str,
    input: Tensor,
    kernel_size: Sides,
    stride: Sides | None = None,
    padding: Sides = 0,
    dilation: Sides = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """The maximum of each window, as ``torch.nn.functional.max_pool1d``, ``max_pool2d`` and ``max_pool3d``.

    Args:
        input: (batch, channels, ..., height, width), the batch may be missing.
        stride: kernel_size where None.
        padding: at most half of kernel_size; padded places never win.

    Returns:
        (batch, channels, ..., H, W), H = floor or ceil((height + 2·padding - kernel) / stride) + 1; with ``ceil_mode``
        less a window that would start beyond the input and its left padding.

    Raises:
        UnsupportedError: dilation above 1, or ``return_indices``.
    """
    if return_indices:
        raise UnsupportedError(f"{what} with return_indices", "TensorRT's pooling gives no indices")
    images, undo = as_images(input, n, what)
    expect_floating(input, what)
    kernel, padding = ntuple(kernel_size, n, "kernel_size"), ntuple(padding, n, "padding")
    stride = kernel if stride is None else ntuple(stride, n, "stride")
    if max(ntuple(dilation, n, "dilation")) > 1:
        raise UnsupportedError(f"{what} with dilation {dilation}", "TensorRT's pooling has no dilation")
    after, shape = _padding_after(images, kernel, stride, padding, ceil_mode, what)
    return undo(_emit(images, images.graph.trt.PoolingType.MAX, kernel, shape, stride, padding, after))


def _avg_pool(
    n: int,
    what: str,
    input: Tensor,
    kernel_size: Sides,
    stride: Sides | None = None,
    padding: Sides = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window, as ``torch.nn.functional.avg_pool1d``, ``avg_pool2d`` and ``avg_pool3d``.

    Args:
        input: (batch, channels, ..., height, width), the batch may be missing.
        stride: kernel_size where None.
        padding: zeros on each side, at most half of kernel_size.
        count_include_pad: whether the padding counts as elements; what ``ceil_mode`` adds at the end never does.
        divisor_override: what to divide the sum of a window by, in place of its number of elements.

    Returns:
        (batch, channels, ..., H, W), as the maximum's.
    """
    images, undo = as_images(input, n, what)
    expect_floating(input, what)
    kernel, padding = ntuple(kernel_size, n, "kernel_size"), ntuple(padding, n, "padding")
    stride = kernel if stride is None else ntuple(stride, n, "stride")
    after, shape = _padding_after(images, kernel, stride, padding, ceil_mode, what)
    if divisor_override == 0:
        raise ArgumentError("divisor_override is not 0")
    excludes = not count_include_pad and divisor_override is None
    beyond = any(a > p for a, p in zip(after, padding, strict=True))
    if count_include_pad and beyond and divisor_override is None:  # of TensorRT's padding either all counts or none
        images = pad(images, [end for p in as_sides(padding, 0)[::-1] for end in (p, p)])
        after = [max(0, a - p) for a, p in zip(after, padding, strict=True)]
        padding, excludes = (0,) * n, True
    kind = images.graph.trt.PoolingType.AVERAGE
    result = _emit(images, kind, kernel, shape, stride, padding, after, average_count_excludes_padding=excludes)
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
    """(sum of x^p in each window)^(1/p), as ``torch.nn.functional.lp_pool1d``, ``lp_pool2d``, ``lp_pool3d``."""
    kernel = ntuple(kernel_size, n, "kernel_size")
    powers = pow(wide(input), norm_type)
    total = mul(_avg_pool(n, what, powers, kernel, stride, 0, ceil_mode), math.prod(kernel))
    return cast(pow(total, 1 / norm_type), input.dtype)


def _windows(length: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where each of ``count`` windows that cover a length begins and ends."""
    numbers = np.arange(count)
    return numbers * length // count, -(-(numbers + 1) * length // count)


def _output_sides(n: int, output_size: Length | Sequence[Length | None] | None, input: Tensor) -> list[Length]:
    given = tuple(output_size) if isinstance(output_size, Sequence) else (output_size,) * n
    ntuple([1 if size is None or isinstance(size, Size) else size for size in given], n, "output_size")
    return [length if size is None else size for size, length in zip(given, input.shape[-n:], strict=True)]


def _dynamic_to_one(
    what: str, input: Tensor, sizes: Sequence[Length], reduce: Callable[[Tensor, int, bool], Tensor]
) -> Tensor:
    """Return an input, the dynamic lengths of which that become 1 have been reduced to that.

    Raises:
        UnsupportedError: a dynamic length becomes another one.
    """
    for axis, size in zip(range(-len(sizes), 0), sizes, strict=True):
        length = input.shape[axis]
        if same(length, size) or is_static((length, size)):
            continue
        if not same(size, 1):
            raise UnsupportedError(
                f"{what} of a length of {length} to {size} in {input.graph.where}",
                "its windows would depend on the length",
                "a size of 1, and None, which keeps the length, do not",
            )
        input = reduce(input, axis, True)
    return input


def _regular(lengths: Sequence[Length], sizes: Sequence[Length]) -> tuple[list[int], list[int]] | None:
    """Return the kernel and the stride of windows that are all alike, or None where they are not."""
    kernel, stride = [], []
    for length, size in zip(lengths, sizes, strict=True):
        if same(length, size):
            kernel.append(1)
            stride.append(1)
            continue
        start, end = _windows(length, size)
        widths, steps = set(end - start), set(np.diff(start))
        if len(widths) > 1 or len(steps) > 1 or 0 in steps:
            return None
        kernel.append(int(widths.pop()))
        stride.append(int(steps.pop()) if steps else kernel[-1])
    return kernel, stride


def _adaptive_avg_pool(n: int, what: str, input: Tensor, output_size: int | Sequence[int | None] | None) -> Tensor:
    """The mean of as many windows as asked, as ``torch.nn.functional.adaptive_avg_pool1d``, ``2d`` and ``3d``.

    Window i of ``size`` goes from floor(i · length / size) to ceil((i + 1) · length / size). Where all are alike this
    is a pooling, and else a product with a matrix for each side.

    Args:
        input: (batch, channels, ..., height, width), the batch may be missing.
        output_size: (..., H, W), or one number for each; None keeps the length.
    """
    expect_sides(input, n, what)
    expect_floating(input, what)
    sizes = _output_sides(n, output_size, input)
    if all(same(size, 1) for size in sizes):
        return mean(input, tuple(range(-n, 0)), True)
    input = _dynamic_to_one(what, input, sizes, mean)
    if regular := _regular(input.shape[-n:], sizes):
        return _avg_pool(n, what, input, *regular)
    for axis, size in zip(range(-n, 0), sizes, strict=True):
        length = input.shape[axis]
        if same(length, size):
            continue
        start, end = _windows(length, size)
        place = np.arange(length)[:, None]
        weights = ((place >= start) & (place < end)) / (end - start)
        input = transpose(matmul(transpose(input, axis, -1), weights.astype(np.float32)), axis, -1)
    return input


def _adaptive_max_pool(
    n: int,
    what: str,
    input: Tensor,
    output_size: int | Sequence[int | None] | None,
    return_indices: bool = False,
) -> Tensor:
    """The maximum of as many windows as asked, as ``torch.nn.functional.adaptive_max_pool1d``, ``2d`` and ``3d``.

    The windows are those of the mean. Where all are alike this is a pooling, and else a gathering for each side.

    Args:
        input: (batch, channels, ..., height, width), the batch may be missing.
        output_size: (..., H, W), or one number for each; None keeps the length.

    Raises:
        UnsupportedError: ``return_indices``.
    """
    if return_indices:
        raise UnsupportedError(f"{what} with return_indices", "TensorRT's pooling gives no indices")
    expect_sides(input, n, what)
    expect_floating(input, what)
    sizes = _output_sides(n, output_size, input)
    if all(same(size, 1) for size in sizes):
        return amax(input, tuple(range(-n, 0)), True)
    input = _dynamic_to_one(what, input, sizes, amax)
    if regular := _regular(input.shape[-n:], sizes):
        return _max_pool(n, what, input, *regular)
    for axis, size in zip(range(input.ndim - n, input.ndim), sizes, strict=True):
        if same(input.shape[axis], size):
            continue
        start, end = _windows(input.shape[axis], size)
        taps = np.minimum(start[:, None] + np.arange(max(end - start)), end[:, None] - 1)
        input = amax(take(input, taps, axis), axis + 1)
    return input


SIDES = (1, 2, 3)
max_pool1d, max_pool2d, max_pool3d = each_of(SIDES, _max_pool, "max_pool{}d")
avg_pool1d, avg_pool2d, avg_pool3d = each_of(SIDES, _avg_pool, "avg_pool{}d")
lp_pool1d, lp_pool2d, lp_pool3d = each_of(SIDES, _lp_pool, "lp_pool{}d")
adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = each_of(
    SIDES, _adaptive_avg_pool, "adaptive_avg_pool{}d"
)
adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = each_of(
    SIDES, _adaptive_max_pool, "adaptive_max_pool{}d"
)
