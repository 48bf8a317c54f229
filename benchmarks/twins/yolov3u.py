"""YOLOv3u in torch, with Ultralytics' state-dict names: Darknet-53's layers (arXiv:1804.02767) and YOLOv8's head."""

from __future__ import annotations

from torch import Tensor, nn

from benchmarks.twins.numbered import Numbered
from benchmarks.twins.yolov8 import Detect
from trtnn.examples.digits.network import SPP, Concat, Conv


class Bottleneck(nn.Module):
    """Two 3×3 convolutions, by way of half of the channels."""

    def __init__(self, c1: int, c2: int, shortcut: bool) -> None:
        super().__init__()
        self.cv1, self.cv2, self.shortcut = Conv(c1, c2 // 2, 3), Conv(c2 // 2, c2, 3), shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class YOLOv3u(Numbered):
    def __init__(self, name: str, classes: int = 80, head: str = "decoded") -> None:
        super().__init__(head)
        if name == "yolov3-tinyu":
            self._tiny()
            self.add(Detect([256, 512], classes, (16, 32)), 19, 15)
        else:
            self._full(spp=name == "yolov3-sppu")
            self.add(Detect([256, 512, 1024], classes), 27, 22, 15)

    def _blocks(self, c1: int, c2: int, n: int, shortcut: bool) -> None:
        blocks = [Bottleneck(c2 if i else c1, c2, shortcut) for i in range(n)]
        self.add(blocks[0] if n == 1 else nn.Sequential(*blocks))

    def _up(self, layer: int) -> None:
        self.add(nn.Upsample(scale_factor=2))
        self.add(Concat(), -1, layer)

    def _full(self, spp: bool) -> None:
        self.add(Conv(3, 32, 3))
        for c, n in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)):
            self.add(Conv(c // 2, c, 3, 2))
            self._blocks(c, c, n, True)
        self._blocks(1024, 1024, 1, False)  # 11
        self.add(SPP(1024, 512, (5, 9, 13)) if spp else Conv(1024, 512))
        self.add(Conv(512, 1024, 3))
        self.add(Conv(1024, 512))
        self.add(Conv(512, 1024, 3))  # 15, the coarse level
        self.add(Conv(512, 256), 14)
        self._up(8)
        self._blocks(768, 512, 1, False)
        self._blocks(512, 512, 1, False)
        self.add(Conv(512, 256))
        self.add(Conv(256, 512, 3))  # 22
        self.add(Conv(256, 128), 21)
        self._up(6)
        self._blocks(384, 256, 1, False)
        self._blocks(256, 256, 2, False)  # 27, the fine level

    def _tiny(self) -> None:
        self.add(Conv(3, 16, 3))
        for c in (32, 64, 128, 256, 512):
            self.add(nn.MaxPool2d(2, 2))
            self.add(Conv(c // 2, c, 3))
        self.add(nn.ZeroPad2d((0, 1, 0, 1)))
        self.add(nn.MaxPool2d(2, 1))
        self.add(Conv(512, 1024, 3))
        self.add(Conv(1024, 256))
        self.add(Conv(256, 512, 3))  # 15, the coarse level
        self.add(Conv(256, 128), 14)
        self._up(8)
        self.add(Conv(384, 256, 3))  # 19, the fine level
