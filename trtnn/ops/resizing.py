"""Resizing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from trtnn.errors import ArgumentError, ShapeError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.ops._antialias import FILTERS, weights_of
from trtnn.ops._arguments import expect_floating, expect_ndim, ntuple
from trtnn.ops._sizes import shape_tensor
from trtnn.ops._spatial import AXES
from trtnn.ops.indexing import take
from trtnn.ops.matrix import matmul
from trtnn.ops.pooling import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from trtnn.shapes.symbolic import Length, Size, is_static


def _resize_scale(length: int, factor: float) -> float:
    """Return a float32 that gives floor(length · factor) in single and double precision, as torch counts in double.

    That is ``factor`` itself or a neighbour: in single precision 100 · 0.29 is 29, and 100 · 0.59 less than 59.
    """
    wanted = math.floor(length * factor)
    if wanted < 1:
        raise ShapeError(f"interpolate by {factor} leaves nothing of a length of {length}")
    scale = np.float32(factor)
    while True:
        lengths = {math.floor(np.float32(length) * scale), math.floor(length * float(scale))}
        if lengths == {wanted}:
            return float(scale)
        scale = np.nextafter(scale, np.float32(math.inf if min(lengths) < wanted else 0))


def _scaled(length: Length, factor: float) -> tuple[Length, float]:
    """Return floor(length · factor), and the scale that TensorRT comes to it by."""
    if not (math.isfinite(factor) and factor > 0):
        raise ArgumentError(f"a scale_factor is a number above 0, not {factor}")
    if isinstance(length, int):
        if length * factor >= 2**31:
            raise ShapeError(f"interpolate of a length of {length} by {factor}, beyond what a dimension holds")
        return math.floor(length * factor), _resize_scale(length, factor)
    share = Fraction(factor)
    if max(share.numerator, share.denominator) > 1 << 10:  # a product with less is exact in single precision
        raise UnsupportedError(
            f"interpolate of a length of {length} by {factor}",
            "by a whole number, or a fraction of a power of 2, it comes out the same at every length",
            "give size= in place of scale_factor=",
        )
    return length * share.numerator // share.denominator, factor


def _unclear_places(length: Length, wanted: Length, factor: float, mode: str) -> np.ndarray | None:
    """Return the places that torch reads along a side, where TensorRT's float32 factor may come to others; else None.

    Both divide by the factor and round down. TensorRT is given a rounded one, so that what lies by a whole number comes
    out on either side of it.
    """
    if not (isinstance(length, int) and isinstance(wanted, int)) or float(np.float32(factor)) == factor:
        return None
    targets = np.arange(wanted) + (0.5 if mode == "nearest-exact" else 0.0)
    exact = targets / factor
    if not np.any((exact > 0) & (np.abs(exact - np.round(exact)) <= exact * 2.0**-20)):
        return None
    return np.minimum(np.floor(targets.astype(np.float32) * np.float32(1 / factor)), length - 1).astype(np.int64)


def _each_factor(scale_factor: float | Sequence[float], n: int) -> tuple[float, ...]:
    factors = (scale_factor,) * n if isinstance(scale_factor, (int, float)) else tuple(scale_factor)
    if len(factors) != n:
        raise ArgumentError(f"scale_factor takes a number or {n}, not {scale_factor!r}")
    return tuple(map(float, factors))


def _by_factors(input: Tensor, scale_factor: float | Sequence[float]) -> tuple[tuple[Length, ...], tuple[float, ...]]:
    """Return the lengths of an output's sides, and the scales that TensorRT comes to them by."""
    lengths = input.shape[2:]
    scaled = [_scaled(n, f) for n, f in zip(lengths, _each_factor(scale_factor, len(lengths)), strict=True)]
    return tuple(length for length, _ in scaled), tuple(scale for _, scale in scaled)


def _target(size: Length | Sequence[Length], n: int) -> tuple[Length, ...]:
    wanted = tuple(size) if isinstance(size, Sequence) else (size,) * n
    if len(wanted) == n and not is_static(wanted):
        return wanted
    return ntuple([length for length in wanted if not isinstance(length, Size)], n, "size", of_one=False)


# Of each mode, how many sides it is for (None: any), and the names of TensorRT's resizing.
RESIZE_MODES = {
    "nearest": (None, "NEAREST"),
    "nearest-exact": (None, "NEAREST"),
    "linear": (1, "LINEAR"),
    "bilinear": (2, "LINEAR"),
    "trilinear": (3, "LINEAR"),
    "bicubic": (2, "CUBIC"),
}
_AREA = {1: adaptive_avg_pool1d, 2: adaptive_avg_pool2d, 3: adaptive_avg_pool3d}


def _wanted(
    input: Tensor, size: Length | Sequence[Length] | None, scale_factor: float | Sequence[float] | None
) -> tuple[tuple[Length, ...], tuple[float, ...]]:
    """Return the lengths of an output's sides, and the scales that TensorRT comes to them by, if factors are given."""
    if (size is None) == (scale_factor is None):
        raise ArgumentError("interpolate takes one of size and scale_factor")
    if scale_factor is not None:
        return _by_factors(input, scale_factor)
    assert size is not None
    return _target(size, input.ndim - 2), ()


