"""Convolution and its transpose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trtnn.errors import ArgumentError, ShapeError, UnsupportedError
from trtnn.ops.arguments import (
    Array,
    expect_channels,
    expect_floating,
    expect_ndim,
    optional_weights,
    pair,
    shape_of_weights,
    windows,
)
from trtnn.tensor import Tensor


def conv2d(
    input: Tensor,
    weight: Array,
    bias: Array | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """2-D cross-correlation, as ``torch.nn.functional.conv2d``.

    Args:
        input: (batch, in_channels, height, width).
        weight: (out_channels, in_channels / groups, kernel height, kernel width).
        bias: (out_channels,).
        padding: zeros on each side, or ``"valid"`` or ``"same"`` (stride 1 only; an odd zero goes to the end).

    Returns:
        (batch, out_channels, H, W), H = floor((height + 2·padding - dilation·(kernel - 1) - 1) / stride) + 1.

    Raises:
        ShapeError: input and weight do not fit together.
    """
    out_channels, in_channels, *kernel = shape_of_weights(weight, 4, "the weight of conv2d")
    expect_ndim(input, (4,), "conv2d", "(batch, channels, height, width)")
    expect_floating(input, "conv2d")
    expect_channels(input, in_channels * groups, "conv2d")
    if out_channels % groups:
        raise ShapeError(f"conv2d in {input.graph.where}: {out_channels} output channels in {groups} groups")
    stride, dilation = pair(stride, "stride"), pair(dilation, "dilation")
    if padding == "same":
        if stride != (1, 1):
            raise ArgumentError("padding='same' takes stride 1", f"received stride {stride}")
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        before, after = [t // 2 for t in total], [t - t // 2 for t in total]
    else:
        before = after = (0, 0) if padding == "valid" else pair(padding, "padding")
    batch, _, *lengths = input.shape
    sides = zip(lengths, kernel, stride, map(sum, zip(before, after, strict=True)), dilation, strict=True)
    return input.graph.emit(
        "convolution_nd",
        input,
        out_channels,
        tuple(kernel),
        input.graph.array(weight, input.dtype),
        optional_weights(input, bias),
        out_shape=(batch, out_channels, *(windows(*side) for side in sides)),
        stride_nd=stride,
        dilation_nd=dilation,
        pre_padding=tuple(before),
        post_padding=tuple(after),
        num_groups=groups,
    )


def conv_transpose2d(
    input: Tensor,
    weight: Array,
    bias: Array | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> Tensor:
    """2-D transposed convolution, as ``torch.nn.functional.conv_transpose2d``.

    Args:
        input: (batch, in_channels, height, width).
        weight: (in_channels, out_channels / groups, kernel height, kernel width).
        bias: (out_channels,).
        output_padding: extra length at the end of each side, smaller than stride or dilation.

    Returns:
        (batch, out_channels, H, W), H = (height - 1)·stride - 2·padding + dilation·(kernel - 1) + output_padding + 1.

    Raises:
        UnsupportedError: stride and dilation both above 1.
    """
    in_channels, out_per_group, *_ = shape_of_weights(weight, 4, "the weight of conv_transpose2d")
    expect_ndim(input, (4,), "conv_transpose2d", "(batch, channels, height, width)")
    expect_floating(input, "conv_transpose2d")
    expect_channels(input, in_channels, "conv_transpose2d")
    stride, dilation = pair(stride, "stride"), pair(dilation, "dilation")
    padding, output_padding = pair(padding, "padding"), pair(output_padding, "output_padding")
    if any(o >= max(s, d) for o, s, d in zip(output_padding, stride, dilation, strict=True)):
        raise ArgumentError(
            "output_padding must be smaller than stride or dilation",
            f"received output_padding {output_padding}, stride {stride}, dilation {dilation}",
        )
    if max(stride) > 1 and max(dilation) > 1:
        raise UnsupportedError(
            f"conv_transpose2d with stride {stride} and dilation {dilation}",
            "TensorRT takes one of them above 1, not both, not even on different sides",
            "write zeros between the taps of the kernel yourself and use dilation 1",
        )
    kernel = input.graph.array(weight, input.dtype)
    # TensorRT crops by padding and cannot pad at the end, so what output_padding exceeds padding by becomes zero taps.
    extra = [max(0, o - p) for o, p in zip(output_padding, padding, strict=True)]
    if any(extra):
        taps = [-(-e // d) for e, d in zip(extra, dilation, strict=True)]
        kernel = input.graph.array(np.pad(kernel, [(0, 0), (0, 0), (0, taps[0]), (0, taps[1])]), input.dtype)
        extra = [t * d for t, d in zip(taps, dilation, strict=True)]
    after = [p - o + e for p, o, e in zip(padding, output_padding, extra, strict=True)]
    batch, _, *lengths = input.shape
    sides = zip(lengths, stride, padding, after, dilation, kernel.shape[2:], strict=True)
    return input.graph.emit(
        "deconvolution_nd",
        input,
        out_per_group * groups,
        kernel.shape[2:],
        kernel,
        optional_weights(input, bias),
        out_shape=(
            batch,
            out_per_group * groups,
            *((n - 1) * s - begin - end + d * (k - 1) + 1 for n, s, begin, end, d, k in sides),
        ),
        stride_nd=stride,
        dilation_nd=dilation,
        pre_padding=padding,
        post_padding=tuple(after),
        num_groups=groups,
    )
