"""The blocks of diffusion networks, with the names and arguments of diffusers (https://arxiv.org/abs/2112.10752).

Residual blocks that take a time embedding (https://arxiv.org/abs/2006.11239), attention over all places, and layers to
half and to twice the size. A stage of a U-Net on its way down, whose result the way up joins again:

>>> from trtnn.modules import Module
>>> class Stage(Module):
...     def __init__(self, c_in, c_out, temb_channels):
...         super().__init__()
...         self.resnet = ResnetBlock2D(in_channels=c_in, out_channels=c_out, temb_channels=temb_channels)
...         self.attention = Attention(
...             c_out, heads=c_out // 8, dim_head=8, bias=True, norm_num_groups=32, residual_connection=True
...         )
...         self.downsampler = Downsample2D(c_out, use_conv=True, name="op")
...
...     def forward(self, sample, temb):
...         kept = self.attention(self.resnet(sample, temb))
...         return self.downsampler(kept), kept
>>> stage = Stage(32, 64, temb_channels=128)
>>> stage.inputs = {"sample": (1, 32, 32, 32), "temb": (1, 128)}

Where a network computes in fp16, group normalisation and what follows it at once are computed in fp32, as by torch's
autocast: the squares of a large activation overflow. Images and features are (batch, channels, height, width).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trtnn import functional as F
from trtnn.errors import ArgumentError
from trtnn.graph.tensor import Tensor
from trtnn.modules import AvgPool2d, Conv2d, Dropout, GroupNorm, Linear, Module, ModuleList
from trtnn.shapes.symbolic import Length

_ACTIVATIONS = {"swish": F.silu, "silu": F.silu, "mish": F.mish, "gelu": F.gelu, "relu": F.relu}
_FORMER_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def current_names(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state dict with the names that :class:`Attention` has, where it has those of the former AttentionBlock.

    These are ``query``, ``key``, ``value`` and ``proj_attn`` for ``to_q``, ``to_k``, ``to_v`` and ``to_out.0``.
    """

    def renamed(name: str) -> str:
        path, _, last = name.rpartition(".")
        parent, _, part = path.rpartition(".")
        return ".".join(filter(None, (parent, _FORMER_NAMES.get(part, part), last)))

    return {renamed(name): array for name, array in state_dict.items()}


class Downsample2D(Module):
    """To half the size, by a 3×3 convolution or by means of 2×2.

    Args:
        channels: of the input.
        use_conv: whether by convolution.
        out_channels: as many as ``channels`` where None; others need the convolution.
        padding: of the convolution; 0 pads below and on the right alone.
        name: ``"conv"`` has its parameters in a state dict also as ``Conv2d_0``, any other, such as ``"op"``, not.
    """

    def __init__(
        self,
        channels: int,
        use_conv: bool = False,
        out_channels: int | None = None,
        padding: int = 1,
        name: str = "conv",
    ) -> None:
        super().__init__()
        out_channels = out_channels or channels
        if not use_conv and out_channels != channels:
            raise ArgumentError(f"Downsample2D from {channels} to {out_channels} channels needs use_conv=True")
        self.use_conv, self.padding = use_conv, padding
        self.conv = Conv2d(channels, out_channels, 3, 2, padding) if use_conv else AvgPool2d(2, 2)
        if name == "conv":
            self.Conv2d_0 = self.conv

    def forward(self, hidden_states: Tensor) -> Tensor:
        if self.use_conv and self.padding == 0:
            hidden_states = F.pad(hidden_states, (0, 1, 0, 1))
        return self.conv(hidden_states)


class Upsample2D(Module):
    """To twice the size, or to a given one, by nearest neighbours and, where asked, a 3×3 convolution.

    Args:
        channels: of the input.
        use_conv: whether a convolution follows.
        out_channels: of the convolution; as many as ``channels`` where None.
    """

    def __init__(self, channels: int, use_conv: bool = False, *, out_channels: int | None = None) -> None:
        super().__init__()
        self.conv = Conv2d(channels, out_channels or channels, 3, 1, 1) if use_conv else None

    def forward(self, hidden_states: Tensor, output_size: Sequence[Length] | None = None) -> Tensor:
        larger = F.interpolate(hidden_states, output_size, 2 if output_size is None else None, mode="nearest")
        return larger if self.conv is None else self.conv(larger)


