"""Each family's outputs to detections, against plain loops; and which pipeline a network has."""

import json

import cv2
import numpy as np
import pytest

from tests.vision.test_postprocessing import crowd, slowly
from tests.vision.test_preprocessing import letterboxed
from trtnn.errors import ArgumentError, ShapeError
from trtnn.vision import COCO, COCO_91, PIPELINES, Placement, Preprocessing, pipeline_of
from trtnn.vision.heads import CENTERNET, RETINANET, YOLOV5, YOLOV8

SIZE = (640, 640)
AS_IT_IS = Placement(SIZE, SIZE, (1.0, 1.0), (0.0, 0.0))


def check(found, boxes, scores, classes, atol=1e-4):
    np.testing.assert_allclose(found.boxes, boxes, atol=atol)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-6)
    assert found.classes.tolist() == list(classes)


# -- YOLO -------------------------------------------------------------------------------------------------------------


def test_yolov5_is_as_before():
    prediction = crowd(120, 3, seed=4)
    found = PIPELINES["yolov5"].postprocess({"any name": prediction}, [AS_IT_IS] * 2)
    for rows, detections in zip(prediction, found, strict=True):
        boxes, scores, classes = slowly(rows)
        check(detections, np.clip(boxes, 0, 640), scores, classes)


@pytest.mark.parametrize(
    "options",
    [{}, {"confidence": 0.6, "iou": 0.3}, {"multi_label": True}, {"agnostic": True}, {"classes": [1]}],
    ids=str,
)
def test_yolov8_has_no_objectness_and_its_boxes_in_columns(options):
    prediction = np.delete(crowd(120, 3, seed=4), 4, axis=2)
    found = PIPELINES["yolov8"].postprocess({"output": prediction.transpose(0, 2, 1)}, [AS_IT_IS] * 2, **options)
    assert min(map(len, found)) > 0
    for rows, detections in zip(prediction, found, strict=True):
        boxes, scores, classes = slowly(np.insert(rows, 4, 1.0, axis=1), **{"iou": 0.7} | options)
        check(detections, np.clip(boxes, 0, 640), scores, classes)


def test_opencv_keeps_the_same_boxes_of_yolov8():
    rng = np.random.default_rng(3)
    corners, sizes = rng.integers(0, 300, (80, 2)), rng.integers(40, 200, (80, 2))
    scores = rng.permutation(np.linspace(0.3, 0.99, 80)).astype(np.float32)
    prediction = np.concatenate([corners + sizes / 2, sizes, scores[:, None]], 1).astype(np.float32)
    kept = cv2.dnn.NMSBoxes(np.concatenate([corners, sizes], 1).tolist(), scores.tolist(), 0.25, 0.7)
    (found,) = PIPELINES["yolov8"].postprocess({"output": prediction.T[None]}, [AS_IT_IS])
    assert 10 < len(kept) < 80
    check(found, np.concatenate([corners, corners + sizes], 1)[kept], scores[kept], [0] * len(kept))


def test_each_picture_has_its_own_placement():
    prediction = np.zeros((2, 6, 3), np.float32)
    prediction[0, :, 1] = [200, 280, 200, 200, 0.1, 0.9]
    prediction[1, :, 2] = [320, 320, 640, 640, 0.8, 0.1]
    placements = [letterboxed((360, 1280), SIZE), letterboxed((320, 160), SIZE)]
    first, second = PIPELINES["yolov8"].postprocess({"output": prediction}, placements)
    check(first, [[200, 0, 600, 300]], [0.9], [1])
    check(second, [[0, 0, 160, 320]], [0.8], [0])
    with pytest.raises(ShapeError, match="for 1 pictures, one for each placement"):
        PIPELINES["yolov8"].postprocess({"output": prediction}, placements[:1])


# -- RetinaNet --------------------------------------------------------------------------------------------------------

CANVAS = (96, 160)
COUNTS = [9 * 12 * 20, 9 * 6 * 10, 9 * 3 * 5, 9 * 2 * 3, 9 * 1 * 2]  # of strides 8, 16, 32, 64 and 128
UPRIGHT = Placement((120, 140), CANVAS, (112 / 140, 96 / 120), (0.0, 0.0))


