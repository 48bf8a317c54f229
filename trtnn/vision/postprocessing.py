"""From a detector's output to detections: non-maximum suppression, and the way back to the image."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trtnn.errors import ArgumentError, ShapeError, check_switches
from trtnn.vision.detections import Detections
from trtnn.vision.placing import Placement
from trtnn.vision.rows import BOXES, pick

_NOWHERE = Placement((0, 0), (0, 0), (1.0, 1.0), (0.0, 0.0))  # boxes alone need no canvas


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
    objectness: bool = True,
) -> list[Detections]:
    """Pick a YOLO head's best boxes: every kept box suppresses the lower ones of its class that overlap it too much.

    The steps are those of YOLOv5's detection: boxes with objectness > ``confidence`` are candidates; their score is
    objectness * class score, and must be > ``confidence`` too; in the order of scores, a candidate is dropped if its
    IoU with a kept one of its class is > ``iou``. Candidates that are not finite are dropped first. All in float32.

    Args:
        prediction: (N, boxes, 5 + classes): x, y (the centre), width, height in px of the canvas, objectness, and a
            score for every class, in 0..1. Without objectness (N, boxes, 4 + classes).
        confidence: the threshold on objectness and score. For mAP use 0.001.
        iou: the threshold on overlap. For mAP use 0.6.
        max_detections: at most so many are kept for one image.
        classes: keep only these classes; all by default.
        agnostic: let boxes suppress those of other classes too.
        multi_label: a box stands for every class whose score is high enough, not only for its best. For mAP use True.
        max_candidates: of more candidates only the best are looked at.
        objectness: whether rows hold one; without it the score is the class score, as in YOLOv8.

    Returns:
        N Detections in px of the canvas, each sorted from the highest score downwards; of equal scores the one whose
        row comes first, and in a row the lower class.

    Raises:
        ShapeError: ``prediction`` of another shape.
        ArgumentError: a threshold outside 0..1, or a maximum below 1.
    """
    check_switches(objectness=objectness)
    prediction, first = np.asarray(prediction), 5 if objectness else 4
    if prediction.ndim != 3 or prediction.shape[2] <= first:
        raise ShapeError(
            f"a prediction must have the shape (N, boxes, {first} + classes)",
            f"received: {prediction.shape}",
            f"a row is x, y, width, height, {'objectness, ' * objectness}and one score for each class",
        )
    check_thresholds(confidence=confidence, iou=iou, max_detections=max_detections, max_candidates=max_candidates)
    check_thresholds(classes=classes, agnostic=agnostic, multi_label=multi_label)
    classes = class_list(classes)
    return [
        pick(
            rows,
            BOXES,
            {},
            _NOWHERE,
            confidence=confidence,
            iou=iou,
            max_detections=max_detections,
            classes=classes,
            agnostic=agnostic,
            multi_label=multi_label,
            max_candidates=max_candidates,
            objectness=objectness,
        )
        for rows in prediction
    ]


def check_thresholds(**thresholds: Any) -> None:
    """Check what detections are picked by: maxima from 1 up, classes, switches, the others in 0..1.

    Raises:
        ArgumentError: one is out of range or of another type.
    """
    for name, value in thresholds.items():
        if name == "classes":
            if isinstance(value, str | bytes) or not (value is None or isinstance(value, Iterable)):
                raise ArgumentError("classes are a list of indices, or None for all", f"received: {value!r}")
        elif name in ("agnostic", "multi_label"):
            check_switches(**{name: value})
        elif name.startswith("max_"):
            if not _is_number(value, numbers.Integral) or value < 1:
                raise ArgumentError(f"{name} must be 1 or more", f"received: {value!r}")
        elif not _is_number(value, numbers.Real) or not 0 <= value <= 1:
            raise ArgumentError(f"{name} must be in 0..1", f"received: {value!r}")


def class_list(classes: Iterable[int] | None) -> list[int] | None:
    """Return which classes are wanted as a list, which an iterator gives once alone; None where all are.

    Raises:
        ArgumentError: one is no index.
    """
    if classes is None:
        return None
    listed = list(classes)
    for index in listed:
        if not _is_number(index, numbers.Integral) or index < 0:
            raise ArgumentError(
                f"classes are a list of indices, or None for all, and {index!r} is none",
                "of a name: detector.labels.index(name)",
            )
    return [int(index) for index in listed]


def _is_number(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def postprocess(prediction: npt.ArrayLike, placements: Sequence[Placement], **thresholds: Any) -> list[Detections]:
    """From the network's output for a batch to the detections in every image's own pixels.

    Args:
        prediction: (N, boxes, 5 + classes), as for :func:`non_max_suppression`.
        placements: what :func:`preprocess` returned beside the batch, N of them.
        **thresholds: arguments of :func:`non_max_suppression`.

    Returns:
        N Detections in px of their images.

    Raises:
        ShapeError: ``prediction`` of another shape, or for another number of images.
        ArgumentError: as for :func:`non_max_suppression`.
    """
    on_canvas = non_max_suppression(prediction, **thresholds)
    check_batch(np.shape(prediction), placements)
    return [detections.scaled(placement) for detections, placement in zip(on_canvas, placements, strict=True)]


def check_batch(shape: Sequence[int], placements: Sequence[Placement]) -> None:
    """Check that an output of this shape is for as many images as there are placements.

    Raises:
        ShapeError: it is not.
    """
    if shape[0] != len(placements):
        raise ShapeError(
            "the prediction and the placements are of different batches",
            f"expected: a prediction for {len(placements)} pictures, one for each placement",
            f"received: {tuple(shape)}, for {shape[0]}",
        )
