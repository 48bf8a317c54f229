"""Parts of images that boxes name, each sampled to one size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trtnn.dtypes import float32
from trtnn.errors import ShapeError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import expect_floating, expect_ndim, ntuple
from trtnn.ops._promotion import cast, expect_one_type
from trtnn.ops.arithmetic import add, clamp, maximum, mul, sub
from trtnn.ops.comparison import ge, le, logical_and, where
from trtnn.ops.division import div
from trtnn.ops.indexing import narrow
from trtnn.ops.joining import cat, stack
from trtnn.ops.reduction import mean
from trtnn.ops.sampling import grid_sample
from trtnn.ops.shaping import permute, reshape, transpose, unsqueeze
from trtnn.ops.tiling import expand
from trtnn.shapes.symbolic import Length


def roi_align(
    input: Tensor,
    boxes: Tensor | Sequence[Tensor],
    output_size: int | Sequence[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """Return what lies within boxes, each averaged to bins of one number, as ``torchvision.ops.roi_align``.

    Each bin is the mean of sampling_ratio by sampling_ratio places in it, read by bilinear interpolation; what lies
    more than one element outside is 0, and nearer to the edge it is the edge (https://arxiv.org/abs/1703.06870). Places
    and samples are computed in fp32.

    Args:
        input: (batch, channels, height, width).
        boxes: (boxes, 5), the index of an image and x1, y1, x2, y2; or for each image a Tensor of (boxes, 4).
        output_size: how many bins there are down and across.
        spatial_scale: what coordinates are multiplied by.
        sampling_ratio: from 1 on.
        aligned: whether coordinates are shifted by half an element, so that the first element's middle is 0.5.

    Returns:
        (boxes, channels, *output_size).

    Raises:
        UnsupportedError: no ``sampling_ratio``; torchvision then takes it from each box.
    """
    if sampling_ratio < 1:
        raise UnsupportedError(
            f"roi_align with sampling_ratio={sampling_ratio}",
            "how many samples a box takes then depends on its size, known only when the engine runs",
            "give a number from 1 on; 2 is usual",
        )
    expect_ndim(input, (4,), "roi_align", "(batch, channels, height, width)")
    expect_floating(input, "roi_align")
    rows = _boxes(input, boxes)
    down, across = ntuple(output_size, 2, "output_size")
    batch, channels, height, width = input.shape
    offset = 0.5 if aligned else 0.0
    corners = sub(mul(narrow(rows, 1, 1, 4), float(spatial_scale)), offset)
    lines = []
    for at, bins, length in ((1, down, height), (0, across, width)):
        start, end = (narrow(corners, 1, i, 1) for i in (at, at + 2))
        size = sub(end, start)
        size = size if aligned else maximum(size, 1.0)
        share = (np.arange(bins * sampling_ratio) + 0.5) / (bins * sampling_ratio)
        places = add(start, mul(size, np.float32(share)))
        inside = logical_and(ge(places, -1.0), le(places, length))
        lines.append((clamp(places, 0.0, length - 1), inside))
    (y, y_inside), (x, x_inside) = lines
    y = add(y, mul(narrow(rows, 1, 0, 1), height))  # the images stand below one another
    image = cast(reshape(transpose(input, 0, 1), (1, channels, batch * height, width)), float32)
    count = rows.shape[0]
    shape = (count, down * sampling_ratio, across * sampling_ratio)
    grid = stack(
        [expand(unsqueeze(_normal(x, width), 1), shape), expand(unsqueeze(_normal(y, batch * height), 2), shape)], -1
    )
    sampled = grid_sample(
        image, reshape(grid, (1, count * shape[1], shape[2], 2)), padding_mode="border", align_corners=True
    )
    inside = logical_and(unsqueeze(y_inside, 2), unsqueeze(x_inside, 1))
    sampled = where(reshape(inside, (1, 1, count * shape[1], shape[2])), sampled, 0.0)
    bins = reshape(sampled, (channels, count, down, sampling_ratio, across, sampling_ratio))
    return cast(permute(mean(bins, (3, 5)), 1, 0, 2, 3), input.dtype)


def _boxes(input: Tensor, boxes: Tensor | Sequence[Tensor]) -> Tensor:
    """Return boxes as (boxes, 5), in fp32."""
    if isinstance(boxes, Tensor):
        if boxes.ndim != 2 or boxes.shape[1] != 5:
            raise ShapeError(f"roi_align in {input.graph.where} takes boxes of (boxes, 5), not {boxes.shape}")
        parts = [boxes]
    else:
        for each in boxes:
            if each.ndim != 2 or each.shape[1] != 4:
                raise ShapeError(
                    f"roi_align in {input.graph.where} takes boxes of (boxes, 4) for each image, not {each.shape}"
                )
        parts = list(boxes)
    for part in parts:
        expect_one_type("roi_align", input, part)
    wide = [cast(part, float32) for part in parts]
    if isinstance(boxes, Tensor):
        return wide[0]
    numbered = [
        cat([expand(part.graph.constant(np.full((1, 1), i), float32), (part.shape[0], 1)), part], 1)
        for i, part in enumerate(wide)
    ]
    return cat(numbered, 0)


def _normal(places: Tensor, length: Length) -> Tensor:
    """Return places as grid_sample takes them, from -1 at the first to 1 at the last."""
    if isinstance(length, int) and length == 1:
        return mul(places, 0.0)
    return sub(div(mul(places, 2.0), length - 1), 1.0)
