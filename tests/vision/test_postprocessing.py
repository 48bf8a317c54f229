import numpy as np
import pytest
import torch

from tests.helpers import lines_run, message_of
from tests.vision.test_preprocessing import letterboxed
from trtnn.errors import ArgumentError, ShapeError
from trtnn.vision import non_max_suppression, postprocess

# What torchvision 0.29.1 keeps of these boxes, whose scores fall, at each threshold: ops.nms(boxes, scores, threshold)
BOXES = [[0, 0, 5, 1], [0, 0, 3, 1], [0, 0, 2, 1], [9, 9, 9, 9], [9, 9, 9, 9], [1, 0, 5, 1], [20, 0, 24, 4]]
TORCHVISION = {
    0.3: [0, 3, 4, 6],
    0.45: [0, 2, 3, 4, 6],
    0.6: [0, 2, 3, 4, 6],  # box 1 overlaps by 3 / 5, in float32 just above 0.6
    0.61: [0, 1, 3, 4, 6],
    0.8: [0, 1, 2, 3, 4, 6],
    0.81: [0, 1, 2, 3, 4, 5, 6],
}

CASES = [
    {},
    {"confidence": 0.001, "iou": 0.6, "multi_label": True},
    {"confidence": 0.1, "agnostic": True},
    {"confidence": 0.1, "classes": [0, 2]},
    {"confidence": 0.05, "max_detections": 7, "multi_label": True, "agnostic": True},
    {"confidence": 0.01, "max_candidates": 50, "multi_label": True},
]


def slowly(rows, confidence=0.25, iou=0.45, max_detections=300, classes=None, agnostic=False, multi_label=False,
           max_candidates=30000):  # fmt: skip
    """One picture's detections by two loops over torch scalars; boxes of two classes are simply never compared."""
    candidates = []
    for x, y, w, h, objectness, *chances in torch.from_numpy(rows):
        if not objectness > confidence:
            continue
        scores = [objectness * chance for chance in chances]
        best = max(range(len(scores)), key=lambda i: scores[i])
        for index in range(len(scores)) if multi_label else [best]:
            if scores[index] > confidence and (classes is None or index in classes):
                candidates.append(((x - w / 2, y - h / 2, x + w / 2, y + h / 2), scores[index], index))
    candidates.sort(key=lambda candidate: -candidate[1])
    kept = []
    for box, score, index in candidates[:max_candidates]:
        for other, _, other_index in kept:
            if not agnostic and index != other_index:
                continue
            width = max(0, min(box[2], other[2]) - max(box[0], other[0]))
            height = max(0, min(box[3], other[3]) - max(box[1], other[1]))
            areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
            if width * height / (sum(areas) - width * height) > iou:
                break
        else:
            kept.append((box, score, index))
    kept = kept[:max_detections]
    return (
        np.array([box for box, _, _ in kept], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in kept], np.float32),
        [index for _, _, index in kept],
    )


def crowd(boxes: int, classes: int, seed: int) -> np.ndarray:
    """A prediction (2, boxes, 5 + classes): heaps of similar boxes around a few centres."""
    rng = np.random.default_rng(seed)
    centres, sizes = rng.uniform(50, 590, (8, 2)), rng.uniform(20, 150, (8, 2))
    heap = rng.integers(0, 8, (2, boxes))
    xy, wh = centres[heap] + rng.normal(0, 6, (2, boxes, 2)), sizes[heap] * rng.uniform(0.8, 1.2, (2, boxes, 2))
    return np.concatenate([xy, wh, rng.uniform(0, 1, (2, boxes, 1 + classes))], axis=2).astype(np.float32)


@pytest.mark.parametrize("options", CASES, ids=str)
@pytest.mark.parametrize(("boxes", "classes"), [(120, 3), (60, 1), (300, 2)])
def test_agrees_with_two_plain_loops(boxes, classes, options):
    prediction = crowd(boxes, classes, seed=boxes)
    found = non_max_suppression(prediction, **options)
    assert len(found) == 2
    for rows, detections in zip(prediction, found, strict=True):
        expected_boxes, expected_scores, expected_classes = slowly(rows, **options)
        np.testing.assert_array_equal(detections.boxes, expected_boxes)
        np.testing.assert_array_equal(detections.scores, expected_scores)
        assert detections.classes.tolist() == expected_classes


def row(box, objectness, *chances):
    x1, y1, x2, y2 = box
    return [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, objectness, *chances]


def keep(*rows, **options):
    """The kept (class, score) of one picture."""
    (found,) = non_max_suppression(np.array([rows], np.float32), **options)
    return [(detection.class_index, round(detection.score, 4)) for detection in found]


