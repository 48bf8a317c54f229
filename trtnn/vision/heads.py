"""What the outputs of detectors mean: the form of each, and the way from there to detections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from trtnn.engine.metadata import told
from trtnn.errors import ArgumentError, ShapeError
from trtnn.vision.detections import Detections
from trtnn.vision.placing import Placement, Size
from trtnn.vision.postprocessing import check_batch, check_thresholds, class_list
from trtnn.vision.rows import BOXES, MASKS, ROTATED, Layout, check_scores, keypoints, pick, something_else, to_image
from trtnn.vision.suppression import suppress


@dataclass(frozen=True)
class Head:
    """One form of outputs.

    Args:
        outputs: the shape of each by name, a word for each length: a number is that length, ``"4 + classes + 32"`` is
            36 more than the number of classes, ``"keypoints"`` is what :meth:`with_metadata` says, other words are any
            length. A lone output may have any name, and so may outputs that differ in how many lengths they have.
        thresholds: what :attr:`detect` takes by name, with the values that the project itself uses.
        detect: from the outputs, arrays by name, and the placements of the images to their detections.
        evaluation: the thresholds that are others where the project measures mAP.
        task: what is found, by Ultralytics' word: ``"detect"`` boxes, ``"segment"`` masks too, ``"pose"`` key points
            too, ``"obb"`` rotated boxes.
        kpt_shape: how many key points there are, and how many numbers of each, once :meth:`with_metadata` has said it.
    """

    outputs: Mapping[str, tuple[str, ...]]
    thresholds: Mapping[str, Any]
    detect: Callable[..., list[Detections]]
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    task: str = "detect"
    kpt_shape: tuple[int, int] | None = None

    def __str__(self) -> str:
        forms = [f"({', '.join(words)})" for words in self.outputs.values()]
        if len(forms) == 1:
            return f"one output {forms[0]}"
        return "outputs " + ", ".join(f"{name!r} {form}" for name, form in zip(self.outputs, forms, strict=True))

    def with_metadata(self, metadata: Mapping[str, Any]) -> Head:
        """Return this head with what a network's metadata say of it: ``kpt_shape`` of key points.

        Raises:
            ArgumentError: it is wanted, and not there or none.
        """
        if not any("keypoints" in word for words in self.outputs.values() for word in words):
            return self
        shape = told(metadata, "kpt_shape")
        is_list = isinstance(shape, list | tuple) and len(shape) == 2
        if not is_list or not all(isinstance(n, int) and n > 0 for n in shape) or shape[1] not in (2, 3):
            raise ArgumentError(
                "nothing tells how many key points there are" if shape is None else f"kpt_shape is no {shape!r}",
                "its metadata have them as kpt_shape: [17, 3] is 17 points of x, y and visibility, [17, 2] without it",
            )
        layout = keypoints(*shape)
        outputs = {
            name: tuple(word.replace("keypoints", str(layout.more)) for word in words)
            for name, words in self.outputs.items()
        }
        detect = partial(self.detect, layout=layout)
        return replace(self, outputs=outputs, detect=detect, kpt_shape=(shape[0], shape[1]))

    def renamed(self, shapes: Mapping[str, Sequence[Any]]) -> Head:
        """Return this head for outputs of other names, where how many lengths each has tells which is which."""
        by_rank = {len(words): name for name, words in self.outputs.items()}
        theirs = {by_rank.get(len(shape)): name for name, shape in shapes.items()}
        if shapes.keys() == self.outputs.keys() or not len(by_rank) == len(theirs) == len(shapes) > 1:
            return self
        if theirs.keys() != self.outputs.keys():
            return self
        names = {theirs[name]: name for name in self.outputs}

        def detect(outputs: Mapping[str, np.ndarray], *args: Any, **options: Any) -> list[Detections]:
            return self.detect({name: outputs[key] for key, name in names.items()}, *args, **options)

        return replace(self, outputs={key: self.outputs[name] for key, name in names.items()}, detect=detect)

    def name_outputs(self, outputs: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what is given for each output under this head's own names, or None where those are others."""
        if len(outputs) == len(self.outputs) == 1:
            return dict(zip(self.outputs, outputs.values(), strict=True))
        return {name: outputs[name] for name in self.outputs} if outputs.keys() == self.outputs.keys() else None

    def read(self, shapes: Mapping[str, Sequence[Any]]) -> dict[str, int] | None:
        """Return ``{"classes": n}``, empty where no length tells of them, or None where the shapes are of another form.

        Args:
            shapes: of the outputs by name; a length may be symbolic.

        Raises:
            ArgumentError: nobody has told how many key points there are.
        """
        named, sizes = self.with_metadata({}).name_outputs(shapes), {}
        if named is None:
            return None
        for name, words in self.outputs.items():
            if len(named[name]) != len(words):
                return None
            for word, length in zip(words, named[name], strict=True):
                parts = word.split(" + ")
                if not all(part.isdigit() or part == "classes" for part in parts):
                    continue
                rest = sum(int(part) for part in parts if part != "classes")
                if not isinstance(length, int) or ("classes" not in parts and length != rest):
                    return None
                if "classes" in parts:
                    sizes["classes"] = length - rest
        return None if sizes.get("classes", 1) < 1 else sizes

    def check_size(self, shapes: Mapping[str, Sequence[Any]], size: Size) -> None:
        """Check that outputs of these shapes are of an input of a (height, width) in px, where that can be told.

        Raises:
            ArgumentError: they are not.
        """