def _antialiased(
    input: Tensor,
    size: Length | Sequence[Length] | None,
    scale_factor: float | Sequence[float] | None,
    mode: str,
    align_corners: bool,
    is_factor_anew: bool,
) -> Tensor:
    """Resize by a product of matrices for each side, the columns first."""
    if mode not in FILTERS:
        raise ArgumentError(f"antialias goes with {', '.join(map(repr, FILTERS))}, not {mode!r}")
    if align_corners and mode == "lanczos":
        raise ArgumentError("align_corners does not go with lanczos")
    expect_ndim(input, (4,), "interpolate with antialias", f"(batch, channels, {AXES[2]})")
    expect_floating(input, "interpolate")
    lengths, (wanted, _) = input.shape[2:], _wanted(input, size, scale_factor)
    if not is_static((*lengths, *wanted)):
        raise UnsupportedError(
            f"interpolate with antialias of dynamic lengths, {lengths} to {wanted}",
            "its weights depend on them",
            "resize without antialias, or give the network one size",
        )
    factors = None if is_factor_anew else scale_factor
    each = tuple(factors) if isinstance(factors, Sequence) else (factors,) * 2
    rows, columns = (
        None if n == m else weights_of(mode, int(n), int(m), _places(int(n), int(m), factor, align_corners))
        for n, m, factor in zip(lengths, wanted, each, strict=True)
    )  # a side that stays as long stays as it is, whatever the factor
    resized = input if columns is None else matmul(input, columns.T)
    return resized if rows is None else matmul(rows, resized)


def _places(length: int, wanted: int, factor: float | None, align_corners: bool) -> float:
    """Return how many places of an input there are for each of an output."""
    if align_corners:
        return (length - 1) / (wanted - 1) if wanted > 1 else 0.0
    return 1 / factor if factor is not None else length / wanted


def interpolate(
    input: Tensor,
    size: Length | Sequence[Length] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Resize the sides behind batch and channels, as ``torch.nn.functional.interpolate``.

    Args:
        input: (batch, channels, ...) with one, two or three sides.
        size: of the output's sides, ints or Sizes; give this or ``scale_factor``.
        scale_factor: H = floor(height · factor).
        mode: ``"nearest"``: source = floor(target / factor); ``"nearest-exact"``: floor((target + ½) / factor);
            ``"linear"``, ``"bilinear"`` and ``"trilinear"`` for one, two and three sides: source =
            (target + ½) / factor - ½, or with ``align_corners`` target · (height - 1) / (H - 1); ``"bicubic"`` the same
            with cubic weights of a = -0.75; ``"area"``: the mean of what falls on each place; ``"lanczos"``, with
            ``antialias`` alone.
        recompute_scale_factor: whether the factor is taken anew from the output's size.
        antialias: of ``"bilinear"``, ``"bicubic"`` (a = -0.5) and ``"lanczos"``: average over all that lies under a
            place, by a product of matrices for each side; of lengths that are not dynamic. One NaN or infinity makes
            NaN of its whole channel, where torch's reach no further than the kernel.

    Raises:
        ArgumentError: the mode is unknown or for another number of sides, or size and factor do not fit it.
        UnsupportedError: ``antialias`` of dynamic lengths.
    """
    if antialias:
        return _antialiased(input, size, scale_factor, mode, bool(align_corners), bool(recompute_scale_factor))
    if mode not in RESIZE_MODES and mode != "area":
        raise ArgumentError(f"interpolate with mode {mode!r}", f"known: {', '.join(map(repr, RESIZE_MODES))}, 'area'")
    n = input.ndim - 2
    sides = RESIZE_MODES.get(mode, (None,))[0]
    if sides is None:
        expect_ndim(input, (3, 4, 5), "interpolate", "(batch, channels, ...) with one, two or three sides")
    else:
        expect_ndim(input, (sides + 2,), f"interpolate with mode {mode!r}", f"(batch, channels, {AXES[sides]})")
    expect_floating(input, "interpolate")
    if sides is None and align_corners is not None:
        raise ArgumentError("align_corners goes with modes that interpolate linearly or cubically")
    wanted, scales = _wanted(input, size, scale_factor)
    if mode == "area":
        return _AREA[n](input, wanted)
    if mode.startswith("nearest") and scale_factor is not None and not recompute_scale_factor:
        factors = [*_each_factor(scale_factor, n)]
        for i, (length, target, factor) in enumerate(zip(input.shape[2:], wanted, factors, strict=True)):
            places = _unclear_places(length, target, factor, mode)
            if places is not None:
                input, factors[i] = take(input, places, i + 2), 1.0
        scales = tuple(scale for _, scale in map(_scaled, input.shape[2:], factors))
    trt = input.graph.trt
    transformation = "ASYMMETRIC" if mode == "nearest" else "ALIGN_CORNERS" if align_corners else "HALF_PIXEL"
    how = {
        "resize_mode": getattr(trt.InterpolationMode, RESIZE_MODES[mode][1]),
        "coordinate_transformation": getattr(trt.ResizeCoordinateTransformation, transformation),
        "nearest_rounding": trt.ResizeRoundMode.FLOOR if mode == "nearest" else trt.ResizeRoundMode.HALF_UP,
    }
    set_inputs, shape = {}, (*input.shape[:2], *wanted)
    if size is None and not recompute_scale_factor:
        how["scales"] = (1.0, 1.0, *scales)
    elif is_static(shape):
        how["shape"] = shape
    else:
        set_inputs[1] = shape_tensor(input.graph, shape)
    return input.graph.emit("resize", input, out_shape=shape, set_inputs=set_inputs, **how)
