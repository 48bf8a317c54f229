"""Rows of numbers to detections, as YOLO's heads give them: a box, scores, and what a task has beside these.

A row goes the same way whatever the task: it becomes a candidate for each class that it may be of, suppression keeps
some, and what stands behind the scores in their rows becomes masks, key points or angles. A :class:`Layout` says what
that is.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

import numpy as np

from trtnn.errors import ArgumentError
from trtnn.vision.detections import Detections
from trtnn.vision.masks import Masks
from trtnn.vision.placing import Placement
from trtnn.vision.rotated import enclosing
from trtnn.vision.suppression import suppress

Outputs = Mapping[str, np.ndarray]
SCORE_TOLERANCE = 1e-3  # half precision rounds
_WARNED: ContextVar[dict[str, object] | None] = ContextVar("trtnn_warned", default=None)


@dataclass(frozen=True)
class Layout:
    """What the rows of a task hold beside a box and scores.

    Args:
        more: how many numbers that is.
        complete: from detections on the canvas, those numbers of each, (n, more) float32, the other outputs of the
            image by name, and how the image lies on the canvas to detections that have all.
        is_rotated: whether the only number is an angle, which makes a rotated box of the row's.
    """

    more: int
    complete: Callable[[Detections, np.ndarray, Outputs, Placement], Detections]
    is_rotated: bool = False

    def shapes(self, boxes: np.ndarray, more: np.ndarray, are_centred: bool) -> np.ndarray:
        """Return what is suppressed: (n, 4) xyxy, or (n, 5) rotated boxes.

        Args:
            boxes: (n, 4): centre x, centre y, width, height; or, where the boxes are not ``are_centred``, xyxy. Those
                of rotated boxes always have their centres.
            more: (n, more), what stands behind the scores.
        """
        if self.is_rotated:
            return np.concatenate([boxes, more], axis=1)
        if not are_centred:
            return boxes
        centre, half = boxes[:, :2], boxes[:, 2:] / 2
        return np.concatenate([centre - half, centre + half], axis=1)

    def detections(
        self,
        shapes: np.ndarray,
        scores: np.ndarray,
        indices: np.ndarray,
        more: np.ndarray,
        outputs: Outputs,
        placement: Placement,
    ) -> Detections:
        """Return detections on the canvas, of :meth:`shapes` that were picked, and the numbers behind their scores."""
        boxes = enclosing(shapes) if self.is_rotated else shapes
        rotated = shapes if self.is_rotated else None
        return self.complete(Detections(boxes, scores, indices, rotated=rotated), more, outputs, placement)


def _as_they_are(detections: Detections, more: np.ndarray, outputs: Outputs, placement: Placement) -> Detections:
    return detections


def _with_masks(detections: Detections, more: np.ndarray, outputs: Outputs, placement: Placement) -> Detections:
    canvas, pixel = placement.canvas_size, placement.scale
    return replace(detections, masks=Masks.of_prototypes(outputs["prototypes"], more, detections.boxes, canvas, pixel))


#: Boxes alone.
BOXES = Layout(0, _as_they_are)
#: 32 mask coefficients, of the prototypes that are another output.
MASKS = Layout(32, _with_masks)
#: An angle in radians: the box is a rotated one.
ROTATED = Layout(1, _as_they_are, is_rotated=True)


def keypoints(points: int, numbers: int) -> Layout:
    """Return the layout of key points: x and y in px of each, and its visibility where ``numbers`` is 3 and not 2."""

    def complete(detections: Detections, more: np.ndarray, outputs: Outputs, placement: Placement) -> Detections:
        found = more.reshape(-1, points, numbers)
        check_scores(found[..., 2:], "visibilities")
        return replace(detections, keypoints=found)

    return Layout(points * numbers, complete)


def to_image(detections: Detections, placement: Placement) -> Detections:
    """Return detections in px of the image; what has an empty mask there is left out, as Ultralytics leaves it out."""
    found = detections.scaled(placement)
    return found if found.masks is None else found[~found.masks.are_empty()]


def pick(
    rows: np.ndarray,
    layout: Layout,
    outputs: Outputs,
    placement: Placement,
    *,
    confidence: float,
    iou: float,
    max_detections: int,
    classes: Iterable[int] | None,
    agnostic: bool,
    multi_label: bool,
    max_candidates: int,
    objectness: bool,
) -> Detections:
    """Return the best of one image's rows, on the canvas, by non-maximum suppression.

    Args:
        rows: (boxes, 4 or 5 + classes + more): centre x, centre y, width, height in px, objectness where there is
            one, a score for each class, and what the layout says.
        outputs: the other outputs of the image by name.
        placement: how the image lies on the canvas.
        confidence, iou, max_detections, classes, agnostic, multi_label, max_candidates, objectness: as for
            :func:`trtnn.vision.non_max_suppression`.
    """
    last = rows.shape[1] - layout.more
    with np.errstate(over="ignore", invalid="ignore"):
        rows = rows.astype(np.float32, copy=False)
        rows = rows[rows[:, 4] > confidence] if objectness else rows[(rows[:, 4:last] > confidence).any(axis=1)]
        more = rows[:, last:]
        shapes = layout.shapes(rows[:, :4], more, are_centred=True)
        scores = rows[:, 5:last] * rows[:, 4:5] if objectness else rows[:, 4:last]
    finite = np.isfinite(shapes).all(axis=1) & np.isfinite(scores).all(axis=1) & np.isfinite(more).all(axis=1)
    shapes, scores, more = shapes[finite], scores[finite], more[finite]
    if multi_label:
        index, indices = np.nonzero(scores > confidence)
    else:
        indices = scores.argmax(axis=1)
        index = np.flatnonzero(scores[np.arange(len(scores)), indices] > confidence)
        indices = indices[index]
    best = scores[index, indices]
    kept = suppress(shapes[index], best, indices, iou, max_detections, classes, agnostic, max_candidates)
    index = index[kept]
    return layout.detections(shapes[index], best[kept], indices[kept], more[index], outputs, placement)


@contextmanager
def warning_once(warned: dict[str, object]) -> Iterator[None]:
    """Let :func:`check_scores` warn within the block of what it has not warned of yet.

    Args:
        warned: of what it has; one for all blocks, in any threads, that are to warn once together.
    """
    token = _WARNED.set(warned)
    try:
        yield
    finally:
        _WARNED.reset(token)


def _is_first(what: str) -> bool:
    warned, mine = _WARNED.get(), object()
    return warned is None or warned.setdefault(what, mine) is mine


def check_scores(scores: np.ndarray, what: str = "scores") -> None:
    """Check that what is read as scores is in 0..1, and warn of what is not finite, which is left out later.

    Shapes do not tell scores from key points, angles and logits, but their numbers do. A Detector warns once, of the
    first image that it meets, see :func:`warning_once`.

    Raises:
        ArgumentError: one is not.
    """
    if not scores.size:
        return
    low, high = scores.min(), scores.max()
    if not np.isfinite([low, high]).all():
        finite = scores[np.isfinite(scores)]
        if _is_first(what):
            warnings.warn(
                f"{scores.size - finite.size} of {scores.size} {what} are nan or inf, and nothing is detected there: "
                "weights may hold such numbers (trtnn inspect tells), or fp16 ends below what a layer gives "
                "(trtnn fp16)",
                stacklevel=2,
            )
        low, high = finite.min(initial=0), finite.max(initial=0)
    if low < -SCORE_TOLERANCE or high > 1 + SCORE_TOLERANCE:
        raise something_else(f"what would be {what} is {low:.4g} to {high:.4g}, and {what} are in 0..1")


def something_else(summary: str) -> ArgumentError:
    """Return the error of outputs whose numbers cannot be what they are read as."""
    return ArgumentError(
        summary,
        "the outputs are something else, such as key points, angles, mask coefficients, or logits",
        "Detector(source, pipeline=...) or trtnn detect --pipeline says how to read them",
    )