def _detect_rows(
    outputs: Mapping[str, np.ndarray],
    placements: Sequence[Placement],
    layout: Layout = BOXES,
    objectness: bool = False,
    **thresholds: Any,
) -> list[Detections]:
    """Pick the best rows of each image: YOLOv5's, which have objectness, or YOLOv8's columns, which have none."""
    prediction, others = outputs["prediction"], {name: outputs[name] for name in outputs if name != "prediction"}
    prediction = prediction if objectness else prediction.transpose(0, 2, 1)
    check_thresholds(**thresholds)
    check_batch(prediction.shape, placements)
    check_scores(prediction[..., 4 : prediction.shape[2] - layout.more])
    thresholds["classes"] = class_list(thresholds["classes"])
    results = []
    for index, (rows, placement) in enumerate(zip(prediction, placements, strict=True)):
        own = {name: output[index] for name, output in others.items()}
        found = pick(rows, layout, own, placement, objectness=objectness, **thresholds)
        results.append(to_image(found, placement))
    return results


def _check_indices(indices: np.ndarray) -> None:
    """Check that what is read as classes are whole numbers from 0 up.

    Raises:
        ArgumentError: one is not.
    """
    wrong = indices[(indices < 0) | (indices != np.rint(indices))]
    if wrong.size:
        raise something_else(f"what would be a class is {wrong[0]:.4g}, and classes are 0, 1, 2, ...")


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
    check_scores(outputs["scores"])
    classes = class_list(classes)
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
        candidates = Detections(kept[finite], scores[anchors, indices][finite], indices[finite])
        best = suppress(candidates.boxes, candidates.scores, candidates.classes, iou, max_detections, classes)
        results.append(candidates[best].scaled(placement))
    return results


def _best(scores: np.ndarray, confidence: float, most: int) -> np.ndarray:
    """Return the indices of the highest scores above a threshold, at most so many."""
    above = np.flatnonzero(scores > confidence)
    return above[np.argsort(-scores[above], kind="stable")[:most]]


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
    layout: Layout = BOXES,
) -> list[Detections]:
    """Take the boxes whose score is high enough; each is an object already, so that nothing is suppressed."""
    check_thresholds(confidence=confidence, max_detections=max_detections)
    check_batch(outputs["prediction"].shape, placements)
    check_scores(outputs["prediction"][..., 4])
    classes = class_list(classes)
    results = []
    for index, (rows, placement) in enumerate(zip(outputs["prediction"], placements, strict=True)):
        good = np.isfinite(rows).all(axis=1) & (rows[:, 4] > confidence)
        if classes is not None:
            good &= np.isin(rows[:, 5], classes)
        kept = rows[good]
        _check_indices(kept[:, 5])
        kept = kept[np.argsort(-kept[:, 4], kind="stable")[:max_detections]].astype(np.float32, copy=False)
        more = kept[:, 6:]
        shapes = layout.shapes(kept[:, :4], more, are_centred=False)
        others = {name: outputs[name][index] for name in outputs if name != "prediction"}
        found = layout.detections(shapes, kept[:, 4], kept[:, 5], more, others, placement)
        results.append(to_image(found, placement))
    return results


