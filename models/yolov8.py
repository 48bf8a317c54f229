"""YOLOv8, with the names and numbers of its official checkpoints (https://docs.ultralytics.com/models/yolov8).

The backbone is CSPDarknet (https://arxiv.org/abs/1911.11929) of C2f blocks, the neck a PANet
(https://arxiv.org/abs/1803.01534). The head has no anchors: from each cell's centre it tells the distances to the four
sides of a box, each as a distribution (https://arxiv.org/abs/2006.04388), beside a score for each class.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from trtnn import functional as F
from trtnn.graph.tensor import Tensor
from trtnn.models.blocks import SPPF, Bottleneck, Concat, Conv, without_norms
from trtnn.models.boxes import cells_of, join
from trtnn.models.family import Family
from trtnn.models.panet import panet, sources
from trtnn.models.sizes import expect_multiples
from trtnn.modules import Conv2d, Module, ModuleList, Sequential, Upsample

BINS = 16  # a distance is told as how likely it is 0, 1, ... 15 cells


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


class DFL(Module):
    """The mean of a distribution over 0, 1, ... 15, those numbers being the weights of a 1×1 convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = Conv2d(BINS, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Turn (batch, 64, cells) into (batch, 4, cells)."""
        batch, _, cells = x.shape
        likely = x.view(batch, 4, BINS, cells).softmax(2)
        return (likely * self.conv.weight.numpy().reshape(BINS, 1)).sum(2)


class Detect(Module):
    """The head: on each level two branches, for the sides of a box and for the classes.

    With l, t, r, b the distances in cells from the middle of a cell to the left, top, right and bottom side:
    centre = (cell + ½ + ((r, b) - (l, t)) / 2) · stride and size = ((l, t) + (r, b)) · stride, in pixels.
    """

    def __init__(self, channels: Sequence[int], classes: int, strides: tuple[int, ...]) -> None:
        super().__init__()
        self.strides = strides
        sides = max(16, channels[0] // 4, 4 * BINS)
        scores = max(channels[0], min(classes, 100))
        self.cv2 = ModuleList(self._branch(c, sides, 4 * BINS) for c in channels)
        self.cv3 = ModuleList(self._branch(c, scores, classes) for c in channels)
        self.dfl = DFL()

    def _branch(self, c_in: int, c: int, c_out: int) -> Sequential:
        return Sequential(Conv(c_in, c, 3), Conv(c, c, 3), Conv2d(c, c_out, 1))

    def forward(self, *levels: Tensor, decode: bool = True) -> Any:
        sides = [branch(x) for branch, x in zip(self.cv2, levels, strict=True)]
        scores = [branch(x) for branch, x in zip(self.cv3, levels, strict=True)]
        return self.boxes(sides, scores) if decode else [F.cat(maps, 1) for maps in zip(sides, scores, strict=True)]

    def boxes(self, sides: Sequence[Tensor], scores: Sequence[Tensor]) -> Tensor:
        """Turn maps (batch, 64, rows, columns) and (batch, classes, rows, columns) into (batch, 4 + classes, boxes)."""
        cells = [cells_of(*x.shape[2:]) for x in sides]
        strides = [part[:, :1] * 0 + stride for part, stride in zip(cells, self.strides, strict=True)]
        middles = [(part + 0.5) * stride for part, stride in zip(cells, self.strides, strict=True)]
        strides, middles = (join(parts, 0).transpose(1, 0) for parts in (strides, middles))

        distances = self.dfl(F.cat([x.flatten(2) for x in sides], 2).float())
        near, far = distances.chunk(2, 1)
        centre, size = (far - near) * (strides / 2) + middles, (near + far) * strides
        return F.cat([centre, size, F.cat([x.flatten(2) for x in scores], 2).sigmoid().float()], 1)


class Variant(NamedTuple):
    """How deep and wide a model is, and how many channels it has before it is made wide at most."""

    depth: float
    width: float
    most: int


class YOLOv8(Family):
    """YOLOv8 in any of its sizes.

    Args:
        name: yolov8n, s, m, l or x.
        classes: the number of classes.
        head: ``"decoded"`` gives (batch, 4 + classes, boxes): centre x, centre y, width, height in pixels, and class
            scores in 0..1, with 8400 boxes at 640 pixels. ``"raw"`` gives a list of maps
            (batch, 64 + classes, rows, columns), one for each stride.
        names: of the classes, for the engine file.
        fused: whether BatchNorm was folded into the convolutions, as checkpoints may have it.

    Shape: images (batch, 3, height, width), RGB in 0..1; height and width multiples of 32.
    """

    pipeline = "yolov8"
    variants = {
        "yolov8n": Variant(0.33, 0.25, 1024),
        "yolov8s": Variant(0.33, 0.50, 1024),
        "yolov8m": Variant(0.67, 0.75, 768),
        "yolov8l": Variant(1.00, 1.00, 512),
        "yolov8x": Variant(1.00, 1.25, 512),
    }

    def __init__(
        self,
        name: str = "yolov8s",
        classes: int = 80,
        head: str = "decoded",
        names: Sequence[str] | None = None,
        fused: bool = False,
    ) -> None:
        super().__init__()
        self.head = head
        self.declare(name, classes, head, names, 640, (8, 16, 32))
        depth, width, most = self.variants[name]
        c1, c2, c3, c4, c5 = (math.ceil(min(c, most) * width / 8) * 8 for c in (64, 128, 256, 512, 1024))
        few, many = (max(round(n * depth), 1) for n in (3, 6))
        self.model = ModuleList(
            [
                Conv(3, c1, 3, 2),
                Conv(c1, c2, 3, 2),
                C2f(c2, c2, few, True),
                Conv(c2, c3, 3, 2),
                C2f(c3, c3, many, True),  # 4: stride 8
                Conv(c3, c4, 3, 2),
                C2f(c4, c4, many, True),  # 6: stride 16
                Conv(c4, c5, 3, 2),
                C2f(c5, c5, few, True),
                SPPF(c5, c5),  # 9: stride 32
                Upsample(scale_factor=2),
                Concat(),
                C2f(c5 + c4, c4, few, False),
                Upsample(scale_factor=2),
                Concat(),
                C2f(c4 + c3, c3, few, False),
                Conv(c3, c3, 3, 2),
                Concat(),
                C2f(c3 + c4, c4, few, False),
                Conv(c4, c4, 3, 2),
                Concat(),
                C2f(c4 + c5, c5, few, False),
                Detect((c3, c4, c5), classes, self.strides),
            ]
        )
        self.sources = sources(len(self.strides), narrow=False)
        if fused:
            without_norms(self)

    def forward(self, images: Tensor) -> Any:
        expect_multiples(images.shape[2:], self.strides[-1], self.name)
        *layers, detect = self.model
        maps = panet(layers, images, len(self.strides), narrow=False)
        return detect(*maps, decode=self.head == "decoded")

    @classmethod
    def identify(cls, state_dict: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the arguments of the YOLOv8 that a state dict's names and sizes tell of, or None."""
        stem, bias = state_dict.get("model.0.conv.weight"), state_dict.get("model.22.cv3.0.2.bias")
        is_c2f = "model.2.m.0.cv1.conv.weight" in state_dict  # YOLOv9 has its head at 22 too
        is_detector = not any(name.startswith("model.22.cv4") for name in state_dict)  # of masks or key points
        if stem is None or bias is None or not (is_c2f and is_detector):
            return None
        width = math.prod(stem.shape) / 27 / 64
        name = min(cls.variants, key=lambda name: abs(cls.variants[name].width - width))
        fused = {} if "model.0.bn.weight" in state_dict else {"fused": True}
        return {"name": name, "classes": math.prod(bias.shape), **fused}
