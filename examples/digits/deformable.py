"""Deformable convolution in torch: torchvision's operator where it is installed, else the same in torch alone."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def sampled_deform_conv2d(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    mask: Tensor | None = None,
) -> Tensor:
    """``torchvision.ops.deform_conv2d``, its gradients too, by sampling the picture at each tap's place.

    Args:
        x: (batch, channels, height, width).
        offset: (batch, offset_groups · taps · 2, rows, columns), y and x of each tap in pixels.
        weight: (out_channels, channels / groups, kernel height, kernel width).
        bias: (out_channels,).
        mask: (batch, offset_groups · taps, rows, columns).

    Returns:
        (batch, out_channels, rows, columns).
    """
    batch, channels, height, width = x.shape
    rows, columns = offset.shape[2:]
    out_channels, per_group, *kernel = weight.shape
    taps = kernel[0] * kernel[1]
    parts = offset.shape[1] // (2 * taps)  # the offset groups
    moved = offset.reshape(batch * parts, taps, 2, rows, columns)
    tap_y, tap_x = torch.meshgrid(*(torch.arange(k, device=x.device) for k in kernel), indexing="ij")
    row, column = (torch.arange(n, device=x.device) for n in (rows, columns))
    top = tap_y.reshape(-1, 1, 1) * dilation[0] - padding[0] + row[:, None] * stride[0]
    left = tap_x.reshape(-1, 1, 1) * dilation[1] - padding[1] + column * stride[1]
    # grid_sample measures from -1 to 1, between the outer edges of the outermost pixels.
    places = ((2 * (left + moved[:, :, 1]) + 1) / width - 1, (2 * (top + moved[:, :, 0]) + 1) / height - 1)
    grid = torch.stack(places, -1).reshape(batch * parts, taps * rows, columns, 2).to(x.dtype)
    planes = x.reshape(batch * parts, channels // parts, height, width)
    sampled = functional.grid_sample(planes, grid, align_corners=False)
    if mask is not None:
        sampled = sampled * mask.reshape(batch * parts, 1, taps * rows, columns)
    sampled = sampled.reshape(batch, channels * taps, rows, columns)
    return functional.conv2d(
        sampled, weight.reshape(out_channels, per_group * taps, 1, 1), bias, groups=channels // per_group
    )


try:
    from torchvision.ops import deform_conv2d
except (ImportError, RuntimeError):  # it is not there, or was built for another torch
    deform_conv2d = sampled_deform_conv2d
