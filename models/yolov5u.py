"""YOLOv5u: the backbone and the neck of YOLOv5 6.0 with YOLOv8's head, as Ultralytics' yolov5nu and so on are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trtnn.models.panet import sources
from trtnn.models.yolo_family import YOLO, Body, Scale
from trtnn.models.yolov5 import SIZES, Layers


class YOLOv5u(YOLO):
    """YOLOv5 with YOLOv8's head in any of its sizes.

    Args:
        name: yolov5nu, s, m, l or x, or yolov5n6u and so on: the P6 models for images of 1280 pixels.
        classes, head, names, fused: as :class:`trtnn.models.yolov8.YOLOv8` has them.

    Shape: images (batch, 3, height, width), RGB in 0..1; height and width multiples of the largest stride.
    """

    default_name = "yolov5su"
    variants = {f"yolov5{size}{p6}u": Scale(*scale, 1024) for p6 in ("", "6") for size, scale in SIZES.items()}
    stem = 6

    @classmethod
    def strides_of(cls, name: str) -> tuple[int, ...]:
        return (8, 16, 32, 64) if name.endswith("6u") else (8, 16, 32)

    def body(self, variant: Scale) -> Body:
        layers = Layers(variant.depth, variant.width, len(self.strides))
        return Body(layers.make(), sources(len(self.strides), narrow=True), layers.head_channels)

    @classmethod
    def is_own(cls, state_dict: Mapping[str, Any], head: str) -> bool:
        return head in ("model.24.", "model.33.") and "model.2.cv3.conv.weight" in state_dict

    @classmethod
    def nearest(cls, state_dict: Mapping[str, Any], head: str, names: Sequence[str]) -> str | None:
        alike = [name for name in names if name.endswith("6u") == (head == "model.33.")]
        return super().nearest(state_dict, head, alike)
