"""Detectors of each task, from images to what the commands write, on the CPU and on a GPU that is stood in for."""

import numpy as np
import pytest

import trtnn
from tests.helpers import ONE_TARGET, message_of
from tests.standin import stand_in, stand_in_kernels
from trtnn.detector import Detector
from trtnn.errors import ArgumentError
from trtnn.modules import Module
from trtnn.on_gpu import OnGpu

SIZE = (64, 96)
CELLS = 8 * 12 + 4 * 6 + 2 * 3
NAMES = ["a", "b", "c"]


def columns(classes, more):
    """Four boxes among a box for each cell, and numbers behind their scores."""
    made = np.zeros((4 + classes + more, CELLS), np.float32)
    made[:4, :4] = np.float32([[30, 20, 40, 30], [70, 40, 30, 20], [20, 50, 20, 16], [60, 12, 16, 12]]).T
    made[4 + np.arange(4) % classes, np.arange(4)] = [0.9, 0.8, 0.7, 0.6]
    return made


def segment():
    made, prototypes = columns(3, 32), np.zeros((32, 16, 24), np.float32)
    made[7, :4], made[8, :4] = 1, [0.5, -0.5, 0, 0]
    prototypes[0], prototypes[1] = 1, np.linspace(-4, 4, 24)  # to the left or to the right
    return {"prediction": made, "prototypes": prototypes}


def pose():
    made = columns(1, 6)
    made[5::3, :4], made[6::3, :4] = made[0, :4] + [[-5], [5]], made[1, :4] + [[4], [-4]]
    made[7::3, :4] = [[0.9], [0.3]]
    return {"prediction": made}


def obb():
    made = columns(3, 1)
    made[-1, :4] = [0.5, -0.5, 0, 1]
    return {"prediction": made}


def picked(outputs, turned=False):
    """The same as rows that are picked already."""
    made = outputs["prediction"].T[:4]
    last = 7 if len(made[0]) != 11 else 5
    scores, more = made[:, 4:last], made[:, last:]
    centre, half = made[:, :2], made[:, 2:4] / 2
    boxes = made[:, :4] if turned else np.concatenate([centre - half, centre + half], 1)
    rows = np.concatenate([boxes, scores.max(1)[:, None], scores.argmax(1)[:, None], more], 1)
    return {**outputs, "prediction": np.concatenate([rows, np.zeros((6, rows.shape[1]))])}


OUTPUTS = {
    "yolov8-segment": segment(),
    "yolov8-pose": pose(),
    "yolov8-obb": obb(),
    "end2end-segment": picked(segment()),
    "end2end-pose": picked(pose()),
    "end2end-obb": picked(obb(), turned=True),
    "rtdetr": {
        "boxes": (columns(3, 0)[:4].T / np.float32([96, 64, 96, 64])),
        "scores": columns(3, 0)[4:].T,
    },
}


class Giving(Module):
    """A network that gives the same for every image."""

    def __init__(self, outputs, batch=(1, 2, 4), **metadata):
        super().__init__()
        self.inputs = {"images": (trtnn.Dim("batch", *batch), 3, *SIZE)}
        self.metadata, self.outputs = metadata, {name: np.float32(array)[None] for name, array in outputs.items()}

    def forward(self, images):
        zero = images.mean((1, 2, 3)) * 0
        return {name: array + zero.reshape((-1, *(1,) * (array.ndim - 1))) for name, array in self.outputs.items()}


def model(name, **more):
    metadata = {"pipeline": name, "names": ["person"] if "pose" in name else NAMES, "kpt_shape": [2, 3], **more}
    if "pose" not in name:
        del metadata["kpt_shape"]
    return Giving(OUTPUTS[name], **metadata)


PICTURES = [np.full((*size, 3), 90, np.uint8) for size in ((64, 96), (128, 128), (50, 333))]
FIELDS = ("boxes", "scores", "classes", "keypoints", "rotated")


