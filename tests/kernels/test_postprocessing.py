"""The kernels that turn outputs into detections, compiled for the CPU, beside what the CPU's own way finds."""

from __future__ import annotations

import numpy as np
import pytest

import trtnn.vision.gpu_postprocessing
from tests.helpers import message_of
from tests.kernels.emulated import EmulatedKernels
from tests.kernels.running import pick_by_kernels
from tests.standin import Lane
from tests.vision.test_anchor_maps import maps
from trtnn.errors import ArgumentError
from trtnn.vision.anchor_maps import YOLOV5_RAW, sigmoid
from trtnn.vision.boxes import box_iou
from trtnn.vision.gpu_postprocessing import has_kernels
from trtnn.vision.heads import RETINANET, YOLOV5, YOLOV8, levels
from trtnn.vision.placing import Placement, place

SIZE = (64, 96)
PLACEMENTS = [
    place("letterbox", (48, 64), SIZE),
    place("stretch", (1080, 1920), SIZE),
    place("warp", (99, 33), SIZE),
    place("corner", (7, 300), SIZE),
]


def yolo(head, rng, images=2, boxes=300, classes=4, dtype=np.float32, steps=None):
    """A prediction with boxes over the canvas; with ``steps`` scores are of so many values, so that many are equal."""
    centres = rng.uniform(0, [SIZE[1], SIZE[0]], (images, boxes, 2))
    sides = rng.uniform(1, 40, (images, boxes, 2))
    scores = rng.uniform(0, 1, (images, boxes, classes + (head is YOLOV5)))
    if steps:
        scores = np.round(scores * steps) / steps
        centres, sides = np.round(centres / 8) * 8, np.round(sides / 8) * 8
    prediction = np.concatenate([centres, sides, scores], axis=2).astype(dtype)
    return {"prediction": prediction if head is YOLOV5 else np.ascontiguousarray(prediction.transpose(0, 2, 1))}


