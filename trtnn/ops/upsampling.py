"""Resizing under the names that torch had for it before ``interpolate``."""

from __future__ import annotations

from collections.abc import Sequence

from trtnn.graph.tensor import Tensor
from trtnn.ops.resizing import interpolate
from trtnn.shapes.symbolic import Length


def upsample(
    input: Tensor,
    size: Length | Sequence[Length] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """Resize as :func:`interpolate`."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(
    input: Tensor, size: Length | Sequence[Length] | None = None, scale_factor: float | Sequence[float] | None = None
) -> Tensor:
    """Resize as :func:`interpolate` with mode ``"nearest"``."""
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(
    input: Tensor, size: Length | Sequence[Length] | None = None, scale_factor: float | Sequence[float] | None = None
) -> Tensor:
    """Resize as :func:`interpolate` with mode ``"bilinear"`` and ``align_corners``."""
    return interpolate(input, size, scale_factor, "bilinear", True)
