"""The loss that YOLOv5 is trained with, from its published formulas.

A box is learnt by the anchors of every level whose width and height are both within a factor of 4 of its own, in the
cell of its centre and in the nearest neighbours of that cell, one to the side and one above or below. At those places

    box    = mean(1 - CIoU)                                        (Zheng et al., 2020, arXiv:1911.08287)
    class  = mean BCE(class logits, one-hot)
    object = mean over all places BCE(objectness logit, CIoU where a box is learnt, else 0), times 4, 1, 0.4 per level

and the loss is their weighted sum over the levels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from trtnn.examples.digits.network import Detect

RATIO = 4.0  # how far an anchor's sides may be from a box's
LEVEL_BALANCE = {3: (4.0, 1.0, 0.4), 4: (4.0, 1.0, 0.25, 0.06)}
WEIGHTS = {"box": 0.05, "object": 0.25, "class": 0.25}  # summed over levels


@dataclass(frozen=True)
class Places:
    """Where one level learns boxes: ``n`` places, each an index into the level's maps, and what is learnt there."""

    picture: Tensor  # (n,)
    anchor: Tensor  # (n,)
    row: Tensor  # (n,)
    column: Tensor  # (n,)
    box: Tensor  # (n, 4): centre x, y, width, height in cells
    label: Tensor  # (n,)


def assign(targets: Tensor, anchors: Tensor, rows: int, columns: int, stride_px: int) -> Places:
    """Finds the places of one level.

    Args:
        targets: (t, 6): picture, class, centre x, centre y, width, height, the last four in pixels.
        anchors: (a, 2) in cells.
        rows: the level's cells from top to bottom.
        columns: and from left to right.
        stride_px: pixels per cell.
    """
    boxes = targets[:, 2:] / stride_px
    ratio = boxes[:, None, 2:] / anchors
    target, anchor = (torch.maximum(ratio, 1 / ratio).amax(-1) < RATIO).nonzero(as_tuple=True)
    centre = boxes[target, :2]
    cell = centre.floor()
    side = torch.where(centre - cell < 0.5, -1.0, 1.0)  # towards the nearest neighbour, along x and along y
    only_x, only_y = side.new_tensor([1.0, 0.0]), side.new_tensor([0.0, 1.0])
    cells = torch.stack((cell, cell + side * only_x, cell + side * only_y), 1).long()
    inside = ((cells >= 0) & (cells < cells.new_tensor([columns, rows]))).all(-1)
    pair, which = inside.nonzero(as_tuple=True)
    column, row = cells[pair, which].unbind(-1)
    chosen = target[pair]
    picture, label = targets[chosen, :2].long().unbind(-1)
    return Places(picture, anchor[pair], row, column, boxes[chosen], label)


def complete_iou(a: Tensor, b: Tensor) -> Tensor:
    """CIoU of boxes in pairs, (n, 4) each as centre x, y, width, height: (n,).

    ``IoU - distance² / diagonal² - weight * v``: the distance of the centres, the diagonal of the box around both, and
    ``v = 4/π² (atan(w_b/h_b) - atan(w_a/h_a))²`` with ``weight = v / (1 - IoU + v)``.
    """
    epsilon = 1e-7
    a_low, a_high = a[:, :2] - a[:, 2:] / 2, a[:, :2] + a[:, 2:] / 2
    b_low, b_high = b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2
    shared = (torch.minimum(a_high, b_high) - torch.maximum(a_low, b_low)).clamp(min=0).prod(-1)
    iou = shared / (a[:, 2:].prod(-1) + b[:, 2:].prod(-1) - shared + epsilon)
    diagonal = (torch.maximum(a_high, b_high) - torch.minimum(a_low, b_low)).square().sum(-1) + epsilon
    distance = (a[:, :2] - b[:, :2]).square().sum(-1)
    angle_a = torch.atan(a[:, 2] / (a[:, 3] + epsilon))
    angle_b = torch.atan(b[:, 2] / (b[:, 3] + epsilon))
    v = 4 / math.pi**2 * (angle_b - angle_a).square()
    weight = (v / (1 - iou + v + epsilon)).detach()
    return iou - distance / diagonal - weight * v


def detection_loss(detect: Detect, raw: list[Tensor], targets: Tensor) -> dict[str, Tensor]:
    """The loss of a batch.

    Args:
        detect: the model's last layer, for its anchors and strides.
        raw: its maps, (batch, a*(5+classes), h, w) per level.
        targets: (t, 6): picture, class, centre x, centre y, width, height, the last four in pixels.

    Returns:
        The weighted parts by the names of ``WEIGHTS``; their sum is the loss.
    """
    parts = {name: targets.new_zeros(()) for name in WEIGHTS}
    for level, stride_px in enumerate(detect.strides_px):
        maps = detect.split(raw[level].float())
        rows, columns = maps.shape[2:4]
        places = assign(targets, detect.anchors[level], rows, columns, stride_px)
        objectness = maps.new_zeros(maps.shape[:4])
        if len(places.label):
            at = places.picture, places.anchor, places.row, places.column
            found = maps[at]
            cells = torch.stack((places.column, places.row), -1)
            sigma = found[:, :4].sigmoid()
            centre = 2 * sigma[:, :2] - 0.5 + cells
            size = (2 * sigma[:, 2:]).square() * detect.anchors[level][places.anchor]
            ciou = complete_iou(torch.cat((centre, size), -1), places.box)
            parts["box"] = parts["box"] + (1 - ciou).mean()
            # Where two boxes meet in one place, the better one counts, whatever their order.
            place = torch.arange(objectness.numel(), device=maps.device).view(objectness.shape)[at]
            objectness.view(-1).scatter_reduce_(0, place, ciou.detach().clamp(min=0), "amax")
            one_hot = functional.one_hot(places.label, detect.classes).to(found)
            parts["class"] = parts["class"] + functional.binary_cross_entropy_with_logits(found[:, 5:], one_hot)
        confidence = functional.binary_cross_entropy_with_logits(maps[..., 4], objectness)
        parts["object"] = parts["object"] + LEVEL_BALANCE[len(raw)][level] * confidence
    return {name: WEIGHTS[name] * part for name, part in parts.items()}
