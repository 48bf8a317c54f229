"""Transformers (https://arxiv.org/abs/1706.03762)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from trtnn import functional as F
from trtnn.errors import ArgumentError
from trtnn.graph.tensor import Tensor
from trtnn.modules.attention import MultiheadAttention
from trtnn.modules.container import ModuleList
from trtnn.modules.dropout import Dropout
from trtnn.modules.linear import Linear
from trtnn.modules.module import Module
from trtnn.modules.norm import LayerNorm
from trtnn.ops._arguments import Operand, expect_parts

Activation = str | Callable[[Tensor], Tensor]


def _activation(value: Activation) -> Callable[[Tensor], Tensor]:
    if callable(value):
        return value
    if value not in ("relu", "gelu"):
        raise ArgumentError(f"an activation is 'relu', 'gelu' or a function, not {value!r}")
    return {"relu": F.relu, "gelu": F.gelu}[value]


class _Layer(Module):
    """What the layers of encoder and decoder share: residual parts, each with its own norm before or behind."""

    attentions: tuple[str, ...]  # names; behind them comes the feed-forward network

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.norm_first = norm_first
        for name in self.attentions:
            self.add_module(name, MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first))
        self.linear1 = Linear(d_model, dim_feedforward, bias)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias)
        parts = range(1, len(self.attentions) + 2)
        for number in parts:
            self.add_module(f"norm{number}", LayerNorm(d_model, layer_norm_eps, bias=bias))
        for number in parts:
            self.add_module(f"dropout{number}", Dropout(dropout))
        self.activation = _activation(activation)

    def _residual(self, x: Tensor, number: int, part: Callable[[Tensor], Tensor]) -> Tensor:
        norm, dropout = getattr(self, f"norm{number}"), getattr(self, f"dropout{number}")
        return x + dropout(part(norm(x))) if self.norm_first else norm(x + dropout(part(x)))

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))


class TransformerEncoderLayer(_Layer):
    """Self-attention and a feed-forward network, as torch.nn.TransformerEncoderLayer.

    Shape: (length, batch, d_model), or with ``batch_first`` the batch first, or without one; in and out.

    Args:
        d_model: the width of each place.
        nhead: how many heads; a divisor of ``d_model``.
        dim_feedforward: the width within the feed-forward network.
        dropout: of training, where it has its effect.
        activation: ``"relu"``, ``"gelu"`` or a function, within the feed-forward network.
        layer_norm_eps: what is added to variances.
        batch_first: whether the batch comes before the length.
        norm_first: whether each part is normalised before it, not behind.
        bias: whether linear layers and norms have one.
    """

    attentions = ("self_attn",)

    def forward(
        self,
        src: Tensor,
        src_mask: Operand | None = None,
        src_key_padding_mask: Operand | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        def attend(x: Tensor) -> Tensor:
            return self.self_attn(x, x, x, src_key_padding_mask, need_weights=False, attn_mask=src_mask)[0]

        return self._residual(self._residual(src, 1, attend), 2, self._feed_forward)


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to an encoder's output and a feed-forward network, as torch.nn.TransformerDecoderLayer.

    Shape: (length, batch, d_model), or with ``batch_first`` the batch first, or without one; in and out.

    Args:
        d_model: the width of each place.
        nhead: how many heads; a divisor of ``d_model``.
        dim_feedforward: the width within the feed-forward network.
        dropout: of training, where it has its effect.
        activation: ``"relu"``, ``"gelu"`` or a function, within the feed-forward network.
        layer_norm_eps: what is added to variances.
        batch_first: whether the batch comes before the length.
        norm_first: whether each part is normalised before it, not behind.
        bias: whether linear layers and norms have one.
    """

    attentions = ("self_attn", "multihead_attn")

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Operand | None = None,
        memory_mask: Operand | None = None,
        tgt_key_padding_mask: Operand | None = None,
        memory_key_padding_mask: Operand | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        def attend(x: Tensor) -> Tensor:
            return self.self_attn(x, x, x, tgt_key_padding_mask, need_weights=False, attn_mask=tgt_mask)[0]

        def look(x: Tensor) -> Tensor:
            keys = memory, memory, memory_key_padding_mask
            return self.multihead_attn(x, *keys, need_weights=False, attn_mask=memory_mask)[0]

        return self._residual(self._residual(self._residual(tgt, 1, attend), 2, look), 3, self._feed_forward)


