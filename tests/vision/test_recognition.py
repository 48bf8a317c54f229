"""What other tools' engines are by what they say of themselves, and by shapes where nothing is said."""

import json
import sys

import numpy as np
import pytest

import trtnn
from tests.helpers import message_of
from tests.standin import stand_in
from trtnn.cli import main
from trtnn.detector import Detector
from trtnn.errors import ArgumentError
from trtnn.modules import Module
from trtnn.vision import recognise, write_image

SIZE = (640, 640)
COCO_NAMES = {str(index): f"thing {index}" for index in range(80)}
DETECT = {"task": "detect", "names": COCO_NAMES, "imgsz": [640, 640], "stride": 32, "batch": 1}
PICKED = {**DETECT, "end2end": True}


@pytest.mark.parametrize(
    ("metadata", "shape", "name"),
    [
        # nothing is said: as many boxes as there are cells, or three for each
        ({}, (1, 84, 8400), "yolov8"),
        ({}, (1, 25200, 85), "yolov5"),
        ({}, (1, 102000 // 4, 85), "yolov5"),  # P6 at 640: 3 · (6400 + 1600 + 400 + 100)
        ({}, (1, 6000, 85), "yolov5"),  # the tiny YOLOv3
        ({}, (1, 25200, 6), "yolov5"),  # more boxes than there are cells to pick from
        # what Ultralytics' files say
        (DETECT, (1, 84, 8400), "yolov8"),
        (DETECT, (1, 84, 8500), "yolov8"),  # a model with another level; 4 + 80 says it
        ({**DETECT, "end2end": False, "args": {"nms": False}}, (1, 84, 8400), "yolov8"),
        (PICKED, (1, 300, 6), "end2end"),
        ({**DETECT, "args": {"nms": True, "half": True}}, (1, 300, 6), "end2end"),
        ({**DETECT, "nms": True}, (1, 300, 6), "end2end"),
        (DETECT, (1, 300, 6), "end2end"),  # of 80 classes there is no other way to read it
        ({**DETECT, "imgsz": 640}, (1, 84, 8400), "yolov8"),
        # as ONNX keeps it, all of it text
        ({**{key: repr(value) for key, value in DETECT.items()}, "task": "detect"}, (1, 84, 8400), "yolov8"),
        ({"task": "detect", "names": "{0: 'a', 1: 'b'}", "args": "{'nms': True}"}, (1, 300, 6), "end2end"),
    ],
)
def test_what_can_be_read_is(metadata, shape, name):
    assert recognise(metadata, SIZE, {"output0": shape}) == name


@pytest.mark.parametrize(
    ("shape", "names"), [((1, 300, 6), ["end2end", "centernet"]), ((1, 6000, 6), ["yolov5", "end2end", "centernet"])]
)
def test_between_several_readings_none_is_guessed(shape, names):
    message = message_of(ArgumentError, recognise, {}, SIZE, {"output0": shape})
    assert message.startswith("the outputs of this network can be read in more than one way\n  received output0 (1, ")
    assert [line.strip().split(":")[0] for line in message.splitlines()[2:-1]] == names
    assert message.endswith("Detector(source, pipeline=...), or trtnn detect --pipeline")


@pytest.mark.parametrize("shape", [(1, 84, 8401), (1, 25201, 85), (84, 8400), (1, 4, 8400), (1, 3, 640, 640)])
def test_what_fits_nothing_is_no_detector(shape):
    assert message_of(ArgumentError, recognise, {}, SIZE, {"x": shape}).startswith(
        "this is not a detector\n  expected "
    )


def test_several_outputs_are_none_of_these():
    for shapes in ({"a": (1, 84, 8400), "b": (1, 3, 160, 160)}, {"a": (1, 84, 8400), "b": (1, 84, 8400)}, {}):
        for metadata in ({}, {"task": "detect"}):
            assert "this is not a detector" in message_of(ArgumentError, recognise, metadata, SIZE, shapes)
        message = message_of(ArgumentError, recognise, DETECT, SIZE, shapes)
        assert "its metadata are of the task detect and 80 classes" in message


# -- through a Detector -----------------------------------------------------------------------------------------------


class Foreign(Module):
    """A network that gives the same array for every picture, with another tool's metadata."""

    def __init__(self, array, metadata, size=(64, 96)):
        super().__init__()
        self.inputs = {"images": (1, 3, *size)}
        self.metadata, self.array = metadata, np.float32(array)[None]

    def forward(self, images):
        return images.mean() * 0 + self.array


PICTURE = [np.zeros((128, 128, 3), np.uint8)]
CELLS = 8 * 12 + 4 * 6 + 2 * 3


def test_picked_boxes_are_read_in_pixels_of_the_input_with_the_names_that_the_file_has():
    rows = np.zeros((300, 6))
    rows[4] = [20, 10, 60, 40, 0.75, 7]
    detector = Detector(Foreign(rows, {**PICKED, "imgsz": [64, 96]}))
    (found,) = detector(PICTURE)
    np.testing.assert_allclose(found.boxes, [[8, 20, 88, 80]], atol=1e-4)  # half the size, 16 px from the left
    assert found.scores.tolist() == [0.75]
    assert detector.classes == 80
    assert [detector.labels[index] for index in found.classes] == ["thing 7"]


def test_a_class_that_is_not_among_the_names_is_refused():
    rows = np.zeros((300, 6))
    rows[4] = [20, 10, 60, 40, 0.75, 80]
    detector = Detector(Foreign(rows, {**PICKED, "imgsz": [64, 96]}))
    message = message_of(ArgumentError, detector, PICTURE)
    assert "contradict each other\n  its metadata are of 80 classes\n  its outputs have class 80" in message


@pytest.mark.parametrize("names", [COCO_NAMES, {}])
def test_an_engine_file_of_another_tool_from_the_file_to_what_is_found(names, monkeypatch, tmp_path, capfd):
    rows = np.zeros((300, 6), np.float32)
    rows[4] = [20, 10, 60, 40, 0.75, 7]
    metadata = {**PICKED, "imgsz": [64, 96], "names": names, "args": {"nms": False}, "author": "someone"}
    network = Foreign(rows, {}).trace()
    text = json.dumps(metadata).encode()
    path = tmp_path / "theirs.engine"
    path.write_bytes(len(text).to_bytes(4, "little") + text + b"ftrt" + bytes(100))
    stand_in(monkeypatch, network)
    write_image(tmp_path / "a.png", PICTURE[0])
    line = ["detect", tmp_path / "a.png", "--engine", path, "-o", tmp_path / "out", "--no-draw"]
    monkeypatch.setattr(sys, "argv", ["trtnn", *map(str, line)])
    main()
    (entry,) = json.loads((tmp_path / "out" / "detections.json").read_text()).values()
    ((row),) = entry["detections"]
    assert (row["class"], row.get("label")) == (7, "thing 7" if names else None)
    np.testing.assert_allclose(row["box"], [8, 20, 88, 80], atol=1e-4)
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--pipeline", "yolov8"])
    with pytest.raises(SystemExit):
        main()
    assert ("its output is of 296" if names else "what would be scores is 0 to 60") in capfd.readouterr().err


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("semantic", "a Detector reads detect, segment, pose, obb; call the engine or the network itself"),
        ("classify", "trtnn.Classifier(...) and trtnn classify name what is in a picture"),
        (["detect"], "a Detector reads "),
    ],
)
def test_a_task_that_finds_no_boxes_is_refused_in_a_sentence(task, words):
    model = Foreign(np.zeros((84, CELLS)), {"task": task, "names": COCO_NAMES, "imgsz": [64, 96]})
    for options in ({}, {"pipeline": "yolov8"}):
        message = message_of(ArgumentError, Detector, model, **options)
        first = "not read by a pipeline for the task detect" if options and task == "classify" else "not a detector"
        assert message.startswith(f"Foreign is {first}: its task is {task}\n")
        assert f"\n  {words}" in message


