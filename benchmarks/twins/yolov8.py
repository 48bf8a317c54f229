"""YOLOv8 in torch, with the official state-dict names: the tests' oracle.

Written from the published facts: the layer table, the size multiples, the parameter names and the formulas of the boxes
(Li et al., 2020, arXiv:2006.04388).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from benchmarks.twins.scaling import cells_of, pictures, well_scaled, without_weights
from trtnn.examples.digits.network import SPPF, Concat, Conv

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
    def __init__(self, channels: list[int], classes: int) -> None:
        super().__init__()
        c2, c3 = max(16, channels[0] // 4, 64), max(channels[0], min(classes, 100))
        for name, c, out in (("cv2", c2, 64), ("cv3", c3, classes)):
            branches = (nn.Sequential(Conv(x, c, 3), Conv(c, c, 3), nn.Conv2d(c, out, 1)) for x in channels)
            self.add_module(name, nn.ModuleList(branches))
        self.dfl = DFL()

    def forward(self, *features: Tensor) -> list[Tensor]:
        return [torch.cat((a(x), b(x)), 1) for a, b, x in zip(self.cv2, self.cv3, features, strict=True)]

    def decode(self, raw: list[Tensor]) -> Tensor:
        """Corners first, as the usual way is: middle of the cell less (left, top), and plus (right, bottom)."""
        levels = []
        for stride, x in zip((8, 16, 32), raw, strict=True):
            middle = (cells_of(x) + 0.5).view(1, -1, 2).transpose(1, 2)
            left_top, right_bottom = self.dfl(x[:, :64].flatten(2)).split(2, 1)
            first, second = middle - left_top, middle + right_bottom
            box = torch.cat(((first + second) / 2, second - first), 1) * stride
            levels.append(torch.cat((box, x[:, 64:].flatten(2).sigmoid()), 1))
        return torch.cat(levels, 2)


class YOLOv8(nn.Module):
    """The detector; ``head`` is ``"decoded"`` or ``"raw"``, which train mode always gives."""

    def __init__(self, name: str, classes: int = 80, head: str = "decoded") -> None:
        super().__init__()
        depth, width, most = SCALES[name[-1]]
        self.head = head

        def wide(c: int) -> int:
            return math.ceil(min(c, most) * width / 8) * 8

        def c2f(c1: int, c2: int, n: int, shortcut: bool) -> C2f:
            return C2f(c1, wide(c2), max(round(n * depth), 1), shortcut)

        self.model, self.sources = nn.ModuleList([Conv(3, wide(64), 3, 2)]), [(-1,)]
        for c1, c2, n in ((64, 128, 3), (128, 256, 6), (256, 512, 6), (512, 1024, 3)):
            self._add(Conv(wide(c1), wide(c2), 3, 2), -1)
            self._add(c2f(wide(c2), c2, n, True), -1)
        self._add(SPPF(wide(1024), wide(1024)), -1)
        for c1, c2, layer in ((1024, 512, 6), (512, 256, 4)):
            self._add(nn.Upsample(scale_factor=2), -1)
            self._add(Concat(), -1, layer)
            self._add(c2f(wide(c1) + wide(c2), c2, 3, False), -1)
        for c1, c2, layer in ((256, 512, 12), (512, 1024, 9)):
            self._add(Conv(wide(c1), wide(c1), 3, 2), -1)
            self._add(Concat(), -1, layer)
            self._add(c2f(wide(c1) + wide(c2), c2, 3, False), -1)
        self._add(Detect([wide(256), wide(512), wide(1024)], classes), 15, 18, 21)

    def _add(self, layer: nn.Module, *sources: int) -> None:
        self.model.append(layer)
        self.sources.append(sources)

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        seen = [images]  # so that -1 is the one before
        for layer, sources in zip(self.model, self.sources, strict=True):
            seen.append(layer(*(seen[-1] if source == -1 else seen[source + 1] for source in sources)))
        return seen[-1] if self.training or self.head == "raw" else self.model[-1].decode(seen[-1])


def make(name: str, classes: int, size: int = 64) -> YOLOv8:
    """Return a twin of well-scaled weights."""
    model = without_weights(YOLOv8, name, classes)
    last = [branch[2] for branch in (*model.model[-1].cv2, *model.model[-1].cv3)]
    return well_scaled(model, last, pictures(4, size, size, 0))
