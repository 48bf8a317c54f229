"""Numbers rounded to those that a few bits can say: what quantisation makes of them, while they stay floats."""

from __future__ import annotations

import math

import numpy as np

from trtnn.dtypes import float32
from trtnn.errors import ArgumentError, DTypeError, ShapeError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Array, expect_floating
from trtnn.ops._promotion import cast, wide
from trtnn.ops.arithmetic import add, div, minimum, mul, sub
from trtnn.ops.comparison import ge, where
from trtnn.ops.shaping import reshape
from trtnn.ops.unary import round


def fake_quantize_per_tensor_affine(
    input: Tensor, scale: float | Array | Tensor, zero_point: int | Array | Tensor, quant_min: int, quant_max: int
) -> Tensor:
    """Return (clamp(round(x / scale) + zero_point, quant_min, quant_max) - zero_point) · scale, in the type of x.

    It is carried in fp32, as x · (1 / scale). Halves are rounded to the even number, and NaN becomes the least one, as
    in torch (https://docs.pytorch.org/docs/stable/generated/torch.fake_quantize_per_tensor_affine.html).

    Args:
        input: any shape.
        scale: one number.
        zero_point: one whole number, from ``quant_min`` to ``quant_max``.
        quant_min, quant_max: the ends of the range, such as -128 and 127.

    Raises:
        DTypeError: the input holds no fractions, or the zero point does.
        ShapeError: there are several scales or zero points.
        ArgumentError: the range is empty, or the zero point is not in it.
    """
    what = "fake_quantize_per_tensor_affine"
    one, zero = _values(scale, input, None, what), _values(zero_point, input, None, what)
    if _is_floating(zero):
        raise DTypeError(f"{what} takes a whole zero point", "one that is no whole number is for each channel alone")
    return _rounded(input, one, zero, quant_min, quant_max, what)


def fake_quantize_per_channel_affine(
    input: Tensor,
    scale: float | Array | Tensor,
    zero_point: int | Array | Tensor,
    axis: int,
    quant_min: int,
    quant_max: int,
) -> Tensor:
    """Return :func:`fake_quantize_per_tensor_affine` with a scale and a zero point for each channel.

    A floating zero point is added before rounding: (clamp(round(x / scale + zero_point), ...) - zero_point) · scale.
    What is beyond int64 goes to the end of the range that it is nearer to; on a CPU torch takes it for the least.

    Args:
        input: any shape with dimensions.
        scale, zero_point: (channels,).
        axis: the dimension of the channels, counted from the first.
        quant_min, quant_max: the ends of the range.

    Raises:
        DTypeError: the input holds no fractions.
        ShapeError: there are other numbers of scales or zero points than channels.
        ArgumentError: there is no such axis, the range is empty, or a zero point is not in it.
    """
    what = "fake_quantize_per_channel_affine"
    if not 0 <= axis < input.ndim:
        raise ArgumentError(f"{what} along {axis}: the axis is from 0 to {input.ndim - 1}")
    scales, zeros = _values(scale, input, axis, what), _values(zero_point, input, axis, what)
    return _rounded(input, scales, zeros, quant_min, quant_max, what)


def _values(value: float | Array | Tensor, input: Tensor, axis: int | None, what: str) -> Tensor | np.ndarray:
    """Return scales or zero points in a shape that broadcasts: what is known while tracing as an array."""
    held = value
    if not isinstance(held, Tensor):
        held = np.asarray(held if isinstance(held, (int, float)) else input.graph.held(held))
    count = 1 if axis is None else input.shape[axis]
    if len(held.shape) > 1 or math.prod(held.shape) != count:
        raise ShapeError(
            f"{what} in {input.graph.where}: {count} scales and zero points, not shape {tuple(held.shape)}"
        )
    shape = tuple(count if i == axis else 1 for i in range(input.ndim))
    return reshape(held, shape) if isinstance(held, Tensor) else held.reshape(shape)


def _is_floating(value: Tensor | np.ndarray) -> bool:
    return value.dtype.is_floating_point if isinstance(value, Tensor) else value.dtype.kind == "f"


def _rounded(
    input: Tensor, scale: Tensor | np.ndarray, zero: Tensor | np.ndarray, low: int, high: int, what: str
) -> Tensor:
    expect_floating(input, what)
    if low > high:
        raise ArgumentError(f"{what} from {low} to {high}: the first is the larger")
    before = _is_floating(zero)
    if isinstance(zero, np.ndarray) and not before and not ((zero >= low) & (zero <= high)).all():
        raise ArgumentError(f"{what}: a zero point is not in the range from {low} to {high}")
    scale = cast(scale, float32) if isinstance(scale, Tensor) else scale.astype(np.float32)
    zero = cast(zero, float32) if isinstance(zero, Tensor) else zero.astype(np.float32)
    with np.errstate(divide="ignore"):  # of a scale of 0 all numbers become 0
        inverse = div(1.0, scale) if isinstance(scale, Tensor) else 1 / scale
    steps = mul(wide(input), inverse)
    steps = sub(round(add(steps, zero)), zero) if before else round(steps)
    least, most = (sub(end, zero) if isinstance(zero, Tensor) else end - zero for end in (low, high))
    within = where(ge(steps, least), minimum(steps, most), least)  # NaN is not above the least
    return cast(mul(within, scale), input.dtype)
