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

from trtnn.dtypes import DType, bfloat16, bool_, float16, float32, int32, int64
from trtnn.errors import ShapeError, UnsupportedError
from trtnn.graph import current_graph
from trtnn.ops import linalg
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
from trtnn.ops.angles import atan2, deg2rad, hypot, rad2deg, sinc
from trtnn.ops.arguments import Operand
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
from trtnn.ops.assigning import setitem
from trtnn.ops.attention import scaled_dot_product_attention
from trtnn.ops.blending import addcdiv, addcmul, lerp
from trtnn.ops.calling import public, torch_function
from trtnn.ops.choosing import cartesian_prod, combinations, tril_indices, triu_indices, unravel_index
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
    as_tensor,
    eye,
    full,
    full_like,
    linspace,
    meshgrid,
    new_full,
    new_ones,
    new_tensor,
    new_zeros,
    of_array,
    ones,
    ones_like,
    tensor,
    tril,
    triu,
    zeros,
    zeros_like,
)
from trtnn.ops.deformable import deform_conv2d, modulated_deform_conv2d
from trtnn.ops.diagonals import diag, diag_embed, diagflat, diagonal, diagonal_scatter, trace
from trtnn.ops.embedding import embedding, embedding_bag
from trtnn.ops.empty import empty, empty_like, new_empty, scalar_tensor
from trtnn.ops.gathering import gather, index_add, one_hot, scatter, scatter_add, unfold, windows
from trtnn.ops.indexing import getitem, index_select, narrow, select, unbind
from trtnn.ops.inplace import in_place, viewing, viewing_parts
from trtnn.ops.joining import cat, chunk, split, stack
from trtnn.ops.known import index, item, numpy, tolist, truth
from trtnn.ops.linear import bilinear, linear
from trtnn.ops.logarithms import exp2, expm1, log1p, log2, log10, logaddexp, logaddexp2, logit, xlogy
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
from trtnn.ops.nearness import fmax, fmin, isclose, isneginf, isposinf, isreal, nan_to_num
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
from trtnn.ops.places import DEVICE, double, element_size, is_floating_point, stride, to, type_
from trtnn.ops.placing import (
    index_copy,
    index_fill,
    index_put,
    masked_scatter,
    select_scatter,
    slice_scatter,
    take,
    take_along_dim,
)
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
from trtnn.ops.powers import erfc, float_power, frac, ldexp
from trtnn.ops.products import addbmm, addmv, addr, baddbmm, cross, inner, kron, tensordot
from trtnn.ops.promotion import cast, dtype_of
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
from trtnn.ops.reshaping import reshaping_in_place
from trtnn.ops.resizing import interpolate
from trtnn.ops.sampling import affine_grid, grid_sample
from trtnn.ops.series import bartlett_window, blackman_window, hamming_window, hann_window, kaiser_window, logspace
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
from trtnn.ops.sides import (
    atleast_1d,
    atleast_2d,
    atleast_3d,
    block_diag,
    broadcast_tensors,
    column_stack,
    dsplit,
    dstack,
    hsplit,
    hstack,
    tensor_split,
    vsplit,
    vstack,
)
from trtnn.ops.signs import copysign, heaviside, signbit
from trtnn.ops.spellings import (
    adjoint,
    broadcast_to,
    clamp_max,
    clamp_min,
    itself,
    positive,
    ravel,
    rsub,
    split_with_sizes,
    swapaxes,
    true_divide,
    unsafe_split,
)
from trtnn.ops.statistics import (
    aminmax,
    cumulative_trapezoid,
    diff,
    dist,
    nanmean,
    nansum,
    pdist,
    std_mean,
    trapezoid,
    var_mean,
)
from trtnn.ops.tiling import expand, flip, repeat, repeat_interleave, roll, tile
from trtnn.ops.turning import fliplr, flipud, rot90, sum_to_size
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
from trtnn.ops.upsampling import upsample, upsample_bilinear, upsample_nearest
from trtnn.parameter import Parameter
from trtnn.tensor import Tensor

