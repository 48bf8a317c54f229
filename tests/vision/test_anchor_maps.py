"""Maps of a head with anchors: what becomes of their numbers, held against torch in float64, and what is refused."""

import json
import warnings

import numpy as np
import pytest
import torch

from tests.helpers import message_of
from trtnn.errors import ArgumentError, ShapeError
from trtnn.vision import PIPELINES, non_max_suppression, pipeline_of
from trtnn.vision.anchor_maps import YOLOV5_RAW, sigmoid
from trtnn.vision.placing import place

SIZE = (64, 96)
STRIDES = (8, 16, 32)
ANCHORS = (((10, 13), (16, 30), (33, 23)), ((30, 61), (62, 45), (59, 119)), ((116, 90), (156, 198), (373, 326)))
METADATA = {"pipeline": "yolov5-raw", "strides": list(STRIDES), "anchors": json.loads(json.dumps(ANCHORS))}
AS_IT_IS = place("letterbox", SIZE, SIZE)
EVERY_HALF = np.arange(1 << 16, dtype=np.uint16).view(np.float16)


def maps(rng, images=2, classes=4, strides=STRIDES, anchors=3, size=SIZE, dtype=np.float32):
    """Maps of logits, so that about one box in ten is above 0.25."""
    made = {}
    for level, stride in enumerate(strides):
        logits = rng.normal(0, 2, (images, anchors, 5 + classes, size[0] // stride, size[1] // stride))
        logits[:, :, 4] -= 3
        made[f"output_{level}"] = logits.reshape(images, -1, *logits.shape[3:]).astype(dtype)
    return made


def decoded(outputs, strides=STRIDES, anchors=ANCHORS):
    """YOLOv5's rows by torch in float64: (batch, boxes, 5 + classes)."""
    rows = []
    for output, stride, of_level in zip(outputs.values(), strides, anchors, strict=True):
        images, _, height, width = output.shape
        s = torch.from_numpy(output.astype(np.float64)).view(images, len(of_level), -1, height, width).sigmoid()
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        cells, sides = torch.stack([x, y]), torch.tensor(of_level, dtype=torch.float64)[:, :, None, None]
        centre, size = (2 * s[:, :, :2] - 0.5 + cells) * stride, (2 * s[:, :, 2:4]) ** 2 * sides
        row = torch.cat([centre, size, s[:, :, 4:]], 2)
        rows.append(row.permute(0, 1, 3, 4, 2).reshape(images, -1, row.shape[2]))
    return torch.cat(rows, 1).numpy()


def check_near(found, expected):
    """The same boxes in the same order, but for rounding."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.classes.tolist() == other.classes.tolist()
        np.testing.assert_allclose(one.boxes, other.boxes, rtol=0, atol=1e-3)
        np.testing.assert_allclose(one.scores, other.scores, rtol=0, atol=1e-5)


# -- the sigmoid ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "x",
    [
        EVERY_HALF,
        np.linspace(-120, 120, 1_000_001, dtype=np.float32),
        np.random.default_rng(0).normal(0, 3, 1_000_000).astype(np.float32),
        np.random.default_rng(1).integers(0, 1 << 32, 1_000_000, np.uint32).view(np.float32),  # of any bits
    ],
    ids=["every half", "even", "normal", "any"],
)
def test_the_sigmoid_is_right_to_few_units_in_the_last_place(x):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = sigmoid(x)
    assert found.dtype == np.float32
    is_number = ~np.isnan(x)
    np.testing.assert_array_equal(np.isnan(found), ~is_number)
    expected = torch.from_numpy(x[is_number].astype(np.float64)).sigmoid().numpy()
    nearest = expected.astype(np.float32)
    units = np.abs(found[is_number] - expected) / np.maximum(np.spacing(nearest), np.float64(2.0**-149))
    assert units.max() < 2.5
    assert 0 <= found[is_number].min() <= found[is_number].max() <= 1


def test_the_sigmoid_at_its_ends():
    x = np.array([np.inf, -np.inf, 0.0, -0.0, 1e30, -1e30, -104, -103.5, 18], np.float32)
    assert sigmoid(x).tolist() == [1, 0, 0.5, 0.5, 1, 0, 0, 2.0**-149, 1]


def test_the_sigmoid_underflows_in_silence():
    with np.errstate(all="raise"):
        assert sigmoid(np.float32([-95])) == pytest.approx(np.exp(-95.0), abs=2.0**-149)


# -- boxes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"confidence": 0.001, "iou": 0.6, "multi_label": True},
        {"confidence": 0.0},
        {"confidence": 0.6, "iou": 0.2},
        {"agnostic": True},
        {"classes": [1, 3]},
        {"max_detections": 5},
        {"max_candidates": 9},
    ],
    ids=str,
)
def test_boxes_are_those_of_rows(options, dtype):
    outputs = maps(np.random.default_rng(3), dtype=dtype)
    found = pipeline_of(METADATA).postprocess(outputs, [AS_IT_IS] * 2, **options)
    rows = non_max_suppression(decoded(outputs).astype(np.float32), **options)
    check_near(found, [one.scaled(AS_IT_IS) for one in rows])
    assert min(map(len, found)) > 2


@pytest.mark.parametrize(
    ("strides", "anchors", "classes", "size"),
    [
        ((8, 16, 32, 64), [[(i * j, 7.25 * j) for i in (3, 4, 5)] for j in (2, 4, 8, 16)], 3, (128, 192)),
        ((16, 32), (((10, 14), (23, 27)), ((81, 82), (135, 169))), 1, (96, 32)),
        ((32,), [[(31.5, 17)]], 1, (160, 160)),
        ((4, 8), [[(9, 4)] * 5, [(11, 30)] * 5], 80, (16, 32)),
    ],
)
def test_any_levels_anchors_classes_and_sizes(strides, anchors, classes, size):
    rng = np.random.default_rng(4)
    outputs = maps(rng, 3, classes, strides, len(anchors[0]), size)
    pipeline = pipeline_of({"pipeline": "yolov5-raw", "strides": strides, "anchors": anchors})
    assert pipeline.read({name: output.shape for name, output in outputs.items()}) == {"classes": classes}
    placements = [place("letterbox", (50, 75), size), place("stretch", (9, 7), size), place("corner", (64, 64), size)]
    found = pipeline.postprocess(outputs, placements, confidence=0.1)
    rows = non_max_suppression(decoded(outputs, strides, anchors).astype(np.float32), confidence=0.1)
    check_near(found, [one.scaled(at) for one, at in zip(rows, placements, strict=True)])
    assert sum(map(len, found)) > 2


def test_of_equal_scores_the_first_row_comes_first():
    outputs = {name: np.full_like(output, 3.0) for name, output in maps(np.random.default_rng(0), 1, 2).items()}
    (found,) = pipeline_of(METADATA).postprocess(outputs, [AS_IT_IS], iou=1.0, max_detections=1000)
    (rows,) = non_max_suppression(decoded(outputs).astype(np.float32), iou=1.0, max_detections=1000)
    assert len(found) == 3 * (8 * 12 + 4 * 6 + 2 * 3)
    check_near([found], [rows.scaled(AS_IT_IS)])


def test_numbers_that_are_not_finite():
    """NaN is warned of where it was looked for, and nothing is found there; of infinity the sigmoid is 0 or 1."""
    outputs = maps(np.random.default_rng(5), 1)
    by_anchor = outputs["output_0"].reshape(1, 3, 9, 8, 12)
    by_anchor[0, 0, 4] = -9
    by_anchor[0, 0, :, 0, 0] = [0, 0, 0, 0, np.inf, -np.inf, np.inf, 0, 0]
    found = pipeline_of(METADATA).postprocess(outputs, [AS_IT_IS])[0]
    assert found.scores[0] == 1
    assert found.classes[0] == 1
    np.testing.assert_allclose(found.boxes[0], [0, 0, 9, 10.5], atol=1e-5)  # 10 by 13, its centre at (4, 4)
    by_anchor[0, 0, 7, 5, 5] = np.nan  # of a box that is none
    by_anchor[0, 0, 0, 0, 0] = np.nan  # a centre
    without = pipeline_of(METADATA).postprocess(outputs, [AS_IT_IS])[0]
    assert len(without) >= len(found) - 1
    assert without.scores[0] < 1
    for place_of_nan in ((0, 4, 1, 1), (0, 6, 0, 0)):
        changed = {**outputs, "output_0": outputs["output_0"].copy()}
        changed["output_0"].reshape(1, 3, 9, 8, 12)[0][place_of_nan] = np.nan
        with pytest.warns(UserWarning, match=r"^1 of \d+ scores are nan or inf, and nothing is detected there"):
            again = pipeline_of(METADATA).postprocess(changed, [AS_IT_IS])[0]
        np.testing.assert_array_equal(again.boxes, without.boxes)


def test_thresholds_are_yolov5_s():
    pipeline = pipeline_of(METADATA)
    assert pipeline.head.thresholds == PIPELINES["yolov5"].head.thresholds
    assert pipeline.head.evaluation == PIPELINES["yolov5"].head.evaluation
    assert pipeline.preprocessing == PIPELINES["yolov5"].preprocessing
    outputs = maps(np.random.default_rng(0), 1)
    message = message_of(ArgumentError, pipeline.postprocess, outputs, [AS_IT_IS], confidence=2)
    assert message.startswith("confidence must be in 0..1")


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strides": None}, ["nothing tells the strides of the maps of this network", '"strides": [16, 32]']),
        ({"anchors": None}, ["nothing tells the anchors of the maps of this network", '"anchors": [[[10, 14]']),
        ({"strides": []}, ["strides are whole numbers of pixels by level, not []"]),
        ({"strides": [8, 16, 0]}, ["strides are whole numbers of pixels by level, not [8, 16, 0]"]),
        ({"strides": [8, 16, 32.5]}, ["not [8, 16, 32.5]"]),
        ({"strides": [8, 16, True]}, ["not [8, 16, True]"]),
        ({"strides": "8"}, ["not 8"]),
        ({"strides": [8, 16]}, ["of different levels", "2 strides: [8, 16]", "anchors of 3 levels"]),
        ({"anchors": ANCHORS[:2]}, ["of different levels", "3 strides: [8, 16, 32]", "anchors of 2 levels"]),
        ({"anchors": [*ANCHORS[:2], ANCHORS[2][:2]]}, ["as many pairs of width and height in pixels on each level"]),
        ({"anchors": [[[10, 13, 5]]] * 3}, ["as many pairs", "received [[[10, 13, 5]], "]),
        ({"anchors": [[[10, 0]]] * 3}, ["as many pairs", "received [[[10, 0]], "]),
        ({"anchors": [[[10, float("nan")]]] * 3}, ["as many pairs", "nan"]),
        ({"anchors": [[[10, float("inf")]]] * 3}, ["as many pairs", "inf"]),
        ({"anchors": [[["10", "13"]]] * 3}, ["as many pairs"]),
        ({"anchors": [[[10, 10**400]]] * 3}, ["as many pairs", "received [[[10, 1000"]),
        ({"anchors": [[[True, 10]]] * 3}, ["as many pairs", "received [[[True, 10]], "]),
        ({"anchors": [[]] * 3}, ["as many pairs", "received [[], [], []]"]),
        ({"anchors": 5}, ["as many pairs", "received 5"]),
    ],
    ids=str,
)
def test_metadata_that_do_not_say_what_maps_mean(changes, words):
    metadata = {key: value for key, value in {**METADATA, **changes}.items() if value is not None}
    message = message_of(ArgumentError, pipeline_of, metadata)
    assert all(word in message for word in words), message


def test_metadata_as_text():
    """As ONNX and Triton keep them."""
    head = pipeline_of({**METADATA, "strides": "[8, 16, 32]", "anchors": str(ANCHORS)}).head
    assert (head.strides, head.anchors) == (STRIDES, ANCHORS)


def shapes_of(**changes):
    shapes = {name: output.shape for name, output in maps(np.random.default_rng(0)).items()} | changes
    return {name: shape for name, shape in shapes.items() if shape is not None}


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (
            shapes_of(output_2=None),
            ["not a detector", "3 maps (batch, 3 · (5 + classes), rows, columns)", "output_1 (2, 27, 4, 6)"],
        ),
        (shapes_of(output_3=(2, 27, 1, 1)), ["not a detector", "expected 3 maps", "output_3 (2, 27, 1, 1)"]),
        (shapes_of(output_2=(2, 27, 6)), ["not a detector", "output_2 (2, 27, 6)"]),
        ({"output": (2, 378, 9)}, ["not a detector", "expected 3 maps", "output (2, 378, 9)"]),
        (shapes_of(output_1=(2, 30, 4, 6)), ["contradict", "3 anchors", "its maps have 27, 30, 27"]),
        ({f"output_{i}": (2, 28, 2, 2) for i in range(3)}, ["contradict", "3 · (5 + classes) channels", "28, 28, 28"]),
        ({f"output_{i}": (2, 15, 2, 2) for i in range(3)}, ["contradict", "15, 15, 15"]),
    ],
)
def test_maps_of_other_shapes(shapes, words):
    message = message_of(ArgumentError, pipeline_of(METADATA).read, shapes)
    assert all(word in message for word in words), message


@pytest.mark.parametrize("strides", [[8, 32, 16], [4, 16, 32], [16, 32, 64]])
def test_maps_that_are_not_of_these_strides(strides):
    outputs = maps(np.random.default_rng(0), 1)
    pipeline = pipeline_of({**METADATA, "strides": strides})
    message = message_of(ArgumentError, pipeline.postprocess, outputs, [AS_IT_IS])
    assert message.startswith("what this network says of itself and its outputs contradict each other")
    assert f"its metadata have strides of {', '.join(map(str, strides))} pixels" in message
    wrong = next(level for level, stride in enumerate(strides) if stride != STRIDES[level])
    cells = f"{64 // STRIDES[wrong]}×{96 // STRIDES[wrong]} cells, and the input 64×96 pixels"
    assert f"the map of the stride {strides[wrong]} has {cells}" in message


def test_maps_of_another_batch():
    outputs = maps(np.random.default_rng(0))
    message = message_of(ShapeError, pipeline_of(METADATA).postprocess, outputs, [AS_IT_IS])
    assert "received: (2, 27, 8, 12), for 2" in message


def test_the_pipeline_without_metadata_is_refused():
    assert YOLOV5_RAW is PIPELINES["yolov5-raw"].head
    message = message_of(ArgumentError, PIPELINES["yolov5-raw"].postprocess, maps(np.random.default_rng(0)), [AS_IT_IS])
    assert "nothing tells the strides" in message
