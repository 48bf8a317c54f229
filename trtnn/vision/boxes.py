"""Boxes as arrays: rows of x1, y1, x2, y2 in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trtnn.arrays import array_of_torch, is_torch
from trtnn.errors import DTypeError, ShapeError


def floats(name: str, values: Any) -> np.ndarray:
    """Return numbers as float32: an array, a torch tensor or lists of them, and those in float32 as they are.

    Raises:
        ShapeError: lists are of other lengths than those beside them.
        DTypeError: they are no real numbers.
    """
    array = _array(name, values)
    if array.dtype.kind not in "biuf" and array.size:
        raise DTypeError(f"{name} are numbers", f"received: {array.dtype}")
    return np.asarray(array, np.float32)


def _array(name: str, values: Any) -> np.ndarray:
    try:
        return array_of_torch(values.detach()) if is_torch(values) else np.asarray(values)
    except ValueError as error:
        raise ShapeError(f"{name} are an array of numbers", str(error)) from None


def class_indices(classes: Any) -> np.ndarray:
    """Return the indices of classes, (n,) int64; other types hold whole numbers too, as a row of an output does.

    Raises:
        ShapeError: lists are of other lengths than those beside them.
        DTypeError: one is no whole number.
    """
    array = _array("classes", classes)
    if array.dtype == np.int64:
        return array
    with np.errstate(invalid="ignore"):  # of NaN
        whole = np.asarray(array, np.int64) if array.dtype.kind in "biuf" or not array.size else None
    if whole is None or not (whole == array).all():
        received = array.dtype if whole is None else array[whole != array].flat[0]
        raise DTypeError("classes are whole numbers, the indices of classes", f"received: {received}")
    return whole


def places_of(index: Any, count: int) -> np.ndarray:
    """Return which of so many an index picks as an array's first axis does: a number, or (k,).

    A torch tensor of one bool is a mask, too: NumPy takes it for the number 0 or 1.

    Raises:
        ShapeError: it has several dimensions.
        IndexError: as NumPy's.
    """
    picked = np.arange(count)[array_of_torch(index) if is_torch(index) else index]
    if picked.ndim > 1:
        raise ShapeError("an index picks along one dimension", f"received: {index!r:.100}")
    return picked


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
