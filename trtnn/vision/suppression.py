"""Non-maximum suppression of one image's candidates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from trtnn.vision.fits import scratch
from trtnn.vision.rotated import normal_of, overlap_of

BLOCK = 128  # candidates compared at a time: what is reckoned of their pairs stays in a processor's cache
WIDTH = 512  # and with as many behind them
FIRST = 4  # times as many candidates as are to be kept are looked at first, and then four times as many again

_BEHIND = np.triu(np.ones((BLOCK, BLOCK), bool), 1)


def suppress(
    shapes: np.ndarray,
    scores: np.ndarray,
    indices: np.ndarray,
    iou: float,
    max_detections: int,
    classes: Iterable[int] | None = None,
    agnostic: bool = False,
    max_candidates: int | None = None,
) -> np.ndarray:
    """Return which of one image's candidates are kept, from the highest score downwards, by non-maximum suppression.

    Rotated boxes overlap by :func:`trtnn.vision.rotated.prob_iou`, and of them a suppressed one suppresses others too,
    as Ultralytics does it (Fast NMS, arXiv 1904.02689).

    Args:
        shapes: (n, 4) xyxy, or (n, 5) rotated boxes: centre x, centre y, width, height, angle. float32.
        scores: (n,)
        indices: (n,), their classes.
        iou, max_detections, classes, agnostic, max_candidates: as for :func:`trtnn.vision.non_max_suppression`.
    """
    order = np.arange(len(shapes)) if classes is None else np.flatnonzero(np.isin(indices, list(classes)))
    order = order[np.argsort(-scores[order], kind="stable")][:max_candidates]
    groups = np.zeros(len(order), indices.dtype) if agnostic else indices[order]
    kept = _kept_upright if shapes.shape[1] == 4 else _kept_rotated
    return order[_first_kept(kept, shapes[order], groups, iou, max_detections)]


def _first_kept(
    kept: Callable[[np.ndarray, np.ndarray, np.float32], np.ndarray],
    shapes: np.ndarray,
    groups: np.ndarray,
    iou: float,
    limit: int,
) -> np.ndarray:
    """Return the first ``limit`` that are kept of shapes sorted by score.

    Whether one is kept depends on those before it alone, so that no more are looked at than it takes.
    """
    threshold = np.float32(iou)  # the largest number of this type that is not above: what is larger is above both
    if float(threshold) > iou:
        threshold = np.nextafter(threshold, np.float32(-1))
    count = max(FIRST * limit, BLOCK)
    with np.errstate(all="ignore"):
        while True:
            indices = kept(shapes[:count], groups[:count], threshold)
            if len(indices) >= limit or count >= len(shapes):
                return indices[:limit]
            count *= FIRST


def _kept_rotated(boxes: np.ndarray, groups: np.ndarray, threshold: np.float32) -> np.ndarray:
    """Return the indices of the rotated boxes that overlap no one before them of their group too much, ascending."""
    order = np.argsort(groups, kind="stable")
    normals, groups = normal_of(boxes[order]), groups[order]
    # B >= x² / (4 · the sum of both variances of x), and so for y; ProbIoU says the most that B may be.
    reach = -4.0001 * np.log1p(-((1 - float(threshold)) ** 2))
    ends = [*(np.flatnonzero(np.diff(groups)) + 1).tolist(), len(groups)]
    alive = []
    for first, end in zip([0, *ends], ends, strict=False):
        for start in range(first, end, BLOCK):
            places = np.arange(start, min(start + BLOCK, end))
            for before in range(first, places[-1], WIDTH):
                others = np.arange(before, min(before + WIDTH, places[-1]))
                over = _rotated_overlap(normals[:, others], normals[:, places], threshold, reach)
                places = places[~(over & (others[:, None] < places)).any(axis=0)]
                if not len(places):
                    break
            alive.append(places)
    return np.sort(order[np.concatenate(alive)]) if alive else order


def _rotated_overlap(a: np.ndarray, b: np.ndarray, threshold: np.float32, reach: float) -> np.ndarray:
    """Return whether the ProbIoU of each of ``a``, (6, m), with each of ``b``, (6, n), is above a threshold, (m, n).

    Most pairs lie so far apart that two differences say so.
    """
    near = np.square(a[0][:, None] - b[0]) <= reach * (a[2][:, None] + b[2])
    near &= np.square(a[1][:, None] - b[1]) <= reach * (a[3][:, None] + b[3])
    rows, columns = np.nonzero(near)
    near[rows, columns] = overlap_of(a[:, rows], b[:, columns]) > threshold
    return near


def _kept_upright(boxes: np.ndarray, groups: np.ndarray, threshold: np.float32) -> np.ndarray:
    """Return the indices of the boxes whose IoU with every one kept before them of their group is low, ascending.

    Not cv2.dnn.NMSBoxes: it drops the second of two boxes without area, which torchvision keeps, rounds differently,
    and has no limit on kept boxes, so that it takes seconds where many candidates overlap little.
    """
    order = np.argsort(groups, kind="stable")
    groups = groups[order]
    columns = np.empty((5, len(order)), np.float32)  # x1, y1, x2, y2 and the area, each by itself
    columns[:4] = boxes[order].T
    x1, y1, x2, y2, area = columns
    np.multiply(x2 - x1, y2 - y1, out=area)
    alive = [
        _within(columns[:, start:end], groups[start:end], threshold)
        if end - start <= BLOCK
        else _of_one_group(columns[:, start:end], threshold)
        for start, end in _parts(groups)
    ]
    return np.sort(order[np.concatenate(alive)]) if alive else order


def _parts(groups: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield the start and the end of parts of sorted groups: of a large one alone, of others as many as are a block."""
    start = last = 0
    for end in [*(np.flatnonzero(np.diff(groups)) + 1).tolist(), len(groups)]:
        if end - start > BLOCK and last > start:
            yield start, last
            start = last
        last = end
    if last > start:
        yield start, last


