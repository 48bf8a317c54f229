"""What a detector found in one image."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from trtnn.errors import ArgumentError, BackendError, ShapeError
from trtnn.vision.boxes import check_boxes
from trtnn.vision.placing import Placement


class Detection(NamedTuple):
    """One thing that was found, in plain Python numbers.

    Attributes:
        box: x1, y1, x2, y2 in px.
        score: the confidence in 0..1.
        class_index: the class's index.
    """

    box: tuple[float, float, float, float]
    score: float
    class_index: int


@dataclass(frozen=True, eq=False)
class Detections:
    """All that was found in one image; iteration yields a :class:`Detection` each.

    Attributes:
        boxes: (n, 4) float32 xyxy in px.
        scores: (n,) float32 in 0..1, from the highest downwards where NMS made them.
        classes: (n,) int64 indices of classes.

    Raises:
        ShapeError: the three arrays do not fit together.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "boxes", np.asarray(check_boxes(self.boxes), np.float32))
        object.__setattr__(self, "scores", np.asarray(self.scores, np.float32))
        object.__setattr__(self, "classes", np.asarray(self.classes, np.int64))
        if not self.scores.shape == self.classes.shape == (len(self.boxes),):
            raise ShapeError(
                "detections need one score and one class for every box",
                f"expected: scores and classes of shape ({len(self.boxes)},) for {len(self.boxes)} boxes",
                f"received: scores {self.scores.shape}, classes {self.classes.shape}",
            )

    def __len__(self) -> int:
        return len(self.boxes)

    def __iter__(self) -> Iterator[Detection]:
        for box, score, index in zip(self.boxes.tolist(), self.scores.tolist(), self.classes.tolist(), strict=True):
            yield Detection(tuple(box), score, index)

    def scaled(self, placement: Placement) -> Detections:
        """Return the same detections with boxes mapped from the canvas to px of the image, clipped to it."""
        return Detections(placement.to_source(self.boxes), self.scores, self.classes)

    def to_dict(self, labels: Sequence[str] | None = None) -> dict[str, list[dict[str, object]]]:
        """Return them for JSON: ``{"detections": [{"box": [x1, y1, x2, y2], "score": ..., "class": ...}, ...]}``.

        Args:
            labels: the classes' names; with them every detection also has a ``"label"``.

        Raises:
            ArgumentError: a class has no name in ``labels``.
        """
        rows = []
        for box, score, index in self:
            row: dict[str, object] = {"box": list(box), "score": score, "class": index}
            if labels is not None:
                row["label"] = label_of(index, labels)
            rows.append(row)
        return {"detections": rows}

    def to_supervision(self, labels: Sequence[str] | None = None) -> Any:
        """Return them as ``supervision.Detections``, Roboflow's, which draws, tracks, counts and saves them.

        Args:
            labels: the classes' names; with them ``data["class_name"]`` has the name of each.

        Raises:
            BackendError: supervision is not installed.
            ArgumentError: a class has no name in ``labels``.
        """
        try:
            theirs = importlib.import_module("supervision").Detections
        except ImportError as error:
            raise BackendError(f"supervision cannot be imported: {error}", "pip install supervision") from error
        data = {}
        if labels is not None:
            data = {"class_name": np.array([label_of(index, labels) for index in self.classes.tolist()], str)}
        return theirs(xyxy=self.boxes, confidence=self.scores, class_id=self.classes, data=data)


def label_of(class_index: int, labels: Sequence[str] | None) -> str:
    """Return the class's name, or its index as text where there are no ``labels``.

    Raises:
        ArgumentError: ``labels`` has no such index.
    """
    if labels is None:
        return str(class_index)
    if not 0 <= class_index < len(labels):
        raise ArgumentError(
            f"class {class_index} has no name: there are {len(labels)} labels",
            "give the labels that the network was trained with, or none",
        )
    return labels[class_index]