def retinanet(seed, classes=4, share=0.2):
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0, 100, (6, 2))[rng.integers(0, 6, sum(COUNTS))] + rng.normal(0, 4, (sum(COUNTS), 2))
    half = rng.uniform(8, 20, (sum(COUNTS), 2))
    boxes = np.clip(np.concatenate([centres - half, centres + half], 1), 0, (160, 96, 160, 96))
    scores = rng.permutation(np.linspace(0, 1, sum(COUNTS) * classes)).reshape(-1, classes)
    scores = np.where(rng.random(scores.shape) < share, scores, 0)
    return {"boxes": boxes[None].astype(np.float32), "scores": scores[None].astype(np.float32)}


def retinanet_slowly(outputs, confidence=0.05, iou=0.5, max_detections=300, most=1000):
    """torchvision's steps, one at a time; boxes in px of the picture."""
    (boxes,), (scores,) = outputs["boxes"], outputs["scores"]
    candidates, start = [], 0
    for count in COUNTS:
        pairs = [
            (float(s), i, c) for i in range(start, start + count) for c, s in enumerate(scores[i]) if s > confidence
        ]
        candidates += sorted(pairs, reverse=True)[:most]
        start += count
    kept = []
    for score, i, c in sorted(candidates, reverse=True):
        box = np.clip(boxes[i], 0, (112, 96, 112, 96)).astype(float)
        for other, _, other_class in kept:
            low, high = np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])
            overlap = np.prod(np.maximum(high - low, 0))
            area = sum(np.prod(b[2:] - b[:2]) for b in (box, other)) - overlap
            if c == other_class and overlap > iou * area:
                break
        else:
            kept.append((box, score, c))
        if len(kept) == max_detections:
            break
    boxes, scores, classes = zip(*kept, strict=True)
    return np.array(boxes) / np.tile(UPRIGHT.scale, 2), scores, classes


@pytest.mark.parametrize(
    ("given", "slow"),
    [
        ({}, {}),
        ({"confidence": 0.9}, {"confidence": 0.9}),
        ({"iou": 0.2, "max_detections": 20}, {"iou": 0.2, "max_detections": 20}),
        ({"max_candidates": 10}, {"most": 10}),
    ],
    ids=str,
)
def test_retinanet_agrees_with_torchvisions_steps(given, slow):
    outputs = retinanet(seed=1)
    (found,) = PIPELINES["retinanet"].postprocess(outputs, [UPRIGHT], **given)
    check(found, *retinanet_slowly(outputs, **slow))


def test_only_the_best_of_each_level_are_looked_at():
    outputs = {"boxes": np.zeros((1, sum(COUNTS), 4), np.float32), "scores": np.zeros((1, sum(COUNTS), 2), np.float32)}
    x = np.arange(sum(COUNTS)) % 37
    outputs["boxes"][0] = np.stack([2 * x, 0 * x, 2 * x + 1, 0 * x + 1], 1)
    outputs["scores"][0, :, 1] = np.linspace(0.9, 0.5, sum(COUNTS))
    (found,) = PIPELINES["retinanet"].postprocess(outputs, [UPRIGHT], max_candidates=1, iou=1)
    starts = np.cumsum([0, *COUNTS[:-1]])
    np.testing.assert_allclose(found.scores, outputs["scores"][0, starts, 1])
    assert set(found.classes.tolist()) == {1}


def test_boxes_are_cut_to_the_picture_before_they_are_compared():
    """On the canvas the two share 46 of 74 columns, in the picture, which ends at 112, 8 of 22."""
    outputs = {"boxes": np.zeros((1, sum(COUNTS), 4), np.float32), "scores": np.zeros((1, sum(COUNTS), 1), np.float32)}
    outputs["boxes"][0, [5, 7]] = [[90, 0, 150, 24], [104, 0, 164, 24]]
    outputs["scores"][0, [5, 7]] = [[0.9], [0.8]]
    (found,) = PIPELINES["retinanet"].postprocess(outputs, [UPRIGHT])
    check(found, [[112.5, 0, 140, 30], [130, 0, 140, 30]], [0.9, 0.8], [0, 0])


def test_retinanets_classes_and_what_is_not_finite():
    outputs = retinanet(seed=2)
    (every,) = PIPELINES["retinanet"].postprocess(outputs, [UPRIGHT], max_detections=1000)
    (some,) = PIPELINES["retinanet"].postprocess(outputs, [UPRIGHT], max_detections=1000, classes=iter([1, 3]))
    chosen = np.isin(every.classes, [1, 3])
    check(some, every.boxes[chosen], every.scores[chosen], every.classes[chosen])
    outputs["boxes"][0, outputs["scores"][0].max(1).argmax()] = np.nan
    (found,) = PIPELINES["retinanet"].postprocess(outputs, [UPRIGHT])
    assert np.isfinite(found.boxes).all()
    assert found.scores[0] < every.scores[0]


