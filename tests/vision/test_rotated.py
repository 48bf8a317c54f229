"""Rotated boxes: their corners beside OpenCV's, ProbIoU beside plain matrices, and suppression beside a plain loop."""

import tracemalloc

import cv2
import numpy as np
import pytest

from trtnn.errors import ShapeError
from trtnn.vision import corners_of, prob_iou
from trtnn.vision.placing import Placement
from trtnn.vision.rotated import enclosing
from trtnn.vision.suppression import BLOCK, WIDTH, suppress


def rotated(count: int, seed: int = 0, span: float = 300) -> np.ndarray:
    rng = np.random.default_rng((seed, count))
    parts = [rng.uniform(0, span, (count, 2)), rng.uniform(4, 60, (count, 2)), rng.uniform(-4, 4, (count, 1))]
    return np.concatenate(parts, 1).astype(np.float32)


def test_corners_are_opencv_s():
    for row, corners in zip(rotated(40), corners_of(rotated(40)), strict=True):
        x, y, width, height, angle = row.tolist()
        theirs = cv2.boxPoints(((x, y), (width, height), np.degrees(angle)))
        order = [np.abs(corners - point).sum(1).argmin() for point in theirs]
        assert sorted(order) == [0, 1, 2, 3]
        np.testing.assert_allclose(corners[order], theirs, atol=1e-3)


def test_corners_begin_at_the_top_left_and_go_clockwise():
    np.testing.assert_allclose(corners_of([[10, 20, 6, 4, 0]])[0], [[7, 18], [13, 18], [13, 22], [7, 22]])
    turned = corners_of([[10, 20, 6, 4, np.pi / 2]])[0]  # clockwise: what was the top is the right
    np.testing.assert_allclose(turned, [[12, 17], [12, 23], [8, 23], [8, 17]])
    np.testing.assert_allclose(enclosing([[10, 20, 6, 4, np.pi / 2]]), [[8, 17, 12, 23]])
    assert enclosing([]).shape == (0, 4)


def by_matrices(a, b):
    """1 - Hellinger's distance of two normal distributions, from their covariances by NumPy's linear algebra."""

    def covariance(row):
        turn = np.array([[np.cos(row[4]), -np.sin(row[4])], [np.sin(row[4]), np.cos(row[4])]])
        return turn @ np.diag(row[2:4] ** 2 / 12) @ turn.T

    one, other = covariance(a), covariance(b)
    mean, apart = (one + other) / 2, a[:2] - b[:2]
    distance = apart @ np.linalg.inv(mean) @ apart / 8
    distance += np.log(np.linalg.det(mean) / np.sqrt(np.linalg.det(one) * np.linalg.det(other))) / 2
    return 1 - np.sqrt(max(0, 1 - np.exp(-distance)))


def test_prob_iou_is_that_of_normal_distributions():
    a, b = rotated(20, 1, 60).astype(np.float64), rotated(30, 2, 60).astype(np.float64)
    expected = np.array([[by_matrices(one, other) for other in b] for one in a])
    assert (expected > 0.2).sum() > 20
    np.testing.assert_allclose(prob_iou(a, b), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.diag(prob_iou(a, a)), 1, atol=1e-6)


def test_what_overlaps_more_is_more_alike():
    """Beside OpenCV's exact intersection: ProbIoU is another measure, but goes the same way."""
    ranks = []
    for row, other in zip(rotated(60, 3, 40), rotated(60, 4, 40), strict=True):
        (x, y, w, h, a), (x2, y2, w2, h2, a2) = row.tolist(), other.tolist()
        rectangles = ((x, y), (w, h), np.degrees(a)), ((x2, y2), (w2, h2), np.degrees(a2))
        kind, points = cv2.rotatedRectangleIntersection(*rectangles)
        area = 0 if kind == cv2.INTERSECT_NONE else cv2.contourArea(cv2.convexHull(points))
        ranks.append((area / (w * h + w2 * h2 - area), prob_iou(row[None], other[None])[0, 0]))
    exact, ours = np.array(ranks).T
    assert np.corrcoef(exact.argsort().argsort(), ours.argsort().argsort())[0, 1] > 0.9


