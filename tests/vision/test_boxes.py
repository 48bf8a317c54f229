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