__all__ = [
    "abs",
    "absolute",
    "acos",
    "acosh",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "add",
    "addbmm",
    "addcdiv",
    "addcmul",
    "addmm",
    "addmv",
    "addr",
    "adjoint",
    "affine_grid",
    "all",
    "alpha_dropout",
    "amax",
    "amin",
    "aminmax",
    "any",
    "arange",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "argmax",
    "argmin",
    "argsort",
    "as_tensor",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "baddbmm",
    "bartlett_window",
    "batch_norm",
    "bilinear",
    "bitwise_and",
    "bitwise_not",
    "bitwise_or",
    "bitwise_xor",
    "blackman_window",
    "block_diag",
    "bmm",
    "broadcast_tensors",
    "broadcast_to",
    "cartesian_prod",
    "cast",
    "cat",
    "ceil",
    "celu",
    "channel_shuffle",
    "chunk",
    "clamp",
    "clamp_max",
    "clamp_min",
    "clip",
    "column_stack",
    "combinations",
    "concat",
    "concatenate",
    "conj",
    "conj_physical",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "copysign",
    "cos",
    "cosh",
    "cosine_similarity",
    "count_nonzero",
    "cross",
    "cumsum",
    "cumulative_trapezoid",
    "deform_conv2d",
    "deg2rad",
    "diag",
    "diag_embed",
    "diagflat",
    "diagonal",
    "diagonal_scatter",
    "diff",
    "dist",
    "div",
    "divide",
    "dot",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "dsplit",
    "dstack",
    "einsum",
    "elu",
    "embedding",
    "embedding_bag",
    "empty",
    "empty_like",
    "eq",
    "erf",
    "erfc",
    "exp",
    "exp2",
    "expand",
    "expand_as",
    "expm1",
    "eye",
    "feature_alpha_dropout",
    "fix",
    "flatten",
    "flip",
    "fliplr",
    "flipud",
    "float_power",
    "floor",
    "floor_divide",
    "fmax",
    "fmin",
    "fmod",
    "fold",
    "frac",
    "full",
    "full_like",
    "gather",
    "ge",
    "gelu",
    "ger",
    "getitem",
    "glu",
    "greater",
    "greater_equal",
    "grid_sample",
    "group_norm",
    "gt",
    "hamming_window",
    "hann_window",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "heaviside",
    "hsplit",
    "hstack",
    "hypot",
    "index_add",
    "index_copy",
    "index_fill",
    "index_put",
    "index_select",
    "inner",
    "instance_norm",
    "interpolate",
    "is_floating_point",
    "isclose",
    "isfinite",
    "isinf",
    "isnan",
    "isneginf",
    "isposinf",
    "isreal",
    "kaiser_window",
    "kron",
    "layer_norm",
    "ldexp",
    "le",
    "leaky_relu",
    "lerp",
    "less",
    "less_equal",
    "linear",
    "linspace",
    "local_response_norm",
    "log",
    "log1p",
    "log2",
    "log10",
    "log_softmax",
    "logaddexp",
    "logaddexp2",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "logit",
    "logsigmoid",
    "logspace",
    "logsumexp",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "lt",
    "masked_fill",
    "masked_scatter",
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
    "moveaxis",
    "movedim",
    "mul",
    "multiply",
    "mv",
    "nan_to_num",
    "nanmean",
    "nansum",
    "narrow",
    "ne",
    "neg",
    "negative",
    "norm",
    "normalize",
    "not_equal",
    "one_hot",
    "ones",
    "ones_like",
    "outer",
    "pad",
    "pairwise_distance",
    "pdist",
    "permute",
    "pixel_shuffle",
    "pixel_unshuffle",
    "positive",
    "pow",
    "prelu",
    "prod",
    "rad2deg",
    "ravel",
    "real",
    "reciprocal",
    "relu",
    "relu6",
    "remainder",
    "repeat",
    "repeat_interleave",
    "reshape",
    "reshape_as",
    "resolve_conj",
    "resolve_neg",
    "rms_norm",
    "roll",
    "rot90",
    "round",
    "row_stack",
    "rrelu",
    "rsqrt",
    "rsub",
    "scalar_tensor",
    "scaled_dot_product_attention",
    "scatter",
    "scatter_add",
    "select",
    "select_scatter",
    "selu",
    "sgn",
    "sigmoid",
    "sign",
    "signbit",
    "silu",
    "sin",
    "sinc",
    "sinh",
    "slice_scatter",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "sort",
    "split",
    "split_with_sizes",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "std",
    "std_mean",
    "sub",
    "subtract",
    "sum",
    "swapaxes",
    "swapdims",
    "take",
    "take_along_dim",
    "tan",
    "tanh",
    "tanhshrink",
    "tensor",
    "tensor_split",
    "tensordot",
    "threshold",
    "tile",
    "topk",
    "trace",
    "transpose",
    "trapezoid",
    "trapz",
    "tril",
    "tril_indices",
    "triu",
    "triu_indices",
    "true_divide",
    "trunc",
    "unbind",
    "unflatten",
    "unfold",
    "unravel_index",
    "unsafe_chunk",
    "unsafe_split",
    "unsqueeze",
    "upsample",
    "upsample_bilinear",
    "upsample_nearest",
    "var",
    "var_mean",
    "vdot",
    "vsplit",
    "vstack",
    "where",
    "xlogy",
    "zeros",
    "zeros_like",
]


