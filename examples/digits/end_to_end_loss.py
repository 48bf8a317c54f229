"""The loss that YOLO26 is trained with end to end, from published formulas.

Task alignment (Feng et al., 2021, arXiv:2108.07755) says which cells learn a box: with s a cell's score for its class
and u the IoU of the cell's box with it, the cells of the largest t = s^½ · u⁶ whose middles lie within it. In the first
set of branches those are ten, in the second one (Wang et al., 2024, arXiv:2405.14458). A cell that two boxes claim
learns the one that it overlaps more. Each learns with a share, t / max t · max u over the cells of its box, and

    class = sum BCE(class logits, one-hot · share)
    box   = sum share · (1 - CIoU)
    side  = sum share · mean |distance - true distance| of the four sides / mean side of the box

all of them over the sum of the shares. The loss is their weighted sum over both sets, the first of which counts less
and less, as the second alone is asked in the end.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from trtnn.examples.digits.loss import complete_iou
from trtnn.examples.digits.yolo26 import MANY, ONE, YOLO26, Detect

CELLS = {MANY: 10, ONE: 1}  # that learn a box
WEIGHTS = {"class": 0.5, "box": 7.5, "side": 1.5}
SHARE_OF_MANY = 0.8, 0.1  # of the loss, at first and in the end
SMALLEST_PX = 16  # a box narrower than that is taken for as wide where cells are chosen, or it might have none


class Learnt(NamedTuple):
    """What each cell of a batch learns.

    Attributes:
        box: (batch, cells) which box of its picture; 0 where none.
        share: (batch, cells) how much; 0 where none.
    """

    box: Tensor
    share: Tensor


class Truth(NamedTuple):
    """The boxes of a batch, as many rows for each picture as the one with the most has.

    Attributes:
        corners: (batch, boxes, 4) x1, y1, x2, y2 in pixels.
        labels: (batch, boxes).
        there: (batch, boxes) whether a row is a box.
    """

    corners: Tensor
    labels: Tensor
    there: Tensor


def by_picture(targets: Tensor, batch: int) -> Truth:
    """Sort boxes by picture: (t, 6), picture, class, centre x, centre y, width, height, the last four in pixels."""
    picture = targets[:, 0].long()
    counts = torch.bincount(picture, minlength=batch)
    order = picture.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    place = torch.arange(len(order), device=order.device) - starts[picture[order]]
    rows = targets.new_zeros(batch, max(int(counts.max()), 1), 6)
    rows[picture[order], place] = targets[order]
    there = torch.arange(rows.shape[1], device=order.device) < counts[:, None]
    centre, size = rows[..., 2:4], rows[..., 4:]
    return Truth(torch.cat((centre - size / 2, centre + size / 2), -1), rows[..., 1].long(), there)


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of each box of ``a`` (batch, n, 4) with each of ``b`` (batch, m, 4), x1, y1, x2, y2: (batch, n, m)."""
    low, high = torch.maximum(a[:, :, None, :2], b[:, None, :, :2]), torch.minimum(a[:, :, None, 2:], b[:, None, :, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    area_a, area_b = ((boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1) for boxes in (a, b))
    return shared / (area_a[:, :, None] + area_b[:, None] - shared + 1e-7)


@torch.no_grad()
def assign(scores: Tensor, boxes: Tensor, middles: Tensor, truth: Truth, cells: int) -> Learnt:
    """Say which cells learn which boxes.

    Args:
        scores: (batch, all cells, classes) in 0..1.
        boxes: (batch, all cells, 4) x1, y1, x2, y2 in pixels.
        middles: (all cells, 2) x and y in pixels.
        truth: the boxes of the batch.
        cells: how many learn a box.
    """
    centre, half = (
        (truth.corners[..., :2] + truth.corners[..., 2:]) / 2,
        (truth.corners[..., 2:] - truth.corners[..., :2]) / 2,
    )
    apart = (middles - centre[:, :, None]).abs()
    candidate = (apart < half.clamp(min=SMALLEST_PX / 2)[:, :, None]).all(-1) & truth.there[..., None]
    iou = pairwise_iou(truth.corners, boxes)
    labels = truth.labels[..., None].expand(-1, -1, len(middles))
    metric = scores.transpose(1, 2).gather(1, labels).sqrt() * iou**6 + 1e-9  # some cell, even before any overlaps
    metric = metric * candidate
    best = metric.topk(min(cells, len(middles)), -1).indices
    chosen = torch.zeros_like(candidate).scatter_(2, best, True) & candidate
    claimed = torch.where(chosen, iou + 1e-9, 0.0)
    box = claimed.argmax(1)
    chosen &= functional.one_hot(box, claimed.shape[1]).transpose(1, 2).bool()
    metric, iou = metric * chosen, iou * chosen
    share = metric / metric.amax(2, keepdim=True).clamp(min=1e-12) * iou.amax(2, keepdim=True)
    return Learnt(box, share.sum(1))


def loss_of_set(detect: Detect, maps: list[Tensor], truth: Truth, cells: int) -> dict[str, Tensor]:
    """The parts of the loss of one set of branches, before their weights.

    Args:
        detect: the model's last layer.
        maps: of its levels, (batch, 4 + classes, h, w).
        truth: the boxes of the batch.
        cells: how many learn a box.
    """
    sides, logits, places = detect.rows(maps)
    middles, strides_px = places[:, :2], places[:, 2:]
    boxes = detect.corners(sides, places)
    learnt = assign(logits.sigmoid(), boxes, middles, truth, cells)
    total = learnt.share.sum().clamp(min=1)
    picture, cell = learnt.share.nonzero(as_tuple=True)
    box, share = learnt.box[picture, cell], learnt.share[picture, cell]
    wanted = torch.zeros_like(logits)
    wanted[picture, cell, truth.labels[picture, box]] = share
    corners = truth.corners[picture, box]
    middle, stride_px = middles[cell], strides_px[cell]
    distances = torch.cat((middle - corners[:, :2], corners[:, 2:] - middle), -1) / stride_px
    size = (corners[:, 2:] - corners[:, :2]).mean(-1, keepdim=True) / stride_px
    off = (sides[picture, cell] - distances).abs() / size
    ciou = complete_iou(_centred(boxes[picture, cell]), _centred(corners))
    return {
        "class": functional.binary_cross_entropy_with_logits(logits, wanted, reduction="sum") / total,
        "box": (share * (1 - ciou)).sum() / total,
        "side": (share * off.mean(-1)).sum() / total,
    }


def _centred(corners: Tensor) -> Tensor:
    low, high = corners[..., :2], corners[..., 2:]
    return torch.cat(((low + high) / 2, (high - low).clamp(min=1e-3)), -1)


def end_to_end_loss(detect: Detect, maps: dict[str, list[Tensor]], targets: Tensor, done: float) -> dict[str, Tensor]:
    """The loss of a batch.

    Args:
        detect: the model's last layer.
        maps: of each set of branches.
        targets: (t, 6): picture, class, centre x, centre y, width, height, the last four in pixels.
        done: how much of the training is behind, from 0 to 1.

    Returns:
        The weighted parts of both sets by name; their sum is the loss.
    """
    truth = by_picture(targets, len(maps[MANY][0]))
    first, last = SHARE_OF_MANY
    many = first + (last - first) * min(done, 1.0)
    parts = {}
    for name, part_of_loss in ((MANY, many), (ONE, 1 - many)):
        for part, value in loss_of_set(detect, maps[name], truth, CELLS[name]).items():
            parts[f"{part} of {'many' if name == MANY else 'one'}"] = part_of_loss * WEIGHTS[part] * value
    return parts


def expect_little(model: YOLO26) -> None:
    """Sets the last biases to the odds of an empty picture, and to boxes of four cells."""
    for name in (MANY, ONE):
        for sides, scores in zip(getattr(model.detect, f"{name}cv2"), getattr(model.detect, f"{name}cv3"), strict=True):
            torch.nn.init.constant_(sides[-1].bias, 2.0)
            torch.nn.init.constant_(scores[-1].bias, math.log(0.01 / model.classes))