def test_retinanet_with_another_number_of_anchors():
    outputs = {name: array[:, :-9] for name, array in retinanet(seed=1).items()}
    with pytest.raises(
        ShapeError, match=rf"has {sum(COUNTS)} anchors on pictures of 96×160, and these are {sum(COUNTS) - 9}\n"
    ):
        PIPELINES["retinanet"].postprocess(outputs, [UPRIGHT])


# -- CenterNet --------------------------------------------------------------------------------------------------------


def test_centernet_takes_its_peaks_as_they_are():
    rows = np.zeros((2, 100, 6), np.float32)
    rows[0, :4] = [
        [10, 20, 30, 40, 0.9, 2],
        [10, 20, 30, 41, 0.8, 2],
        [-50, 0, 5000, 10, 0.31, 0],
        [1, 1, 2, 2, 0.3, 0],
    ]
    rows[1, 0] = [np.nan, 0, 1, 1, 0.9, 1]
    placement = Placement((100, 200), (64, 64), (0.5, 0.5), (-5.0, 4.0))
    first, second = PIPELINES["centernet"].postprocess({"x": rows}, [placement] * 2)
    check(first, [[30, 32, 70, 72], [30, 32, 70, 74], [0, 0, 200, 12]], [0.9, 0.8, 0.31], [2, 2, 0])
    assert len(second) == 0
    (few, _) = PIPELINES["centernet"].postprocess({"x": rows}, [placement] * 2, classes=[2], max_detections=1)
    check(few, [[30, 32, 70, 72]], [0.9], [2])


# -- what goes with what ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "shapes", "found"),
    [
        (YOLOV5, {"a": (1, 25200, 85)}, {"classes": 80}),
        (YOLOV5, {"a": (1, 25200, 5)}, None),
        (YOLOV5, {"a": (1, 85)}, None),
        (YOLOV5, {"a": (1, 9, 9), "b": (1, 9, 9)}, None),
        (YOLOV5, {}, None),
        (YOLOV8, {"a": (1, 84, 8400)}, {"classes": 80}),
        (YOLOV8, {"a": (1, 4, 8400)}, None),
        (RETINANET, {"scores": (1, 9, 91), "boxes": (1, 9, 4)}, {"classes": 91}),
        (RETINANET, {"scores": (1, 9, 91), "boxes": (1, 9, 5)}, None),
        (RETINANET, {"scores": (1, 9, 91), "box": (1, 9, 4)}, None),
        (CENTERNET, {"a": (1, 100, 6)}, {}),
        (CENTERNET, {"a": (1, 100, 7)}, None),
    ],
)
def test_shapes_tell_the_classes(head, shapes, found):
    assert head.read(shapes) == found


def test_forms_are_told():
    assert str(YOLOV5) == "one output (batch, boxes, 5 + classes)"
    assert str(RETINANET) == "outputs 'boxes' (batch, anchors, 4), 'scores' (batch, anchors, classes)"


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_is_found_by_its_name(name):
    maps = {"strides": [8], "anchors": [[[10, 13]]]}
    metadata = json.loads(json.dumps({"pipeline": name, "kpt_shape": [17, 3], **maps}))
    made, listed = pipeline_of(metadata), PIPELINES[name]
    if not name.endswith(("-pose", "-raw")):
        assert made == listed
    assert made.preprocessing == listed.preprocessing


