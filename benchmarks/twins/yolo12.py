"""YOLO12 in torch, with Ultralytics' state-dict names: the tests' oracle.

Written from the paper (Tian et al., 2025, arXiv:2502.12524), the layer tables, and the parameter names.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from benchmarks.twins.numbered import Numbered
from benchmarks.twins.yolov8 import Detect
from trtnn.examples.digits.network import Concat, Conv
from trtnn.examples.digits.yolo26 import SCALES, C3k, C3k2, narrow


def plain(*args: int) -> Conv:
    """Return a convolution without activation."""
    conv = Conv(*args)
    conv.act = nn.Identity()
    return conv


class AAttn(nn.Module):
    """Attention within each of ``area`` runs of cells, heads of 32 channels, and a depthwise 7×7 of the values."""

    def __init__(self, c: int, area: int) -> None:
        super().__init__()
        self.area, self.heads = area, c // 32
        self.qkv, self.proj, self.pe = plain(c, 3 * c), plain(c, c), plain(c, c, 7)
        self.pe.conv = nn.Conv2d(c, c, 7, padding=3, groups=c, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, c, rows, columns = x.shape
        qkv = self.qkv(x)
        runs = qkv.flatten(2).transpose(1, 2).reshape(batch * self.area, -1, self.heads, 3, 32)
        q, k, v = runs.permute(3, 0, 2, 1, 4)
        y = (q @ k.transpose(-1, -2) * 32**-0.5).softmax(-1) @ v
        y = y.transpose(1, 2).reshape(batch, rows, columns, c).permute(0, 3, 1, 2)
        values = v.transpose(1, 2).reshape(batch, rows, columns, c).permute(0, 3, 1, 2)
        return self.proj(y + self.pe(values))


class ABlock(nn.Module):
    def __init__(self, c: int, area: int, ratio: float) -> None:
        super().__init__()
        self.attn = AAttn(c, area)
        self.mlp = nn.Sequential(Conv(c, int(c * ratio)), plain(int(c * ratio), c))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(x)
        return x + self.mlp(x)


class A2C2f(nn.Module):
    """A residual ELAN of attention blocks; without ``area`` one of convolutions."""

    def __init__(self, c1: int, c2: int, n: int, area: int | None, residual: bool, ratio: float) -> None:
        super().__init__()
        c = c2 // 2
        self.cv1, self.cv2 = Conv(c1, c), Conv((1 + n) * c, c2)
        self.gamma = nn.Parameter(torch.full((c2,), 0.01)) if residual else None
        blocks = (nn.Sequential(*(ABlock(c, area, ratio) for _ in range(2))) if area else C3k(c) for _ in range(n))
        self.m = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.cv1(x)]
        for block in self.m:
            parts.append(block(parts[-1]))
        y = self.cv2(torch.cat(parts, 1))
        return y if self.gamma is None else x + self.gamma.view(-1, 1, 1) * y


class YOLO12(Numbered):
    def __init__(self, name: str, classes: int = 80, head: str = "decoded") -> None:
        super().__init__(head)
        size = name[-1]
        depth, width, most = SCALES[size]
        large = size in "lx"
        residual, ratio = large, 1.2 if large else 2.0

        def wide(c: int) -> int:
            return math.ceil(min(c, most) * width / 8) * 8

        few, many = (max(round(n * depth), 1) for n in (2, 4))
        c1, c2, c3, c4, c5 = (wide(c) for c in (64, 128, 256, 512, 1024))
        block = C3k if size in "mlx" else narrow
        self.add(Conv(3, c1, 3, 2))
        self.add(Conv(c1, c2, 3, 2))
        self.add(C3k2(c2, c3, few, block, 0.25))
        self.add(Conv(c3, c3, 3, 2))
        self.add(C3k2(c3, c4, few, block, 0.25))
        self.add(Conv(c4, c4, 3, 2))
        self.add(A2C2f(c4, c4, many, 4, residual, ratio))
        self.add(Conv(c4, c5, 3, 2))
        self.add(A2C2f(c5, c5, many, 1, residual, ratio))
        for current, c, layer in ((c5, c4, 6), (c4, c3, 4)):
            self.add(nn.Upsample(scale_factor=2))
            self.add(Concat(), -1, layer)
            self.add(A2C2f(current + c4, c, few, None, False, ratio))
        self.add(Conv(c3, c3, 3, 2))
        self.add(Concat(), -1, 11)
        self.add(A2C2f(c3 + c4, c4, few, None, False, ratio))
        self.add(Conv(c4, c4, 3, 2))
        self.add(Concat(), -1, 8)
        self.add(C3k2(c4 + c5, c5, few, C3k))
        self.add(Detect([c3, c4, c5], classes, depthwise=True), 14, 17, 20)
