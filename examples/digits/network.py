"""YOLOv5 in torch, with the official state-dict names: what the digits detector is trained with.

Written from the published facts of the architecture (layer tables, parameter names, the decoding formula), for
releases 5.0 and 6.0 to 7.0, and for the models with three output levels (P5) and with four (P6). The blocks are
CSPNet's (Wang et al., 2020, arXiv:1911.11929), the pooling is SPPNet's (He et al., 2014, arXiv:1406.4729), the neck is
PANet's (Liu et al., 2018, arXiv:1803.01534). In the models with "-dcn" behind their names three convolutions are
deformable ones (Zhu et al., 2018, arXiv:1811.11168).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from trtnn.errors import ArgumentError
from trtnn.examples.digits.deformable import deform_conv2d

SCALES = {"n": (0.33, 0.25), "s": (0.33, 0.50), "m": (0.67, 0.75), "l": (1.0, 1.0), "x": (1.33, 1.25)}  # depth, width
ANCHORS_PX = {
    3: (((10, 13), (16, 30), (33, 23)), ((30, 61), (62, 45), (59, 119)), ((116, 90), (156, 198), (373, 326))),
    4: (
        ((19, 27), (44, 40), (38, 94)),
        ((96, 68), (86, 152), (180, 137)),
        ((140, 301), (303, 264), (238, 542)),
        ((436, 615), (739, 380), (925, 792)),
    ),
}


class Conv(nn.Module):
    """Convolution without bias, padded by ``k // 2`` unless told, then BatchNorm and SiLU."""

    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, p: int | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, s, k // 2 if p is None else p, bias=False)
        self.bn = nn.BatchNorm2d(c2, eps=1e-3, momentum=0.03)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class DCN(nn.Conv2d):
    """Deformable convolution that finds its offsets and masks by a convolution of its own.

    That starts at 0, so that each tap starts in its usual place with half its weight.
    """

    def __init__(self, c1: int, c2: int, k: int, s: int) -> None:
        super().__init__(c1, c2, k, s, k // 2)
        self.conv_offset_mask = nn.Conv2d(c1, 3 * k * k, k, s, k // 2)
        for parameter in self.conv_offset_mask.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        first, second, mask = self.conv_offset_mask(x).chunk(3, 1)
        offset, geometry = torch.cat((first, second), 1), (self.stride, self.padding, self.dilation)
        return deform_conv2d(x, offset, self.weight, self.bias, *geometry, mask.sigmoid())


class Bottleneck(nn.Module):
    """A 1x1 and a 3x3 convolution, added to the input where ``shortcut``."""

    def __init__(self, c: int, shortcut: bool) -> None:
        super().__init__()
        self.cv1 = Conv(c, c)
        self.cv2 = Conv(c, c, 3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class C3(nn.Module):
    """A CSP stage of three 1x1 convolutions: ``cv3(cat(m(cv1(x)), cv2(x)))``, with ``n`` bottlenecks ``m``."""

    def __init__(self, c1: int, c2: int, n: int, shortcut: bool) -> None:
        super().__init__()
        hidden = c2 // 2
        self.cv1 = Conv(c1, hidden)
        self.cv2 = Conv(c1, hidden)
        self.cv3 = Conv(2 * hidden, c2)
        self.m = nn.Sequential(*(Bottleneck(hidden, shortcut) for _ in range(n)))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class SPP(nn.Module):
    """Max pools of several sizes side by side (release 5.0)."""

    def __init__(self, c1: int, c2: int, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.cv1 = Conv(c1, c1 // 2)
        self.cv2 = Conv(c1 // 2 * (len(sizes) + 1), c2)
        self.m = nn.ModuleList(nn.MaxPool2d(k, 1, k // 2) for k in sizes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.cv1(x)
        return self.cv2(torch.cat([x, *(pool(x) for pool in self.m)], 1))


class SPPF(nn.Module):
    """One max pool three times over: the same as pools of 5, 9 and 13 side by side, faster (from release 6.0)."""

    def __init__(self, c1: int, c2: int, k: int = 5) -> None:
        super().__init__()
        self.cv1 = Conv(c1, c1 // 2)
        self.cv2 = Conv(c1 // 2 * 4, c2)
        self.m = nn.MaxPool2d(k, 1, k // 2)

    def forward(self, x: Tensor) -> Tensor:
        pyramid = [self.cv1(x)]
        for _ in range(3):
            pyramid.append(self.m(pyramid[-1]))
        return self.cv2(torch.cat(pyramid, 1))


class Focus(nn.Module):
    """Each 2x2 block of pixels becomes channels, column by column, then a 3x3 convolution (release 5.0's stem)."""

    def __init__(self, c1: int, c2: int) -> None:
        super().__init__()
        self.conv = Conv(4 * c1, c2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(torch.cat([x[..., row::2, column::2] for column in (0, 1) for row in (0, 1)], 1))


class Concat(nn.Module):
    """Joins several inputs along the channels."""

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.cat(inputs, 1)


class Detect(nn.Module):
    """One 1x1 convolution per level; :meth:`decode` turns its maps into boxes.

    Attributes:
        anchors: (levels, anchors, 2) widths and heights in cells of their level: pixels divided by the stride.
        strides_px: pixels per cell of each level.
    """

    anchors: Tensor

    def __init__(self, classes: int, channels: list[int], version: str) -> None:
        super().__init__()
        self.classes = classes
        self._grids: dict[tuple, Tensor] = {}
        self.strides_px = [8 << level for level in range(len(channels))]
        anchors_px = torch.tensor(ANCHORS_PX[len(channels)], dtype=torch.float32)
        self.register_buffer("anchors", anchors_px / torch.tensor(self.strides_px).view(-1, 1, 1))
        if version == "5.0":
            self.register_buffer("anchor_grid", anchors_px.view(len(channels), 1, -1, 1, 1, 2))
        self.m = nn.ModuleList(nn.Conv2d(c, anchors_px.shape[1] * (5 + classes), 1) for c in channels)

    def forward(self, *features: Tensor) -> list[Tensor]:
        return [conv(x) for conv, x in zip(self.m, features, strict=True)]

    def split(self, raw: Tensor) -> Tensor:
        """(batch, anchors*(5+classes), h, w) to (batch, anchors, h, w, 5+classes): x, y, w, h, objectness, classes."""
        batch, _, h, w = raw.shape
        return raw.view(batch, self.anchors.shape[1], 5 + self.classes, h, w).permute(0, 1, 3, 4, 2)

    def decode(self, raw: list[Tensor]) -> Tensor:
        """Centre x, y, width, height in pixels, objectness and class scores, (batch, anchors of all levels, 5+classes).

        With ``s`` the sigmoid of a map: ``xy = (2s - 0.5 + cell) * stride``, ``wh = (2s)^2 * anchor_px``. Each level is
        flattened anchor by anchor, row by row; levels follow one another.
        """
        decoded = []
        for level, stride_px in enumerate(self.strides_px):
            sigma = self.split(raw[level]).sigmoid()
            cells = self._cells(sigma)
            anchors_px = (self.anchors[level] * stride_px).view(1, -1, 1, 1, 2).to(sigma)
            xy = (2 * sigma[..., :2] - 0.5 + cells) * stride_px
            wh = (2 * sigma[..., 2:4]) ** 2 * anchors_px
            decoded.append(torch.cat((xy, wh, sigma[..., 4:]), -1).reshape(len(sigma), -1, 5 + self.classes))
        return torch.cat(decoded, 1)

    def _cells(self, like: Tensor) -> Tensor:
        """Column and row of each cell, (h, w, 2), made once: an exported network holds them as a constant."""
        h, w = (int(length) for length in like.shape[2:4])
        key = h, w, like.device, like.dtype
        if key not in self._grids:
            grid = np.stack(np.meshgrid(np.arange(w), np.arange(h)), -1).astype(np.float32)
            self._grids[key] = torch.from_numpy(grid).to(like)
        return self._grids[key]


class YOLOv5(nn.Module):
    """The detector. Images go in as (batch, channels, h, w), RGB from 0 to 1, h and w multiples of the last stride.

    Args:
        name: ``yolov5`` and a size (n, s, m, l, x), then ``6`` for the models with a fourth level, or ``-dcn`` for
            those whose first three convolutions of stride 2 behind the stem are deformable (``"6.0"`` alone).
        classes: number of classes.
        version: ``"6.0"`` (all from 6.0 to 7.0) or ``"5.0"``.
        head: what eval mode returns. ``"decoded"``: :meth:`Detect.decode`'s (batch, sum(3*h*w), 5+classes).
            ``"raw"``: a list of the levels' convolution maps, (batch, 3*(5+classes), h, w) each, before any sigmoid.
            Train mode always returns the raw maps.
        depth: multiple of the repeats, where not the name's.
        width: multiple of the channels, where not the name's.
        channels: channels of the images.
    """

    def __init__(
        self,
        name: str,
        classes: int = 80,
        version: str = "6.0",
        head: str = "decoded",
        depth: float | None = None,
        width: float | None = None,
        channels: int = 3,
    ) -> None:
        super().__init__()
        deformable = name.endswith("-dcn")
        size = name.removeprefix("yolov5").removesuffix("-dcn" if deformable else "6")
        if not name.startswith("yolov5") or size not in SCALES:
            raise ArgumentError(
                f"there is no YOLOv5 named {name!r}", f"sizes: {', '.join(SCALES)}, as in 'yolov5s6', 'yolov5s-dcn'"
            )
        if version not in ("5.0", "6.0"):
            raise ArgumentError(f"there is no YOLOv5 architecture {version!r}", "versions: '5.0', '6.0'")
        if deformable and version != "6.0":
            raise ArgumentError(f"there is no {name} of release {version}", "versions: '6.0'")
        if head not in ("decoded", "raw"):
            raise ArgumentError(f"there is no YOLOv5 head {head!r}", "heads: 'decoded', 'raw'")
        self.name, self.classes, self.version, self.head = name, classes, version, head
        self.depth = SCALES[size][0] if depth is None else depth
        self.width = SCALES[size][1] if width is None else width
        self.model = nn.ModuleList()
        self.sources: list[tuple[int, ...]] = []  # per layer, the layers it reads; -1 is the one before it
        self._assemble(channels, p6=name.endswith("6"), deformable=3 if deformable else 0)

    def _add(self, layer: nn.Module, *sources: int) -> int:
        self.model.append(layer)
        self.sources.append(sources or (-1,))
        return len(self.model) - 1

    def _assemble(self, channels: int, p6: bool, deformable: int) -> None:
        def repeats(n: int) -> int:
            return max(round(n * self.depth), 1)

        old = self.version == "5.0"
        stages = [(128, 3), (256, 9 if old else 6), (512, 9), *([(768, 3)] if p6 else []), (1024, 3)]
        counts = [repeats(n) for _, n in stages]
        stem, *widths = [math.ceil(c * self.width / 8) * 8 for c in (64, *(c for c, _ in stages))]

        # Backbone: halve the image five or six times.
        self._add(Focus(channels, stem) if old else Conv(channels, stem, 6, 2, 2))
        lateral = []  # (layer, channels) that the way down joins again
        below = stem
        for stage, (c, n) in enumerate(zip(widths[:-1], counts[:-1], strict=True)):
            self._add((DCN if stage < deformable else Conv)(below, c, 3, 2))
            lateral.append((self._add(C3(c, c, n, shortcut=True)), c))
            below = c
        top = widths[-1]
        self._add(Conv(below, top, 3, 2))
        if old:
            self._add(SPP(top, top, (3, 5, 7) if p6 else (5, 9, 13)))
            self._add(C3(top, top, counts[-1], shortcut=False))
        else:
            self._add(C3(top, top, counts[-1], shortcut=True))
            self._add(SPPF(top, top))

        # Neck: from the coarsest level down to stride 8, then up again, joining what the way down left.
        down = []
        above = top
        for layer, c in reversed(lateral[1:]):
            down.append((self._add(Conv(above, c)), c))
            self._add(nn.Upsample(scale_factor=2, mode="nearest"))
            self._add(Concat(), -1, layer)
            finest = self._add(C3(2 * c, c, repeats(3), shortcut=False))
            above = c
        outputs = [(finest, above)]
        for (layer, c), c_out in zip(reversed(down), widths[2:], strict=True):
            self._add(Conv(c, c, 3, 2))
            self._add(Concat(), -1, layer)
            outputs.append((self._add(C3(2 * c, c_out, repeats(3), shortcut=False)), c_out))
        self._add(Detect(self.classes, [c for _, c in outputs], self.version), *(layer for layer, _ in outputs))

    @property
    def detect(self) -> Detect:
        return self.model[-1]

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        x: Tensor | list[Tensor] = images
        seen: list[Tensor] = []
        for layer, sources in zip(self.model, self.sources, strict=True):
            x = layer(*(x if source == -1 else seen[source] for source in sources))
            seen.append(x)
        return x if self.training or self.head == "raw" else self.detect.decode(x)