def _detect_queries(
    outputs: Mapping[str, np.ndarray],
    placements: Sequence[Placement],
    confidence: float,
    max_detections: int,
    classes: Iterable[int] | None,
) -> list[Detections]:
    """Take the best pairs of query and class; each query is one object, so that nothing is suppressed."""
    check_thresholds(confidence=confidence, max_detections=max_detections)
    check_batch(outputs["scores"].shape, placements)
    check_scores(outputs["scores"])
    classes = class_list(classes)
    results = []
    both = (outputs[name].astype(np.float32, copy=False) for name in ("boxes", "scores"))
    for boxes, scores, placement in zip(*both, placements, strict=True):
        finite = np.isfinite(boxes).all(axis=1)[:, None] & np.isfinite(scores)
        wanted = finite if classes is None else finite & np.isin(np.arange(scores.shape[1]), classes)
        best = _best(np.where(wanted, scores, -1).ravel(), confidence, max_detections)
        queries, indices = np.divmod(best, scores.shape[1])
        height, width = placement.canvas_size
        shapes = BOXES.shapes(boxes[queries] * np.array([width, height] * 2, np.float32), boxes[:0], are_centred=True)
        results.append(Detections(shapes, scores[queries, indices], indices).scaled(placement))
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
    partial(_detect_rows, objectness=True),
    {"confidence": 0.001, "iou": 0.6, "multi_label": True},
)
#: YOLOv8: centre x, centre y, width, height in px and class scores, a row each; no objectness.
YOLOV8 = Head(
    {"prediction": ("batch", "4 + classes", "boxes")},
    {"confidence": 0.25, "iou": 0.7, **_NMS},
    _detect_rows,
    {"confidence": 0.001, "multi_label": True},
)
_PROTOTYPES = ("batch", "32", "rows", "columns")
#: YOLOv8's with 32 mask coefficients behind the scores, and the prototypes that they weigh.
YOLOV8_SEGMENT = replace(
    YOLOV8,
    outputs={"prediction": ("batch", "4 + classes + 32", "boxes"), "prototypes": _PROTOTYPES},
    detect=partial(_detect_rows, layout=MASKS),
    task="segment",
)
#: YOLOv8's with the key points behind the scores, x and y in px and visibility in 0..1 each.
YOLOV8_POSE = replace(YOLOV8, outputs={"prediction": ("batch", "4 + classes + keypoints", "boxes")}, task="pose")
#: YOLOv8's with an angle in radians behind the scores.
YOLOV8_OBB = replace(
    YOLOV8,
    outputs={"prediction": ("batch", "4 + classes + 1", "boxes")},
    detect=partial(_detect_rows, layout=ROTATED),
    task="obb",
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
#: The same with 32 mask coefficients behind the class, and the prototypes that they weigh.
END2END_SEGMENT = replace(
    END2END,
    outputs={"prediction": ("batch", "boxes", "6 + 32"), "prototypes": _PROTOTYPES},
    detect=partial(_detect_picked, layout=MASKS),
    task="segment",
)
#: The same with the key points behind the class.
END2END_POSE = replace(END2END, outputs={"prediction": ("batch", "boxes", "6 + keypoints")}, task="pose")
#: Of rotated boxes: each centre x, centre y, width, height in px, score, class, and angle in radians.
END2END_OBB = replace(
    END2END,
    outputs={"prediction": ("batch", "boxes", "7")},
    detect=partial(_detect_picked, layout=ROTATED),
    task="obb",
)
#: RT-DETR: centre x, centre y, width, height in parts of the canvas, and class scores, of each query. The threshold is
#: that of transformers' post_process_object_detection; all 300 count where it is measured.
RTDETR = Head(
    {"boxes": ("batch", "queries", "4"), "scores": ("batch", "queries", "classes")},
    {"confidence": 0.5, "max_detections": 300, "classes": None},
    _detect_queries,
    {"confidence": 0.0},
)
