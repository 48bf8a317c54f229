"""YOLOv9 (https://arxiv.org/abs/2402.13616), with the names and numbers of Ultralytics' checkpoints.

The backbone and the neck are GELAN's: blocks that split their channels, send one part through stages one after another
and join what each gave. yolov9e has two backbones, the second of which takes at each level what all levels of the first
gave (https://arxiv.org/abs/1909.03625). The head is YOLOv8's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from trtnn import functional as F
from trtnn.graph.tensor import Tensor
from trtnn.models.blocks import Concat, Conv
from trtnn.models.numbered import Layers
from trtnn.models.yolo_family import YOLO, Body
from trtnn.models.yolo_heads import BINS
from trtnn.modules import Conv2d, Identity, MaxPool2d, Module, Sequential, SiLU, Upsample


class RepConv(Module):
    """A 3×3 and a 1×1 convolution side by side, and the activation of their sum (https://arxiv.org/abs/2101.03697).

    The network has one 3×3 convolution of both, since the 1×1 kernel adds to the middle of the other.
    """

    def __init__(self, c: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = Conv(c, c, 3, act=Identity), Conv(c, c, 1, act=Identity)
        self.act = SiLU()

    def fuse(self) -> None:
        """Have the one convolution as a fused checkpoint does."""
        c = self.conv1.conv.out_channels
        del self.conv1, self.conv2
        self.conv = Conv2d(c, c, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if hasattr(self, "conv"):
            return self.act(self.conv(x))
        (kernel, bias), (middle, more) = _folded(self.conv1), _folded(self.conv2)
        kernel[:, :, 1:2, 1:2] += middle
        return self.act(F.conv2d(x, kernel, bias + more, padding=1))


def _folded(block: Conv) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel and bias of a convolution with the BatchNorm behind it."""
    norm = block.bn
    weight, bias, mean, variance = (
        member.numpy().astype(np.float32) for member in (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    )
    scale = weight / np.sqrt(variance + norm.eps)
    return block.conv.weight.numpy().astype(np.float32) * scale.reshape(-1, 1, 1, 1), bias - mean * scale


class RepBottleneck(Module):
    """A :class:`RepConv` and a 3×3 convolution, with a residual path round them."""

    add = True  # that it has such a path

    def __init__(self, c: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = RepConv(c), Conv(c, c, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(self.cv1(x))
        return x + y if self.add else y


class RepCSP(Module):
    """A cross-stage partial block of ``n`` such bottlenecks: half of the channels go through them, half past them."""

    def __init__(self, c: int, n: int) -> None:
        super().__init__()
        self.cv1, self.cv2, self.cv3 = Conv(c, c // 2), Conv(c, c // 2), Conv(c, c)
        self.m = Sequential(*(RepBottleneck(c // 2) for _ in range(n)))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(F.cat([self.m(self.cv1(x)), self.cv2(x)], 1))


class _ELAN(Module):
    """Half of the channels goes through two stages one after another; both halves and what each gives are joined."""

    def forward(self, x: Tensor) -> Tensor:
        both = self.cv1(x)
        first = self.cv2(both[:, both.shape[1] // 2 :])
        return self.cv4(F.cat([both, first, self.cv3(first)], 1))


class ELAN1(_ELAN):
    """The block whose stages are a convolution each."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.cv1, self.cv4 = Conv(c, c), Conv(2 * c, c)
        self.cv2, self.cv3 = Conv(c // 2, c // 2, 3), Conv(c // 2, c // 2, 3)


class RepNCSPELAN4(_ELAN):
    """The block whose stages are a :class:`RepCSP` and a convolution each; ``c`` channels are split."""

    def __init__(self, c_in: int, c_out: int, c: int, n: int) -> None:
        super().__init__()
        self.cv1, self.cv4 = Conv(c_in, c), Conv(2 * c, c_out)
        self.cv2, self.cv3 = (Sequential(RepCSP(c // 2, n), Conv(c // 2, c // 2, 3)) for _ in range(2))


class AConv(Module):
    """Halve a map: means of 2×2 cells, then a convolution of stride 2."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.cv1 = Conv(c_in, c_out, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.cv1(F.avg_pool2d(x, 2, 1))


class ADown(Module):
    """Halve a map: means of 2×2 cells, then half of the channels by a convolution and half by maxima."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(c_in // 2, c_out // 2, 3, 2), Conv(c_in // 2, c_out // 2)

    def forward(self, x: Tensor) -> Tensor:
        convolved, pooled = F.avg_pool2d(x, 2, 1).chunk(2, 1)
        return F.cat([self.cv1(convolved), self.cv2(F.max_pool2d(pooled, 3, 2, 1))], 1)


class SPPELAN(Module):
    """Spatial pyramid pooling with windows of 5, 9 and 13, from three pools of 5 one after another."""

    def __init__(self, c_in: int, c_out: int, c: int) -> None:
        super().__init__()
        self.cv1, self.cv5 = Conv(c_in, c), Conv(4 * c, c_out)
        self.cv2, self.cv3, self.cv4 = (MaxPool2d(5, 1, 2) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        maxima = [self.cv1(x)]
        for pool in (self.cv2, self.cv3, self.cv4):
            maxima.append(pool(maxima[-1]))
        return self.cv5(F.cat(maxima, 1))


class CBLinear(Module):
    """A 1×1 convolution of a level of the first backbone, with a part of its channels for each level it goes to."""

    def __init__(self, c_in: int, parts: Sequence[int]) -> None:
        super().__init__()
        self.c2s = list(parts)  # Ultralytics' name
        self.conv = Conv2d(c_in, sum(parts), 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.conv(x).split(self.c2s, 1))


class CBFuse(Module):
    """Add to a map the part of each coarser level that is for it, its nearest cells.

    Args:
        level: whose parts are meant, by their place among a :class:`CBLinear`'s.
        inputs: how many levels there are, the finest of the same size as the map.
    """

    def __init__(self, level: int, inputs: int) -> None:
        super().__init__()
        self.idx = [level] * inputs  # Ultralytics' name

    def forward(self, *inputs: Any) -> Tensor:
        *levels, x = inputs
        for coarser, (index, level) in enumerate(zip(self.idx, levels, strict=True)):
            part = level[index]
            x = x + (F.interpolate(part, scale_factor=2**coarser) if coarser else part)
        return x


class Stage(NamedTuple):
    """Channels behind the convolution that halves, behind the block, and of those that the block splits."""

    halved: int
    out: int
    split: int


class Variant(NamedTuple):
    """What a name stands for.

    Args:
        stem: channels of the first convolution.
        stages: of the backbone.
        neck: channels out of the neck's blocks, down the pyramid and up again, and of those that they split.
        narrow: channels of what halves on the way up.
        repeats: bottlenecks in a block.
        halve: what halves a map behind the first two convolutions.
        plain: whether the first block has convolutions for stages.
        two: whether there are two backbones.
    """

    stem: int
    stages: tuple[Stage, Stage, Stage, Stage]
    neck: tuple[tuple[int, int], ...]
    narrow: tuple[int, int]
    repeats: int
    halve: type[AConv | ADown] = ADown
    plain: bool = False
    two: bool = False

    @classmethod
    def even(
        cls, stem: int, widths: tuple[int, int, int, int], narrow: tuple[int, int], repeats: int, plain: bool
    ) -> Variant:
        """Return one whose blocks split as many channels as they give."""
        first, second, third, last = (Stage(c, c, c) for c in widths)
        neck = tuple((widths[i], widths[i]) for i in (2, 1, 2, 3))
        stages = (first._replace(halved=2 * stem), second, third, last)
        return cls(stem, stages, neck, narrow, repeats, AConv, plain)


_C = Variant(
    64,
    (Stage(128, 256, 128), Stage(256, 512, 256), Stage(512, 512, 512), Stage(512, 512, 512)),
    ((512, 512), (256, 256), (512, 512), (512, 512)),
    (256, 512),
    1,
)
_E = Variant(
    64,
    (Stage(128, 256, 128), Stage(256, 512, 256), Stage(512, 1024, 512), Stage(1024, 1024, 512)),
    ((512, 512), (256, 256), (512, 512), (512, 1024)),
    (256, 512),
    2,
    two=True,
)


class Level(NamedTuple):
    """A map: the number of the layer that gives it, and its channels."""

    layer: int
    channels: int


class YOLOv9(YOLO):
    """YOLOv9 in any of its sizes.

    Args:
        name: yolov9t, s, m, c or e; yolov9c-seg and yolov9e-seg are for masks.
        classes, head, names: as :class:`trtnn.models.yolov8.YOLOv8` has them.
        fused: whether BatchNorm was folded into the convolutions, and each :class:`RepConv` into one, as checkpoints
            may have it.

    Shape: images (batch, 3, height, width), RGB in 0..1; height and width multiples of 32.
    """

    default_name = "yolov9s"
    variants = {
        "yolov9t": Variant.even(16, (32, 64, 96, 128), (48, 64), 3, True),
        "yolov9s": Variant.even(32, (64, 128, 192, 256), (96, 128), 3, True),
        "yolov9m": Variant.even(32, (128, 240, 360, 480), (184, 240), 1, False),
        "yolov9c": _C,
        "yolov9e": _E,
        "yolov9c-seg": _C,
        "yolov9e-seg": _E,
    }

    def declare_fused(self) -> None:
        super().declare_fused()
        for block in list(self.modules()):
            if isinstance(block, RepConv):
                block.fuse()

    def body(self, variant: Variant) -> Body:
        layers = Layers()
        backbone = _two_backbones(layers, variant) if variant.two else _backbone(layers, variant)
        maps = _neck(layers, variant, backbone[-3:])
        sources = [*layers.sources, [number for number, _ in maps]]
        return Body(layers.modules, sources, [channels for _, channels in maps])

    def prototypes(self, variant: Variant) -> int:
        return 256

    @classmethod
    def is_own(cls, state_dict: Mapping[str, Any], head: str) -> bool:
        sides = state_dict.get(f"{head}cv2.0.1.conv.weight")  # in groups in the authors' own release, which is another
        is_gelan = "model.2.cv4.conv.weight" in state_dict or "model.3.cv4.conv.weight" in state_dict
        return is_gelan and sides is not None and math.prod(sides.shape) == (4 * BINS) ** 2 * 9

    @classmethod
    def nearest(cls, state_dict: Mapping[str, Any], head: str, names: Sequence[str]) -> str | None:
        two, plain = "model.0.conv.weight" not in state_dict, "model.2.cv2.conv.weight" in state_dict
        stem = math.prod(state_dict["model.1.conv.weight" if two else "model.0.conv.weight"].shape) / 27
        alike = [name for name in names if (cls.variants[name].two, cls.variants[name].plain) == (two, plain)]
        return min(alike, key=lambda name: abs(cls.variants[name].stem - stem), default=None)


def _backbone(layers: Layers, variant: Variant, others: Sequence[int] = ()) -> list[Level]:
    """Append a backbone and return its maps, on strides 2, 4, 8, 16 and 32.

    Args:
        layers: what it is appended to.
        variant: which one.
        others: the layers whose parts are added to what halves, where it is the second backbone; layer 0 are the
            images.
    """

    def halve(layer: Module, *sources: int) -> int:
        number = layers.append(layer, *sources)
        level = len(levels)
        return layers.append(CBFuse(level, len(others) - level), *others[level:], -1) if others else number

    levels: list[Level] = []
    current = variant.stem
    levels.append(Level(halve(Conv(3, current, 3, 2), 0 if others else -1), current))
    for stage in variant.stages:
        first = len(levels) == 1
        halve(Conv(current, stage.halved, 3, 2) if first else variant.halve(current, stage.halved))
        current = stage.out
        if first and variant.plain:
            block: Module = ELAN1(current)
        else:
            block = RepNCSPELAN4(stage.halved, current, stage.split, variant.repeats)
        levels.append(Level(layers.append(block), current))
    return levels


def _two_backbones(layers: Layers, variant: Variant) -> list[Level]:
    """Append a backbone, and one that adds what the first gave; return the maps of the second."""
    layers.append(Identity())
    levels = _backbone(layers, variant)
    parts = [variant.stem, *(stage.halved for stage in variant.stages)]
    linear = [layers.append(CBLinear(c, parts[: i + 1]), number) for i, (number, c) in enumerate(levels)]
    return _backbone(layers, variant, linear)


def _neck(layers: Layers, variant: Variant, backbone: Sequence[Level]) -> list[Level]:
    """Append what pools the pyramid, and a PANet (https://arxiv.org/abs/1803.01534); return the head's maps."""

    def joined(channels: int, level: Level, out: int, split: int) -> Level:
        layers.append(Concat(), -1, level.layer)
        return Level(layers.append(RepNCSPELAN4(channels + level.channels, out, split, variant.repeats)), out)

    *finer, top = backbone
    down, up = variant.neck[:2], variant.neck[2:]
    pooled = up[-1][0]
    lateral = [Level(layers.append(SPPELAN(top.channels, pooled, pooled // 2)), pooled)]
    for level, (out, split) in zip(reversed(finer), down, strict=True):
        layers.append(Upsample(scale_factor=2))
        lateral.append(joined(lateral[-1].channels, level, out, split))
    maps = [lateral.pop()]
    for level, narrow, (out, split) in zip(reversed(lateral), variant.narrow, up, strict=True):
        layers.append(variant.halve(maps[-1].channels, narrow))
        maps.append(joined(narrow, level, out, split))
    return maps
