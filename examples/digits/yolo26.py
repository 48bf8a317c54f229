"""YOLO26 in torch, with the official state-dict names: what the digits detector is trained with end to end.

Written from the published facts of the architecture (layer tables, parameter names, the formula of the boxes): the
blocks are CSPNet's (Wang et al., 2020, arXiv:1911.11929), the attention and the two sets of branches of the head are
YOLOv10's (Wang et al., 2024, arXiv:2405.14458).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from trtnn.errors import ArgumentError
from trtnn.examples.digits.network import Concat

SCALES = {  # depth, width, and the most channels before that
    "n": (0.50, 0.25, 1024),
    "s": (0.50, 0.50, 1024),
    "m": (0.50, 1.00, 512),
    "l": (1.00, 1.00, 512),
    "x": (1.00, 1.50, 512),
}
DETECTIONS = 300
MANY, ONE = "", "one2one_"  # what stands before the names of the two sets of branches


class Conv(nn.Module):
    """Convolution without bias, padded by ``k // 2``, then BatchNorm and SiLU, or nothing where not ``act``."""

    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, groups: int = 1, act: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, s, k // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(c2, eps=1e-3, momentum=0.03)
        self.act = nn.SiLU() if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    """Two 3x3 convolutions, ``hidden`` channels between them, added to the input."""

    def __init__(self, c: int, hidden: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(c, hidden, 3), Conv(hidden, c, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.cv2(self.cv1(x))


class C3k(nn.Module):
    """``cv3(cat(m(cv1(x)), cv2(x)))`` with two bottlenecks ``m`` of half the channels."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.cv1, self.cv2, self.cv3 = Conv(c, c // 2), Conv(c, c // 2), Conv(c, c)
        self.m = nn.Sequential(Bottleneck(c // 2, c // 2), Bottleneck(c // 2, c // 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class Attention(nn.Module):
    """Attention over the places of a map, in heads of 64 channels with keys of 32; ``pe`` tells where a value is."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.heads = c // 64
        self.qkv, self.proj = Conv(c, 2 * c, act=False), Conv(c, c, act=False)
        self.pe = Conv(c, c, 3, groups=c, act=False)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x).unflatten(1, (self.heads, 128)).flatten(3).transpose(2, 3)  # (batch, heads, places, 128)
        q, k, v = qkv[..., :32], qkv[..., 32:64], qkv[..., 64:]
        weights = (q @ k.transpose(2, 3)).div(32**0.5).softmax(-1)
        seen = (weights @ v).transpose(2, 3).reshape(x.shape)
        return self.proj(seen + self.pe(v.transpose(2, 3).reshape(x.shape)))


class PSABlock(nn.Module):
    """Attention and two 1x1 convolutions, each added to its input."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.attn = Attention(c)
        self.ffn = nn.Sequential(Conv(c, 2 * c), Conv(2 * c, c, act=False))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(x)
        return x + self.ffn(x)


class C2PSA(nn.Module):
    """``cv2(cat(a, m(b)))`` with a and b the halves of ``cv1(x)`` and ``n`` blocks of attention ``m``."""

    def __init__(self, c: int, n: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(c, c), Conv(c, c)
        self.m = nn.Sequential(*(PSABlock(c // 2) for _ in range(n)))

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.cv1(x).chunk(2, 1)
        return self.cv2(torch.cat((a, self.m(b)), 1))


class C3k2(nn.Module):
    """``cv2(cat(a, b, m0(b), m1(m0(b)), ...))`` with a and b the halves of ``cv1(x)`` and ``block`` making each m."""

    def __init__(self, c1: int, c2: int, n: int, block: Callable[[int], nn.Module], part: float = 0.5) -> None:
        super().__init__()
        c = int(c2 * part)
        self.cv1, self.cv2 = Conv(c1, 2 * c), Conv((2 + n) * c, c2)
        self.m = nn.ModuleList(block(c) for _ in range(n))

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.cv1(x).chunk(2, 1))
        for block in self.m:
            parts.append(block(parts[-1]))
        return self.cv2(torch.cat(parts, 1))


class SPPF(nn.Module):
    """One max pool three times over, of a map without activation, added to the input."""

    def __init__(self, c: int, act: bool = False, add: bool = True) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(c, c // 2, act=act), Conv(c * 2, c)
        self.m = nn.MaxPool2d(5, 1, 2)
        self.add = add

    def forward(self, x: Tensor) -> Tensor:
        pyramid = [self.cv1(x)]
        for _ in range(3):
            pyramid.append(self.m(pyramid[-1]))
        y = self.cv2(torch.cat(pyramid, 1))
        return x + y if self.add else y


def narrow(c: int) -> nn.Module:
    """A bottleneck that is half as wide within."""
    return Bottleneck(c, c // 2)


def attending(c: int) -> nn.Module:
    """The same and attention."""
    return nn.Sequential(narrow(c), PSABlock(c))


class Detect(nn.Module):
    """Two sets of branches, each with one for the four sides of a box and one for its scores, on each level.

    The first set learns each object in many places and the second in one, so that nothing has to be suppressed.
    """

    def __init__(self, classes: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.classes, self.strides_px = classes, [8 << level for level in range(len(channels))]
        self._places: dict[tuple, Tensor] = {}
        c2, c3 = max(16, channels[0] // 4), max(channels[0], min(classes, 100))
        for name in (MANY, ONE):
            sides = (nn.Sequential(Conv(c, c2, 3), Conv(c2, c2, 3), nn.Conv2d(c2, 4, 1)) for c in channels)
            self.add_module(f"{name}cv2", nn.ModuleList(sides))
            scores = (nn.Sequential(apart(c, c3), apart(c3, c3), nn.Conv2d(c3, classes, 1)) for c in channels)
            self.add_module(f"{name}cv3", nn.ModuleList(scores))

    def forward(self, *features: Tensor) -> dict[str, list[Tensor]]:
        """The maps of each set of branches, (batch, 4 + classes, rows, columns) of each level: sides, then scores.

        Eval mode has those of the second set alone.
        """
        sets = (MANY, ONE) if self.training else (ONE,)
        return {name: [self.map(name, level, x) for level, x in enumerate(features)] for name in sets}

    def map(self, name: str, level: int, x: Tensor) -> Tensor:
        """One level's map of one set of branches."""
        return torch.cat([getattr(self, f"{name}{kind}")[level](x) for kind in ("cv2", "cv3")], 1)

    def rows(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """One set's maps as rows: sides in cells, scores before the sigmoid, and each cell's middle and stride.

        Returns:
            (batch, cells, 4), (batch, cells, classes), and (cells, 3): x and y in pixels and pixels per cell.
        """
        joined = torch.cat([x.flatten(2) for x in maps], 2).transpose(1, 2).float()
        sizes = tuple((int(x.shape[2]), int(x.shape[3])) for x in maps)
        return joined[..., :4], joined[..., 4:], self.places(sizes, joined.device)

    def places(self, sizes: tuple[tuple[int, int], ...], device: torch.device) -> Tensor:
        """Each cell's middle and stride in pixels, (cells, 3), made once: an exported network holds them as a constant.

        Args:
            sizes: rows and columns of each level.
            device: where they are wanted.
        """
        if (sizes, device) not in self._places:
            levels = []
            for stride_px, (h, w) in zip(self.strides_px, sizes, strict=True):
                middles = np.stack(np.meshgrid(np.arange(w), np.arange(h)), -1).reshape(-1, 2) + 0.5
                levels.append(np.column_stack((middles * stride_px, np.full(len(middles), stride_px))))
            places = np.concatenate(levels).astype(np.float32)
            self._places[sizes, device] = torch.from_numpy(places).to(device)
        return self._places[sizes, device]

    def corners(self, sides: Tensor, places: Tensor) -> Tensor:
        """Boxes x1, y1, x2, y2 in pixels, from their sides' distances."""
        middle, stride_px = places[:, :2], places[:, 2:]
        return torch.cat((middle - sides[..., :2] * stride_px, middle + sides[..., 2:] * stride_px), -1)

    def decode(self, maps: Sequence[Tensor]) -> Tensor:
        """The best boxes of the second set, (batch, 300, 6): x1, y1, x2, y2 in pixels, score, class."""
        sides, logits, places = self.rows(maps)
        boxes, count = self.corners(sides, places), min(DETECTIONS, len(places))
        cells = logits.amax(2).topk(count).indices
        scores = logits.gather(1, cells[..., None].expand(-1, -1, self.classes)).sigmoid().flatten(1)
        best, which = scores.topk(count)
        cell = cells.gather(1, which // self.classes)
        box = boxes.gather(1, cell[..., None].expand(-1, -1, 4))
        return torch.cat((box, best[..., None], (which % self.classes)[..., None].float()), -1)


def apart(c1: int, c2: int) -> nn.Module:
    """A depthwise 3x3 convolution and one of 1x1."""
    return nn.Sequential(Conv(c1, c1, 3, groups=c1), Conv(c1, c2))


class YOLO26(nn.Module):
    """The detector. Images go in as (batch, 3, h, w), RGB from 0 to 1, h and w multiples of 32.

    Train mode gives :meth:`Detect.forward`'s maps; eval mode the boxes of :meth:`Detect.decode`, (batch, 300, 6).

    Args:
        name: ``yolo26`` and a size (n, s, m, l, x).
        classes: number of classes.
    """

    def __init__(self, name: str, classes: int = 80) -> None:
        super().__init__()
        size = name.removeprefix("yolo26")
        if not name.startswith("yolo26") or size not in SCALES:
            raise ArgumentError(f"there is no YOLO26 named {name!r}", f"sizes: {', '.join(SCALES)}, as in 'yolo26n'")
        depth, width, most = SCALES[size]
        n, block = max(round(2 * depth), 1), narrow if width < 1 else C3k
        c1, c2, c3, c4, c5 = (math.ceil(min(c, most) * width / 8) * 8 for c in (64, 128, 256, 512, 1024))
        up = nn.Upsample(scale_factor=2)
        self.name, self.classes = name, classes
        self.model = nn.ModuleList(
            [
                Conv(3, c1, 3, 2),
                Conv(c1, c2, 3, 2),
                C3k2(c2, c3, n, block, 0.25),
                Conv(c3, c3, 3, 2),
                C3k2(c3, c4, n, block, 0.25),
                Conv(c4, c4, 3, 2),
                C3k2(c4, c4, n, C3k),
                Conv(c4, c5, 3, 2),
                C3k2(c5, c5, n, C3k),
                SPPF(c5),
                C2PSA(c5, n),
                *(up, Concat(), C3k2(c5 + c4, c4, n, C3k)),
                *(up, Concat(), C3k2(2 * c4, c3, n, C3k)),
                *(Conv(c3, c3, 3, 2), Concat(), C3k2(c3 + c4, c4, n, C3k)),
                *(Conv(c4, c4, 3, 2), Concat(), C3k2(c4 + c5, c5, 1, attending)),
                Detect(classes, [c3, c4, c5]),
            ]
        )
        self.sources = {12: (11, 6), 15: (14, 4), 18: (17, 13), 21: (20, 10), 23: (16, 19, 22)}

    @property
    def detect(self) -> Detect:
        return self.model[-1]

    def forward(self, images: Tensor) -> Tensor | dict[str, list[Tensor]]:
        seen: list[Tensor] = []
        x = images
        for number, layer in enumerate(self.model):
            x = layer(*(seen[source] for source in self.sources[number])) if number in self.sources else layer(x)
            seen.append(x)
        return x if self.training else self.detect.decode(x[ONE])
