"""YOLOv9 in torch, with Ultralytics' state-dict names: the tests' oracle.

Written from the paper (Wang et al., 2024, arXiv:2402.13616), the layer tables, and the parameter names.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.twins.numbered import Numbered
from benchmarks.twins.yolov8 import Detect
from trtnn.examples.digits.network import Concat, Conv


class RepConv(nn.Module):
    """A 3×3 and a 1×1 convolution side by side, and one activation of their sum."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = Conv(c, c, 3), Conv(c, c, 1)
        self.conv1.act = self.conv2.act = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.conv1(x) + self.conv2(x))


class RepBottleneck(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = RepConv(c), Conv(c, c, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.cv2(self.cv1(x))


class RepCSP(nn.Module):
    def __init__(self, c: int, n: int) -> None:
        super().__init__()
        self.cv1, self.cv2, self.cv3 = Conv(c, c // 2), Conv(c, c // 2), Conv(c, c)
        self.m = nn.Sequential(*(RepBottleneck(c // 2) for _ in range(n)))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class RepNCSPELAN4(nn.Module):
    """Two halves of ``cv1(x)``; the second goes through two CSP stages; all four are joined."""

    def __init__(self, c1: int, c2: int, inner: int, n: int) -> None:
        super().__init__()
        self.cv1 = Conv(c1, inner)
        self.cv2, self.cv3 = (nn.Sequential(RepCSP(inner // 2, n), Conv(inner // 2, inner // 2, 3)) for _ in range(2))
        self.cv4 = Conv(2 * inner, c2)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.cv1(x).chunk(2, 1)
        c = self.cv2(b)
        return self.cv4(torch.cat((a, b, c, self.cv3(c)), 1))


class ELAN1(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.cv1, self.cv4 = Conv(c, c), Conv(2 * c, c)
        self.cv2, self.cv3 = Conv(c // 2, c // 2, 3), Conv(c // 2, c // 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.cv1(x).chunk(2, 1)
        c = self.cv2(b)
        return self.cv4(torch.cat((a, b, c, self.cv3(c)), 1))


class AConv(nn.Module):
    """A 2×2 mean of stride 1, then a convolution of stride 2."""

    def __init__(self, c1: int, c2: int) -> None:
        super().__init__()
        self.cv1 = Conv(c1, c2, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.cv1(F.avg_pool2d(x, 2, 1))


class ADown(nn.Module):
    """A 2×2 mean of stride 1; half of its channels are halved by a convolution, half by a maximum."""

    def __init__(self, c1: int, c2: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(c1 // 2, c2 // 2, 3, 2), Conv(c1 // 2, c2 // 2)

    def forward(self, x: Tensor) -> Tensor:
        a, b = F.avg_pool2d(x, 2, 1).chunk(2, 1)
        return torch.cat((self.cv1(a), self.cv2(F.max_pool2d(b, 3, 2, 1))), 1)


class SPPELAN(nn.Module):
    def __init__(self, c1: int, c2: int, inner: int) -> None:
        super().__init__()
        self.cv1, self.cv5 = Conv(c1, inner), Conv(4 * inner, c2)
        self.cv2, self.cv3, self.cv4 = (nn.MaxPool2d(5, 1, 2) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.cv1(x)]
        for pool in (self.cv2, self.cv3, self.cv4):
            parts.append(pool(parts[-1]))
        return self.cv5(torch.cat(parts, 1))


class CBLinear(nn.Module):
    """A 1×1 convolution whose channels are parts, one for each level of the second backbone."""

    def __init__(self, c: int, parts: list[int]) -> None:
        super().__init__()
        self.conv, self.parts = nn.Conv2d(c, sum(parts), 1), parts

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.conv(x).split(self.parts, 1)


class CBFuse(nn.Module):
    """The sum of the last input and of one part of each other, resized by the nearest cells."""

    def __init__(self, part: int) -> None:
        super().__init__()
        self.part = part

    def forward(self, *xs: Tensor) -> Tensor:
        *parts, last = xs
        size = last.shape[2:]
        return torch.stack([F.interpolate(x[self.part], size=size) for x in parts] + [last]).sum(0)


class YOLOv9(Numbered):
    def __init__(self, name: str, classes: int = 80, head: str = "decoded") -> None:
        super().__init__(head)
        channels = self._dual() if name == "yolov9e" else self._single(name)
        levels = [len(self.model) - 1 - back for back in (6, 3, 0)]
        self.add(Detect(channels, classes), *levels)

    def _single(self, name: str) -> list[int]:
        """Add the backbone and the neck of all but e; return the channels of the head's levels."""
        if name == "yolov9c":
            stem, n, down, narrow = 64, 1, ADown, (256, 512)
            stages = [(128, 256, 128), (256, 512, 256), (512, 512, 512), (512, 512, 512)]
            up = [(512, 512), (256, 256), (512, 512), (512, 512)]
        else:
            stem, n, down = {"t": 16, "s": 32, "m": 32}[name[-1]], 1 if name[-1] == "m" else 3, AConv
            a, b, c, d = {"t": (32, 64, 96, 128), "s": (64, 128, 192, 256), "m": (128, 240, 360, 480)}[name[-1]]
            stages = [(2 * stem, a, a), (b, b, b), (c, c, c), (d, d, d)]
            narrow = {"t": (48, 64), "s": (96, 128), "m": (184, 240)}[name[-1]]
            up = [(c, c), (b, b), (c, c), (d, d)]
        self.add(Conv(3, stem, 3, 2))
        outs, current = [], stem
        for i, (halved, out, inner) in enumerate(stages):
            self.add(down(current, halved) if i else Conv(current, halved, 3, 2))
            self.add(ELAN1(out) if i == 0 and name[-1] in "ts" else RepNCSPELAN4(halved, out, inner, n))
            outs.append(current := out)
        self.add(SPPELAN(current, current, current // 2))
        self._neck([(6, outs[2]), (4, outs[1])], current, up, n, down, narrow)
        return [up[1][0], up[2][0], up[3][0]]

    def _neck(self, finer: list, top: int, up: list, n: int, down: type, narrow: tuple[int, int]) -> None:
        current, pooled = top, len(self.model) - 1
        joined = [pooled]
        for (layer, c), (out, inner) in zip(finer, up[:2], strict=True):
            self.add(nn.Upsample(scale_factor=2))
            self.add(Concat(), -1, layer)
            self.add(RepNCSPELAN4(current + c, out, inner, n))
            joined.append(len(self.model) - 1)
            current = out
        for layer, c, halved, (out, inner) in zip(joined[1::-1], (up[0][0], top), narrow, up[2:], strict=True):
            self.add(down(current, halved))
            self.add(Concat(), -1, layer)
            self.add(RepNCSPELAN4(halved + c, out, inner, n))
            current = out

    def _dual(self) -> list[int]:
        """Add e's two backbones, the second of which takes what the first gave at each level, and the neck."""
        stages = [(128, 256, 128), (256, 512, 256), (512, 1024, 512), (1024, 1024, 512)]
        self.add(nn.Identity())
        self.add(Conv(3, 64, 3, 2))
        current, ends = 64, [(1, 64)]
        for i, (halved, out, inner) in enumerate(stages):
            self.add(ADown(current, halved) if i else Conv(current, halved, 3, 2))
            self.add(RepNCSPELAN4(halved, out, inner, 2))
            current = out
            ends.append((len(self.model) - 1, current))
        parts = [64, 128, 256, 512, 1024]
        for i, (layer, c) in enumerate(ends):
            self.add(CBLinear(c, parts[: i + 1]), layer)
        linear = list(range(len(self.model) - 5, len(self.model)))
        self.add(Conv(3, 64, 3, 2), 0)
        self.add(CBFuse(0), *linear, -1)
        current = 64
        for i, (halved, out, inner) in enumerate(stages):
            self.add(ADown(current, halved) if i else Conv(current, halved, 3, 2))
            self.add(CBFuse(i + 1), *linear[i + 1 :], -1)
            self.add(RepNCSPELAN4(halved, out, inner, 2))
            current = out
        self.add(SPPELAN(1024, 512, 256))
        up = [(512, 512), (256, 256), (512, 512), (512, 1024)]
        self._neck([(25, 1024), (22, 512)], 512, up, 2, ADown, (256, 512))
        return [256, 512, 512]
