"""YOLOv3u: Darknet-53 and the neck of YOLOv3 (https://arxiv.org/abs/1804.02767) with YOLOv8's head.

Names and numbers are those of Ultralytics' checkpoints, which call it yolov3u, yolov3-tinyu and yolov3-sppu. Layers are
numbered as in theirs of YOLOv3 with anchors; the residual blocks have two 3×3 convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trtnn.models.blocks import SPP, Bottleneck, Concat, Conv
from trtnn.models.numbered import Layers
from trtnn.models.yolo_family import YOLO, Body
from trtnn.modules import MaxPool2d, Module, Sequential, Upsample, ZeroPad2d


class YOLOv3u(YOLO):
    """YOLOv3 with YOLOv8's head.

    Args:
        name: yolov3u, yolov3-tinyu or yolov3-sppu, which pools a pyramid behind the backbone.
        classes, head, names, fused: as :class:`trtnn.models.yolov8.YOLOv8` has them; the tiny one has two levels.

    Shape: images (batch, 3, height, width), RGB in 0..1; height and width multiples of 32.
    """

    default_name = "yolov3u"
    variants = {"yolov3u": "full", "yolov3-tinyu": "tiny", "yolov3-sppu": "spp"}

    @classmethod
    def strides_of(cls, name: str) -> tuple[int, ...]:
        return (16, 32) if name == "yolov3-tinyu" else (8, 16, 32)

    def body(self, variant: str) -> Body:
        return _tiny() if variant == "tiny" else _full(spp=variant == "spp")

    @classmethod
    def is_own(cls, state_dict: Mapping[str, Any], head: str) -> bool:
        inner = {"model.20.": "model.10.conv.weight", "model.28.": "model.4.0.cv1.conv.weight"}
        return inner.get(head) in state_dict

    @classmethod
    def nearest(cls, state_dict: Mapping[str, Any], head: str, names: Sequence[str]) -> str | None:
        if "model.10.conv.weight" in state_dict:
            return "yolov3-tinyu"
        return "yolov3-sppu" if "model.12.cv1.conv.weight" in state_dict else "yolov3u"


def _blocks(c_in: int, c_out: int, n: int, shortcut: bool) -> Module:
    """Return ``n`` blocks that go by way of half of the channels; a single one is not in a list."""
    blocks = [Bottleneck(c_out if i else c_in, 3, shortcut, c_out // 2, c_out) for i in range(n)]
    return blocks[0] if n == 1 else Sequential(*blocks)


def _upsampled(layers: Layers, narrow: Conv, source: int, finer: int) -> None:
    """Append what narrows a level, doubles it and joins it with a finer one."""
    layers.append(narrow, source)
    layers.append(Upsample(scale_factor=2))
    layers.append(Concat(), -1, finer)


def _full(spp: bool) -> Body:
    layers = Layers()
    layers.append(Conv(3, 32, 3))
    ends: list[int] = []
    for c, n in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)):
        layers.append(Conv(c // 2, c, 3, 2))
        ends.append(layers.append(_blocks(c, c, n, True)))
    layers.append(_blocks(1024, 1024, 1, False))
    layers.append(SPP(1024, 512, (5, 9, 13)) if spp else Conv(1024, 512))
    layers.append(Conv(512, 1024, 3))
    narrow = layers.append(Conv(1024, 512))
    coarse = layers.append(Conv(512, 1024, 3))
    _upsampled(layers, Conv(512, 256), narrow, ends[3])
    layers.append(_blocks(256 + 512, 512, 1, False))
    layers.append(_blocks(512, 512, 1, False))
    narrow = layers.append(Conv(512, 256))
    middle = layers.append(Conv(256, 512, 3))
    _upsampled(layers, Conv(256, 128), narrow, ends[2])
    layers.append(_blocks(128 + 256, 256, 1, False))
    fine = layers.append(_blocks(256, 256, 2, False))
    return Body(layers.modules, [*layers.sources, [fine, middle, coarse]], [256, 512, 1024])


def _tiny() -> Body:
    layers = Layers()
    finer = layers.append(Conv(3, 16, 3))
    for c in (16, 32, 64, 128, 256):
        layers.append(MaxPool2d(2, 2))
        last, finer = finer, layers.append(Conv(c, 2 * c, 3))
    layers.append(ZeroPad2d((0, 1, 0, 1)))
    layers.append(MaxPool2d(2, 1))
    layers.append(Conv(512, 1024, 3))
    narrow = layers.append(Conv(1024, 256))
    coarse = layers.append(Conv(256, 512, 3))
    _upsampled(layers, Conv(256, 128), narrow, last)
    fine = layers.append(Conv(128 + 256, 256, 3))
    return Body(layers.modules, [*layers.sources, [fine, coarse]], [256, 512])
