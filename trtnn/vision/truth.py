"""True masks and key points of objects, as COCO's annotations and YOLO's labels have them, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np

from trtnn.strict_json import is_number
from trtnn.vision.masks import read_lengths

#: The polygons of an object, (points, 2) each; or its run lengths, ``{"size": [height, width], "counts": [...]}``.
Outline = list[np.ndarray] | dict[str, Any]

#: The share of a box that an object takes, where labels say nothing of it: that of xtcocoapi
#: (https://github.com/jin-s13/xtcocoapi), which Ultralytics takes too. The similarity of key points needs an area.
POSE_SHARE = 0.53
_SLACK = 1e-3  # boxes of labels are rounded
_NEAR = 0.2  # of half a box: how far from it a key point may lie


def coco_outline(row: Mapping[str, Any]) -> Outline:
    """Return the outline of one of COCO's annotations.

    Raises:
        ValueError: it has none, or something else.
    """
    value = row.get("segmentation")
    if isinstance(value, list) and value and all(map(_is_polygon, value)):
        return [np.array(part, np.float64).reshape(-1, 2) for part in value]
    if isinstance(value, dict):
        size, counts = value.get("size"), value.get("counts")
        counts = read_lengths(counts) if isinstance(counts, str) else counts
        if _are_whole(size, 2) and _are_whole(counts) and sum(counts) == math.prod(size):
            return {"size": size, "counts": counts}
    raise ValueError(f"a segmentation is polygons, or run lengths as long as an image, not {value!r:.80}")


def _is_polygon(value: Any) -> bool:
    return isinstance(value, list) and len(value) >= 6 and len(value) % 2 == 0 and all(map(is_number, value))


def _are_whole(value: Any, length: int | None = None) -> TypeGuard[list[int]]:
    is_list = isinstance(value, list) and length in (None, len(value))
    return is_list and all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 1 << 32 for n in value)


def coco_keypoints(row: Mapping[str, Any], points: int) -> np.ndarray:
    """Return the key points of one of COCO's annotations, (points, 3): x, y, and 0 for those that are not labelled.

    Raises:
        ValueError: it has none, or another number.
    """
    value = row.get("keypoints")
    if not isinstance(value, list) or len(value) != 3 * points or not all(map(is_number, value)):
        raise ValueError(f"keypoints are {points} times x, y and visibility, not {value!r:.80}")
    return np.array(value, np.float64).reshape(points, 3)


def label_outline(numbers: Sequence[float]) -> Outline:
    """Return the outline in a line of YOLO's labels, of the numbers behind the class.

    Raises:
        ValueError: they are no polygon.
    """
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError(f"{len(numbers) + 1} numbers are no class with an outline, of which masks are measured")
    return [np.array(numbers, np.float64).reshape(-1, 2)]


def label_keypoints(numbers: Sequence[float], shape: Sequence[int]) -> np.ndarray:
    """Return the key points in a line of YOLO's labels, of the numbers behind the class: as :func:`coco_keypoints`.

    Args:
        shape: how many points, and how many numbers of each: x and y, and 0 where a third says that it is not labelled.

    Raises:
        ValueError: they are another number.
    """
    points, each = shape
    if len(numbers) != 4 + points * each:
        raise ValueError(f"{len(numbers) + 1} numbers are no class, box and {points} key points of {each} numbers")
    found = np.array(numbers[4:], np.float64).reshape(points, each)
    return found if each == 3 else np.concatenate([found, np.full((points, 1), 2.0)], axis=1)


class Outlines:
    """What a data set's lines of more than a box look like, where nothing says whether they are outlines.

    A line of a class, a box and key points of x and y has an odd count of numbers, as one with an outline has. All
    lines of key points have one count, and their first four numbers are a box in the image with the points in or near
    it. Of outlines the first two points make such a box less often than not: only those that begin in the upper left
    two thirds of the image may.
    """

    def __init__(self) -> None:
        self._counts: set[int] = set()
        self._lines = self._like_keypoints = 0
        self._where = ""

    def add(self, numbers: Sequence[float], where: str) -> None:
        """Take a line: the numbers behind the class, and the line's place in words."""
        if len(numbers) > 4:
            self._counts.add(len(numbers))
            self._lines += 1
            self._like_keypoints += _could_be_keypoints(np.array(numbers, np.float64))
            self._where = self._where or where

    @property
    def unclear(self) -> str:
        """The first line's place and how it can be read, where all lines can be read in both ways; else nothing."""
        if len(self._counts) != 1 or 2 * self._like_keypoints <= self._lines:
            return ""
        (count,) = self._counts
        both = "" if (count - 4) % 3 else f", or {(count - 4) // 3} of x, y and visibility"
        return (
            f"{self._where} has a class and {count} numbers: an outline of {count // 2} points, or a box and "
            f"{(count - 4) // 2} key points of x and y{both}"
        )


def _could_be_keypoints(numbers: np.ndarray) -> bool:
    """Whether numbers are a box in the image, and key points of which each lies in it, near it, or nowhere (0, 0)."""
    centre, size = numbers[:2], numbers[2:4]
    if (size <= 0).any() or (centre - size / 2 < -_SLACK).any() or (centre + size / 2 > 1 + _SLACK).any():
        return False
    shapes = [numbers[4:].reshape(-1, 2)]
    if len(numbers) % 3 == 1 and np.isin(numbers[6::3], (0, 1, 2)).all():
        shapes.append(numbers[4:].reshape(-1, 3)[:, :2])
    near = [(np.abs(points - centre) <= size / 2 * (1 + _NEAR)).all(1) | (points == 0).all(1) for points in shapes]
    return any(bool(one.all()) for one in near)
