"""Attention."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from trtnn.dtypes import bool_, finfo, float16, float32
from trtnn.errors import ArgumentError, ShapeError, UnsupportedError
from trtnn.graph.precision import HALF_SCORES
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Operand
from trtnn.ops._promotion import cast, wide
from trtnn.ops.activation import softmax
from trtnn.ops.arithmetic import add, mul
from trtnn.ops.comparison import gt, where
from trtnn.ops.creation import lower_triangle
from trtnn.ops.matrix import matmul
from trtnn.ops.shaping import transpose
from trtnn.ops.tiling import repeat_interleave
from trtnn.shapes.floats import SymFloat


def attention_weights(
    query: Tensor, key: Tensor, attn_mask: Operand | None = None, is_causal: bool = False, scale: float | None = None
) -> Tensor:
    """Return softmax(query @ keyᵀ · scale + mask), (..., L, S).

    The arguments are those of :func:`scaled_dot_product_attention`.

    Up to the weights all is carried in fp32, as torch's kernels do: fp16 keeps a score of 16 to 1/128, by which the
    weight of a key is 0.8 % off, and a score ends at 65504. The weights are fp16 again, and so is their product.

    With ``fp16_attention`` all is fp16, of which TensorRT makes one kernel (8.6.0); it has none of fp16 that gives or
    keeps scores in fp32. Query and key are each scaled by the root before the product: of scores that are scaled
    behind it TensorRT 8.6.0 was seen to make wrong numbers without a word, see docs/limits.md.
    """
    lengths, dtype = (query.shape[-2], key.shape[-2]), query.dtype
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    if _scores_are_half(query, key, attn_mask, factor):
        query.graph.chose(HALF_SCORES)
        root, key = math.sqrt(abs(factor)), transpose(key, -2, -1)
        scores = matmul(mul(query, math.copysign(root, factor)), mul(key, root))
    else:  # scaled behind the product: before it they would be numbers that TF32 rounds
        scores = mul(matmul(wide(query), transpose(wide(key), -2, -1)), factor)
    if is_causal:
        scores = _blind(lower_triangle(*lengths), scores)
    if attn_mask is not None:
        mask = _as_tensor(query, attn_mask)
        scores = _blind(mask, scores) if mask.dtype is bool_ else add(scores, cast(mask, scores.dtype))
    return cast(softmax(scores, -1), dtype)


def _scores_are_half(query: Tensor, key: Tensor, mask: Operand | None, factor: Any) -> bool:
    """Return whether the scores of attention are in fp16.

    They are not where numbers are added to them: -65504, which stands for -infinity, less 16 is -infinity, and the
    softmax of a row of such is NaN.
    """
    precision = query.graph.precision
    types = (float16, float32) if precision.is_alike else (float16,)
    return (
        precision.fp16_attention
        and query.dtype in types
        and key.dtype in types
        and (mask is None or _is_bool(query, mask))
        and not isinstance(factor, (SymFloat, Tensor))  # whose sign is not known
    )


def _blind(sees: Tensor, scores: Tensor) -> Tensor:
    """Return scores with -infinity where nothing is to be seen; where that takes layers, a number serves as well."""
    least = finfo(float16).min if scores.dtype is float16 else -1e38
    if scores.graph.backend.capabilities.strongly_typed:
        least = -math.inf
    return where(sees, scores, scores.graph.constant(least, scores.dtype))


def _is_bool(query: Tensor, mask: Operand) -> bool:
    if isinstance(mask, Tensor):
        return mask.dtype is bool_
    return query.graph.held(mask).dtype == np.bool_


def _as_tensor(query: Tensor, mask: Operand) -> Tensor:
    if isinstance(mask, Tensor):
        return mask
    return query.graph.constant(mask, bool_ if _is_bool(query, mask) else query.dtype)


def _may_be_blind(mask: Operand) -> bool:
    """Return whether a mask may have a row that goes nowhere; of an array that is certain."""
    if not isinstance(mask, np.ndarray):
        return True
    return bool((~mask if mask.dtype == np.bool_ else np.isneginf(mask)).all(-1).any())


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Operand | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return softmax(query @ keyᵀ · scale + mask) @ value, as torch's function of that name.

    https://arxiv.org/abs/1706.03762

    In a network in fp16 the scores, query @ keyᵀ · scale + mask, and their softmax are fp32, as in torch's kernels.
    With ``compile(fp16=True, fp16_attention=True)`` they are fp16, but where numbers are added as a mask, or query and
    key are not fp16; ``Network.summary()`` names the modules, and :meth:`trtnn.Module.trace` says what it costs.

    Args:
        query: (..., L, E).
        key, value: (..., S, E) and (..., S, Ev).
        attn_mask: broadcast to (..., L, S): bools, true where attention may go, or numbers to add, -inf where it may
            not. A row that may go nowhere gives zeros.
        dropout_p: 0; dropout is for training.
        is_causal: whether place i attends to places up to i alone; not beside a mask.
        scale: 1 / sqrt(E) where None.
        enable_gqa: whether several heads of the query (dimension -3) share one of key and value.

    Returns:
        (..., L, Ev).

    Raises:
        UnsupportedError: ``dropout_p`` is not 0.
        ArgumentError: ``is_causal`` beside a mask.
        ShapeError: the tensors do not fit together.
    """
    if dropout_p:
        raise UnsupportedError(f"attention with dropout {dropout_p}", "dropout is for training")
    if is_causal and attn_mask is not None:
        raise ArgumentError("attention takes is_causal or a mask, not both")
    takes = "(..., heads, length, numbers) where they share heads" if enable_gqa else "(..., length, numbers)"
    for tensor in (query, key, value):
        if tensor.ndim < (3 if enable_gqa else 2):
            raise ShapeError(f"attention in {query.graph.where} takes {takes}, not {tensor.shape}")
    if enable_gqa:
        heads = query.shape[-3]
        key, value = (repeat_interleave(t, heads // t.shape[-3], -3) for t in (key, value))
    if attn_mask is None:
        return matmul(attention_weights(query, key, None, is_causal, scale), value)
    mask = _as_tensor(query, attn_mask)
    weights = attention_weights(query, key, mask, is_causal, scale)
    if _may_be_blind(attn_mask):
        weights = where(mask if mask.dtype is bool_ else gt(mask, -math.inf), weights, 0.0)
    return matmul(weights, value)