POSE = {"task": "pose", "kpt_shape": [17, 3], "names": {"0": "person"}}
OBB = {"task": "obb", "names": {str(i): f"n{i}" for i in range(15)}}
SEGMENT = {"task": "segment", "names": COCO_NAMES}
PROTOTYPES = (1, 32, 160, 160)


@pytest.mark.parametrize(
    ("metadata", "shapes", "name"),
    [
        (POSE, [(1, 56, 8400)], "yolov8-pose"),
        ({**POSE, "task": "detect"}, [(1, 56, 8400)], "yolov8-pose"),  # key points tell it
        ({"kpt_shape": "[17, 3]"}, [(1, 57, 8400)], "yolov8-pose"),
        ({**POSE, "end2end": True}, [(1, 300, 57)], "end2end-pose"),
        ({"task": "pose", "kpt_shape": [4, 2]}, [(1, 300, 14)], "end2end-pose"),
        (OBB, [(1, 20, 8400)], "yolov8-obb"),
        (OBB, [(1, 300, 7)], "end2end-obb"),
        (SEGMENT, [(1, 116, 8400), PROTOTYPES], "yolov8-segment"),
        (SEGMENT, [PROTOTYPES, (1, 116, 8500)], "yolov8-segment"),  # another level; the names say it
        ({**SEGMENT, "args": {"nms": True}}, [(1, 300, 38), PROTOTYPES], "end2end-segment"),
        ({}, [(1, 116, 8400), PROTOTYPES], "yolov8-segment"),  # two such outputs can be nothing else
        ({}, [(1, 300, 38), PROTOTYPES], "end2end-segment"),
    ],
)
def test_each_task_is_read(metadata, shapes, name):
    outputs = {f"output{i}": shape for i, shape in enumerate(shapes)}
    assert recognise({"imgsz": [640, 640], **metadata}, SIZE, outputs) == name


