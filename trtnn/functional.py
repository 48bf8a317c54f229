"""Every operation, with torch's names, arguments, defaults and meanings.

Functions take :class:`trtnn.Tensor`, numbers and NumPy arrays, add layers to the graph that is being traced, and
return Tensors. Weights are :class:`trtnn.Parameter` or NumPy arrays; they take the element type of the Tensor that they
work on. Where TensorRT cannot do what torch does, a function raises :class:`trtnn.UnsupportedError`.

What torch does in place, a Tensor does under every name that it has; see :mod:`trtnn.ops._inplace`.

Types promote and shapes broadcast as in torch. Whole numbers that an operation makes (indices, counts, ``arange``) are
int64, and int32 where TensorRT has no int64 (8.6).

The formulas are those of torch.nn.functional (https://docs.pytorch.org/docs/stable/nn.functional.html), the layers
those of TensorRT's operator reference (https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/operators/index.html).
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

from trtnn.errors import ShapeError
from trtnn.graph.tensor import Tensor
from trtnn.ops import fft, linalg
from trtnn.ops._inplace import joining, repeating, viewing, viewing_parts
from trtnn.ops._promotion import cast
from trtnn.ops.activation import (
    alpha_dropout,
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
from trtnn.ops.arithmetic import (
    add,
    clamp,
    maximum,
    minimum,
    mul,
    pow,
    square,
    sub,
    trunc,
)
from trtnn.ops.attention import scaled_dot_product_attention
from trtnn.ops.blending import addcdiv, addcmul, lerp
from trtnn.ops.calling import public
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
from trtnn.ops.complex import (
    abs,
    angle,
    cat,
    complex,
    conj,
    einsum,
    exp,
    imag,
    is_complex,
    pad,
    polar,
    real,
    stack,
    view_as_complex,
    view_as_real,
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
from trtnn.ops.distances import cdist, pdist
from trtnn.ops.division import bitwise_left_shift, bitwise_right_shift, div, floor_divide, fmod, remainder
from trtnn.ops.embedding import embedding, embedding_bag
from trtnn.ops.empty import empty, empty_like, scalar_tensor
from trtnn.ops.facts import broadcast_shapes, clone, is_tensor, numel
from trtnn.ops.gathering import gather, index_add, one_hot, scatter_add, unfold, windows
from trtnn.ops.heads import multi_head_attention_forward
from trtnn.ops.indexing import getitem, index_select, narrow, select, unbind
from trtnn.ops.joining import chunk, split
from trtnn.ops.linear import bilinear, linear
from trtnn.ops.logarithms import exp2, expm1, log1p, log2, log10, logaddexp, logaddexp2, logit, xlogy
from trtnn.ops.matrix import bmm, dot, matmul, mm, mv, outer
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
from trtnn.ops.middle import kthvalue, median, mode, nanmedian
from trtnn.ops.missing import explain
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
from trtnn.ops.norms import norm
from trtnn.ops.ordering import argmax, argmin, argsort, max, min, msort, sort, topk
from trtnn.ops.packing import pack_padded_sequence, pad_packed_sequence
from trtnn.ops.places import is_floating_point
from trtnn.ops.placing import (
    index_copy,
    index_fill,
    index_put,
    masked_scatter,
    put,
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
from trtnn.ops.powers import erfc, frac, ldexp
from trtnn.ops.products import addbmm, addmm, addmv, addr, baddbmm, cross, grouped_mm, inner, kron, tensordot
from trtnn.ops.quantiles import nanquantile, quantile
from trtnn.ops.quantization import fake_quantize_per_channel_affine, fake_quantize_per_tensor_affine
from trtnn.ops.recurrent import (
    gru,
    gru_cell,
    lstm,
    lstm_cell,
    rnn_relu,
    rnn_relu_cell,
    rnn_tanh,
    rnn_tanh_cell,
)
from trtnn.ops.reduction import (
    all,
    amax,
    amin,
    any,
    count_nonzero,
    cumsum,
    logsumexp,
    mean,
    prod,
    std,
    sum,
    var,
)
from trtnn.ops.regions import roi_align
from trtnn.ops.resizing import interpolate
from trtnn.ops.running import cummax, cummin, cumprod, logcumsumexp
from trtnn.ops.sampling import affine_grid, grid_sample
from trtnn.ops.scattering import index_reduce, scatter, scatter_reduce
from trtnn.ops.searching import bucketize, histc, isin, searchsorted
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
from trtnn.ops.spectrogram import istft, stft
from trtnn.ops.spellings import (
    adjoint,
    broadcast_to,
    clamp_max,
    clamp_min,
    det,
    inverse,
    itself,
    matrix_power,
    positive,
    ravel,
    rsub,
    split_with_sizes,
    swapaxes,
    true_divide,
    unsafe_split,
    vdot,
)
from trtnn.ops.statistics import (
    aminmax,
    cumulative_trapezoid,
    diff,
    dist,
    nanmean,
    nansum,
    std_mean,
    trapezoid,
    var_mean,
)
from trtnn.ops.tiling import expand, flip, repeat, repeat_interleave, roll, tile
from trtnn.ops.turning import fliplr, flipud, rot90
from trtnn.ops.unary import (
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
    "angle",
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
    "bitwise_left_shift",
    "bitwise_not",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "blackman_window",
    "block_diag",
    "bmm",
    "broadcast_shapes",
    "broadcast_tensors",
    "broadcast_to",
    "bucketize",
    "cartesian_prod",
    "cast",
    "cat",
    "cdist",
    "ceil",
    "celu",
    "channel_shuffle",
    "chunk",
    "clamp",
    "clamp_max",
    "clamp_min",
    "clip",
    "clone",
    "column_stack",
    "combinations",
    "complex",
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
    "cummax",
    "cummin",
    "cumprod",
    "cumsum",
    "cumulative_trapezoid",
    "deform_conv2d",
    "deg2rad",
    "det",
    "detach",
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
    "fake_quantize_per_channel_affine",
    "fake_quantize_per_tensor_affine",
    "feature_alpha_dropout",
    "fix",
    "flatten",
    "flip",
    "fliplr",
    "flipud",
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
    "grouped_mm",
    "gru",
    "gru_cell",
    "gt",
    "hamming_window",
    "hann_window",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "heaviside",
    "histc",
    "hsplit",
    "hstack",
    "hypot",
    "imag",
    "index_add",
    "index_copy",
    "index_fill",
    "index_put",
    "index_reduce",
    "index_select",
    "inner",
    "instance_norm",
    "interpolate",
    "inverse",
    "is_complex",
    "is_floating_point",
    "is_tensor",
    "isclose",
    "isfinite",
    "isin",
    "isinf",
    "isnan",
    "isneginf",
    "isposinf",
    "isreal",
    "istft",
    "kaiser_window",
    "kron",
    "kthvalue",
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
    "logcumsumexp",
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
    "lstm",
    "lstm_cell",
    "lt",
    "masked_fill",
    "masked_scatter",
    "matmul",
    "matrix_power",
    "max",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "maximum",
    "mean",
    "median",
    "meshgrid",
    "min",
    "minimum",
    "mish",
    "mm",
    "mode",
    "modulated_deform_conv2d",
    "moveaxis",
    "movedim",
    "msort",
    "mul",
    "multi_head_attention_forward",
    "multiply",
    "mv",
    "nan_to_num",
    "nanmean",
    "nanmedian",
    "nanquantile",
    "nansum",
    "narrow",
    "ne",
    "neg",
    "negative",
    "norm",
    "normalize",
    "not_equal",
    "numel",
    "one_hot",
    "ones",
    "ones_like",
    "outer",
    "pack_padded_sequence",
    "pad",
    "pad_packed_sequence",
    "pairwise_distance",
    "pdist",
    "permute",
    "pixel_shuffle",
    "pixel_unshuffle",
    "polar",
    "positive",
    "pow",
    "prelu",
    "prod",
    "put",
    "quantile",
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
    "rnn_relu",
    "rnn_relu_cell",
    "rnn_tanh",
    "rnn_tanh_cell",
    "roi_align",
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
    "scatter_reduce",
    "searchsorted",
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
    "stft",
    "sub",
    "subtract",
    "sum",
    "swapaxes",
    "swapdims",
    "t",
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
    "view_as_complex",
    "view_as_real",
    "vsplit",
    "vstack",
    "where",
    "xlogy",
    "zeros",
    "zeros_like",
]


# Those whose results are views in torch, where one changes with the other.
_VIEWS = {
    **dict.fromkeys(
        (
            "adjoint", "chunk", "diagonal", "dsplit", "hsplit", "movedim", "narrow", "permute", "select", "split",
            "split_with_sizes", "squeeze", "swapaxes", "tensor_split", "transpose", "unbind", "unflatten",
            "unsafe_split", "unsqueeze", "vsplit",
        ),
        viewing,
    ),
    **dict.fromkeys(("flatten", "ravel", "reshape"), joining),
    **dict.fromkeys(("broadcast_to", "expand"), repeating),
}  # fmt: skip
globals().update({name: how(globals()[name]) for name, how in _VIEWS.items()})
getitem, windows = viewing_parts(getitem), viewing(windows)

# Torch's other names of operations, with the same arguments.
absolute, arccos, arccosh, arcsin, arcsinh = abs, acos, acosh, asin, asinh
arctan, arctan2, arctanh, clip, concat, concatenate = atan, atan2, atanh, clamp, cat, cat
conj_physical, divide, dropout1d, dropout2d, dropout3d = conj, div, dropout, dropout, dropout
feature_alpha_dropout, fix, ger, greater, greater_equal, less = alpha_dropout, trunc, outer, gt, ge, lt
less_equal, moveaxis, multiply, negative, not_equal = le, movedim, mul, neg, ne
detach = viewing(itself)
resolve_conj, resolve_neg, row_stack, sgn, subtract, swapdims = itself, itself, vstack, sign, sub, transpose
trapz, unsafe_chunk = trapezoid, chunk


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """Return :func:`expand` to the shape of another tensor."""
    return expand(input, other.shape)


def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """Return :func:`reshape` to the shape of another tensor."""
    return reshape(input, other.shape)


def t(input: Tensor) -> Tensor:
    """Return the transpose of a matrix; fewer dimensions stay as they are.

    Raises:
        ShapeError: there are more than two dimensions.
    """
    if input.ndim > 2:
        raise ShapeError(f"t in {input.graph.where} takes at most two dimensions, not {input.shape}", "use mT")
    return transpose(input, 0, 1) if input.ndim == 2 else input.view_of_all()


# Operations call one another as they are; from outside each is called by its door.
_inner = {name: globals()[name] for name in __all__}
globals().update({name: public(function, name) for name, function in _inner.items()})
for _module, _prefix in ((linalg, "linalg"), (fft, "fft")):
    for _name in _module.__all__:
        setattr(_module, _name, public(getattr(_module, _name), f"{_prefix}.{_name}"))


def __getattr__(name: str) -> Any:
    """Return torch's function of a method in place, or say of one that is not here why, and what to use instead."""
    if name.endswith("_") and hasattr(Tensor, name) and not name.startswith("_"):
        return getattr(Tensor, name)
    function = globals().get(name.removesuffix("_")) if name.endswith("_") else None
    if function is not None and name[:-1] in __all__ and "inplace" in inspect.signature(function).parameters:
        return functools.partial(function, inplace=True)
    raise AttributeError(explain("trtnn.functional", name, () if name.startswith("_") else __all__))
