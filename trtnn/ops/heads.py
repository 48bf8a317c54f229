"""Attention of several heads, with the weights of its projections."""

from __future__ import annotations

import numpy as np

from trtnn.dtypes import bool_
from trtnn.errors import ArgumentError, ShapeError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Array, Operand
from trtnn.ops._promotion import cast
from trtnn.ops.activation import refuse_dropout
from trtnn.ops.arithmetic import add
from trtnn.ops.attention import attention_weights, scaled_dot_product_attention
from trtnn.ops.comparison import where
from trtnn.ops.joining import cat
from trtnn.ops.linear import linear
from trtnn.ops.matrix import matmul
from trtnn.ops.padding import pad
from trtnn.ops.reduction import mean
from trtnn.ops.shaping import flatten, reshape, squeeze, transpose, unflatten, unsqueeze
from trtnn.ops.tiling import expand
from trtnn.shapes.symbolic import Length, same, same_shape


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Array | None,
    in_proj_bias: Array | None,
    bias_k: Array | None,
    bias_v: Array | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Array,
    out_proj_bias: Array | None,
    training: bool = True,
    key_padding_mask: Operand | None = None,
    need_weights: bool = True,
    attn_mask: Operand | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Array | None = None,
    k_proj_weight: Array | None = None,
    v_proj_weight: Array | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Return multi-head attention, as ``torch.nn.functional.multi_head_attention_forward``.

    https://arxiv.org/abs/1706.03762

    Shape: query (length, batch, embed_dim), key and value (source, batch, ...), or without a batch.

    Args:
        embed_dim_to_check: what the query's last dimension is to be.
        in_proj_weight: (3 · embed_dim, embed_dim), for query, key and value; or None, with
            ``use_separate_proj_weight`` and the three apart.
        in_proj_bias: (3 · embed_dim,).
        bias_k, bias_v: a learned key and value that follow the others.
        add_zero_attn: whether a key and a value of zeros follow the others.
        dropout_p, training: as of :func:`dropout`: ``training=False`` where dropout_p is not 0.
        key_padding_mask: (batch, source): true where a key is not to be seen, or numbers to add.
        need_weights: whether the weights are wanted.
        attn_mask: (length, source) or (batch · num_heads, length, source): the same for each pair.
        static_k, static_v: (batch · num_heads, source, head_dim), in place of the projected keys and values.
        average_attn_weights: whether the weights are the mean of the heads', else (batch, heads, length, source).
        is_causal: a hint that ``attn_mask`` is causal, as in torch; it needs one.

    Returns:
        What attention gives, of the query's shape, and its weights (batch, length, source), or None.

    Raises:
        ShapeError: the tensors, the masks or the number of heads do not fit together.
        ArgumentError: ``is_causal`` without ``attn_mask``, or no weights of the projections.
        UnsupportedError: ``training`` with a dropout_p that is not 0.
    """
    refuse_dropout(dropout_p, training, "multi_head_attention_forward")
    embed_dim = query.shape[-1]
    if is_causal and attn_mask is None:
        raise ArgumentError("attention takes is_causal as a hint beside attn_mask", "give attn_mask")
    if query.ndim not in (2, 3) or query.ndim != key.ndim or key.ndim != value.ndim:
        raise ShapeError(f"attention got shapes {query.shape}, {key.shape} and {value.shape}")
    if not same(embed_dim, embed_dim_to_check) or embed_dim_to_check % num_heads:
        raise ShapeError(
            f"attention of {num_heads} heads and an embed_dim of {embed_dim_to_check} got a query of {query.shape}"
        )
    batched = query.ndim == 3
    tensors = [transpose(t, 0, 1) if batched else unsqueeze(t, 0) for t in (query, key, value)]
    graph = query.graph
    rows = [slice(i * embed_dim_to_check, (i + 1) * embed_dim_to_check) for i in range(3)]
    if use_separate_proj_weight:
        weights = [weight for weight in (q_proj_weight, k_proj_weight, v_proj_weight) if weight is not None]
    else:
        weights = [] if in_proj_weight is None else [graph.held(in_proj_weight)[r] for r in rows]
    if len(weights) < 3:
        raise ArgumentError(
            "attention without weights of its projections",
            "it takes in_proj_weight, or with use_separate_proj_weight those of q, k and v",
        )
    biases = [None] * 3 if in_proj_bias is None else [graph.held(in_proj_bias)[r] for r in rows]
    q, k, v = (linear(t, w, b) for t, w, b in zip(tensors, weights, biases, strict=True))
    if key_padding_mask is not None and not batched:
        mask = key_padding_mask
        key_padding_mask = unsqueeze(mask, 0) if isinstance(mask, Tensor) else graph.held(mask)[None]
    heads, shown = attend(
        q, k, v, num_heads, bias_k, bias_v, add_zero_attn, key_padding_mask, attn_mask,
        need_weights, average_attn_weights, static_k, static_v,
    )  # fmt: skip
    output = linear(heads, out_proj_weight, out_proj_bias)
    if batched:
        return transpose(output, 0, 1), shown
    return squeeze(output, 0), None if shown is None else squeeze(shown, 0)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    num_heads: int,
    bias_k: Array | None,
    bias_v: Array | None,
    add_zero_attn: bool,
    key_padding_mask: Operand | None,
    attn_mask: Operand | None,
    need_weights: bool,
    average_attn_weights: bool,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Return what all heads give, (batch, length, embed_dim), and the weights that they attend with, or None.

    Args:
        query, key, value: projected, (batch, length or source, embed_dim).
        num_heads and what follows: as of :func:`multi_head_attention_forward`.
    """
    batch = query.shape[0]
    extra = int(bias_k is not None) + int(add_zero_attn)
    key, value = _with_learned(key, bias_k), _with_learned(value, bias_v)
    q, k, v = (transpose(unflatten(t, 2, (num_heads, t.shape[2] // num_heads)), 1, 2) for t in (query, key, value))
    k, v = (
        t if static is None else reshape(static, (batch, num_heads, *static.shape[1:]))
        for t, static in ((k, static_k), (v, static_v))
    )
    if add_zero_attn:
        k, v = (pad(t, (0, 0, 0, 1)) for t in (k, v))
    mask = _mask(q, k.shape[2], extra, attn_mask, key_padding_mask)
    shown = None
    if need_weights:
        shown = attention_weights(q, k, mask)
        heads = matmul(shown, v)
        shown = mean(shown, 1) if average_attn_weights else shown
    else:
        heads = scaled_dot_product_attention(q, k, v, mask)
    return flatten(transpose(heads, 1, 2), 2), shown


def _with_learned(tensor: Tensor, learned: Array | None) -> Tensor:
    """Return keys or values with the learned one behind them."""
    if learned is None:
        return tensor
    one = reshape(tensor.graph.constant(learned, tensor.dtype), (1, 1, -1))
    return cat([tensor, expand(one, (tensor.shape[0], 1, tensor.shape[2]))], 1)


def _as_numbers(mask: Operand, query: Tensor) -> Tensor | np.ndarray:
    """Return a mask as numbers to add: torch's bools are true where attention may not go."""
    graph = query.graph
    if not isinstance(mask, Tensor):
        held = graph.held(mask)
        return np.where(held, -np.inf, 0.0) if held.dtype == np.bool_ else held
    if mask.dtype is not bool_:
        return cast(mask, query.dtype)
    return where(mask, graph.constant(-np.inf, query.dtype), graph.constant(0, query.dtype))


def _mask(
    query: Tensor, source: Length, extra: int, attn_mask: Operand | None, padding: Operand | None
) -> Tensor | np.ndarray | None:
    """Return what is added to the scores, broadcast to (batch, heads, length, source), or None.

    What is known stays an array, of which it is known too whether a row of it goes nowhere.

    Args:
        extra: how many of the keys were added behind those that the masks know; these are seen by all.
    """
    batch, heads, length, _ = query.shape
    seen = source - extra
    kinds = (
        ("attn_mask", attn_mask, [(length, seen), (batch * heads, length, seen)], (batch, heads, length, seen)),
        ("key_padding_mask", padding, [(batch, seen)], (batch, 1, 1, seen)),
    )
    masks = []
    for name, values, shapes, wanted in kinds:
        if values is None:
            continue
        mask = _as_numbers(values, query)
        if not any(same_shape(mask.shape, shape) for shape in shapes):
            raise ShapeError(f"attention got {name} of shape {mask.shape}", f"it takes {' or '.join(map(str, shapes))}")
        if mask.ndim == 3 or name == "key_padding_mask":
            mask = mask.reshape(wanted)
        if extra:
            ends = [(0, 0)] * (mask.ndim - 1) + [(0, extra)]
            mask = pad(mask, (0, extra)) if isinstance(mask, Tensor) else np.pad(mask, ends)
        masks.append(mask)
    if len(masks) == 2 and any(isinstance(mask, Tensor) for mask in masks):
        return add(*masks)
    return sum(masks[1:], masks[0]) if masks else None
