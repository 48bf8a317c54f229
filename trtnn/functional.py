"""Every operation, with torch's names, arguments, defaults and meanings.

Functions take :class:`trtnn.Tensor`, numbers and NumPy arrays, add layers to the graph that is being traced, and
return Tensors. Weights are :class:`trtnn.Parameter` or NumPy arrays; they take the element type of the Tensor that they
work on. Where TensorRT cannot do what torch does, a function raises :class:`trtnn.UnsupportedError`.

What torch does in place, a Tensor does under every name that it has; see :mod:`trtnn.ops.inplace`.

Types promote and shapes broadcast as in torch. Whole numbers that an operation makes (indices, counts, ``arange``) are
int64, and int32 where TensorRT has no int64 (8.6).

The formulas are those of torch.nn.functional (https://docs.pytorch.org/docs/stable/nn.functional.html), the layers
those of TensorRT's operator reference (https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/operators/index.html).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trtnn.dtypes import bool_, int32, int64
from trtnn.errors import UnsupportedError
from trtnn.ops.activation import (
    celu,
    dropout,
    elu,
    gelu,
    glu,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    log_softmax,
    logsigmoid,
    mish,
    prelu,
    relu,
    relu6,
    rrelu,
    selu,
    sigmoid,
    silu,
    softmax,
    softmin,
    softplus,
    softshrink,
    softsign,
    tanh,
    tanhshrink,
    threshold,
)
from trtnn.ops.arithmetic import (
    add,
    clamp,
    div,
    floor_divide,
    fmod,
    maximum,
    minimum,
    mul,
    pow,
    remainder,
    square,
    sub,
    trunc,
)
from trtnn.ops.attention import scaled_dot_product_attention
from trtnn.ops.comparison import (
    bitwise_and,
    bitwise_not,
    bitwise_or,
    bitwise_xor,
    eq,
    ge,
    gt,
    isfinite,
    isinf,
    isnan,
    le,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    masked_fill,
    ne,
    where,
)
from trtnn.ops.convolution import conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d, fold
from trtnn.ops.creation import (
    arange,
    eye,
    full,
    full_like,
    linspace,
    meshgrid,
    new_full,
    new_ones,
    new_zeros,
    of_parameter,
    ones,
    ones_like,
    tensor,
    tril,
    triu,
    zeros,
    zeros_like,
)
from trtnn.ops.deformable import deform_conv2d, modulated_deform_conv2d
from trtnn.ops.embedding import embedding, embedding_bag
from trtnn.ops.gathering import gather, index_add, one_hot, scatter, scatter_add, unfold, windows
from trtnn.ops.indexing import getitem, index_select, narrow, select, unbind
from trtnn.ops.inplace import in_place, viewing, viewing_parts
from trtnn.ops.joining import cat, chunk, split, stack
from trtnn.ops.linear import bilinear, linear
from trtnn.ops.matrix import addmm, bmm, dot, einsum, matmul, mm, mv, outer
from trtnn.ops.max_pooling import (
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    max_unpool1d,
    max_unpool2d,
    max_unpool3d,
)
from trtnn.ops.normalization import (
    batch_norm,
    cosine_similarity,
    group_norm,
    instance_norm,
    layer_norm,
    local_response_norm,
    normalize,
    pairwise_distance,
    rms_norm,
)
from trtnn.ops.padding import pad
from trtnn.ops.pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
)
from trtnn.ops.promotion import cast
from trtnn.ops.reduction import (
    all,
    amax,
    amin,
    any,
    argmax,
    argmin,
    argsort,
    count_nonzero,
    cumsum,
    logsumexp,
    max,
    mean,
    min,
    norm,
    prod,
    sort,
    std,
    sum,
    topk,
    var,
)
from trtnn.ops.resizing import interpolate
from trtnn.ops.sampling import affine_grid, grid_sample
from trtnn.ops.shaping import (
    channel_shuffle,
    flatten,
    movedim,
    permute,
    pixel_shuffle,
    pixel_unshuffle,
    reshape,
    squeeze,
    transpose,
    unflatten,
    unsqueeze,
)
from trtnn.ops.tiling import expand, flip, repeat, repeat_interleave, roll, tile
from trtnn.ops.unary import (
    abs,
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atanh,
    ceil,
    cos,
    cosh,
    erf,
    exp,
    floor,
    log,
    neg,
    reciprocal,
    round,
    rsqrt,
    sign,
    sin,
    sinh,
    sqrt,
    tan,
)
from trtnn.parameter import Parameter
from trtnn.tensor import Tensor

__all__ = [
    "abs",
    "acos",
    "acosh",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "add",
    "addmm",
    "affine_grid",
    "all",
    "amax",
    "amin",
    "any",
    "arange",
    "argmax",
    "argmin",
    "argsort",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "bilinear",
    "bitwise_and",
    "bitwise_not",
    "bitwise_or",
    "bitwise_xor",
    "bmm",
    "cast",
    "cat",
    "ceil",
    "celu",
    "channel_shuffle",
    "chunk",
    "clamp",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "cos",
    "cosh",
    "cosine_similarity",
    "count_nonzero",
    "cumsum",
    "deform_conv2d",
    "div",
    "dot",
    "dropout",
    "einsum",
    "elu",
    "embedding",
    "embedding_bag",
    "eq",
    "erf",
    "exp",
    "expand",
    "eye",
    "flatten",
    "flip",
    "floor",
    "floor_divide",
    "fmod",
    "fold",
    "full",
    "full_like",
    "gather",
    "ge",
    "gelu",
    "getitem",
    "glu",
    "grid_sample",
    "group_norm",
    "gt",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "index_add",
    "index_select",
    "instance_norm",
    "interpolate",
    "isfinite",
    "isinf",
    "isnan",
    "layer_norm",
    "le",
    "leaky_relu",
    "linear",
    "linspace",
    "local_response_norm",
    "log",
    "log_softmax",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "logsigmoid",
    "logsumexp",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "lt",
    "masked_fill",
    "matmul",
    "max",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "maximum",
    "mean",
    "meshgrid",
    "min",
    "minimum",
    "mish",
    "mm",
    "modulated_deform_conv2d",
    "movedim",
    "mul",
    "mv",
    "narrow",
    "ne",
    "neg",
    "norm",
    "normalize",
    "one_hot",
    "ones",
    "ones_like",
    "outer",
    "pad",
    "pairwise_distance",
    "permute",
    "pixel_shuffle",
    "pixel_unshuffle",
    "pow",
    "prelu",
    "prod",
    "reciprocal",
    "relu",
    "relu6",
    "remainder",
    "repeat",
    "repeat_interleave",
    "reshape",
    "rms_norm",
    "roll",
    "round",
    "rrelu",
    "rsqrt",
    "scaled_dot_product_attention",
    "scatter",
    "scatter_add",
    "select",
    "selu",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "sinh",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "sort",
    "split",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "std",
    "sub",
    "sum",
    "tan",
    "tanh",
    "tanhshrink",
    "tensor",
    "threshold",
    "tile",
    "topk",
    "transpose",
    "tril",
    "triu",
    "trunc",
    "unbind",
    "unflatten",
    "unfold",
    "unsqueeze",
    "var",
    "where",
    "zeros",
    "zeros_like",
]


# Those whose results are views in torch, where one changes with the other.
chunk, expand, flatten, movedim, narrow, permute, reshape, select, split, squeeze, transpose, unbind, unflatten = map(
    viewing,
    (chunk, expand, flatten, movedim, narrow, permute, reshape, select, split, squeeze, transpose, unbind, unflatten),
)
unsqueeze, getitem, _windows = viewing(unsqueeze), viewing_parts(getitem), viewing(windows)


def _refuse_assignment(input: Tensor, index: Any, value: Any) -> None:
    raise UnsupportedError(
        "assignment into a Tensor",
        "a network has no memory to write to; build the result with cat, where or scatter",
    )


def _refuse_in_place(parameter: Parameter, *args: Any, **kwargs: Any) -> None:
    raise UnsupportedError("a Parameter changed in place", "an engine's weights stay as they are", "write y = p + x")


def _swapped(function: Callable[[Any, Any], Tensor]) -> Callable[[Tensor, Any], Tensor]:
    return lambda input, other: function(other, input)


# The functions that are methods under the same name.
_SAME_NAME = (
    "abs", "acos", "acosh", "add", "addmm", "all", "amax", "amin", "any", "argmax", "argmin", "argsort", "asin",
    "asinh", "atan", "atanh", "bitwise_and", "bitwise_not", "bitwise_or", "bitwise_xor", "bmm", "cast", "ceil", "chunk",
    "clamp", "cos", "cosh", "count_nonzero", "cumsum", "div", "dot", "eq", "erf", "exp", "expand", "flatten", "flip",
    "floor", "floor_divide", "fmod", "gather", "ge", "gt", "hardshrink", "index_add", "index_select", "isfinite",
    "isinf", "isnan", "le", "log", "log_softmax", "logical_and", "logical_not", "logical_or", "logical_xor",
    "logsumexp", "lt", "masked_fill", "matmul", "max", "maximum", "mean", "min", "minimum", "mm", "movedim", "mul",
    "mv", "narrow", "ne", "neg", "norm", "outer", "permute", "pow", "prelu", "prod", "reciprocal", "relu", "remainder",
    "repeat", "repeat_interleave", "reshape", "roll", "round", "rsqrt", "scatter", "scatter_add", "select", "sigmoid",
    "sign", "sin", "sinh", "softmax", "sort", "split", "sqrt", "square", "squeeze", "std", "sub", "sum", "tan", "tanh",
    "tile", "topk", "transpose", "tril", "triu", "trunc", "unbind", "unflatten", "unsqueeze", "var",
)  # fmt: skip

# Of each operator, its function; those in the second table also stand with their Tensor on the right.
_OPERATORS = {"eq": eq, "ne": ne, "lt": lt, "le": le, "gt": gt, "ge": ge, "neg": neg, "abs": abs, "invert": bitwise_not}
_OPERATORS_OF_TWO = {
    "add": add, "sub": sub, "mul": mul, "truediv": div, "floordiv": floor_divide, "mod": remainder, "pow": pow,
    "matmul": matmul, "and": bitwise_and, "or": bitwise_or, "xor": bitwise_xor,
}  # fmt: skip

_METHODS = {
    **{name: globals()[name] for name in _SAME_NAME},
    **{f"__{name}__": function for name, function in (_OPERATORS | _OPERATORS_OF_TWO).items()},
    **{f"__r{name}__": _swapped(function) for name, function in _OPERATORS_OF_TWO.items()},
    "__getitem__": getitem,
    "__setitem__": _refuse_assignment,
    "T": property(lambda input: permute(input, range(input.ndim)[::-1])),
    "mT": property(lambda input: transpose(input, -2, -1)),
    "bfloat16": lambda input: cast(input, "bfloat16"),
    "bool": lambda input: cast(input, bool_),
    "clip": clamp,
    "clone": Tensor.copy,
    "contiguous": lambda input: input,
    "detach": lambda input: input,
    "expand_as": lambda input, other: expand(input, other.shape),
    "float": lambda input: cast(input, "float32"),
    "half": lambda input: cast(input, "float16"),
    "int": lambda input: cast(input, int32),
    "long": lambda input: cast(input, int64),
    "new_full": new_full,
    "new_ones": new_ones,
    "new_zeros": new_zeros,
    "reshape_as": lambda input, other: reshape(input, other.shape),
    "swapaxes": transpose,
    "t": lambda input: transpose(input, 0, 1) if input.ndim == 2 else input,
    "to": lambda input, dtype: cast(input, dtype.dtype if isinstance(dtype, Tensor) else dtype),
    "type": cast,
    "type_as": lambda input, other: cast(input, other.dtype),
    "unfold": _windows,
    "view": reshape,
    "view_as": lambda input, other: reshape(input, other.shape),
    "where": lambda input, condition, other: where(condition, input, other),
}

# The functions that are methods in place under the same name and an underscore.
_IN_PLACE = (
    "abs", "acos", "acosh", "add", "asin", "asinh", "atan", "atanh", "ceil", "clamp", "cos", "cosh", "div", "erf",
    "exp", "floor", "floor_divide", "fmod", "index_add", "log", "masked_fill", "mul", "neg", "pow", "reciprocal",
    "relu", "remainder", "round", "rsqrt", "scatter", "scatter_add", "sigmoid", "sign", "sin", "sinh", "sqrt", "square",
    "sub", "tan", "tanh", "tril", "triu", "trunc",
)  # fmt: skip
_METHODS_IN_PLACE = {
    **{f"{name}_": in_place(_METHODS[name]) for name in _IN_PLACE},
    **{f"__i{name}__": in_place(function) for name, function in _OPERATORS_OF_TWO.items() if name != "matmul"},
    "clip_": in_place(clamp),
    "copy_": in_place(lambda input, src: cast(expand(src, input.shape), input.dtype)),
    "fill_": in_place(full_like),
    "zero_": in_place(zeros_like),
}

for _name, _function in (_METHODS | _METHODS_IN_PLACE).items():
    setattr(Tensor, _name, _function)


def _on_parameter(function: Any) -> Any:
    if isinstance(function, property):
        return property(lambda parameter: function.fget(of_parameter(parameter)))
    return lambda parameter, *args, **kwargs: function(of_parameter(parameter), *args, **kwargs)


# A parameter within forward does what a Tensor does; but for == and !=, it stays itself.
for _name, _function in {**_METHODS, "__iter__": lambda input: iter(unbind(input))}.items():
    if _name not in ("__eq__", "__ne__"):
        setattr(Parameter, _name, _on_parameter(_function))
for _name in _METHODS_IN_PLACE:
    setattr(Parameter, _name, _refuse_in_place)
