"""Resizing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from trtnn.errors import ArgumentError, ShapeError, UnsupportedError
from trtnn.ops.arguments import expect_ndim, pair
from trtnn.ops.sizes import shape_tensor
from trtnn.symbolic import Length, is_static
from trtnn.tensor import Tensor


def _resize_scale(length: int, factor: float) -> float:
    """Return a float32 that gives floor(length · factor) in single and double precision, as torch counts in double.

    That is ``factor`` itself or a neighbour: in single precision 100 · 0.29 is 29, and 100 · 0.59 less than 59.
    """
    wanted = math.floor(length * factor)
    if wanted < 1:
        raise ShapeError(f"interpolate by {factor} leaves nothing of a length of {length}")
    scale = np.float32(factor)
    while True:
        found = {math.floor(np.float32(length) * scale), math.floor(length * float(scale))}
        if found == {wanted}:
            return float(scale)
        scale = np.nextafter(scale, np.float32(math.inf if min(found) < wanted else 0))


def _scaled(length: Length, factor: float) -> tuple[Length, float]:
    """Return floor(length · factor), and the scale that TensorRT comes to it by."""
    if isinstance(length, int):
        return math.floor(length * factor), _resize_scale(length, factor)
    share = Fraction(factor)
    if max(share.numerator, share.denominator) > 1 << 10:  # a product with less is exact in single precision
        raise UnsupportedError(
            f"interpolate of a length of {length} by {factor}",
            "by a whole number, or a fraction of a power of 2, it comes out the same at every length",
            "give size= in place of scale_factor=",
        )
    return length * share.numerator // share.denominator, factor


def _target(size: Length | Sequence[Length]) -> tuple[Length, Length]:
    wanted = tuple(size) if isinstance(size, Sequence) else (size, size)
    return wanted if len(wanted) == 2 and not is_static(wanted) else pair(size, "size")


def interpolate(
    input: Tensor,
    size: Length | Sequence[Length] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """Resize the last two dimensions, as ``torch.nn.functional.interpolate``.

    Args:
        input: (batch, channels, height, width).
        size: (H, W) of the output, ints or Sizes; give this or ``scale_factor``.
        scale_factor: H = floor(height · factor).
        mode: ``"nearest"``: source = floor(target / factor); ``"bilinear"``: source = (target + ½) / factor - ½, or
            with ``align_corners`` target · (height - 1) / (H - 1).

    Raises:
        UnsupportedError: another mode of torch's.
    """
    expect_ndim(input, (4,), "interpolate", "(batch, channels, height, width)")
    if (size is None) == (scale_factor is None):
        raise ArgumentError("interpolate takes one of size and scale_factor")
    if mode not in ("nearest", "bilinear"):
        raise UnsupportedError(f"interpolate with mode {mode!r}", "known: 'nearest', 'bilinear'")
    if mode == "nearest" and align_corners is not None:
        raise ArgumentError("align_corners goes with mode='bilinear'")
    trt = input.graph.trt
    if mode == "nearest":
        how = {
            "resize_mode": trt.InterpolationMode.NEAREST,
            "coordinate_transformation": trt.ResizeCoordinateTransformation.ASYMMETRIC,
            "nearest_rounding": trt.ResizeRoundMode.FLOOR,
        }
    else:
        transformation = "ALIGN_CORNERS" if align_corners else "HALF_PIXEL"
        how = {
            "resize_mode": trt.InterpolationMode.LINEAR,
            "coordinate_transformation": getattr(trt.ResizeCoordinateTransformation, transformation),
        }
    set_inputs = None
    if size is not None:
        shape = input.shape[:2] + _target(size)
        if is_static(shape):
            how["shape"] = shape
        else:
            set_inputs = {1: shape_tensor(input.graph, shape)}
    else:
        factors = (scale_factor,) * 2 if isinstance(scale_factor, (int, float)) else tuple(scale_factor)
        if len(factors) != 2:
            raise ArgumentError(f"scale_factor takes a number or two, not {scale_factor!r}")
        lengths, scales = zip(
            *(_scaled(n, float(f)) for n, f in zip(input.shape[2:], factors, strict=True)), strict=True
        )
        shape = input.shape[:2] + lengths
        how["scales"] = (1.0, 1.0, *scales)
    return input.graph.emit("resize", input, out_shape=shape, set_inputs=set_inputs, **how)