class ResnetBlock2D(Module):
    """Two 3×3 convolutions, each after group normalisation and an activation; a residual path, and a time embedding.

    Args:
        out_channels: as many as ``in_channels`` where None.
        temb_channels: of the time embedding; None for a block without.
        groups: of the first normalisation, and of the second where ``groups_out`` is None.
        non_linearity: ``"swish"``, ``"silu"``, ``"mish"``, ``"gelu"`` or ``"relu"``.
        skip_time_act: whether the embedding has been through the activation before.
        time_embedding_norm: ``"default"`` adds the embedding between the convolutions; ``"scale_shift"`` makes a scale
            less 1 and a shift of it, behind the second normalisation.
        output_scale_factor: what the result is divided by.
        up, down: whether the block changes the size, before its first convolution.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int | None = None,
        dropout: float = 0.0,
        temb_channels: int | None = 512,
        groups: int = 32,
        groups_out: int | None = None,
        eps: float = 1e-6,
        non_linearity: str = "swish",
        skip_time_act: bool = False,
        time_embedding_norm: str = "default",
        output_scale_factor: float = 1.0,
        up: bool = False,
        down: bool = False,
    ) -> None:
        super().__init__()
        if non_linearity not in _ACTIVATIONS:
            raise ArgumentError(f"non_linearity {non_linearity!r}", f"known: {', '.join(_ACTIVATIONS)}")
        if time_embedding_norm not in ("default", "scale_shift"):
            raise ArgumentError(f"time_embedding_norm {time_embedding_norm!r}", "known: 'default', 'scale_shift'")
        if time_embedding_norm == "scale_shift" and temb_channels is None:
            raise ArgumentError("time_embedding_norm='scale_shift' needs temb_channels")
        if up and down:
            raise ArgumentError("a ResnetBlock2D goes up or down, not both")
        out_channels = out_channels or in_channels
        self.temb_channels, self.skip_time_act = temb_channels, skip_time_act
        self.scale_shift, self.output_scale_factor = time_embedding_norm == "scale_shift", output_scale_factor
        self.norm1 = GroupNorm(groups, in_channels, eps)
        self.conv1 = Conv2d(in_channels, out_channels, 3, 1, 1)
        if temb_channels is not None:
            self.time_emb_proj = Linear(temb_channels, out_channels * (2 if self.scale_shift else 1))
        self.norm2 = GroupNorm(groups_out or groups, out_channels, eps)
        self.dropout = Dropout(dropout)
        self.conv2 = Conv2d(out_channels, out_channels, 3, 1, 1)
        self.nonlinearity = _ACTIVATIONS[non_linearity]
        self.resize = Upsample2D(in_channels) if up else Downsample2D(in_channels) if down else None
        self.conv_shortcut = Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, input_tensor: Tensor, temb: Tensor | None = None) -> Tensor:
        if (temb is None) != (self.temb_channels is None):
            raise ArgumentError(
                "a ResnetBlock2D takes a time embedding just where it was made for one",
                f"temb_channels={self.temb_channels}, temb {'is missing' if temb is None else 'is given'}",
            )
        x, dtype = input_tensor, input_tensor.dtype
        y = self.nonlinearity(self.norm1(x.float())).to(dtype)
        if self.resize is not None:
            x, y = self.resize(x), self.resize(y)
        y = self.conv1(y)
        if temb is not None:
            temb = self.time_emb_proj(temb if self.skip_time_act else self.nonlinearity(temb))[:, :, None, None]
        if self.scale_shift and temb is not None:  # which it is not, where it was made for one
            scale, shift = temb.float().chunk(2, 1)
            y = self.norm2(y.float()) * (1 + scale) + shift
        else:
            y = self.norm2((y if temb is None else y + temb).float())
        y = self.conv2(self.dropout(self.nonlinearity(y).to(dtype)))
        y = (x if self.conv_shortcut is None else self.conv_shortcut(x)) + y
        return y if self.output_scale_factor == 1 else y / self.output_scale_factor


class Attention(Module):
    """Attention of every place to every place, or to other features (https://arxiv.org/abs/1706.03762).

    Args:
        query_dim: channels of the input and the output.
        cross_attention_dim: of the other features; as many as ``query_dim`` where None.
        heads, dim_head: how many heads, and the channels of each.
        bias, out_bias: whether the three projections to the heads have a bias, and that back.
        upcast_attention: whether the weights and their product are carried in fp32 too, as the scores always are.
        norm_num_groups: of a group normalisation of the input; None for none.
        residual_connection: whether the input is added to the result.
        rescale_output_factor: what the result is divided by.

    Shape: (batch, query_dim, height, width), or (batch, places, query_dim), to the same; the other features are
    (batch, places, cross_attention_dim).
    """

    def __init__(
        self,
        query_dim: int,
        cross_attention_dim: int | None = None,
        heads: int = 8,
        dim_head: int = 64,
        dropout: float = 0.0,
        bias: bool = False,
        upcast_attention: bool = False,
        norm_num_groups: int | None = None,
        out_bias: bool = True,
        eps: float = 1e-5,
        rescale_output_factor: float = 1.0,
        residual_connection: bool = False,
    ) -> None:
        super().__init__()
        inner, context = heads * dim_head, cross_attention_dim or query_dim
        self.heads, self.dim_head, self.upcast_attention = heads, dim_head, upcast_attention
        self.residual_connection, self.rescale_output_factor = residual_connection, rescale_output_factor
        self.group_norm = None if norm_num_groups is None else GroupNorm(norm_num_groups, query_dim, eps)
        self.to_q = Linear(query_dim, inner, bias)
        self.to_k = Linear(context, inner, bias)
        self.to_v = Linear(context, inner, bias)
        self.to_out = ModuleList([Linear(inner, query_dim, out_bias), Dropout(dropout)])

    def forward(self, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None) -> Tensor:
        shape, dtype = hidden_states.shape, hidden_states.dtype
        x = hidden_states.flatten(2) if len(shape) == 4 else hidden_states.transpose(1, 2)
        if self.group_norm is not None:
            x = self.group_norm(x.float()).to(dtype)
        x = x.transpose(1, 2)
        context = x if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = (self._split(part) for part in (self.to_q(x), self.to_k(context), self.to_v(context)))
        y = F.scaled_dot_product_attention(q, k, v).to(dtype).transpose(1, 2).flatten(2)
        for layer in self.to_out:
            y = layer(y)
        if len(shape) == 4:
            y = y.transpose(1, 2).reshape(shape)
        if self.residual_connection:
            y = y + hidden_states
        return y if self.rescale_output_factor == 1 else y / self.rescale_output_factor

    def _split(self, x: Tensor) -> Tensor:
        """(batch, places, heads · dim_head) to (batch, heads, places, dim_head)."""
        x = x.view(x.shape[0], -1, self.heads, self.dim_head).transpose(1, 2)
        return x.float() if self.upcast_attention else x
