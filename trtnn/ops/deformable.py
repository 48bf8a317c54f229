"""Deformable convolution, in the layers that every TensorRT has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trtnn.dtypes import float32
from trtnn.errors import ShapeError
from trtnn.ops.arguments import Array, count_windows, expect_floating, expect_ndim, ntuple, shape_of_weights
from trtnn.ops.arithmetic import add, mul
from trtnn.ops.convolution import conv2d
from trtnn.ops.creation import arange
from trtnn.ops.joining import stack
from trtnn.ops.promotion import cast
from trtnn.ops.sampling import grid_sample
from trtnn.ops.shaping import reshape
from trtnn.symbolic import Length, same_shape
from trtnn.tensor import Tensor


def deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Array,
    bias: Array | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    mask: Tensor | None = None,
) -> Tensor:
    """Deformable convolution, as ``torchvision.ops.deform_conv2d``; with a mask its second version.

    Tap k of the output's place p reads the input, by bilinear interpolation with zeros outside, at
    p · stride - padding + k · dilation + offset, and weighs it by the mask (https://arxiv.org/abs/1703.06211,
    https://arxiv.org/abs/1811.11168). Places and samples are computed in fp32: those of fp16 beyond 256 are a quarter
    of a pixel apart.

    Args:
        input: (batch, in_channels, height, width).
        offset: (batch, offset_groups · taps · 2, H, W), y and x of each tap.
        weight: (out_channels, in_channels / groups, kernel height, kernel width).
        bias: (out_channels,).
        mask: (batch, offset_groups · taps, H, W).

    Returns:
        (batch, out_channels, H, W), H = floor((height + 2·padding - dilation·(kernel - 1) - 1) / stride) + 1.

    Raises:
        ShapeError: the weight, the offset or the mask does not fit.
    """
    out_channels, per_group, *kernel = shape_of_weights(weight, 4, "the weight of deform_conv2d")
    for value in (input, offset) if mask is None else (input, offset, mask):
        expect_ndim(value, (4,), "deform_conv2d", "(batch, channels, height, width)")
        expect_floating(value, "deform_conv2d")
    batch, channels, height, width = input.shape
    stride, padding, dilation = (
        ntuple(value, 2, name) for value, name in ((stride, "stride"), (padding, "padding"), (dilation, "dilation"))
    )
    sides = zip((height, width), kernel, stride, (2 * p for p in padding), dilation, strict=True)
    rows, columns = (count_windows(*side) for side in sides)
    taps = kernel[0] * kernel[1]
    groups, offset_groups = channels // per_group, max(offset.shape[1] // (2 * taps), 1)
    where = f"deform_conv2d in {input.graph.where}"
    if channels % per_group or out_channels % groups or channels % offset_groups:
        raise ShapeError(
            f"{where}: the channels do not divide into groups",
            f"received {channels} channels, a weight of {tuple(weight.shape)} and {offset_groups} offset groups",
        )
    for value, name, count in ((offset, "offset", 2), (mask, "mask", 1)):
        expected = (batch, offset_groups * taps * count, rows, columns)
        if value is not None and not same_shape(value.shape, expected):
            raise ShapeError(
                f"{where} got {name} of the wrong shape", f"expected {expected}", f"received {value.shape}"
            )

    moved = reshape(cast(offset, float32), (batch * offset_groups, taps, 2, rows, columns))
    tap = np.stack(np.meshgrid(*map(np.arange, kernel), indexing="ij")).reshape(2, taps, 1, 1)
    y = add(moved[:, :, 0], _places(tap[0], rows, stride[0], padding[0], dilation[0], -2))
    x = add(moved[:, :, 1], _places(tap[1], columns, stride[1], padding[1], dilation[1], -1))
    grid = stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1)
    image = reshape(cast(input, float32), (batch * offset_groups, channels // offset_groups, height, width))
    grid = reshape(grid, (batch * offset_groups, taps * rows, columns, 2))
    sampled = grid_sample(image, grid, align_corners=False)
    if mask is not None:
        sampled = reshape(sampled, (batch * offset_groups, channels // offset_groups, taps, rows, columns))
        sampled = mul(sampled, reshape(cast(mask, float32), (batch * offset_groups, 1, taps, rows, columns)))
    gathered = cast(reshape(sampled, (batch, channels * taps, rows, columns)), input.dtype)
    flat = input.graph.held(weight).reshape(out_channels, per_group * taps, 1, 1)
    return conv2d(gathered, flat, bias, groups=groups)


def _places(tap: np.ndarray, length: Length, stride: int, padding: int, dilation: int, dim: int) -> Tensor | np.ndarray:
    """Return where each tap lies before it is moved, (taps, H, 1) or (taps, 1, W)."""
    first = (tap * dilation - padding).astype(np.float32)
    shape = (length, 1) if dim == -2 else (1, length)
    if isinstance(length, int):
        return first + np.arange(length, dtype=np.float32).reshape(shape) * stride
    return add(reshape(arange(length, dtype=float32), shape) * stride, first)
