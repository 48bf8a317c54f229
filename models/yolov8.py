"""YOLOv8, with the names and numbers of its official checkpoints (https://docs.ultralytics.com/models/yolov8).

The backbone is CSPDarknet (https://arxiv.org/abs/1911.11929) of C2f blocks, the neck a PANet
(https://arxiv.org/abs/1803.01534). The head has no anchors: from each cell's centre it tells the distances to the four
sides of a box, each as a distribution (https://arxiv.org/abs/2006.04388), beside a score for each class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trtnn import functional as F
from trtnn.graph.tensor import Tensor
from trtnn.models.blocks import SPPF, Bottleneck, Concat, Conv
from trtnn.models.yolo_family import TASKS, YOLO, Scale
from trtnn.modules import Module, ModuleList, Sequential, Upsample


class C2f(Module):
    """A cross-stage partial block: half of the channels go through ``n`` bottlenecks, and what each gives is kept."""

    def __init__(self, c_in: int, c_out: int, n: int, shortcut: bool) -> None:
        super().__init__()
        c = c_out // 2
        self.cv1 = Conv(c_in, 2 * c)
        self.cv2 = Conv((2 + n) * c, c_out)
        self.m = ModuleList(Bottleneck(c, 3, shortcut) for _ in range(n))

    def forward(self, x: Tensor) -> Tensor:
        kept = [self.cv1(x)]
        x = kept[0][:, kept[0].shape[1] // 2 :]
        for bottleneck in self.m:
            x = bottleneck(x)
            kept.append(x)
        return self.cv2(F.cat(kept, 1))


class C2(Module):
    """A cross-stage partial block: half of the channels go through ``n`` bottlenecks, half past them."""

    def __init__(self, c_in: int, c_out: int, n: int) -> None:
        super().__init__()
        c = c_out // 2
        self.cv1 = Conv(c_in, 2 * c)
        self.cv2 = Conv(2 * c, c_out)
        self.m = Sequential(*(Bottleneck(c, 3, False) for _ in range(n)))

    def forward(self, x: Tensor) -> Tensor:
        through, past = self.cv1(x).chunk(2, 1)
        return self.cv2(F.cat([self.m(through), past], 1))


# What a name may end with, and the tasks that there are of it: with a level of stride 4 or 64 more.
_KINDS = {"": tuple(TASKS), "-p2": ("",), "-p6": ("", "-seg", "-pose")}
_HEADS = {"model.22.": "", "model.9.": "", "model.28.": "-p2", "model.30.": "-p6"}  # by where the head stands


def _kind_of(name: str) -> str:
    return next((kind for kind in _KINDS if kind and name.endswith(kind)), "")


class YOLOv8(YOLO):
    """YOLOv8 in any of its sizes and tasks.

    Args:
        name: yolov8n, s, m, l or x, or with -seg, -pose, -obb or -cls behind it those of the other tasks; -p2 behind a
            detector's name, as in yolov8n-p2, is the one with a level of stride 4 more, and -p6, as in yolov8n-p6 or
            yolov8x-pose-p6, the one with a level of stride 64 more, for images of 1280 pixels.
        classes: the number of classes; where None, that of the published checkpoints: 80, for poses 1, for oriented
            boxes 15, for images 1000.
        head: ``"decoded"`` gives (batch, 4 + classes, boxes): centre x, centre y, width, height in pixels, and class
            scores in 0..1, with 8400 boxes at 640 pixels. ``"raw"`` gives a list of maps
            (batch, 64 + classes, rows, columns), one for each stride. What the task has more stands behind the
            classes: the coefficients of a mask, key points in pixels, an angle in radians; see
            :mod:`trtnn.models.yolo_heads`. For masks either is ``"prediction"`` in a dict, beside ``"prototypes"``
            (batch, 32, rows, columns). For images ``"probabilities"`` or ``"logits"``, (batch, classes).
        names: of the classes, for the engine file.
        fused: whether BatchNorm was folded into the convolutions, as checkpoints may have it.
        kpt_shape: how many key points, and 2 numbers for each, x and y, or 3, with visibility; (17, 3) where None.

    Shape: images (batch, 3, height, width), RGB in 0..1; height and width multiples of 32, with -p6 of 64, and for -cls
    any.
    """

    default_name = "yolov8s"
    variants = {
        f"yolov8{size}{suffix}{kind}": scale._replace(most=1024) if suffix == "-cls" else scale
        for kind, suffixes in _KINDS.items()
        for suffix in suffixes
        for size, scale in {
            "n": Scale(0.33, 0.25, 1024),
            "s": Scale(0.33, 0.50, 1024),
            "m": Scale(0.67, 0.75, 768),
            "l": Scale(1.00, 1.00, 512),
            "x": Scale(1.00, 1.25, 512),
        }.items()
    }

    @classmethod
    def strides_of(cls, name: str) -> tuple[int, ...]:
        return {"-p2": (4, 8, 16, 32), "-p6": (8, 16, 32, 64)}.get(_kind_of(name), (8, 16, 32))

    def backbone(self, scale: Scale) -> tuple[list[Module], list[int]]:
        few, many = map(scale.repeats, (3, 6))
        deep = _kind_of(self.name) == "-p6"
        channels = [scale.channels(c) for c in (128, 256, 512, *((768,) if deep else ()), 1024)]
        current = scale.channels(64)
        layers: list[Module] = [Conv(3, current, 3, 2)]
        for c, n in zip(channels, (few, many, many, *((few,) if deep else ()), few), strict=True):
            layers += [Conv(current, c, 3, 2), C2f(c, c, n, True)]
            current = c
        return layers, channels[-len(self.strides) :]

    def neck(self, scale: Scale, channels: Sequence[int]) -> tuple[list[Module], list[int]]:
        *finer, top = channels
        n = scale.repeats(3)

        def block(c_in: int, c_out: int) -> Module:
            return C2(c_in, c_out, n) if _kind_of(self.name) == "-p6" else C2f(c_in, c_out, n, False)

        layers: list[Module] = [SPPF(top, top)]
        current = top
        for c in reversed(finer):
            layers += [Upsample(scale_factor=2), Concat(), block(current + c, c)]
            current = c
        for c, above in zip(finer, channels[1:], strict=True):
            layers += [Conv(c, c, 3, 2), Concat(), block(c + above, above)]
        return layers, [*channels]

    @classmethod
    def is_own(cls, state_dict: Mapping[str, Any], head: str) -> bool:
        return head in _HEADS and "model.6.m.0.cv1.conv.weight" in state_dict  # a C2f, unlike YOLOv9 and YOLO12

    @classmethod
    def nearest(cls, state_dict: Mapping[str, Any], head: str, names: Sequence[str]) -> str | None:
        alike = [name for name in names if _kind_of(name) == _HEADS[head]]
        return super().nearest(state_dict, head, alike) if alike else None
