"""RetinaNet on ResNet-50 in torch, with torchvision's state-dict names: the tests' oracle.

Written from the papers (Lin et al., 2017, arXiv:1708.02002 and arXiv:1612.03144), the names and shapes of torchvision's
state dicts and its conventions for anchors and boxes. It was compared by hand with torchvision 0.29.1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from benchmarks.twins.resnet import Frozen, ResNet, well_scaled

ANCHORS = 9


def conv(channels: int, out: int, kernel: int = 3, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=bias)


class RetinaNet(nn.Module):
    """The detector; ``output`` is ``"decoded"`` or ``"raw"``, as our ``head``."""

    def __init__(self, name: str, classes: int = 91, output: str = "decoded", eps: float | None = None) -> None:
        super().__init__()
        second = name.endswith("v2")
        eps = eps if eps is not None else 1e-5 if second else 0.0
        self.classes, self.output, self.second = classes, output, second
        norm = nn.BatchNorm2d if second else Frozen
        self.backbone = nn.ModuleDict()
        self.backbone["body"] = ResNet("resnet50", 0, "features", lambda channels: norm(channels, eps=eps))
        self.backbone["fpn"] = nn.ModuleDict(
            {
                "inner_blocks": nn.ModuleList(nn.Sequential(conv(c, 256, 1)) for c in (512, 1024, 2048)),
                "layer_blocks": nn.ModuleList(nn.Sequential(conv(256, 256)) for _ in range(3)),
                "extra_blocks": nn.ModuleDict(
                    {"p6": conv(2048 if second else 256, 256, 3, 2), "p7": conv(256, 256, 3, 2)}
                ),
            }
        )
        self.head = nn.ModuleDict(
            {
                "classification_head": self.branch("cls_logits", classes),
                "regression_head": self.branch("bbox_reg", 4),
            }
        )

    def branch(self, name: str, outputs: int) -> nn.ModuleDict:
        layers = nn.Sequential()
        for _ in range(4):
            norm = [nn.GroupNorm(32, 256)] if self.second else []
            layers.append(nn.Sequential(conv(256, 256, bias=not self.second), *norm, nn.ReLU()))
        return nn.ModuleDict({"conv": layers, name: conv(256, ANCHORS * outputs)})

    def pyramid(self, images: Tensor) -> list[Tensor]:
        fpn = self.backbone["fpn"]
        _, c3, c4, c5 = self.backbone["body"](images).values()
        inner3, inner4, inner5 = (block(c) for block, c in zip(fpn["inner_blocks"], (c3, c4, c5), strict=True))
        inner4 = inner4 + nn.functional.interpolate(inner5, size=inner4.shape[2:])
        inner3 = inner3 + nn.functional.interpolate(inner4, size=inner3.shape[2:])
        p3, p4, p5 = (block(x) for block, x in zip(fpn["layer_blocks"], (inner3, inner4, inner5), strict=True))
        p6 = fpn["extra_blocks"]["p6"](c5 if self.second else p5)
        return [p3, p4, p5, p6, fpn["extra_blocks"]["p7"](p6.relu())]

    def rows(self, branch: str, last: str, levels: list[Tensor], outputs: int) -> list[Tensor]:
        """Of each level (batch, rows · columns · anchors, outputs)."""
        part, result = self.head[branch], []
        for level in levels:
            x = part[last](part["conv"](level))
            batch, _, height, width = x.shape
            x = x.view(batch, ANCHORS, outputs, height, width).permute(0, 3, 4, 1, 2)
            result.append(x.reshape(batch, height * width * ANCHORS, outputs))
        return result

    @staticmethod
    def anchors(size: tuple[int, int], cells: tuple[int, int], base: int) -> Tensor:
        """The corners of a level's anchors, (rows · columns · 9, 4)."""
        boxes = []
        for ratio in (0.5, 1.0, 2.0):
            for scale in (1, 2 ** (1 / 3), 2 ** (2 / 3)):
                w, h = int(base * scale) / math.sqrt(ratio), int(base * scale) * math.sqrt(ratio)
                boxes.append([round(-w / 2), round(-h / 2), round(w / 2), round(h / 2)])
        dy, dx = size[0] // cells[0], size[1] // cells[1]
        corners = [[[x * dx, y * dy, x * dx, y * dy] for x in range(cells[1])] for y in range(cells[0])]
        return (torch.tensor(corners).view(-1, 1, 4) + torch.tensor(boxes)).view(-1, 4).float()

    def forward(self, images: Tensor) -> dict[str, Tensor | list[Tensor]]:
        levels = self.pyramid(images)
        logits = self.rows("classification_head", "cls_logits", levels, self.classes)
        deltas = self.rows("regression_head", "bbox_reg", levels, 4)
        if self.output == "raw":
            return {"logits": logits, "deltas": deltas}
        height, width = (int(length) for length in images.shape[2:])
        cells = [tuple(int(length) for length in level.shape[2:]) for level in levels]
        anchors = torch.cat([self.anchors((height, width), c, 32 << i) for i, c in enumerate(cells)])
        x1, y1, x2, y2 = anchors.unbind(1)
        dx, dy, dw, dh = torch.cat(deltas, 1).unbind(2)
        x, y = dx * (x2 - x1) + (x1 + x2) / 2, dy * (y2 - y1) + (y1 + y2) / 2
        most = math.log(1000 / 16)
        w, h = dw.clamp(max=most).exp() * (x2 - x1), dh.clamp(max=most).exp() * (y2 - y1)
        sides = [(x - w / 2, width), (y - h / 2, height), (x + w / 2, width), (y + h / 2, height)]
        boxes = torch.stack([side.clamp(0, limit) for side, limit in sides], 2)
        return {"boxes": boxes, "scores": torch.cat(logits, 1).sigmoid()}


@torch.no_grad()
def settled(model: RetinaNet, size: int = 64) -> RetinaNet:
    """Give random weights as :func:`well_scaled` does; logits and deltas vary from cell to cell.

    Some sizes lie beyond the limit of the decoding, and many boxes beyond the picture.
    """
    well_scaled(model, size)
    generator = torch.Generator().manual_seed(1)
    finest = model.pyramid(torch.rand(4, 3, size, size, generator=generator))[0]
    for branch, last, spread in (("classification_head", "cls_logits", 1.5), ("regression_head", "bbox_reg", 0.7)):
        head = model.head[branch]
        std, mean = torch.std_mean(head[last](head["conv"](finest)), (0, 2, 3))
        head[last].weight.mul_((spread / std).view(-1, 1, 1, 1))
        head[last].bias.sub_(mean).mul_(spread / std).add_(torch.randn(len(std), generator=generator) * 0.5)
    model.head["regression_head"]["bbox_reg"].bias[[6, 11]] += 4.0  # a width and a height; the limit is 4.1
    return model
