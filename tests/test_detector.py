"""Detector: pictures of any sizes in, boxes in their own pixels out."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import trtnn
from tests.helpers import ONE_TARGET, RUNS_HERE, message_of, trace
from trtnn import models
from trtnn.detector import Detector
from trtnn.errors import ArgumentError, DTypeError, EngineError, ShapeError
from trtnn.examples.digits import PICTURE, WEIGHTS
from trtnn.examples.digits.picture import TRUTH
from trtnn.models.yolov5 import YOLOv5
from trtnn.modules import Module
from trtnn.vision import PIPELINES, box_iou, read_image
from trtnn.vision.stream import IN_FLIGHT


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
    run = network.run_flat
    monkeypatch.setattr(network, "run_flat", lambda pixels: shapes.append(pixels.shape) or run(pixels))
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


@pytest.mark.parametrize("one", [np.zeros((8, 8, 3), np.uint8), "street.jpg", Path("street.jpg"), None, 3])
def test_one_picture_is_no_list_of_them(model, one):
    detector = Detector(model.trace({"images": (1, 3, 32, 32)}))
    assert f"received: one {type(one).__name__}" in message_of(ArgumentError, detector, one)


def test_a_path_is_that_of_an_engine_file(tmp_path):
    message = message_of(EngineError, Detector, str(tmp_path / "yolov5s.engine"))
    assert "cannot read the engine file" in message


@pytest.mark.parametrize("source", [3, None, YOLOv5])
def test_what_a_detector_is_not_made_of(source):
    message = message_of(ArgumentError, Detector, source)
    assert f"not of {source!r}\n  an engine file is read by trtnn.Engine.load(path)" in message


# -- other families, by stand-ins of the same outputs and metadata -----------------------------------------------------


class StandIn(Module):
    """A network that gives the same outputs for every picture: arrays, one or a dict of them, for one picture each."""

    def __init__(self, outputs, size=(64, 96), batch=2, **metadata):
        super().__init__()
        self.inputs = {"images": (batch, 3, *size)}
        self.metadata = metadata
        self.outputs = outputs

    def forward(self, images):
        nothing = images.flatten(1).mean(1).view(-1, 1, 1) * 0

        def batched(array):
            return nothing + np.float32(array)[None]

        outputs = self.outputs
        return {n: batched(a) for n, a in outputs.items()} if isinstance(outputs, dict) else batched(outputs)


BOX = (20.0, 10.0, 60.0, 40.0)  # on a canvas of 64 x 96
ANCHORS = 9 * (8 * 12 + 4 * 6 + 2 * 3 + 1 * 2 + 1 * 1)


def a_yolov8():
    x1, y1, x2, y2 = BOX
    rows = np.zeros((3, 4 + 5))
    rows[1] = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, 0, 0, 0, 0.75, 0]
    return rows.T


def a_yolov5():
    return np.insert(a_yolov8().T, 4, [0, 1, 0], axis=1)


def a_retinanet():
    boxes, scores = np.zeros((ANCHORS, 4)), np.zeros((ANCHORS, 5))
    boxes[-1], scores[-1, 3] = BOX, 0.75
    return {"boxes": boxes, "scores": scores}


def a_centernet():
    return np.array([[*BOX, 0.75, 3], [*BOX, 0.1, 2]])


FAMILIES = {"yolov5": a_yolov5, "yolov8": a_yolov8, "retinanet": a_retinanet, "centernet": a_centernet}
# Where the box is in a picture of 128 x 128, half of whose size is on the canvas: letterboxed 16 px from the left.
PLACES = {
    "yolov5": (8, 20, 88, 80),
    "yolov8": (8, 20, 88, 80),
    "retinanet": (40, 20, 120, 80),
    "centernet": (8, 20, 88, 80),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_by_its_metadata(name, monkeypatch):
    network = StandIn(FAMILIES[name](), pipeline=name, classes=5, names=list("abcde")).trace()
    seen, run = [], network.run_flat
    monkeypatch.setattr(network, "run_flat", lambda pixels: seen.append(pixels.copy()) or run(pixels))
    detector = Detector(network)
    assert (detector.classes, detector.labels, detector.batch, detector.size) == (5, list("abcde"), 2, [64, 96])
    images = [np.full((128, 128, 3), value, np.uint8) for value in (10, 20, 30)]
    found = detector(images)
    for detections in found:
        np.testing.assert_allclose(detections.boxes, [PLACES[name]], atol=1e-4)
        np.testing.assert_allclose(detections.scores, [0.75], rtol=1e-6)
        assert detections.classes.tolist() == [3]
    assert len(found) == 3
    np.testing.assert_array_equal(seen[0], PIPELINES[name].preprocess(images[:2], (64, 96))[0])
    assert [len(d) for d in Detector(network, confidence=0.8)(images)] == [0, 0, 0]
    assert [[len(d) for d in Detector(network, classes=[index])(images)] for index in (3, 4)] == [[1] * 3, [0] * 3]
    message = message_of(ArgumentError, Detector, network, classes=[3, 5])
    assert message == "class 5 is wanted, and this network has 5: 0 to 4"


@pytest.mark.parametrize("name", FAMILIES)
def test_an_engine_file_alone_is_enough(name, tmp_path):
    changes = {"channels": "BGR", "mean": [0.5, 0.5, 0.5]}
    model = StandIn(FAMILIES[name](), pipeline=name, classes=5, names=list("abcde"), preprocessing=changes)
    engine = trtnn.Engine.load(model.compile(**ONE_TARGET).save(tmp_path / "a.engine"))
    detector = Detector(engine)
    assert (detector.classes, detector.labels) == (5, list("abcde"))
    assert detector.pipeline.head is PIPELINES[name].head
    expected = replace(PIPELINES[name].preprocessing, channels="BGR", mean=(0.5, 0.5, 0.5))
    assert detector.pipeline.preprocessing == expected


def test_a_stream_gives_what_a_call_does(model, picture):
    """Pictures of any sizes and any number, in order; the memory of a batch is that of one before."""
    detector = Detector(model.trace({"images": (2, 3, 160, 160)}))
    images = [picture, picture[:, ::-1], picture[40:], picture[::2, ::2], picture[:, 30:]]
    expected = detector(images)
    assert len({len(found) for found in expected}) > 1
    for _ in range(2):
        streamed = list(detector.stream(iter(images)))
        for found, other in zip(streamed, expected, strict=True):
            np.testing.assert_array_equal(found.boxes, other.boxes)
            np.testing.assert_array_equal(found.scores, other.scores)
            np.testing.assert_array_equal(found.classes, other.classes)
    assert len(detector._network._memory) <= IN_FLIGHT


def test_one_detector_in_several_threads(model, picture):
    detector = Detector(model.trace({"images": (2, 3, 96, 96)}))
    images = [picture, picture[:, ::-1], picture[::-1]]
    expected = detector(images)
    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(detector, images) for _ in range(4)]
        calls += [threads.submit(lambda: list(detector.stream(images))) for _ in range(4)]
    for done in calls:
        for found, other in zip(done.result(), expected, strict=True):
            np.testing.assert_array_equal(found.boxes, other.boxes)
            np.testing.assert_array_equal(found.classes, other.classes)


@pytest.mark.parametrize(
    ("image", "error", "words"),
    [
        (None, DTypeError, "a picture is an array, not NoneType"),
        ("street.jpg", DTypeError, "a picture is an array, not a path: street.jpg"),
        (np.zeros((0, 8, 3), np.uint8), ShapeError, "(height, width, 3)\n  received: (0, 8, 3)"),
        (np.zeros((8, 8), np.uint8), ShapeError, "received: (8, 8)\n  of a grey one: image[..., None].repeat(3, 2)"),
        (np.zeros((8, 8, 4), np.uint8), ShapeError, "without its fourth channel: image[..., :3]"),
        (
            np.zeros((8, 8, 3), np.uint16),
            DTypeError,
            "received: uint16\n  of one of 16 bits: (image >> 8).astype(numpy",
        ),
        ([[1, 2], [3]], DTypeError, "a picture is an array, not list"),
    ],
)
def test_an_image_that_is_none_is_told_with_its_index(image, error, words):
    detector, good = Detector(StandIn(a_yolov8(), pipeline="yolov8")), np.zeros((64, 96, 3), np.uint8)
    for way in (detector, lambda images: list(detector.stream(images))):
        message = message_of(error, way, [good, good, good, image])
        assert message.startswith("image 3 of those given: a picture ")
        assert words in message


def test_scores_that_are_not_finite_are_warned_of_once():
    """How many there are differs from image to image, so that Python would show a warning for each."""

    class Broken(Module):
        def __init__(self):
            super().__init__()
            self.inputs = {"images": (1, 3, 64, 96)}

        def forward(self, images):
            scores = images.flatten(1)[:, None, :126]
            return trtnn.functional.cat([scores.expand(1, 4, 126), trtnn.functional.where(scores > 0.5, np.nan, 0)], 1)

    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (64, 96, 3), np.uint8) for _ in range(6)]
    first, second = (Detector(Broken(), pipeline="yolov8") for _ in range(2))
    for detector in (first, second):
        with pytest.warns(UserWarning, match="of 126 scores are nan or inf") as caught:
            assert sum(map(len, detector.stream(images))) == 0
        assert len(caught) == 1
        detector(images[:2])  # and not again


def test_a_stream_of_one_image_is_refused_at_once():
    detector = Detector(StandIn(a_yolov8(), pipeline="yolov8"))
    with pytest.raises(ArgumentError, match=r"a Detector takes a list of pictures\n  received: one ndarray"):
        detector.stream(np.zeros((64, 96, 3), np.uint8))


def test_a_module_is_traced():
    (found,) = Detector(StandIn(a_yolov8(), pipeline="yolov8"))([np.zeros((128, 128, 3), np.uint8)])
    np.testing.assert_allclose(found.boxes, [PLACES["yolov8"]], atol=1e-4)
    with pytest.raises(ArgumentError, match="parameters of YOLOv5 are empty"):
        Detector(models.create("yolov5n"))


def test_without_metadata_the_shape_tells():
    image = [np.zeros((128, 128, 3), np.uint8)]
    cells = 8 * 12 + 4 * 6 + 2 * 3
    (found,) = Detector(StandIn(np.pad(a_yolov8(), [(0, 0), (0, cells - 3)])))(image)
    np.testing.assert_allclose(found.boxes, [PLACES["yolov8"]], atol=1e-4)
    (found,) = Detector(StandIn(np.pad(a_yolov5(), [(0, 3 * cells - 3), (0, 0)])))(image)
    np.testing.assert_allclose(found.boxes, [PLACES["yolov5"]], atol=1e-4)


def test_labels_of_other_tools_are_a_dict():
    names = {"1": "dog", "0": "cat", "4": "emu"}  # in any order, and not all of them
    labels = Detector(StandIn(a_yolov8(), pipeline="yolov8", names=names)).labels
    assert labels == ["cat", "dog", "class2", "class3", "emu"]
    names = "{0: 'a', 1: 'b', 2: 'c', 3: 'd', 4: 'e'}"  # as ONNX keeps them
    assert Detector(StandIn(a_yolov8(), pipeline="yolov8", names=names)).labels == list("abcde")
    assert Detector(StandIn(a_yolov8(), pipeline="yolov8")).labels is None
    assert Detector(StandIn(a_yolov8(), pipeline="yolov8", names=[f"class{i}" for i in range(5)])).labels is None
    assert Detector(StandIn(a_centernet(), pipeline="centernet")).classes is None


def test_a_classifier_is_no_detector():
    model = StandIn(np.zeros((1, 1000)), model="resnet18", task="classify", pipeline="imagenet")
    message = message_of(ArgumentError, Detector, model)
    assert message.startswith("resnet18 is not a detector\n  it gives float32[2, 1, 1000], which are no boxes\n")


def test_thresholds_that_it_does_not_take():
    model = StandIn(a_centernet(), pipeline="centernet")
    assert "not picked by 'iou'" in message_of(ArgumentError, Detector, model, iou=0.5)
    model = StandIn(a_centernet(), pipeline="centrenet")
    assert "no pipeline 'centrenet'\n  nearest: centernet" in message_of(ArgumentError, Detector, model)
    model = StandIn(a_centernet(), pipeline="retinanet")
    assert "expected outputs 'boxes' (batch, anchors, 4)" in message_of(ArgumentError, Detector, model)