@pytest.mark.parametrize(
    ("metadata", "shape", "words"),
    [
        (PICKED, (1, 84, 8400), ["its boxes are picked", "expected one output (batch, boxes, 6)", "(1, 84, 8400)"]),
        ({**DETECT, "end2end": False}, (1, 300, 6), ["the task detect and 80 classes", "received output0 (1, 300, 6)"]),
        (
            DETECT,
            (1, 300, 84),
            ["the task detect and 80 classes", "(1, 300, 84)"],
        ),  # RT-DETR's, in parts of the picture
        ({**DETECT, "imgsz": [320, 320]}, (1, 84, 8400), ["imgsz [320, 320]", "height 640, width 640"]),
        (POSE, (1, 84, 8401), ["the task pose and 1 classes", "4 + classes + 51", "received output0 (1, 84, 8401)"]),
        ({**POSE, "nms": True}, (1, 56, 8400), ["its boxes are picked", "expected one output (batch, boxes, 6 + 51)"]),
        ({"task": "pose", "kpt_shape": [4, 2]}, (1, 8401, 14), ["the task pose\n", "(1, 8401, 14)"]),  # more than cells
        (OBB, (1, 5, 8400), ["the task obb and 15 classes", "4 + classes + 1"]),
        (SEGMENT, (1, 116, 8400), ["the task segment and 80 classes", "'prototypes' (batch, 32, rows, columns)"]),
    ],
)
def test_what_contradicts_itself_is_refused_with_both(metadata, shape, words):
    message = message_of(ArgumentError, recognise, metadata, SIZE, {"output0": shape})
    assert "contradict each other" in message.splitlines()[0]
    assert all(word in message for word in words), message


