"""Detections measured by COCO's own tool, pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trtnn.errors import ArgumentError, BackendError, ImageError
from trtnn.vision.datasets import DataSet, TrueImage
from trtnn.vision.detections import Detections
from trtnn.vision.labels import COCO_KEYPOINTS

_OF_AREAS = (  # in COCO's order
    *("map50_95", "map50", "map75", "map_small", "map_medium", "map_large"),
    *("ar_1", "ar_10", "ar_100", "ar_small", "ar_medium", "ar_large"),
)
_OF_POINTS = (
    *("map50_95", "map50", "map75", "map_medium", "map_large"),
    *("ar_20", "ar_20_50", "ar_20_75", "ar_20_medium", "ar_20_large"),
)
_FARTHEST = 16  # sides of the image that an outline may reach: COCO's tool takes as much memory as one is long
#: What is measured by task, and the word of COCO's tool for it.
KINDS = {"detect": ("bbox",), "segment": ("bbox", "segm"), "pose": ("bbox", "keypoints")}


@dataclass(frozen=True)
class CocoEvaluation:
    """What COCO's tool says; every number is in 0..1, or None where there is nothing to measure.

    Attributes:
        statistics: the numbers that it prints, twelve or ten, by name: ``map50_95``, ``map50``, ``ar_100``, ...
        ap50, ap50_95: the average precision by category that has boxes, at IoU 0.5, and over 0.5, 0.55, ... 0.95; of
            key points by their similarity in place of the IoU.
        boxes: how many true objects each of these has, crowds not among them.
    """

    statistics: dict[str, float | None]
    ap50: dict[int, float]
    ap50_95: dict[int, float]
    boxes: dict[int, int]


def check_pycocotools() -> Any:
    """Return pycocotools' modules ``coco`` and ``cocoeval``.

    Raises:
        BackendError: it is not installed.
    """
    try:
        from pycocotools import coco, cocoeval
    except ImportError as error:
        raise BackendError(
            f"mAP is measured by pycocotools, which cannot be imported: {error}", 'pip install "trtnn[val]"'
        ) from error
    return coco, cocoeval


class CocoResults:
    """Detections in the images of a data set, as they come, and what COCO's tool says of all of them.

    Args:
        data: the data set.
        categories: the category's number for each class, None for a class that the data set has not: of those
            detections do not count.
    """

    def __init__(self, data: DataSet, categories: Sequence[int | None]) -> None:
        self._data, self._categories = data, categories
        self._truth: list[dict[str, Any]] = []
        self._found: list[dict[str, Any]] = []
        self._images: list[int] = []
        self._sizes: dict[int, tuple[int, int]] = {}

    def add(self, image: TrueImage, size: tuple[int, int], detections: Detections) -> None:
        """Add what was detected in an image of (height, width) px; images that are not added do not count.

        Raises:
            ImageError: the annotations are of an image of another size: their boxes lie elsewhere in this one.
            ArgumentError: a true mask is of another size, or lies far beside the image.
        """
        height, width = size
        if image.size not in (None, size):
            why = (
                ", as its EXIF turns it, or they have them in the other order" if image.size == (width, height) else ""
            )
            raise ImageError(
                f"{image.path} is not of the size that its annotations are of",
                f"they say height and width are {image.size[0]}×{image.size[1]}, and it has {height}×{width}{why}",
            )
        unit = np.array([width, height] * 2, np.float64) if image.relative else np.ones(4)
        self._images.append(image.number)
        self._sizes[image.number] = size
        for place, (box, category, area, crowd) in enumerate(
            zip(
                (image.boxes * unit).tolist(),
                image.categories.tolist(),
                (image.areas * unit[0] * unit[1]).tolist(),
                image.crowds.tolist(),
                strict=True,
            )
        ):
            row = {"image_id": image.number, "category_id": category, "bbox": box, "area": area, "iscrowd": int(crowd)}
            row |= self._true_shape(image, place, size)
            self._truth.append({"id": len(self._truth) + 1, **row})
        for place, ((x1, y1, x2, y2), score, index) in enumerate(detections):
            category = self._categories[index] if index < len(self._categories) else None
            if category is not None:
                box = [x1, y1, x2 - x1, y2 - y1]
                row = {"image_id": image.number, "category_id": category, "bbox": box, "score": score}
                row |= _found_shape(detections, place)
                self._found.append({"id": len(self._found) + 1, "area": box[2] * box[3], "iscrowd": 0, **row})

    def _true_shape(self, image: TrueImage, place: int, size: tuple[int, int]) -> dict[str, Any]:
        """Return what COCO's tool reads of an object beside its box.

        Raises:
            ArgumentError: run lengths are of an image of another size, or a polygon lies far beside it.
        """
        height, width = size
        unit = np.array([width, height], np.float64) if image.relative else np.ones(2)
        if image.outlines is not None:
            outline = image.outlines[place]
            if isinstance(outline, dict):
                if tuple(outline["size"]) != tuple(size):
                    raise ArgumentError(
                        f"a mask of {self._data.path} is not of the size of its image {image.path}",
                        f"the mask is {outline['size'][0]}×{outline['size'][1]}, the image {height}×{width}",
                    )
                return {"segmentation": outline}
            parts = [part * unit for part in outline]
            if any((np.abs(part) > _FARTHEST * np.array([width, height])).any() for part in parts):
                raise ArgumentError(
                    f"an outline of {self._data.path} lies far beside its image {image.path}",
                    f"the image is {height}×{width}",
                )
            return {"segmentation": [part.ravel().tolist() for part in parts]}
        if image.keypoints is not None:
            points = image.keypoints[place]
            labelled = int((points[:, 2] > 0).sum())
            return {"keypoints": (points * (*unit, 1)).ravel().tolist(), "num_keypoints": labelled}
        return {}

    def evaluate(self, kind: str = "bbox") -> CocoEvaluation:
        """Measure what was added.

        The similarity of key points is COCO's for its 17 of a person; of others each counts alike, as Ultralytics has
        it: their sigma is 1 / points.

        Args:
            kind: ``"bbox"``, or ``"segm"`` and ``"keypoints"`` where detections and truth have those.

        Raises:
            ArgumentError: the images that were added have no true boxes, or those of crowds alone.
        """
        if all(row["iscrowd"] for row in self._truth):
            but = " but those of crowds, which do not count" if self._truth else ""
            raise ArgumentError(
                f"the images of {self._data.path} have no boxes{but}: there is nothing to measure against"
            )
        coco, cocoeval = check_pycocotools()
        numbers = sorted(
            {row["category_id"] for row in [*self._truth, *self._found]} | set(self._data.categories or ())
        )

        def collection(rows: list[dict[str, Any]]) -> Any:
            made = coco.COCO()
            made.dataset = {
                "images": [
                    {"id": number, "height": self._sizes[number][0], "width": self._sizes[number][1]}
                    for number in self._images
                ],
                "categories": [{"id": number} for number in numbers],
                "annotations": rows,
            }
            made.createIndex()
            return made

        with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
            truth, found = (_as_measured(rows, kind) for rows in (self._truth, self._found))
            evaluation = cocoeval.COCOeval(collection(truth), collection(found), kind)
            points = len(truth[0].get("keypoints", ())) // 3
            if kind == "keypoints" and points != len(COCO_KEYPOINTS):
                evaluation.params.kpt_oks_sigmas = np.full(points, 1 / points)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        names = _OF_POINTS if kind == "keypoints" else _OF_AREAS
        precision = evaluation.eval["precision"][:, :, :, 0, -1]  # by threshold, recall and category; -1 is no truth
        measured = [i for i in range(len(numbers)) if (precision[:, :, i] > -1).any()]
        counts = dict.fromkeys(numbers, 0)
        for row in self._truth:
            counts[row["category_id"]] += not row["iscrowd"]
        return CocoEvaluation(
            {name: _share(value) for name, value in zip(names, evaluation.stats, strict=True)},
            {numbers[i]: float(precision[0, :, i].mean()) for i in measured},
            {numbers[i]: float(precision[:, :, i].mean()) for i in measured},
            {numbers[i]: counts[numbers[i]] for i in measured},
        )


def _found_shape(detections: Detections, place: int) -> dict[str, Any]:
    """Return what COCO's tool reads of a detection beside its box."""
    if detections.masks is not None:
        return {"segmentation": detections.masks.rle(place)}
    if detections.keypoints is not None:
        points = np.ones((detections.keypoints.shape[1], 3))
        points[:, :2] = detections.keypoints[place, :, :2]
        return {"keypoints": points.ravel().tolist()}
    return {}


