"""Pooling."""

from __future__ import annotations

from collections.abc import Sequence

from trtnn.errors import ArgumentError, ShapeError, UnsupportedError
from trtnn.ops.arguments import expect_ndim, pair
from trtnn.symbolic import Size, ceil_divide
from trtnn.tensor import Tensor


def max_pool2d(
    input: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """The maximum of each window, as ``torch.nn.functional.max_pool2d``.

    Args:
        input: (batch, channels, height, width).
        stride: kernel_size where None.
        padding: at most half of kernel_size; padded places never win.

    Returns:
        (batch, channels, H, W), H = floor or ceil((height + 2·padding - kernel) / stride) + 1; with ``ceil_mode`` less
        a window that would start beyond the input and its left padding.

    Raises:
        UnsupportedError: dilation above 1.
    """
    expect_ndim(input, (4,), "max_pool2d", "(batch, channels, height, width)")
    kernel, padding = pair(kernel_size, "kernel_size"), pair(padding, "padding")
    stride = kernel if stride is None else pair(stride, "stride")
    if pair(dilation, "dilation") != (1, 1):
        raise UnsupportedError(f"max_pool2d with dilation {dilation}", "TensorRT's pooling has no dilation")
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise ArgumentError("padding is at most half of kernel_size", f"received {padding} for {kernel}")
    batch, channels, *lengths = input.shape
    after, counts = [], []
    for length, k, s, p in zip(lengths, kernel, stride, padding, strict=True):
        room = length + 2 * p - k
        windows = (ceil_divide(room, s) if ceil_mode else room // s) + 1
        if ceil_mode and (windows - 1) * s >= length + p:
            windows -= 1
        if windows < 1:
            raise ShapeError(
                f"max_pool2d in {input.graph.where}: the window {kernel} is larger than its input",
                f"received an input of shape {input.shape}, padding {padding}",
            )
        # As much padding at the end as the last window needs: then TensorRT, rounding down, counts the same.
        needed = (windows - 1) * s + k - length - p
        if isinstance(needed, Size):
            if ceil_mode:
                raise UnsupportedError(
                    f"max_pool2d with ceil_mode over a length of {length}",
                    "the padding at its end would depend on the length",
                    f"a dimension that is a multiple_of {s} may settle it",
                )
            needed = p
        after.append(max(0, needed))
        counts.append(windows)
    return input.graph.emit(
        "pooling_nd",
        input,
        input.graph.trt.PoolingType.MAX,
        kernel,
        out_shape=(batch, channels, *counts),
        stride_nd=stride,
        pre_padding=padding,
        post_padding=tuple(after),
    )
