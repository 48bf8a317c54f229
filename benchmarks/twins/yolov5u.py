"""YOLOv5u in torch, with Ultralytics' state-dict names: YOLOv5's layers of release 6.0 and YOLOv8's head."""

from __future__ import annotations

from benchmarks.twins.numbered import Numbered
from benchmarks.twins.yolov8 import Detect
from trtnn.examples.digits.network import YOLOv5


class YOLOv5u(Numbered):
    def __init__(self, name: str, classes: int = 80, head: str = "decoded") -> None:
        super().__init__(head)
        body = YOLOv5(name.removesuffix("u"), classes)
        *layers, anchored = body.model
        for layer, sources in zip(layers, body.sources[:-1], strict=True):
            self.add(layer, *sources)
        channels = [conv.in_channels for conv in anchored.m]
        strides = tuple(8 << level for level in range(len(channels)))
        self.add(Detect(channels, classes, strides), *body.sources[-1])
