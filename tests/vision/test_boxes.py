from fractions import Fraction

import numpy as np
import pytest

from trtnn.errors import ShapeError
from trtnn.vision import box_iou


def test_overlaps_by_hand():
    a = np.array([[0, 0, 4, 4], [0, 0, 1, 1]], np.float32)
    b = np.array([[2, 0, 6, 4], [0, 0, 4, 4], [10, 10, 11, 11]], np.float32)
    np.testing.assert_allclose(box_iou(a, b), [[8 / 24, 1, 0], [0, 1 / 16, 0]], rtol=1e-6)


def test_overlaps_of_less_than_a_pixel():
    near = [[0.5, 0.5, 1.5, 1.5], [0.75, 0, 1.75, 1], [0.5, 1.25, 1.5, 2.25]]
    np.testing.assert_allclose(box_iou([[0, 0, 1, 1]], near), [[0.25 / 1.75, 0.25 / 1.75, 0]], rtol=1e-6)


def test_touching_and_diagonal_boxes_do_not_overlap():
    assert box_iou([[0, 0, 1, 1]], [[1, 0, 2, 1], [5, 5, 6, 6]]).tolist() == [[0, 0]]


def test_two_points_have_no_overlap_to_speak_of():
    assert np.isnan(box_iou([[3.0, 3, 3, 3]], [[3.0, 3, 3, 3]])).all()


def test_no_boxes():
    assert box_iou(np.zeros((0, 4)), np.zeros((3, 4))).shape == (0, 3)
    assert box_iou([[0, 0, 1, 1]], []).shape == (1, 0)


def test_other_shapes_are_refused():
    with pytest.raises(ShapeError, match=r"shape \(n, 4\)\n.*received: \(2, 5\)"):
        box_iou(np.zeros((2, 5)), np.zeros((1, 4)))


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", ">u2", "i4", "i8", "f2", "f4", "f8"])
def test_whole_numbers_and_half_precision_hold_their_areas(dtype):
    """Areas of pictures' boxes are beyond what these types hold: NumPy's wrap around, by fractions they are exact."""
    kind = np.dtype(dtype)
    far = 250 if dtype == "u1" else 2000 if dtype == "f2" else 30000  # whole numbers that the type holds
    boxes = np.random.default_rng(0).integers(0, far, (2, 12, 2, 2))
    a, b = (np.sort(one, axis=1).reshape(-1, 4).astype(kind) for one in boxes)
    wanted = [[_exact(one, other) for other in b.tolist()] for one in a.tolist()]
    assert len(np.unique(wanted)) > 30
    np.testing.assert_allclose(box_iou(a, b), wanted, rtol=2e-6, atol=1e-7)
    assert box_iou(a, b).dtype == (np.float64 if dtype in ("i4", "i8", "f8") else np.float32)


def _exact(a, b):
    x1, y1, x2, y2 = map(int, a)
    u1, v1, u2, v2 = map(int, b)
    common = max(0, min(x2, u2) - max(x1, u1)) * max(0, min(y2, v2) - max(y1, v1))
    return float(Fraction(common, (x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - common))
