"""YOLOv8 in torch, with the official state-dict names: the tests' oracle.

Written from the published facts: the layer table, the size multiples, the parameter names and the formulas of the boxes
(Li et al., 2020, arXiv:2006.04388).
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.twins import numbered
from benchmarks.twins.numbered import Numbered
from benchmarks.twins.scaling import cells_of
from trtnn.examples.digits.network import SPPF, Concat, Conv
from trtnn.examples.digits.yolo26 import apart

SCALES = {
    "n": (0.33, 0.25, 1024),
    "s": (0.33, 0.5, 1024),
    "m": (0.67, 0.75, 768),
    "l": (1, 1, 512),
    "x": (1, 1.25, 512),
}


class Bottleneck(nn.Module):
    def __init__(self, c: int, shortcut: bool) -> None:
        super().__init__()
        self.cv1, self.cv2, self.shortcut = Conv(c, c, 3), Conv(c, c, 3), shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class C2f(nn.Module):
    """``cv2(cat(a, b, m0(b), m1(m0(b)), ...))`` with a and b the two halves of ``cv1(x)``."""

    def __init__(self, c1: int, c2: int, n: int, shortcut: bool) -> None:
        super().__init__()
        self.cv1 = Conv(c1, c2)
        self.cv2 = Conv(c2 // 2 * (n + 2), c2)
        self.m = nn.ModuleList(Bottleneck(c2 // 2, shortcut) for _ in range(n))

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.cv1(x).split(self.m[0].cv1.conv.in_channels, 1))
        for block in self.m:
            parts.append(block(parts[-1]))
        return self.cv2(torch.cat(parts, 1))


class DFL(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(16, 1, 1, bias=False).requires_grad_(False)
        self.conv.weight.data.copy_(torch.arange(16.0).view(1, 16, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        batch, _, cells = (int(length) for length in x.shape)
        return self.conv(x.view(batch, 4, 16, cells).transpose(1, 2).softmax(1)).view(batch, 4, cells)


class Detect(nn.Module):
    def __init__(
        self,
        channels: list[int],
        classes: int,
        strides: tuple[int, ...] = (8, 16, 32),
        depthwise: bool = False,
    ) -> None:
        super().__init__()
        self.strides = strides
        c2, c3 = max(16, channels[0] // 4, 64), max(channels[0], min(classes, 100))
        for name, c, out in (("cv2", c2, 64), ("cv3", c3, classes)):
            block = apart if depthwise and name == "cv3" else partial(Conv, k=3)
            branches = (nn.Sequential(block(x, c), block(c, c), nn.Conv2d(c, out, 1)) for x in channels)
            self.add_module(name, nn.ModuleList(branches))
        self.dfl = DFL()

    def forward(self, *features: Tensor) -> list[Tensor]:
        return [torch.cat((a(x), b(x)), 1) for a, b, x in zip(self.cv2, self.cv3, features, strict=True)]

    def decode(self, raw: list[Tensor]) -> Tensor:
        """Corners first, as the usual way is: middle of the cell less (left, top), and plus (right, bottom)."""
        levels = []
        for stride, x in zip(self.strides, raw, strict=True):
            middle = (cells_of(x) + 0.5).view(1, -1, 2).transpose(1, 2)
            left_top, right_bottom = self.dfl(x[:, :64].flatten(2)).split(2, 1)
            first, second = middle - left_top, middle + right_bottom
            box = torch.cat(((first + second) / 2, second - first), 1) * stride
            levels.append(torch.cat((box, x[:, 64:].flatten(2).sigmoid()), 1))
        return torch.cat(levels, 2)


class C2(nn.Module):
    """``cv2(cat(m(a), b))`` with a and b the two halves of ``cv1(x)``."""

    def __init__(self, c1: int, c2: int, n: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(c1, c2), Conv(c2, c2)
        self.m = nn.Sequential(*(Bottleneck(c2 // 2, False) for _ in range(n)))

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.cv1(x).chunk(2, 1)
        return self.cv2(torch.cat((self.m(a), b), 1))


class YOLOv8(Numbered):
    """The detector, or with -p2 or -p6 behind its name that of four levels."""

    def __init__(self, name: str, classes: int = 80, head: str = "decoded") -> None:
        super().__init__(head)
        depth, width, most = SCALES[name[len("yolov8")]]
        p2, p6 = name.endswith("-p2"), name.endswith("-p6")

        def wide(c: int) -> int:
            return math.ceil(min(c, most) * width / 8) * 8

        def repeats(n: int) -> int:
            return max(round(n * depth), 1)

        self.add(Conv(3, wide(64), 3, 2))
        current, backbone = wide(64), []
        for c, n in ((128, 3), (256, 6), (512, 6), *(((768, 3),) if p6 else ()), (1024, 3)):
            self.add(Conv(current, wide(c), 3, 2))
            self.add(C2f(wide(c), wide(c), repeats(n), True))
            current = wide(c)
            backbone.append((len(self.model) - 1, current))
        self.add(SPPF(current, current))
        way, levels = [(len(self.model) - 1, current)], backbone if p2 else backbone[1:]

        def joined(current: int, layer: int, c: int, out: int) -> None:
            self.add(Concat(), -1, layer)
            args = (current + c, out, repeats(3))
            self.add(C2(*args) if p6 else C2f(*args, False))
            way.append((len(self.model) - 1, out))

        for layer, c in levels[-2::-1]:
            self.add(nn.Upsample(scale_factor=2))
            joined(way[-1][1], layer, c, c)
        lateral = way[:-1]
        for layer, c in lateral[::-1]:
            finer = way[-1][1]
            self.add(Conv(finer, finer, 3, 2))
            joined(finer, layer, c, c)
        maps = way[-len(levels) :]
        strides = tuple((4 if p2 else 8) << level for level in range(len(levels)))
        self.add(Detect([c for _, c in maps], classes, strides), *(layer for layer, _ in maps))


def make(name: str, classes: int, size: int = 64) -> Numbered:
    """Return a twin of well-scaled weights."""
    return numbered.make(YOLOv8, name, classes, size)
