"""Attention."""

from __future__ import annotations

import math

import numpy as np

from trtnn.dtypes import bool_
from trtnn.errors import ArgumentError, UnsupportedError
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


def attention_weights(
    query: Tensor, key: Tensor, attn_mask: Operand | None = None, is_causal: bool = False, scale: float | None = None
) -> Tensor:
    """Return softmax(query @ keyᵀ · scale + mask), (..., L, S).

    The arguments are those of :func:`scaled_dot_product_attention`.

    Up to the weights all is carried in fp32, as torch's kernels do: fp16 keeps a score of 16 to 1/128, by which the
    weight of a key is 0.8 % off, and a score ends at 65504. The products of fp16 numbers are exact in TF32, so this
    product of matrices runs at half of the speed of fp16; the weights are fp16 again, and so is their product.
    """
    lengths, dtype = (query.shape[-2], key.shape[-2]), query.dtype
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    # Scaled behind the product: before it they would be numbers that TF32 rounds.
    scores = mul(matmul(wide(query), transpose(wide(key), -2, -1)), factor)
    if is_causal:
        scores = _blind(lower_triangle(*lengths), scores)
    if attn_mask is not None:
        mask = _as_tensor(query, attn_mask)
        scores = _blind(mask, scores) if mask.dtype is bool_ else add(scores, cast(mask, scores.dtype))
    return cast(softmax(scores, -1), dtype)


def _blind(sees: Tensor, scores: Tensor) -> Tensor:
    """Return scores with -infinity where nothing is to be seen; where that takes layers, -1e38 serves as well."""
    least = -math.inf if scores.graph.backend.capabilities.strongly_typed else -1e38
    return where(sees, scores, scores.graph.constant(least, scores.dtype))


def _as_tensor(query: Tensor, mask: Operand) -> Tensor:
    if isinstance(mask, Tensor):
        return mask
    is_bool = isinstance(mask, np.ndarray) and mask.dtype == np.bool_
    return query.graph.constant(mask, bool_ if is_bool else query.dtype)


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