@pytest.mark.parametrize("threshold", TORCHVISION)
def test_torchvision_keeps_the_same_boxes(threshold):
    scores = 0.9 - 0.05 * np.arange(len(BOXES))
    rows = [row(box, 1, score) for box, score in zip(BOXES, scores, strict=True)]
    (found,) = non_max_suppression(np.array([rows], np.float32), iou=threshold)
    expected = TORCHVISION[threshold]
    np.testing.assert_array_equal(found.boxes, np.array(BOXES)[expected])
    np.testing.assert_allclose(found.scores, scores[expected], rtol=1e-6)


def test_thresholds_are_strict():
    box = (0, 0, 10, 10)
    assert keep(row(box, 0.25, 1.0)) == []
    assert keep(row(box, 1.0, 0.25)) == []
    assert keep(row(box, 0.5, 0.5)) == []
    assert keep(row(box, 0.5, 0.5, 0.75), multi_label=True) == [(1, 0.375)]
    assert keep(row(box, 0.5, 0.75)) == [(0, 0.375)]
    half = [row((0, 0, 2, 1), 1, 0.9), row((0, 0, 1, 1), 1, 0.8)]  # IoU 0.5 exactly
    assert len(keep(*half, iou=0.5)) == 2
    assert len(keep(*half, iou=0.499)) == 1


def test_classes_do_not_suppress_each_other_unless_told():
    rows = [row((0, 0, 10, 10), 1, 0.9, 0.3), row((0, 0, 10, 10), 1, 0.2, 0.8)]
    assert keep(*rows) == [(0, 0.9), (1, 0.8)]
    assert keep(*rows, agnostic=True) == [(0, 0.9)]
    assert keep(*rows, classes=[1]) == [(1, 0.8)]
    assert keep(*rows, classes=[]) == []
    assert keep(*rows, multi_label=True) == [(0, 0.9), (1, 0.8)]
    assert keep(*rows[:1], multi_label=True) == [(0, 0.9), (1, 0.3)]


def test_a_suppressed_box_suppresses_nothing():
    chain = [row((0, 0, 10, 10), 1, 0.9), row((4, 0, 14, 10), 1, 0.8), row((8, 0, 18, 10), 1, 0.7)]
    assert keep(*chain, iou=0.4) == [(0, 0.9), (0, 0.7)]


def test_equal_scores_keep_their_order():
    rows = [row((20 * i, 0, 20 * i + 10, 10), 1, 0.5) for i in range(5)]
    (found,) = non_max_suppression(np.array([rows], np.float32))
    assert found.boxes[:, 0].tolist() == [0, 20, 40, 60, 80]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", range(7))
def test_what_is_not_finite_is_never_emitted(bad, column):
    good = row((0, 0, 10, 10), 0.9, 0.9, 0.1)
    broken = row((50, 50, 60, 60), 0.9, 0.9, 0.1)
    broken[column] = bad
    for multi_label in (False, True):
        assert keep(good, broken, multi_label=multi_label) == [(0, 0.81)]


def test_what_overflows_is_never_emitted():
    huge = [row((0, 0, 10, 10), 0.9, 0.9), [3e38, 5, 3e38, 4, 0.9, 0.9], [0, 0, 1e30, 1e30, 0.9, 0.8]]
    (found,) = non_max_suppression(np.array([huge], np.float32))
    assert np.isfinite(found.boxes).all()
    assert len(found) == 2


def test_half_precision_is_reckoned_in_single():
    prediction = crowd(100, 3, seed=5).astype(np.float16)
    for half, single in zip(
        non_max_suppression(prediction), non_max_suppression(prediction.astype(np.float32)), strict=True
    ):
        np.testing.assert_array_equal(half.boxes, single.boxes)
        np.testing.assert_array_equal(half.scores, single.scores)


def test_nothing_to_find():
    for shape in ((2, 0, 85), (2, 100, 85)):
        found = non_max_suppression(np.zeros(shape, np.float32), multi_label=True)
        assert [(d.boxes.shape, d.scores.shape, d.classes.shape) for d in found] == [((0, 4), (0,), (0,))] * 2
    assert non_max_suppression(np.zeros((0, 10, 85), np.float32)) == []


def test_the_input_is_left_alone():
    prediction = crowd(50, 3, seed=1)
    before = prediction.copy()
    non_max_suppression(prediction, confidence=0.01)
    np.testing.assert_array_equal(prediction, before)


