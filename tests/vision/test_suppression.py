"""Suppression of many candidates, beside a plain loop over the kept ones."""

import tracemalloc

import numpy as np
import pytest

from trtnn.vision.suppression import BLOCK, FIRST, suppress


def candidates(count: int, classes: int, kind: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes, scores with many ties, and classes: spread over an image, or in heaps."""
    rng = np.random.default_rng((seed, count, classes))
    if kind == "spread":
        centres, sizes = rng.uniform(0, 640, (count, 2)), rng.uniform(4, 200, (count, 2))
    else:
        heap = rng.integers(0, 20, count)
        centres = rng.uniform(50, 590, (20, 2))[heap] + rng.normal(0, 6, (count, 2))
        sizes = rng.uniform(20, 150, (20, 2))[heap] * rng.uniform(0.8, 1.2, (count, 2))
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1).astype(np.float32)
    boxes[:: count // 7 + 1, 2:] = boxes[:: count // 7 + 1, :2]  # some without area
    boxes[1 :: count // 5 + 1] = boxes[:1]  # and some twice
    return boxes, np.round(rng.uniform(0, 1, count), 2).astype(np.float32), rng.integers(0, classes, count)


def plainly(boxes, scores, indices, iou, limit, agnostic=False):
    """The indices kept: every box in the order of scores takes those behind it with it."""
    order = np.argsort(-scores, kind="stable")
    free, kept = np.ones(len(boxes), bool), []
    for place, best in enumerate(order):
        if not free[best]:
            continue
        kept.append(best)
        rest = order[place + 1 :]
        low, high = np.maximum(boxes[best, :2], boxes[rest, :2]), np.minimum(boxes[best, 2:], boxes[rest, 2:])
        width, height = np.maximum(0, high - low).T
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        with np.errstate(all="ignore"):
            overlap = width * height / (area[best] + area[rest] - width * height)
        same = np.ones(len(rest), bool) if agnostic else indices[rest] == indices[best]
        free[rest[same & (overlap.astype(np.float64) > iou)]] = False
    return kept[:limit]


@pytest.mark.parametrize("kind", ["spread", "heaps"])
@pytest.mark.parametrize("classes", [1, 3, 60])
@pytest.mark.parametrize("count", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 1500])
def test_the_same_boxes_in_the_same_order(count, classes, kind):
    boxes, scores, indices = candidates(count, classes, kind)
    for iou in (0.1, 0.45, 0.6, 1.0, 0.0):
        for limit in (5, 300, count):
            for agnostic in (False, True):
                found = suppress(boxes, scores, indices, iou, limit, agnostic=agnostic)
                kept = plainly(boxes, scores, indices, iou, limit, agnostic)
                assert found.tolist() == kept


def test_more_are_looked_at_where_the_first_give_too_few():
    """All but the last few are one heap, so that what is to be kept lies behind what is looked at first."""
    count, limit = 20 * BLOCK * FIRST, 3
    boxes = np.tile(np.float32([[0, 0, 10, 10]]), (count, 1))
    boxes[-4:] += 20 * np.float32([[1], [2], [3], [4]])
    scores = np.linspace(1, 0.5, count, dtype=np.float32)
    found = suppress(boxes, scores, np.zeros(count, np.int64), 0.5, limit)
    assert boxes[found, 0].tolist() == [0, 20, 40]


def test_thirty_thousand_candidates_take_no_matrix_of_all_pairs():
    boxes, scores, indices = candidates(30_000, 2, "spread")
    tracemalloc.start()
    found = suppress(boxes, scores, indices, 0.5, 2000)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 2000
    assert peak_bytes < 8e6  # the matrix would take 900


@pytest.mark.parametrize("iou", [0.6, 0.1, 0.3, 1 / 3, 0.45, 0.7])
def test_a_threshold_counts_in_double_precision(iou):
    """An IoU that is the next float32 to the threshold, above or below, is on the side where it is."""
    for ratio in (
        np.float32(iou),
        np.nextafter(np.float32(iou), np.float32(2)),
        np.nextafter(np.float32(iou), np.float32(0)),
    ):
        boxes = np.array([[0, 0, 1, 1], [0, 0, ratio, 1]], np.float32)
        found = suppress(boxes, np.float32([0.9, 0.8]), np.zeros(2, np.int64), iou, 5)
        overlap = ratio / (np.float32(1) + ratio - ratio)  # as it comes in float32
        assert (len(found) == 1) == (float(overlap) > iou)
