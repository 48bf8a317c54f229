"""YOLOv3 and YOLOv3-tiny in torch, with Ultralytics' state-dict names: the tests' oracle.

Written from the paper (arXiv:1804.02767), Darknet's .cfg files, and the releases' layer tables, names and formulas.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.twins.numbered import Numbered
from benchmarks.twins.scaling import cells_of, pictures, well_scaled, without_weights
from trtnn.examples.digits.network import Concat

ANCHORS_PX = {
    "yolov3": [[10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119], [116, 90, 156, 198, 373, 326]],
    "yolov3-tiny": [[10, 14, 23, 27, 37, 58], [81, 82, 135, 169, 344, 319]],
}


class Conv(nn.Module):
    def __init__(self, c1: int, c2: int, k: int, s: int, version: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, s, k // 2, bias=False)
        self.bn = nn.BatchNorm2d(c2, eps=1e-5 if version == "darknet" else 1e-3)
        self.act = nn.SiLU() if version == "9.6" else nn.LeakyReLU(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    def __init__(self, c1: int, c2: int, shortcut: bool, version: str) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(c1, c2 // 2, 1, 1, version), Conv(c2 // 2, c2, 3, 1, version)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class Edge(nn.Module):
    """A column and a row more, for the pool of stride 1: such as never win in Darknet, of zeros in Ultralytics'."""

    def __init__(self, version: str) -> None:
        super().__init__()
        self.value = float("-inf") if version == "darknet" else 0.0

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pad(x, (0, 1, 0, 1), value=self.value)


class Detect(nn.Module):
    def __init__(self, name: str, classes: int, channels: list[int], version: str) -> None:
        super().__init__()
        self.outputs, self.version = 5 + classes, version
        anchors_px = torch.tensor(ANCHORS_PX[name], dtype=torch.float32).view(len(channels), 3, 2)
        self.strides = [8, 16, 32][-len(channels) :]
        self.register_buffer("anchors", anchors_px / torch.tensor(self.strides).view(-1, 1, 1))
        if version == "9.0":
            self.register_buffer("anchor_grid", anchors_px.view(len(channels), 1, 3, 1, 1, 2).clone())
        self.m = nn.ModuleList(nn.Conv2d(c, 3 * self.outputs, 1) for c in channels)

    def forward(self, *features: Tensor) -> list[Tensor]:
        return [conv(x) for conv, x in zip(self.m, features, strict=True)]

    def decode(self, raw: list[Tensor]) -> Tensor:
        levels = []
        for x, stride, anchors in zip(raw, self.strides, self.anchors, strict=True):
            batch, _, rows, columns = (int(length) for length in x.shape)
            t = x.view(batch, 3, self.outputs, rows, columns).permute(0, 1, 3, 4, 2)
            cell, anchors_px = cells_of(x), (anchors * stride).view(3, 1, 1, 2)
            s = t.sigmoid()
            if self.version == "darknet":
                box = (s[..., :2] + cell) * stride, t[..., 2:4].exp() * anchors_px
            else:
                box = (s[..., :2] * 2 - 0.5 + cell) * stride, (s[..., 2:4] * 2) ** 2 * anchors_px
            levels.append(torch.cat((*box, s[..., 4:]), -1).reshape(batch, -1, self.outputs))
        return torch.cat(levels, 1)


class YOLOv3(Numbered):
    """The detector."""

    def __init__(self, name: str, classes: int = 80, version: str = "darknet", head: str = "decoded") -> None:
        super().__init__(head)
        self.version = version
        (self._tiny if name == "yolov3-tiny" else self._full)()
        sources, channels = ((19, 15), [256, 512]) if name == "yolov3-tiny" else ((27, 22, 15), [256, 512, 1024])
        self.add(Detect(name, classes, channels, version), *sources)

    def _conv(self, c1: int, c2: int, k: int, s: int = 1, source: int = -1) -> None:
        self.add(Conv(c1, c2, k, s, self.version), source)

    def _up(self, layer: int) -> None:
        self.add(nn.Upsample(scale_factor=2))
        self.add(Concat(), -1, layer)

    def _blocks(self, c1: int, c2: int, n: int, shortcut: bool) -> None:
        blocks = [Bottleneck(c2 if i else c1, c2, shortcut, self.version) for i in range(n)]
        self.add(blocks[0] if n == 1 else nn.Sequential(*blocks))

    def _full(self) -> None:
        self._conv(3, 32, 3)
        for c, n in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)):
            self._conv(c // 2, c, 3, 2)
            self._blocks(c, c, n, True)
        self._blocks(1024, 1024, 1, False)  # 11
        self._conv(1024, 512, 1)
        self._conv(512, 1024, 3)
        self._conv(1024, 512, 1)
        self._conv(512, 1024, 3)  # 15, the coarse level
        self._conv(512, 256, 1, source=14)
        self._up(8)
        self._blocks(768, 512, 1, False)
        self._blocks(512, 512, 1, False)
        self._conv(512, 256, 1)
        self._conv(256, 512, 3)  # 22
        self._conv(256, 128, 1, source=21)
        self._up(6)
        self._blocks(384, 256, 1, False)
        self._blocks(256, 256, 2, False)  # 27, the fine level

    def _tiny(self) -> None:
        self._conv(3, 16, 3)
        for c in (32, 64, 128, 256, 512):
            self.add(nn.MaxPool2d(2, 2))
            self._conv(c // 2, c, 3)
        self.add(Edge(self.version))
        self.add(nn.MaxPool2d(2, 1))
        self._conv(512, 1024, 3)
        self._conv(1024, 256, 1)
        self._conv(256, 512, 3)  # 15, the coarse level
        self._conv(256, 128, 1, source=14)
        self._up(8)
        self._conv(384, 256, 3)  # 19, the fine level


def make(name: str, classes: int, version: str = "darknet", size: int = 64) -> YOLOv3:
    """Return a twin of well-scaled weights."""
    model = without_weights(YOLOv3, name, classes, version)
    return well_scaled(model, model.model[-1].m, pictures(4, size, size, 0))
