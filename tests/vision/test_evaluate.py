import contextlib
import io

import numpy as np
import pytest

from trtnn.errors import ArgumentError, DTypeError, ShapeError
from trtnn.vision import Detections, mean_average_precision

SQUARE = [0, 0, 10, 10]


def found(*rows) -> Detections:
    """Detections from rows of (box, score, class)."""
    boxes, scores, classes = zip(*rows, strict=True) if rows else ([], [], [])
    return Detections(np.array(boxes, np.float32), scores, classes)


def test_all_right_is_one():
    result = mean_average_precision([found((SQUARE, 0.9, 3))], [([SQUARE], [3])])
    assert (result.map50, result.map50_95) == (1, 1)
    assert (result.classes.tolist(), result.ap50.tolist(), result.truths.tolist()) == ([3], [1], [1])


def test_numbers_by_hand():
    # Two truths; in the order of scores: a hit, a miss, a hit whose IoU is 0.72.
    detections = found((SQUARE, 0.9, 0), ([50, 50, 60, 60], 0.8, 0), ([20, 0, 30, 7.2], 0.7, 0))
    result = mean_average_precision([detections], [([SQUARE, [20, 0, 30, 10]], [0, 0])])
    # Precision 1 at the 51 recalls 0..0.5, then 2 / 3 at the other 50; from IoU 0.75 on the third misses too.
    loose, tight = (51 + 50 * 2 / 3) / 101, 51 / 101
    assert result.map50 == pytest.approx(loose, abs=1e-12)
    assert result.map50_95 == pytest.approx((5 * loose + 5 * tight) / 10, abs=1e-12)


def test_a_truth_is_found_once():
    result = mean_average_precision([found((SQUARE, 0.9, 0), (SQUARE, 0.8, 0))], [([SQUARE, [50, 0, 60, 10]], [0, 0])])
    assert result.map50 == pytest.approx(51 / 101)


def test_classes_are_averaged_and_those_without_truth_left_out():
    detections = [found((SQUARE, 0.9, 0), (SQUARE, 0.9, 7)), found()]
    truth = [([SQUARE], [0]), ([[0, 0, 5, 5], [6, 6, 9, 9]], [2, 2])]
    result = mean_average_precision(detections, truth)
    assert result.classes.tolist() == [0, 2]
    assert result.truths.tolist() == [1, 2]
    assert result.ap50.tolist() == result.ap50_95.tolist() == [1, 0]
    assert result.map50 == 0.5


def test_nothing_found_is_zero():
    result = mean_average_precision([found()], [([SQUARE], [0])])
    assert (result.map50, result.map50_95) == (0, 0)


