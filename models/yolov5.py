"""YOLOv5, with the names and numbers of its official checkpoints (https://doi.org/10.5281/zenodo.3908559).

The backbone is CSPDarknet (https://arxiv.org/abs/1911.11929), the neck a PANet (https://arxiv.org/abs/1803.01534), the
head three anchors a cell on strides 8, 16, 32 and, in the P6 models, 64.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from trtnn import functional as F
from trtnn.errors import ArgumentError, ShapeError
from trtnn.inputs import Input
from trtnn.models.family import Family
from trtnn.models.names import unknown_name
from trtnn.modules import BatchNorm2d, Conv2d, MaxPool2d, Module, ModuleList, Sequential, SiLU, Upsample
from trtnn.parameter import Buffer
from trtnn.symbolic import Length, is_static, same
from trtnn.tensor import Tensor


class Conv(Module):
    """Convolution, BatchNorm (eps 1e-3, as YOLOv5 trains), SiLU."""

    def __init__(self, c_in: int, c_out: int, k: int = 1, s: int = 1, p: int | None = None) -> None:
        super().__init__()
        self.conv = Conv2d(c_in, c_out, k, s, k // 2 if p is None else p, bias=False)
        self.bn = BatchNorm2d(c_out, eps=1e-3, momentum=0.03)
        self.act = SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Bottleneck(Module):
    """A 1×1 and a 3×3 convolution, with a residual path round them."""

    def __init__(self, c: int, shortcut: bool) -> None:
        super().__init__()
        self.cv1 = Conv(c, c, 1)
        self.cv2 = Conv(c, c, 3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class C3(Module):
    """A cross-stage partial block: half of the channels go through ``n`` bottlenecks, half past them."""

    def __init__(self, c_in: int, c_out: int, n: int, shortcut: bool = True) -> None:
        super().__init__()
        c = c_out // 2
        self.cv1 = Conv(c_in, c)
        self.cv2 = Conv(c_in, c)
        self.cv3 = Conv(2 * c, c_out)
        self.m = Sequential(*(Bottleneck(c, shortcut) for _ in range(n)))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(F.cat([self.m(self.cv1(x)), self.cv2(x)], 1))


class SPP(Module):
    """Spatial pyramid pooling (https://arxiv.org/abs/1406.4729): maxima of windows of several sizes, side by side."""

    def __init__(self, c_in: int, c_out: int, windows: tuple[int, ...]) -> None:
        super().__init__()
        c = c_in // 2
        self.cv1 = Conv(c_in, c)
        self.cv2 = Conv(c * (len(windows) + 1), c_out)
        self.m = ModuleList(MaxPool2d(k, 1, k // 2) for k in windows)

    def forward(self, x: Tensor) -> Tensor:
        x = self.cv1(x)
        return self.cv2(F.cat([x, *(pool(x) for pool in self.m)], 1))


class SPPF(Module):
    """SPP with windows of 5, 9 and 13, from one pool of 5 applied again and again."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        c = c_in // 2
        self.cv1 = Conv(c_in, c)
        self.cv2 = Conv(c * 4, c_out)
        self.m = MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        maxima = [self.cv1(x)]
        for _ in range(3):
            maxima.append(self.m(maxima[-1]))
        return self.cv2(F.cat(maxima, 1))


class Focus(Module):
    """Each 2×2 square of pixels becomes one cell of four times the channels, then a convolution."""

    def __init__(self, c_in: int, c_out: int, k: int) -> None:
        super().__init__()
        self.conv = Conv(4 * c_in, c_out, k)

    def forward(self, x: Tensor) -> Tensor:
        corners = [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]]
        return self.conv(F.cat(corners, 1))


class Concat(Module):
    """Join along the channels."""

    def forward(self, *xs: Tensor) -> Tensor:
        return F.cat(xs, 1)


class Detect(Module):
    """The head: a 1×1 convolution on each level, and the boxes that its maps mean.

    With σ the sigmoid of a map, centre = (2σ - ½ + cell) · stride and size = (2σ)² · anchor, in pixels.

    Attributes:
        anchors: (levels, anchors, 2), widths and heights in cells of their level.
    """

    def __init__(self, channels: list[int], classes: int, anchors: np.ndarray, strides: tuple[int, ...]) -> None:
        super().__init__()
        self.strides = strides
        self.outputs = 5 + classes
        in_cells = (anchors / np.reshape(strides, (-1, 1, 1))).astype(np.float32)
        self.anchors = Buffer(in_cells.shape, data=in_cells, optional=True)
        self.m = ModuleList(Conv2d(c, anchors.shape[1] * self.outputs, 1) for c in channels)

    def forward(self, *levels: Tensor, decode: bool = True) -> Any:
        maps = [conv(x) for conv, x in zip(self.m, levels, strict=True)]
        return self.boxes(maps) if decode else maps

    def boxes(self, maps: Sequence[Tensor]) -> Tensor:
        """Turn maps (batch, anchors · outputs, rows, columns) into (batch, boxes, outputs).

        Coordinates are computed in fp32: beyond 512 pixels those of fp16 are half a pixel apart. All levels are joined
        before, so that they are one run of arithmetic.
        """
        y = F.cat([self._rows(x.sigmoid()) for x in maps], 1)
        levels = [self._coefficients(level, _cells(*x.shape[2:])) for level, x in enumerate(maps)]
        square, linear, offset = (_join(parts, 0) for parts in zip(*levels, strict=True))
        box = y[..., :4].float()
        return F.cat([(box * square + linear) * box + offset, y[..., 4:].float()], -1)

    def _rows(self, x: Tensor) -> Tensor:
        """Turn a map into a row for each box: anchor by anchor, and cell by cell."""
        batch, channels, rows, columns = x.shape
        boxes = x.view(batch, channels // self.outputs, self.outputs, rows * columns).permute(0, 1, 3, 2)
        return boxes.reshape(batch, -1, self.outputs)

    def _coefficients(self, level: int, cells: np.ndarray | Tensor) -> list[np.ndarray | Tensor]:
        """Return q, l and c of each box of a level, (boxes, 4) each: a coordinate is q · σ² + l · σ + c."""
        stride, zero = self.strides[level], cells * 0
        anchors = self.anchors.data[level].astype(np.float32) * stride
        square = [_join([zero, zero + anchor * 4], -1) for anchor in anchors]
        linear = [_join([zero + 2 * stride, zero], -1)] * len(anchors)
        offset = [_join([(cells - 0.5) * stride, zero], -1)] * len(anchors)
        return [_join(parts, 0) for parts in (square, linear, offset)]


def _cells(rows: Length, columns: Length) -> np.ndarray | Tensor:
    """Return the column and the row of each cell of a map, (rows · columns, 2): an array where the map is static."""
    if is_static((rows, columns)):
        return np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).astype(np.float32).reshape(-1, 2)
    x = F.arange(columns, dtype="float32").view(1, columns, 1).expand(rows, columns, 1)
    y = F.arange(rows, dtype="float32").view(rows, 1, 1).expand(rows, columns, 1)
    return F.cat([x, y], -1).view(rows * columns, 2)


def _join(parts: Sequence[np.ndarray] | Sequence[Tensor], dim: int) -> np.ndarray | Tensor:
    return np.concatenate(parts, dim) if isinstance(parts[0], np.ndarray) else F.cat(parts, dim)


class Variant(NamedTuple):
    """How deep and wide a model is, against yolov5l."""

    depth: float
    width: float


_SIZES = {
    "n": Variant(0.33, 0.25),
    "s": Variant(0.33, 0.50),
    "m": Variant(0.67, 0.75),
    "l": Variant(1.00, 1.00),
    "x": Variant(1.33, 1.25),
}
_ANCHORS_P5 = (
    (10, 13, 16, 30, 33, 23),
    (30, 61, 62, 45, 59, 119),
    (116, 90, 156, 198, 373, 326),
)
_ANCHORS_P6 = (
    (19, 27, 44, 40, 38, 94),
    (96, 68, 86, 152, 180, 137),
    (140, 301, 303, 264, 238, 542),
    (436, 615, 739, 380, 925, 792),
)


class YOLOv5(Family):
    """YOLOv5 in any of its sizes.

    Args:
        name: yolov5n, s, m, l or x, or with a 6 behind it the P6 models for pictures of 1280 pixels.
        classes: the number of classes.
        version: ``"6.0"`` (also 6.x and 7.0) or ``"5.0"``, by the release that trained the checkpoint.
        head: ``"decoded"`` gives (batch, boxes, 5 + classes): centre x, centre y, width, height in pixels, objectness
            and class scores in 0..1, with 25200 boxes at 640 pixels. ``"raw"`` gives a list of maps
            (batch, 3 · (5 + classes), rows, columns), one for each stride.
        depth, width: in place of the size's own multiples.
        names: of the classes, for the engine file.

    Shape: images (batch, 3, height, width), RGB in 0..1; height and width multiples of the largest stride.
    """

    variants = {f"yolov5{size}{p6}": variant for p6 in ("", "6") for size, variant in _SIZES.items()}

    def __init__(
        self,
        name: str = "yolov5s",
        classes: int = 80,
        version: str = "6.0",
        head: str = "decoded",
        depth: float | None = None,
        width: float | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        if name not in self.variants:
            raise unknown_name(name, self.variants)
        if version not in ("5.0", "6.0"):
            raise ArgumentError(f"YOLOv5 version {version!r}", "known: '6.0', which 6.x and 7.0 share, and '5.0'")
        if head not in ("decoded", "raw"):
            raise ArgumentError(f"YOLOv5 head {head!r}", "known: 'decoded', 'raw'")
        if names is not None and len(names) != classes:
            raise ArgumentError(f"{len(names)} names for {classes} classes")
        self.name, self.classes, self.version, self.head = name, classes, version, head
        self.depth, self.width = depth or self.variants[name].depth, width or self.variants[name].width
        p6 = name.endswith("6")
        anchors = np.array(_ANCHORS_P6 if p6 else _ANCHORS_P5, np.float32).reshape(-1, 3, 2)
        self.strides = (8, 16, 32, 64)[: len(anchors)]
        size = 1280 if p6 else 640
        self.inputs = {"images": Input((1, 3, size, size))}
        self.metadata = {
            "model": name,
            "task": "detect",
            "pipeline": "yolov5",
            "classes": classes,
            "stride": self.strides[-1],
            "strides": list(self.strides),
            **({"names": list(names)} if names is not None else {}),
        }

        *lower, top = (128, 256, 512, 768, 1024) if p6 else (128, 256, 512, 1024)
        self.model = ModuleList([*self._backbone([*lower, top]), *self._neck(lower[1:], top)])
        heads = [self._channels(c) for c in (*lower[1:], top)]
        self.model.append(Detect(heads, classes, anchors, self.strides))
        if version == "5.0":  # those checkpoints hold the anchors twice, here in pixels
            self.model[-1].anchor_grid = Buffer(len(anchors), 1, 3, 1, 1, 2, optional=True)

    def _channels(self, c: int) -> int:
        return math.ceil(c * self.width / 8) * 8

    def _repeats(self, n: int) -> int:
        return max(round(n * self.depth), 1)

    def _c3(self, c_in: int, c_out: int, n: int, shortcut: bool = True) -> C3:
        return C3(self._channels(c_in), self._channels(c_out), self._repeats(n), shortcut)

    def _conv(self, c_in: int, c_out: int, k: int, s: int = 1) -> Conv:
        return Conv(self._channels(c_in), self._channels(c_out), k, s)

    def _backbone(self, stages: list[int]) -> list[Module]:
        """A stem, then for each stage a convolution of stride 2 and a C3; pyramid pooling at the end."""
        old = self.version == "5.0"
        stem, top = self._channels(64), self._channels(stages[-1])
        layers: list[Module] = [Focus(3, stem, 3) if old else Conv(3, stem, 6, 2, 2)]
        repeats = (3, 9, 9, 3, 3) if old else (3, 6, 9, 3, 3)
        for c_in, c_out, n in zip([64, *stages], stages, repeats, strict=False):
            layers += [self._conv(c_in, c_out, 3, 2), self._c3(c_out, c_out, n)]
        if old:  # the pyramid stands before the last C3, which has no residual paths
            layers[-1] = SPP(top, top, (5, 9, 13) if len(stages) == 4 else (3, 5, 7))
            return [*layers, self._c3(stages[-1], stages[-1], 3, shortcut=False)]
        return [*layers, SPPF(top, top)]

    def _neck(self, lower: list[int], top: int) -> list[Module]:
        """Down from the coarsest level to the finest, and up again; each step joins what the other way left there."""
        layers: list[Module] = []
        current = top
        for c in reversed(lower):
            layers += [self._conv(current, c, 1), Upsample(scale_factor=2), Concat(), self._c3(2 * c, c, 3, False)]
            current = c
        for c, above in zip(lower, [*lower[1:], top], strict=True):
            layers += [self._conv(c, c, 3, 2), Concat(), self._c3(2 * c, above, 3, False)]
        return layers

    def forward(self, images: Tensor) -> Any:
        self._check_size(images.shape[2:])
        layers = iter(self.model)

        def step(*xs: Tensor) -> Tensor:
            return next(layers)(*xs)

        x = step(images)
        backbone = []
        for _ in range(len(self.strides) + 1):  # strides 4, 8, 16, ...: halve, then a C3
            x = step(x)
            x = step(x)
            backbone.append(x)
        x = step(x)  # pyramid pooling, or what stands behind it

        lateral = []
        for finer in reversed(backbone[1:-1]):  # down the pyramid: narrow, upsample, join, C3
            lateral.append(step(x))
            x = step(lateral[-1])
            x = step(x, finer)
            x = step(x)

        levels = [x]
        for coarser in reversed(lateral):  # up again: halve, join, C3
            x = step(x)
            x = step(x, coarser)
            x = step(x)
            levels.append(x)
        return self.model[-1](*levels, decode=self.head == "decoded")

    def _check_size(self, size: tuple[Length, ...]) -> None:
        stride = self.strides[-1]
        even = [same(length % stride, 0) for length in size]
        if not all(even) and not is_static(size):
            raise ShapeError(
                f"{self.name} takes pictures whose height and width are multiples of {stride}, its largest stride",
                f"received {tuple(size)}",
                f"declare it: trtnn.Dim(..., multiple_of={stride})",
            )
        if not all(even):
            smaller = tuple(max(length // stride, 1) * stride for length in size)
            larger = tuple(-(-length // stride) * stride for length in size)
            raise ShapeError(
                f"{self.name} takes pictures whose height and width are multiples of {stride}, its largest stride",
                f"received {tuple(size)}",
                f"nearest: {' and '.join(map(str, dict.fromkeys((smaller, larger))))}",
            )

    @classmethod
    def identify(cls, state_dict: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the arguments of the YOLOv5 that a state dict's names and sizes tell of, or None."""
        old = "model.0.conv.conv.weight" in state_dict
        stem = state_dict.get("model.0.conv.conv.weight" if old else "model.0.conv.weight")
        p6 = "6" if "model.33.m.0.bias" in state_dict else ""
        bias = state_dict.get("model.33.m.0.bias" if p6 else "model.24.m.0.bias")
        if stem is None or bias is None:
            return None
        width = math.prod(stem.shape) / 108 / 64  # either stem has 108 weights a channel
        depth = sum(f"model.2.m.{i}.cv1.conv.weight" in state_dict for i in range(16)) / 3
        size = min(_SIZES, key=lambda s: abs(_SIZES[s].width - width) + abs(_SIZES[s].depth - depth))
        classes = math.prod(bias.shape) // 3 - 5
        return {"name": f"yolov5{size}{p6}", "classes": classes, "version": "5.0" if old else "6.0"}
