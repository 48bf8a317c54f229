"""Rotated boxes as arrays: rows of centre x, centre y, width, height in pixels, and an angle in radians.

The angle turns the width's side from the x axis towards the y axis: clockwise, as y points down.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trtnn.vision.boxes import check_rows


def check_rotated(boxes: npt.ArrayLike) -> np.ndarray:
    """Return ``boxes`` as an array (n, 5); an empty list is (0, 5).

    Raises:
        ShapeError: the shape is another one.
    """
    return check_rows(boxes, "rotated boxes", ("centre x", "centre y", "width", "height", "angle"))


def corners_of(boxes: npt.ArrayLike) -> np.ndarray:
    """Return the corners of rotated boxes, (n, 4, 2) x and y: without an angle top left, then clockwise.

    Raises:
        ShapeError: boxes of another shape.
    """
    boxes = check_rotated(boxes)
    cos, sin = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
    along = boxes[:, 2:3] / 2 * np.stack([cos, sin], axis=1)
    down = boxes[:, 3:4] / 2 * np.stack([-sin, cos], axis=1)
    centre = boxes[:, :2]
    return np.stack([centre - along - down, centre + along - down, centre + along + down, centre - along + down], 1)


def enclosing(boxes: npt.ArrayLike) -> np.ndarray:
    """Return the upright boxes around rotated ones, (n, 4) xyxy.

    Raises:
        ShapeError: boxes of another shape.
    """
    corners = corners_of(boxes)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def prob_iou(a: npt.ArrayLike, b: npt.ArrayLike) -> np.ndarray:
    """Return the probabilistic IoU of every rotated box in ``a`` with every one in ``b``.

    A box stands for the normal distribution with its centre and its covariance: those of the uniform distribution over
    it, which are width²/12 and height²/12 along its sides. With B, the Bhattacharyya distance of two of them,

        ProbIoU = 1 - sqrt(1 - exp(-B))

    (arXiv 2106.06072). Boxes without any area have none: it is 0 or NaN.

    Args:
        a: (m, 5)
        b: (n, 5)

    Returns:
        (m, n) float32.

    Raises:
        ShapeError: boxes of another shape.
    """
    return overlap_of(normal_of(check_rotated(a))[:, :, None], normal_of(check_rotated(b)))


def normal_of(boxes: np.ndarray) -> np.ndarray:
    """Return what :func:`overlap_of` reads of rotated boxes, (6, n) float64.

    That is the centre's x and y, the variances of x and y, their covariance, and the root of the determinant.
    """
    x, y, width, height, angle = boxes.astype(np.float64).T
    with np.errstate(all="ignore"):
        along, across = width**2 / 12, height**2 / 12
        cos, sin = np.cos(angle), np.sin(angle)
        x_variance = along * cos**2 + across * sin**2
        y_variance = along * sin**2 + across * cos**2
        return np.stack([x, y, x_variance, y_variance, (along - across) * cos * sin, np.sqrt(along * across)])


def overlap_of(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the probabilistic IoU, float32, of boxes by :func:`normal_of`, (6, ...) each, broadcast."""
    ax, ay, ax_variance, ay_variance, a_covariance, a_root = a
    bx, by, bx_variance, by_variance, b_covariance, b_root = b
    with np.errstate(all="ignore"):
        x_variance, y_variance = ax_variance + bx_variance, ay_variance + by_variance
        covariance = a_covariance + b_covariance
        determinant = x_variance * y_variance - covariance**2
        x, y = ax - bx, ay - by
        apart = (y_variance * x**2 + x_variance * y**2 - 2 * covariance * x * y) / (4 * determinant)
        distance = apart + np.log(determinant / (4 * a_root * b_root)) / 2
        return (1 - np.sqrt(-np.expm1(-np.maximum(distance, 0)))).astype(np.float32)
