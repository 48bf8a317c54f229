"""The windows of poolings: how many there are, what they need at the end, and the layer over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from trtnn.errors import ArgumentError, ShapeError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Sides, ntuple
from trtnn.ops._spatial import as_sides
from trtnn.ops.indexing import cut
from trtnn.shapes.symbolic import Length, Size, bounds, ceil_divide, is_static, ranges, same, same_shape, sym_min


def window(
    n: int, kernel_size: Length | Sequence[Length], stride: Length | Sequence[Length] | None, padding: Sides
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return the kernel, the stride and the padding of a pooling over ``n`` sides.

    Raises:
        ArgumentError: padding is more than half of the kernel, or one of them is not an int or ``n`` of them.
    """
    kernel, padding = ntuple(kernel_size, n, "kernel_size"), ntuple(padding, n, "padding")
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise ArgumentError("padding is at most half of kernel_size", f"received {padding} for {kernel}")
    return kernel, kernel if stride is None or stride in ((), []) else ntuple(stride, n, "stride"), padding


def over_whole_sides(
    n: int,
    what: str,
    input: Tensor,
    kernel_size: Length | Sequence[Length],
    stride: Length | Sequence[Length] | None,
    padding: Sides,
    reduce: Callable[[Tensor, int, bool], Tensor],
) -> tuple[Tensor, Length | Sequence[Length], Length | Sequence[Length] | None]:
    """Reduce the sides of a dynamic length that a window is as long as, which is how ``x.shape[2:]`` pools all of them.

    Args:
        reduce: takes the input, a dimension, and True to keep it.

    Returns:
        The input, and the kernel and the stride of the pooling that is left, which are 1 along such a side.

    Raises:
        UnsupportedError: a window is of a dynamic length, and not over a whole side.
        ArgumentError: the stride has another number of steps.
    """
    kernel = _for_each_side(kernel_size, n)
    if len(kernel) != n or not any(isinstance(k, Size) for k in kernel):
        return input, kernel_size, stride
    steps = _for_each_side(None if stride in ((), []) else stride, n)
    if len(steps) != n:
        ntuple(steps, n, "stride")  # says how many it takes
    for i, (k, p) in enumerate(zip(kernel, ntuple(padding, n, "padding"), strict=True)):
        if not isinstance(k, Size):
            continue
        if p or not same(k, input.shape[i - n]):
            raise UnsupportedError(
                f"{what} of windows of {k} over a length of {input.shape[i - n]} in {input.graph.where}",
                f"an engine is built for one: {ranges([k])}",
                "a window of the whole length, without padding, takes any",
            )
        input = reduce(input, i - n, True)
        kernel[i] = steps[i] = 1
    return input, kernel, [k if s is None else s for k, s in zip(kernel, steps, strict=True)]


def _for_each_side(value: Any, n: int) -> list[Any]:
    """Return a value for each of ``n`` sides, a lone one for all; other numbers of them stay as they are."""
    values = list(value) if isinstance(value, Sequence) else [value]
    return values * n if len(values) == 1 else values


