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
