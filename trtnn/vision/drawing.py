"""Detections drawn into their image."""

from __future__ import annotations

import colorsys
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from trtnn.errors import ArgumentError, ShapeError, named
from trtnn.vision.detections import SEEN, Detections, label_of
from trtnn.vision.images import check_image
from trtnn.vision.labels import COCO_KEYPOINTS, COCO_LIMBS
from trtnn.vision.opencv import opencv, shown_text

GOLDEN_RATIO = (math.sqrt(5) - 1) / 2
TINT = 0.45  # the share of a class's colour in a mask's pixels
_FAR = 1 << 15  # px, beyond which OpenCV's lines may overflow


def draw(image: npt.ArrayLike, detections: Detections, labels: Sequence[str] | None = None) -> np.ndarray:
    """Draw labelled boxes into a copy of an image, in one fixed colour per class.

    Masks are tinted in it. Rotated boxes are drawn as they lie, and key points as dots where their visibility is 0.5 or
    more; where there are 17, as COCO's of a person, lines join them.

    Lines and letters grow with the image. A label is the class and the score with two decimals; it stands above its
    box or, where there is no room, inside or below it, is moved and at need made smaller to lie within the image,
    and keeps clear of other labels where it can. Higher scores are drawn over lower ones.

    Args:
        image: uint8 (height, width, 3) RGB.
        detections: boxes in px of this image.
        labels: the classes' names; without them labels show the classes' indices.

    Returns:
        A new image, uint8 (height, width, 3) RGB.

    Raises:
        ArgumentError: a class has no name in ``labels``, ``detections`` are none, or a box is nan.
        ShapeError, DTypeError: ``image`` is not an image, or masks are of one of another size.
    """
    drawn, cv2 = np.array(check_image(image), order="C"), opencv()
    if not isinstance(detections, Detections):
        several = ["of those of several pictures: detector(images)[0]"] if isinstance(detections, list) else []
        raise ArgumentError(f"what is drawn are the Detections of a picture, not {named(detections)}", *several)
    height, width = drawn.shape[:2]
    if detections.masks is not None and tuple(detections.masks.size) != (height, width):
        of, to = (f"{size[0]:,}×{size[1]:,}" for size in (detections.masks.size, (height, width)))
        raise ShapeError(f"what is drawn was detected in a picture of {of} pixels, and this one has {to}")
    if (lost := np.isnan(detections.boxes).any(axis=1)).any():
        raise ArgumentError(
            f"box {lost.argmax()} of those to draw is nan", "without such: found[~numpy.isnan(found.boxes).any(axis=1)]"
        )
    line_px = max(1, round(math.sqrt(height * width) / 350))
    order = np.argsort(-detections.scores, kind="stable").tolist()
    best_first = [detections[index] for index in order]
    plates: list[_Plate] = []
    for detection in best_first:
        box = np.clip(np.round(detection.box), 0, (width - 1, height - 1) * 2).astype(int).tolist()
        text = shown_text(f"{label_of(detection.class_index, labels)} {detection.score:.2f}")
        plates.append(_place(text, box, (height, width), line_px, plates))
    worst_first = [(index, _color(detections.classes[index].item())) for index in reversed(order)]
    if detections.masks is not None:
        for index, color in worst_first:
            _tint(drawn, *detections.masks.part(index), color)
    for (index, color), plate in zip(worst_first, reversed(plates), strict=True):
        if detections.corners is not None:
            _outline(drawn, detections.corners[index], color, line_px)
        else:
            left, top, right, bottom = plate.box
            cv2.rectangle(drawn, (left, top), (right, bottom), color, line_px)
    if detections.keypoints is not None:
        for index, color in worst_first:
            _join(drawn, detections.keypoints[index], color, line_px)
    for detection, plate in reversed(list(zip(best_first, plates, strict=True))):
        _write(drawn, plate, _color(detection.class_index))
    return drawn


def _tint(drawn: np.ndarray, top: int, left: int, part: np.ndarray, color: tuple[int, int, int]) -> None:
    """Mix a colour into the pixels of a mask, in place."""
    if not part.size:
        return
    cv2, under = opencv(), drawn[top : top + part.shape[0], left : left + part.shape[1]]
    table = np.arange(256, dtype=np.float32)[:, None] * (1 - TINT) + np.array(color, np.float32) * TINT
    tinted = cv2.LUT(under, np.rint(table).astype(np.uint8)[None])
    under[:] = cv2.copyTo(tinted, part.view(np.uint8), under.copy())


def _outline(drawn: np.ndarray, corners: np.ndarray, color: tuple[int, int, int], line_px: int) -> None:
    """Draw a polygon, in place."""
    points = np.clip(corners, -_FAR, _FAR).round().astype(np.int32)
    opencv().polylines(drawn, [points.reshape(-1, 1, 2)], True, color, line_px, opencv().LINE_AA)