def kernel_within(
    images: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> tuple[int, ...]:
    """Return the kernel of a pooling with ``ceil_mode``, no longer than a side that its only window reaches beyond.

    TensorRT refuses windows of many elements, and those beyond the input are none.
    """
    sides = zip(images.shape[2:], kernel, stride, padding, strict=False)
    return tuple(n if not isinstance(n, Size) and p == 0 and n < k < n + s else k for n, k, s, p in sides)


def padding_after(
    images: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], ceil_mode: bool, what: str
) -> tuple[tuple[int, ...], tuple[Length, ...]]:
    """Return the padding at the end that the last window needs, and the shape of the result.

    With that padding TensorRT, which rounds down, counts as many windows as torch does. Where with ``ceil_mode`` it
    would depend on a dynamic length, the padding is as much as is ever needed; what this makes of windows that start
    beyond the input and its left padding, :func:`emit_pooling` cuts off.

    Raises:
        ShapeError: no window fits.
    """
    after, counts = [], []
    for length, k, s, p in zip(images.shape[2:], kernel, stride, padding, strict=False):
        room = length + 2 * p - k
        windows = (sym_min(ceil_divide(room, s), (length + p - 1) // s) if ceil_mode else room // s) + 1
        needed = (windows - 1) * s + k - length - p
        if windows < 1:
            raise ShapeError(
                f"{what} in {images.graph.where}: the window {kernel} is larger than its input",
                f"received an input of shape {images.shape[: 2 + len(kernel)]}, padding {padding}",
            )
        after.append(max(0, bounds(needed)[1]) if ceil_mode else p if isinstance(needed, Size) else max(0, needed))
        counts.append(windows)
    return tuple(after), (*images.shape[:2], *as_sides(counts, 1))


def emit_pooling(
    images: Tensor,
    kind: Any,
    kernel: Sequence[int],
    shape: Sequence[Length],
    stride: Sequence[int],
    padding: Sequence[int],
    after: Sequence[int],
    **attributes: Any,
) -> Tensor:
    """Add a pooling layer, and cut its output to ``shape``.

    Args:
        images: (batch, channels, height, width) or with a depth, as :func:`as_images` gives them.
        kind: a member of TensorRT's PoolingType.
        kernel, stride, padding, after: for one, two or three sides; padding stands in front, ``after`` at the end.
    """
    ends = zip(images.shape[2:], as_sides(padding, 0), as_sides(after, 0), as_sides(kernel, 1), strict=True)
    counts = [(n + p + a - k) // s + 1 for (n, p, a, k), s in zip(ends, as_sides(stride, 1), strict=True)]
    whole = images.graph.emit(
        "pooling_nd",
        images,
        kind,
        as_sides(kernel, 1),
        out_shape=(*images.shape[:2], *counts),
        stride_nd=as_sides(stride, 1),
        pre_padding=as_sides(padding, 0),
        post_padding=as_sides(after, 0),
        **attributes,
    )
    return whole if same_shape(whole.shape, shape) else cut(whole, (0,) * whole.ndim, shape, (1,) * whole.ndim)


def adaptive_windows(length: Length, count: Length) -> tuple[np.ndarray, np.ndarray]:
    """Return where each of ``count`` windows that cover a length begins and ends: (count,) and (count,).

    Raises:
        ShapeError: either is known only when the network runs.
    """
    length, numbers = int(length), np.arange(int(count))
    count = len(numbers)
    return numbers * length // count, -(-(numbers + 1) * length // count)


def output_sides(n: int, output_size: Length | Sequence[Length | None] | None, input: Tensor) -> list[Length]:
    """Return the lengths of ``n`` sides that an adaptive pooling is asked for; None keeps one.

    Raises:
        ArgumentError: they are not ``n``, or one is below 1.
    """
    sizes = tuple(output_size) if isinstance(output_size, Sequence) else (output_size,) * n
    if len(sizes) != n:
        raise ArgumentError(f"output_size takes {n} lengths, not {sizes}")
    ntuple([1 if size is None or isinstance(size, Size) else size for size in sizes], n, "output_size")
    return [length if size is None else size for size, length in zip(sizes, input.shape[-n:], strict=True)]


def dynamic_to_one(
    what: str, input: Tensor, sizes: Sequence[Length], reduce: Callable[[Tensor, int, bool], Tensor]
) -> Tensor:
    """Reduce the dynamic lengths of an input that are to become 1.

    Args:
        sizes: what the last dimensions become.
        reduce: takes the input, a dimension, and True to keep it.

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


def regular_windows(lengths: Sequence[Length], sizes: Sequence[Length]) -> tuple[list[int], list[int]] | None:
    """Return the kernel and the stride of windows that are all alike, or None where they are not."""
    kernel, stride = [], []
    for length, size in zip(lengths, sizes, strict=True):
        if same(length, size):
            kernel.append(1)
            stride.append(1)
            continue
        start, end = adaptive_windows(length, size)
        widths, steps = set(end - start), set(np.diff(start))
        if len(widths) > 1 or len(steps) > 1 or 0 in steps:
            return None
        kernel.append(int(widths.pop()))
        stride.append(int(steps.pop()) if steps else kernel[-1])
    return kernel, stride