@pytest.mark.parametrize("shape", [None, [17], [17, 4], [0, 3], "a", [17.0, 3]])
def test_key_points_of_which_nobody_tells_the_number(shape):
    metadata = {"task": "pose"} | ({} if shape is None else {"kpt_shape": shape})
    message = message_of(ArgumentError, recognise, metadata, SIZE, {"output0": (1, 56, 8400)})
    expected = "nothing tells how many key points there are" if shape is None else f"kpt_shape is no {shape!r}"
    assert message.startswith(f"{expected}\n  its metadata have them as kpt_shape: [17, 3] is 17 points of x, y and")


@pytest.mark.parametrize(
    ("metadata", "pipeline", "own"),
    [
        (POSE, "yolov8", "yolov8-pose, end2end-pose"),
        (OBB, "end2end", "yolov8-obb, end2end-obb"),
    ],
)
def test_a_pipeline_of_another_task_is_refused_with_those_of_its_own(metadata, pipeline, own):
    model = Foreign(np.zeros((84, CELLS)), {**metadata, "imgsz": [64, 96]})
    message = message_of(ArgumentError, Detector, model, pipeline=pipeline)
    task = metadata["task"]
    assert message == (
        f"Foreign is not read by a pipeline for the task detect: its task is {task}\n  pipelines for that: {own}"
    )


@pytest.mark.parametrize("pipeline", ["yolov8-pose", "end2end-pose", "yolo-classify"])
@pytest.mark.parametrize("task", ["detect", "segment", "obb"])
def test_the_task_is_told_before_what_a_pipeline_of_another_needs(pipeline, task):
    """Of key points, which a network of another task has not, nobody need tell the number."""
    model = Foreign(np.zeros((84, CELLS)), {"task": task, "pipeline": "yolov8", "model": "net"})
    message = message_of(ArgumentError, Detector, model, pipeline=pipeline)
    other = "classify" if pipeline == "yolo-classify" else "pose"
    assert message.startswith(
        f"net is not read by a pipeline for the task {other}: its task is {task}\n  pipelines for"
    )


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({"names": {"0": "person"}}, 1),
        ({"pipeline": "yolov8", "names": ["a", "b"]}, 2),
        ({"pipeline": "yolov8", "classes": 80}, 80),
    ],
)
def test_a_number_of_names_that_is_not_the_outputs_is_refused_with_both(metadata, told):
    message = message_of(ArgumentError, Detector, Foreign(np.zeros((56, CELLS)), metadata))
    assert "contradict each other" in message.splitlines()[0]
    assert f"its metadata are of {told} classes\n" in message
    assert "its output is of 52: output (1, 56, 126)" in message


def test_numbers_tell_what_shapes_do_not():
    """Key points of a plan that says nothing have the shape of 52 classes, and an angle that of a class more."""
    pose, obb = np.zeros((56, CELLS)), np.zeros((20, CELLS))
    pose[5:, 3], obb[-1] = 300, np.linspace(-0.78, 2.3, CELLS)
    for array in (pose, obb):
        detector = Detector(Foreign(array, {}))
        assert "the outputs are something else" in message_of(ArgumentError, detector, PICTURE)


def test_a_pipeline_that_is_named_settles_it():
    rows = np.zeros((100, 6))
    rows[0] = [20, 10, 60, 40, 0.75, 7]
    model = Foreign(rows, {})
    assert "more than one way" in message_of(ArgumentError, Detector, model)
    for name in ("end2end", "centernet"):
        detector = Detector(model, pipeline=name)
        np.testing.assert_allclose(detector(PICTURE)[0].boxes, [[8, 20, 88, 80]], atol=1e-4)
        assert detector.pipeline == trtnn.vision.PIPELINES[name]
    assert "expected outputs 'boxes'" in message_of(ArgumentError, Detector, model, pipeline="retinanet")
    assert "there is no pipeline 'yolo'" in message_of(ArgumentError, Detector, model, pipeline="yolo")
