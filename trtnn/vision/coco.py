"""Detections measured by COCO's own tool, pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trtnn.errors import ArgumentError, BackendError
from trtnn.vision.datasets import DataSet, TrueImage
from trtnn.vision.detections import Detections

_STATISTICS = (  # in COCO's order
    *("map50_95", "map50", "map75", "map_small", "map_medium", "map_large"),
    *("ar_1", "ar_10", "ar_100", "ar_small", "ar_medium", "ar_large"),
)


@dataclass(frozen=True)
class CocoEvaluation:
    """What COCO's tool says; every number is in 0..1, or None where there is nothing to measure.

    Attributes:
        statistics: the twelve numbers that it prints, by name: ``map50_95``, ``map50``, ``ar_100``, ...
        ap50, ap50_95: the average precision by category that has boxes, at IoU 0.5, and over 0.5, 0.55, ... 0.95.
        boxes: how many true boxes each of these has, crowds not among them.
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

    def add(self, image: TrueImage, size: tuple[int, int], detections: Detections) -> None:
        """Add what was detected in an image of (height, width) px; images that are not added do not count."""
        height, width = size
        unit = np.array([width, height] * 2, np.float64) if image.relative else np.ones(4)
        self._images.append(image.number)
        for box, category, area, crowd in zip(
            (image.boxes * unit).tolist(),
            image.categories.tolist(),
            (image.areas * unit[0] * unit[1]).tolist(),
            image.crowds.tolist(),
            strict=True,
        ):
            row = {"image_id": image.number, "category_id": category, "bbox": box, "area": area, "iscrowd": int(crowd)}
            self._truth.append({"id": len(self._truth) + 1, **row})
        for (x1, y1, x2, y2), score, index in detections:
            category = self._categories[index] if index < len(self._categories) else None
            if category is not None:
                box = [x1, y1, x2 - x1, y2 - y1]
                row = {"image_id": image.number, "category_id": category, "bbox": box, "score": score}
                self._found.append({"id": len(self._found) + 1, "area": box[2] * box[3], "iscrowd": 0, **row})

    def evaluate(self) -> CocoEvaluation:
        """Measure what was added.

        Raises:
            ArgumentError: there are no true boxes in the images that were added.
        """
        if not self._truth:
            raise ArgumentError(f"the images of {self._data.path} have no boxes: there is nothing to measure against")
        coco, cocoeval = check_pycocotools()
        numbers = sorted(
            {row["category_id"] for row in [*self._truth, *self._found]} | set(self._data.categories or ())
        )

        def collection(rows: list[dict[str, Any]]) -> Any:
            made = coco.COCO()
            made.dataset = {
                "images": [{"id": number} for number in self._images],
                "categories": [{"id": number} for number in numbers],
                "annotations": rows,
            }
            made.createIndex()
            return made

        with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
            evaluation = cocoeval.COCOeval(collection(self._truth), collection(self._found), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        precision = evaluation.eval["precision"][:, :, :, 0, -1]  # by threshold, recall and category; -1 is no truth
        measured = [i for i in range(len(numbers)) if (precision[:, :, i] > -1).any()]
        counts = dict.fromkeys(numbers, 0)
        for row in self._truth:
            counts[row["category_id"]] += not row["iscrowd"]
        return CocoEvaluation(
            {name: _share(value) for name, value in zip(_STATISTICS, evaluation.stats, strict=True)},
            {numbers[i]: float(precision[0, :, i].mean()) for i in measured},
            {numbers[i]: float(precision[:, :, i].mean()) for i in measured},
            {numbers[i]: counts[numbers[i]] for i in measured},
        )


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
            raise ArgumentError(
                f"the data set has {len(categories)} categories, the detector {classes} classes, without names",
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