def retinanet(rng, images=2, classes=3, dtype=np.float32, steps=None):
    anchors = levels(SIZE, sum(9 * -(-SIZE[0] // s) * -(-SIZE[1] // s) for s in (8, 16, 32, 64, 128)))[-1][1]
    low = rng.uniform(-10, 90, (images, anchors, 2))
    boxes = np.concatenate([low, low + rng.uniform(1, 40, (images, anchors, 2))], axis=2)
    scores = rng.uniform(0, 1, (images, anchors, classes)) ** 4
    if steps:
        scores, boxes = np.round(scores * steps) / steps, np.round(boxes / 8) * 8
    return {"boxes": boxes.astype(dtype), "scores": scores.astype(dtype)}


def by_kernels(head, outputs, placements, thresholds, threads=1):
    """The detections by the kernels on the CPU; None where they ask for the CPU's own way."""
    lane, of = Lane([]), lambda name: EmulatedKernels(name, threads)
    return pick_by_kernels(lane, of, head, outputs, SIZE, placements, thresholds)


def check_equal(head, outputs, thresholds, placements=None, threads=1):
    """Each box, score and class is the CPU's, in the CPU's order; returns how many there are."""
    images = len(next(iter(outputs.values())))
    placements = PLACEMENTS[:images] if placements is None else placements
    expected = head.detect(outputs, placements, **{**head.thresholds, **thresholds})
    actual = by_kernels(head, outputs, placements, thresholds, threads)
    assert actual is not None
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(one.scores, other.scores)
        np.testing.assert_array_equal(one.classes, other.classes)
        np.testing.assert_array_equal(one.boxes, other.boxes)
    return sum(map(len, expected))


OPTIONS = [
    {},
    {"confidence": 0.0},
    {"confidence": 0.5, "iou": 0.1},
    {"iou": 0.0},
    {"iou": 1.0, "max_detections": 7},
    {"max_detections": 1},
    {"max_candidates": 50},
    {"classes": [1, 3]},
    {"classes": []},
    {"classes": [99]},
]
YOLO_OPTIONS = [
    {"agnostic": True},
    {"multi_label": True},
    {"multi_label": True, "confidence": 0.001, "iou": 0.6, "classes": [0, 2], "max_candidates": 90},
    {"multi_label": True, "agnostic": True, "max_detections": 10000},
]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("steps", [None, 10])
@pytest.mark.parametrize("options", [*OPTIONS, *YOLO_OPTIONS], ids=str)
@pytest.mark.parametrize("head", [YOLOV5, YOLOV8], ids=["yolov5", "yolov8"])
def test_yolos_detections_are_the_cpus(head, options, steps, dtype):
    found = check_equal(head, yolo(head, np.random.default_rng(3), dtype=dtype, steps=steps), options)
    assert found or options.get("classes") in ([], [99])


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("steps", [None, 10])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_retinanets_detections_are_the_cpus(options, steps, dtype):
    found = check_equal(RETINANET, retinanet(np.random.default_rng(3), dtype=dtype, steps=steps), options)
    assert found or options.get("classes") in ([], [99])


@pytest.mark.parametrize("seed", range(20))
def test_any_numbers_of_boxes_classes_and_images(seed):
    rng = np.random.default_rng([seed, 5])
    head = (YOLOV5, YOLOV8)[seed % 2]
    images, boxes, classes = int(rng.integers(1, 5)), int(rng.choice([1, 2, 63, 64, 65, 500])), int(rng.integers(1, 9))
    outputs = yolo(head, rng, images, boxes, classes, (np.float32, np.float16)[seed // 2 % 2], (None, 5)[seed % 3 == 0])
    options = {"confidence": float(rng.uniform(0, 0.6)), "iou": float(rng.uniform(0, 1))}
    check_equal(
        head, outputs, {**options, "multi_label": bool(seed % 5 == 0), "max_detections": int(rng.integers(1, 400))}
    )


def test_thousands_of_candidates_in_several_tiles(monkeypatch):
    """More than one tile holds, and few that are kept in the first: later ones are looked at."""
    outputs = yolo(YOLOV5, np.random.default_rng(1), images=2, boxes=9500, classes=2)
    for options in ({"confidence": 0.0, "iou": 0.05, "max_detections": 20000}, {"confidence": 0.0, "agnostic": True}):
        assert check_equal(YOLOV5, outputs, options) > 100


def test_levels_whose_best_are_several_tiles():
    outputs = retinanet(np.random.default_rng(1), images=3)
    options = {"confidence": 0.0, "iou": 0.3, "max_candidates": 5000, "max_detections": 3000}
    assert check_equal(RETINANET, outputs, options) > 3000


@pytest.mark.parametrize("head", [YOLOV5, YOLOV8], ids=["yolov5", "yolov8"])
def test_all_candidates_in_one_bin_of_scores(head):
    """Scores that are equal, or almost, so that nothing but the order of rows tells the candidates apart."""
    outputs = yolo(head, np.random.default_rng(1), images=2, boxes=3000, classes=2)
    prediction = outputs["prediction"] if head is YOLOV5 else outputs["prediction"].transpose(0, 2, 1)
    prediction[..., 4:] = 0.75
    prediction[1, ::3, 4:] = np.nextafter(np.float32(0.75), np.float32(1))
    for options in ({"confidence": 0.0}, {"confidence": 0.5, "iou": 0.05, "max_detections": 3000}):
        assert check_equal(head, outputs, options) > 50
    prediction[..., 4:] = 1e-30  # below the lowest bin
    assert (check_equal(head, outputs, {"confidence": 0.0}) > 50) is (head is YOLOV8)  # a square of that is 0


@pytest.mark.parametrize("classes", [79, 80, 81, 87, 161])
@pytest.mark.parametrize("head", [YOLOV5, YOLOV8], ids=["yolov5", "yolov8"])
def test_the_best_of_many_classes(head, classes):
    """Each class is the best of some row, alone or beside an equal one, and scores that are none are seen at each."""
    rng = np.random.default_rng(1)
    outputs = yolo(head, rng, images=2, boxes=3 * classes, classes=classes)
    prediction = outputs["prediction"] if head is YOLOV5 else outputs["prediction"].transpose(0, 2, 1)
    prediction[..., -classes:] *= 0.5
    labels = np.arange(3 * classes) % classes
    prediction[:, np.arange(3 * classes), prediction.shape[2] - classes + labels] = 0.75
    prediction[1, classes:, -classes + classes // 2] = 0.75
    assert check_equal(head, outputs, {"confidence": 0.01, "iou": 0.9, "max_detections": 1000}) > 2 * classes
    for column in (-classes, -classes + 8, -9, -1):
        was, prediction[1, 5, column] = prediction[1, 5, column], np.nan
        assert by_kernels(head, outputs, PLACEMENTS[:2], {}) is None
        prediction[1, 5, column] = was


@pytest.mark.parametrize("scores", [[1.0, 1.0005, np.nextafter(np.float32(1), np.float32(2))], [0.25, 0.5, 1.0]])
@pytest.mark.parametrize("confidence", [0.0, 0.24, 0.25, 0.5, 0.9999])
def test_scores_at_the_ends_of_the_bins(confidence, scores):
    """What is 1 by the network's arithmetic may be somewhat more."""
    outputs = yolo(YOLOV8, np.random.default_rng(2), images=2, boxes=90, classes=3)
    prediction = outputs["prediction"].transpose(0, 2, 1)
    prediction[..., 4:] = np.resize(np.array(scores, np.float32), (90, 3))[::-1]
    prediction[:, ::7, 4:] *= 0.9
    assert check_equal(YOLOV8, outputs, {"confidence": confidence, "iou": 0.3}) > 10


@pytest.mark.parametrize("bins", [1, 5, 40])
def test_crowded_bins_of_several_images(bins):
    """So many in each bin that a bin does not end where candidates read together do, nor a tile where a bin does."""
    rng = np.random.default_rng(bins)
    outputs = yolo(YOLOV5, rng, images=3, boxes=1601, classes=81)
    prediction = outputs["prediction"]
    prediction[..., 4], prediction[..., 5:] = 1, 0
    labels = rng.integers(0, 81, (3, 1601))
    near = rng.integers(0, 5, (3, 1601)) * np.float32(2**-22)  # some are equal
    scores = (0.5 + rng.integers(0, bins, (3, 1601)) / 128 + near).astype(np.float32)
    np.put_along_axis(prediction, 5 + labels[..., None], scores[..., None], axis=2)
    prediction[2, 9:, 4] = 0
    for options in ({"confidence": 0.25, "iou": 0.4, "max_detections": 3000}, {"agnostic": True, "iou": 0.9}):
        assert check_equal(YOLOV5, outputs, options) > 300


def test_chains_of_overlaps_over_all_words_of_a_tile():
    """Each box overlaps the next ones alone, so that each is decided a step behind one before it."""
    rows = np.ones((1, 900, 6), np.float32)
    rows[0, :, :4] = np.arange(900)[:, None] * [[0.1, 0, 0, 0]] + [[2, 30, 0.35, 9]]
    rows[0, :, 5] = np.linspace(0.9, 0.3, 900)
    for order in (slice(None), slice(None, None, -1)):
        for iou in (0.05, 0.4, 0.6):
            assert check_equal(YOLOV5, {"prediction": rows[:, order].copy()}, {"iou": iou, "max_detections": 900}) > 200
    rows[0, :, 5] = np.random.default_rng(0).permutation(rows[0, :, 5])
    assert check_equal(YOLOV5, {"prediction": rows}, {"iou": 0.05, "max_detections": 900}) > 100


def test_images_are_done_at_tiles_of_their_own():
    rng = np.random.default_rng(2)
    outputs = yolo(YOLOV5, rng, images=2, boxes=9000, classes=1)
    outputs["prediction"][1, 10:, 4] = 0  # the second image has ten
    check_equal(YOLOV5, outputs, {"confidence": 0.0, "iou": 0.02, "max_detections": 5000})


@pytest.mark.parametrize("head", [YOLOV5, YOLOV8], ids=["yolov5", "yolov8"])
def test_threads_of_a_block_do_not_depend_on_each_others_order(head):
    outputs = yolo(head, np.random.default_rng(8), boxes=200)
    for options in ({"confidence": 0.1, "multi_label": True}, {"confidence": 0.0, "max_detections": 5}):
        check_equal(head, outputs, options, threads=5)


def test_nothing_is_found_in_nothing():
    outputs = yolo(YOLOV5, np.random.default_rng(8))
    outputs["prediction"][..., 4:] = 0
    assert check_equal(YOLOV5, outputs, {"confidence": 0.0}) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1e30, 65504.0, 0.0, -5.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_unusual_boxes(value, dtype):
    """What is not finite is no candidate; boxes without area, or turned inside out, are."""
    rng, number = np.random.default_rng(6), np.array(value, np.float32).astype(dtype) if abs(value) < 7e4 else value
    for head in (YOLOV5, YOLOV8, RETINANET):
        outputs = retinanet(rng, dtype=dtype) if head is RETINANET else yolo(head, rng, dtype=dtype)
        boxes = outputs["boxes"] if head is RETINANET else outputs["prediction"]
        boxes = boxes.transpose(0, 2, 1) if head is YOLOV8 else boxes
        with np.errstate(over="ignore"):
            for row, column in rng.integers(0, [250, 4], (60, 2)):
                boxes[:, row, column] = number
        check_equal(head, outputs, {"confidence": 0.01})


@pytest.mark.parametrize("value", [np.nan, np.inf, 1.5, -0.5])
def test_scores_that_are_none_are_left_to_the_cpu(value):
    for head in (YOLOV5, YOLOV8, RETINANET):
        rng = np.random.default_rng(6)
        outputs = retinanet(rng) if head is RETINANET else yolo(head, rng)
        scores = outputs["scores"] if head is RETINANET else outputs["prediction"]
        scores = scores.transpose(0, 2, 1) if head is YOLOV8 else scores
        assert by_kernels(head, outputs, PLACEMENTS[:2], {}) is not None
        for column in (-1, 4) if head is YOLOV5 else (-1,):  # a class's, and whether there is an object
            was, scores[1, -1, column] = scores[1, -1, column], value
            assert by_kernels(head, outputs, PLACEMENTS[:2], {}) is None
            scores[1, -1, column] = was
        assert by_kernels(head, outputs, PLACEMENTS[:2], {}) is not None


def test_more_candidates_than_there_is_room_for_are_left_to_the_cpu(monkeypatch):
    outputs = yolo(YOLOV5, np.random.default_rng(6), boxes=400, classes=1)
    outputs["prediction"][..., 4:] = 0.9
    for room, is_room in ((399, False), (400, True)):
        monkeypatch.setattr(trtnn.vision.gpu_postprocessing, "_MOST_CANDIDATES", room)
        for options in ({"multi_label": True}, {}):  # a row has one candidate at most, or may have several
            found = by_kernels(YOLOV5, outputs, PLACEMENTS[:2], options)
            assert (found is not None) is (is_room or not options)


@pytest.mark.parametrize("confidence", [0.1, np.float32(0.1), np.float64(0.1), np.float16(0.1), 0, 1, 0.3])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_scores_at_the_threshold(confidence, dtype):
    """NumPy compares in the array's type, or in the threshold's where that is a wider one of NumPy's."""
    near = np.array([np.float32(confidence), np.float64(confidence)], dtype)
    near = np.clip([*near, *np.nextafter(near, np.array(2, dtype)), *np.nextafter(near, np.array(-1, dtype))], 0, 1)
    boxes = np.array([[20 + 20 * i, 20, 3, 3] for i in range(6)])
    rows = np.concatenate([boxes, np.ones((6, 1)), near[:, None]], axis=1)[None].astype(dtype)
    check_equal(YOLOV5, {"prediction": rows}, {"confidence": confidence})
    check_equal(
        YOLOV8, {"prediction": np.delete(rows, 4, axis=2).transpose(0, 2, 1).copy()}, {"confidence": confidence}
    )
    outputs = retinanet(np.random.default_rng(0), images=1, dtype=dtype)
    outputs["scores"][0, :60:10, 0] = near
    check_equal(RETINANET, outputs, {"confidence": confidence})


@pytest.mark.parametrize("iou", [1 / 3, 0.5, np.nextafter(1 / 3, 0), np.nextafter(1 / 3, 1), float(np.float32(1 / 3))])
def test_overlaps_at_the_threshold(iou):
    """Boxes whose intersection is a third, and a half, of their union."""
    rows = np.array([[[10, 10, 4, 4, 1, 0.9], [12, 10, 4, 4, 1, 0.8], [40, 10, 4, 4, 1, 0.7], [40, 10, 4, 2, 1, 0.6]]])
    check_equal(YOLOV5, {"prediction": rows.astype(np.float32)}, {"iou": iou})


def test_overlaps_are_rounded_step_by_step_as_numpy_does():
    """At a threshold that is a pair's IoU itself the lower box stays, just below it is dropped."""
    rng = np.random.default_rng(12)
    for _ in range(150):
        rows = np.ones((1, 2, 6), np.float32)
        rows[0, :, :4], rows[0, 1, 5] = rng.uniform([30, 30, 20, 20], [40, 40, 50, 50], (2, 4)), 0.5
        corners = np.concatenate([rows[0, :, :2] - rows[0, :, 2:4] / 2, rows[0, :, :2] + rows[0, :, 2:4] / 2], axis=1)
        iou = float(box_iou(corners[:1], corners[1:])[0, 0])
        assert check_equal(YOLOV5, {"prediction": rows}, {"iou": iou}) == 2
        assert (
            check_equal(YOLOV5, {"prediction": rows}, {"iou": float(np.nextafter(np.float32(iou), np.float32(0)))}) == 1
        )


def test_boxes_come_back_as_on_the_cpu_from_any_placement():
    rng = np.random.default_rng(4)
    for _ in range(20):
        source = tuple(rng.integers(1, 3000, 2).tolist())
        placements = [place(fit, source, SIZE) for fit in ("letterbox", "corner", "warp", "stretch")]
        placements[0] = Placement(source, SIZE, tuple(rng.uniform(0.01, 3, 2)), tuple(rng.uniform(-50, 50, 2)))
        check_equal(YOLOV8, yolo(YOLOV8, rng, images=4, boxes=40), {"confidence": 0.3}, placements)


# -- maps -------------------------------------------------------------------------------------------------------------


def raw(strides=(8, 16, 32), anchors=3):
    """YOLOv5's head for maps of these strides, and so many anchors a cell."""
    pairs = [[[1.25 * stride * (n + 1), 0.7 * stride * (anchors - n)] for n in range(anchors)] for stride in strides]
    return YOLOV5_RAW.with_metadata({"strides": strides, "anchors": pairs})


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("steps", [None, 0.5])
@pytest.mark.parametrize(
    "options",
    [*OPTIONS, *YOLO_OPTIONS, {"confidence": 0.001}, {"confidence": 0.6}, {"confidence": 0.999}, {"confidence": 1}],
    ids=str,
)
def test_detections_of_maps_are_the_cpus(options, steps, dtype):
    """With steps logits are whole or half, so that many scores are equal."""
    outputs = maps(np.random.default_rng(3), 3, dtype=dtype)
    if steps:
        outputs = {name: (np.round(output / steps) * steps).astype(dtype) for name, output in outputs.items()}
    found = check_equal(raw(), outputs, options)
    assert found or options.get("classes") in ([], [99]) or options.get("confidence") in (0.999, 1)


@pytest.mark.parametrize("seed", range(24))
def test_maps_of_any_levels_anchors_classes_and_images(seed):
    rng = np.random.default_rng([seed, 7])
    strides = ((8, 16, 32), (4, 8, 16, 32), (32,), (2, 4, 8, 16, 32), (16, 32), (1, 2))[seed % 6]
    anchors, images = int(rng.integers(1, 9)), int(rng.integers(1, 5))
    classes, dtype = int(rng.choice([1, 2, 7, 8, 9, 80, 81])), (np.float32, np.float16)[seed // 2 % 2]
    head = raw(strides, anchors)
    assert has_kernels(head)
    outputs = maps(rng, images, classes, strides, anchors, dtype=dtype)
    for options in ({}, {"confidence": float(rng.uniform(0, 0.2)), "iou": float(rng.uniform(0, 1))}):
        check_equal(head, outputs, {**options, "multi_label": bool(seed % 4 == 0), "max_detections": 300})
    assert check_equal(head, outputs, {"confidence": 0.01, "max_detections": 3000}) > 0


def test_maps_of_more_levels_or_anchors_are_left_to_the_cpu():
    assert not has_kernels(raw((1, 2, 4, 8, 16, 32)))
    assert not has_kernels(raw((8, 16), 9))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_the_kernels_sigmoid_is_numpys_bit_for_bit(dtype):
    """As the score of a box whose objectness is 1, of every half there is, and of as many others."""
    logits = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    if dtype is np.float32:
        logits = np.concatenate([logits, np.random.default_rng(0).integers(0, 1 << 32, 1 << 16, np.uint32).view("f4")])
    logits = logits[logits > -80]  # neither NaN, nor of a square that is below all numbers
    cells = len(logits) // (8 * 12) * (8 * 12)
    made = np.zeros((cells // 96, 6, 8, 12), dtype)
    made[:, 4], made[:, 5] = 200, logits[:cells].reshape(-1, 8, 12).astype(dtype)
    made[:, 2:4] = -6  # boxes that overlap no other
    head = YOLOV5_RAW.with_metadata({"strides": [8], "anchors": [[[4, 4]]]})
    options = {**head.thresholds, "confidence": 0.0, "max_detections": 96}
    placements = [place("stretch", SIZE, SIZE)] * len(made)
    found = by_kernels(head, {"output_0": made}, placements, options)
    assert found is not None
    for one, own in zip(found, made, strict=True):
        expected = sigmoid(own[5].ravel())
        np.testing.assert_array_equal(np.sort(one.scores), np.sort(expected[expected > 0]))


def test_thousands_of_candidates_of_maps():
    outputs = maps(np.random.default_rng(1), 2, 2, (1, 2), 1)
    for options in (
        {"confidence": 0.0, "iou": 0.05, "max_detections": 20000},
        {"confidence": 0.0, "multi_label": True},
    ):
        assert check_equal(raw((1, 2), 1), outputs, options) > 300


def test_threads_of_a_block_do_not_depend_on_each_others_order_in_maps():
    outputs = maps(np.random.default_rng(8), 2)
    for options in ({"confidence": 0.01, "multi_label": True}, {"confidence": 0.0, "max_detections": 50}):
        check_equal(raw(), outputs, options, threads=5)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_maps_with_numbers_that_are_not_finite(dtype):
    """NaN of scores that are looked at is left to the CPU, of a box it makes no candidate; infinity is a logit."""
    rng, head = np.random.default_rng(6), raw()
    outputs = maps(rng, 2, dtype=dtype)
    by_anchor = outputs["output_1"].reshape(2, 3, 9, 4, 6)
    by_anchor[0, 1, 4, 2, 3], by_anchor[0, 0, 4, 0, 0] = 5, -5
    for number in (np.nan, np.inf, -np.inf, 6e4, -6e4):
        for place_of_number in ((0, 1, 0, 2, 3), (0, 1, 3, 2, 3), (0, 0, 6, 0, 0), (1, 2, 1, 1, 1)):
            was, by_anchor[place_of_number] = by_anchor[place_of_number], number
            for options in ({}, {"multi_label": True}):
                assert check_equal(head, outputs, options) > 0
            by_anchor[place_of_number] = was
        for place_of_number in ((0, 1, 4, 2, 3), (1, 2, 4, 3, 5), (0, 1, 5, 2, 3), (0, 1, 8, 2, 3)):
            was, by_anchor[place_of_number] = by_anchor[place_of_number], number
            for options in ({}, {"multi_label": True}):
                if np.isnan(number):
                    assert by_kernels(head, outputs, PLACEMENTS[:2], options) is None
                else:
                    check_equal(head, outputs, options)
            by_anchor[place_of_number] = was
    assert by_kernels(head, outputs, PLACEMENTS[:2], {}) is not None


def test_nothing_is_found_in_maps_of_nothing():
    outputs = {name: np.full_like(output, -200) for name, output in maps(np.random.default_rng(0)).items()}
    assert check_equal(raw(), outputs, {"confidence": 0.0}) == 0


def test_maps_of_another_size_are_refused():
    message = message_of(
        ArgumentError, by_kernels, raw((8, 16, 64)), maps(np.random.default_rng(0)), PLACEMENTS[:2], {}
    )
    assert "the map of the stride 64 has 2×3 cells" in message
