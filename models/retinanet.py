"""RetinaNet (https://arxiv.org/abs/1708.02002) on ResNet-50, with the names and numbers of torchvision's checkpoints.

Three maps of the ResNet become a feature pyramid (https://arxiv.org/abs/1612.03144) of five levels. One head, the same
for every level, tells for nine anchors a cell what they hold and where its box is. The second version has GroupNorm in
the head, and P6 made of C5 as in the paper.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from trtnn import functional as F
from trtnn.graph.tensor import Tensor
from trtnn.models.boxes import Numbers, count, join
from trtnn.models.family import Family
from trtnn.models.resnet import Backbone
from trtnn.models.sizes import expect_multiples
from trtnn.modules import (
    BatchNorm2d,
    Conv2d,
    FrozenBatchNorm2d,
    GroupNorm,
    Module,
    ModuleDict,
    ModuleList,
    ReLU,
    Sequential,
)
from trtnn.shapes.symbolic import Length, is_static
from trtnn.vision.heads import RETINANET_ANCHORS as ANCHORS
from trtnn.vision.heads import RETINANET_STRIDES as STRIDES

WIDTH = 256  # channels of the pyramid and of the head


class TopLevels(Module):
    """P6 and P7: the top of the pyramid halved, and halved again."""

    def __init__(self, c_in: int) -> None:
        super().__init__()
        self.p6 = Conv2d(c_in, WIDTH, 3, 2, 1)
        self.p7 = Conv2d(WIDTH, WIDTH, 3, 2, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        p6 = self.p6(x)
        return [p6, self.p7(F.relu(p6))]


class FeaturePyramid(Module):
    """Of the maps C2 to C5 make the levels P3 to P7, each of 256 channels.

    From C5 down to C3 each map is narrowed, and what lies above it is added at its size.
    """

    def __init__(self, channels: Sequence[int], p6_from_c5: bool) -> None:
        super().__init__()
        self.inner_blocks = ModuleList(Sequential(Conv2d(c, WIDTH, 1)) for c in channels)
        self.layer_blocks = ModuleList(Sequential(Conv2d(WIDTH, WIDTH, 3, 1, 1)) for _ in channels)
        self.extra_blocks = TopLevels(channels[-1] if p6_from_c5 else WIDTH)
        self.p6_from_c5 = p6_from_c5

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        c3, c4, c5 = (block(c) for block, c in zip(self.inner_blocks, maps[1:], strict=True))
        c4 = c4 + F.interpolate(c5, c4.shape[2:])
        c3 = c3 + F.interpolate(c4, c3.shape[2:])
        levels = [block(c) for block, c in zip(self.layer_blocks, (c3, c4, c5), strict=True)]
        return [*levels, *self.extra_blocks(maps[-1] if self.p6_from_c5 else levels[-1])]


def _branch(last: str, outputs: int, group_norm: bool) -> Sequential:
    """One half of the head: four 3×3 convolutions with ReLU, and one to so many outputs for each anchor of a cell."""
    layers: list[Module] = []
    for _ in range(4):
        norm: list[Module] = [GroupNorm(32, WIDTH)] if group_norm else []
        layers.append(Sequential(Conv2d(WIDTH, WIDTH, 3, 1, 1, bias=not norm), *norm, ReLU(inplace=True)))
    return Sequential({"conv": Sequential(*layers), last: Conv2d(WIDTH, ANCHORS * outputs, 3, 1, 1)})


def _anchors(size: int) -> np.ndarray:
    """Return the anchors of a cell at 0, (9, 4): centre x, centre y, width, height in pixels.

    Three shapes, height / width = ½, 1 and 2, in three sizes each; corners are whole pixels, as torchvision's.
    """
    sizes = np.array([int(size * 2 ** (i / 3)) for i in range(3)], np.float32)
    ratios = np.sqrt(np.array([0.5, 1.0, 2.0], np.float32))[:, None]
    sides = np.stack([(1 / ratios * sizes).ravel(), (ratios * sizes).ravel()], -1)
    return np.concatenate([np.zeros_like(sides), 2 * np.round(sides / 2)], -1)


def _grid(size: int, cells: Sequence[Length], image: Sequence[Length]) -> Numbers:
    """Return the anchors of every cell of a level, (rows · columns · 9, 4): an array where the image is static.

    Cells are image // cells apart: 61 pixels, not 64, where a length of 800 has 13 of them. So it is trained.
    """
    static = is_static(image)  # else also the one cell that a coarse level always has is a Tensor
    y, x = (count(n, static) * (length // n) for n, length in zip(cells, image, strict=True))
    x_axis, y_axis = np.eye(4, dtype=np.float32)[:2]
    grid = x.reshape(1, -1, 1, 1) * x_axis + y.reshape(-1, 1, 1, 1) * y_axis + _anchors(size)
    return grid.reshape(-1, 4)


def _boxes(deltas: Tensor, anchors: Numbers, image: Sequence[Length]) -> Tensor:
    """Return the corners of boxes within the image; all levels in one run of arithmetic, and that in fp32.

    centre = delta · side of the anchor + its centre, side = exp(delta) · that side, at most 1000 / 16 of it.
    """
    deltas, (rows, columns) = deltas.float(), image
    centre, side = anchors[:, :2], anchors[:, 2:]
    centre = deltas[..., :2] * side + centre
    half = deltas[..., 2:].clamp(max=math.log(1000 / 16)).exp() * (side * 0.5)
    ends = F.tensor([columns, rows] * 2, dtype="float32")
    return F.cat([centre - half, centre + half], -1).clamp(0.0, ends)


def _rows(x: Tensor, outputs: int) -> Tensor:
    """Turn a map, its cells in one dimension, into a row for each anchor: cell by cell, and anchor by anchor."""
    return x.permute(0, 2, 1).reshape(x.shape[0], -1, outputs)


class Variant(NamedTuple):
    """What makes a version: the backbone's normalisation and its eps, whether P6 is of C5, the head's normalisation."""

    norm: type[FrozenBatchNorm2d] | type[BatchNorm2d]
    eps: float
    p6_from_c5: bool
    group_norm: bool


class RetinaNet(Family):
    """RetinaNet in either of torchvision's versions.

    Args:
        name: retinanet_resnet50_fpn or retinanet_resnet50_fpn_v2.
        classes: the number of classes, the unused 0 of torchvision's labels among them.
        head: ``"decoded"`` gives a dict of ``"boxes"`` (batch, anchors, 4), the corners x1, y1, x2, y2 in pixels within
            the image, and ``"scores"`` (batch, anchors, classes) in 0..1; 120087 anchors at 800 pixels. ``"raw"``
            gives a dict of two lists, each with an entry for each level: ``"logits"`` (batch, anchors, classes) and
            ``"deltas"`` (batch, anchors, 4).
        eps: of the backbone's BatchNorm. No checkpoint tells it: where None it is 0 for the first version, as
            torchvision sets it for its own weights, and 1e-5 for the second. What torchvision's code trained from the
            weights of a ResNet has 1e-5 in either.
        names: of the classes, for the engine file.

    Shape: images (batch, 3, height, width), RGB in 0..1, less (0.485, 0.456, 0.406), through (0.229, 0.224, 0.225);
    height and width multiples of 32, as torchvision pads images with zeros.
    """

    pipeline = "retinanet"
    variants = {
        "retinanet_resnet50_fpn": Variant(FrozenBatchNorm2d, eps=0.0, p6_from_c5=False, group_norm=False),
        "retinanet_resnet50_fpn_v2": Variant(BatchNorm2d, eps=1e-5, p6_from_c5=True, group_norm=True),
    }

    def __init__(
        self,
        name: str = "retinanet_resnet50_fpn",
        classes: int = 91,
        head: str = "decoded",
        eps: float | None = None,
        names: Sequence[str] | Mapping[int, str] | None = None,
    ) -> None:
        super().__init__()
        self.output = head  # torchvision has a module called head
        # torchvision's shorter side is 800 pixels, and it counts operations at 800×800.
        self.declare(name, classes, head, names, 800, STRIDES, stride=32)
        variant = self.variants[name]
        norm = partial(variant.norm, eps=variant.eps if eps is None else eps)
        body = Backbone("resnet50", norm)
        self.backbone = Sequential({"body": body, "fpn": FeaturePyramid(body.channels[1:], variant.p6_from_c5)})
        self.head = ModuleDict(
            {
                "classification_head": _branch("cls_logits", classes, variant.group_norm),
                "regression_head": _branch("bbox_reg", 4, variant.group_norm),
            }
        )

    def forward(self, images: Tensor) -> Any:
        size = images.shape[2:]
        expect_multiples(size, 32, self.name)
        levels = self.backbone(images)
        logits, deltas = ([branch(x).flatten(2) for x in levels] for branch in self.head.values())
        if self.output == "raw":
            return {"logits": [_rows(x, self.classes) for x in logits], "deltas": [_rows(x, 4) for x in deltas]}
        anchors = join([_grid(4 * s, x.shape[2:], size) for s, x in zip(STRIDES, levels, strict=True)], 0)
        scores = _rows(F.cat(logits, 2), self.classes).sigmoid()
        return {"boxes": _boxes(_rows(F.cat(deltas, 2), 4), anchors, size), "scores": scores}

    @classmethod
    def canonical(cls, state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a state dict under torchvision's names since 0.13, which has a 0 more in them than before."""

        def renamed(key: str) -> str:
            key = re.sub(r"(\.(?:inner|layer)_blocks\.\d)\.(weight|bias)$", r"\1.0.\2", key)
            return re.sub(r"(_head\.conv)\.(\d)\.(weight|bias)$", lambda m: f"{m[1]}.{int(m[2]) // 2}.0.{m[3]}", key)

        return {renamed(key): array for key, array in state_dict.items()}

    @classmethod
    def identify(cls, state_dict: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the arguments of the RetinaNet that a state dict's names and sizes tell of, or None."""
        logits = state_dict.get("head.classification_head.cls_logits.bias")
        deltas = state_dict.get("head.regression_head.bbox_reg.bias")
        if logits is None or deltas is None or math.prod(deltas.shape) != ANCHORS * 4:  # FCOS has the same names
            return None
        v2 = "_v2" if "head.classification_head.conv.0.1.weight" in state_dict else ""
        return {"name": f"retinanet_resnet50_fpn{v2}", "classes": math.prod(logits.shape) // ANCHORS}