def coco_tool(detections, truth, classes):
    """COCO's own tool on the same boxes: precision (thresholds, recalls, classes), every detection counted."""
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")

    def entries(boxes, indices, image):
        for (x1, y1, x2, y2), index in zip(np.asarray(boxes, np.float64), indices, strict=True):
            width, height = x2 - x1, y2 - y1
            yield {"image_id": image, "category_id": int(index) + 1, "bbox": [x1, y1, width, height],
                   "area": width * height, "iscrowd": 0}  # fmt: skip

    annotations, results = [], []
    for image, (mine, (boxes, indices)) in enumerate(zip(detections, truth, strict=True)):
        annotations += entries(boxes, indices, image)
        for entry, score in zip(entries(mine.boxes, mine.classes, image), mine.scores, strict=True):
            results.append(entry | {"score": float(score)})
    annotations = [entry | {"id": number + 1} for number, entry in enumerate(annotations)]
    with contextlib.redirect_stdout(io.StringIO()):
        ground = coco.COCO()
        ground.dataset = {
            "info": {},
            "images": [{"id": image} for image in range(len(truth))],
            "categories": [{"id": index + 1} for index in range(classes)],
            "annotations": annotations,
        }
        ground.createIndex()
        evaluation = cocoeval.COCOeval(ground, ground.loadRes(results), "bbox")
        evaluation.params.maxDets = [10000]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][:, :, :, 0, 0]


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_cocos_own_tool(seed):
    rng = np.random.default_rng(seed)
    classes = 6
    detections, truth = [], []
    for _ in range(30):
        count = int(rng.integers(0, 9))
        corner, size = rng.uniform(0, 400, (count, 2)), rng.uniform(20, 120, (count, 2))
        boxes = np.concatenate([corner, corner + size], axis=1)
        indices = rng.integers(0, classes - 1, count)  # the last class is found but never true
        near = np.repeat(boxes, 4, axis=0) + rng.uniform(-9, 9, (count * 4, 4))
        far = rng.uniform(0, 200, (10, 2))
        mine = np.concatenate([near, np.concatenate([far, far + 40], axis=1)])
        named = np.concatenate([np.repeat(indices, 4), rng.integers(0, classes, 10)])
        scores = np.round(rng.uniform(0, 1, len(mine)), 2 if seed % 2 else 6)  # with two decimals: many equal scores
        detections.append(Detections(mine, scores, named))
        truth.append((boxes, indices))
    precision = coco_tool(detections, truth, classes)
    result = mean_average_precision(detections, truth)
    assert result.classes.tolist() == list(range(classes - 1))
    assert (precision[:, :, -1] == -1).all()
    average = precision[:, :, :-1].mean(axis=1)
    assert 0.1 < average.mean() < 0.9
    np.testing.assert_allclose(result.ap50, average[0], atol=1e-9)
    np.testing.assert_allclose(result.ap50_95, average.mean(axis=0), atol=1e-9)
    assert result.map50 == pytest.approx(average[0].mean(), abs=1e-9)
    assert result.map50_95 == pytest.approx(average.mean(), abs=1e-9)


def test_ties_are_resolved_as_cocos_own_tool_does():
    # The first detection overlaps both truths by 2 / 3; which one it takes decides whether the second finds another.
    detections = [found(([0, 0, 10, 10], 0.9, 0), ([0, 0, 8, 10], 0.8, 0))]
    truth = [([[0, 0, 8, 10], [2, 0, 10, 10]], [0, 0])]
    for boxes in (truth[0][0], truth[0][0][::-1]):
        swapped = [(boxes, [0, 0])]
        expected = coco_tool(detections, swapped, 1).mean(axis=1)[:, 0]
        result = mean_average_precision(detections, swapped)
        assert result.map50 == pytest.approx(expected[0], abs=1e-9)
        assert result.map50_95 == pytest.approx(expected.mean(), abs=1e-9)


def test_what_does_not_fit_is_named():
    with pytest.raises(ShapeError, match="received: 1 pictures with detections, 2 with ground truth"):
        mean_average_precision([found()], [([], []), ([], [])])
    with pytest.raises(
        ShapeError, match=r"picture 1 needs one class for every box\n.*1 boxes, classes of shape \(2,\)"
    ):
        mean_average_precision([found()] * 2, [([], []), ([SQUARE], [0, 1])])
    with pytest.raises(ArgumentError, match="the ground truth has no boxes"):
        mean_average_precision([found((SQUARE, 0.9, 0))], [([], [])])


def test_detections_may_be_the_truth():
    truth = found((SQUARE, 0.1, 0), ([20, 0, 30, 10], 0.2, 1))
    detections = found((SQUARE, 0.9, 0), ([20, 0, 30, 7.2], 0.7, 1))
    expected = mean_average_precision([detections], [(truth.boxes, truth.classes)])
    received = mean_average_precision([detections], [truth])
    assert (received.map50, received.map50_95) == (expected.map50, expected.map50_95)
    assert received.map50 == 1
    for one in ((detections, [truth]), ([detections], truth)):
        with pytest.raises(ArgumentError, match=r"are lists, of every picture\n  received: one; \[it\] is a list"):
            mean_average_precision(*one)
    with pytest.raises(DTypeError, match=r"classes are whole numbers.*\n  received: 0\.5"):
        mean_average_precision([detections], [([SQUARE], [0.5])])
