"""Numbers of 8 bits: rounding to them, and back.

TensorRT's definition: q = saturate(round(x / scale)), halves to the even number
(https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/operators/Quantize.html), x = q · scale.
"""

from __future__ import annotations

from typing import Any

import torch

from trtnn.dtypes import DType, float8_e4m3fn, int8
from trtnn.errors import UnsupportedError
from trtnn.graph.quantization import quantized_dtype
from trtnn.reference.layers.common import Function
from trtnn.reference.registry import layer

_LARGEST_FP8 = 448.0


def _along(scale: torch.Tensor, axis: int, ndim: int) -> torch.Tensor:
    """Return scales in a shape that broadcasts to what they are of."""
    if scale.numel() == 1:
        return scale.float().reshape(())
    return scale.float().reshape([-1 if i == axis else 1 for i in range(ndim)])


def rounded_steps(steps: torch.Tensor, dtype: DType) -> torch.Tensor:
    """Return x / scale rounded to int8 or float8_e4m3fn, in which torch's cast makes NaN of what is beyond the ends."""
    if dtype is float8_e4m3fn:
        return steps.clamp(-_LARGEST_FP8, _LARGEST_FP8).to(torch.float8_e4m3fn)
    return steps.round().clamp_(-128, 127).to(torch.int8)


@layer("QUANTIZE")
def quantize(layer: Any) -> Function:
    axis, dtype = layer.axis, quantized_dtype(layer)
    if dtype is not int8 and dtype is not float8_e4m3fn:
        raise UnsupportedError(f"the reference quantises to int8 and fp8, not to {dtype.name}")
    return lambda x, scale: rounded_steps(x.float() / _along(scale, axis, x.ndim), dtype)


@layer("DEQUANTIZE")
def dequantize(layer: Any) -> Function:
    axis = layer.axis
    dtype = torch.float16 if layer.get_output(0).dtype.name == "HALF" else torch.float32

    def compute(q: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return (q.float() * _along(scale, axis, q.ndim)).to(dtype)

    return compute