def test_boxes_without_area_overlap_nothing():
    flat = np.float32([[10, 10, 0, 5, 0], [10, 10, 0, 0, 1]])
    with np.errstate(all="raise"):
        assert not (prob_iou(flat, flat) > 0.1).any()
    assert suppress(flat, np.float32([0.9, 0.8]), np.zeros(2, int), 0.5, 9).tolist() == [0, 1]


def plainly(boxes, scores, classes, iou, limit, agnostic=False):
    """Every candidate that one before it of its class overlaps too much goes, whether that one is kept or not."""
    order = np.argsort(-scores, kind="stable")
    overlaps = prob_iou(boxes, boxes)
    kept = []
    for place, index in enumerate(order):
        before = order[:place]
        same = np.ones(len(before), bool) if agnostic else classes[before] == classes[index]
        if not (overlaps[before, index].astype(np.float64)[same] > iou).any():
            kept.append(int(index))
    return kept[:limit]


@pytest.mark.parametrize("classes", [1, 5])
@pytest.mark.parametrize("count", [1, 2, BLOCK, BLOCK + 1, WIDTH + 70])
def test_the_same_rotated_boxes_are_kept_as_by_a_plain_loop(count, classes):
    boxes = rotated(count, classes)
    rng = np.random.default_rng(count)
    scores = np.round(rng.uniform(0, 1, count), 2).astype(np.float32)
    indices = rng.integers(0, classes, count)
    for iou in (0.0, 0.05, 0.3, 0.7, 1.0):
        for limit in (3, 300):
            for agnostic in (False, True):
                found = suppress(boxes, scores, indices, iou, limit, agnostic=agnostic)
                assert found.tolist() == plainly(boxes, scores, indices, iou, limit, agnostic)
    picked = suppress(boxes, scores, indices, 0.3, 300, classes=[0])
    assert (indices[picked] == 0).all()


def test_many_rotated_candidates_take_no_matrix_of_all_pairs():
    boxes, rng = rotated(20_000, 7, 2000), np.random.default_rng(0)
    tracemalloc.start()
    found = suppress(boxes, rng.uniform(0, 1, 20_000).astype(np.float32), np.zeros(20_000, int), 0.3, 300)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 300
    assert peak_bytes < 30e6


def test_the_way_back_to_the_image():
    boxes = rotated(30)
    placement = Placement((400, 500), (640, 640), (1.28, 1.28), (0.0, 64.0))
    mapped = placement.rotated_to_source(boxes)
    np.testing.assert_allclose(mapped[:, 4], boxes[:, 4], atol=1e-6)
    expected = (corners_of(boxes.astype(np.float64)) - (0, 64)) / 1.28
    np.testing.assert_allclose(corners_of(mapped), expected, atol=1e-3)
    stretched = Placement((100, 400), (640, 640), (1.6, 6.4), (0.0, 0.0)).rotated_to_source(
        [[160, 640, 32, 64, 0], [160, 640, 32, 64, np.pi / 2], [0, 0, 10, 20, np.pi / 4]]
    )
    np.testing.assert_allclose(stretched[0], [100, 100, 20, 10, 0], atol=1e-5)
    np.testing.assert_allclose(stretched[1], [100, 100, 5, 40, np.pi / 2], atol=1e-5)
    np.testing.assert_allclose(stretched[2, 4], np.arctan2(1 / 6.4, 1 / 1.6), rtol=1e-6)


def test_rotated_boxes_of_another_shape():
    with pytest.raises(ShapeError, match=r"shape \(n, 5\)\n.*received: \(2, 4\)\n.*centre x, centre y"):
        prob_iou(np.zeros((2, 4)), np.zeros((2, 5)))
