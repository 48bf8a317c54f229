"""What the outputs of detectors mean: the form of each, and the way from there to detections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trtnn.errors import ArgumentError, ShapeError
from trtnn.vision.boxes import check_boxes
from trtnn.vision.detections import Detections
from trtnn.vision.placing import Placement
from trtnn.vision.postprocessing import check_batch, check_thresholds, postprocess
from trtnn.vision.suppression import suppress


@dataclass(frozen=True)
class Head:
    """One form of outputs.

    Args:
        outputs: the shape of each by name, a word for each length: a number is that length, ``"5 + classes"`` is 5 more
            than the number of classes, other words are any length. A lone output may have any name.
        thresholds: what :attr:`detect` takes by name, with the values that the project itself uses.
        detect: from the outputs, arrays by name, and the placements of the images to their detections.
        evaluation: the thresholds that are others where the project measures mAP.
    """

    outputs: Mapping[str, tuple[str, ...]]
    thresholds: Mapping[str, Any]
    detect: Callable[..., list[Detections]]
    evaluation: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        forms = [f"({', '.join(words)})" for words in self.outputs.values()]
        if len(forms) == 1:
            return f"one output {forms[0]}"
        return "outputs " + ", ".join(f"{name!r} {form}" for name, form in zip(self.outputs, forms, strict=True))

    def name_outputs(self, outputs: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what is given for each output under this head's own names, or None where those are others."""
        if len(outputs) == len(self.outputs) == 1:
            return dict(zip(self.outputs, outputs.values(), strict=True))
        return {name: outputs[name] for name in self.outputs} if outputs.keys() == self.outputs.keys() else None

    def read(self, shapes: Mapping[str, Sequence[Any]]) -> dict[str, int] | None:
        """Return ``{"classes": n}``, empty where no length tells of them, or None where the shapes are of another form.

        Args:
            shapes: of the outputs by name; a length may be symbolic.
        """
        named, sizes = self.name_outputs(shapes), {}
        if named is None:
            return None
        for name, words in self.outputs.items():
            if len(named[name]) != len(words):
                return None
            for word, length in zip(words, named[name], strict=True):
                *more, last = word.split(" + ")
                if not (last.isdigit() or last == "classes"):
                    continue
                if not isinstance(length, int) or (last.isdigit() and length != int(last)):
                    return None
                if last == "classes":
                    sizes["classes"] = length - sum(map(int, more))
        return None if sizes.get("classes", 1) < 1 else sizes


def _detect_yolov5(outputs: Mapping[str, np.ndarray], placements: Sequence[Placement], **options: Any) -> list:
    _check_scores(outputs["prediction"][..., 4:])
    return postprocess(outputs["prediction"], placements, **options)


def _detect_yolov8(outputs: Mapping[str, np.ndarray], placements: Sequence[Placement], **options: Any) -> list:
    _check_scores(outputs["prediction"][:, 4:])
    return postprocess(outputs["prediction"].transpose(0, 2, 1), placements, objectness=False, **options)


def _check_scores(scores: np.ndarray) -> None:
    """Check that what is read as scores is in 0..1; what is not finite is left out later.

    Shapes do not tell scores from key points, angles and logits, but their numbers do.

    Raises:
        ArgumentError: one is not.
    """
    if not scores.size:
        return
    low, high = scores.min(), scores.max()
    if not np.isfinite([low, high]).all():
        finite = scores[np.isfinite(scores)]
        low, high = finite.min(initial=0), finite.max(initial=0)
    if low < -_SCORE_TOLERANCE or high > 1 + _SCORE_TOLERANCE:
        raise _something_else(f"what would be scores is {low:.4g} to {high:.4g}, and scores are in 0..1")


def _check_indices(indices: np.ndarray) -> None:
    """Check that what is read as classes are whole numbers from 0 up.

    Raises:
        ArgumentError: one is not.
    """
    wrong = indices[(indices < 0) | (indices != np.rint(indices))]
    if wrong.size:
        raise _something_else(f"what would be a class is {wrong[0]:.4g}, and classes are 0, 1, 2, ...")


def _something_else(summary: str) -> ArgumentError:
    return ArgumentError(
        summary,
        "the outputs are something else, such as key points, angles, mask coefficients, or logits",
        "Detector(source, pipeline=...) or trtnn detect --pipeline says how to read them",
    )


