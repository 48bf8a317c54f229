"""Detector: pictures of any sizes in, boxes in their own pixels out."""

import json

import numpy as np
import pytest

import trtnn
from tests.helpers import ONE_TARGET, RUNS_HERE, message_of, trace
from trtnn import models
from trtnn.detector import Detector
from trtnn.errors import ArgumentError, DTypeError, ShapeError
from trtnn.examples.digits import PICTURE, WEIGHTS
from trtnn.examples.digits.picture import TRUTH
from trtnn.vision import box_iou, read_image


@pytest.fixture(scope="module")
def model():
    return models.from_state_dict(trtnn.load(WEIGHTS))


@pytest.fixture(scope="module")
def picture():
    return read_image(PICTURE)


def check_found(found, boxes, classes):
    overlaps = box_iou(boxes, found.boxes)
    assert len(found) == len(boxes)
    assert overlaps.max(1).min() > 0.6
    assert found.classes[overlaps.argmax(1)].tolist() == list(classes)


def truth():
    rows = json.loads(TRUTH.read_text())
    return np.array([row["box"] for row in rows]), [row["class"] for row in rows]


def test_boxes_are_in_each_picture_s_own_pixels(model, picture):
    detector = Detector(model.trace({"images": (2, 3, 320, 320)}), confidence=0.5)
    assert (detector.batch, detector.size, detector.classes) == (2, [320, 320], 10)
    boxes, classes = truth()
    padded = np.pad(picture, [(160, 0), (0, 0), (0, 0)], constant_values=114)
    doubled = picture.repeat(2, 0).repeat(2, 1)
    found = detector(iter([picture, padded, doubled]))  # the last batch is not full
    assert len(found) == 3
    check_found(found[0], boxes, classes)
    check_found(found[1], boxes + np.array([0, 160, 0, 160]), classes)
    check_found(found[2], boxes * 2, classes)
    assert detector([]) == []


def dims(batch, height, width):
    return {
        "images": (
            trtnn.Dim("batch", *batch),
            3,
            trtnn.Dim("height", *height, multiple_of=32),
            trtnn.Dim("width", *width, multiple_of=32),
        )
    }


def test_a_dynamic_network_sees_pictures_at_its_best_size(model, picture):
    network = model.trace(dims((1, 1, 3), (160, 256, 640), (160, 320, 640)))
    detector = Detector(network, confidence=0.5)
    assert (detector.batch, detector.size, detector.classes) == (3, [256, 320], 10)
    static = Detector(model.trace({"images": (1, 3, 256, 320)}), confidence=0.5)
    found = detector([picture] * 4)
    assert len(found) == 4
    (alone,) = static([picture])
    for one in found:
        np.testing.assert_allclose(one.boxes, alone.boxes, rtol=1e-4)
        np.testing.assert_array_equal(one.classes, alone.classes)


def test_batches_that_a_dynamic_network_takes(model, picture, monkeypatch):
    network = model.trace({"images": (trtnn.Dim("batch", 2, 2, 6, multiple_of=2), 3, 64, 64)})
    shapes = []
    run = network.run
    monkeypatch.setattr(network, "run", lambda pixels: shapes.append(pixels.shape) or run(pixels))
    assert [len(Detector(network)([picture] * count)) for count in (1, 3, 7)] == [1, 3, 7]
    assert [shape[0] for shape in shapes] == [2, 4, 6, 2]


def test_the_first_profile_is_the_detector_s(model):
    small, large = (trtnn.Input(dims((1, 1, 2), (32, size, size), (32, 64, 64))["images"]) for size in (64, 128))
    detector = Detector(model.trace({"images": [small, large]}))
    assert (detector.batch, detector.size) == (2, [64, 64])


def test_pictures_of_a_batch_do_not_mix(model, picture):
    other = picture[:, ::-1]
    pair = Detector(model.trace({"images": (2, 3, 160, 160)}))([picture, other])
    single = Detector(model.trace({"images": (1, 3, 160, 160)}))
    for found, image in zip(pair, (picture, other), strict=True):
        (alone,) = single([image])
        assert len(alone) > 2
        np.testing.assert_allclose(found.boxes, alone.boxes, rtol=0, atol=1e-2)
        np.testing.assert_array_equal(found.classes, alone.classes)
    assert not np.array_equal(pair[0].boxes, pair[1].boxes)


def test_a_network_that_is_not_square(model, picture):
    detector = Detector(model.trace({"images": (1, 3, 256, 320)}))
    check_found(*detector([picture]), *truth())


def test_thresholds_are_those_of_nms(model, picture):
    network = model.trace({"images": (1, 3, 320, 320)})
    (few,) = Detector(network, confidence=0.5, max_detections=4)([picture])
    (many,) = Detector(network, confidence=0.001, iou=0.9)([picture])
    assert len(few) == 4
    assert len(many) > 20


@pytest.mark.skipif(not RUNS_HERE, reason="needs a GPU that engines can be built for")
def test_an_engine_finds_what_the_network_does(model, picture):
    for fp16 in (False, True):
        network = model.trace({"images": (1, 3, 320, 320)}, fp16=fp16)
        check_found(*Detector(network.build(optimization_level=0))([picture]), *truth())


def test_an_engine_is_taken_without_a_gpu(model):
    engine = model.compile({"images": (1, 3, 64, 64)}, **ONE_TARGET)
    assert Detector(engine).classes == 10


@pytest.mark.parametrize(
    ("forward", "shapes", "words"),
    [
        (lambda x, y: x + y, [(1, 3, 4, 6), (1, 3, 4, 6)], "received float32[1, 3, 4, 6], float32[1, 3, 4, 6]"),
        (lambda x: x.view(1, 4, 6), [(1, 1, 4, 6)], "input (batch, 3, height, width)\n  received float32[1, 1, 4, 6]"),
        (lambda x: x * 2, [(1, 3, 6)], "received float32[1, 3, 6]"),
        (lambda x: x * 2, [(1, 3, 4, 6)], "output (batch, boxes, 5 + classes)\n  received output (1, 3, 4, 6)"),
        (lambda x: x.view(1, 18, 4), [(1, 3, 4, 6)], "received output (1, 18, 4)"),  # no room for classes
        (lambda x: [x.view(1, 12, 6), x * 2], [(1, 3, 4, 6)], "output_0 (1, 12, 6), output_1 (1, 3, 4, 6)"),
    ],
)
def test_what_is_no_detector(forward, shapes, words):
    message = message_of(ArgumentError, Detector, trace(forward, *shapes))
    assert message.startswith("this is not a detector\n  expected one ")
    assert words in message


def test_what_is_no_picture(model, picture):
    detector = Detector(model.trace({"images": (1, 3, 32, 32)}))
    assert "(height, width, 3)" in message_of(ShapeError, detector, [picture[..., 0]])
    assert "uint8" in message_of(DTypeError, detector, [picture / 255])
