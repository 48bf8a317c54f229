"""YOLOv8, YOLO11 and YOLO26 in torch in all their tasks, with the official state-dict names: the tests' oracle.

Written from the published facts: layer tables, parameter names, and the formulas of boxes (Li et al., 2020,
arXiv:2006.04388), masks (Bolya et al., 2019, arXiv:1904.02689), rotated boxes, and the second set of branches that is
trained end to end (Wang et al., 2024, arXiv:2405.14458). Each set of weights gave Ultralytics 8.4's own numbers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from benchmarks.twins.scaling import cells_of, pictures, well_scaled, without_weights
from benchmarks.twins.yolov8 import DFL, C2f
from benchmarks.twins.yolov8 import SCALES as SCALES_OF_8
from trtnn.examples.digits.network import SPPF as SPPF_OF_8
from trtnn.examples.digits.network import Concat
from trtnn.examples.digits.yolo26 import (
    C2PSA,
    MANY,
    ONE,
    SCALES,
    SPPF,
    C3k,
    C3k2,
    Conv,
    apart,
    attending,
    narrow,
)

TASKS = {"seg": "segment", "pose": "pose", "obb": "obb", "cls": "classify"}


class Proto(nn.Module):
    def __init__(self, channels: list[int], c: int, fuses: bool) -> None:
        super().__init__()
        self.cv1, self.upsample = Conv(channels[0], c, 3), nn.ConvTranspose2d(c, c, 2, 2)
        self.cv2, self.cv3 = Conv(c, c, 3), Conv(c, 32)
        if fuses:
            self.feat_refine = nn.ModuleList(Conv(coarser, channels[0]) for coarser in channels[1:])
            self.feat_fuse = Conv(channels[0], channels[0], 3)
        self.fuses = fuses

    def forward(self, features: tuple[Tensor, ...]) -> Tensor:
        x = features[0]
        if self.fuses:
            for step, (refine, coarser) in enumerate(zip(self.feat_refine, features[1:], strict=True), 1):
                x = x + refine(coarser).repeat_interleave(2**step, 2).repeat_interleave(2**step, 3)
            x = self.feat_fuse(x)
        return self.cv3(self.cv2(self.upsample(self.cv1(x))))


class Head(nn.Module):
    """Boxes, scores, and what the task has more.

    Args:
        family: ``"yolov8"``, ``"yolo11"`` or ``"yolo26"``.
        kpt_shape: of the task ``"pose"``.
        prototypes: channels of those, in the task ``"segment"``.
    """

    def __init__(
        self, channels: list[int], classes: int, task: str, family: str, kpt_shape: tuple[int, int], prototypes: int
    ) -> None:
        super().__init__()
        self.classes, self.task, self.new, self.kpt_shape = classes, task, family == "yolo26", kpt_shape
        self.sides, self._cells = 4 if self.new else 64, {}
        points, each = kpt_shape
        self.more = {"detect": 0, "segment": 32, "pose": points * each, "obb": 1}[task]
        c2, c3 = max(16, channels[0] // 4, self.sides), max(channels[0], min(classes, 100))
        split = self.new and task == "pose"
        c4 = max(channels[0] // 4, self.more + 2 * points if split else self.more)
        scored = (
            (lambda c: (Conv(c, c3, 3), Conv(c3, c3, 3)))
            if family == "yolov8"
            else lambda c: (apart(c, c3), apart(c3, c3))
        )
        for name in (MANY, ONE) if self.new else (MANY,):
            parts = {
                "cv2": (nn.Sequential(Conv(c, c2, 3), Conv(c2, c2, 3), nn.Conv2d(c2, self.sides, 1)) for c in channels),
                "cv3": (nn.Sequential(*scored(c), nn.Conv2d(c3, classes, 1)) for c in channels),
            }
            if self.more:
                last = [] if split else [nn.Conv2d(c4, self.more, 1)]
                parts["cv4"] = (nn.Sequential(Conv(c, c4, 3), Conv(c4, c4, 3), *map(_copy, last)) for c in channels)
            if split:
                parts["cv4_kpts"] = (nn.Conv2d(c4, self.more, 1) for _ in channels)
            for part, branches in parts.items():
                self.add_module(name + part, nn.ModuleList(branches))
        if not self.new:
            self.dfl = DFL()
        if task == "segment":
            self.proto = Proto(channels, prototypes, self.new)

    def forward(self, *features: Tensor) -> dict[str, list[Tensor] | Tensor]:
        """The maps of each set of branches, and ``"prototypes"``."""
        sets = {name: [self.map(name, i, x) for i, x in enumerate(features)] for name in (MANY, ONE)[: 1 + self.new]}
        return {**sets, **({"prototypes": self.proto(features)} if self.task == "segment" else {})}

    def map(self, name: str, level: int, x: Tensor) -> Tensor:
        maps = [getattr(self, f"{name}{part}")[level](x) for part in ("cv2", "cv3", *(["cv4"] if self.more else []))]
        if self.new and self.task == "pose":
            maps[-1] = getattr(self, f"{name}cv4_kpts")[level](maps[-1])
        return torch.cat(maps, 1)

    def cells(self, level: Tensor) -> Tensor:
        """Column and row of each cell, (2, cells), made once for a device: a CUDA graph can make none."""
        key = level.shape[2:], level.device, level.dtype
        if key not in self._cells:
            self._cells[key] = cells_of(level).reshape(-1, 2).T.to(level)
        return self._cells[key]

    def last(self) -> list[nn.Conv2d]:
        """The convolutions that give the outputs."""
        return [m for name, m in self.named_modules() if isinstance(m, nn.Conv2d) and m.bias is not None]

    def decode(self, maps: list[Tensor], upright: bool = False) -> Tensor:
        """All boxes, (batch, 4 + classes + more, cells): centre and size, or with ``upright`` x1, y1, x2, y2."""
        levels = []
        for stride, level in zip((8, 16, 32), maps, strict=True):
            cell = self.cells(level)
            sides, logits, more = level.flatten(2).split([self.sides, self.classes, self.more], 1)
            left, top, right, bottom = (sides if self.new else self.dfl(sides)).unbind(1)
            x_middle, y_middle = cell + 0.5
            if self.task == "obb":
                angle = more if self.new else more.sigmoid() * math.pi - math.pi / 4
                turn = torch.polar(torch.ones_like(angle), angle)[:, 0]
                offset = torch.complex(right - left, bottom - top) / 2 * turn
                box = [x_middle + offset.real, y_middle + offset.imag, left + right, top + bottom]
                more = angle
            elif upright:
                box = [x_middle - left, y_middle - top, x_middle + right, y_middle + bottom]
            else:
                box = [x_middle + (right - left) / 2, y_middle + (bottom - top) / 2, left + right, top + bottom]
            if self.task == "pose":
                more = self._points(more.unflatten(1, self.kpt_shape), cell) * self._units(stride)
                more = more.flatten(1, 2)
            levels.append(torch.cat((torch.stack(box, 1) * stride, logits.sigmoid(), more), 1))
        return torch.cat(levels, 2)

    def _points(self, points: Tensor, cell: Tensor) -> Tensor:
        """Key points in cells, (batch, points, 2 or 3, cells), and visibility."""
        places = points[:, :, :2] + cell + 0.5 if self.new else points[:, :, :2] * 2 + cell
        return torch.cat((places, points[:, :, 2:].sigmoid()), 2)

    def _units(self, stride: int) -> Tensor:
        return torch.tensor([stride, stride, 1][: self.kpt_shape[1]]).view(1, 1, -1, 1)

    def best(self, maps: list[Tensor]) -> Tensor:
        """All pairs of a box and a class in order of their scores, the first 300."""
        rows = self.decode(maps, upright=True).transpose(1, 2)
        box, scores, more = rows.split([4, self.classes, self.more], 2)
        count = min(300, rows.shape[1])
        score, which = scores.flatten(1).sort(1, descending=True)
        score, which = score[:, :count], which[:, :count]
        cell = which // self.classes
        picked = [part.gather(1, cell[..., None].expand(-1, -1, part.shape[2])) for part in (box, more)]
        return torch.cat((picked[0], score[..., None], (which % self.classes)[..., None].float(), picked[1]), 2)


def _copy(conv: nn.Conv2d) -> nn.Conv2d:
    return nn.Conv2d(conv.in_channels, conv.out_channels, 1)


class Classify(nn.Module):
    def __init__(self, c: int, classes: int) -> None:
        super().__init__()
        self.conv, self.linear = Conv(c, 1280), nn.Linear(1280, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.conv(x).mean((2, 3)))


class YOLO(nn.Module):
    """One of the three in one of the tasks.

    Attributes:
        head: ``"decoded"``, ``"raw"``, ``"end2end"``, ``"one-to-many"``, ``"probabilities"`` or ``"logits"``; train
            mode always gives all maps.
    """

    def __init__(self, name: str, classes: int = 80, kpt_shape: tuple[int, int] = (17, 3)) -> None:
        super().__init__()
        start, _, end = name.partition("-")
        family, size = start[:-1], start[-1]
        self.name, self.task, self.family = name, TASKS.get(end, "detect"), family
        depth, width, most = (SCALES_OF_8 if family == "yolov8" else SCALES)[size]
        most = 1024 if family == "yolov8" and end == "cls" else most

        def wide(c: int) -> int:
            return math.ceil(min(c, most) * width / 8) * 8

        def deep(n: int) -> int:
            return max(round(n * depth), 1)

        make = self._of_8 if family == "yolov8" else self._of_11
        layers, self.sources, channels = make(wide, deep, width, end == "cls")
        last = (
            Classify(channels[-1], classes)
            if end == "cls"
            else Head(channels, classes, self.task, family, kpt_shape, wide(256))
        )
        self.model = nn.ModuleList([*layers, last])
        self.head = {"classify": "probabilities"}.get(self.task, "end2end" if family == "yolo26" else "decoded")
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d) and end == "cls":
                module.eps = 1e-5

    def _of_8(self, wide, deep, width, whole):
        c1, c2, c3, c4, c5 = map(wide, (64, 128, 256, 512, 1024))
        few, many = deep(3), deep(6)
        layers = [Conv(3, c1, 3, 2)]
        for a, b, n in ((c1, c2, few), (c2, c3, many), (c3, c4, many), (c4, c5, few)):
            layers += [Conv(a, b, 3, 2), C2f(b, b, n, True)]
        if whole:
            return layers, {}, [c5]
        up = nn.Upsample(scale_factor=2)
        layers += [SPPF_OF_8(c5, c5), up, Concat(), C2f(c5 + c4, c4, few, False)]
        layers += [up, Concat(), C2f(c4 + c3, c3, few, False)]
        layers += [Conv(c3, c3, 3, 2), Concat(), C2f(c3 + c4, c4, few, False)]
        layers += [Conv(c4, c4, 3, 2), Concat(), C2f(c4 + c5, c5, few, False)]
        return layers, {11: (10, 6), 14: (13, 4), 17: (16, 12), 20: (19, 9), 22: (15, 18, 21)}, [c3, c4, c5]

    def _of_11(self, wide, deep, width, whole):
        c1, c2, c3, c4, c5 = map(wide, (64, 128, 256, 512, 1024))
        n, block, new = deep(2), (narrow if width < 1 else C3k), self.family == "yolo26"
        layers = [Conv(3, c1, 3, 2), Conv(c1, c2, 3, 2), C3k2(c2, c3, n, block, 0.25)]
        layers += [Conv(c3, c3, 3, 2), C3k2(c3, c4, n, block, 0.25), Conv(c4, c4, 3, 2), C3k2(c4, c4, n, C3k)]
        layers += [Conv(c4, c5, 3, 2), C3k2(c5, c5, n, C3k)]
        if whole:
            return [*layers, C2PSA(c5, n)], {}, [c5]
        up, inner = nn.Upsample(scale_factor=2), (C3k if new else block)
        layers += [SPPF(c5, act=not new, add=new), C2PSA(c5, n), up, Concat(), C3k2(c5 + c4, c4, n, inner)]
        layers += [up, Concat(), C3k2(2 * c4, c3, n, inner)]
        layers += [Conv(c3, c3, 3, 2), Concat(), C3k2(c3 + c4, c4, n, inner)]
        layers += [Conv(c4, c4, 3, 2), Concat()]
        layers += [C3k2(c4 + c5, c5, 1, attending) if new else C3k2(c4 + c5, c5, n, C3k)]
        return layers, {12: (11, 6), 15: (14, 4), 18: (17, 13), 21: (20, 10), 23: (16, 19, 22)}, [c3, c4, c5]

    def forward(self, images: Tensor):
        seen: list[Tensor] = []
        x = images
        for number, layer in enumerate(self.model):
            x = layer(*(seen[source] for source in self.sources[number])) if number in self.sources else layer(x)
            seen.append(x)
        if self.training or self.head == "logits":
            return x
        if self.head == "probabilities":
            return x.softmax(1)
        if self.head == "raw":
            prediction = x[MANY]
        elif self.head == "end2end":
            prediction = self.model[-1].best(x[ONE])
        else:
            prediction = self.model[-1].decode(x[MANY])
        return {"prediction": prediction, "prototypes": x["prototypes"]} if self.task == "segment" else prediction


@torch.no_grad()
def make(name: str, classes: int, kpt_shape: tuple[int, int] = (17, 3), size: int = 64) -> YOLO:
    """Return a twin of well-scaled weights."""
    model = without_weights(YOLO, name, classes, kpt_shape)
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, (nn.ConvTranspose2d, nn.Linear)):
            for parameter in module.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * module.weight.shape[1] ** -0.5)
    last = [] if model.task == "classify" else model.model[-1].last()
    return well_scaled(model, last, pictures(4, size, size, 0))