def test_what_metadata_say():
    assert pipeline_of({}) == PIPELINES["yolov5"]
    assert pipeline_of({}, "yolov8") == PIPELINES["yolov8"]
    pipeline = pipeline_of({"pipeline": "yolov8", "preprocessing": {"fit": "stretch", "mean": [0.5, 0.5, 0.5]}})
    assert pipeline.head is YOLOV8
    assert pipeline.preprocessing == Preprocessing("stretch", mean=(0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (
            {"pipeline": "yolov9"},
            "there is no pipeline 'yolov9'\n  nearest: yolov[58]\n  known: yolov5, yolov8, retinanet",
        ),
        ({"pipeline": None}, "there is no pipeline None\n"),
        ({"pipeline": []}, r"there is no pipeline \[\]\n"),
        ({"pipeline": {"name": "yolov8"}}, "there is no pipeline {'name': 'yolov8'}\n"),
        ({"preprocessing": {"fit": []}}, r"preprocessing has no fit \[\]"),
        ({"preprocessing": {"mean": [[1], [2, 3]]}}, "mean of preprocessing is a number for each channel"),
        ({"preprocessing": {"fill": [0, 0, 256]}}, "fill of preprocessing is in 0..255"),
        ({"preprocessing": "stretch"}, "preprocessing is a dict, not 'stretch'"),
        ({"preprocessing": {"fit": "x"}}, "preprocessing has no fit 'x'"),
    ],
)
def test_metadata_that_say_what_there_is_not(metadata, message):
    with pytest.raises(ArgumentError, match=message):
        pipeline_of(metadata)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        (
            "centernet",
            {"iou": 0.5},
            "these detections are not picked by 'iou'\n  they take: confidence, max_detections",
        ),
        ("retinanet", {"confidnce": 0.5}, "not picked by 'confidnce'\n  nearest: confidence"),
        ("imagenet", {}, "this is not a detector\n  its outputs are no boxes"),
    ],
)
def test_thresholds_that_there_are_not(name, given, message):
    with pytest.raises(ArgumentError, match=message):
        PIPELINES[name].thresholds(given)


OUT_OF_RANGE = [
    *({"confidence": value} for value in (1.5, -1, float("nan"), "0.5", None, True, [0.5])),
    *({"max_detections": value} for value in (0, 2.5, "3", None, True, float("inf"))),
    *({"classes": value} for value in (3, "person", b"1")),
]


@pytest.mark.parametrize("name", ["yolov5", "yolov8", "end2end", "retinanet", "centernet"])
@pytest.mark.parametrize("threshold", OUT_OF_RANGE, ids=str)
def test_thresholds_out_of_range_or_of_another_type(name, threshold):
    outputs = {
        "yolov5": {"x": np.zeros((1, 3, 6))},
        "yolov8": {"x": np.zeros((1, 6, 3))},
        "end2end": {"x": np.zeros((1, 3, 6))},
        "retinanet": retinanet(seed=0),
        "centernet": {"x": np.zeros((1, 3, 6))},
    }
    with pytest.raises(ArgumentError, match=r"confidence must be in|max_detections must be 1|classes are a list"):
        PIPELINES[name].postprocess(outputs[name], [UPRIGHT], **threshold)
    with pytest.raises(ArgumentError, match="received: "):
        PIPELINES[name].thresholds(threshold)


@pytest.mark.parametrize("switch", ["agnostic", "multi_label"])
def test_switches_are_true_or_false(switch):
    with pytest.raises(ArgumentError, match=f"{switch} is True or False, not 'no'"):
        PIPELINES["yolov8"].thresholds({switch: "no"})


def test_classes_may_be_an_iterator_and_last_for_all_batches():
    outputs = {"x": np.zeros((2, 6, 1), np.float32)}
    outputs["x"][:, :, 0] = [100, 100, 50, 50, 0.9, 0.1]
    thresholds = PIPELINES["yolov8"].thresholds({"classes": iter([0])})
    for _ in range(2):
        found = PIPELINES["yolov8"].postprocess(outputs, [AS_IT_IS] * 2, **thresholds)
        assert [len(detections) for detections in found] == [1, 1]


# -- what scores are --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("yolov5", np.full((1, 3, 7), 300)),
        ("yolov8", np.full((1, 56, 3), 300)),  # key points in pixels
        ("yolov8", np.full((1, 6, 3), -0.4)),  # an angle
        ("end2end", np.full((1, 3, 6), 15.3)),
        ("centernet", np.full((1, 3, 6), -2.0)),
    ],
)
def test_what_would_be_scores_and_is_none_is_refused(name, outputs):
    with pytest.raises(ArgumentError, match=r"and scores are in 0\.\.1\n  the outputs are something else"):
        PIPELINES[name].postprocess({"x": outputs.astype(np.float32)}, [AS_IT_IS])


@pytest.mark.parametrize("index", [0.4, -1.0])
def test_what_would_be_a_class_and_is_no_index_is_refused(index):
    rows = np.float32([[[0, 0, 9, 9, 0.9, index], [0, 0, 9, 9, 0.0, 0.5]]])
    with pytest.raises(ArgumentError, match=f"what would be a class is {index:g}"):
        PIPELINES["end2end"].postprocess({"x": rows}, [AS_IT_IS])