def test_a_full_head_is_no_loop_over_its_boxes():
    rng = np.random.default_rng(0)
    geometry = [rng.uniform(0, 640, (1, 25200, 2)), rng.uniform(4, 200, (1, 25200, 2))]
    prediction = np.concatenate([*geometry, rng.uniform(0, 1, (1, 25200, 81))], axis=2).astype(np.float32)
    found = []
    assert lines_run(lambda: found.extend(non_max_suppression(prediction))) < 12_000  # 20 for each box that is kept
    assert len(found[0]) == 300


def test_postprocess_maps_every_picture_by_its_own_placement():
    prediction = np.zeros((2, 3, 6), np.float32)
    prediction[0, 0] = row((100, 180, 300, 380), 1, 0.9)
    prediction[1, 2] = row((0, 0, 640, 640), 1, 0.8)
    placements = [letterboxed((360, 1280), (640, 640)), letterboxed((320, 160), (640, 640))]
    first, second = postprocess(prediction, placements, confidence=0.5)
    np.testing.assert_allclose(
        first.boxes, [[200, 0, 600, 300]]
    )  # half size, 230 px above: (180 - 230) * 2 is cut to 0
    np.testing.assert_allclose(second.boxes, [[0, 0, 160, 320]])
    assert [d.scores.tolist() for d in postprocess(prediction, placements, confidence=0.85)][1] == []


def test_wrong_shapes_are_named():
    for shape in ((25200, 85), (1, 25200, 5), (1, 3, 80, 80, 85)):
        with pytest.raises(ShapeError, match=r"shape \(N, boxes, 5 \+ classes\)\n.*received: \("):
            non_max_suppression(np.zeros(shape, np.float32))
    with pytest.raises(ShapeError, match=r"for 1 pictures, one for each placement\n.*received: \(2, 4, 6\), for 2"):
        postprocess(np.zeros((2, 4, 6), np.float32), [letterboxed((4, 4), (8, 8))])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence": 1.5}, r"confidence must be in 0\.\.1\n.*received: 1\.5"),
        ({"iou": float("nan")}, r"iou must be in 0\.\.1\n.*received: nan"),
        ({"max_detections": 0}, "max_detections must be 1 or more\n.*received: 0"),
        ({"max_candidates": -1}, "max_candidates must be 1 or more\n.*received: -1"),
    ],
)
def test_wrong_thresholds_are_named(options, message):
    with pytest.raises(ArgumentError, match=message):
        non_max_suppression(np.zeros((1, 4, 6), np.float32), **options)


@pytest.mark.parametrize("classes", ["02", b"\0\2", 3])
def test_classes_are_a_list(classes):
    with pytest.raises(ArgumentError, match="classes are a list of indices, or None for all"):
        non_max_suppression(np.zeros((1, 2, 85), np.float32), classes=classes)


@pytest.mark.parametrize("odd", ["cat", 1.5, -1, True, None], ids=repr)
def test_what_is_no_index_of_a_class_is_told(odd):
    for classes in ([0, odd], (index for index in (odd, 0))):
        message = message_of(ArgumentError, non_max_suppression, np.zeros((1, 2, 85), np.float32), classes=classes)
        assert message.startswith(f"classes are a list of indices, or None for all, and {odd!r} is none")
        assert "labels.index(name)" in message
    assert non_max_suppression(np.zeros((1, 2, 85), np.float32), classes=np.array([0, 1])) is not None


def test_a_box_from_infinity_to_infinity_is_left_out_without_a_warning():
    rows = np.array([[[np.inf, 5, np.inf, 4, 0.9, 0.9], [5, 5, 4, 4, 0.9, 0.9]]], np.float32)
    (detections,) = non_max_suppression(rows)
    np.testing.assert_array_equal(detections.boxes, [[3, 3, 7, 7]])


@pytest.mark.parametrize("count", [5, 700])
@pytest.mark.parametrize("labels", [1, 2])
def test_of_equal_scores_the_first_row_comes_first_and_in_it_the_lower_class(count, labels):
    rows, scores = np.zeros((1, count, 7), np.float32), np.random.default_rng(0).choice([0.5, 0.75], count)
    rows[0, :, 0], rows[0, :, 1:5], rows[0, :, 5:] = np.arange(count) * 20, [5, 4, 4, 1], scores[:, None]
    pairs = [(row, label) for row in range(count) for label in range(labels)]
    wanted = sorted(pairs, key=lambda pair: -scores[pair[0]])  # which keeps the order of equal ones
    for most in (3, 2 * count):
        (found,) = non_max_suppression(rows, multi_label=labels == 2, max_detections=most)
        pairs = list(zip(((found.boxes[:, 0] + 2) / 20).tolist(), found.classes.tolist(), strict=True))
        assert pairs == wanted[:most]