def _of_one_group(columns: np.ndarray, threshold: np.float32) -> np.ndarray:
    """Return which boxes of one group are kept, (n,): those of a block, and then of what they leave of the rest."""
    alive, places = np.zeros(columns.shape[1], bool), np.arange(columns.shape[1])
    while len(places):
        block = columns[:, :BLOCK]
        best = _within(block, None, threshold)
        alive[places[:BLOCK][best]] = True
        kept, columns, places = block[:, best], columns[:, BLOCK:], places[BLOCK:]
        free = np.empty(len(places), bool)
        for start in range(0, len(places), WIDTH):
            part = columns[:, start : start + WIDTH]
            np.logical_not(_overlap(kept, part, threshold).any(axis=0), out=free[start : start + WIDTH])
        columns, places = columns[:, free], places[free]
    return alive


def _within(columns: np.ndarray, groups: np.ndarray | None, threshold: np.float32) -> np.ndarray:
    """Return which boxes of a block are kept where only those of the block count, (n,)."""
    suppressing = _overlap(columns, columns, threshold)
    suppressing &= _BEHIND[: len(suppressing), : len(suppressing)]
    if groups is not None and groups.size and groups[0] != groups[-1]:
        suppressing &= groups[:, None] == groups
    alive, free = np.ones(len(suppressing), bool), ~suppressing
    for index in np.flatnonzero(suppressing.any(axis=1)).tolist():
        if alive[index]:
            alive &= free[index]
    return alive


def _overlap(a: np.ndarray, b: np.ndarray, threshold: np.float32) -> np.ndarray:
    """Return whether the IoU of each of ``a`` with each of ``b`` is above a threshold.

    It is reckoned as :func:`trtnn.vision.box_iou` does, in the same order, and in memory that is used again.

    Args:
        a: (5, m) float32, x1, y1, x2, y2 and area.
        b: (5, n), so too.
        threshold: of the same type.
    """
    ax1, ay1, ax2, ay2, a_area = a[:, :, None]
    bx1, by1, bx2, by2, b_area = b
    width, height, other = scratch("overlap", (3, a.shape[1], b.shape[1]), np.float32)
    for ends, starts, b_ends, b_starts, side in ((ax2, ax1, bx2, bx1, width), (ay2, ay1, by2, by1, height)):
        side[:], other[:] = ends, starts  # NumPy is twice as fast with as much on both sides
        np.minimum(side, b_ends, out=side)
        np.maximum(other, b_starts, out=other)
        np.subtract(side, other, out=side)
        np.maximum(side, 0, out=side)
    intersection = np.multiply(width, height, out=width)
    union = np.add(a_area, b_area, out=other)
    union -= intersection
    intersection /= union
    return intersection > threshold