def test_scores_may_be_as_far_out_as_half_precision_rounds_and_some_may_not_be_finite():
    outputs = np.zeros((1, 6, 4), np.float32)
    outputs[0, :4] = [[100], [100], [50], [50]]
    outputs[0, 4] = [1.0005, np.nan, np.inf, -np.inf]
    with pytest.warns(UserWarning, match="^3 of 8 scores are nan or inf, and nothing is detected there"):
        (found,) = PIPELINES["yolov8"].postprocess({"x": outputs}, [AS_IT_IS])
    np.testing.assert_allclose(found.scores, [1.0005])


def test_boxes_that_are_picked_are_taken_as_they_are():
    rows = np.zeros((1, 300, 6), np.float32)
    rows[0, :3] = [[10, 20, 30, 40, 0.3, 2], [10, 20, 30, 41, 0.8, 79], [0, 0, 9, 9, 0.24, 0]]
    placement = Placement((100, 200), (64, 64), (0.5, 0.5), (-5.0, 4.0))
    (found,) = PIPELINES["end2end"].postprocess({"x": rows}, [placement])
    check(found, [[30, 32, 70, 74], [30, 32, 70, 72]], [0.8, 0.3], [79, 2])
    assert PIPELINES["end2end"].preprocessing == PIPELINES["yolov8"].preprocessing


def test_outputs_of_another_form():
    message = r"expected outputs 'boxes' .batch, anchors, 4., 'scores' .*\n  received boxes \(1, 5, 4\)"
    with pytest.raises(ArgumentError, match=message):
        PIPELINES["retinanet"].postprocess({"boxes": np.zeros((1, 5, 4))}, [UPRIGHT])


# -- what goes in -----------------------------------------------------------------------------------------------------


def test_the_projects_own_numbers():
    """A picture of one colour that fills the canvas, and one that leaves room, by each project's formula."""
    full, low = np.full((64, 64, 3), (51, 102, 204), np.uint8), np.full((32, 64, 3), (51, 102, 204), np.uint8)
    imagenet = (np.array([0.2, 0.4, 0.8]) - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    centernet = [
        (np.array(bgr) - (0.40789654, 0.44719302, 0.47026115)) / (0.28863828, 0.27408164, 0.27809835)
        for bgr in ((0.8, 0.4, 0.2), (0, 0, 0))
    ]
    expected = {
        "yolov5": ((0.2, 0.4, 0.8), [114 / 255] * 3, [114 / 255] * 3),
        "yolov8": ((0.2, 0.4, 0.8), [114 / 255] * 3, [114 / 255] * 3),
        "end2end": ((0.2, 0.4, 0.8), [114 / 255] * 3, [114 / 255] * 3),
        "yolov5-raw": ((0.2, 0.4, 0.8), [114 / 255] * 3, [114 / 255] * 3),
        **{
            f"{name}-{task}": ((0.2, 0.4, 0.8), [114 / 255] * 3, [114 / 255] * 3)
            for name in ("yolov8", "end2end")
            for task in ("segment", "pose", "obb")
        },
        "rtdetr": ((0.2, 0.4, 0.8),) * 3,
        "yolo-classify": ((0.2, 0.4, 0.8),) * 3,
        "retinanet": (imagenet, imagenet, [0, 0, 0]),
        "centernet": (centernet[0], centernet[1], centernet[1]),
        "imagenet": (imagenet, imagenet, imagenet),
    }
    assert expected.keys() == PIPELINES.keys()
    for name, (inside, top, bottom) in expected.items():
        (one, other), _ = PIPELINES[name].preprocess([full, low], 64)
        np.testing.assert_allclose(one[:, 32, 32], inside, atol=1e-6)
        np.testing.assert_allclose(other[:, 24, 32], inside, atol=1e-6)
        np.testing.assert_allclose(other[:, 2, 32], top, atol=1e-6)
        np.testing.assert_allclose(other[:, -2, 32], bottom, atol=1e-6)


def test_the_labels_of_91():
    assert len(COCO_91) == 91
    assert [label for label in COCO_91 if label not in ("background", "N/A")] == list(COCO)
    numbers = {"person": 1, "fire hydrant": 11, "stop sign": 13, "giraffe": 25, "backpack": 27, "umbrella": 28}
    numbers |= {"handbag": 31, "bottle": 44, "wine glass": 46, "bed": 65, "dining table": 67, "toilet": 70, "tv": 72}
    numbers |= {"refrigerator": 82, "book": 84, "toothbrush": 90}  # what stands on either side of a gap
    assert {label: COCO_91.index(label) for label in numbers} == numbers
