"""Boxes as arrays: rows of x1, y1, x2, y2 in pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trtnn.errors import ShapeError


def check_boxes(boxes: npt.ArrayLike) -> np.ndarray:
    """Return ``boxes`` as an array (n, 4); an empty list is (0, 4).

    Raises:
        ShapeError: the shape is another one.
    """
    boxes = np.asarray(boxes)
    if boxes.size == 0:
        return boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ShapeError("boxes do not have the shape (n, 4)", f"received: {boxes.shape}", "a row is x1, y1, x2, y2")
    return boxes


def box_iou(a: npt.ArrayLike, b: npt.ArrayLike) -> np.ndarray:
    """Intersection over union of every box in ``a`` with every box in ``b``.

        IoU = intersection / (area a + area b - intersection)

    Two boxes without any area have no IoU: it is NaN.

    Args:
        a: (m, 4) xyxy.
        b: (n, 4) xyxy.

    Returns:
        (m, n), computed in the boxes' own floating type.

    Raises:
        ShapeError: boxes of another shape.
    """
    a, b = check_boxes(a), check_boxes(b)
    with np.errstate(all="ignore"):
        width = np.minimum(a[:, None, 2], b[:, 2]) - np.maximum(a[:, None, 0], b[:, 0])
        height = np.minimum(a[:, None, 3], b[:, 3]) - np.maximum(a[:, None, 1], b[:, 1])
        intersection = np.maximum(width, 0) * np.maximum(height, 0)
        area_a = (a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1])
        area_b = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
        return intersection / (area_a[:, None] + area_b - intersection)