class _Stack(Module):
    """Copies of a layer one after another, and a norm behind them."""

    def _declare(self, part: Module, num_layers: int, norm: Module | None) -> None:
        expect_parts(num_layers, f"num_layers of {type(self).__name__}")
        self.layers = ModuleList(copy.deepcopy(part) for _ in range(num_layers))
        self.num_layers = num_layers
        self.add_module("norm", norm)

    def _run(self, x: Tensor, *args: Any) -> Tensor:
        for part in self.layers:
            x = part(x, *args)
        return x if self.norm is None else self.norm(x)


class TransformerEncoder(_Stack):
    """Copies of an encoder layer, as torch.nn.TransformerEncoder.

    Args:
        encoder_layer: the layer that is copied.
        num_layers: how often.
        norm: a module behind the last layer, or None.
        enable_nested_tensor, mask_check: of torch's own speed, without effect. With them torch gives zeros for padding
            where it records no gradients; here padding is what the layers give, as it is there with gradients.
    """

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__()
        self._declare(encoder_layer, num_layers, norm)

    def forward(
        self,
        src: Tensor,
        mask: Operand | None = None,
        src_key_padding_mask: Operand | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        return self._run(src, mask, src_key_padding_mask)


class TransformerDecoder(_Stack):
    """Copies of a decoder layer, as torch.nn.TransformerDecoder.

    Args:
        decoder_layer: the layer that is copied.
        num_layers: how often.
        norm: a module behind the last layer, or None.
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self._declare(decoder_layer, num_layers, norm)

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Operand | None = None,
        memory_mask: Operand | None = None,
        tgt_key_padding_mask: Operand | None = None,
        memory_key_padding_mask: Operand | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        return self._run(tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask)


class Transformer(Module):
    """An encoder and a decoder, as torch.nn.Transformer.

    Shape: src (source, batch, d_model), tgt (length, batch, d_model), or with ``batch_first`` the batch first, or
    without one; to (length, batch, d_model).

    Args:
        d_model: the width of each place.
        nhead: how many heads; a divisor of ``d_model``.
        num_encoder_layers, num_decoder_layers: how many layers each has.
        dim_feedforward: the width within the feed-forward network.
        dropout: of training, where it has its effect.
        activation: ``"relu"``, ``"gelu"`` or a function, within the feed-forward network.
        custom_encoder, custom_decoder: modules in place of those that are made here, or None.
        layer_norm_eps: what is added to variances.
        batch_first: whether the batch comes before the length.
        norm_first: whether each part is normalised before it, not behind.
        bias: whether linear layers and norms have one.
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        custom_encoder: Module | None = None,
        custom_decoder: Module | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        of_layer = (
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias,
        )  # fmt: skip

        def stack(kind: type[TransformerEncoder | TransformerDecoder], of: type[_Layer], count: int) -> Module:
            return kind(of(*of_layer), count, LayerNorm(d_model, layer_norm_eps, bias=bias))

        if custom_encoder is None:
            custom_encoder = stack(TransformerEncoder, TransformerEncoderLayer, num_encoder_layers)
        if custom_decoder is None:
            custom_decoder = stack(TransformerDecoder, TransformerDecoderLayer, num_decoder_layers)
        self.add_module("encoder", custom_encoder)
        self.add_module("decoder", custom_decoder)
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Operand | None = None,
        tgt_mask: Operand | None = None,
        memory_mask: Operand | None = None,
        src_key_padding_mask: Operand | None = None,
        tgt_key_padding_mask: Operand | None = None,
        memory_key_padding_mask: Operand | None = None,
    ) -> Tensor:
        memory = self.encoder(src, src_mask, src_key_padding_mask)
        masks = tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask
        return self.decoder(tgt, memory, *masks)

    @staticmethod
    def generate_square_subsequent_mask(sz: int) -> np.ndarray:
        """Return a causal mask: -infinity above the diagonal, else 0."""
        return np.triu(np.full((sz, sz), -np.inf, np.float32), 1)
