"""Attention."""

from __future__ import annotations

import math

import numpy as np

from trtnn.dtypes import bool_
from trtnn.errors import ArgumentError, UnsupportedError
from trtnn.ops.activation import softmax
from trtnn.ops.arguments import Operand
from trtnn.ops.arithmetic import add, mul
from trtnn.ops.comparison import where
from trtnn.ops.creation import lower_triangle
from trtnn.ops.matrix import matmul
from trtnn.ops.shaping import transpose
from trtnn.ops.tiling import repeat_interleave
from trtnn.tensor import Tensor


def attention_weights(
    query: Tensor, key: Tensor, attn_mask: Operand | None = None, is_causal: bool = False, scale: float | None = None
) -> Tensor:
    """softmax(query @ keyᵀ · scale + mask), (..., L, S); the arguments are those of the next function."""
    graph, lengths = query.graph, (query.shape[-2], key.shape[-2])
    scores = matmul(mul(query, 1 / math.sqrt(query.shape[-1]) if scale is None else scale), transpose(key, -2, -1))
    masks = [lower_triangle(*lengths)] if is_causal else []
    if isinstance(attn_mask, np.ndarray) and attn_mask.dtype == np.bool_:
        masks.append(graph.constant(attn_mask, bool_))
    elif isinstance(attn_mask, Tensor) and attn_mask.dtype is bool_:
        scores = where(attn_mask, scores, -math.inf)
    elif attn_mask is not None:
        scores = add(scores, attn_mask)
    for mask in masks:
        scores = where(mask, scores, -math.inf)
    return softmax(scores, -1)


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
    """softmax(query @ keyᵀ · scale + mask) @ value, as ``torch.nn.functional.scaled_dot_product_attention``.

    https://arxiv.org/abs/1706.03762

    Args:
        query: (..., L, E).
        key, value: (..., S, E) and (..., S, Ev).
        attn_mask: broadcast to (..., L, S): bools, true where attention may go, or numbers to add.
        dropout_p: 0; dropout is for training.
        is_causal: whether place i attends to places up to i alone; not beside a mask.
        scale: 1 / sqrt(E) where None.
        enable_gqa: whether several heads of the query (dimension -3) share one of key and value.

    Returns:
        (..., L, Ev).
    """
    if dropout_p:
        raise UnsupportedError(f"attention with dropout {dropout_p}", "dropout is for training")
    if is_causal and attn_mask is not None:
        raise ArgumentError("attention takes is_causal or a mask, not both")
    if enable_gqa:
        heads = query.shape[-3]
        key, value = (repeat_interleave(t, heads // t.shape[-3], -3) for t in (key, value))
    return matmul(attention_weights(query, key, attn_mask, is_causal, scale), value)