def check_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert (one.masks is None) == (other.masks is None)
        if one.masks is not None:
            np.testing.assert_array_equal(one.masks, other.masks)


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_detector_gives_what_the_pipeline_reads(name):
    detector = Detector(model(name))
    expected_task = name.partition("-")[2] or "detect"
    assert detector.task == expected_task
    found = detector(PICTURES)
    # Two of the last image's boxes lie beside it, and have no mask there.
    assert [len(one) for one in found] == [4, 4, 2 if detector.task == "segment" else 4]
    check_same(list(detector.stream(iter(PICTURES))), found)
    np.testing.assert_allclose(found[0].scores, [0.9, 0.8, 0.7, 0.6])
    (picked_one, plain) = found[0][1], columns(3, 0)
    if "obb" not in name:
        np.testing.assert_allclose(picked_one.box, [55, 30, 85, 50], atol=1e-4)
    for task, field in {"segment": "masks", "pose": "keypoints", "obb": "rotated"}.items():
        assert (getattr(found[0], field) is not None) == (task == detector.task)
    if detector.task == "obb":
        np.testing.assert_allclose(found[0].rotated[:, :4], plain[:4, :4].T)
        np.testing.assert_allclose(found[0].angles, [0.5, -0.5, 0, 1])
        np.testing.assert_allclose(found[1].rotated[0], [28, 40, 80, 60, 0.5], rtol=1e-6)  # half, 16 px beside
    if detector.task == "pose":
        np.testing.assert_allclose(found[0].keypoints[0], [[25, 24, 0.9], [35, 16, 0.3]])
    if detector.task == "segment":
        assert [mask.sum() for mask in found[0].masks][2:] == [20 * 16, 16 * 12]
        xs = np.flatnonzero(found[0].masks[0].any(axis=0))
        assert (xs.min(), xs.max()) == (25, 49)  # 1 + 0.5 · ramp is positive from cell 5.75 on
        assert len(np.asarray(found[1].masks).shape) == 3
        assert found[1].masks.size == (128, 128)


@pytest.mark.parametrize("name", OUTPUTS)
def test_both_ways_find_the_same(name, monkeypatch):
    network = model(name).trace()
    stand_in(monkeypatch, network).log = log = []
    stand_in_kernels(monkeypatch, log)
    engine = network.build(**ONE_TARGET)
    expected = Detector(engine, device="cpu")(PICTURES)
    detector = Detector(engine)
    assert isinstance(detector._steps, OnGpu)
    check_same(detector(PICTURES), expected)
    check_same(list(detector.stream(iter(PICTURES))), expected)


def test_another_tool_s_outputs_have_other_names(monkeypatch):
    outputs = dict(zip(["output1", "output0"], reversed(OUTPUTS["yolov8-segment"].values()), strict=True))
    theirs = Giving(outputs, task="segment", names=dict(enumerate(NAMES)), imgsz=list(SIZE))
    expected = Detector(model("yolov8-segment"))(PICTURES)
    check_same(Detector(theirs)(PICTURES), expected)
    network = theirs.trace()
    stand_in(monkeypatch, network).log = log = []
    stand_in_kernels(monkeypatch, log)
    check_same(Detector(network.build(**ONE_TARGET))(PICTURES), expected)


@pytest.mark.parametrize("task", ["segment", "pose", "obb"])
def test_what_has_no_place_for_more_than_boxes_refuses_a_task(task):
    message = message_of(ArgumentError, Detector(model(f"yolov8-{task}")).check_boxes_alone, "rows have")
    assert message.startswith(f"rows have boxes alone, and the task of this network is {task}\n")
    Detector(model("rtdetr")).check_boxes_alone("rows have")


def test_key_points_of_another_number_than_the_network_gives():
    message = message_of(ArgumentError, Detector, model("yolov8-pose", kpt_shape=[17, 3]))
    assert message.startswith("this is not a detector\n  expected one output (batch, 4 + classes + 51, boxes)")
    message = message_of(ArgumentError, Detector, model("yolov8-pose", kpt_shape=[1, 3]))
    assert "contradict each other\n  its metadata are of 1 classes\n  its output is of 4" in message
