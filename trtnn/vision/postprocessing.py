"""From a detector's output to detections: non-maximum suppression, and the way back to the picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from trtnn.errors import ArgumentError, ShapeError
from trtnn.vision.boxes import box_iou
from trtnn.vision.detections import Detections
from trtnn.vision.preprocessing import Letterbox

#: Boxes are moved by this many px per class, so that boxes of two classes never overlap; wider than any canvas.
CLASS_OFFSET_PX = 7680
BLOCK = 256  # candidates compared at a time: the fastest for 400 to 30000 candidates


def non_max_suppression(
    prediction: npt.ArrayLike,
    confidence: float = 0.25,
    iou: float = 0.45,
    *,
    max_detections: int = 300,
    classes: Iterable[int] | None = None,
    agnostic: bool = False,
    multi_label: bool = False,
    max_candidates: int = 30000,
) -> list[Detections]:
    """Pick a YOLO head's best boxes: every kept box suppresses the lower ones of its class that overlap it too much.

    The steps are those of YOLOv5's detection: boxes with objectness > ``confidence`` are candidates; their score is
    objectness * class score, and must be > ``confidence`` too; in the order of scores, a candidate is dropped if its
    IoU with a kept one of its class is > ``iou``. Candidates that are not finite are dropped first. All in float32.

    Args:
        prediction: (N, boxes, 5 + classes): x, y (the centre), width, height in px of the canvas, objectness, and a
            score for every class, in 0..1.
        confidence: the threshold on objectness and score. For mAP use 0.001.
        iou: the threshold on overlap. For mAP use 0.6.
        max_detections: at most so many are kept for one picture.
        classes: keep only these classes; all by default.
        agnostic: let boxes suppress those of other classes too.
        multi_label: a box stands for every class whose score is high enough, not only for its best. For mAP use True.
        max_candidates: of more candidates only the best are looked at.

    Returns:
        N Detections in px of the canvas, each sorted from the highest score downwards.

    Raises:
        ShapeError: ``prediction`` of another shape.
        ArgumentError: a threshold outside 0..1, or a maximum below 1.
    """
    prediction = np.asarray(prediction)
    if prediction.ndim != 3 or prediction.shape[2] < 6:
        raise ShapeError(
            "a prediction must have the shape (N, boxes, 5 + classes)",
            f"received: {prediction.shape}",
            "a row is x, y, width, height, objectness, and one score for each class",
        )
    for name, value in {"confidence": confidence, "iou": iou}.items():
        if not 0 <= value <= 1:
            raise ArgumentError(f"{name} must be in 0..1", f"received: {value}")
    for name, value in {"max_detections": max_detections, "max_candidates": max_candidates}.items():
        if value < 1:
            raise ArgumentError(f"{name} must be 1 or more", f"received: {value}")

    wanted = None if classes is None else np.array(list(classes), np.int64)
    results = []
    for rows in prediction:
        boxes, scores, indices = _candidates(rows, confidence, multi_label)
        if wanted is not None:
            chosen = np.isin(indices, wanted)
            boxes, scores, indices = boxes[chosen], scores[chosen], indices[chosen]
        order = np.argsort(-scores, kind="stable")[:max_candidates]
        boxes, scores, indices = boxes[order], scores[order], indices[order]
        offset = np.zeros(len(boxes), np.float32) if agnostic else indices.astype(np.float32) * CLASS_OFFSET_PX
        kept = _greedy(boxes + offset[:, None], iou, max_detections)
        results.append(Detections(boxes[kept], scores[kept], indices[kept]))
    return results


def postprocess(prediction: npt.ArrayLike, letterboxes: Sequence[Letterbox], **thresholds: object) -> list[Detections]:
    """From the network's output for a batch to the detections in every picture's own pixels.

    Args:
        prediction: (N, boxes, 5 + classes), as for :func:`non_max_suppression`.
        letterboxes: what :func:`preprocess` returned beside the batch, N of them.
        **thresholds: arguments of :func:`non_max_suppression`.

    Returns:
        N Detections in px of their pictures.

    Raises:
        ShapeError: ``prediction`` of another shape, or for another number of pictures.
        ArgumentError: as for :func:`non_max_suppression`.
    """
    found = non_max_suppression(prediction, **thresholds)
    if len(found) != len(letterboxes):
        raise ShapeError(
            "the prediction and the letterboxes are of different batches",
            f"expected: a prediction for {len(letterboxes)} pictures, one for each letterbox",
            f"received: {np.shape(prediction)}, for {len(found)}",
        )
    return [detections.scaled(box) for detections, box in zip(found, letterboxes, strict=True)]


def _candidates(rows: np.ndarray, confidence: float, multi_label: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One picture's boxes (n, 4) xyxy, scores (n,) and classes (n,) above the threshold, all of them finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        rows = rows.astype(np.float32, copy=False)
        rows = rows[rows[:, 4] > confidence]
        centre, half = rows[:, :2], rows[:, 2:4] / 2
        boxes = np.concatenate([centre - half, centre + half], axis=1)
        scores = rows[:, 5:] * rows[:, 4:5]
    finite = np.isfinite(boxes).all(axis=1) & np.isfinite(scores).all(axis=1)
    boxes, scores = boxes[finite], scores[finite]
    if multi_label:
        index, indices = np.nonzero(scores > confidence)
    else:
        indices = scores.argmax(axis=1)
        index = np.flatnonzero(scores[np.arange(len(scores)), indices] > confidence)
        indices = indices[index]
    return boxes[index], scores[index, indices], indices


def _greedy(boxes: np.ndarray, iou: float, limit: int) -> np.ndarray:
    """Of boxes sorted by score, the first ``limit`` indices whose IoU with every index before them is <= ``iou``.

    Not cv2.dnn.NMSBoxes: it drops the second of two boxes without area, which torchvision keeps, rounds differently,
    and has no limit on kept boxes, so that it takes seconds where many candidates overlap little.
    """
    kept = np.empty(0, np.int64)
    threshold = np.array([iou])  # an array, so that the comparison is in float64, as torchvision's is on the CPU
    for start in range(0, len(boxes), BLOCK):
        block = np.arange(start, min(start + BLOCK, len(boxes)))
        block = block[~(box_iou(boxes[kept], boxes[block]) > threshold).any(axis=0)]
        overlaps = box_iou(boxes[block], boxes[block]) > threshold
        alive = np.ones(len(block), bool)
        for i in range(len(block)):
            if alive[i]:
                alive[i + 1 :] &= ~overlaps[i, i + 1 :]
        kept = np.concatenate([kept, block[alive]])
        if len(kept) >= limit:
            break
    return kept[:limit]
