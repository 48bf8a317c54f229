"""Boxes as arrays: rows of x1, y1, x2, y2 in pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from trtnn.errors import ShapeError


def check_boxes(boxes: npt.ArrayLike) -> np.ndarray:
    """Return ``boxes`` as an array (n, 4); an empty list is (0, 4).

    Raises:
        ShapeError: the shape is another one.
    """
    return check_rows(boxes, "boxes", ("x1", "y1", "x2", "y2"))


def check_rows(rows: npt.ArrayLike, what: str, columns: Sequence[str]) -> np.ndarray:
    """Return rows of numbers as an array (n, columns), also where there are none.

    Args:
        rows: each of as many numbers as there are columns.
        what: they are, for the message.
        columns: their names.

    Raises:
        ShapeError: the shape is another one.
    """
    rows, count = np.asarray(rows), len(columns)
    if rows.size == 0:
        return rows.reshape(0, count)
    if rows.ndim != 2 or rows.shape[1] != count:
        summary = f"{what} do not have the shape (n, {count})"
        raise ShapeError(summary, f"received: {rows.shape}", f"a row is {', '.join(columns)}")
    return rows


def box_iou(a: npt.ArrayLike, b: npt.ArrayLike) -> np.ndarray:
    """Intersection over union of every box in ``a`` with every box in ``b``.

        IoU = intersection / (area a + area b - intersection)

    Two boxes without any area have no IoU: it is NaN.

    Args:
        a: (m, 4) xyxy.
        b: (n, 4) xyxy.

    Returns:
        (m, n), computed in the boxes' own floating type; of half precision and integers of up to 16 bits, which do not
        hold the areas, in float32, and of longer integers in float64.

    Raises:
        ShapeError: boxes of another shape.
    """
    a, b = check_boxes(a), check_boxes(b)
    wide = np.result_type(a, b, np.float32)
    a, b = a.astype(wide, copy=False), b.astype(wide, copy=False)
    with np.errstate(all="ignore"):
        width = np.minimum(a[:, None, 2], b[:, 2]) - np.maximum(a[:, None, 0], b[:, 0])
        height = np.minimum(a[:, None, 3], b[:, 3]) - np.maximum(a[:, None, 1], b[:, 1])
        intersection = np.maximum(width, 0) * np.maximum(height, 0)
        area_a = (a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1])
        area_b = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
        return intersection / (area_a[:, None] + area_b - intersection)
