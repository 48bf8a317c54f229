"""How good a detector is: mean average precision as COCO measures it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trtnn.errors import ArgumentError, ShapeError
from trtnn.vision.boxes import box_iou, check_boxes, class_indices
from trtnn.vision.detections import Detections

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True, eq=False)
class MeanAveragePrecision:
    """What :func:`mean_average_precision` measured; every number is in 0..1.

    Attributes:
        map50: the mean over classes of the average precision at IoU 0.5.
        map50_95: the same, averaged over the IoU thresholds 0.5, 0.55, ... 0.95 too: COCO's main number.
        classes: (C,) int64, the classes that the ground truth has, ascending.
        ap50: (C,) float64, the average precision of each at IoU 0.5.
        ap50_95: (C,) float64, the average precision of each, averaged over the thresholds.
        truths: (C,) int64, how many boxes of each the ground truth has.
    """

    map50: float
    map50_95: float
    classes: np.ndarray
    ap50: np.ndarray
    ap50_95: np.ndarray
    truths: np.ndarray


def mean_average_precision(
    detections: Sequence[Detections], ground_truth: Sequence[tuple[npt.ArrayLike, npt.ArrayLike] | Detections]
) -> MeanAveragePrecision:
    """Measure detections against the truth with COCO's rules (https://cocodataset.org/#detection-eval), all areas.

    In each image a class's detections are matched from the highest score downwards, each with the free true box
    it overlaps most, if by the IoU threshold or more. Over all images, in the order of scores, this gives precision
    at each recall; made non-increasing and read at the recalls 0, 0.01, ... 1, its mean is the average precision.
    Classes that the ground truth lacks do not count, nor are there crowds.

    All detections given are counted; COCO's own tool stops at the best 100 of a class in an image. Detections for this
    are made with ``confidence=0.001, iou=0.6, multi_label=True``.

    Args:
        detections: for every image.
        ground_truth: for every image the true boxes, (m, 4) xyxy in the same px, and their classes, (m,); or Detections
            that are true, whose scores do not count.

    Raises:
        ShapeError: different numbers of images, or arrays of an image that do not fit together.
        ArgumentError: no image has any true box; or a single Detections, not a list of them.
    """
    if isinstance(detections, Detections) or isinstance(ground_truth, Detections):
        raise ArgumentError("detections and ground truth are lists, of every picture", "received: one; [it] is a list")
    if len(detections) != len(ground_truth):
        raise ShapeError(
            "detections and ground truth are of different numbers of pictures",
            f"received: {len(detections)} pictures with detections, {len(ground_truth)} with ground truth",
        )
    scores, hits = defaultdict(list), defaultdict(list)
    truths: dict[int, int] = defaultdict(int)
    for at, (detected, truth) in enumerate(zip(detections, ground_truth, strict=True)):
        boxes, classes = (truth.boxes, truth.classes) if isinstance(truth, Detections) else truth
        true_boxes, true_classes = check_boxes(boxes).astype(np.float64), class_indices(classes)
        if true_classes.shape != (len(true_boxes),):
            raise ShapeError(
                f"the ground truth of picture {at} needs one class for every box",
                f"received: {len(true_boxes)} boxes, classes of shape {true_classes.shape}",
            )
        for index in np.union1d(detected.classes, true_classes).tolist():
            true = true_boxes[true_classes == index]
            mine = np.flatnonzero(detected.classes == index)
            mine = mine[np.argsort(-detected.scores[mine], kind="stable")]
            truths[index] += len(true)
            scores[index].append(detected.scores[mine])
            hits[index].append(_match(box_iou(detected.boxes[mine].astype(np.float64), true)))
    present = sorted(index for index, count in truths.items() if count)
    if not present:
        raise ArgumentError("the ground truth has no boxes: there is nothing to measure against")
    precision = np.array([
        _average_precision(np.concatenate(scores[index]), np.concatenate(hits[index]), truths[index])
        for index in present
    ])  # fmt: skip
    return MeanAveragePrecision(
        map50=float(precision[:, 0].mean()),
        map50_95=float(precision.mean()),
        classes=np.array(present, np.int64),
        ap50=precision[:, 0],
        ap50_95=precision.mean(axis=1),
        truths=np.array([truths[index] for index in present], np.int64),
    )


def _match(overlaps: np.ndarray) -> np.ndarray:
    """Which detections hit, (n, thresholds), for the IoU (n, m) of n detections, best first, with m true boxes."""
    hits = np.zeros((len(overlaps), len(IOU_THRESHOLDS)), bool)
    free = np.ones((len(IOU_THRESHOLDS), overlaps.shape[1]), bool)
    for i in np.flatnonzero((overlaps >= IOU_THRESHOLDS[0]).any(axis=1)):
        candidates = np.where(free, overlaps[i], -1)[:, ::-1]  # of equal overlaps COCO takes the last
        best = candidates.argmax(axis=1)
        hit = candidates.max(axis=1) >= IOU_THRESHOLDS
        hits[i] = hit
        free[hit, free.shape[1] - 1 - best[hit]] = False
    return hits


def _average_precision(scores: np.ndarray, hits: np.ndarray, truths: int) -> np.ndarray:
    """Return the average precision at every threshold, for scores (n,) and hits (n, thresholds) of all images."""
    true_positives = np.cumsum(hits[np.argsort(-scores, kind="stable")], axis=0)
    recall = true_positives / truths
    precision = true_positives / np.arange(1, len(true_positives) + 1)[:, None]
    precision = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    result = np.zeros(len(IOU_THRESHOLDS))
    for i in range(len(IOU_THRESHOLDS)):
        reached = np.searchsorted(recall[:, i], RECALLS, side="left")
        result[i] = precision[reached[reached < len(true_positives)], i].sum() / len(RECALLS)
    return result
