"""The blocks of diffusion networks in torch, as diffusers describes them: what those of trtnn are compared with."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

ACTIVATIONS = {"swish": F.silu, "silu": F.silu, "mish": F.mish, "gelu": F.gelu, "relu": F.relu}


class Downsample2D(nn.Module):
    def __init__(self, channels, use_conv=False, out_channels=None, padding=1, name="conv"):
        super().__init__()
        self.uneven = use_conv and padding == 0
        conv = nn.Conv2d(channels, out_channels or channels, 3, 2, padding) if use_conv else nn.AvgPool2d(2)
        if name == "conv":
            self.Conv2d_0 = conv
        self.conv = conv

    def forward(self, x):
        return self.conv(F.pad(x, (0, 1, 0, 1)) if self.uneven else x)


class Upsample2D(nn.Module):
    def __init__(self, channels, use_conv=False, out_channels=None):
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels or channels, 3, padding=1) if use_conv else nn.Identity()

    def forward(self, x, size=None):
        how = {"scale_factor": 2} if size is None else {"size": size}
        return self.conv(F.interpolate(x, mode="nearest", **how))


class ResnetBlock2D(nn.Module):
    def __init__(
        self,
        in_channels,
        out_channels=None,
        temb_channels=512,
        groups=32,
        groups_out=None,
        eps=1e-6,
        non_linearity="swish",
        skip_time_act=False,
        time_embedding_norm="default",
        output_scale_factor=1.0,
        up=False,
        down=False,
        dropout=0.0,
    ):
        super().__init__()
        out_channels = out_channels or in_channels
        self.act, self.skip, self.how = ACTIVATIONS[non_linearity], skip_time_act, time_embedding_norm
        self.divisor, self.up, self.down = output_scale_factor, up, down
        self.norm1 = nn.GroupNorm(groups, in_channels, eps)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        if temb_channels:
            self.time_emb_proj = nn.Linear(temb_channels, out_channels << (time_embedding_norm == "scale_shift"))
        self.norm2 = nn.GroupNorm(groups_out or groups, out_channels, eps)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        if in_channels != out_channels:
            self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def resized(self, x):
        if self.up:
            return x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        return F.avg_pool2d(x, 2) if self.down else x

    def forward(self, x, temb=None):
        y = self.conv1(self.resized(self.act(self.norm1(x))))
        scale = shift = None
        if temb is not None:
            shift = self.time_emb_proj(temb if self.skip else self.act(temb))[..., None, None]
        if self.how == "scale_shift":
            half = shift.shape[1] // 2
            scale, shift = shift[:, :half], shift[:, half:]
            y = self.norm2(y) * (1 + scale) + shift
        else:
            y = self.norm2(y if shift is None else y + shift)
        y = self.conv2(self.act(y))
        x = self.resized(x)
        return ((self.conv_shortcut(x) if hasattr(self, "conv_shortcut") else x) + y) / self.divisor


class Attention(nn.Module):
    def __init__(
        self,
        query_dim,
        cross_attention_dim=None,
        heads=8,
        dim_head=64,
        dropout=0.0,
        bias=False,
        upcast_attention=False,
        norm_num_groups=None,
        out_bias=True,
        eps=1e-5,
        rescale_output_factor=1.0,
        residual_connection=False,
    ):
        super().__init__()
        inner, other = heads * dim_head, cross_attention_dim or query_dim
        self.heads, self.divisor, self.residual = heads, rescale_output_factor, residual_connection
        if norm_num_groups:
            self.group_norm = nn.GroupNorm(norm_num_groups, query_dim, eps)
        self.to_q, self.to_k, self.to_v = (nn.Linear(c, inner, bias) for c in (query_dim, other, other))
        self.to_out = nn.ModuleList([nn.Linear(inner, query_dim, out_bias), nn.Dropout(dropout)])

    def forward(self, x, other=None):
        given, image = x, x.ndim == 4
        x = x.flatten(2) if image else x.transpose(-1, -2)
        x = (self.group_norm(x) if hasattr(self, "group_norm") else x).transpose(-1, -2)
        other = x if other is None else other
        results = []
        for q, k, v in zip(
            *(p.chunk(self.heads, 2) for p in (self.to_q(x), self.to_k(other), self.to_v(other))), strict=True
        ):
            results.append(((q @ k.transpose(-1, -2)) / math.sqrt(q.shape[2])).softmax(2) @ v)
        y = self.to_out[0](torch.cat(results, 2))
        y = y.transpose(-1, -2).reshape(given.shape) if image else y
        return ((y + given) if self.residual else y) / self.divisor
