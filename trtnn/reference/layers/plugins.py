"""Layers that are plugins of trtnn's own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch.nn import functional as F

from trtnn.errors import UnsupportedError
from trtnn.plugins.dcnv2.kernel import MASKS
from trtnn.reference.layers.common import Function, weights_of
from trtnn.reference.registry import plugin


@plugin("dcnv2")
def dcnv2(fields: Mapping[str, np.ndarray]) -> Function:
    """Return the plugin's function: gather the four neighbours of each place, weigh them, multiply.

    Places and samples are in fp32; samples are rounded to the type of x, as the kernel rounds them for its product.
    """
    ints = {name: array.tolist() for name, array in fields.items() if array.dtype.kind == "i"}
    (out_channels,), (groups,), (parts,) = (ints[name] for name in ("out_channels", "groups", "offset_groups"))
    kernel = ints["kernel_size"]
    weight, bias = weights_of(fields["weight"], (out_channels, -1, 1, 1)), weights_of(fields.get("bias"))
    if weight is None:
        raise UnsupportedError("the reference knows dcnv2 with a weight", "there is none in this layer")
    taps = kernel[0] * kernel[1]
    slots = parts * taps

    def compute(x: torch.Tensor, *maps: torch.Tensor) -> torch.Tensor:
        if ints["combined"][0]:
            maps = maps[0].split((2 * slots, maps[0].shape[1] - 2 * slots), 1)
        offset, *rest = (value.float() for value in maps)
        batch, channels, height, width = x.shape
        rows, columns = offset.shape[2:]
        moved = offset.view(batch, parts, taps, 2, rows, columns)
        weigh = torch.ones_like(moved[:, :, :, 0])
        if rest:
            weigh = rest[0].sigmoid() if ints["mask"][0] == MASKS["logits"] else rest[0]
            weigh = weigh.view(batch, parts, taps, rows, columns)
        tap = torch.stack(torch.meshgrid(*map(torch.arange, kernel), indexing="ij")).view(2, taps, 1, 1)
        first = [tap[i] * ints["dilation"][i] - ints["padding"][i] for i in (0, 1)]
        y = moved[:, :, :, 0] + (first[0] + torch.arange(rows).view(rows, 1) * ints["stride"][0])
        x_at = moved[:, :, :, 1] + (first[1] + torch.arange(columns) * ints["stride"][1])

        planes = x.float().reshape(batch, parts, channels // parts, height * width)
        sampled = torch.zeros(batch, parts, channels // parts, taps * rows * columns)
        for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
            row, column = y.floor() + down, x_at.floor() + right
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)  # no place that is not a number
            share = torch.where(inside, (1 - (y - row).abs()) * (1 - (x_at - column).abs()) * weigh, 0)
            place = torch.where(inside, row * width + column, 0).long().view(batch, parts, 1, -1)
            sampled += planes.gather(3, place.expand(-1, -1, channels // parts, -1)) * share.view(batch, parts, 1, -1)
        gathered = sampled.to(x.dtype).float().view(batch, channels * taps, rows, columns)
        return F.conv2d(gathered, weight, bias, groups=groups).to(x.dtype)

    return compute
