"""Every operation, with torch's names, arguments, defaults and meanings.

Functions take :class:`trtnn.Tensor`, numbers and NumPy arrays, add layers to the graph that is being traced, and
return Tensors. Weights are :class:`trtnn.Parameter` or NumPy arrays; they take the element type of the Tensor that they
work on. Where TensorRT cannot do what torch does, a function raises :class:`trtnn.UnsupportedError`.

The formulas are those of torch.nn.functional (https://docs.pytorch.org/docs/stable/nn.functional.html), the layers
those of TensorRT's operator reference (https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/operators/index.html).
"""

from __future__ import annotations

from typing import Any

from trtnn.dtypes import int32, int64
from trtnn.errors import UnsupportedError
from trtnn.ops.activation import hardswish, leaky_relu, relu, sigmoid, silu, softmax
from trtnn.ops.arithmetic import add, div, exp, mul, neg, pow, sub
from trtnn.ops.convolution import conv2d, conv_transpose2d
from trtnn.ops.creation import arange
from trtnn.ops.indexing import getitem, narrow
from trtnn.ops.joining import cat, chunk, split
from trtnn.ops.linear import linear
from trtnn.ops.normalization import batch_norm
from trtnn.ops.pooling import max_pool2d
from trtnn.ops.promotion import cast
from trtnn.ops.resizing import interpolate
from trtnn.ops.shaping import flatten, permute, reshape, transpose
from trtnn.ops.tiling import expand
from trtnn.tensor import Tensor

__all__ = [
    "add",
    "arange",
    "batch_norm",
    "cast",
    "cat",
    "chunk",
    "conv2d",
    "conv_transpose2d",
    "div",
    "exp",
    "expand",
    "flatten",
    "getitem",
    "hardswish",
    "interpolate",
    "leaky_relu",
    "linear",
    "max_pool2d",
    "mul",
    "narrow",
    "neg",
    "permute",
    "pow",
    "relu",
    "reshape",
    "sigmoid",
    "silu",
    "softmax",
    "split",
    "sub",
    "transpose",
]


def _refuse_comparison(input: Tensor, other: Any) -> None:
    raise UnsupportedError("comparison with a Tensor", "its numbers are known only when the engine runs")


def _refuse_assignment(input: Tensor, index: Any, value: Any) -> None:
    raise UnsupportedError("assignment into a Tensor", "a network has no memory to write to; build the result with cat")


_METHODS = {
    **{
        name: globals()[name]
        for name in (
            "add", "cast", "chunk", "div", "exp", "expand", "flatten", "mul", "narrow", "neg", "permute", "pow", "relu",
            "reshape", "sigmoid", "softmax", "split", "sub", "transpose",
        )
    },
    "view": reshape,
    "to": cast,
    "float": lambda input: cast(input, "float32"),
    "half": lambda input: cast(input, "float16"),
    "int": lambda input: cast(input, int32),
    "long": lambda input: cast(input, int64),
    "contiguous": lambda input: input,
    "__getitem__": getitem,
    "__setitem__": _refuse_assignment,
    "__neg__": neg,
    **{f"__{name}__": _refuse_comparison for name in ("eq", "ne", "lt", "le", "gt", "ge")},
}  # fmt: skip

for _symbol, _function in (("add", add), ("sub", sub), ("mul", mul), ("truediv", div), ("pow", pow)):
    _METHODS[f"__{_symbol}__"] = _function
    _METHODS[f"__r{_symbol}__"] = lambda input, other, _function=_function: _function(other, input)

for _name, _function in _METHODS.items():
    setattr(Tensor, _name, _function)