def _join(drawn: np.ndarray, points: np.ndarray, color: tuple[int, int, int], line_px: int) -> None:
    """Draw key points, and the lines between COCO's, in place."""
    cv2 = opencv()
    there = np.asarray(np.isfinite(points).all(axis=1))
    inside = np.clip(points[:, :2], 0, (drawn.shape[1] - 1, drawn.shape[0] - 1)).round()
    places = np.where(there[:, None], inside, 0).astype(int).tolist()
    seen = (there if points.shape[1] == 2 else there & (points[:, 2] >= SEEN)).tolist()
    for start, end in COCO_LIMBS if len(points) == len(COCO_KEYPOINTS) else ():
        if seen[start] and seen[end]:
            cv2.line(drawn, places[start], places[end], color, line_px, cv2.LINE_AA)
    for place in itertools.compress(places, seen):
        cv2.circle(drawn, place, 2 * line_px, color, cv2.FILLED, cv2.LINE_AA)


class _Plate(NamedTuple):
    """A label's place: a ground of width x height px at (left, top), and the text with its size; ``box`` is its box."""

    box: list[int]
    text: str
    scale: float
    left: int
    top: int
    width: int
    height: int
    margin: int

    def overlaps(self, other: _Plate) -> bool:
        return (
            abs(2 * (self.left - other.left) + self.width - other.width) < self.width + other.width
            and abs(2 * (self.top - other.top) + self.height - other.height) < self.height + other.height
        )


def _place(text: str, box: list[int], size: tuple[int, int], line_px: int, others: list[_Plate]) -> _Plate:
    """Find a box's label a place within the image, if possible clear of the ``others``."""
    cv2, (height, width) = opencv(), size
    scale = max(0.35, math.sqrt(height * width) / 1300)
    while scale > 0.2 and _text_width(text, scale) + 4 * line_px > width:
        scale *= 0.9
    (_, text_height), descent = cv2.getTextSize(
        "Ag|", cv2.FONT_HERSHEY_SIMPLEX, scale, _stroke(scale)
    )  # one height for all labels
    margin = max(1, round(text_height * 0.25))
    plate_width, plate_height = _text_width(text, scale) + 2 * margin, text_height + descent + margin
    x1, y1, x2, y2 = box
    half = line_px // 2
    lefts = [max(0, min(left, width - plate_width)) for left in (x1 - half, x2 + half + 1 - plate_width)]
    above, inside, below = y1 + half - plate_height + 1, y1 - half, y2 - half
    plates = [
        _Plate(box, text, scale, left, max(0, top), plate_width, plate_height, margin)
        for left in lefts
        for top in (above, inside, below)
        if top >= -half and top + plate_height <= height
    ]
    if not plates:  # the image is hardly higher than the label
        plates = [_Plate(box, text, scale, lefts[0], 0, plate_width, plate_height, margin)]
    return next((plate for plate in plates if not any(plate.overlaps(other) for other in others)), plates[0])


def _write(drawn: np.ndarray, plate: _Plate, color: tuple[int, int, int]) -> None:
    """Draw a label into ``image``, in place."""
    cv2 = opencv()
    last = (plate.left + plate.width - 1, plate.top + plate.height - 1)
    cv2.rectangle(drawn, (plate.left, plate.top), last, color, cv2.FILLED)
    _, descent = cv2.getTextSize("Ag|", cv2.FONT_HERSHEY_SIMPLEX, plate.scale, _stroke(plate.scale))
    baseline = (plate.left + plate.margin, last[1] - descent)
    luminance = np.dot(color, (0.299, 0.587, 0.114))
    ink = (0, 0, 0) if luminance > 130 else (255, 255, 255)
    cv2.putText(
        drawn, plate.text, baseline, cv2.FONT_HERSHEY_SIMPLEX, plate.scale, ink, _stroke(plate.scale), cv2.LINE_AA
    )


def _stroke(scale: float) -> int:
    """Return the width in px of a letter's lines."""
    return max(1, round(scale * 1.6))


def _text_width(text: str, scale: float) -> int:
    cv2 = opencv()
    return cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, _stroke(scale))[0][0]


def _color(class_index: int) -> tuple[int, int, int]:
    """Return a class's RGB: hues a golden section apart, so that near indices differ most, on three levels of light."""
    hue = (class_index * GOLDEN_RATIO + 0.02) % 1
    lightness = (0.5, 0.62, 0.4)[class_index % 3]
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.9)
    return round(red * 255), round(green * 255), round(blue * 255)
