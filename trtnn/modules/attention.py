"""Attention of several heads."""

from __future__ import annotations

from typing import Any

from trtnn import functional as F
from trtnn.errors import ArgumentError, ShapeError
from trtnn.graph.tensor import Tensor
from trtnn.modules.linear import Linear
from trtnn.modules.module import Module
from trtnn.ops._arguments import Array, expect_parts, expect_probability
from trtnn.ops.heads import attend
from trtnn.parameter import Parameter


class MultiheadAttention(Module):
    """Attention of several heads, as torch.nn.MultiheadAttention (https://arxiv.org/abs/1706.03762).

    Shape: query (length, batch, embed_dim), key (source, batch, kdim), value (source, batch, vdim), or with
    ``batch_first`` the batch first, or without a batch; to (length, batch, embed_dim).

    Args:
        num_heads: how many; a divisor of ``embed_dim``.
        bias: whether the projections have one.
        dropout: of training, where it has its effect.
        add_bias_kv: whether a learned key and value follow the others.
        add_zero_attn: whether a key and a value of zeros follow the others.
        kdim, vdim: embed_dim where None.

    Attributes:
        in_proj_weight: (3 · embed_dim, embed_dim); or, with other kdim or vdim, q_proj_weight, k_proj_weight and
            v_proj_weight.
        in_proj_bias: (3 · embed_dim,), or None.
        out_proj: Linear(embed_dim, embed_dim).
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        widths = {"embed_dim": embed_dim, "num_heads": num_heads, "kdim": kdim, "vdim": vdim}
        for name, width in widths.items():
            if width is not None:
                expect_parts(width, f"{name} of MultiheadAttention")
        expect_probability(dropout, "MultiheadAttention", "dropout")
        if embed_dim % num_heads:
            raise ArgumentError(f"MultiheadAttention: embed_dim {embed_dim} does not divide into {num_heads} heads")
        self.embed_dim, self.num_heads, self.dropout, self.batch_first = embed_dim, num_heads, dropout, batch_first
        self.kdim, self.vdim = (embed_dim if width is None else width for width in (kdim, vdim))
        self.head_dim, self.add_zero_attn = embed_dim // num_heads, add_zero_attn
        together = self.kdim == self.vdim == embed_dim
        self.register_parameter("in_proj_weight", Parameter(3 * embed_dim, embed_dim) if together else None)
        for name, width in (("q", embed_dim), ("k", self.kdim), ("v", self.vdim)):
            self.register_parameter(f"{name}_proj_weight", None if together else Parameter(embed_dim, width))
        self.register_parameter("in_proj_bias", Parameter(3 * embed_dim) if bias else None)
        for name in ("bias_k", "bias_v"):
            self.register_parameter(name, Parameter(1, 1, embed_dim) if add_bias_kv else None)
        self.out_proj = Linear(embed_dim, embed_dim, bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | Array | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | Array | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return what attention gives, and its weights (batch, length, source), or None.

        Args:
            key_padding_mask: (batch, source): true where a key is not to be seen, or numbers to add.
            need_weights: whether the weights are wanted. As in torch, a place that may go nowhere gives NaN with them,
                and zeros in place of what it attends to without.
            attn_mask: (length, source) or (batch · num_heads, length, source): the same for each pair.
            average_attn_weights: whether the weights are the mean of the heads', else (batch, heads, length, source).
            is_causal: a hint that ``attn_mask`` is causal, as in torch; it needs one.
        """
        if is_causal and attn_mask is None:
            raise ArgumentError("MultiheadAttention takes is_causal as a hint beside attn_mask", "give attn_mask")
        if query.ndim not in (2, 3) or query.ndim != key.ndim or key.ndim != value.ndim:
            raise ShapeError(f"MultiheadAttention got shapes {query.shape}, {key.shape} and {value.shape}")
        batched = query.ndim == 3
        if not batched:
            query, key, value = (F.unsqueeze(tensor, 0) for tensor in (query, key, value))
            key_padding_mask = None if key_padding_mask is None else key_padding_mask[None]
        elif not self.batch_first:
            query, key, value = (F.transpose(tensor, 0, 1) for tensor in (query, key, value))
        heads, shown = attend(
            self._project(query, 0), self._project(key, 1), self._project(value, 2),
            self.num_heads, self.bias_k, self.bias_v, self.add_zero_attn,
            key_padding_mask, attn_mask, need_weights, average_attn_weights,
        )  # fmt: skip
        output = self.out_proj(heads)
        if not batched:
            return F.squeeze(output, 0), None if shown is None else F.squeeze(shown, 0)
        return output if self.batch_first else F.transpose(output, 0, 1), shown

    def _project(self, tensor: Tensor, which: int) -> Tensor:
        """Return queries, keys or values of all heads, (batch, length, embed_dim)."""
        rows = slice(which * self.embed_dim, (which + 1) * self.embed_dim)
        if self.in_proj_weight is not None:
            weight = tensor.graph.held(self.in_proj_weight)[rows]
        else:
            weight = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)[which]
        bias = None if self.in_proj_bias is None else tensor.graph.held(self.in_proj_bias)[rows]
        return F.linear(tensor, weight, bias)
