"""A slow and clear definition of the deformable convolution, in torch: what the kernel is compared with."""

from __future__ import annotations

import torch


def deform_conv2d(x, offset, weight, bias=None, stride=1, padding=0, dilation=1, mask=None, groups=1, offset_groups=1):
    """``torchvision.ops.deform_conv2d`` by its definition, in fp64: gather four neighbours, weigh, multiply."""
    x, offset, weight = x.double(), offset.double(), weight.double()
    batch, channels, height, width = x.shape
    outputs, _, kernel_h, kernel_w = weight.shape
    (sy, sx), (py, px), (dy, dx) = ((v, v) if isinstance(v, int) else v for v in (stride, padding, dilation))
    out_h, out_w = offset.shape[2:]
    taps = kernel_h * kernel_w
    offset = offset.reshape(batch, offset_groups, taps, 2, out_h, out_w)
    mask = torch.ones_like(offset[:, :, :, 0]) if mask is None else mask.double().reshape(offset[:, :, :, 0].shape)
    tap = torch.arange(taps)
    y = (tap // kernel_w * dy - py)[:, None, None] + (torch.arange(out_h) * sy)[None, :, None] + offset[:, :, :, 0]
    x_at = (tap % kernel_w * dx - px)[:, None, None] + (torch.arange(out_w) * sx)[None, None, :] + offset[:, :, :, 1]

    per_offset = channels // offset_groups
    planes = x.reshape(batch, offset_groups, per_offset, height * width)
    sampled = torch.zeros(batch, offset_groups, per_offset, taps, out_h, out_w, dtype=torch.float64)
    for corner_y in (0, 1):
        for corner_x in (0, 1):
            row, column = y.floor() + corner_y, x_at.floor() + corner_x
            weigh = (1 - (y - row).abs()) * (1 - (x_at - column).abs()) * mask
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            place = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).long()
            place = place.reshape(batch, offset_groups, 1, -1).expand(-1, -1, per_offset, -1)
            values = planes.gather(3, place).reshape(sampled.shape)
            sampled += values * torch.where(inside, weigh, 0.0)[:, :, None]
    columns = sampled.reshape(batch, groups, channels // groups * taps, out_h * out_w)
    kernel = weight.reshape(groups, outputs // groups, channels // groups * taps)
    output = torch.einsum("gok,bgkp->bgop", kernel, columns).reshape(batch, outputs, out_h, out_w)
    return output if bias is None else output + bias.double()[:, None, None]
