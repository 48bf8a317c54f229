"""Sampling at places that a tensor names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trtnn.errors import ArgumentError, ShapeError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import expect_floating
from trtnn.ops._promotion import promote
from trtnn.ops.matrix import matmul
from trtnn.ops.shaping import reshape, transpose
from trtnn.shapes.symbolic import Length, same_shape

# Of torch's names, those of TensorRT.
SAMPLE_MODES = {"bilinear": "LINEAR", "nearest": "NEAREST", "bicubic": "CUBIC"}
SAMPLE_PADDING = {"zeros": "FILL", "border": "CLAMP", "reflection": "REFLECT"}


def grid_sample(
    input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Tensor:
    """Return the input at the places of a grid, as ``torch.nn.functional.grid_sample``.

    Args:
        input: (batch, channels, height, width), or (batch, channels, depth, height, width), which TensorRT 8.6 refuses.
        grid: (batch, H, W, 2) of x and y from -1 to 1, from edge to edge, or (batch, D, H, W, 3) of x, y and z.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: what lies outside: ``"zeros"``, ``"border"`` or ``"reflection"``.
        align_corners: whether -1 and 1 are the centres of the outer elements, else their edges.

    Returns:
        (batch, channels, H, W), or (batch, channels, D, H, W).

    Raises:
        ShapeError: input and grid do not fit together.
        ArgumentError: another ``mode`` or ``padding_mode``, or ``"bicubic"`` of volumes.
        DTypeError: the input holds no fractions.
    """
    for value, modes in ((mode, SAMPLE_MODES), (padding_mode, SAMPLE_PADDING)):
        if value not in modes:
            raise ArgumentError(f"grid_sample knows no {value!r}", f"known: {', '.join(modes)}")
    expect_floating(input, "grid_sample")
    n = input.ndim - 2
    if n not in (2, 3) or grid.ndim != n + 2 or not same_shape((grid.shape[0], grid.shape[-1]), (input.shape[0], n)):
        raise ShapeError(
            f"grid_sample in {input.graph.where} takes (batch, channels, height, width) and (batch, H, W, 2), "
            "or with a depth and 3",
            f"received {input.shape} and {grid.shape}",
        )
    if n == 3 and mode == "bicubic":
        raise ArgumentError("grid_sample by 'bicubic' takes images, not volumes", "torch has none either")
    image, grid = promote(input, grid)
    return image.graph.emit(
        "grid_sample",
        image,
        grid,
        out_shape=(*image.shape[:2], *grid.shape[1:-1]),
        interpolation_mode=getattr(image.graph.trt.InterpolationMode, SAMPLE_MODES[mode]),
        sample_mode=getattr(image.graph.trt.SampleMode, SAMPLE_PADDING[padding_mode]),
        align_corners=bool(align_corners),
    )


def affine_grid(theta: Tensor, size: Sequence[Length], align_corners: bool | None = None) -> Tensor:
    """Return the grid of an affine map for :func:`grid_sample`, as ``torch.nn.functional.affine_grid``.

    Args:
        theta: (batch, 2, 3), or (batch, 3, 4) for volumes.
        size: (batch, channels, H, W), or with a depth before the height.

    Returns:
        (batch, H, W, 2), or (batch, D, H, W, 3).

    Raises:
        ShapeError: ``theta`` does not fit ``size``.
    """
    sides = tuple(size[2:])
    n = len(sides)
    if n not in (2, 3) or not same_shape(theta.shape, (size[0], n, n + 1)):
        raise ShapeError(f"affine_grid in {theta.graph.where}: theta {theta.shape} does not fit size {tuple(size)}")
    axes = [np.linspace(-1, 1, k) * (1 if align_corners else (k - 1) / k) if k > 1 else np.zeros(1) for k in sides]
    places = np.stack([*np.meshgrid(*axes, indexing="ij")[::-1], np.ones(sides)], -1)  # x first, then 1
    points = matmul(places.reshape(1, -1, n + 1).astype(np.float32), transpose(theta, 1, 2))
    return reshape(points, (size[0], *sides, n))