# Those whose results are views in torch, where one changes with the other.
_VIEWS = (
    "adjoint", "broadcast_to", "chunk", "diagonal", "dsplit", "expand", "flatten", "hsplit", "movedim", "narrow",
    "permute", "positive", "ravel", "reshape", "select", "split", "split_with_sizes", "squeeze", "swapaxes",
    "tensor_split", "transpose", "unbind", "unflatten", "unsqueeze", "vsplit",
)  # fmt: skip
globals().update({name: viewing(globals()[name]) for name in _VIEWS})
getitem, _windows = viewing_parts(getitem), viewing(windows)

# Torch's other names of operations, with the same arguments.
absolute, alpha_dropout, arccos, arccosh, arcsin, arcsinh = abs, dropout, acos, acosh, asin, asinh
arctan, arctan2, arctanh, clip, concat, concatenate = atan, atan2, atanh, clamp, cat, cat
conj, conj_physical, divide, dropout1d, dropout2d, dropout3d = itself, itself, div, dropout, dropout, dropout
feature_alpha_dropout, fix, ger, greater, greater_equal, less = dropout, trunc, outer, gt, ge, lt
less_equal, moveaxis, multiply, negative, not_equal, real = le, movedim, mul, neg, ne, itself
resolve_conj, resolve_neg, row_stack, sgn, subtract, swapdims = itself, itself, vstack, sign, sub, transpose
trapz, unsafe_chunk, vdot = trapezoid, chunk, dot


def _refuse_in_place(parameter: Parameter, *args: Any, **kwargs: Any) -> None:
    raise UnsupportedError("a Parameter changed in place", "an engine's weights stay as they are", "write y = p + x")


def _swapped(function: Callable[[Any, Any], Tensor]) -> Callable[[Tensor, Any], Tensor]:
    return lambda input, other: function(other, input)


def _of_operands(function: Callable[[Any, Any], Tensor]) -> Callable[[Tensor, Any], Any]:
    """``==`` and ``!=`` of what no operand is, such as None, are Python's own, as in torch."""

    def compare(input: Tensor, other: Any) -> Any:
        if other is None or isinstance(other, (str, bytes, list, tuple, dict, set, DType)):
            return NotImplemented
        return function(input, other)

    return compare


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """:func:`expand` to the shape of another tensor."""
    return expand(input, other.shape)


def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """:func:`reshape` to the shape of another tensor."""
    return reshape(input, other.shape)


def _transposed_matrix(input: Tensor) -> Tensor:
    """The transpose of a matrix; fewer dimensions stay as they are.

    Raises:
        ShapeError: there are more than two dimensions.
    """
    if input.ndim > 2:
        raise ShapeError(f"t in {input.graph.where} takes at most two dimensions, not {input.shape}", "use mT")
    return transpose(input, 0, 1) if input.ndim == 2 else input


def _where_else(input: Tensor, condition: Operand, other: Operand) -> Tensor:
    """The tensor where a condition is true, else other; see :func:`where`."""
    return where(condition, input, other)


def _type_as(input: Tensor, other: Tensor) -> Tensor:
    """The elements in the type of another tensor."""
    return cast(input, other.dtype)