def _as_measured(rows: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Return detections with the area that COCO's tool gives them, and objects, whose area is known, as they are."""
    if kind == "bbox" or not rows or "score" not in rows[0]:
        return rows
    if kind == "segm":
        from pycocotools import mask

        return [{**row, "area": float(mask.area(row["segmentation"]))} for row in rows]
    extents = [np.ptp(np.reshape(row["keypoints"], (-1, 3)), axis=0) for row in rows]
    return [{**row, "area": float(x * y)} for row, (x, y, _) in zip(rows, extents, strict=True)]


def _share(value: float) -> float | None:
    return float(value) if value >= 0 else None


def match_categories(
    categories: Mapping[int, str] | None, labels: Sequence[str] | None, classes: int | None, highest: int
) -> list[int | None]:
    """Return the category's number for each of a detector's classes: by name where both have names, else by order.

    Args:
        categories: the data set's names by number, None where it has none and numbers are those of classes.
        labels: the detector's names, None where it has none.
        classes: how many classes it has, None where nothing tells.
        highest: the highest number of a category among the true boxes.

    Raises:
        ArgumentError: a category has no class of its name, or several; or there are no names, and not as many classes
            as categories.
    """
    if categories is None:
        count = classes if classes is not None else highest + 1
        if highest >= count:
            raise ArgumentError(f"the labels have class {highest}, and the detector has {count}: 0 to {count - 1}")
        return list(range(count))
    if labels is None:
        if classes is not None and classes != len(categories):
            count = f"{len(categories)} {'category' if len(categories) == 1 else 'categories'}"
            raise ArgumentError(
                f"the data set has {count}, the detector {classes} classes, without names",
                f"the data set's are {_some(categories.values())}",
                "--names gives the detector's",
            )
        return list(categories)
    missing = [name for name in categories.values() if labels.count(name) != 1]
    if missing or len(set(categories.values())) < len(categories):
        raise ArgumentError(
            "the data set's categories are not each one of the detector's classes",
            f"not once: {_some(missing or categories.values())}",
            f"the detector's classes are {_some(labels)}",
            "--names gives the detector's names",
        )
    numbers = {name: number for number, name in categories.items()}
    return [numbers.get(label) for label in labels]


def _some(names: Any) -> str:
    names = list(names)
    return ", ".join(names[:8]) + (f", ... ({len(names)})" if len(names) > 8 else "")