def _detect_retinanet(
    outputs: Mapping[str, np.ndarray],
    placements: Sequence[Placement],
    confidence: float,
    iou: float,
    max_detections: int,
    max_candidates: int,
    classes: Iterable[int] | None,
) -> list[Detections]:
    """Take the best pairs of anchor and class of each level, cut their boxes to the image, and suppress by class."""
    check_thresholds(confidence=confidence, iou=iou, max_detections=max_detections, max_candidates=max_candidates)
    check_batch(outputs["scores"].shape, placements)
    _check_scores(outputs["scores"])
    classes = None if classes is None else list(classes)
    results = []
    for boxes, scores, placement in zip(outputs["boxes"], outputs["scores"], placements, strict=True):
        best = [
            start * scores.shape[1] + _best(scores[start:end].ravel(), confidence, max_candidates)
            for start, end in levels(placement.canvas_size, len(scores))
        ]
        anchors, indices = np.divmod(np.concatenate(best), scores.shape[1])
        x1, y1, x2, y2 = placement.area
        ends = np.array([[x1, y1] * 2, [x2, y2] * 2], np.float32)
        kept = np.clip(boxes[anchors].astype(np.float32), *ends)
        finite = np.isfinite(kept).all(axis=1)
        picked = kept[finite], scores[anchors, indices][finite], indices[finite]
        results.append(suppress(*picked, iou, max_detections, classes).scaled(placement))
    return results


def _best(scores: np.ndarray, confidence: float, most: int) -> np.ndarray:
    """Return the indices of the highest scores above a threshold, at most so many."""
    above = np.flatnonzero(scores > confidence)
    return above[np.argsort(-scores[above], kind="stable")[:most]]


_SCORE_TOLERANCE = 1e-3  # half precision rounds
RETINANET_STRIDES = (8, 16, 32, 64, 128)
RETINANET_ANCHORS = 9  # a cell


def levels(canvas_size: tuple[int, int], anchors: int) -> list[tuple[int, int]]:
    """Return the first anchor of each level, and the first after it.

    Raises:
        ShapeError: a canvas of that size has another number of them.
    """
    height, width = canvas_size
    counts = [RETINANET_ANCHORS * -(-height // stride) * -(-width // stride) for stride in RETINANET_STRIDES]
    if sum(counts) != anchors:
        raise ShapeError(
            f"RetinaNet has {sum(counts)} anchors on pictures of {height}×{width}, and these are {anchors}",
            f"its levels have strides of {', '.join(map(str, RETINANET_STRIDES))}, {RETINANET_ANCHORS} anchors a cell",
        )
    ends = np.cumsum(counts).tolist()
    return list(zip([0, *ends], ends, strict=False))


def _detect_picked(
    outputs: Mapping[str, np.ndarray],
    placements: Sequence[Placement],
    confidence: float,
    max_detections: int,
    classes: Iterable[int] | None,
) -> list[Detections]:
    """Take the boxes whose score is high enough; each is an object already, so that nothing is suppressed."""
    check_thresholds(confidence=confidence, max_detections=max_detections)
    check_batch(outputs["prediction"].shape, placements)
    _check_scores(outputs["prediction"][..., 4])
    classes = None if classes is None else list(classes)
    results = []
    for rows, placement in zip(outputs["prediction"], placements, strict=True):
        good = np.isfinite(rows).all(axis=1) & (rows[:, 4] > confidence)
        if classes is not None:
            good &= np.isin(rows[:, 5], classes)
        kept = rows[good]
        _check_indices(kept[:, 5])
        kept = kept[np.argsort(-kept[:, 4], kind="stable")[:max_detections]]
        results.append(Detections(check_boxes(kept[:, :4]), kept[:, 4], kept[:, 5]).scaled(placement))
    return results


_NMS = {
    "max_detections": 300,
    "classes": None,
    "agnostic": False,
    "multi_label": False,
    "max_candidates": 30000,
}
#: YOLOv5 and YOLOv3: centre x, centre y, width, height in px, objectness and class scores.
YOLOV5 = Head(
    {"prediction": ("batch", "boxes", "5 + classes")},
    {"confidence": 0.25, "iou": 0.45, **_NMS},
    _detect_yolov5,
    {"confidence": 0.001, "iou": 0.6, "multi_label": True},
)
#: YOLOv8: centre x, centre y, width, height in px and class scores, a row each; no objectness.
YOLOV8 = Head(
    {"prediction": ("batch", "4 + classes", "boxes")},
    {"confidence": 0.25, "iou": 0.7, **_NMS},
    _detect_yolov8,
    {"confidence": 0.001, "multi_label": True},
)
#: torchvision's RetinaNet: boxes xyxy in px, and class scores, of each anchor: level by level, cell by cell.
RETINANET = Head(
    {"boxes": ("batch", "anchors", "4"), "scores": ("batch", "anchors", "classes")},
    {"confidence": 0.05, "iou": 0.5, "max_detections": 300, "max_candidates": 1000, "classes": None},
    _detect_retinanet,
)
#: CenterNet: the best peaks, each x1, y1, x2, y2 in px, score and class.
CENTERNET = Head(
    {"prediction": ("batch", "boxes", "6")},
    {"confidence": 0.3, "max_detections": 100, "classes": None},
    _detect_picked,
    {"confidence": 0.0},
)
#: YOLO with its suppression inside, or without the need of any: each box x1, y1, x2, y2 in px, score and class.
END2END = Head(
    {"prediction": ("batch", "boxes", "6")},
    {"confidence": 0.25, "max_detections": 300, "classes": None},
    _detect_picked,
    {"confidence": 0.001},
)