def _as_it_is(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The tensor itself: where it is and how it lies in memory is the engine's to decide."""
    return input


def _to_type(dtype: DType) -> Callable[[Tensor], Tensor]:
    return lambda input: cast(input, dtype)


# Operations call one another as they are; from outside each is called by its door.
_inner = {name: globals()[name] for name in __all__}
globals().update({name: public(function, name) for name, function in _inner.items()})
for _name in linalg.__all__:
    setattr(linalg, _name, public(getattr(linalg, _name), f"linalg.{_name}"))

# The functions that are methods under the same name.
_SAME_NAME = (
    "abs", "absolute", "acos", "acosh", "add", "addbmm", "addcdiv", "addcmul", "addmm", "addmv", "addr", "adjoint",
    "all", "amax", "amin", "aminmax", "any", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2",
    "arctanh", "argmax", "argmin", "argsort", "asin", "asinh", "atan", "atan2", "atanh", "baddbmm", "bitwise_and",
    "bitwise_not", "bitwise_or", "bitwise_xor", "bmm", "broadcast_to", "cast", "ceil", "chunk", "clamp",
    "clamp_max", "clamp_min", "clip", "conj", "conj_physical", "copysign", "cos", "cosh", "count_nonzero", "cross",
    "cumsum", "deg2rad", "diag", "diag_embed", "diagflat", "diagonal", "diagonal_scatter", "diff", "dist", "div",
    "divide", "dot", "dsplit", "eq", "erf", "erfc", "exp", "exp2", "expand", "expm1", "fix", "flatten", "flip",
    "fliplr", "flipud", "float_power", "floor", "floor_divide", "fmax", "fmin", "fmod", "frac", "gather", "ge",
    "ger", "greater", "greater_equal", "gt", "hardshrink", "heaviside", "hsplit", "hypot", "index_add",
    "index_copy", "index_fill", "index_put", "index_select", "inner", "isclose", "isfinite", "isinf", "isnan",
    "isneginf", "isposinf", "isreal", "kron", "ldexp", "le", "lerp", "less", "less_equal", "log", "log10", "log1p",
    "log2", "log_softmax", "logaddexp", "logaddexp2", "logical_and", "logical_not", "logical_or", "logical_xor",
    "logit", "logsumexp", "lt", "masked_fill", "masked_scatter", "matmul", "max", "maximum", "mean", "min",
    "minimum", "mm", "moveaxis", "movedim", "mul", "multiply", "mv", "nan_to_num", "nanmean", "nansum", "narrow",
    "ne", "neg", "negative", "norm", "not_equal", "outer", "permute", "positive", "pow", "prelu", "prod", "rad2deg",
    "ravel", "reciprocal", "relu", "remainder", "repeat", "repeat_interleave", "reshape", "resolve_conj",
    "resolve_neg", "roll", "rot90", "round", "rsqrt", "scatter", "scatter_add", "select", "select_scatter", "sgn",
    "sigmoid", "sign", "signbit", "sin", "sinc", "sinh", "slice_scatter", "softmax", "sort", "split",
    "split_with_sizes", "sqrt", "square", "squeeze", "std", "sub", "subtract", "sum", "swapaxes", "swapdims",
    "take", "take_along_dim", "tan", "tanh", "tensor_split", "tile", "topk", "trace", "transpose", "tril", "triu",
    "true_divide", "trunc", "unbind", "unflatten", "unsafe_chunk", "unsafe_split", "unsqueeze", "var", "vdot",
    "vsplit", "xlogy",
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
    "__eq__": _of_operands(eq),
    "__ne__": _of_operands(ne),
    "__pos__": _as_it_is,
    "__bool__": truth,
    "__float__": lambda input: float(item(input)),
    "__int__": lambda input: int(item(input)),
    "__index__": index,
    "__array__": lambda input, dtype=None, copy=None: numpy(input).astype(dtype or input.dtype.numpy or "float32"),
    **{f"__r{name}__": _swapped(function) for name, function in _OPERATORS_OF_TWO.items()},
    "__getitem__": getitem,
    "__setitem__": setitem,
    "T": property(lambda input: permute(input, range(input.ndim)[::-1])),
    "mT": property(lambda input: transpose(input, -2, -1)),
    "H": property(lambda input: permute(input, range(input.ndim)[::-1])),
    "mH": property(lambda input: transpose(input, -2, -1)),
    "bfloat16": _to_type(bfloat16),
    "bool": _to_type(bool_),
    "clone": Tensor.copy,
    **dict.fromkeys(("contiguous", "cpu", "cuda", "detach", "requires_grad_", "detach_"), _as_it_is),
    "expand_as": expand_as,
    "device": property(lambda input: DEVICE),
    "is_cuda": property(lambda input: True),
    "requires_grad": property(lambda input: False),
    "data": property(_as_it_is),
    "double": double,
    "element_size": element_size,
    "float": _to_type(float32),
    "half": _to_type(float16),
    "int": _to_type(int32),
    "is_contiguous": lambda input, memory_format=None: True,
    "is_floating_point": is_floating_point,
    "item": item,
    "long": _to_type(int64),
    "new_tensor": new_tensor,
    "numpy": numpy,
    "real": property(_as_it_is),
    "stride": stride,
    "sum_to_size": sum_to_size,
    "tolist": tolist,
    "new_empty": new_empty,
    "new_full": new_full,
    "new_ones": new_ones,
    "new_zeros": new_zeros,
    "reshape_as": reshape_as,
    "to": to,
    "type": type_,
    "t": _transposed_matrix,
    "type_as": _type_as,
    "unfold": _windows,
    "view": reshape,
    "view_as": reshape_as,
    "where": _where_else,
}

# The functions that are methods in place under the same name and an underscore.
_IN_PLACE = (
    "abs", "absolute", "acos", "acosh", "add", "addbmm", "addcdiv", "addcmul", "addmm", "addmv", "addr", "arccos",
    "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "asin", "asinh", "atan", "atan2", "atanh",
    "baddbmm", "bitwise_and", "bitwise_not", "bitwise_or", "bitwise_xor", "ceil", "clamp", "clamp_max", "clamp_min",
    "clip", "conj_physical", "copysign", "cos", "cosh", "cumsum", "deg2rad", "div", "divide", "eq", "erf", "erfc",
    "exp", "exp2", "expm1", "fix", "floor", "floor_divide", "fmod", "frac", "ge", "greater", "greater_equal", "gt",
    "heaviside", "hypot", "index_add", "index_copy", "index_fill", "index_put", "ldexp", "le", "lerp", "less",
    "less_equal", "log", "log10", "log1p", "log2", "logical_and", "logical_not", "logical_or", "logical_xor",
    "logit", "lt", "masked_fill", "masked_scatter", "mul", "multiply", "nan_to_num", "ne", "neg", "negative",
    "not_equal", "pow", "rad2deg", "reciprocal", "relu", "remainder", "round", "rsqrt", "scatter", "scatter_add",
    "sgn", "sigmoid", "sign", "sin", "sinc", "sinh", "sqrt", "square", "sub", "subtract", "tan", "tanh", "tril",
    "triu", "true_divide", "trunc", "xlogy",
)  # fmt: skip
_METHODS_IN_PLACE = {
    **{f"{name}_": in_place(_METHODS[name]) for name in _IN_PLACE},
    **{f"__i{name}__": in_place(function) for name, function in _OPERATORS_OF_TWO.items() if name != "matmul"},
    **{
        f"{name}_": reshaping_in_place(_METHODS[name])
        for name in ("squeeze", "swapaxes", "swapdims", "t", "transpose", "unsqueeze")
    },
    "copy_": in_place(lambda input, src: cast(expand(src, input.shape), input.dtype)),
    "fill_": in_place(full_like),
    "zero_": in_place(zeros_like),
}


def _as_method(name: str, function: Any) -> Any:
    """Return a method as it is called from outside; operators take operands as they come."""
    has_door = name.startswith("__") or isinstance(function, property) or name in __all__
    return function if has_door else public(function, f"Tensor.{name}")


for _name, _function in (_METHODS | _METHODS_IN_PLACE).items():
    setattr(Tensor, _name, _as_method(_name, _function))


def _compared_as_itself(function: Callable[..., Any]) -> Callable[[Parameter, Any], Any]:
    """``==`` of two parameters is Python's own where nothing is traced, for who looks one up in a list."""

    def compare(parameter: Parameter, other: Any) -> Any:
        if current_graph() is None and isinstance(other, Parameter):
            return NotImplemented
        return function(of_array(parameter), other)

    return compare


def _on_parameter(name: str, function: Any) -> Any:
    if isinstance(function, property):
        return property(lambda parameter: function.fget(of_array(parameter)))
    if name.strip("_").removeprefix("r") in _OPERATORS_OF_TWO:  # they take operands of any kind
        return function
    if name.startswith("__"):
        return lambda parameter, *args, **kwargs: function(of_array(parameter), *args, **kwargs)
    return function  # its door makes a Tensor of it


Tensor.__torch_function__ = torch_function({name: globals()[name] for name in __all__})

# A parameter within forward does what a Tensor does. Outside it is an array: it has the numbers that it holds.
for _name, _function in {**_METHODS, "__iter__": lambda input: iter(unbind(input))}.items():
    if _name not in vars(Parameter) and _name != "data":
        setattr(Parameter, _name, _on_parameter(_name, _as_method(_name, _function)))
Parameter.dtype = property(dtype_of)
Parameter.__eq__, Parameter.__ne__ = (_compared_as_itself(_METHODS[name]) for name in ("__eq__", "__ne__"))
for _name in _METHODS_IN_PLACE:
    setattr(Parameter, _name, _refuse_in_place)
